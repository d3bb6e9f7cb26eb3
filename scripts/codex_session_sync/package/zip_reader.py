"""Reading zip by its central directory, in flat memory, believing neither it nor the local headers.

Format: APPNOTE.TXT 6.3 (stored and deflated members, zip64); extra fields 0x0001 and 0x5455.
"""

from __future__ import annotations

import struct
import time
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from .members import Kind, Limits, kind_of_mode, unsafe
from .sieve import Sieve
from .staging import Sink, Staging
from .streams import CHUNK, FEED, Tap, check_expansion, damaged

ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")

_END = struct.Struct("<4s4H2IH")
_END64_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_CENTRAL = struct.Struct("<4s4B4H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_STREAMED = 0x8
_UTF8 = 0x800
_STORED, _DEFLATED = 0, 8
_DOS_FOLDER = 0x10
_U16, _U32 = 0xFFFF, 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class _Directory:
    offset: int
    end: int
    entries: int
    zip64: bool


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of the central directory; ``offset`` is that of its local header."""

    stored_name: bytes
    name: str
    kind: Kind
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    mtime_ns: int


def unpack_zip(tap: Tap, sieve: Sieve, staging: Staging, limits: Limits) -> None:
    """Stage the wanted members, in the order in which they lie in the file.

    Raises PackageError: ``package_damaged``, ``package_unsafe``, ``package_not_staged``.
    """
    progress, tap.progress = tap.progress, None
    wanted, ends = _choose(tap, sieve, limits)
    tap.progress = progress
    given = taken = 0
    for (name, entry), end in zip(wanted, ends, strict=True):
        _open_local(tap, entry, end)
        with staging.add(name, entry.mtime_ns) as sink:
            given += _Member(tap, entry, limits, (given, taken)).write_to(sink)
        taken += entry.packed


def _choose(tap: Tap, sieve: Sieve, limits: Limits) -> tuple[list[tuple[str, _Entry]], array[int]]:
    """The wanted entries by offset, and where the next member, or the directory, begins."""
    directory = _find_directory(tap)
    offsets = array("Q")
    wanted: list[tuple[str, _Entry]] = []
    for entry in _read_directory(tap, directory):
        if entry.offset >= directory.offset:
            raise damaged("a member is not where the zip directory says")
        offsets.append(entry.offset)
        name = sieve.admit(entry.name, entry.kind, entry.size)
        if name is not None:
            _check_readable(entry, limits)
            wanted.append((name, entry))
    wanted.sort(key=lambda pair: pair[1].offset)
    starts = [entry.offset for _, entry in wanted]
    ends = array("Q", [directory.offset]) * len(wanted)
    met = bytearray(len(wanted))
    for offset in offsets:
        at = bisect_right(starts, offset) - 1
        if at >= 0 and starts[at] == offset:
            if met[at]:
                raise unsafe(wanted[at][1].name, "overlaps another member")
            met[at] = 1
            at -= 1
        if at >= 0:
            ends[at] = min(ends[at], offset)
    return wanted, ends


def _find_directory(tap: Tap) -> _Directory:
    """Where the central directory lies, by the record that ends the file."""
    tail_at = max(0, tap.size - _END.size - _U16)
    tail = _read_at(tap, tail_at, tap.size - tail_at)
    at = len(tail)
    while (at := tail.rfind(b"PK\x05\x06", 0, at)) >= 0:
        if len(tail) - at >= _END.size:
            fields = _END.unpack_from(tail, at)
            if at + _END.size + fields[7] == len(tail):
                break
    else:
        raise damaged("it is cut, or something follows it: no zip directory at its end")
    _, disk, start_disk, _, entries, size, offset, _ = fields
    end = tail_at + at
    zip64 = _find_directory64(tap, end)
    if zip64 is not None:
        return zip64
    if disk or start_disk:
        raise damaged("it is one part of several")
    if offset + size != end:
        raise damaged("its zip directory is not where it is said to be")
    return _Directory(offset, end, entries, zip64=False)


def _find_directory64(tap: Tap, end: int) -> _Directory | None:
    at = end - _END64_LOCATOR.size
    if at < 0:
        return None
    magic, disk, record_at, disks = _END64_LOCATOR.unpack(_read_at(tap, at, _END64_LOCATOR.size))
    if magic != b"PK\x06\x07":
        return None
    if disk or disks > 1:
        raise damaged("it is one part of several")
    record = _read_at(tap, record_at, _END64.size)
    magic, length, _, _, _, _, _, entries, size, offset = _END64.unpack(record)
    if magic != b"PK\x06\x06" or record_at + 12 + length != at or offset + size != record_at:
        raise damaged("its zip directory is not where it is said to be")
    return _Directory(offset, record_at, entries, zip64=True)


def _read_directory(tap: Tap, directory: _Directory) -> Iterator[_Entry]:
    """Yield the entries; the directory is read in windows, never as a whole."""
    window = b""
    window_at = at = directory.offset
    count = 0
    while at < directory.end:
        # 46 fixed bytes and three texts of at most 64 KiB each.
        if len(window) - (at - window_at) < _CENTRAL.size + 3 * _U16:
            window_at = at
            window = _read_at(tap, at, min(CHUNK, directory.end - at))
        entry, length = _parse_entry(window, at - window_at)
        at += length
        count += 1
        yield entry
    # Without zip64 the number is of 16 bits; some writers let it wrap around.
    if (count if directory.zip64 else count & _U16) != directory.entries:
        raise damaged("its zip directory has not as many entries as it says")


def _parse_entry(window: bytes, at: int) -> tuple[_Entry, int]:
    if len(window) - at < _CENTRAL.size:
        raise damaged("its zip directory is cut")
    fields = _CENTRAL.unpack_from(window, at)
    magic, flags, method = fields[0], fields[5], fields[6]
    dos_time, dos_date, crc, packed, size = fields[7:12]
    name_length, extra_length, comment_length = fields[12:15]
    attributes, offset = fields[17], fields[18]
    name_at = at + _CENTRAL.size
    extra_at = name_at + name_length
    length = _CENTRAL.size + name_length + extra_length + comment_length
    if magic != b"PK\x01\x02" or at + length > len(window):
        raise damaged("its zip directory is broken")
    stored_name = window[name_at:extra_at]
    extras = _extras(window[extra_at : extra_at + extra_length])
    size, packed, offset = _wide(extras.get(0x0001, b""), size, packed, offset)
    name = _decode(stored_name, flags)
    entry = _Entry(
        stored_name=stored_name,
        name=name,
        kind=_kind(name, attributes),
        flags=flags,
        method=method,
        crc=crc,
        packed=packed,
        size=size,
        offset=offset,
        mtime_ns=_mtime_ns(extras.get(0x5455, b""), dos_date, dos_time),
    )
    return entry, length


def _extras(data: bytes) -> dict[int, bytes]:
    """The extra fields by their id; a broken rest is passed over."""
    extras: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        tag, length = struct.unpack_from("<2H", data, at)
        extras.setdefault(tag, data[at + 4 : at + 4 + length])
        at += 4 + length
    return extras


def _wide(extra: bytes, *narrow: int) -> list[int]:
    """Replace the values that say "see zip64", in the order in which zip64 lists them."""
    values: list[int] = []
    at = 0
    for value in narrow:
        if value == _U32:
            if at + 8 > len(extra):
                raise damaged("a zip64 entry lacks its numbers")
            values += struct.unpack_from("<Q", extra, at)
            at += 8
        else:
            values.append(value)
    return values


def _decode(stored: bytes, flags: int) -> str:
    """The name; several tools write UTF-8 without saying so."""
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return (
            stored.decode("utf-8", "surrogateescape") if flags & _UTF8 else stored.decode("cp437")
        )


def _kind(name: str, attributes: int) -> Kind:
    if name.endswith(("/", "\\")):
        return Kind.FOLDER
    mode = attributes >> 16
    if mode & 0o170000:
        return kind_of_mode(mode)
    return Kind.FOLDER if attributes & _DOS_FOLDER else Kind.FILE


def _mtime_ns(extra: bytes, dos_date: int, dos_time: int) -> int:
    """The stored time: the UTC one where there is one, else the local one of two-second steps."""
    if len(extra) >= 5 and extra[0] & 1:
        seconds: int = struct.unpack_from("<i", extra, 1)[0]
        return max(0, seconds) * 10**9
    date = (1980 + (dos_date >> 9), (dos_date >> 5) & 15, dos_date & 31)
    clock = (dos_time >> 11, (dos_time >> 5) & 63, (dos_time & 31) * 2)
    try:
        return max(0, int(time.mktime((*date, *clock, 0, 0, -1)))) * 10**9
    except (OverflowError, ValueError):
        return 0


def _check_readable(entry: _Entry, limits: Limits) -> None:
    if entry.flags & _ENCRYPTED:
        raise unsafe(entry.name, "is encrypted", "pack again without a password")
    if entry.method not in {_STORED, _DEFLATED}:
        what = f"is compressed by a method that is not read (number {entry.method})"
        raise unsafe(entry.name, what, "pack again with plain zip (deflate), or as tar.zst")
    if entry.method == _STORED and entry.packed != entry.size:
        raise damaged("a stored member has two sizes")
    check_expansion(entry.size, entry.packed, limits)


def _open_local(tap: Tap, entry: _Entry, end: int) -> None:
    """Put the tap on the member's data, once its local header agrees with the directory.

    ``end`` is where something else begins.
    """
    header = _read_at(tap, entry.offset, _LOCAL.size)
    magic, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack(
        header
    )
    if magic != b"PK\x03\x04":
        raise damaged("a member is not where the zip directory says")
    same = method == entry.method and not flags & _ENCRYPTED
    if not flags & _STREAMED:
        same = same and crc == entry.crc and packed in {entry.packed, _U32}
        same = same and size in {entry.size, _U32}
    if not same or _read_at(tap, entry.offset + _LOCAL.size, name_length) != entry.stored_name:
        raise unsafe(entry.name, "is not what the zip directory says it is")
    data_at = entry.offset + _LOCAL.size + name_length + extra_length
    if data_at + entry.packed > end:
        raise unsafe(entry.name, "overlaps another member")
    tap.seek(data_at)


class _Member:
    """The data of one member, to be written once, checked as it goes.

    ``before``: bytes given and taken by the members before it, for the judgement of expansion.
    """

    def __init__(self, tap: Tap, entry: _Entry, limits: Limits, before: tuple[int, int]) -> None:
        self._tap = tap
        self._entry = entry
        self._limits = limits
        self._before = before
        self._left = entry.packed
        self._crc = 0
        self._given = 0

    def write_to(self, sink: Sink) -> int:
        """Write all of it; tells its size. Raises PackageError."""
        pieces = self._inflated() if self._entry.method == _DEFLATED else self._packed(CHUNK)
        before, taken_before = self._before
        for piece in pieces:
            self._given += len(piece)
            if self._given > self._entry.size:
                raise unsafe(self._entry.name, "unpacks to more than its stated size")
            taken = taken_before + self._entry.packed - self._left
            check_expansion(before + self._given, taken, self._limits)
            self._crc = zlib.crc32(piece, self._crc)
            sink.write(piece)
        if self._given != self._entry.size or self._crc != self._entry.crc:
            raise damaged("a member does not match its checksum or size")
        return self._given

    def _packed(self, step: int) -> Iterator[bytes]:
        while self._left:
            data = self._tap.read(min(step, self._left))
            if not data:
                raise damaged("it ends within a member")
            self._left -= len(data)
            yield data

    def _inflated(self) -> Iterator[bytes]:
        engine = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            for data in self._packed(FEED):
                rest = data
                while rest and not engine.eof:
                    yield engine.decompress(rest, CHUNK)
                    rest = engine.unconsumed_tail
            while not engine.eof and (piece := engine.decompress(b"", CHUNK)):
                yield piece
        except zlib.error as error:
            raise damaged(f"a member's data is not valid ({error})") from error
        if not engine.eof or engine.unused_data:
            raise damaged("a member's data is cut, or more than it needs")


def _read_at(tap: Tap, offset: int, count: int) -> bytes:
    """Exactly ``count`` bytes from ``offset``; raises PackageError (``package_damaged``)."""
    if offset + count > tap.size:
        raise damaged("it is cut")
    tap.seek(offset)
    data = bytearray()
    while len(data) < count:
        piece = tap.read(count - len(data))
        if not piece:
            raise damaged("it is cut")
        data += piece
    return bytes(data)
