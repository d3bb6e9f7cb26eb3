"""Staging: wanted members of an archive become files under names of our own making."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import PackageError
from .members import PackageFile, identity_of

_WAL = "-wal"


class Sink:
    """The file being staged. ``write`` takes all of a buffer, or raises PackageError."""

    def __init__(self, handle: int) -> None:
        self.size = 0
        self._handle = handle

    def write(self, data: memoryview | bytes) -> None:
        """Append; raises PackageError (``package_not_staged``) when the disk does not take it."""
        view = memoryview(data)
        try:
            while view:
                written = os.write(self._handle, view)
                self.size += written
                view = view[written:]
        except OSError as error:
            raise not_staged(error) from error


class Staging:
    """A private folder that takes files; no name out of a package reaches the file system."""

    def __init__(self, folder: Path) -> None:
        self.files: dict[str, PackageFile] = {}
        self._folder = folder

    @contextmanager
    def add(self, name: str, mtime_ns: int) -> Iterator[Sink]:
        """Take one member, written through the Sink; it is in ``files`` once that ended well.

        Raises PackageError (``package_not_staged``).
        """
        path = self._folder / _own_name(name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            handle = os.open(path, flags, 0o600)
        except OSError as error:
            raise not_staged(error) from error
        try:
            sink = Sink(handle)
            yield sink
            identity = identity_of(os.fstat(handle))
        finally:
            os.close(handle)
        self.files[name] = PackageFile(name, path, sink.size, mtime_ns, identity)


def not_staged(error: OSError) -> PackageError:
    """``package_not_staged``: unpacking failed on this side."""
    return PackageError(
        "package_not_staged",
        f"the archive cannot be unpacked: {error.strerror or error}",
        hint="free disk space, or set TMPDIR to a folder with room for the unpacked sessions",
    )


def _own_name(name: str) -> str:
    """A file name that depends on ``name`` without containing it.

    A database and its write-ahead log keep belonging together: same stem, ``-wal`` added.
    """
    stem = name.removesuffix(_WAL)
    digest = hashlib.sha256(stem.encode("utf-8", "surrogatepass")).hexdigest()[:40]
    return digest + name[len(stem) :]
