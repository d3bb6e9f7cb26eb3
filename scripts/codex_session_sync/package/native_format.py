"""The layout of a native package: header, parts, manifest, trailer.

``references/package-format.md`` is the specification.

The whole file is a sequence of zstandard frames, header and trailer being skippable ones, so that
the ``zstd`` tool still gives the transcripts out of a package that nothing else reads.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import zstandard

from ..errors import PackageError
from ..model import Json
from .members import Limits, over_limit, shown, unreadable
from .streams import CHUNK, check_expansion, damaged, reading

FORMAT_VERSION = 1
LEVEL = 3
"""Of compression; a part of the same content has the same bytes in every package."""

SKIPPABLE = 0x184D2A5E
HEADER = struct.Struct("<II8sII")
"""Skippable frame's magic number and size; our magic, the version, zero."""
TRAILER = struct.Struct("<IIQQ32s8s")
"""Skippable frame's magic number and size; offset, length, SHA-256 of the manifest's frame; end."""

_FRAME_HEAD = 8
MAGIC = b"\x89CSSpack"
END = b"CSSend\r\n"
START = struct.pack("<II8s", SKIPPABLE, HEADER.size - _FRAME_HEAD, MAGIC)
"""How every native package of any version begins."""

_FEED = 1 << 10
"""Bytes of zstd data taken at a time: four of them can stand for 128 KiB, so 32 MiB at most."""


@dataclass(frozen=True, slots=True)
class Part:
    """One frame: where it lies, the digest of its bytes, size and digest of what it holds."""

    name: str
    offset: int
    length: int
    frame_sha256: str
    size: int
    sha256: str

    @property
    def end(self) -> int:
        """Where the next part begins."""
        return self.offset + self.length


def pack_header() -> bytes:
    """The beginning of a package."""
    return HEADER.pack(SKIPPABLE, HEADER.size - _FRAME_HEAD, MAGIC, FORMAT_VERSION, 0)


def pack_trailer(manifest: Part) -> bytes:
    """The end of a package."""
    digest = bytes.fromhex(manifest.frame_sha256)
    size = TRAILER.size - _FRAME_HEAD
    return TRAILER.pack(SKIPPABLE, size, manifest.offset, manifest.length, digest, END)


def compressor() -> zstandard.ZstdCompressor:
    """What all frames are made with: one thread, so that equal content has equal bytes."""
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=False, write_content_size=True)


def locate_manifest(stream: BinaryIO) -> Part:
    """Check header and trailer; where the manifest lies, its ``size`` not being known.

    Raises PackageError: ``package_damaged``, ``package_version_unsupported``.
    """
    total = _size(stream)
    if total < HEADER.size + TRAILER.size:
        raise damaged("it is cut off: its manifest is missing")
    head = _read(stream, 0, HEADER.size)
    version = HEADER.unpack(head)[3]
    if not head.startswith(START) or version == 0:
        raise damaged("its header is not what it should be")
    if version > FORMAT_VERSION:
        raise PackageError(
            "package_version_unsupported",
            f"the package has format version {version}; this program reads version "
            f"{FORMAT_VERSION}",
            hint="update codex-session-sync, or make the package with an older one",
        )
    tail = _read(stream, total - TRAILER.size, TRAILER.size)
    magic, size, offset, length, digest, end = TRAILER.unpack(tail)
    known = (magic, size, end) == (SKIPPABLE, TRAILER.size - _FRAME_HEAD, END)
    if head != pack_header() or not known:
        raise damaged("it is cut off, or its header or trailer is not what it should be")
    if offset < HEADER.size or offset + length != total - TRAILER.size:
        raise damaged("its trailer names a place for the manifest that is none")
    return Part("manifest", offset, length, digest.hex(), 0, "")


