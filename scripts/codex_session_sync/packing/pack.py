"""The sessions of a home as one package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from ..errors import HomeError, SessionError
from ..model import Json, PackagedSession
from .archiving import kind_by_name, write_archive
from .gathering import Gathered
from .native import NativePacker, Packed
from .output import digest_of, new_file, new_folder, output_errors, scratch_folder
from .selection import Selection
from .transfer import TransferPacker

Format = Literal["native", "transfer-v1"]
Progress = Callable[[int], None]


class Packer(Protocol):
    """What takes sessions one by one and makes a package of them."""

    def add(self, session: PackagedSession) -> Packed:
        """Pack one session. Raises SessionError; then nothing of it is in the package."""

    def finish(self) -> None:
        """Write what makes it a package."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was written: the package as reports show it, its sessions, and those that failed."""

    package: Json
    sessions: tuple[Packed, ...]
    failed: tuple[SessionError, ...]


def pack(
    home: Gathered,
    selection: Selection,
    out: Path,
    form: Format,
    progress: Progress | None = None,
) -> Outcome:
    """Write the selected sessions to ``out``, where nothing is.

    ``progress`` is told of bytes as they are read. Sessions that cannot be read are left out.
    Raises UsageError ``output_exists``, HomeError ``output_not_writable``, ``nothing_packed``.
    """
    archive = kind_by_name(out.name) if form == "transfer-v1" else None
    if form == "native":
        container = "file"
        with new_file(out) as stream:
            packed, failed = _fill(NativePacker(home, stream, progress), selection, out)
    elif archive is None:
        container = "directory"
        with new_folder(out) as folder:
            packed, failed = _fill(TransferPacker(home, folder, progress), selection, out)
    else:
        container = archive
        with scratch_folder(out) as folder, new_file(out) as stream:
            packed, failed = _fill(TransferPacker(home, folder, progress), selection, out)
            with output_errors(out):
                write_archive(folder, archive, stream, progress)
    package = {
        "kind": form,
        "container": container,
        "path": str(out.absolute()),
        "sessions": len(packed),
        "size": out.stat().st_size if out.is_file() else _size(out),
        "sha256": digest_of(out) if out.is_file() else None,
    }
    return Outcome(package, packed, failed)


def _fill(
    packer: Packer, selection: Selection, out: Path
) -> tuple[tuple[Packed, ...], tuple[SessionError, ...]]:
    packed: list[Packed] = []
    failed: list[SessionError] = []
    with output_errors(out):
        for session in selection.sessions:
            try:
                packed.append(packer.add(session))
            except SessionError as error:
                error.session_id = session.session_id
                failed.append(error)
        if not packed:
            raise HomeError(
                "nothing_packed",
                f"none of the sessions can be read; the first: {failed[0].message}",
                hint=failed[0].hint,
            )
        packer.finish()
    return tuple(packed), tuple(failed)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
