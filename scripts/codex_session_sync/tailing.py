"""Reading a session of which a package has only the end, behind what a local one has of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .codex.inventory import invalid, resolve
from .codex.rollout import history_mode
from .errors import SessionError
from .facts import Gathering
from .lineage.fingerprint import Fingerprinter
from .model import Json, ScannedSlice, Slice, Tail, Transcript
from .scanning import Pass, Progress, Stop, beginning, opened
from .transcript import transcript_of


def scan_tail(tail: Tail, held: Transcript, progress: Progress | None = None) -> Transcript:
    """Read a session of which there is only a tail, behind the entries that ``held`` has of it.

    Raises SessionError as ``scan`` does, and ``home_changed`` if ``held`` has them no more.
    """
    tip = tail.files[-1]
    meta, slices = _slices_of(tail)
    if history_mode(meta) != held.mode:
        raise invalid(tip, "is in another history mode")
    pass_, scanned = _beginning(held, tail.base.entries, tip.thread_id, progress)
    last = pass_.facts.last_ordinal
    pass_.numbering = pass_.paginated
    scanned += [pass_.read(part, own=part.file is tip) for part in slices]
    return transcript_of(meta, pass_, scanned, 0 if last is None else last + 1)


def scan_tail_alone(tail: Tail, progress: Progress | None = None) -> Transcript:
    """Read a session of which there is only a tail: its chain begins behind the base.

    Raises SessionError as ``scan`` does.
    """
    tip = tail.files[-1]
    meta, slices = _slices_of(tail)
    paginated = history_mode(meta) == "paginated"
    prints = Fingerprinter(undoes=not paginated, after=bytes.fromhex(tail.base.head))
    pass_ = Pass(tip.thread_id, paginated, prints, progress)
    return transcript_of(meta, pass_, [pass_.read(part, own=part.file is tip) for part in slices])


def _slices_of(tail: Tail) -> tuple[Json, tuple[Slice, ...]]:
    """The ``session_meta`` payload of a tail, and the slices of its files, oldest first."""
    oldest, tip = tail.files[0], tail.files[-1]
    files = {file.segment_id: file for file in tail.files}
    head, (first, *rest) = resolve(tip, files.get, oldest)
    if first.file != oldest:
        raise invalid(tip, "does not continue the oldest of its files")
    # The oldest file is a copy of the part that counts, in which places are others.
    return head["payload"], (replace(first, end=None), *rest)


_Begun = tuple[Pass, list[ScannedSlice]]


def _beginning(
    held: Transcript, entries: int, session_id: str, progress: Progress | None
) -> _Begun:
    """A pass over the first entries of a local session. Raises SessionError ``home_changed``."""
    slices = _slices(held, entries)
    try:
        begun = marked(held, slices, session_id, progress) or parsed(
            held, slices, session_id, progress
        )
    except SessionError as error:
        raise _home_changed(held) from error
    if begun[0].fingerprinter.chain() != held.chain.first(entries):
        raise _home_changed(held)
    return begun


def _slices(held: Transcript, entries: int) -> tuple[Slice, ...]:
    """The slices that a transcript's first entries lie in, the last cut off behind them."""
    end = held.ends[entries - 1]
    found: list[Slice] = []
    place = 0
    for part in held.slices:
        if place + part.size >= end:
            return (*found, replace(part.slice, limit=end - place))
        found.append(part.slice)
        place += part.size
    raise AssertionError


def parsed(
    held: Transcript, slices: Sequence[Slice], session_id: str, progress: Progress | None
) -> _Begun:
    """A pass over the beginning of a local session. Raises SessionError as ``scan`` does."""
    paginated = held.mode == "paginated"
    pass_ = Pass(session_id, paginated, Fingerprinter(undoes=not paginated), progress)
    return pass_, [pass_.read(part, own=False) for part in slices]


def marked(
    held: Transcript, slices: Sequence[Slice], session_id: str, progress: Progress | None
) -> _Begun | None:
    """The same where the local session has a mark in it: only what follows the mark is parsed.

    All bytes that the local session was scanned of are compared with what they were then. None
    where there is no mark, or they are others. Raises SessionError as ``scan`` does.
    """
    mark, older = held.mark, held.slices[:-1]
    if mark is None or held.session_id != session_id or len(slices) != len(held.slices):
        return None
    size = sum(part.size for part in older)
    place = held.ends[mark.entries - 1] - size
    last = held.slices[-1]
    limit = slices[-1].limit
    if limit is None or place > limit:
        return None
    if not all(map(_stands, older)):
        return None
    facts, ends = Gathering(*mark.facts), held.ends[: mark.entries]
    prints = Fingerprinter.behind(held.chain.first(mark.entries), ends)
    pass_ = Pass(session_id, True, prints, progress, facts=facts, claims=dict(mark.claims))
    pass_.size = size
    stop = Stop(-1 if facts.last_ordinal is None else facts.last_ordinal, mark.head)
    newest = pass_.read_between(last, place, stop, limit)
    return None if newest is None else (pass_, [*older, newest])


def _stands(part: ScannedSlice) -> bool:
    """Whether a file still has what was found in it."""
    with opened(part.slice) as stream:
        return beginning(stream, part) is not None


def _home_changed(held: Transcript) -> SessionError:
    return SessionError(
        "home_changed",
        f"the local session {held.session_id}, which has the beginning of it, is not what it was "
        "when the sync was planned",
        hint="let the program that writes it finish, then run `codex-session-sync AGAIN`",
    )
