"""From the bytes of a session as they came to its records as JSON Lines, judged on the way."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from typing import Any

import orjson
import zstandard

from ..codex.rollout import MAX_LINE_BYTES
from ..errors import RequestError
from ..model import Json
from .limits import ServiceLimits

AGAIN = "drop the upload and send all of it again, under a new uploadId"

_PART_BYTES = 1 << 20
_FEED_BYTES = 1 << 10
"""Bytes of zstd data taken at a time: four of them can stand for 128 KiB, so 32 MiB at most."""


def decode_failed(what: str) -> RequestError:
    """``chunk_payload_decode_failed``: chunks are not what their encoding says."""
    return RequestError("chunk_payload_decode_failed", f"the upload is damaged: {what}", hint=AGAIN)


def json_invalid(what: str) -> RequestError:
    """``chunk_payload_json_invalid``: an upload does not hold records as JSON Lines."""
    return RequestError(
        "chunk_payload_json_invalid",
        f"the upload does not hold records: {what}",
        hint="each line of it is a JSON object, the first one the session_meta",
    )


class Lines:
    """JSON Lines as they come by: judged, digested, the first one kept."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._rest = bytearray()
        self._first: Json | None = None

    @property
    def sha256(self) -> str:
        """The digest of all that came, in hex."""
        return self._digest.hexdigest()

    def feed(self, data: bytes) -> None:
        """Take more. Raises RequestError ``chunk_payload_json_invalid``."""
        self._digest.update(data)
        whole, newline, rest = data.rpartition(b"\n")
        if newline:
            for line in (bytes(self._rest) + whole).split(b"\n"):
                self._judge(line)
            self._rest = bytearray(rest)
        else:
            self._rest += rest
        if len(self._rest) > MAX_LINE_BYTES:
            raise json_invalid(f"a line is longer than {MAX_LINE_BYTES} bytes")

    def end(self) -> Json:
        """The first record. Raises RequestError ``chunk_payload_json_invalid``."""
        self._judge(bytes(self._rest))
        if self._first is None:
            raise json_invalid("it is empty")
        return self._first

    def _judge(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            record: Any = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise json_invalid("a line is no JSON") from None
        if not isinstance(record, dict):
            raise json_invalid("a line is no JSON object")
        if self._first is None:
            self._first = record


def decompressed(parts: Iterator[bytes], encoding: str, limits: ServiceLimits) -> Iterator[bytes]:
    """What a stream in parts holds. Raises RequestError ``chunk_payload_decode_failed``."""
    try:
        yield from _gunzip(parts) if encoding.startswith("gzip") else _unzstd(parts, limits)
    except (zlib.error, zstandard.ZstdError):
        raise decode_failed(f"it is no {encoding.partition('+')[0]}") from None


def _gunzip(parts: Iterator[bytes]) -> Iterator[bytes]:
    member = None
    for part in parts:
        data = part
        while data:
            member = member or zlib.decompressobj(zlib.MAX_WBITS | 16)
            yield member.decompress(data, _PART_BYTES)
            data = member.unconsumed_tail or member.unused_data
            if member.eof:
                member = None
    while member is not None and (piece := member.decompress(b"", _PART_BYTES)):
        yield piece
    if member is not None and not member.eof:
        raise decode_failed("it ends within its gzip data")


def _unzstd(parts: Iterator[bytes], limits: ServiceLimits) -> Iterator[bytes]:
    library = zstandard.ZstdDecompressor(max_window_size=limits.window_bytes)
    frame = None
    for part in parts:
        for start in range(0, len(part), _FEED_BYTES):
            data = part[start : start + _FEED_BYTES]
            while data:
                frame = frame or library.decompressobj()
                yield frame.decompress(data)
                data = frame.unused_data
                frame = None if frame.eof else frame
    if frame is not None:
        raise decode_failed("it ends within its zstd data")
