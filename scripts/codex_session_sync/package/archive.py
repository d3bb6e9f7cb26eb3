"""Archives: told by their content, never by their name, and unpacked into a staging folder."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import Literal

from ..errors import PackageError
from .members import Limits, unreadable
from .sieve import Sieve
from .staging import Staging
from .streams import GZIP_START, ZSTD_STARTS, Gunzip, Progress, Source, Tap, Unzstd
from .tar_reader import BLOCK, USTAR, is_header, read_members
from .zip_reader import ZIP_STARTS, unpack_zip

ArchiveKind = Literal["tar", "tar.gz", "tar.zst", "zip"]

_FOREIGN = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "7-zip",
    b"Rar!": "RAR",
    b"\x04\x22\x4d\x18": "lz4",
    b"SQLite format 3": "a SQLite database",
}


def unpack(
    path: Path, sieve: Sieve, staging: Staging, limits: Limits, progress: Progress | None
) -> ArchiveKind:
    """Stage the wanted members of the archive at ``path``; tells what it is.

    Raises PackageError: ``package_empty``, ``package_unknown_format``, ``package_damaged``,
    ``package_unsafe``, ``package_unreadable``, ``package_not_staged``. What was staged by then is
    left to the owner of the staging folder.
    """
    try:
        with _open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            kind = _kind_of(file.read(BLOCK) if size else b"")
            file.seek(0)
            if kind == "zip":
                unpack_zip(Tap(file, size, progress), sieve, staging, limits)
            else:
                _unpack_tar(kind, Tap(file, size, progress), sieve, staging, limits)
            return kind
    except OSError as error:
        raise unreadable("the package", error) from error


def _open_regular(path: Path) -> io.FileIO:
    """Open what must be a regular file, without waiting for the other end of a pipe."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    file = io.FileIO(handle)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        file.close()
        raise not_a_package("it is neither a folder nor a regular file")
    return file


def _kind_of(head: bytes) -> ArchiveKind:
    if not head:
        raise PackageError(
            "package_empty",
            "the package is an empty file",
            hint="copy it again, or ask for it anew",
        )
    if head.startswith(ZIP_STARTS):
        return "zip"
    if head.startswith(GZIP_START):
        return "tar.gz"
    if head.startswith(ZSTD_STARTS):
        return "tar.zst"
    if head[257:262] == USTAR or is_header(head):
        return "tar"
    for start, name in _FOREIGN.items():
        if head.startswith(start):
            raise not_a_package(f"its content is {name}")
    raise not_a_package("its content is no archive that is read")


def not_a_package(why: str) -> PackageError:
    """``package_unknown_format``: told by content, this is nothing that can be read."""
    return PackageError(
        "package_unknown_format",
        f"the package cannot be read: {why}",
        hint="name a folder, or a tar, tar.gz, tar.zst or zip file",
    )


def _unpack_tar(
    kind: ArchiveKind, tap: Tap, sieve: Sieve, staging: Staging, limits: Limits
) -> None:
    raw: io.RawIOBase = tap
    if kind == "tar.gz":
        raw = Gunzip(tap, limits)
    elif kind == "tar.zst":
        raw = Unzstd(tap, limits)
    source = Source(raw, tap.size if raw is tap else None)
    for member in read_members(source, limits):
        name = sieve.admit(member.name, member.kind, member.size)
        if name is not None:
            with staging.add(name, member.mtime_ns) as sink:
                source.copy(member.size, sink.write)
