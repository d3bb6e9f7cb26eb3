"""Reading tar as a stream: ustar, pax, GNU and v7, with the checks that tell damage from an end.

Formats: POSIX.1-2008 "pax", "ustar Interchange Format"; GNU tar manual, "Basic Tar Format". The
standard library's reader takes a cut or broken header for the end of the archive, and reads
extended headers of any size into memory; a package must not lose sessions, or memory, that way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..errors import PackageError
from .members import Kind, Limits, over_limit, unsafe
from .streams import Source, damaged

BLOCK = 512
USTAR = b"ustar"
"""At byte 257 of every header but those of the oldest tars."""
_ZEROS = bytes(BLOCK)

_KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"1": Kind.HARDLINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.DEVICE,
    b"4": Kind.DEVICE,
    b"5": Kind.FOLDER,
    b"D": Kind.FOLDER,
    b"6": Kind.FIFO,
    b"S": Kind.SPARSE,
}
_WITHOUT_DATA = frozenset(b"1 2 3 4 5 6".split())

_PAX, _PAX_SOLARIS, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK = b"x", b"X", b"g", b"L", b"K"
_EXTENSIONS = frozenset({_PAX, _PAX_SOLARIS, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK})
_MAX_EXTENSIONS = 16
_MAX_EXTENSION_BYTES = 8 << 20
_GLOBAL_REFUSED = frozenset({"path", "size"})
_PAX_LENGTH = re.compile(rb"(\d{1,20}) ")


@dataclass(frozen=True, slots=True)
class TarMember:
    """One member; its ``size`` bytes are next in the Source, and are passed over if not read."""

    name: str
    kind: Kind
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class _Header:
    name: str
    type: bytes
    size: int
    mtime: int
    extended_sparse: bool


@dataclass(slots=True)
class _Extensions:
    """What the headers before a member say of it."""

    count: int = 0
    long_name: str | None = None
    pax: dict[str, str] = field(default_factory=dict)


def is_header(block: bytes) -> bool:
    """Whether these 512 bytes are a tar header: its checksum is right and covers something."""
    if len(block) != BLOCK or block == _ZEROS:
        return False
    try:
        return _checksum_holds(block)
    except ValueError:
        return False


def read_members(source: Source, limits: Limits) -> Iterator[TarMember]:
    """Yield the members in order, up to the end mark; then read compressed data to its end.

    Raises PackageError: ``package_unknown_format`` if it does not begin as tar does,
    ``package_damaged`` for broken or missing parts, ``package_unsafe`` for what abuses the format.
    """
    extensions = _Extensions()
    while block := source.read(BLOCK):
        if block == _ZEROS:
            if extensions.count:
                raise damaged("it ends after an extended header")
            source.drain()
            return
        header = _parse_header(block, first=source.position <= BLOCK)
        if header.type in _EXTENSIONS:
            _extend(extensions, header, source, limits)
            continue
        if header.extended_sparse:
            _pass_sparse_map(source)
        member = _member(header, extensions)
        extensions = _Extensions()
        end = source.position + (0 if header.type in _WITHOUT_DATA else _padded(member.size))
        yield member
        source.skip(end - source.position)
    if source.position:
        raise damaged("it ends without the tar end mark")


def _parse_header(block: bytes, *, first: bool) -> _Header:
    try:
        if not _checksum_holds(block):
            raise ValueError("bad checksum")  # noqa: TRY301
        header = _fields(block)
    except (ValueError, IndexError) as error:
        if first and block[257:262] != USTAR:
            raise PackageError(
                "package_unknown_format",
                "the compressed file holds no tar archive",
                hint="pack the folder with tar, then compress",
            ) from error
        raise damaged("a tar header is broken or cut") from error
    if header.size < 0:
        raise damaged("a tar header states a negative size")
    return header


def _checksum_holds(block: bytes) -> bool:
    if len(block) != BLOCK:
        return False
    stated = _number(block[148:156])
    covered = block[:148] + b" " * 8 + block[156:]
    # Some old writers added the bytes as signed ones.
    return stated == sum(covered) or stated == sum(memoryview(covered).cast("b"))


def _fields(block: bytes) -> _Header:
    """Take a header apart; raises ValueError for numbers that are none."""
    kind = block[156:157]
    name = _text(block[:100])
    # Only POSIX headers have a prefix; GNU tar keeps times and the sparse map in its place.
    if block[257:263] == b"ustar\0" and (prefix := _text(block[345:500])):
        name = f"{prefix}/{name}"
    if kind == b"\0" and name.endswith("/"):
        kind = b"5"
    return _Header(
        name=name,
        type=kind,
        size=_number(block[124:136]),
        mtime=_number(block[136:148]),
        extended_sparse=kind == b"S" and bool(block[482]),
    )


def _number(octets: bytes) -> int:
    """An octal or base-256 number; raises ValueError."""
    if octets[0] in (0x80, 0xFF):
        return int.from_bytes(octets[1:], "big") - (
            1 << 8 * (len(octets) - 1) if octets[0] == 0xFF else 0
        )
    digits = octets.partition(b"\0")[0].strip(b" ")
    if digits and not digits.isdigit():
        raise ValueError("not an octal number")
    return int(digits or b"0", 8)


def _text(octets: bytes) -> str:
    return octets.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _extend(extensions: _Extensions, header: _Header, source: Source, limits: Limits) -> None:
    """Read an extended header into ``extensions``."""
    extensions.count += 1
    if extensions.count > _MAX_EXTENSIONS:
        raise damaged("it piles up extended headers without a member")
    if header.type == _LONG_LINK:
        source.skip(_padded(header.size))
        return
    if header.type == _LONG_NAME and header.size > limits.name_bytes + 1:
        what = f"stands for a name of {header.size} bytes, over {limits.name_bytes}"
        raise over_limit(header.name, what, "name_bytes")
    if header.size > _MAX_EXTENSION_BYTES:
        raise unsafe(header.name, f"is an extended header of {header.size} bytes")
    padded = _padded(header.size)
    data = source.read(padded)
    if len(data) != padded:
        raise damaged("it ends within an extended header")
    if header.type == _LONG_NAME:
        extensions.long_name = _text(data)
    elif header.type == _PAX_GLOBAL:
        _check_global(_pax_records(data[: header.size]))
    else:
        extensions.pax.update(_pax_records(data[: header.size]))


def _pax_records(data: bytes) -> dict[str, str]:
    """Records ``length key=value newline``, the length counting itself."""
    records = {}
    at = 0
    while at < len(data):
        match = _PAX_LENGTH.match(data, at)
        end = at + int(match[1]) if match else 0
        record = data[match.end() : end] if match else b""
        key, equals, value = record[:-1].partition(b"=")
        if end > len(data) or not record.endswith(b"\n") or not equals:
            raise damaged("an extended header is broken")
        records[_pax_text(key)] = _pax_text(value)
        at = end
    return records


def _pax_text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


def _check_global(records: dict[str, str]) -> None:
    """One name or size for all that follow has no honest use, and readers differ over it."""
    for key in records:
        if key in _GLOBAL_REFUSED or key.startswith("GNU.sparse."):
            raise unsafe(key, "is set for all members of the archive at once")


def _member(header: _Header, extensions: _Extensions) -> TarMember:
    pax = extensions.pax
    name = header.name if extensions.long_name is None else extensions.long_name
    name = pax.get("path", name)
    kind = _KINDS.get(header.type, Kind.OTHER)
    if any(key.startswith("GNU.sparse.") for key in pax):
        kind = Kind.SPARSE
        name = pax.get("GNU.sparse.name", name)
    if kind is Kind.FILE and name.endswith("/"):
        kind = Kind.FOLDER
    size = header.size
    if "size" in pax:
        if not (pax["size"].isascii() and pax["size"].isdigit()) or len(pax["size"]) > 20:
            raise damaged("an extended header states a size that is no number")
        size = int(pax["size"])
    return TarMember(name, kind, size, _mtime_ns(header.mtime, pax.get("mtime")))


def _mtime_ns(seconds: int, precise: str | None) -> int:
    """The stored time in nanoseconds; 0 for what no file system could hold."""
    whole, _, fraction = (precise or str(seconds)).partition(".")
    if not (whole + fraction).isdecimal() or len(whole) > 10:
        return 0
    return int(whole) * 10**9 + int(fraction[:9].ljust(9, "0"))


def _pass_sparse_map(source: Source) -> None:
    """The rest of an old GNU sparse map: blocks that each tell whether another follows."""
    more = True
    while more:
        block = source.read(BLOCK)
        if len(block) != BLOCK:
            raise damaged("it ends within a sparse file's map")
        more = bool(block[504])
