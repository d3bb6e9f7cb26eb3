"""One pass over the slices of a history: entries fingerprinted, facts and edits noted."""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

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

if TYPE_CHECKING:
    from hashlib import _Hash as Digest

Progress = Callable[[int], None]
"""Told of bytes read, as they are read."""

REWRITTEN = frozenset({META, TURN_CONTEXT})

_TELLING = frozenset({"token_count", "item_completed", "user_message", SETTINGS_APPLIED})
"""The events that facts are gathered from."""

_STEP = 1 << 20
"""Bytes after which progress is told."""


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

    def note_turn_context(self, payload: Json) -> None:
        """Take in what a turn begins with."""
        self.last_cwd = _text(payload.get("cwd")) or self.last_cwd
        self.model = _text(payload.get("model")) or self.model
        self.reasoning_effort = _text(payload.get("effort")) or self.reasoning_effort

    def note_event(self, kind: object, payload: Json, *, inherited: bool) -> None:
        """Take in an event of this kind; ``inherited``: of another session."""
        match kind, payload:
            case "token_count", {"info": {"total_token_usage": {"total_tokens": int(total)}}}:
                if not inherited and 0 <= total < 1 << 63:
                    self.tokens = int(total)
            case "item_completed", {"item": {"type": "UserMessage", "content": list(parts)}}:
                self._note_user(text_of(parts), inherited)
            case "user_message", {"message": str(text)}:
                self._note_user(text, inherited)
            case "thread_settings_applied", {"thread_settings": {"cwd": str(cwd)}} if cwd:
                self.last_cwd = cwd

    def _note_user(self, text: str, inherited: bool) -> None:
        self.turns += 1
        self.last_user_message = text
        if self.first_user_message is None:
            self.first_user_message = text
        if self.own_first_message is None and not inherited:
            self.own_first_message = text

    def freeze(self, meta: Json) -> Facts:
        """The facts of a session with this ``session_meta``; texts that are equal are one."""
        first = self.first_user_message
        return Facts(
            self.records,
            self.turns,
            self.unreadable,
            self.torn,
            first,
            first if self.own_first_message == first else self.own_first_message,
            first if self.last_user_message == first else self.last_user_message,
            _text(meta.get("timestamp")),
            self.last_timestamp,
            _shared(self.last_cwd or _text(meta.get("cwd"))),
            _shared(self.model),
            _shared(self.reasoning_effort),
            self.tokens,
            self.last_ordinal,
            self.numbered_end,
        )


class Stop(NamedTuple):
    """Where reading a slice stopped: last ordinal (-1: none yet), place of the first record,
    whether the last line was no record, whether there is more that is not of the slice, and whether
    the last line is whole."""

    ordinal: int = -1
    head: int | None = None
    bad: bool = False
    ended: bool = False
    whole: bool = True


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
    stops: list[Stop] = field(default_factory=list)
    """How reading each of the slices that were read ended."""

    def read(self, part: Slice, *, own: bool) -> ScannedSlice:
        """Read one slice up to its end."""
        reading = _SliceReading(self, part, own)
        reading.run(lines_of(part, self.session_id))
        return self._finished(reading)

    def read_on(self, before: ScannedSlice, stop: Stop) -> ScannedSlice | None:
        """Read what a session's newest file has beyond what was read of it, or of a copy.

        None, and nothing taken in, if it does not begin with that.
        """
        if not stop.whole or stop.ended:
            return None
        part = before.slice
        with opened(part) as stream:
            digest = beginning(stream, before)
            if digest is None:
                return None
            if self.progress:
                self.progress(before.size)
            self.size -= before.size
            reading = _SliceReading(self, part, own=True)
            reading.take_up(before, stop, digest)
            reading.run(read_lines(stream, self.session_id, before.size))
        return self._finished(reading)

    def _finished(self, reading: _SliceReading) -> ScannedSlice:
        found = reading.finish()
        self.size += found.size
        self.stops.append(reading.stop)
        return found


