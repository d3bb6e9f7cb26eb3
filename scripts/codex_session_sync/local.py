"""What this home holds, read as far as a sync needs it and no further."""

from __future__ import annotations

from functools import cached_property

from .codex.home import CodexHome
from .codex.inventory import RolloutIndex, read_head
from .errors import HomeError, SessionError
from .lineage.classify import Candidate
from .lineage.fingerprint import lineage_id
from .lineage.sidecar import local_ids, read_sidecar
from .model import Json, Notice, RolloutFile, Transcript
from .transcript import first_link, scan


class LocalSessions:
    """The local side of matching: candidates for an incoming session.

    Nothing is read before it is asked for; ``notices`` gathers what could not be read.
    """

    def __init__(self, home: CodexHome, packaged: frozenset[str]) -> None:
        self._home = home
        self._packaged = packaged
        self._scanned: dict[str, Transcript] = {}
        self.notices: list[Notice] = []

    @cached_property
    def rollouts(self) -> RolloutIndex:
        """Every rollout of the home, by file name."""
        return self._home.rollouts()

    def segment(self, segment_id: str) -> RolloutFile | None:
        """A local file for a segment that a package's history continues."""
        return self.rollouts.segment(segment_id)

    def candidates(self, incoming: Transcript) -> list[Candidate]:
        """The local sessions that may be the incoming one.

        Those that the sidecar maps it to and the one of the same id; only if there is none, those
        that begin with the same entry and are kin. Raises SessionError if a claimed one cannot be
        read.
        """
        claimed = dict.fromkeys([*self._mapped(incoming), incoming.session_id])
        found = [
            Candidate(i, self.transcript(tip).chain, claimed=True)
            for i in claimed
            if (tip := self.rollouts.tip(i)) is not None
        ]
        return found or [
            Candidate(tip.thread_id, self.transcript(tip).chain, claimed=False)
            for tip in self._kin(incoming)
        ]

    def transcript(self, tip: RolloutFile) -> Transcript:
        """A local session, read once. Raises SessionError ``local_transcript_unreadable``."""
        if tip.thread_id not in self._scanned:
            try:
                self._scanned[tip.thread_id] = scan(tip, self.rollouts.segment)
            except SessionError as error:
                raise SessionError(
                    "local_transcript_unreadable",
                    f"the local session {tip.thread_id} cannot be read: {error.message}",
                    hint="nothing is written over it; mend or move its file, then sync again",
                    session_id=tip.thread_id,
                ) from error
        return self._scanned[tip.thread_id]

    def _mapped(self, incoming: Transcript) -> list[str]:
        lineage = lineage_id(incoming.chain, incoming.session_id)
        text = read_sidecar(self._home.sync_dir, lineage)
        if text is None:
            return []
        try:
            return local_ids(text, lineage, incoming.session_id)
        except HomeError as error:
            self.notices.append(Notice(error.code, error.message, incoming.session_id))
            return []

    def _kin(self, incoming: Transcript) -> list[RolloutFile]:
        """Local sessions with the same first entry, descent and no package session of their id."""
        if not incoming.chain.links:
            return []
        wanted = incoming.chain.link(1)
        descent = kinship(incoming.meta)
        return [
            tip
            for link, tip, meta in self._beginnings
            if link == wanted and tip.thread_id not in self._packaged and kinship(meta) == descent
        ]

    @cached_property
    def _beginnings(self) -> list[tuple[str, RolloutFile, Json]]:
        """First link, newest file and ``session_meta`` of every local session that can be read."""
        found = []
        for thread in self.rollouts.threads():
            tip = self.rollouts.tip(thread)
            assert tip is not None
            try:
                link = first_link(tip, self.rollouts.segment)
                if link is not None:
                    found.append((link, tip, read_head(tip)["payload"]))
            except SessionError:
                continue
        return found


def kinship(meta: Json) -> tuple[object, object]:
    """What tells apart sessions that begin alike: what they were forked from and spawned by.

    A Codex fork is a session of its own beside its parent, not a copy of it.
    """
    return meta.get("forked_from_id"), meta.get("parent_thread_id")
