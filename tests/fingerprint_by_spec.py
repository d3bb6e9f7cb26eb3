"""Fingerprint version 2 a second time, written from ``references/fingerprint.md`` alone.

Plain and slow, with nothing but the standard library: the expected values of the test vectors come
from here, and the program is compared with it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

SEED = hashlib.sha256(b"codex-session-sync fingerprint 2\n").digest()
NIL = "00000000-0000-0000-0000-000000000000"
DEEPEST = 127
BLANK = b"\t\n\v\f\r "
ID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Fingerprint:
    """What the specification computes for one session."""

    entries: list[bytes]
    digests: list[str]
    links: list[str]
    lineage_id: str


@dataclass
class Turn:
    """The entries of a turn; ``user_from`` is where the first user message in it begins."""

    entries: list[bytes] = field(default_factory=list)
    user_from: int | None = None


def fingerprint(files: Mapping[str, bytes], tip: str) -> Fingerprint:
    """The fingerprint of the session whose newest file is that of segment ``tip``.

    ``files`` has the decompressed bytes of each file by its segment id.
    """
    head = meta_of(files[tip])
    entries = standing(resolved(files, tip), legacy=head.get("history_mode") != "paginated")
    digests = [hashlib.sha256(entry).digest() for entry in entries]
    links = chained(digests)
    named = (
        links[0].hex() if links else hashlib.sha256(b"session " + head["id"].encode()).hexdigest()
    )
    return Fingerprint(
        entries, [d.hex() for d in digests], [link.hex() for link in links], named[:32]
    )


def chained(digests: list[bytes]) -> list[bytes]:
    """The links over the digests of entries."""
    links: list[bytes] = []
    last = SEED
    for digest in digests:
        last = hashlib.sha256(last + digest).digest()
        links.append(last)
    return links


def common(one: list[str], other: list[str]) -> int:
    """The number of leading links that are the same."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def resolved(files: Mapping[str, bytes], tip: str) -> list[Json]:
    """The records of a session, inherited history first."""
    parts = [(tip, math.inf, math.inf)]
    base = meta_of(files[tip]).get("history_base")
    limit = math.inf
    while base is not None:
        segment = base["thread_id"]
        limit = min(limit, base["end_ordinal_exclusive"])
        parts.insert(0, (segment, limit, base["end_byte_offset"]))
        base = meta_of(files[segment]).get("history_base")
    return [
        record
        for segment, end_ordinal, end_offset in parts
        for record in records_before(files[segment], end_ordinal, end_offset)
    ]


def records_before(data: bytes, end_ordinal: float, end_offset: float) -> Iterator[Json]:
    """The records of a file up to the first line that lies beyond the end."""
    for offset, line in lines(data):
        record = parse(line)
        ordinal = None if record is None else record.get("ordinal")
        if offset >= end_offset if ordinal is None else ordinal >= end_ordinal:
            return
        if record is not None:
            yield record


def lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines of a file, each with the offset of its first byte."""
    offset = 0
    for line in data.split(b"\n"):
        yield offset, line
        offset += len(line) + 1


def meta_of(data: bytes) -> Json:
    """The payload of a file's first record, which only blank lines may precede."""
    record = parse(next(line for line in data.split(b"\n") if line.strip(BLANK)))
    assert record is not None
    assert record["type"] == "session_meta"
    payload: Json = record["payload"]
    return payload


