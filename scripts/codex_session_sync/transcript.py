"""Reading a session's whole history in one pass: entries fingerprinted, facts and edits noted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from .codex.inventory import SegmentLookup, invalid, resolve
from .codex.rollout import (
    history_mode,
    parse_record,
)
from .errors import SessionError
from .lineage.fingerprint import Fingerprinter, is_entry
from .model import (
    Json,
    Notice,
    Outline,
    RolloutFile,
    ScannedSlice,
    Slice,
    Tail,
    Transcript,
)
from .scanning import Pass, Progress, is_beyond, lines_of


def scan(tip: RolloutFile, lookup: SegmentLookup, progress: Progress | None = None) -> Transcript:
    """Read the session whose newest file is ``tip``; memory does not grow with its size.

    Raises SessionError with ``transcript_invalid``, ``history_base_missing`` or
    ``transcript_line_too_long``.
    """
    head, slices = resolve(tip, lookup)
    return _scanned(tip, head["payload"], slices, progress)


def scan_tail(tail: Tail, held: Transcript, progress: Progress | None = None) -> Transcript:
    """Read a session of which there is only a tail, behind the entries that ``held`` has of it.

    Raises SessionError as ``scan`` does, and ``home_changed`` if ``held`` has them no more.
    """
    oldest, tip = tail.files[0], tail.files[-1]
    files = {file.segment_id: file for file in tail.files}
    head, (first, *rest) = resolve(tip, files.get, oldest)
    if first.file != oldest:
        raise invalid(tip, "does not continue the oldest of its files")
    if history_mode(head["payload"]) != held.mode:
        raise invalid(tip, "is in another history mode")
    # The oldest file is a copy of the part that counts, in which places are others.
    slices = (replace(first, end=None), *rest)
    return _scanned(tip, head["payload"], slices, progress, (held, tail.base.entries))


def _beginning(transcript: Transcript, entries: int) -> tuple[Slice, ...]:
    """The slices that a transcript's first entries lie in, the last cut off behind them."""
    end = transcript.ends[entries - 1]
    found: list[Slice] = []
    place = 0
    for part in transcript.slices:
        if place + part.size >= end:
            return (*found, replace(part.slice, limit=end - place))
        found.append(part.slice)
        place += part.size
    raise AssertionError


def _scanned(
    tip: RolloutFile,
    meta: Json,
    slices: Sequence[Slice],
    progress: Progress | None,
    before: tuple[Transcript, int] | None = None,
) -> Transcript:
    """Read the slices of a session, behind the first entries of ``before``, a copy of it."""
    mode = history_mode(meta)
    pass_ = Pass(tip.thread_id, mode == "paginated", Fingerprinter(), progress)
    scanned = _read_beginning(pass_, *before) if before else []
    last = pass_.facts.last_ordinal
    pass_.numbering = before is not None and pass_.paginated
    scanned += [pass_.read(part, own=part.file is tip) for part in slices]
    return Transcript(
        tip.thread_id,
        meta,
        mode,
        pass_.fingerprinter.chain(),
        pass_.facts.freeze(meta),
        tuple(scanned),
        pass_.fingerprinter.ends(),
        frozenset(pass_.tail),
        frozenset(pass_.fingerprinter.taken_back),
        pass_.fingerprinter.entangled(),
        0 if last is None else last + 1,
        pass_.claims,
    )


def _read_beginning(pass_: Pass, held: Transcript, entries: int) -> list[ScannedSlice]:
    """Read the first entries of a local session. Raises SessionError ``home_changed``."""
    try:
        found = [pass_.read(part, own=False) for part in _beginning(held, entries)]
    except SessionError as error:
        raise _home_changed(held) from error
    if pass_.fingerprinter.chain() != held.chain.first(entries):
        raise _home_changed(held)
    return found


def _home_changed(held: Transcript) -> SessionError:
    return SessionError(
        "home_changed",
        f"the local session {held.session_id}, which has the beginning of it, is not what it was "
        "when the sync was planned",
        hint="let the program that writes it finish, then run `codex-session-sync AGAIN`",
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


def entries(transcript: Transcript, first: int) -> Iterator[Json]:
    """The entries that stand, as records, from the one with index ``first`` on.

    Raises SessionError where a file cannot be read any more.
    """
    wanted = set(transcript.ends[first:])
    start = transcript.ends[first - 1] if first else 0
    place = 0
    for part in transcript.slices:
        if wanted and place + part.size > start:
            for line in lines_of(part.slice, transcript.session_id):
                if line.offset >= part.size:
                    break
                if place + line.offset + len(line.data) in wanted:
                    record = parse_record(line.data)
                    if record is not None:
                        yield record
        place += part.size


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