def manifest_text(stream: BinaryIO, where: Part, limits: Limits) -> Iterator[bytes]:
    """What the manifest says, in pieces; it has been verified only when this has ended.

    Raises PackageError.
    """
    size = 0
    for piece in _unpacked(stream, where, limits):
        size += len(piece)
        if size > limits.metadata_bytes:
            what = f"is over {limits.metadata_bytes} bytes"
            raise over_limit("the manifest", what, "metadata_bytes")
        yield piece


def parts_of(listed: Iterable[Json], where: Part, limits: Limits) -> dict[str, Part]:
    """The parts that a manifest lists, by name, which fill the file up to the manifest itself.

    ``listed`` fits its schema. Raises PackageError if they do not, or are over the limits.
    """
    found: dict[str, Part] = {}
    place = HEADER.size
    total = 0
    for entry in listed:
        part = Part(**entry)
        if part.offset != place:
            raise damaged(f"part {shown(part.name)} does not begin where the one before it ends")
        if part.name in found:
            raise damaged(f"part {shown(part.name)} is there twice")
        if part.size > limits.file_bytes:
            raise over_limit(part.name, f"is over {limits.file_bytes} bytes", "file_bytes")
        total += part.size
        found[part.name] = part
        place = part.end
    if place != where.offset:
        raise damaged("there is more, or less, before its manifest than that lists")
    check_expansion(total, where.offset, limits)
    if len(found) > limits.files:
        raise over_limit("the package", f"has over {limits.files} parts", "files")
    return found


def contents(stream: BinaryIO, part: Part, limits: Limits) -> Iterator[bytes]:
    """Yield what a part holds; it has been verified only when this has ended.

    Raises PackageError (``package_damaged``, naming the part) where it is not as it is listed.
    """
    digest = hashlib.sha256()
    size = 0
    for piece in _unpacked(stream, part, limits):
        size += len(piece)
        if size > part.size:
            raise damaged(f"part {shown(part.name)} holds more than it should")
        digest.update(piece)
        yield piece
    if size != part.size or digest.hexdigest() != part.sha256:
        raise damaged(f"part {shown(part.name)} does not hold what it should")


def verify(stream: BinaryIO, part: Part) -> None:
    """Check the bytes of a part without unpacking it. Raises PackageError."""
    for _ in _stored(stream, part, CHUNK):
        pass


def _unpacked(stream: BinaryIO, part: Part, limits: Limits) -> Iterator[bytes]:
    """Decompress one frame that fills the part's place exactly."""
    with reading(f"part {shown(part.name)}"):
        frame = zstandard.ZstdDecompressor(max_window_size=limits.window_bytes).decompressobj()
        for data in _stored(stream, part, _FEED):
            if frame.eof:
                raise damaged(f"part {shown(part.name)} has more than one frame")
            yield frame.decompress(data)
            if frame.unused_data:
                raise damaged(f"part {shown(part.name)} has more than one frame")
        if not frame.eof:
            raise damaged(f"part {shown(part.name)} is cut off")


def _stored(stream: BinaryIO, part: Part, step: int) -> Iterator[bytes]:
    """Yield the bytes of a part as they are in the file, which are as listed if this ends."""
    digest = hashlib.sha256()
    place, end = part.offset, part.end
    while place < end:
        block = _read(stream, place, min(CHUNK, end - place))
        if not block:
            raise damaged(f"part {shown(part.name)} is cut off")
        digest.update(block)
        place += len(block)
        yield from _cut(block, step)
    if digest.hexdigest() != part.frame_sha256:
        raise damaged(f"part {shown(part.name)} is not what it was when it was packed")


def _size(stream: BinaryIO) -> int:
    try:
        return stream.seek(0, 2)
    except OSError as error:
        raise unreadable("the package", error) from error


def _read(stream: BinaryIO, place: int, length: int) -> bytes:
    try:
        stream.seek(place)
        return stream.read(length)
    except OSError as error:
        raise unreadable("the package", error) from error


def _cut(block: bytes, step: int) -> Iterable[bytes]:
    if step >= len(block):
        return (block,)
    return (block[start : start + step] for start in range(0, len(block), step))
