"""One pass over the slices of a history: entries fingerprinted, facts and edits noted."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import zstandard

from . import claims
from .codex.inventory import invalid, open_rollout, skip
from .codex.rollout import (
    EVENT,
    META,
    RESPONSE_ITEM,
    SETTINGS_APPLIED,
    TURN_CONTEXT,
    Line,
    lines,
    parse_record,
    read_lines,
    record_key,
)
from .errors import SessionError
from .facts import Gathering
from .lineage.fingerprint import Fingerprinter, is_entry
from .model import EditKind, Json, Mark, ScannedSlice, Slice

if TYPE_CHECKING:
    from hashlib import _Hash as Digest

Progress = Callable[[int], None]
"""Told of bytes read, as they are read."""

REWRITTEN = frozenset({META, TURN_CONTEXT})

_TELLING = frozenset({"token_count", "item_completed", "user_message", SETTINGS_APPLIED})
"""The events that facts are gathered from."""

_NEWLINE = ord("\n")

_STEP = 1 << 20
"""Bytes after which progress is told."""


MARKED_ENTRIES = 256
"""Of a paginated session's entries, counted from its first, each so manieth is marked."""


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
    mark: Mark | None = None
    """At the last entry that was marked."""
    one_head: bool = True
    """Whether the newest file has had no ``session_meta`` but its first record: of another one it
    depends on whose file it is what becomes of it, so that no mark can tell."""

    def read(self, part: Slice, *, own: bool) -> ScannedSlice:
        """Read one slice up to its end."""
        reading = _SliceReading(self, part, own)
        with opened(part) as stream:
            reading.run(stream)
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
            reading.run(stream)
        return self._finished(reading)

    def read_between(
        self, known: ScannedSlice, place: int, stop: Stop, limit: int
    ) -> ScannedSlice | None:
        """Read what another session's newest file has from a byte of what is known of it, at which
        an entry ends, up to another.

        None, and nothing taken in, if the file is not what is known of it.
        """
        with opened(known.slice) as stream:
            digest = beginning(stream, known, place)
        if digest is None:
            return None
        if self.progress:
            self.progress(place)
        edits = known.edits[: 3 * bisect_left(known.edits[::3], place)]
        reading = _SliceReading(self, replace(known.slice, limit=limit), own=False)
        reading.take_up(replace(known, size=place, edits=edits), stop, digest)
        with opened(known.slice) as stream:
            skip(stream, place, known.slice.file)
            reading.run(stream)
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
        self._marks = own and pass_.paginated and not pass_.numbering
        self._digest = hashlib.sha256()
        self._edits: array[int] = array("q")
        self._size = 0
        self._ordinal, self._head, self._bad, self._ended, self._whole = Stop()
        self._foreign = (
            None if part.file.thread_id == pass_.session_id else part.file.thread_id.encode("ascii")
        )
        self._plain = self._foreign is None and not pass_.numbering
        self._numbered = pass_.paginated

    @property
    def stop(self) -> Stop:
        """Where it is."""
        return Stop(self._ordinal, self._head, self._bad, self._ended, self._whole)

    def take_up(self, before: ScannedSlice, stop: Stop, digest: Digest) -> None:
        """Be where another reading of the same bytes, of which this is the digest, stopped."""
        self._digest = digest
        self._edits, self._size = array("q", before.edits), before.size
        self._ordinal, self._head, self._bad, self._ended, self._whole = stop

    def run(self, stream: BinaryIO) -> None:
        """Take in the slice from where it is, and the stream, up to the first line beyond it."""
        part, digest = self._part, self._digest
        bounded = part.limit is not None or part.end is not None
        progress = self._pass.progress
        offset = told = self._size
        data = b""
        for data in lines(stream, self._pass.session_id, offset):
            record = parse_record(data)
            if bounded and is_beyond(part, Line(offset, data), record):
                self._ended = True
                break
            if record is None:
                self._note_bad(Line(offset, data))
            else:
                self._note(offset, data, record)
            digest.update(data)
            offset += len(data)
            if progress and offset - told >= _STEP:
                progress(offset - told)
                told = offset
        if progress:
            progress(offset - told)
        if offset > self._size:
            # A line that others follow is whole.
            self._whole = self._ended or data[-1] == _NEWLINE
            self._size = offset

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

    def _note(self, offset: int, data: bytes, record: Json) -> None:
        """Take in a record. Most are items, or events that set nothing, and are copied as they are;
        this is where time is spent."""
        pass_ = self._pass
        facts, kind = pass_.facts, record["type"]
        end = pass_.size + offset + len(data)
        ordinal = record.get("ordinal")
        facts.numbered_end = ordinal is not None
        if ordinal is not None:
            self._ordinal = facts.last_ordinal = ordinal
        if self._head is None:
            self._head = offset
        elif kind == META:
            pass_.tail.append(record_key(record))
            pass_.one_head = pass_.one_head and not self._own
            self._note_acting(Line(offset, data), record, end)
            return
        facts.records += 1
        facts.last_timestamp = record["timestamp"]
        plain = self._plain and data[-1] == _NEWLINE and (ordinal is not None or not self._numbered)
        count = 0
        if kind == EVENT:
            pass_.tail.append(record_key(record))
            plain &= self._note_event(record["payload"])
        elif is_entry(record):
            count = pass_.fingerprinter.add(record, end)
            pass_.tail.clear()
            plain &= kind == RESPONSE_ITEM
        else:
            pass_.tail.append(record_key(record))
            plain = False
            if kind == TURN_CONTEXT:
                facts.note_turn_context(record["payload"])
        if not plain:
            self._note_acting(Line(offset, data), record, end)
        if count and not count % MARKED_ENTRIES and self._marks and pass_.one_head:
            pass_.mark = Mark(count, self._head, facts.values(), dict(pass_.claims))

    def _note_event(self, payload: Json) -> bool:
        """Take in an event. Returns whether it sets nothing."""
        pass_, event = self._pass, payload.get("type")
        if isinstance(event, str) and event in _TELLING:
            pass_.facts.note_event(event, payload, inherited=self._foreign is not None)
        if not pass_.paginated:
            pass_.fingerprinter.note_event(payload)
        return event != SETTINGS_APPLIED

    def _note_acting(self, line: Line, record: Json, end: int) -> None:
        """Take in what a record says beside the conversation, and what is to be done to it."""
        edit = self._edit_kind(line, record)
        if edit is not None:
            self._edit(line, edit)
        if edit != EditKind.DROP:
            claims.note(self._pass.claims, record, end)

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


def beginning(stream: BinaryIO, known: ScannedSlice, place: int | None = None) -> Digest | None:
    """Read as much as is known of a slice: the digest of it, or of what lies before ``place`` in
    it; None if it is something else."""
    digest, read = hashlib.sha256(), 0
    found = digest
    for end in (known.size,) if place is None else (place, known.size):
        while read < end and (chunk := stream.read(min(end - read, _STEP))):
            digest.update(chunk)
            read += len(chunk)
        if read == place:
            found = digest.copy()
    return found if read == known.size and digest.hexdigest() == known.sha256 else None


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
