"""What a package is made of: its files, the limits on them, what is said of one that is refused."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from ..errors import PackageError, UsageError


@dataclass(frozen=True, slots=True)
class Limits:
    """What a package may ask of this machine; generous, and each can be raised.

    ``files``: wanted files. ``members``: entries of any kind, wanted or not. ``total_bytes``: the
    wanted files together, and all that an archive decompresses to. ``file_bytes``: one wanted file.
    ``ratio``: how far compression may expand, judged once ``ratio_from`` bytes have come out.
    ``name_bytes``: a whole name in UTF-8. ``depth``: its components. ``window_bytes``: the memory a
    zstd frame may ask for (the default is the ``zstd`` tool's own). ``metadata_bytes``: a document
    that is read as a whole. ``directory_bytes``: the directory of a zip archive.
    """

    files: int = 250_000
    members: int = 10_000_000
    total_bytes: int = 256 << 30
    file_bytes: int = 32 << 30
    ratio: int = 500
    ratio_from: int = 64 << 20
    name_bytes: int = 4096
    depth: int = 100
    window_bytes: int = 128 << 20
    metadata_bytes: int = 256 << 20
    directory_bytes: int = 64 << 20

    def expanded(self, size: int) -> int:
        """How many bytes may come out of one compressed file of ``size`` bytes."""
        return min(self.file_bytes, max(self.ratio_from, self.ratio * size))


DEFAULT_LIMITS = Limits()

_SIZES = frozenset(
    {"total_bytes", "file_bytes", "ratio_from", "name_bytes", "window_bytes"}
    | {"metadata_bytes", "directory_bytes"}
)
_NUMBER = re.compile(r"([1-9][0-9]{0,14})([KMGT]?)")


def parse_limits(texts: Iterable[str]) -> Limits:
    """The default limits, changed by texts ``NAME=N``; of equal names the last counts.

    ``N`` is a whole number over 0; sizes in bytes may end in K, M, G or T (powers of 1024). Raises
    UsageError (``limit_invalid``).
    """
    limits = DEFAULT_LIMITS
    known = [field.name for field in fields(Limits)]
    for text in texts:
        name, _, number = text.partition("=")
        match = _NUMBER.fullmatch(number)
        if name not in known:
            what, hint = "names no limit", f"the limits are {', '.join(known)}"
        elif match is None or (match[2] and name not in _SIZES):
            what, hint = "states no number for it", f"write {name}=N, for example {name}=1000"
        else:
            factor = 1024 ** " KMGT".index(match[2] or " ")
            limits = replace(limits, **{name: int(match[1]) * factor})
            continue
        raise UsageError("limit_invalid", f"the limit {shown(text)} {what}", hint=hint)
    return limits


def raising(limit: str) -> str:
    """How the user raises a limit, as the end of a hint."""
    return f"`codex-session-sync AGAIN --limit {limit}=N` raises it"


_HINT = "do not import it; ask its sender for a new package"


class Kind(StrEnum):
    """What a member is; the value completes the sentence "it is …"."""

    FILE = "a regular file"
    FOLDER = "a folder"
    SYMLINK = "a symbolic link"
    HARDLINK = "a hard link"
    DEVICE = "a device"
    FIFO = "a named pipe"
    SOCKET = "a socket"
    SPARSE = "a sparse file"
    OTHER = "of an unknown kind"


def kind_of_mode(mode: int) -> Kind:
    """The kind in a POSIX mode (``st_mode``, or a zip entry's external attributes)."""
    return _KINDS.get(stat.S_IFMT(mode), Kind.OTHER)


_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.FOLDER,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFBLK: Kind.DEVICE,
    stat.S_IFCHR: Kind.DEVICE,
    stat.S_IFIFO: Kind.FIFO,
    stat.S_IFSOCK: Kind.SOCKET,
}


def shown(name: str) -> str:
    """A stored name made harmless for terminals and short: quoted, escaped, cut in the middle."""
    text = repr(name)
    return text if len(text) <= 120 else f"{text[:64]}…{text[-48:]}"


def unsafe(name: str, what: str, hint: str = _HINT) -> PackageError:
    """``package_unsafe`` on one member; ``what`` continues the sentence after its name."""
    return PackageError("package_unsafe", f"{shown(name)} {what}", hint=hint)


def over_limit(name: str, what: str, limit: str) -> PackageError:
    """``package_unsafe`` where a limit would have to be raised to let the member through."""
    return unsafe(name, what, f"if you trust its sender, {raising(limit)}")


def changed(name: str) -> PackageError:
    """``package_changed``: a file is no longer the one that was listed."""
    return PackageError(
        "package_changed",
        f"{shown(name)} was replaced or removed while the package was being read",
        hint="read a copy that nothing writes to",
    )


def unreadable(what: str, error: OSError) -> PackageError:
    """``package_unreadable``: the operating system refuses to read ``what``."""
    return PackageError(
        "package_unreadable",
        f"{what} cannot be read: {error.strerror or error}",
        hint="check its permissions and the disk it is on",
    )


def not_a_package(why: str) -> PackageError:
    """``package_unknown_format``: told by content, this is nothing that can be read."""
    return PackageError(
        "package_unknown_format",
        f"the package cannot be read: {why}",
        hint="name a folder, or a tar, tar.gz, tar.zst or zip file",
    )


@dataclass(frozen=True, slots=True)
class PackageFile:
    """One regular file of a package, readable at ``path`` (in the source, or staged).

    ``name`` is its POSIX path in the package, as stored but without ``./`` and with backslashes
    turned; ``mtime_ns`` is the stored time, not that of a staged copy. ``identity`` is the device
    and inode seen when it was listed, None where the system tells none.
    """

    name: str
    path: Path
    size: int
    mtime_ns: int
    identity: tuple[int, int] | None = field(default=None, compare=False)

    def open(self) -> BinaryIO:
        """Open for reading; never follows a link in the last place, never blocks on a pipe.

        Raises PackageError: ``package_changed`` if what is there now is not the file that was
        listed, ``package_unreadable`` if it may not be read.
        """
        flags = os.O_RDONLY
        for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):
            flags |= getattr(os, flag, 0)
        try:
            handle = os.open(self.path, flags)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}:
                raise changed(self.name) from error
            raise unreadable(shown(self.name), error) from error
        try:
            self._check(os.fstat(handle))
            return os.fdopen(handle, "rb")
        except BaseException:
            os.close(handle)
            raise

    def _check(self, now: os.stat_result) -> None:
        if not stat.S_ISREG(now.st_mode) or self.identity not in {None, identity_of(now)}:
            raise changed(self.name)


def identity_of(status: os.stat_result) -> tuple[int, int] | None:
    """Device and inode; None where the system reports none (directory listings on Windows)."""
    return (status.st_dev, status.st_ino) if status.st_ino else None
