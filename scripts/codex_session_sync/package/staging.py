"""Staging: wanted members of an archive become files under names of our own making."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import PackageError
from .members import PackageFile, identity_of

_WAL = "-wal"


@contextmanager
def staging_errors() -> Iterator[None]:
    """Turn OSError into PackageError (``package_not_staged``): unpacking failed on this side."""
    try:
        yield
    except OSError as error:
        raise PackageError(
            "package_not_staged",
            f"the archive cannot be unpacked: {error.strerror or error}",
            hint="free disk space, or set TMPDIR to a folder with room for the unpacked sessions",
        ) from error


class Staging:
    """A private folder that takes files; no name out of a package reaches the file system."""

    def __init__(self, folder: Path) -> None:
        self.files: dict[str, PackageFile] = {}
        self._folder = folder

    def add(self, name: str, mtime_ns: int, pieces: Iterable[bytes]) -> int:
        """Take one member, which is in ``files`` once that ended well; tells its size.

        Raises PackageError (``package_not_staged``), and what ``pieces`` raises.
        """
        path = self._folder / own_name(name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with staging_errors():
            handle = os.open(path, flags, 0o600)
        size = 0
        with open(handle, "wb", buffering=0) as out:  # noqa: PTH123 - a handle is no path
            for piece in pieces:
                size += len(piece)
                with staging_errors():
                    rest = memoryview(piece)
                    while rest:
                        rest = rest[out.write(rest) :]
            identity = identity_of(os.fstat(handle))
        self.files[name] = PackageFile(name, path, size, mtime_ns, identity)
        return size


def own_name(name: str) -> str:
    """A file name that depends on ``name`` without containing it.

    A database and its write-ahead log keep belonging together: same stem, ``-wal`` added.
    """
    stem = name.removesuffix(_WAL)
    digest = hashlib.sha256(stem.encode("utf-8", "surrogatepass")).hexdigest()[:40]
    return digest + name[len(stem) :]
