"""Byte streams out of archives: decompression that stops at bombs, reading in flat memory.

Formats: gzip RFC 1952 (several members, zero padding); zstd RFC 8878 (several frames, skippable
ones among them).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import zstandard

from ..errors import PackageError
from .members import Limits

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Progress = Callable[[int, int | None], None]
"""Called with bytes of the source read so far, and its size if known."""

CHUNK = 1 << 20
"""Bytes copied at a time."""

FEED = 128 << 10
"""Compressed bytes taken at a time; small, so that a bomb shows before much of it has come out."""

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = tuple(bytes([0x50 + n, 0x2A, 0x4D, 0x18]) for n in range(16))
ZSTD_STARTS = (ZSTD_MAGIC, *_SKIPPABLE)
GZIP_START = b"\x1f\x8b\x08"


def damaged(what: str) -> PackageError:
    """``package_damaged``: the archive breaks its own format; ``what`` is a whole clause."""
    return PackageError(
        "package_damaged",
        f"the archive is damaged: {what}",
        hint="copy it again, compare checksums with its sender, or ask for a new one",
    )


def check_expansion(given: int, taken: int, limits: Limits) -> None:
    """Raise PackageError (``package_unsafe``) if compressed bytes expand as only bombs do."""
    limit = None
    if given > limits.total_bytes:
        limit, what = "total_bytes", f"more than {limits.total_bytes} bytes"
    elif given > limits.ratio_from and given > taken * limits.ratio:
        limit, what = "ratio", f"more than {limits.ratio} times their size"
    if limit:
        raise PackageError(
            "package_unsafe",
            f"the archive expands to {what} ({given} bytes out of {taken} so far)",
            hint=f"if you trust its sender, raise the limit {limit}",
        )


class Tap(io.RawIOBase):
    """The archive file itself; reports how far it has been read."""

    def __init__(self, file: io.FileIO, size: int, progress: Progress | None) -> None:
        super().__init__()
        self.position = 0
        self.size = size
        self.progress = progress
        self._file = file

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes: only regular files are opened."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read once; 0 at the end."""
        count = self._file.readinto(buffer) or 0
        self.position += count
        if self.progress:
            self.progress(self.position, self.size)
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move; tells the new place."""
        self.position = self._file.seek(offset, whence)
        return self.position


class _Inflater(io.RawIOBase):
    """Decompressed bytes of a Tap, refused as soon as they are more than the limits allow."""

    def __init__(self, tap: Tap, limits: Limits) -> None:
        super().__init__()
        self._tap = tap
        self._limits = limits
        self._given = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Decompress up to a buffer full; 0 at the end.

        Raises PackageError: ``package_damaged``, ``package_unsafe``.
        """
        count = self._inflate(memoryview(buffer).cast("B"))
        self._given += count
        check_expansion(self._given, self._tap.position, self._limits)
        return count

    def _inflate(self, view: memoryview) -> int:
        raise NotImplementedError


class Gunzip(_Inflater):
    """gzip members, one after the other; zero bytes may follow the last."""

    def __init__(self, tap: Tap, limits: Limits) -> None:
        super().__init__(tap, limits)
        self._engine: zlib._Decompress | None = zlib.decompressobj(31)
        self._pending = b""

    def _inflate(self, view: memoryview) -> int:
        while True:
            if self._engine is None and not self._next_member():
                return 0
            assert self._engine is not None
            data = self._pending or self._tap.read(FEED) or b""
            try:
                out = self._engine.decompress(data, len(view))
            except zlib.error as error:
                raise damaged(f"its gzip data is not valid ({error})") from error
            if self._engine.eof:
                self._pending = self._engine.unused_data
                self._engine = None
            else:
                self._pending = self._engine.unconsumed_tail
                if not data and not out:
                    raise damaged("it ends within its gzip data")
            if out:
                view[: len(out)] = out
                return len(out)

    def _next_member(self) -> bool:
        data = self._pending.lstrip(b"\0")
        while not data:
            data = self._tap.read(FEED) or b""
            if not data:
                return False
            data = data.lstrip(b"\0")
        self._pending = data
        self._engine = zlib.decompressobj(31)
        return True


class Unzstd(_Inflater):
    """zstd frames, one after the other.

    The library takes the end of its input for the end of the data; a FrameWatch tells a cut frame.
    """

    def __init__(self, tap: Tap, limits: Limits) -> None:
        super().__init__(tap, limits)
        self._watch = FrameWatch(limits)
        engine = zstandard.ZstdDecompressor(max_window_size=limits.window_bytes)
        self._reader = engine.stream_reader(
            _Watched(tap, self._watch),  # type: ignore[arg-type]
            read_size=FEED,
            read_across_frames=True,
        )

    def _inflate(self, view: memoryview) -> int:
        try:
            count = self._reader.readinto(view)
        except zstandard.ZstdError as error:
            raise damaged(f"its zstd data is not valid ({error})") from error
        if not count and not self._watch.whole:
            raise damaged("it ends within its zstd data")
        return count


