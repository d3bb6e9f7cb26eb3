"""What the user said in a rollout, and when the rollout ends, read as a stream."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import zstandard

from ..model import Json, RolloutFile
from .inventory import invalid, open_rollout, read_head
from .items import text_of
from .messages import is_context
from .rollout import EVENT, RESPONSE_ITEM, parse_record, parse_time, read_lines

TAIL_BYTES = 64 << 10
"""How much of a file's end is looked at for its last record before the whole file is."""

_UUID7 = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A message of the user and its time in milliseconds.

    ``inherited``: it belongs to a turn that is older than the session, which a fork copied.
    """

    time_ms: int
    text: str
    inherited: bool


def read_prompts(file: RolloutFile, progress: Progress | None = None) -> Iterator[Prompt]:
    """The messages of the user in a rollout file, in its order; memory holds one line at a time.

    They are those that Codex shows, in events; where a file has no such events, those that the
    model was given, without what Codex itself put among them. Raises SessionError as ``read_head``
    and ``read_lines`` do.
    """
    made = _made_ms(file)
    found = False
    for prompt in _prompts(file, made, _shown, progress):
        found = True
        yield prompt
    if not found:
        yield from _prompts(file, made, _given, None)


def is_subagents(file: RolloutFile) -> bool:
    """Whether the session is one to which another session's model speaks. Raises SessionError."""
    source = read_head(file)["payload"].get("source")
    return isinstance(source, dict) and "subagent" in source


def last_time_ms(file: RolloutFile) -> int:
    """The time of the last record that has one, else the file's own, in milliseconds.

    Raises SessionError ``transcript_unreadable`` or ``transcript_invalid``.
    """
    found = None if file.compressed else _time_in_tail(file)
    if found is None:
        for record in _records(file, None, ()):
            found = _time_ms(record) or found
    return found if found is not None else file.mtime_ns // 1_000_000


def milliseconds(moment: datetime | None) -> int | None:
    """A time as milliseconds since 1970."""
    return round(moment.timestamp() * 1000) if moment is not None else None


_Reader = Callable[[Json], str | None]
"""Takes the text of a user's message from a record; None if the record has none."""

_MARKS = {"_shown": (b"user_message", b"UserMessage"), "_given": (b'"user"', b'"role"')}
"""What a line has in it if the reader of this name may find something there."""


def _prompts(
    file: RolloutFile, made: int | None, reader: _Reader, progress: Progress | None
) -> Iterator[Prompt]:
    inherited = False
    for record in _records(file, progress, (b"task_started", *_MARKS[reader.__name__])):
        payload = record["payload"]
        if record["type"] == EVENT and payload.get("type") == "task_started":
            begun = _uuid_ms(payload.get("turn_id"))
            inherited = begun is not None and made is not None and begun < made
        text = reader(record)
        moment = _time_ms(record)
        if text and not text.isspace() and moment is not None:
            yield Prompt(moment, text, inherited)


def _records(
    file: RolloutFile, progress: Progress | None, marks: tuple[bytes, ...]
) -> Iterator[Json]:
    """The records of a file whose lines have one of ``marks`` in them; all where there are none."""
    try:
        with open_rollout(file) as stream:
            for line in read_lines(stream, file.thread_id):
                if progress and not file.compressed:
                    progress(len(line.data))
                if not marks or any(mark in line.data for mark in marks):
                    record = parse_record(line.data)
                    if record is not None:
                        yield record
    except zstandard.ZstdError as error:
        raise invalid(file, f"cannot be decompressed: {error}") from error
    if progress and file.compressed:
        progress(file.size)


def _shown(record: Json) -> str | None:
    if record["type"] != EVENT:
        return None
    match record["payload"]:
        case {"type": "user_message", "message": str(text)}:
            return text
        case {"type": "item_completed", "item": {"type": "UserMessage", "content": list(parts)}}:
            return text_of(parts, "text")
    return None


def _given(record: Json) -> str | None:
    if record["type"] != RESPONSE_ITEM:
        return None
    match record["payload"]:
        case {"type": "message", "role": "user", "content": list(parts)}:
            text = text_of(parts, "input_text")
            return None if is_context(text) else text
    return None


def _made_ms(file: RolloutFile) -> int | None:
    """When the session was made: the earlier of what its id and its first record say.

    The newest file of a reverted session may have been begun later than its turns.
    """
    stated = milliseconds(parse_time(read_head(file)["payload"].get("timestamp")))
    known = [time for time in (stated, _uuid_ms(file.thread_id)) if time is not None]
    return min(known, default=None)


def _uuid_ms(identifier: object) -> int | None:
    """The milliseconds in a UUID of version 7."""
    match = _UUID7.fullmatch(identifier) if isinstance(identifier, str) else None
    return int(match[1] + match[2], 16) if match else None


def _time_ms(record: Json) -> int | None:
    return milliseconds(parse_time(record["timestamp"]))


def _time_in_tail(file: RolloutFile) -> int | None:
    """The time of the last whole record near the end of a plain file; None if none is there."""
    with open_rollout(file) as stream:
        stream.seek(max(0, stream.seek(0, 2) - TAIL_BYTES))
        lines = stream.read(TAIL_BYTES).split(b"\n")
    for line in reversed(lines):
        record = parse_record(line)
        found = _time_ms(record) if record is not None else None
        if found is not None:
            return found
    return None
