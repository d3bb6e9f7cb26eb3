"""Byte streams out of archives: decompressed by libraries, stopped at bombs, flat in memory."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import zstandard

from ..errors import PackageError
from .members import Limits, raising, shown

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Progress = Callable[[int, int | None], None]
"""Called with bytes of the source read so far, and its size if known."""

CHUNK = 1 << 20
"""Bytes copied at a time."""

_ZSTD_FEED = 1 << 10
"""Bytes of zstd data taken at a time: four of them can stand for 128 KiB, so 32 MiB at most."""

_BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, zstandard.ZstdError),
    *(EOFError, struct.error, NotImplementedError, RecursionError),
    *(ValueError, ArithmeticError, LookupError),
)
"""What the libraries raise on data that breaks its format, on purpose or by stumbling over it."""


def damaged(what: str) -> PackageError:
    """``package_damaged``: the archive breaks its own format; ``what`` is a whole clause."""
    return PackageError(
        "package_damaged",
        f"the archive is damaged: {what}",
        hint="copy it again, compare checksums with its sender, or ask for a new one",
    )


@contextmanager
def reading(what: str = "it") -> Iterator[None]:
    """Turn what the libraries raise on broken data into PackageError (``package_damaged``)."""
    try:
        yield
    except _BROKEN as error:
        raise damaged(f"{what} cannot be read to its end ({shown(str(error))})") from error


def check_expansion(given: int, taken: int, limits: Limits) -> None:
    """Raise PackageError (``package_unsafe``) if compressed bytes expand as only bombs do."""
    if given > limits.total_bytes:
        limit, what = "total_bytes", f"more than {limits.total_bytes} bytes"
    elif given > limits.ratio_from and given > taken * limits.ratio:
        limit, what = "ratio", f"more than {limits.ratio} times their size"
    else:
        return
    raise PackageError(
        "package_unsafe",
        f"the archive expands to {what} ({given} bytes out of {taken} so far)",
        hint=f"if you trust its sender, {raising(limit)}",
    )


class Tap(io.FileIO):
    """An archive file that reports how far it has been read."""

    def __init__(self, handle: int, progress: Progress | None) -> None:
        super().__init__(handle)
        self.progress = progress
        self.taken = 0
        self._size = os.fstat(handle).st_size

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read once; 0 at the end."""
        count = super().readinto(buffer) or 0
        self.taken = max(self.taken, self.tell())
        if self.progress:
            self.progress(self.taken, self._size)
        return count


def content(tap: Tap, kind: str, limits: Limits) -> Iterator[bytes]:
    """Yield the tar in a file of this kind, until it is more than the limits allow.

    Raises PackageError, and what the libraries raise: to be read within ``reading``.
    """
    given = 0
    with io.BufferedReader(tap, CHUNK // 8) as packed:
        pieces = {"tar": _plain, "tar.gz": _gunzip, "tar.zst": _unzstd}[kind](packed, limits)
        for piece in pieces:
            given += len(piece)
            check_expansion(given, tap.taken, limits)
            yield piece


def _plain(packed: BinaryIO, _: Limits) -> Iterator[bytes]:
    return iter(lambda: packed.read(CHUNK), b"")


def _gunzip(packed: BinaryIO, _: Limits) -> Iterator[bytes]:
    stream = gzip.GzipFile(fileobj=packed)
    return iter(lambda: stream.read(CHUNK), b"")


def _unzstd(packed: BinaryIO, limits: Limits) -> Iterator[bytes]:
    """Decompress frame by frame: the library's own stream reader takes a cut frame for the end."""
    library = zstandard.ZstdDecompressor(max_window_size=limits.window_bytes)
    frame = None
    while data := packed.read(_ZSTD_FEED):
        while data:
            frame = frame or library.decompressobj()
            try:
                yield frame.decompress(data)
            except zstandard.ZstdError as error:
                if "too much memory" not in str(error):
                    raise
                hint = f"compress it again without --long or --ultra, or {raising('window_bytes')}"
                what = f"the archive needs over {limits.window_bytes} bytes of memory to unpack"
                raise PackageError("package_unsafe", what, hint=hint) from error
            data = frame.unused_data
            frame = None if frame.eof else frame
    if frame:
        raise damaged("it ends within its zstd data")
