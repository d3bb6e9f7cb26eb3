"""Native packages written and read as ``references/package-format.md`` says, and nothing else.

Writing needs the standard library alone: frames hold their content uncompressed, which any
zstandard library reads.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import zstandard

Json = dict[str, Any]

HEADER_BYTES = 24
TRAILER_BYTES = 64
BLOCK = 1 << 17


def header() -> bytes:
    return struct.pack("<II", 0x184D2A5E, 16) + b"\x89CSSpack" + struct.pack("<II", 1, 0)


def trailer(offset: int, frame: bytes) -> bytes:
    place = struct.pack("<IIQQ", 0x184D2A5E, 56, offset, len(frame))
    return place + hashlib.sha256(frame).digest() + b"CSSend\r\n"


def stored(data: bytes) -> bytes:
    """A zstandard frame of raw blocks: no dictionary, no checksum, content size in 8 bytes."""
    blocks = [data[i : i + BLOCK] for i in range(0, len(data), BLOCK)] or [b""]
    frame = struct.pack("<IBQ", 0xFD2FB528, 0b11100000, len(data))
    for number, block in enumerate(blocks):
        last = number == len(blocks) - 1
        frame += (len(block) << 3 | last).to_bytes(3, "little") + block
    return frame


def written(parts: Mapping[str, bytes], manifest: Json) -> bytes:
    """A package of these parts; the manifest gets its list of them."""
    out = header()
    listed = []
    for name, content in parts.items():
        frame = stored(content)
        listed.append(
            {
                "name": name,
                "offset": len(out),
                "length": len(frame),
                "frame_sha256": hashlib.sha256(frame).hexdigest(),
                "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        )
        out += frame
    frame = stored(json.dumps({**manifest, "parts": listed}).encode())
    return out + frame + trailer(len(out), frame)


def session(session_id: str, history: Sequence[str], links: Sequence[str], **more: Any) -> Json:
    """A session of a manifest; ``more`` takes the place of what is usual."""
    return {
        "session_id": session_id,
        "history": list(history),
        "size": 0,
        "history_mode": "paginated",
        "entries": len(links),
        "head": links[-1] if links else None,
        "meta": {"id": session_id},
        "facts": {"turns": 1, "unreadable": 0, "torn": False},
        "archived": False,
        "name": None,
        "row": None,
        "dynamic_tools": [],
        "spawn_edge": None,
        **more,
    }


def based(entry: Json, links: Sequence[str], entries: int) -> Json:
    """A session of a manifest without its first entries, ``links`` being those of all of them."""
    base = {"entries": entries, "head": links[entries - 1], "first": links[0]}
    return {**entry, "base": base, "entries": len(links), "head": links[-1]}


def tail(file_name: str, data: bytes, start: int, end: int) -> tuple[str, bytes]:
    """The part with the bytes of a rollout from ``start`` to ``end``: its name, and its content."""
    head = data[: data.index(b"\n") + 1]
    return f"tails/{start}-{end}/{file_name}", head + data[max(start, len(head)) : end]


def completed(entry: Json, parts: Mapping[str, bytes], held: bytes, cut: int) -> bytes:
    """The records of a session that has a base: those of the home's file up to byte ``cut``, in
    which the last entry of the base ends, and what the package has behind the heads of its files.
    """
    found = held[:cut]
    for name in entry["history"]:
        found += parts[name].split(b"\n", 1)[1]
    return found


def manifest(sessions: Sequence[Json]) -> Json:
    return {
        "format": "codex-session-sync/package/1",
        "fingerprint_version": 2,
        "origin": {"installation_id": None, "codex_version": None},
        "sessions": list(sessions),
    }


def read(data: bytes) -> tuple[Json, dict[str, bytes]]:
    """The manifest and the content of every part, all that can be checked being checked."""
    assert data[:HEADER_BYTES] == header()
    offset, length = struct.unpack_from("<QQ", data, len(data) - TRAILER_BYTES + 8)
    frame = data[offset : offset + length]
    assert offset + length == len(data) - TRAILER_BYTES
    assert data[-TRAILER_BYTES:] == trailer(offset, frame)
    found: Json = json.loads(unpacked(frame))
    parts = {}
    place = HEADER_BYTES
    for part in found["parts"]:
        assert part["offset"] == place
        place += part["length"]
        frame = data[part["offset"] : place]
        assert hashlib.sha256(frame).hexdigest() == part["frame_sha256"]
        parts[part["name"]] = content = unpacked(frame)
        assert (len(content), hashlib.sha256(content).hexdigest()) == (part["size"], part["sha256"])
    assert place == offset
    return found, parts


def unpacked(frame: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(frame)