class _Watched:
    """A Tap for the zstd library, which asks no more of it than ``read``."""

    def __init__(self, tap: Tap, watch: FrameWatch) -> None:
        self._tap = tap
        self._watch = watch

    def read(self, size: int) -> bytes:
        """Read once; empty at the end."""
        data = self._tap.read(size) or b""
        self._watch.feed(data)
        return data


class FrameWatch:
    """Follows the frames in zstd data as it passes, without decompressing.

    ``whole`` tells whether what has passed ends where a frame ends. Data that is no frame is left
    for the library to refuse.
    """

    def __init__(self, limits: Limits) -> None:
        self.whole = True
        self._limits = limits
        self._steps = self._frames()
        self._wanted = next(self._steps)
        self._got = bytearray()

    def feed(self, data: bytes) -> None:
        """Take note of the next bytes.

        Raises PackageError (``package_unsafe``) if a frame asks for a window over the limit.
        """
        at = 0
        while at < len(data):
            self.whole = False
            if self._wanted < 0:
                step = min(-self._wanted, len(data) - at)
                self._wanted += step
                done = not self._wanted
            else:
                step = min(self._wanted - len(self._got), len(data) - at)
                self._got += data[at : at + step]
                done = len(self._got) == self._wanted
            at += step
            if done:
                got, self._got = bytes(self._got), bytearray()
                self._wanted = self._steps.send(got)

    def _frames(self) -> Generator[int, bytes, None]:
        """Yields how many bytes it needs (negative: how many to pass over); is sent them."""
        while True:
            magic = yield 4
            if magic in _SKIPPABLE:
                (size,) = struct.unpack("<I", (yield 4))
                if size:
                    yield -size
            elif magic == ZSTD_MAGIC:
                yield from self._frame()
            else:
                while True:
                    yield -(1 << 40)
            self.whole = True

    def _frame(self) -> Generator[int, bytes, None]:
        descriptor = (yield 1)[0]
        single = bool(descriptor & 0x20)
        size_bytes = (int(single), 2, 4, 8)[descriptor >> 6]
        if not single:
            window = (yield 1)[0]
            base = 1 << (10 + (window >> 3))
            self._check_window(base + (base >> 3) * (window & 7))
        dictionary = (0, 1, 2, 4)[descriptor & 3]
        if dictionary:
            yield -dictionary
        if size_bytes:
            size = int.from_bytes((yield size_bytes), "little")
            if single:
                self._check_window(size)
        last = False
        while not last:
            block = int.from_bytes((yield 3), "little")
            last = bool(block & 1)
            stored = 1 if (block >> 1) & 3 == 1 else block >> 3
            if stored:
                yield -stored
        if descriptor & 4:
            yield -4

    def _check_window(self, window: int) -> None:
        if window > self._limits.window_bytes:
            raise PackageError(
                "package_unsafe",
                f"the archive needs {window} bytes of memory to unpack",
                hint="compress it again without --long or --ultra, or raise the limit window_bytes",
            )


class Source:
    """Decompressed bytes in order: exact reads, copies in one buffer, skips.

    ``size`` is given for a plain file, whose bytes are passed over by seeking.
    """

    def __init__(self, raw: io.RawIOBase, size: int | None) -> None:
        self.position = 0
        self._stream = io.BufferedReader(raw, CHUNK)
        self._size = size
        self._buffer = memoryview(bytearray(CHUNK))

    def read(self, count: int) -> bytes:
        """Up to ``count`` bytes, fewer only at the end."""
        data = self._stream.read(count)
        self.position += len(data)
        return data

    def copy(self, count: int, write: Callable[[memoryview], None] | None) -> None:
        """Hand exactly ``count`` bytes to ``write``, or to nobody.

        Raises PackageError (``package_damaged``) if there are fewer.
        """
        left = count
        while left:
            got = self._stream.readinto(self._buffer[: min(left, CHUNK)])
            if not got:
                raise damaged("it ends within a member")
            if write:
                write(self._buffer[:got])
            left -= got
            self.position += got

    def skip(self, count: int) -> None:
        """Pass over exactly ``count`` bytes; raises as ``copy`` does."""
        if self._size is None:
            self.copy(count, None)
            return
        if self.position + count > self._size:
            raise damaged("it ends within a member")
        if count:
            self.position = self._stream.seek(self.position + count)

    def drain(self) -> None:
        """Read compressed data to its end, so that all its checksums are compared."""
        while self._size is None and self._stream.readinto(self._buffer):
            pass
