"""Archives made by code, member by member, so that each can be wrong in exactly one way."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import zstandard

STEM = "rollout-2026-11-21T08-07-07-01a1fd25-10c9-7253-a7ef-c7821c2a9837"
ROLLOUT = f"sessions/2026/11/21/{STEM}.jsonl"
DATA = b'{"type":"session_meta"}\n'

TAR_END = bytes(1024)
BLOCK = 512


def gz(data: bytes) -> bytes:
    return gzip.compress(data, 6, mtime=0)


def zst(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(data)


WRAPS: dict[str, Callable[[bytes], bytes]] = {"tar": bytes, "tar.gz": gz, "tar.zst": zst}


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def header(
    name: str | bytes,
    size: int = 0,
    kind: bytes = b"0",
    *,
    link: str = "",
    magic: bytes = b"ustar\x0000",
    fields: dict[int, bytes] | None = None,
) -> bytes:
    """A tar header; ``fields`` overwrites bytes at offsets before the checksum is made."""
    block = bytearray(BLOCK)
    raw = name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")
    parts = {
        0: raw[:100],
        100: b"0000644\0",
        124: b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big"),
        136: b"%011o\0" % 1_763_712_427,
        148: b" " * 8,
        156: kind,
        157: link.encode(),
        257: magic,
        **(fields or {}),
    }
    for at, value in parts.items():
        block[at : at + len(value)] = value
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def member(name: str, data: bytes = DATA, kind: bytes = b"0", *, link: str = "") -> bytes:
    """One whole tar member; a name too long for the header gets a pax header in front."""
    raw = name.encode("utf-8", "surrogateescape")
    front = pax(path=raw) if len(raw) > 100 or b"\0" in raw else b""
    body = padded(data) if kind in b"0S7" else b""
    return front + header(raw, len(data) if body else 0, kind, link=link) + body


def pax(kind: bytes = b"x", **records: str | bytes) -> bytes:
    """An extended header; keywords with ``__`` for dots."""
    data = b""
    for key, value in records.items():
        raw = value if isinstance(value, bytes) else value.encode()
        record = b" " + key.replace("__", ".").encode() + b"=" + raw + b"\n"
        length = len(record) + len(str(len(record)))
        if len(str(length)) + len(record) != length:
            length += 1
        data += str(length).encode() + record
    return header("PaxHeaders/x", len(data), kind) + padded(data)


def tar(*members: bytes) -> bytes:
    return b"".join(members) + TAR_END


def tar_of(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar as the standard library writes it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mtime = 1_763_712_427
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@dataclass(frozen=True)
class Zipped:
    """One zip member; what is None follows from the data, what is set is written as it is."""

    name: str | bytes
    data: bytes = DATA
    method: int = 8
    flags: int = 0x800
    mode: int = 0o100644
    local_name: bytes | None = None
    size: int | None = None
    packed_size: int | None = None
    crc: int | None = None
    offset: int | None = None
    packed: bytes | None = None
    extra: bytes = b""
    local_extra: bytes = b""
    local_method: int | None = None

    @property
    def raw_name(self) -> bytes:
        return self.name if isinstance(self.name, bytes) else self.name.encode()

    @property
    def body(self) -> bytes:
        if self.packed is not None:
            return self.packed
        if self.method != 8:
            return self.data
        engine = zlib.compressobj(6, zlib.DEFLATED, -15)
        return engine.compress(self.data) + engine.flush()

    @property
    def numbers(self) -> tuple[int, int, int]:
        crc = zlib.crc32(self.data) if self.crc is None else self.crc
        packed = len(self.body) if self.packed_size is None else self.packed_size
        return crc, packed, len(self.data) if self.size is None else self.size

    def local(self) -> bytes:
        name = self.raw_name if self.local_name is None else self.local_name
        method = self.method if self.local_method is None else self.local_method
        numbers = (0, 0, 0) if self.flags & 8 else self.numbers
        fixed = struct.pack(
            "<4s5H3I2H",
            b"PK\x03\x04",
            20,
            self.flags,
            method,
            0x4000,
            0x5B75,
            *numbers,
            len(name),
            len(self.local_extra),
        )
        return fixed + name + self.local_extra + self.body

    def central(self, at: int) -> bytes:
        fixed = struct.pack(
            "<4s4B4H3I5H2I",
            b"PK\x01\x02",
            *(20, 3, 20, 0),
            *(self.flags, self.method, 0x4000, 0x5B75),
            *self.numbers,
            *(len(self.raw_name), len(self.extra), 0, 0, 0),
            self.mode << 16,
            at if self.offset is None else self.offset,
        )
        return fixed + self.raw_name + self.extra


@dataclass
class ZipEnd:
    """The record at the end of a zip; what is set is written as it is."""

    count: int | None = None
    size: int | None = None
    offset: int | None = None
    comment: bytes = b""
    disk: int = 0
    fields: dict[int, bytes] = field(default_factory=dict)


def zipped(*members: Zipped, end: ZipEnd | None = None) -> bytes:
    end = end or ZipEnd()
    body, directory = b"", b""
    for one in members:
        directory += one.central(len(body))
        body += one.local()
    record = struct.pack(
        "<4s4H2IH",
        b"PK\x05\x06",
        end.disk,
        end.disk,
        *[len(members) if end.count is None else end.count] * 2,
        len(directory) if end.size is None else end.size,
        len(body) if end.offset is None else end.offset,
        len(end.comment),
    )
    return body + directory + record + end.comment


def zip64(*members: Zipped) -> bytes:
    """A zip whose directory is described by the zip64 records alone."""
    plain = zipped(*members)
    *_, size, offset, _ = struct.unpack("<4s4H2IH", plain[-22:])
    at = offset + size
    record = struct.pack(
        "<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, len(members), len(members), size, offset
    )
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, at, 1)
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
    return plain[:at] + record + locator + end


def fill(root: Path, files: dict[str, bytes]) -> Path:
    """Write files below a directory."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def pieces(total: int, seed: int = 1) -> Iterable[bytes]:
    """About as compressible as transcripts: 64 KiB blocks, half of each random hex."""
    state = seed
    for _ in range(total // 65536):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        noise = b"".join(
            zlib.crc32(state.to_bytes(8, "big"), n).to_bytes(4, "big") for n in range(64)
        )
        yield (noise.hex().encode() + b'{"type":"response_item"}' * 8)[:512] * 128


def write_large(path: Path, total: int, *, level: int = 3) -> None:
    """A tar.zst with one member of ``total`` bytes (a multiple of 64 KiB), streamed."""
    engine = zstandard.ZstdCompressor(level=level)
    with path.open("wb") as out, engine.stream_writer(out) as stream:
        stream.write(header(ROLLOUT[:100], total))
        for piece in pieces(total):
            stream.write(piece)
        stream.write(TAR_END)
