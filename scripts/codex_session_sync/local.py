"""What this home holds, read as far as a sync needs it and no further."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import orjson

from .codex.home import CodexHome
from .codex.inventory import RolloutIndex, read_head
from .codex.rollout import base_name
from .codex.session_index import read_index, shown_name
from .codex.sharing import Sharing
from .codex.state_db import open_for_reading
from .errors import HomeError, SessionError
from .lineage.classify import Candidate
from .lineage.fingerprint import common_entries, lineage_id, lineage_of_link, links_of
from .lineage.kinship import origin_moment
from .lineage.sidecar import Mapping, mappings_of, read_sidecar
from .model import Base, Chain, Json, Notice, Outline, RolloutFile, Row, Tail, Transcript
from .planned import Counterpart
from .reading import scan_each
from .scan_cache import SETTLED_NS
from .transcript import first_link, scan

Beginnings = dict[tuple[Path, int, int], tuple[str | None, str | None]]
"""How transcripts begin, by place, size and time: the link of the first entry, and when what is in
them began. For who plans again and again, so that only what is new is read."""

_OF_ROWS = frozenset(
    {"id", "rollout_path", "name", "title", "first_user_message", "history_mode"}
    | {"git_branch", "cwd", "git_origin_url"}
)
"""The columns of a session's row that are asked for here."""

_FEW = 2
"""Mappings that are read from text again in a moment."""


@dataclass(frozen=True, slots=True)
class _Same:
    """What is kept of a session that has the entries of the incoming one, which most have."""

    chain: Chain
    cwd: str | None