class _SliceReading:
    """The state of reading one slice: digest, edits, and where it ends."""

    def __init__(self, pass_: Pass, part: Slice, own: bool) -> None:
        self._pass = pass_
        self._part = part
        self._own = own
        self._digest = hashlib.sha256()
        self._edits: array[int] = array("q")
        self._size = 0
        self._ordinal, self._head, self._bad, self._ended, self._whole = Stop()
        self._foreign = (
            None if part.file.thread_id == pass_.session_id else part.file.thread_id.encode("ascii")
        )

    @property
    def stop(self) -> Stop:
        """Where it is."""
        return Stop(self._ordinal, self._head, self._bad, self._ended, self._whole)

    def take_up(self, before: ScannedSlice, stop: Stop, digest: Digest) -> None:
        """Be where another reading of the same bytes, of which this is the digest, stopped."""
        self._digest = digest
        self._edits, self._size = array("q", before.edits), before.size
        self._ordinal, self._head, self._bad, self._ended, self._whole = stop

    def run(self, lines: Iterator[Line]) -> None:
        """Take in the lines of the slice, up to the first one beyond it."""
        part, digest, told = self._part, self._digest, self._size
        bounded = part.limit is not None or part.end is not None
        progress = self._pass.progress
        for line in lines:
            record = parse_record(line.data)
            if bounded and is_beyond(part, line, record):
                self._ended = True
                break
            if record is None:
                self._note_bad(line)
            else:
                self._note(line, record)
            digest.update(line.data)
            self._size = line.offset + len(line.data)
            self._whole = line.ended
            if progress and self._size - told >= _STEP:
                progress(self._size - told)
                told = self._size
        if progress:
            progress(self._size - told)

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
        """Take in a record. What most records are comes first: this is where time is spent."""
        pass_ = self._pass
        facts, kind = pass_.facts, record["type"]
        end = pass_.size + line.offset + len(line.data)
        ordinal = record.get("ordinal")
        facts.numbered_end = ordinal is not None
        if ordinal is not None:
            self._ordinal = facts.last_ordinal = ordinal
        if self._head is None:
            self._head = line.offset
        edit = self._edit_kind(line, record)
        if kind == META and line.offset != self._head:
            pass_.tail.append(record_key(record))
        else:
            facts.records += 1
            facts.last_timestamp = record["timestamp"]
            if is_entry(record):
                pass_.fingerprinter.add(record, end)
                pass_.tail.clear()
            else:
                pass_.tail.append(record_key(record))
                self._note_other(kind, record["payload"])
        if edit is not None:
            self._edit(line, edit)
        if edit != EditKind.DROP:
            claims.note(pass_.claims, record, end)

    def _note_other(self, kind: str, payload: Json) -> None:
        pass_ = self._pass
        if kind == EVENT:
            event = payload.get("type")
            if isinstance(event, str) and event in _TELLING:
                pass_.facts.note_event(event, payload, inherited=self._foreign is not None)
            if not pass_.paginated:
                pass_.fingerprinter.note_event(payload)
        elif kind == TURN_CONTEXT:
            pass_.facts.note_turn_context(payload)

    def _edit_kind(self, line: Line, record: Json) -> EditKind | None:
        """What has to be done to a record where it is written; see EditKind."""
        pass_, kind = self._pass, record["type"]
        if kind == META and (line.offset == self._head or not self._own):
            return EditKind.DROP
        if pass_.numbering:
            return EditKind.NUMBERED
        if kind in REWRITTEN or not line.data.endswith(b"\n"):
            return EditKind.RECORD
        if kind == EVENT and record["payload"].get("type") == SETTINGS_APPLIED:
            return EditKind.RECORD
        if pass_.paginated and record.get("ordinal") is None:
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
                hint="have it packed with the one it was forked from: `codex-session-sync pack -o "
                "FILE "
                "--session ID` where it was made",
                session_id=self._pass.session_id,
            )
        return ScannedSlice(self._part, self._size, self._digest.hexdigest(), self._edits)


@contextmanager
def opened(part: Slice) -> Iterator[BinaryIO]:
    """The bytes of a slice's file. Raises SessionError where they cannot be decompressed."""
    try:
        with open_rollout(part.file) as stream:
            yield stream
    except zstandard.ZstdError as error:
        raise invalid(part.file, f"cannot be decompressed: {error}") from error


def lines_of(part: Slice, session_id: str) -> Iterator[Line]:
    """The lines of a slice's file, those beyond its end too."""
    with opened(part) as stream:
        yield from read_lines(stream, session_id)


def beginning(stream: BinaryIO, known: ScannedSlice) -> Digest | None:
    """Read as much as is known of a slice: the digest of it, None if it is something else."""
    digest, left = hashlib.sha256(), known.size
    while left and (chunk := stream.read(min(left, _STEP))):
        digest.update(chunk)
        left -= len(chunk)
    return digest if not left and digest.hexdigest() == known.sha256 else None


def ends_alike(stream: BinaryIO, known: ScannedSlice, stop: Stop, session_id: str) -> bool:
    """Whether a slice ends behind what is known of it, which was read just now."""
    line = next(read_lines(stream, session_id, known.size), None)
    if line is None:
        return not stop.ended
    return stop.ended and is_beyond(known.slice, line, parse_record(line.data))


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


def _shared(text: str | None) -> str | None:
    """The same text, once for all sessions that have it."""
    return text and sys.intern(text)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
