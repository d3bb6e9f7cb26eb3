"""Reading a session's whole history in one pass: entries fingerprinted, facts and edits noted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from . import scan_cache
from .codex.inventory import SegmentLookup, resolve
from .codex.rollout import Line, history_mode, parse_record
from .lineage.fingerprint import NOTHING, Buffer, Fingerprinter, is_entry
from .model import (
    HistoryMode,
    Json,
    Notice,
    Outline,
    RolloutFile,
    ScannedSlice,
    Slice,
    Transcript,
)
from .scan_cache import Key, ScanCache
from .scan_state import State, dump, load
from .scanning import Pass, Progress, beginning, ends_alike, is_beyond, lines_of, opened

WORTHWHILE_BYTES = 1 << 14
"""A shorter file is parsed as fast as it is compared with what is known of another one."""

MOST_EXPANDED = 1 << 62


@dataclass(frozen=True, slots=True)
class Wanted:
    """A session that is to be read: the head of its newest file, its slices, and what is to tell
    the next time that they are the same (see scan_cache), as it was at ``asked_ns``."""

    meta: Json
    slices: tuple[Slice, ...]
    key: Key | None
    asked_ns: int

    @property
    def mode(self) -> HistoryMode:
        """The history mode of the session."""
        return history_mode(self.meta)

    @property
    def size(self) -> int:
        """About how many bytes there are to read."""
        return sum(part.file.size for part in self.slices)


def scan(tip: RolloutFile, lookup: SegmentLookup, progress: Progress | None = None) -> Transcript:
    """Read the session whose newest file is ``tip``; memory does not grow with its size.

    What the cache has of these files, or of a beginning of them, is not parsed again. Raises
    SessionError with ``transcript_invalid``, ``history_base_missing`` or
    ``transcript_line_too_long``.
    """
    one = wanted(tip, lookup)
    return known(one, progress) or kept(one, read(one.slices, one.mode, progress))


def wanted(tip: RolloutFile, lookup: SegmentLookup) -> Wanted:
    """What there is to read of a session. Raises SessionError as ``scan`` does."""
    asked_ns = time.time_ns()
    head, slices = resolve(tip, lookup)
    return Wanted(head["payload"], slices, scan_cache.key_of(slices), asked_ns)


def known(one: Wanted, progress: Progress | None) -> Transcript | None:
    """A session, if the cache has it or a beginning of it."""
    state = _known(one, progress)
    return transcript_of(one.meta, state.pass_, state.scanned) if state else None


def kept(one: Wanted, state: State, data: Sequence[Buffer] = ()) -> Transcript:
    """A session that was read, kept in the cache; ``data`` is the state as bytes, if there are."""
    _keep(one, state, data)
    return transcript_of(one.meta, state.pass_, state.scanned)


def _keep(one: Wanted, state: State, data: Sequence[Buffer] = ()) -> None:
    if one.key and one.key == scan_cache.key_of(one.slices) and one.key.settled(one.asked_ns):
        name, size = scan_cache.name_of(one.slices), state.scanned[-1].size
        scan_cache.current().keep(one.key, name, size, data or dump(state))


def _known(one: Wanted, progress: Progress | None) -> State | None:
    cache = scan_cache.current()
    for found in cache.find(one.key) if one.key else ():
        state = load(found, one.slices, progress)
        if state is not None:
            if progress:
                progress(state.pass_.size)
            return state
    state = _begun(one.slices, cache, progress)
    if state is not None:
        _keep(one, state)
    return state


def _begun(slices: Sequence[Slice], cache: ScanCache, progress: Progress | None) -> State | None:
    """A pass that goes on where one over a copy of the files, or of their beginnings, stopped."""
    tip = slices[-1].file
    if tip.size < WORTHWHILE_BYTES:
        return None
    most = MOST_EXPANDED if tip.compressed else tip.size
    for found in cache.beginnings(scan_cache.name_of(slices), most):
        state = load(found, slices, progress)
        if state is None or not _are_copies(state, tip.thread_id):
            continue
        part = state.pass_.read_on(state.scanned[-1], state.stops[-1])
        if part is not None:
            scanned = (*state.scanned[:-1], part)
            return State(state.pass_, scanned, (*state.stops[:-1], state.pass_.stops[-1]))
    return None


def _are_copies(state: State, session_id: str) -> bool:
    """Whether the older files of a session have what is known of them, and end where they did."""
    for part, stop in zip(state.scanned[:-1], state.stops[:-1], strict=True):
        with opened(part.slice) as stream:
            same = beginning(stream, part) and ends_alike(stream, part, stop, session_id)
        if not same:
            return False
    return True


def read(slices: Sequence[Slice], mode: HistoryMode, progress: Progress | None) -> State:
    """One pass over a session from its beginning. Raises SessionError as ``scan`` does."""
    tip = slices[-1].file
    paginated = mode == "paginated"
    prints = Fingerprinter(undoes=not paginated)
    pass_ = Pass(tip.thread_id, paginated, prints, progress)
    scanned = tuple(pass_.read(part, own=part.file is tip) for part in slices)
    return State(pass_, scanned, tuple(pass_.stops))


def transcript_of(
    meta: Json,
    pass_: Pass,
    scanned: Sequence[ScannedSlice],
    numbered_from: int = 0,
) -> Transcript:
    """The session with this ``session_meta``, of whose slices a pass found all that."""
    return Transcript(
        pass_.session_id,
        meta,
        history_mode(meta),
        pass_.fingerprinter.chain(),
        pass_.facts.freeze(meta),
        tuple(scanned),
        pass_.fingerprinter.ends(),
        frozenset(pass_.tail),
        frozenset(pass_.fingerprinter.taken_back) or NOTHING,
        pass_.fingerprinter.entangled(),
        numbered_from,
        pass_.claims,
        pass_.mark,
    )


def first_link(tip: RolloutFile, lookup: SegmentLookup) -> str | None:
    """The hex link of a session's first entry; None if it has none. Reads no further than that.

    Raises SessionError as ``scan`` does.
    """
    fingerprinter = Fingerprinter()
    _, slices = resolve(tip, lookup)
    for part in slices:
        for line in lines_of(part, tip.thread_id):
            record = parse_record(line.data)
            if is_beyond(part, line, record):
                break
            if record is not None and is_entry(record):
                fingerprinter.add(record)
                return fingerprinter.chain().link(1)
    return None


class Placed(NamedTuple):
    """The line of an entry: its place among those that stand, from 0 on, and its slice."""

    place: int
    part: ScannedSlice
    line: Line


def lines_of_entries(transcript: Transcript, first: int) -> Iterator[Placed]:
    """The lines of the entries that stand, from the one with index ``first`` on.

    Raises SessionError where a file cannot be read any more.
    """
    ends = transcript.ends
    index, place = first, 0
    for part in transcript.slices:
        if index < len(ends) and ends[index] <= place + part.size:
            for line in lines_of(part.slice, transcript.session_id):
                end = place + line.offset + len(line.data)
                while index < len(ends) and ends[index] < end:
                    index += 1
                if line.offset >= part.size or index == len(ends):
                    break
                if ends[index] == end:
                    yield Placed(index, part, line)
                    index += 1
        place += part.size


def entries(transcript: Transcript, first: int) -> Iterator[Json]:
    """The entries that stand, as records, from the one with index ``first`` on.

    Raises SessionError where a file cannot be read any more.
    """
    for placed in lines_of_entries(transcript, first):
        record = parse_record(placed.line.data)
        if record is not None:
            yield record


def records(transcript: Transcript) -> Iterator[Json]:
    """All records of a transcript, its inherited ones first.

    Raises SessionError where a file cannot be read any more.
    """
    for part in transcript.slices:
        for line in lines_of(part.slice, transcript.session_id):
            if line.offset >= part.size:
                break
            record = parse_record(line.data)
            if record is not None:
                yield record


def notices(transcript: Outline) -> tuple[Notice, ...]:
    """What is to be told of a transcript that can be read: lines of it that are no records."""
    found = []
    facts = transcript.facts
    if facts.torn:
        found.append(
            Notice(
                "transcript_torn",
                "its last record is cut off; it is taken up to the last whole one",
                transcript.session_id,
            )
        )
    if facts.unreadable:
        found.append(
            Notice(
                "records_unreadable",
                f"{facts.unreadable} of its lines are no records and are left out",
                transcript.session_id,
            )
        )
    return tuple(found)
