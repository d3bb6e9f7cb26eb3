"""Rollout files: their names, their records, their lines.

Formats as measured with Codex 0.118.0 to 0.169.0; see ``references/codex-storage.md``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from io import BufferedReader
from typing import Any, BinaryIO, NamedTuple

import orjson

from ..errors import SessionError
from ..model import HistoryBase, HistoryMode, Json

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
NAME = re.compile(
    rf"rollout-(?P<stamp>\d{{4}}-\d\d-\d\dT\d\d-\d\d-\d\d)-(?P<thread>{UUID})"
    rf"(?:_(?P<segment>{UUID}))?\.jsonl(?P<zst>\.zst)?",
    re.ASCII,
)
SESSION_ID = re.compile(UUID)

META = "session_meta"
TURN_CONTEXT = "turn_context"
RESPONSE_ITEM = "response_item"
EVENT = "event_msg"
COMPACTED = "compacted"
SETTINGS_APPLIED = "thread_settings_applied"
ROLLED_BACK = "thread_rolled_back"

MAX_LINE_BYTES = 64 << 20
"""Longest record that is read; Codex's own longest are images of some megabytes."""

MAX_ORDINAL = (1 << 64) - 1
"""Highest ordinal that JSON readers hold as a whole number."""

MAX_DEPTH = 127
"""How deep Codex reads objects and arrays in each other, the record itself being the first."""

_SHOWN = {
    "user_message": "UserMessage",
    "agent_message": "AgentMessage",
    "agent_reasoning": "Reasoning",
    "agent_reasoning_raw_content": "Reasoning",
    "context_compacted": "ContextCompaction",
    "exec_command_end": "CommandExecution",
    "patch_apply_end": "FileChange",
    "mcp_tool_call_end": "McpToolCall",
    "web_search_end": "WebSearch",
    "image_generation_end": "Extension",
    "dynamic_tool_call_response": "DynamicToolCall",
    "entered_review_mode": "EnteredReviewMode",
    "exited_review_mode": "ExitedReviewMode",
}
"""Legacy events and the items that stand for them in a paginated transcript."""

_CHUNK = 1 << 20
_LONG, _FEW = 1 << 10, 64
"""From so many bytes on it is faster to look at so few values in each other than at the bytes."""
_MANY = 16
"""After so many empty lines in a row more are likely."""


@dataclass(frozen=True, slots=True)
class RolloutName:
    """The parts of a rollout's file name."""

    stamp: str
    thread_id: str
    segment_id: str
    compressed: bool

    @property
    def folder(self) -> tuple[str, str, str]:
        """The date folders below ``sessions/``: year, month, day."""
        return self.stamp[0:4], self.stamp[5:7], self.stamp[8:10]


class Line(NamedTuple):
    """One line of a rollout: where it begins, its bytes with the newline, if it has one."""

    offset: int
    data: bytes

    @property
    def ended(self) -> bool:
        """Whether the newline is there."""
        return self.data.endswith(b"\n")


def parse_name(name: str) -> RolloutName | None:
    """Split a base name; None if it is no rollout's."""
    match = NAME.fullmatch(name)
    if match is None:
        return None
    thread = match["thread"]
    return RolloutName(
        match["stamp"], thread, match["segment"] or thread, compressed=match["zst"] is not None
    )


def format_name(stamp: str, thread_id: str) -> str:
    """The base name of a self-contained, uncompressed rollout."""
    return f"rollout-{stamp}-{thread_id}.jsonl"


def parse_time(timestamp: object) -> datetime | None:
    """An ISO 8601 text as an aware time (UTC where it names no zone); None if it is not one."""
    if not isinstance(timestamp, str):
        return None
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def read_lines(stream: BinaryIO, session_id: str, offset: int = 0) -> Iterator[Line]:
    """Yield the lines of a stream, which is at ``offset``, each with its place.

    As ``lines`` otherwise.
    """
    made = Line._make
    for data in lines(stream, session_id, offset):
        yield made((offset, data))
        offset += len(data)


def lines(stream: BinaryIO, session_id: str, offset: int = 0) -> Iterator[bytes]:
    """Yield the lines of a stream, which is at ``offset``; memory is bounded by the longest line.

    Empty lines that follow each other may come as one.

    Raises SessionError (``transcript_line_too_long``) past MAX_LINE_BYTES.
    """
    empty, read = 0, 0
    for data in iter(partial(stream.readline, MAX_LINE_BYTES + 2), b""):
        if data == b"\n":
            empty += 1
            if empty % _MANY == 0:
                empty += _pass_over_empty(stream)
            if empty < _CHUNK:
                continue
        if empty:
            yield b"\n" * empty
            read, empty = read + empty, 0
            if data == b"\n":
                continue
        size = len(data)
        if size > MAX_LINE_BYTES + 1:
            raise SessionError(
                "transcript_line_too_long",
                f"a record at byte {offset + read} is longer than {MAX_LINE_BYTES >> 20} MiB",
                hint="no Codex release writes such records; look at the file by hand",
                session_id=session_id,
            )
        yield data
        read += size
    if empty:
        yield b"\n" * empty