def parse(line: bytes) -> Json | None:
    """The record of a line, None if it is none."""
    try:
        value = json.loads(
            line.decode("utf-8"),
            parse_int=integer,
            parse_float=floating,
            parse_constant=floating,
            object_pairs_hook=whole,
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")
        if not isinstance(value, dict) or depth(value) > DEEPEST:
            return None
    except (ValueError, RecursionError):
        return None
    ordinal = value.get("ordinal")
    if ordinal is not None and (type(ordinal) is not int or ordinal < 0):
        return None
    kinds = (("type", str), ("timestamp", str), ("payload", dict))
    return value if all(isinstance(value.get(key), kind) for key, kind in kinds) else None


def whole(pairs: list[tuple[str, Any]]) -> Json:
    """An object of which the last of several equal keys counts; a lone surrogate is an error."""
    json.dumps(pairs, ensure_ascii=False).encode("utf-8")
    return dict(pairs)


def integer(literal: str) -> int | float:
    """An integer, or beyond 64 bits the nearest float."""
    if len(literal) < 25 and -(2**63) <= int(literal) < 2**64:
        return int(literal)
    return floating(literal)


def floating(literal: str) -> float:
    """The nearest float, which must be finite."""
    value = float(literal)
    if not math.isfinite(value):
        raise ValueError(literal)
    return value


def depth(value: object) -> int:
    """How deep objects and arrays are in each other."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return 0
    return 1 + max(map(depth, value), default=0)


def standing(records: list[Json], *, legacy: bool) -> list[bytes]:
    """The canonical entries, without those of turns that a legacy session took back."""
    turns = [Turn()]
    last_user = 0
    for record in records:
        payload = record["payload"]
        if record["type"] in ("response_item", "compacted"):
            if payload.get("role") == "user":
                last_user = len(turns[-1].entries)
            turns[-1].entries.append(canonical_entry(record))
        elif record["type"] == "event_msg" and legacy:
            match payload.get("type"):
                case "task_started":
                    turns.append(Turn())
                    last_user = 0
                case "user_message":
                    if turns[-1].user_from is None:
                        turns[-1].user_from = last_user
                case "thread_rolled_back":
                    roll_back(turns, payload.get("num_turns"))
                    last_user = 0
    return [entry for turn in turns for entry in turn.entries]


def roll_back(turns: list[Turn], count: object) -> None:
    """Take back the last ``count`` turns that have a user's message."""
    users = [turn for turn in turns if turn.user_from is not None]
    first = users[0] if users else None
    for _ in range(count if type(count) is int else 0):
        if not users:
            break
        turn = users.pop()
        turn.entries = turn.entries[: turn.user_from] if turn is first else []
        turn.user_from = None


def canonical_entry(record: Json) -> bytes:
    """The bytes that an entry's digest covers."""
    payload = record["payload"]
    if record["type"] == "compacted":
        kept = ("message", "replacement_history")
        payload = {key: payload[key] for key in kept if payload.get(key) is not None}
        history = payload.get("replacement_history")
        if isinstance(history, list):
            payload["replacement_history"] = [without_cwd(message) for message in history]
    else:
        payload = without_cwd(payload)
    text = ID.sub(NIL, canonical_json(payload))
    return f"{record['type']}\n{record['timestamp']}\n{text}".encode()


def without_cwd(message: Any) -> Any:
    """A message; if it is an environment message, with empty ``<cwd>`` elements."""
    if not isinstance(message, dict) or message.get("role") != "user":
        return message
    if not isinstance(message.get("content"), list):
        return message
    return {**message, "content": [part_without_cwd(part) for part in message["content"]]}


def part_without_cwd(part: Any) -> Any:
    """A part of a message's content, with empty ``<cwd>`` elements if it is an environment."""
    if not isinstance(part, dict) or not isinstance(part.get("text"), str):
        return part
    rest = part["text"]
    if not rest.startswith("<environment_context>"):
        return part
    done = ""
    while "<cwd>" in rest:
        before, _, after = rest.partition("<cwd>")
        _, closing, after = after.partition("</cwd>")
        if not closing:
            break
        done += f"{before}<cwd></cwd>"
        rest = after
    return {**part, "text": done + rest}


def canonical_json(value: Any) -> str:
    """A value as JSON: keys sorted by their UTF-8 bytes, no spaces, nothing escaped needlessly."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-8"))
        return "{" + ",".join(f"{quoted(key)}:{canonical_json(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical_json, value)) + "]"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, float):
        return number(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def quoted(text: str) -> str:
    """A string in quotes."""
    short = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n"}
    short |= {"\f": "\\f", "\r": "\\r"}
    escaped = (short.get(c, c) if c in short or c >= " " else f"\\u{ord(c):04x}" for c in text)
    return '"' + "".join(escaped) + '"'


def number(value: float) -> str:
    """A float by its shortest digits."""
    if value == 0:
        return "-0.0" if math.copysign(1, value) < 0 else "0.0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = f"{abs(value)!r}".partition("e")
    whole_part, _, fraction = mantissa.partition(".")
    # The value is 0.DIGITS times ten to the power of ``point``.
    point = len(whole_part) + int(exponent or 0)
    digits = (whole_part + fraction).rstrip("0")
    point -= len(digits) - len(digits.lstrip("0"))
    digits = digits.lstrip("0")
    if 0 < point <= 16:
        digits = digits.ljust(point, "0")
        return f"{sign}{digits[:point]}.{digits[point:] or '0'}"
    if -5 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{point - 1:+d}"
