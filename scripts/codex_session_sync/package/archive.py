"""Archives: told by their content, never by their name, and unpacked into a staging folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Literal

from ..errors import PackageError
from .members import Limits, not_a_package, unreadable
from .sieve import Sieve
from .staging import Staging
from .streams import Progress, Tap, content
from .tar_reader import is_tar, unpack_tar
from .zip_reader import unpack_zip

ArchiveKind = Literal["tar", "tar.gz", "tar.zst", "zip"]

_STARTS: dict[bytes, ArchiveKind] = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\x1f\x8b\x08": "tar.gz",
    b"\x28\xb5\x2f\xfd": "tar.zst",
    # Skippable frames, which may come before all others.
    **{bytes([0x50 + n, 0x2A, 0x4D, 0x18]): "tar.zst" for n in range(16)},
}
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
    # Without waiting for the other end of a pipe.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with Tap(os.open(path, flags), progress) as tap:
            if not stat.S_ISREG(os.fstat(tap.fileno()).st_mode):
                raise not_a_package("it is neither a folder nor a regular file")
            kind = _kind_of(tap.read(512) or b"")
            tap.seek(0)
            if kind == "zip":
                unpack_zip(tap, sieve, staging, limits)
            else:
                unpack_tar(content(tap, kind, limits), sieve, staging)
            return kind
    except OSError as error:
        raise unreadable("the package", error) from error


def _kind_of(head: bytes) -> ArchiveKind:
    if not head:
        what = "the package is an empty file"
        raise PackageError("package_empty", what, hint="copy it again, or ask for it anew")
    for start, kind in _STARTS.items():
        if head.startswith(start):
            return kind
    if is_tar(head):
        return "tar"
    for start, name in _FOREIGN.items():
        if head.startswith(start):
            raise not_a_package(f"its content is {name}")
    raise not_a_package("its content is no archive that is read")
