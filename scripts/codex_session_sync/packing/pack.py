"""The sessions of a home as one package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from ..errors import HomeError, SessionError
from ..model import Json, PackagedSession
from .archiving import kind_by_name, write_archive
from .gathering import Gathered
from .known import Known
from .native import NativePacker, Packed
from .output import digest_of, new_file, new_folder, output_errors, scratch_folder
from .selection import Selection
from .transfer import TransferPacker

Format = Literal["native", "transfer-v1"]
Progress = Callable[[int], None]


class Packer(Protocol):
    """What takes sessions one by one and makes a package of them."""

    def add(self, session: PackagedSession, *, chosen: bool) -> Packed | None:
        """Pack one session; None if there is no need to.

        Raises SessionError; then nothing of it is in the package.
        """

    def finish(self) -> None:
        """Write what makes it a package."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was written: the package as reports show it, its sessions, and those that failed.

    ``known`` counts the sessions that were left out because the other side has them; where it has
    all of them, ``package`` is None.
    """

    package: Json | None
    sessions: tuple[Packed, ...]
    failed: tuple[SessionError, ...]
    known: int = 0


@dataclass(slots=True)
class _Filled:
    """What came of the sessions that a packer was given."""

    packed: list[Packed] = field(default_factory=list)
    failed: list[SessionError] = field(default_factory=list)
    known: int = 0


class _NothingNewError(Exception):
    """There is nothing to write: the other side has it all."""


def pack(
    home: Gathered,
    selection: Selection,
    out: Path,
    form: Format,
    progress: Progress | None = None,
    known: Known | None = None,
) -> Outcome:
    """Write the selected sessions to ``out``, where nothing is.

    ``progress`` is told of bytes as they are read; ``known``, for native packages, is what the
    other side has. Sessions that cannot be read are left out. Raises UsageError ``output_exists``,
    HomeError ``output_not_writable``, ``nothing_packed``.
    """
    archive = kind_by_name(out.name) if form == "transfer-v1" else None
    filled = _Filled()
    try:
        if form == "native":
            container = "file"
            with new_file(out) as stream:
                _fill(NativePacker(home, stream, progress, known), selection, out, filled)
        elif archive is None:
            container = "directory"
            with new_folder(out) as folder:
                _fill(TransferPacker(home, folder, progress), selection, out, filled)
        else:
            container = archive
            with scratch_folder(out) as folder, new_file(out) as stream:
                _fill(TransferPacker(home, folder, progress), selection, out, filled)
                with output_errors(out):
                    write_archive(folder, archive, stream, progress)
    except _NothingNewError:
        return Outcome(None, (), (), filled.known)
    package = {
        "kind": form,
        "container": container,
        "path": str(out.absolute()),
        "sessions": len(filled.packed),
        "size": out.stat().st_size if out.is_file() else _size(out),
        "sha256": digest_of(out) if out.is_file() else None,
    }
    return Outcome(package, tuple(filled.packed), tuple(filled.failed), filled.known)


def _fill(packer: Packer, selection: Selection, out: Path, filled: _Filled) -> None:
    with output_errors(out):
        for session in selection.sessions:
            try:
                packed = packer.add(session, chosen=session.session_id in selection.chosen)
            except SessionError as error:
                error.session_id = session.session_id
                filled.failed.append(error)
                continue
            if packed is None:
                filled.known += 1
            else:
                filled.packed.append(packed)
        if not filled.packed and not filled.failed:
            raise _NothingNewError
        if not filled.packed:
            raise HomeError(
                "nothing_packed",
                f"no session is left to pack, and some cannot be read; the first: "
                f"{filled.failed[0].message}",
                hint=filled.failed[0].hint,
            )
        packer.finish()


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