def _pass_over_empty(stream: BinaryIO) -> int:
    """Read the newlines that come next, as many of them as are at hand."""
    if not isinstance(stream, BufferedReader):
        return 0
    ahead = stream.peek()
    return len(stream.read(len(ahead) - len(ahead.lstrip(b"\n"))))


def parse_record(data: bytes) -> Json | None:
    """A record as Codex would read it; None for a line that is none (blank, torn, garbage)."""
    try:
        record = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    try:
        payload, kind, timestamp = record["payload"], record["type"], record["timestamp"]
    except (KeyError, TypeError):
        return None
    if (
        type(record) is not dict
        or type(payload) is not dict
        or type(kind) is not str
        or type(timestamp) is not str
    ):
        return None
    ordinal = record.get("ordinal")
    if ordinal is not None and (type(ordinal) is not int or ordinal < 0):
        return None
    if len(data) <= 2 * MAX_DEPTH or (len(data) > _LONG and _is_shallow(record.values())):
        return record
    # So deep a record has as many brackets, each of which closes.
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH:
        return None if deeper(record, MAX_DEPTH) else record
    return record


def _is_shallow(values: Collection[Any], depth: int = 4) -> bool:
    """Whether there are few values, nested no deeper than ``depth``."""
    if len(values) > _FEW:
        return False
    for value in values:
        if type(value) is dict:
            if not depth or not _is_shallow(value.values(), depth - 1):
                return False
        elif type(value) is list and (not depth or not _is_shallow(value, depth - 1)):
            return False
    return True


def deeper(document: Json, most: int) -> bool:
    """Whether objects and arrays are in each other more than ``most`` times, the document itself
    being the first."""
    level: list[Any] = [document]
    for _ in range(most):
        values = (v for c in level for v in (c.values() if isinstance(c, dict) else c))
        level = [value for value in values if isinstance(value, dict | list)]
    return bool(level)


def record_key(record: Json) -> str:
    """What tells a record from others of its session in either history mode: time and kind."""
    kind = record["type"]
    if kind == EVENT:
        payload = record["payload"]
        kind = payload.get("type")
        item = payload.get("item")
        if kind == "item_completed" and isinstance(item, dict):
            kind = item.get("type")
        kind = _SHOWN.get(str(kind), kind)
    return f"{record['timestamp']} {kind}"


def with_ordinal(record: Json, ordinal: int, session_id: str) -> Json:
    """The record with its ordinal where Codex writes it, after the time.

    Raises SessionError (``transcript_invalid``) past MAX_ORDINAL.
    """
    if ordinal > MAX_ORDINAL:
        raise SessionError(
            "transcript_invalid",
            "the ordinals of its records go so high that none is left for the next one",
            hint="no Codex release writes such ordinals; look at the file by hand",
            session_id=session_id,
        )
    rest = {key: value for key, value in record.items() if key not in ("timestamp", "ordinal")}
    return {"timestamp": record["timestamp"], "ordinal": ordinal, **rest}


def dump_record(record: Json) -> bytes:
    """A record as one line, with its newline."""
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def history_mode(meta: Json) -> HistoryMode:
    """The history mode that a ``session_meta`` payload states; legacy when it states none."""
    return "paginated" if meta.get("history_mode") == "paginated" else "legacy"


def history_base(meta: Json) -> HistoryBase | None:
    """The inherited history that a ``session_meta`` payload names.

    Raises ValueError if it names one in a shape that cannot be followed.
    """
    base = meta.get("history_base")
    if base is None:
        return None
    match base:
        case {
            "thread_id": str(segment),
            "end_ordinal_exclusive": int(ordinal),
            "end_byte_offset": int(offset),
        } if SESSION_ID.fullmatch(segment) and ordinal >= 0 and offset >= 0:
            return HistoryBase(segment, ordinal, offset)
    raise ValueError("history_base has an unknown shape")


def base_name(path: object) -> str | None:
    """The last part of another machine's path, POSIX or Windows."""
    if not isinstance(path, str) or not path:
        return None
    return path.replace("\\", "/").rsplit("/", 1)[-1]
