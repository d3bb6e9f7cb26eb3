"""Mappings against transcripts: whether a local session is what its sidecar says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ..errors import SessionError, SyncError
from ..lineage.sidecar import Mapping
from ..local import LocalSessions
from ..model import Notice, RolloutFile, Transcript
from ..transcript import first_link, notices, scan
from .documents import Shelf
from .finding import Finding, of_error
from .holding import Holding, relative

Progress = Callable[[int], None]

Noted = tuple[str, Mapping]
"""A lineage, and a mapping of its sidecar."""


@dataclass(slots=True)
class Linking:
    """Compares mappings with transcripts; ``deep``: with whole ones, and reads those of others too.

    ``read_whole`` counts what was read from end to end, ``notices`` tells of lines in it that are
    no records.
    """

    holding: Holding
    shelf: Shelf
    deep: bool = False
    progress: Progress | None = None
    read_whole: int = 0
    notices: list[Notice] = field(default_factory=list)
    _local: LocalSessions = field(init=False)

    def __post_init__(self) -> None:
        self._local = LocalSessions(self.holding.home)

    def findings(self) -> Iterator[Finding]:
        """What is wrong with mappings and, if ``deep``, with whole transcripts."""
        mapped: dict[str, list[Noted]] = {}
        for lineage, document in self.shelf.documents.items():
            for mapping in document.mappings:
                mapped.setdefault(mapping.local_session_id, []).append((lineage, mapping))
        for session_id, noted in sorted(mapped.items()):
            if self.holding.tip(session_id) is None:
                yield from (_gone(lineage, mapping) for lineage, mapping in noted)
        for tip in self.holding.tips():
            if tip.thread_id not in self.holding.unreadable:
                noted = mapped.get(tip.thread_id, [])
                untracked = not noted and tip.thread_id in self.holding.installed
                try:
                    yield from self._session(tip, noted, untracked=untracked)
                except SessionError as error:
                    yield of_error(error, tip.thread_id, relative(self.holding.home, tip.path))
            if self.progress:
                self.progress(tip.size)

    def _session(
        self, tip: RolloutFile, noted: list[Noted], *, untracked: bool
    ) -> Iterator[Finding]:
        """What is wrong with one session. Raises SessionError if it cannot be read."""
        transcript, first = None, None
        if self.deep or any(_may_be_cut(tip, mapping) for _, mapping in noted):
            self.read_whole += 1
            transcript = scan(tip, self.holding.rollouts.segment)
            first = transcript.chain.link(1) if transcript.chain.links else None
            self.notices.extend(notices(transcript))
        elif noted or untracked:
            first = first_link(tip, self.holding.rollouts.segment)
        for lineage, mapping in noted:
            begins = (first or "")[: len(lineage)] == lineage
            if mapping.incoming["entries"] and mapping.local["entries"] and not begins:
                yield _lost(tip.thread_id, lineage)
            elif transcript is not None:
                yield from self._compared(transcript, lineage, mapping)
        lineage = (first or "")[:32]
        if untracked and (lineage not in self.shelf.present or lineage in self.shelf.documents):
            yield _untracked(tip.thread_id)

    def _compared(
        self, transcript: Transcript, lineage: str, mapping: Mapping
    ) -> Iterator[Finding]:
        """Whether a transcript still has what the last sync left it with."""
        entries, head = int(mapping.local["entries"]), mapping.local["head"]
        chain, session_id = transcript.chain, transcript.session_id
        if not entries or (len(chain) >= entries and chain.link(entries) == head):
            return
        path = relative(self.holding.home, transcript.file.path)
        if self._taken_back(session_id, head):
            return
        if len(chain) < entries:
            code = "session_shortened"
            message = (
                f"it has {len(chain)} entries, and had {entries} at the last sync: it was restored "
                "from a backup, or its file lost its end"
            )
        else:
            code = "mapping_line_changed"
            message = (
                f"of the {entries} entries that it had at the last sync some are others now: it is "
                "not the line that the sidecar tells of"
            )
        yield Finding(code, message, session_id, lineage, path)

    def _taken_back(self, session_id: str, head: str) -> bool:
        """Whether the entry that a session ended with was taken back by its user in Codex."""
        try:
            return bytes.fromhex(head) in self._local.taken_back(session_id)
        except SyncError:
            return False


def _may_be_cut(tip: RolloutFile, mapping: Mapping) -> bool:
    """Whether the size speaks for a session that is shorter than at the last sync.

    Of a compressed one it says nothing; one that continues other files looks so, and is read.
    """
    return not tip.compressed and tip.size < int(mapping.local["size"])


def _gone(lineage: str, mapping: Mapping) -> Finding:
    return Finding(
        "mapping_session_missing",
        f"it stands for the session {mapping.origin_session_id} by its sidecar, and is not here",
        mapping.local_session_id,
        lineage,
    )


def _lost(session_id: str, lineage: str) -> Finding:
    return Finding(
        "mapping_line_lost",
        "it does not begin with the entry of the lineage that its sidecar is of",
        session_id,
        lineage,
    )


def _untracked(session_id: str) -> Finding:
    return Finding(
        "session_untracked",
        "the first-import tool brought it, and no sidecar tells of it: its name and archive state "
        "do not follow its source",
        session_id,
    )
