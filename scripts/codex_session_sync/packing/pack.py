"""The sessions of a home as one package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol

from ..errors import HomeError, SessionError, UsageError
from ..model import Json, PackagedSession
from .archiving import kind_by_name, write_archive
from .gathering import Gathered
from .known import Known
from .native import NativePacker, Packed
from .output import (
    digest_of,
    new_encrypted_file,
    new_file,
    new_folder,
    output_errors,
    scratch_folder,
)
from .secrets import Secret, SecretScan
from .selection import Selection
from .transfer import TransferPacker

if TYPE_CHECKING:
    from pyrage import _Recipient

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

    ``stopped``: ``secrets`` kept it from being written. ``known`` counts the sessions that were
    left out because the other side has them; where it has all of them, nothing is written either,
    and ``package`` is None.
    """

    package: Json | None
    sessions: tuple[Packed, ...]
    failed: tuple[SessionError, ...]
    secrets: tuple[Secret, ...]
    known: int = 0
    stopped: bool = False


class _StoppedError(Exception):
    """Ends the writing of a package that holds secrets; nothing of it stays."""


class _NothingNewError(Exception):
    """There is nothing to write: the other side has it all."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a package is to be.

    To ``recipients`` it is encrypted. ``allow_secrets``: it may hold some. ``known``, for native
    packages, is what the other side has, which is left out.
    """

    form: Format = "native"
    recipients: Sequence[_Recipient] = ()
    allow_secrets: bool = False
    known: Known | None = None


def pack(
    home: Gathered,
    selection: Selection,
    out: Path,
    manner: Manner,
    secrets: SecretScan,
    progress: Progress | None = None,
) -> Outcome:
    """Write the selected sessions to ``out``, where nothing is.

    ``progress`` is told of bytes as they are read. Sessions that cannot be read are left out.
    Nothing is written where ``secrets`` finds some for certain that may not be in it. Raises
    UsageError ``output_exists``, ``folder_not_encrypted``, HomeError ``output_not_writable``,
    ``nothing_packed``.
    """
    form, recipients = manner.form, manner.recipients
    name = out.name.removesuffix(".age") if recipients else out.name
    archive = kind_by_name(name) if form == "transfer-v1" else None
    filling = _Filling(selection, out, secrets, manner.allow_secrets)
    try:
        if form == "native":
            container = "file"
            with _file(out, recipients, progress) as stream:
                filling.fill(home, NativePacker(home, stream, secrets, progress, manner.known))
        elif archive is None and recipients:
            raise UsageError(
                "folder_not_encrypted",
                "a folder cannot be encrypted",
                hint="name an archive: `codex-session-sync AGAIN -o package.tar.zst.age`",
            )
        elif archive is None:
            container = "directory"
            with new_folder(out) as folder:
                filling.fill(home, TransferPacker(home, folder, secrets, progress))
        else:
            container = archive
            with scratch_folder(out) as folder, _file(out, recipients, progress) as stream:
                filling.fill(home, TransferPacker(home, folder, secrets, progress))
                with output_errors(out):
                    write_archive(folder, archive, stream, progress)
    except _StoppedError:
        return filling.outcome(None, stopped=True)
    except _NothingNewError:
        return filling.outcome(None)
    package = {
        "kind": form,
        "container": container,
        "encrypted": bool(recipients),
        "path": str(out.absolute()),
        "sessions": len(filling.packed),
        "size": out.stat().st_size if out.is_file() else _size(out),
        "sha256": digest_of(out) if out.is_file() else None,
    }
    return filling.outcome(package)


def _file(
    out: Path, recipients: Sequence[_Recipient], progress: Progress | None
) -> AbstractContextManager[BinaryIO]:
    return new_encrypted_file(out, recipients, progress) if recipients else new_file(out)


@dataclass(slots=True)
class _Filling:
    """The sessions on their way into a package, and what is found on it."""

    selection: Selection
    out: Path
    secrets: SecretScan
    allow_secrets: bool
    packed: list[Packed] = field(default_factory=list)
    failed: list[SessionError] = field(default_factory=list)
    known: int = 0

    def fill(self, home: Gathered, packer: Packer) -> None:
        """Pack all sessions that can be read. Raises HomeError, _StoppedError."""
        with output_errors(self.out):
            for session in map(home.take, self.selection.ids):
                try:
                    chosen = session.session_id in self.selection.chosen
                    packed = packer.add(session, chosen=chosen)
                except SessionError as error:
                    error.session_id = session.session_id
                    self.failed.append(error)
                    continue
                if packed is None:
                    self.known += 1
                else:
                    self.secrets.look_beside(session)
                    self.packed.append(packed)
            if not self.packed and not self.failed:
                raise _NothingNewError
            if not self.packed:
                raise HomeError(
                    "nothing_packed",
                    "no session is left to pack, and some cannot be read; the first: "
                    f"{self.failed[0].message}",
                    hint=self.failed[0].hint,
                )
            if not self.allow_secrets and any(secret.certain for secret in self.secrets.found()):
                raise _StoppedError
            packer.finish()

    def outcome(self, package: Json | None, *, stopped: bool = False) -> Outcome:
        """What came of it."""
        packed, failed = tuple(self.packed), tuple(self.failed)
        return Outcome(package, packed, failed, self.secrets.found(), self.known, stopped)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
