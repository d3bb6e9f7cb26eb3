"""Executing changes of sidecars: one transaction that touches nothing else of the home."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from ..codex.home import CodexHome
from ..commit import BATCH_SESSIONS, Committer, Pair, transaction
from ..errors import SyncError, told
from ..journal.log import TRANSACTIONS, Journal, TransactionLog
from ..journal.operations import AnyOperation, MoveFile, PutDocument
from ..lineage.sidecar import by_pair, document, sidecar_path
from ..model import Json
from ..planned import RESULT_OF_MAPPING
from ..recovery import require_none_interrupted
from .documents import MappingChange, SidecarChange

Failures = Mapping[str, SyncError]
"""Why sidecars could not be written, by lineage."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What became of changes; ``transaction_id`` None where there was nothing to write."""

    transaction_id: str | None
    failures: Failures = field(default_factory=dict)


def rewrite(
    home: CodexHome,
    kind: str,
    changes: Sequence[SidecarChange],
    about: Mapping[str, Json] | None = None,
    transaction_id: str | None = None,
) -> Rewritten:
    """Make changes of sidecars as one transaction of a kind (see journal.log.MAPPING_KINDS).

    The caller holds the home's lock and decided on the changes under it. ``about`` says more of
    sessions in the manifest, by local id; ``transaction_id`` is one from Journal.new_id, where
    the changes name it. Raises HomeError, InterruptedTransactionError; then
    nothing was written.
    """
    journal = Journal(home.sync_dir)
    require_none_interrupted(journal)
    if not changes:
        return Rewritten(None)
    entries = _Entries("adopt" if kind == "adopt" else "remap", changes, about or {})
    done: dict[str, SyncError | OSError | None] = {}
    with transaction(
        home,
        kind,
        entries.journaled(None),
        lambda: _ending(entries, done),
        transaction_id=transaction_id,
    ) as log:
        committer = Committer(home, log, None, _Writing(home, log))
        for start in range(0, len(changes), BATCH_SESSIONS):
            for change, problem in committer.commit(changes[start : start + BATCH_SESSIONS]):
                done[change.lineage_id] = problem
    failures = {lineage: told(problem) for lineage, problem in done.items() if problem is not None}
    return Rewritten(log.transaction_id, failures)


@dataclass(frozen=True, slots=True)
class _Writing:
    """The work of a Committer on changes of sidecars."""

    home: CodexHome
    log: TransactionLog

    def settle(self, items: Sequence[SidecarChange]) -> None:
        """Nothing waits for a change."""

    def operations(self, items: Sequence[SidecarChange]) -> Iterable[Pair]:
        """What makes the changes."""
        return (pair for change in items for pair in self._operations(change))

    def discard(self, item: SidecarChange) -> None:
        """Nothing waited for it."""

    def _operations(self, change: SidecarChange) -> Iterator[Pair]:
        """A damaged sidecar goes to the transaction's folder; then an operation a session."""
        path = sidecar_path(change.lineage_id)
        parts = _by_session(change)
        if change.damage is not None:
            yield next(iter(parts)), self._away(path)
        text = change.before
        known = by_pair(text, change.lineage_id)
        for session_id, mappings in parts.items():
            for mapping in mappings:
                known.pop(mapping.pair, None)
                if mapping.after is not None:
                    known[mapping.pair] = mapping.after
            after = document(known, change.lineage_id)
            if after != text:
                yield session_id, PutDocument(path, text, after)
            text = after

    def _away(self, path: str) -> AnyOperation:
        source = self.home.sync_dir / path
        kept = f"session-sync/{TRANSACTIONS}/{self.log.transaction_id}/{source.name}"
        return MoveFile(f"session-sync/{path}", kept, source.lstat().st_size)


@dataclass(frozen=True, slots=True)
class _Entries:
    """What the manifest says of the sessions whose mappings change."""

    action: str
    changes: Sequence[SidecarChange]
    about: Mapping[str, Json]

    def journaled(self, done: Mapping[str, SyncError | OSError | None] | None) -> list[Json]:
        """An entry for each session; results once it is known what was ``done``, by lineage.

        A session of which any mapping was written counts as done, so that it can be rolled back.
        """
        found: dict[str, set[str]] = defaultdict(set)
        for change in self.changes:
            written = done is not None and done.get(change.lineage_id, _STOPPED) is None
            for session_id in _by_session(change):
                found[session_id].add(RESULT_OF_MAPPING[self.action] if written else "failed")
        return [
            {
                "session_id": session_id,
                "local_session_id": session_id,
                "classification": None,
                "relation": None,
                "action": self.action,
                "reason": None,
                "name": None,
                "entries": None,
                **self.about.get(session_id, {}),
                "result": _together(results) if done is not None else None,
            }
            for session_id, results in found.items()
        ]


_STOPPED = InterruptedError()
"""Stands for what an interrupt kept from being tried."""


def _together(results: set[str]) -> str:
    return next(iter(results - {"failed"}), "failed")


def _by_session(change: SidecarChange) -> dict[str, list[MappingChange]]:
    """The changes by local session, in a stable order.

    A damaged sidecar of which no mapping is known has no session; it goes by its lineage, written
    as an id.
    """
    found: dict[str, list[MappingChange]] = defaultdict(list)
    for mapping in sorted(change.mappings, key=lambda one: (one.pair[1], one.pair[0])):
        found[mapping.pair[1]].append(mapping)
    return found or {str(UUID(hex=change.lineage_id)): []}


def _ending(
    entries: _Entries, done: Mapping[str, SyncError | OSError | None]
) -> tuple[str, list[Json]]:
    sessions = entries.journaled(done)
    results = {session["result"] for session in sessions}
    unlike = "partial" if len(results) > 1 else "failed"
    return unlike if "failed" in results else "completed", sessions
