"""What a scan will find of a transcript that is written here, told from what it is made of.

Most sessions are written as they came, but for settings. What they come to in the cache is known
then, and the next sync need not read them. Where anything else is different, they are read.
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from pathlib import Path

import orjson

from . import claims, scan_cache
from .codex.rollout import EVENT, META, SETTINGS_APPLIED, TURN_CONTEXT
from .facts import FACTS, Gathering
from .lineage.fingerprint import Fingerprinter
from .model import EditKind, Json, Mark, RolloutFile, ScannedSlice, Slice, Transcript
from .scan_state import State, dump
from .scanning import Pass, Stop

_OF_SETTINGS = frozenset({META, TURN_CONTEXT, EVENT, claims.INSTRUCTIONS})
"""The claims that only records have which are written anew."""
_SETTINGS = ("last_cwd", "model", "reasoning_effort")
"""The facts that only such records tell."""


class Foreseen:
    """Follows the writing of one transcript."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._edits = array("q")
        self._moves = [(0, 0)]
        self._facts = Gathering()
        self._claims: dict[bytes, int] = {}
        self._mark: Mark | None = None
        marked = transcript.mark
        self._unmarked_until = transcript.ends[marked.entries - 1] if marked else None
        self._known = (
            transcript.mode == "paginated"
            and len(transcript.slices) == 1
            and not transcript.facts.torn
            and not transcript.facts.unreadable
            # Else the last one gets an ordinal as it is written.
            and transcript.facts.numbered_end
            and all(orjson.loads(one)["type"] in _OF_SETTINGS for one in transcript.claims)
        )

    def dropped(self, offset: int, length: int, size: int) -> None:
        """A line of the source is left out; what was written so far, the head, has ``size``."""
        if offset or self._edits:
            self._known = False
        self._edits.extend((0, size, EditKind.DROP))
        self._moves.append((offset + length, size - length))

    def rewritten(self, end: int, place: int, size: int, record: Json) -> None:
        """A record that ends at a byte of the source is written as this one, in so many bytes at
        ``place``."""
        if self._unmarked_until is not None and end > self._unmarked_until:
            self._note_mark()
        kind, payload = record["type"], record["payload"]
        if kind == TURN_CONTEXT:
            self._facts.note_turn_context(payload)
        elif kind == EVENT and payload.get("type") == SETTINGS_APPLIED:
            self._facts.note_event(SETTINGS_APPLIED, payload, inherited=False)
        else:
            self._known = False
            return
        if record.get("ordinal") is None:
            self._known = False
        after = place + size
        claims.note(self._claims, record, after)
        self._edits.extend((place, size, EditKind.RECORD))
        self._moves.append((end, after - end))

    def state(self, file: RolloutFile, size: int, sha256: str) -> State | None:
        """What a scan of the file finds that was written; None if that is not known."""
        source = self._transcript
        # Not even told of the head: it was written in another way, in another form or name.
        if not self._known or not self._edits:
            return None
        facts = self._facts
        if self._unmarked_until is not None:
            self._note_mark()
        for name in FACTS:
            if name not in _SETTINGS:
                setattr(facts, name, getattr(source.facts, name))
        prints = Fingerprinter.behind(source.chain, self._ends())
        found = ScannedSlice(Slice(file, None), size, sha256, self._edits)
        pass_ = Pass(file.thread_id, True, prints, None, facts=facts, size=size, mark=self._mark)
        pass_.tail, pass_.claims = list(source.tail), self._claims
        ordinal = -1 if facts.last_ordinal is None else facts.last_ordinal
        return State(pass_, (found,), (Stop(ordinal, head=0),))

    def _note_mark(self) -> None:
        """Make the mark of what is written: all before it has been written by now."""
        marked = self._transcript.mark
        assert marked is not None
        facts = Gathering(*marked.facts)
        for name in _SETTINGS:
            setattr(facts, name, getattr(self._facts, name))
        self._mark = Mark(marked.entries, 0, facts.values(), dict(self._claims))
        self._unmarked_until = None

    def _ends(self) -> array[int]:
        """Where the entries end in what was written."""
        ends, found = self._transcript.ends, array("q")
        starts = [start for start, _ in self._moves] + [self._transcript.size + 1]
        for place, (start, shift) in enumerate(self._moves):
            # An entry is never itself written anew: it ends behind a change or before the next.
            first = bisect_left(ends, start + 1) if start else 0
            last = bisect_left(ends, starts[place + 1] + 1, first)
            found.extend([end + shift for end in ends[first:last]])
        return found


def remember(state: State, path: Path, size: int, mtime_ns: int) -> None:
    """Keep it for the file, if that is there as it was written; wait until it has settled."""
    slices = [part.slice for part in state.scanned]
    try:
        left_ns = path.stat().st_ctime_ns + scan_cache.SETTLED_NS - time.time_ns()
        if left_ns > scan_cache.SETTLED_NS:  # by a clock that is ahead of ours
            return
        if left_ns > 0:
            time.sleep(left_ns / 1e9)
        key, status = scan_cache.key_of(slices), path.stat()
    except OSError:
        return
    if key is not None and (status.st_size, status.st_mtime_ns) == (size, mtime_ns):
        scan_cache.current().keep(key, scan_cache.name_of(slices), size, dump(state))