class LocalSessions:
    """The local side of matching: candidates for an incoming session.

    Nothing is read before it is asked for; ``notices`` gathers what could not be read. ``known`` is
    what earlier plans read, and gets what this one does.
    """

    def __init__(self, home: CodexHome, known: Beginnings | None = None) -> None:
        self.home = home
        self._known = {} if known is None else known
        self._scanned: dict[str, Transcript] = {}
        self._same: dict[str, _Same] = {}
        self._mappings: dict[str, list[Mapping]] = {}
        self._sidecars: dict[str, list[Mapping]] = {}
        self._short: dict[str, bytes] = {}
        """The sidecars that say little, as most do, as text: that takes a third of the room."""
        self.notices: list[Notice] = []

    @cached_property
    def rollouts(self) -> RolloutIndex:
        """Every rollout of the home, by file name."""
        return self.home.rollouts()

    def tip(self, session_id: str) -> RolloutFile | None:
        """The newest file of a session: the one that its row names, else the newest stamp."""
        if len(self.rollouts.files(session_id)) < 2:
            return self.rollouts.tip(session_id)
        path = self._rows.get(session_id, {}).get("rollout_path")
        return self.rollouts.tip(session_id, base_name(path))

    def segment(self, segment_id: str) -> RolloutFile | None:
        """A local file for a segment that a package's history continues."""
        return self.rollouts.segment(segment_id)

    def claimed(self, incoming: Outline) -> list[Candidate]:
        """The session of the same id, and those that the sidecar says stand for the incoming one.

        One of another id that has lost its first entry stands for it no more.
        Raises SessionError if one of them cannot be read.
        """
        same = self._candidates([incoming.session_id], claimed=True)
        mapped = [m.local_session_id for m in self.mappings(incoming)]
        others = self._candidates([i for i in mapped if i != incoming.session_id], claimed=True)
        return [*(c for c in others if common_entries(incoming.chain, c.chain)), *same]

    def kin(self, incoming: Outline) -> list[Candidate]:
        """The sessions that begin with the same entry and are no other fork of it."""
        if not incoming.chain.links:
            return []
        wanted, moment = incoming.chain.link(1), origin_moment(incoming.meta)
        return self._candidates(
            [i for link, i, began in self._beginnings if link == wanted and began == moment],
            claimed=False,
        )

    def transcript(self, session_id: str) -> Transcript:
        """A local session, read once. Raises SessionError ``local_transcript_unreadable``."""
        if session_id not in self._scanned:
            self._scanned[session_id] = self.read(session_id)
        return self._scanned[session_id]

    def chain(self, session_id: str) -> Chain:
        """The entries of a local session. Raises SessionError as ``transcript`` does."""
        same = self._same.get(session_id)
        return same.chain if same else self.transcript(session_id).chain

    def directory(self, session_id: str) -> str | None:
        """Where a local session works. Raises SessionError as ``transcript`` does."""
        same = self._same.get(session_id)
        return same.cwd if same else self.transcript(session_id).facts.last_cwd

    def read_ahead(self, incoming: dict[str, Outline]) -> None:
        """Read those of the incoming sessions that are here, by their ids, all at once.

        What cannot be read is not told before it is asked for. Of those that have the same entries
        no more is kept than comparing takes.
        """
        tips = [tip for i in incoming if i not in self._scanned and (tip := self.tip(i))]
        for place, one in scan_each(tips, self.rollouts.segment):
            session_id = tips[place].thread_id
            if not isinstance(one, Transcript):
                continue
            if one.chain == incoming[session_id].chain:
                self._same[session_id] = _Same(incoming[session_id].chain, one.facts.last_cwd)
            else:
                self._scanned[session_id] = one

    def read(self, session_id: str, progress: Callable[[int], None] | None = None) -> Transcript:
        """A local session, read and not kept. Raises as ``transcript`` does."""
        tip = self.tip(session_id)
        assert tip is not None
        return self._scan(tip, progress)

    def holding(self, tail: Tail) -> Transcript | None:
        """A local session that has the entries before a tail, in the same history mode.

        The session of the same id is asked first, then those that the sidecar of the lineage names,
        then those that begin with the same entry.
        """
        base, told = tail.base, tail.outline
        lineage = lineage_of_link(base.first)
        mapped = [m.local_session_id for m in self._sidecar(lineage, told.session_id)]
        likely = dict.fromkeys((told.session_id, *mapped))
        for session_id in chain(likely, self._beginning_with(base.first)):
            if self.tip(session_id) is None:
                continue
            try:
                found = self.transcript(session_id)
            except SessionError:
                continue
            if found.mode == told.mode and _begins_with(found, base):
                return found
        return None

    def _beginning_with(self, link: str) -> Iterator[str]:
        """The sessions whose first entry has this link; none is looked at before the first is."""
        yield from (session_id for first, session_id, _ in self._beginnings if first == link)

    def taken_back(self, session_id: str) -> frozenset[bytes]:
        """The links of the entries that a session had and was made to end before.

        Codex leaves what a revert takes back in the session's older files. Raises SessionError as
        ``transcript`` does.
        """
        transcript = self.transcript(session_id)
        found = set(transcript.taken_back)
        for file in self.older_files(session_id):
            found.update(links_of(self._scan(file).chain.links))
        return frozenset(found.difference(links_of(transcript.chain.links)))

    def older_files(self, session_id: str) -> tuple[RolloutFile, ...]:
        """The files of a session beside its newest."""
        tip = self.transcript(session_id).file
        return tuple(file for file in self.rollouts.files(session_id) if file != tip)

    def mappings(self, incoming: Outline) -> list[Mapping]:
        """What the sidecar of the incoming session's lineage says of it."""
        origin = incoming.session_id
        found = self._mappings.get(origin)
        if found is None:
            lineage = lineage_id(incoming.chain, origin)
            found = [m for m in self._sidecar(lineage, origin) if m.origin_session_id == origin]
            if lineage in self._sidecars:
                self._mappings[origin] = found
        return found

    def surely_of(self, session_id: str) -> int:
        """How many entries a local session surely shares with the source's one of the same id."""
        here = self.chain(session_id)
        found = [0]
        for mapping in self._sidecar(lineage_id(here, session_id), session_id):
            entries = int(mapping.incoming["entries"])
            if mapping.origin_session_id == mapping.local_session_id == session_id and (
                0 < entries <= len(here) and here.link(entries) == mapping.incoming["head"]
            ):
                found.append(entries)
        return max(found)

    def standing_for(self, origin: str, fork: Outline) -> str | None:
        """The local session that stands for one that ``fork`` was forked from, by the sidecar."""
        lineage = lineage_id(fork.chain, fork.session_id)
        here = {
            m.local_session_id
            for m in self._sidecar(lineage, fork.session_id)
            if m.origin_session_id == origin and self.tip(m.local_session_id) is not None
        }
        return max(
            here,
            key=lambda i: (common_entries(fork.chain, self.chain(i)), i == origin, i),
            default=None,
        )

    def standing_for_others(self, outline: Outline) -> list[Mapping]:
        """What the sidecar says of sessions that a local one stands for."""
        lineage = lineage_id(outline.chain, outline.session_id)
        found = self._sidecar(lineage, outline.session_id)
        return [m for m in found if m.local_session_id == outline.session_id]

    def counterpart(self, session_id: str) -> Counterpart:
        """What a report shows of a local session."""
        transcript = self.transcript(session_id)
        found = self.standing_for_others(transcript)
        last = max(found, key=lambda mapping: mapping.synced_at or "", default=None)
        name = self.metadata(session_id)["name"]
        return Counterpart(transcript, name, last.transaction_id if last else None)

    def metadata(self, session_id: str) -> Json:
        """METADATA (see lineage.differences) of a local session, as far as it is kept here."""
        tip, row = self.tip(session_id), self._rows.get(session_id)
        known: Json = {
            "name": shown_name(row, self._names.get(session_id)),
            "archived": bool(tip and tip.archived),
        }
        return known if row is None else {**known, "git_branch": row.get("git_branch")}

    def title(self, session_id: str) -> str | None:
        """What a person knows a local session by, as far as its row and the index tell."""
        row = self._rows.get(session_id, {})
        known = self._names.get(session_id) or row.get("title") or row.get("first_user_message")
        return str(known) if known else None

    def workplaces(self) -> Iterator[tuple[str, str | None]]:
        """The directories of the sessions, each with the URL of its repository if that is known."""
        if self._rows:
            found = [(row.get("cwd"), row.get("git_origin_url")) for row in self._rows.values()]
        else:
            found = [(meta.get("cwd"), None) for meta in self._heads()]
        for cwd, url in dict.fromkeys(found):
            if isinstance(cwd, str) and cwd:
                yield cwd, url if isinstance(url, str) and url else None

    def _heads(self) -> Iterator[Json]:
        for thread in self.rollouts.threads():
            tip = self.tip(thread)
            assert tip is not None
            try:
                yield read_head(tip)["payload"]
            except SessionError:
                continue

    def _scan(self, file: RolloutFile, progress: Callable[[int], None] | None = None) -> Transcript:
        try:
            return scan(file, self.rollouts.segment, progress)
        except SessionError as error:
            raise SessionError(
                "local_transcript_unreadable",
                f"the local session {file.thread_id} cannot be read: {error.message}",
                hint="nothing is written over it; mend or move its file, then run "
                "`codex-session-sync AGAIN`",
                session_id=file.thread_id,
            ) from error

    def _sidecar(self, lineage: str, session_id: str) -> list[Mapping]:
        """The mappings of a lineage; none, and a notice about the session, if it is damaged."""
        if lineage in self._sidecars:
            return self._sidecars[lineage]
        if lineage in self._short:
            return [Mapping(**mapping) for mapping in orjson.loads(self._short[lineage])]
        try:
            text = read_sidecar(self.home.sync_dir, lineage)
            found = mappings_of(text, lineage) if text is not None else []
        except HomeError as error:
            notice = Notice(error.code, error.message, session_id)
            if notice not in self.notices:
                self.notices.append(notice)
            return []
        if len(found) > _FEW:
            self._sidecars[lineage] = found
        else:
            data = orjson.dumps([mapping.to_json() for mapping in found])
            # What orjson gives keeps the room that it was written in.
            self._short[lineage] = bytes(memoryview(data))
        return found

    def _candidates(self, ids: Iterable[str], *, claimed: bool) -> list[Candidate]:
        return [
            Candidate(i, self.chain(i), claimed)
            for i in dict.fromkeys(ids)
            if self.tip(i) is not None
        ]

    @cached_property
    def _rows(self) -> dict[str, Row]:
        with open_for_reading(self.home.state_db) as database:
            rows = database.rows("threads", only=_OF_ROWS) if database is not None else ()
            return {str(row["id"]): row for row in map(Sharing().row, rows)}

    @cached_property
    def _names(self) -> dict[str, str]:
        return read_index(self.home.session_index)

    @cached_property
    def _beginnings(self) -> list[tuple[str, str, str | None]]:
        """First link, id and first moment of every local session that can be read."""
        found: list[tuple[str, str, str | None]] = []
        known: Beginnings = {}
        settled = time.time_ns() - SETTLED_NS
        for thread in self.rollouts.threads():
            tip = self.tip(thread)
            assert tip is not None
            key = (tip.path, tip.size, tip.mtime_ns)
            told = self._known.get(key)
            lasting = told is not None
            if told is None:
                try:
                    head = read_head(tip)["payload"]
                    told = (first_link(tip, self.rollouts.segment), origin_moment(head))
                except SessionError:
                    continue
                lasting = head.get("history_base") is None and tip.mtime_ns < settled
            if lasting:
                known[key] = told
            if told[0] is not None:
                found.append((told[0], thread, told[1]))
        self._known.clear()
        self._known.update(known)
        return found


def _begins_with(transcript: Transcript, base: Base) -> bool:
    """Whether a beginning of a session's records has the entries that a tail follows."""
    chain = transcript.chain
    if len(chain) < base.entries or base.entries in transcript.entangled:
        return False
    return (chain.link(1), chain.link(base.entries)) == (base.first, base.head)
