"""What the transcripts of a home tell of their lineages, read as far as it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from ..codex.home import CodexHome
from ..codex.inventory import read_head
from ..errors import SessionError
from ..lineage.fingerprint import PROVENANCE, lineage_id
from ..lineage.sidecar import fingerprint
from ..local import LocalSessions
from ..model import Chain, Json, Notice, RolloutFile
from ..transcript import first_link, scan

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Survivor:
    """A session that is here; ``lineage_id`` is None without entries.

    ``origin`` is what a note of ours in its ``session_meta`` says that it stands for. Of one that
    is not ``readable`` nothing is known.
    """

    session_id: str
    file: RolloutFile
    lineage_id: str | None = None
    origin: str | None = None
    readable: bool = True

    def is_of(self, lineage: str, origin: str) -> bool:
        """Whether it can stand for a session of this lineage and id, by its first entry.

        A session that came without entries is known by its id alone.
        """
        return lineage in (self.lineage_id, lineage_id(Chain(), origin))


class Survivors:
    """The sessions of a home: their first entries all, the rest of a transcript when asked for.

    ``notices`` gathers what could not be read.
    """

    def __init__(self, home: CodexHome, progress: Progress | None = None) -> None:
        self._local = LocalSessions(home)
        self._progress = progress
        self.notices: list[Notice] = []

    def get(self, session_id: str) -> Survivor | None:
        """A session; None if it is gone."""
        return self._all.get(session_id)

    def __iter__(self) -> Iterator[Survivor]:
        return iter(self._all.values())

    def chain(self, one: Survivor) -> tuple[Chain, int] | None:
        """The chain of a session and the bytes of its transcript; None if it cannot be read."""
        try:
            found = scan(one.file, self._local.rollouts.segment, self._progress)
        except SessionError as error:
            self._unreadable(error, one.session_id)
            return None
        return found.chain, found.size

    def fingerprint(self, one: Survivor) -> Json | None:
        """The fingerprint of a session as it is now; None if it cannot be read."""
        found = self.chain(one)
        return fingerprint(*found) if found is not None else None

    @cached_property
    def _all(self) -> dict[str, Survivor]:
        return {thread: self._read(thread) for thread in self._local.rollouts.threads()}

    def _read(self, thread: str) -> Survivor:
        tip = self._local.tip(thread)
        assert tip is not None
        try:
            link = first_link(tip, self._local.rollouts.segment)
            return Survivor(thread, tip, link and link[:32], self._noted_origin(thread))
        except SessionError as error:
            self._unreadable(error, thread)
            return Survivor(thread, tip, readable=False)

    def _noted_origin(self, thread: str) -> str | None:
        """The origin by the note in a session's oldest file: a revert's file has none."""
        for file in self._local.rollouts.files(thread):
            note = read_head(file)["payload"].get(PROVENANCE)
            if isinstance(note, dict) and isinstance(note.get("origin_id"), str):
                return str(note["origin_id"])
        return None

    def _unreadable(self, error: SessionError, session_id: str) -> None:
        notice = Notice(
            "local_transcript_unreadable",
            f"{error.message}; what is said of it elsewhere is not checked",
            session_id,
        )
        if notice not in self.notices:
            self.notices.append(notice)
