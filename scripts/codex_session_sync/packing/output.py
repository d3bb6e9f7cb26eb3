"""Where a package is written to: whole or not at all, never over something else."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ..codex.home import CodexHome
from ..durable import place, sync_all, sync_folder
from ..errors import HomeError, UsageError, hint_on
from ..package.encryption import encrypt

if TYPE_CHECKING:
    from pyrage import _Recipient


def require_free(out: Path, home: CodexHome) -> None:
    """Raise UsageError if there is something at ``out``, or it would lie in the home."""
    if os.path.lexists(out):
        raise _exists(out)
    if out.resolve().is_relative_to(home.path):
        raise UsageError(
            "output_in_home",
            f"{out} lies in the Codex home, which is only read",
            hint="name a place outside of it: `codex-session-sync AGAIN -o FILE`",
        )


@contextmanager
def new_file(out: Path) -> Iterator[BinaryIO]:
    """A file that gets the name ``out`` at the end, durable, unless an exception came.

    Raises UsageError ``output_exists``, HomeError ``output_not_writable``.
    """
    temporary = _beside(out)
    try:
        with output_errors(out):
            stream = temporary.open("x+b")
        try:
            with stream:
                yield stream
            with output_errors(out):
                sync_all([temporary])
                place(temporary, out)
                sync_folder(out.parent)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
    except FileExistsError as error:
        raise _exists(out) from error


@contextmanager
def new_encrypted_file(
    out: Path, recipients: Sequence[_Recipient], progress: Callable[[int], None] | None
) -> Iterator[BinaryIO]:
    """A file without a name whose content, encrypted, is a ``new_file`` at the end.

    Raises as ``new_file``.
    """
    with output_errors(out):
        plain = tempfile.TemporaryFile(dir=out.parent)  # noqa: SIM115
    with plain:
        yield plain
        plain.seek(0)
        with new_file(out) as stream, output_errors(out):
            encrypt(plain, stream, recipients, progress)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder that gets the name ``out`` at the end, durable, unless an exception came.

    Raises as ``new_file``.
    """
    temporary = _beside(out)
    with output_errors(out):
        temporary.mkdir()
    try:
        yield temporary
        with output_errors(out):
            sync_all(sorted(path for path in temporary.rglob("*") if path.is_file()))
            if os.path.lexists(out):
                raise _exists(out)
            temporary.rename(out)
            sync_folder(out.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def scratch_folder(out: Path) -> Iterator[Path]:
    """A private folder beside ``out``, gone afterwards. Raises HomeError."""
    with output_errors(out):
        folder = tempfile.TemporaryDirectory(
            prefix=f".{out.name}.", suffix=".tmp", dir=out.parent, ignore_cleanup_errors=True
        )
    with folder as path:
        yield Path(path)


@contextmanager
def output_errors(out: Path) -> Iterator[None]:
    """Turn OSError into HomeError (``output_not_writable``); a taken name goes on as it is."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise HomeError(
            "output_not_writable",
            f"{out} cannot be written: {error.strerror or error}",
            hint=hint_on(
                error,
                "make its folder, room on the disk, or mend its permissions, then run "
                "`codex-session-sync AGAIN`",
            ),
        ) from error


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _beside(out: Path) -> Path:
    return out.with_name(f".{out.name}.{os.getpid()}.tmp")


def _exists(out: Path) -> UsageError:
    return UsageError(
        "output_exists",
        f"there is something at {out} already",
        hint="name a new file, nothing is written over: `codex-session-sync AGAIN -o FILE`",
    )
