"""One pass over the slices of a history: entries fingerprinted, facts and edits noted."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import zstandard

from . import claims
from .codex.inventory import invalid, open_rollout
from .codex.items import text_of
from .codex.rollout import (
    EVENT,
    META,
    RESPONSE_ITEM,
    SETTINGS_APPLIED,
    TURN_CONTEXT,
    Line,
    parse_record,
    read_lines,
    record_key,
)
from .errors import SessionError
from .lineage.fingerprint import Fingerprinter, is_entry
from .model import EditKind, Facts, Json, ScannedSlice, Slice

Progress = Callable[[int], None]
"""Told of bytes read, as they are read."""

REWRITTEN = frozenset({META, TURN_CONTEXT})


@dataclass(slots=True)
class Gathering:
    """Facts under construction; see model.Facts."""

    records: int = 0
    turns: int = 0
    unreadable: int = 0
    torn: bool = False
    first_user_message: str | None = None
    own_first_message: str | None = None
    last_user_message: str | None = None
    last_timestamp: str | None = None
    last_cwd: str | None = None
    model: str | None = None
    reasoning_effort: str | None = None
    tokens: int = 0
    last_ordinal: int | None = None
    numbered_end: bool = False

    def note(self, record: Json, *, inherited: bool) -> None:
        """Take in one record, of the session itself or of another that it continues."""
        self.records += 1
        self.last_timestamp = record["timestamp"]
        payload = record["payload"]
        if record["type"] == EVENT:
            self._note_event(payload, inherited)
        elif record["type"] == TURN_CONTEXT:
            self.last_cwd = _text(payload.get("cwd")) or self.last_cwd
            self.model = _text(payload.get("model")) or self.model
            self.reasoning_effort = _text(payload.get("effort")) or self.reasoning_effort

    def _note_event(self, payload: Json, inherited: bool) -> None:
        match payload:
            case {"type": "user_message", "message": str(text)}:
                self._note_user(text, inherited)
            case {
                "type": "item_completed",
                "item": {"type": "UserMessage", "content": list(parts)},
            }:
                self._note_user(text_of(parts), inherited)
            case {"type": "thread_settings_applied", "thread_settings": {"cwd": str(cwd)}} if cwd:
                self.last_cwd = cwd
            case {
                "type": "token_count",
                "info": {"total_token_usage": {"total_tokens": int(total)}},
            } if not inherited and 0 <= total < 1 << 63:
                self.tokens = int(total)

    def _note_user(self, text: str, inherited: bool) -> None:
        self.turns += 1
        self.last_user_message = text
        if self.first_user_message is None:
            self.first_user_message = text
        if self.own_first_message is None and not inherited:
            self.own_first_message = text

    def freeze(self, meta: Json) -> Facts:
        """The facts of a session with this ``session_meta``."""
        return Facts(
            self.records,
            self.turns,
            self.unreadable,
            self.torn,
            self.first_user_message,
            self.own_first_message,
            self.last_user_message,
            _text(meta.get("timestamp")),
            self.last_timestamp,
            self.last_cwd or _text(meta.get("cwd")),
            self.model,
            self.reasoning_effort,
            self.tokens,
            self.last_ordinal,
            self.numbered_end,
        )


@dataclass(slots=True)
class Pass:
    """One pass over the slices of a session, oldest first."""

    session_id: str
    paginated: bool
    fingerprinter: Fingerprinter
    progress: Progress | None
    numbering: bool = False
    """Whether records get other ordinals than they have."""
    facts: Gathering = field(default_factory=Gathering)
    tail: list[str] = field(default_factory=list)
    claims: dict[bytes, int] = field(default_factory=dict)
    size: int = 0
    """Bytes of the slices read so far."""

    def read(self, part: Slice, *, own: bool) -> ScannedSlice:
        """Read one slice up to its end."""
        reading = _SliceReading(self, part, own)
        for line in lines_of(part, self.session_id):
            if reading.stops_before(line):
                break
            if self.progress:
                self.progress(len(line.data))
        found = reading.finish()
        self.size += found.size
        return found


class _SliceReading:
    """The state of reading one slice: digest, edits, and where it ends."""

    def __init__(self, pass_: Pass, part: Slice, own: bool) -> None:
        self._pass = pass_
        self._part = part
        self._own = own
        self._digest = hashlib.sha256()
        self._edits: array[int] = array("q")
        self._bad = False
        self._size = 0
        self._ordinal = -1
        self._ended = False
        self._head: int | None = None
        self._foreign = (
            None if part.file.thread_id == pass_.session_id else part.file.thread_id.encode("ascii")
        )

    def stops_before(self, line: Line) -> bool:
        """Take in a line of the slice; True, and nothing taken, for the first one beyond it."""
        record = parse_record(line.data)
        if is_beyond(self._part, line, record):
            self._ended = True
            return True
        if record is None:
            self._note_bad(line)
        else:
            self._note(line, record)
        self._digest.update(line.data)
        self._size = line.offset + len(line.data)
        return False

    def _note_bad(self, line: Line) -> None:
        facts = self._pass.facts
        if line.data.strip(b"\0 \t\r\n"):
            if line.ended:
                facts.unreadable += 1
            elif self._own:
                facts.torn = True
        elif not line.ended and self._own and b"\0" in line.data:
            facts.torn = True
        self._edit(line, EditKind.DROP, bad=True)

    def _note(self, line: Line, record: Json) -> None:
        ordinal = record.get("ordinal")
        self._pass.facts.numbered_end = isinstance(ordinal, int)
        if isinstance(ordinal, int):
            self._ordinal = self._pass.facts.last_ordinal = ordinal
        if is_entry(record):
            self._pass.fingerprinter.add(record, self._pass.size + line.offset + len(line.data))
            self._pass.tail.clear()
        else:
            self._pass.tail.append(record_key(record))
            if record["type"] == EVENT and not self._pass.paginated:
                self._pass.fingerprinter.note_event(record["payload"])
        if self._head is None:
            self._head = line.offset
        if record["type"] != META or line.offset == self._head:
            self._pass.facts.note(record, inherited=self._foreign is not None)
        kind = self._edit_kind(line, record)
        if kind is not None:
            self._edit(line, kind)
        if kind != EditKind.DROP:
            claims.note(self._pass.claims, record, self._pass.size + line.offset + len(line.data))

    def _edit_kind(self, line: Line, record: Json) -> EditKind | None:
        kind: Any = record["type"]
        if kind == META and (line.offset == self._head or not self._own):
            return EditKind.DROP
        if self._pass.numbering:
            return EditKind.NUMBERED
        if kind in REWRITTEN or not line.ended:
            return EditKind.RECORD
        if kind == EVENT and record["payload"].get("type") == SETTINGS_APPLIED:
            return EditKind.RECORD
        if self._pass.paginated and not isinstance(record.get("ordinal"), int):
            return EditKind.RECORD
        if self._foreign and kind != RESPONSE_ITEM and self._foreign in line.data:
            return EditKind.RECORD
        return None

    def _edit(self, line: Line, kind: EditKind, *, bad: bool = False) -> None:
        """Note an edit; lines that are no records, in a row, are one.

        A file of nothing else would fill memory.
        """
        edits, size = self._edits, len(line.data)
        if bad and self._bad and edits[-3] + edits[-2] == line.offset:
            edits[-2] += size
        else:
            edits.extend((line.offset, size, kind))
        self._bad = bad

    def finish(self) -> ScannedSlice:
        end = self._part.end
        short = end and self._ordinal + 1 < end.end_ordinal and self._size < end.end_offset
        if short and not self._ended:
            raise SessionError(
                "history_base_missing",
                f"the history it continues ({self._part.file.name}) ends before the point where "
                "this session took it up",
                hint="package the session together with the one it was forked from",
                session_id=self._pass.session_id,
            )
        return ScannedSlice(self._part, self._size, self._digest.hexdigest(), self._edits)


def lines_of(part: Slice, session_id: str) -> Iterator[Line]:
    """The lines of a slice's file, those beyond its end too."""
    try:
        with open_rollout(part.file) as stream:
            yield from read_lines(stream, session_id)
    except zstandard.ZstdError as error:
        raise invalid(part.file, f"cannot be decompressed: {error}") from error


def is_beyond(part: Slice, line: Line, record: Json | None) -> bool:
    """Whether a line lies after the end of its slice."""
    if part.limit is not None and line.offset >= part.limit:
        return True
    if part.end is None:
        return False
    ordinal = record.get("ordinal") if record else None
    if ordinal is None:
        return line.offset >= part.end.end_offset
    return int(ordinal) >= part.end.end_ordinal


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
