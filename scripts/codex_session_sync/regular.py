"""Reading what must be a regular file: no pipe is waited for, no device read, no link followed."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader, FileIO
from pathlib import Path

from .errors import HomeError

_READ = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)

BUFFER_BYTES = 1 << 16
"""What is read at once of a file that is read line by line."""


class NotAFileError(OSError):
    """What lies there is a link, a folder, a pipe or a device; ``strerror`` says it in words."""


def open_regular(path: Path, *, follow: bool = False) -> BufferedReader:
    """The bytes of a file, as a stream; ``follow``: a link may lead to it.

    Raises NotAFileError, FileNotFoundError and other OSError.
    """
    try:
        descriptor = os.open(path, _READ | (0 if follow else _NOFOLLOW))
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK) and not follow and path.is_symlink():
            raise _no_file(path, "it is a link, which is not followed") from error
        if error.errno == errno.ENXIO or path.is_dir():
            raise _no_file(path, "it is not a regular file") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_file(path, "it is not a regular file")
    return BufferedReader(FileIO(descriptor), BUFFER_BYTES)


def read_regular(path: Path, *, follow: bool = False) -> bytes:
    """All bytes of a file. Raises as ``open_regular`` does."""
    with open_regular(path, follow=follow) as stream:
        return stream.read()


def open_if_any(path: Path) -> BufferedReader | None:
    """A file of the home that Codex reads as well, through a link if need be; None without one.

    Raises HomeError ``not_a_file``, OSError.
    """
    try:
        return open_regular(path, follow=True)
    except FileNotFoundError:
        return None
    except NotAFileError as error:
        raise not_a_file(path) from error


def require_regular(path: Path) -> None:
    """Raise HomeError ``not_a_file`` if there is something that is no file, nor a link to one."""
    if path.exists() and not path.is_file():
        raise not_a_file(path)


def not_a_file(path: Path) -> HomeError:
    """``not_a_file``: a folder, a pipe or a device lies where Codex or this program has a file."""
    return HomeError(
        "not_a_file",
        f"{path} is not a regular file",
        hint="move away what lies there, then run `codex-session-sync AGAIN`",
    )


def _no_file(path: Path, why: str) -> NotAFileError:
    return NotAFileError(errno.EINVAL, why, str(path))
