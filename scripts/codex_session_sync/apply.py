"""Executing a plan: stage, journal, change, confirm, batch by batch.

A batch is the unit of durability: its files are staged and synced, its operations journaled and
synced, then applied and synced. One that fails is undone and its sessions are tried one at a time,
so that one session's failure does not stop the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from .changes import Changes
from .codex.home import CodexHome
from .codex.state_db import StateDb
from .durable import sync_all
from .errors import HomeError, InterruptedTransactionError, SessionError, SyncError
from .journal.log import TransactionLog
from .journal.operations import AnyOperation, Site
from .journal.playback import apply_all, undo_all
from .locks import codex_index_lock, codex_thread_lock
from .model import RESULT_OF, Result, SessionOutcome, SessionPlan
from .policy import Policy
from .recovery import interrupted
from .staging import Staged, Stager

BATCH_SESSIONS = 256
BATCH_BYTES = 64 << 20

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Writer:
    """Applies the writing actions of one transaction to one home."""

    home: CodexHome
    log: TransactionLog
    database: StateDb | None
    policy: Policy
    progress: Progress | None = None
    _broken: list[HomeError] = field(default_factory=list)
    """The failure of the database, after which no other session is tried."""

    @property
    def site(self) -> Site:
        """Where the operations act."""
        return Site(self.home.path, self.home.sync_dir, self.log.staged, self.database)

    def run(self, plans: Sequence[SessionPlan]) -> Iterator[SessionOutcome]:
        """Write the sessions; yields what became of each, in order."""
        stager = Stager(self.home, self.log.staged, self.policy, self.progress)
        for batch in _batches(plans):
            if self._broken:
                yield from (_failed(plan, self._broken[0]) for plan in batch)
                continue
            with ExitStack() as locks:
                staged: list[Staged] = []
                for plan in batch:
                    try:
                        self._lock(plan, locks)
                        staged.append(stager.stage(plan))
                    except (SyncError, OSError) as error:
                        yield _failed(plan, error)
                yield from self._commit(staged)

    def _lock(self, plan: SessionPlan, locks: ExitStack) -> None:
        """Keep Codex from writing to a session meanwhile. Raises ``session_busy``."""
        assert plan.target is not None
        locks.enter_context(codex_thread_lock(self.home.path, plan.target.session_id))

    def _commit(self, staged: Sequence[Staged]) -> Iterator[SessionOutcome]:
        """Put a staged batch in place; if that fails, each of its sessions alone."""
        if not staged:
            return
        try:
            self._apply(staged)
        except InterruptedTransactionError:
            raise
        except (SyncError, OSError) as error:
            if isinstance(error, HomeError) and error.code.startswith("database_"):
                self._broken.append(error)
            if self._broken or len(staged) == 1:
                for one in staged:
                    (self.log.staged / one.name).unlink(missing_ok=True)
                    yield _failed(one.plan, error)
                return
            for one in staged:
                yield from self._commit([one])
            return
        for one in staged:
            result = RESULT_OF[one.plan.action]
            yield SessionOutcome(one.plan, result, one.target.session_id, removed=one.removed)

    def _apply(self, staged: Sequence[Staged]) -> None:
        site = self.site
        changes = Changes(self.home, self.database, self.policy, self.log.transaction_id)
        sync_all(site.staged / one.name for one in staged if one.written is not None)
        with codex_index_lock(self.home.path):
            operations = list(changes.operations(staged))
            batch = self.log.intend(operations)
            done: list[AnyOperation] = []
            try:
                apply_all([operation for _, operation in operations], site, done)
                self.log.mark("done", batch)
            except BaseException:
                self._take_back(batch, done, site)
                raise

    def _take_back(self, batch: int, done: Sequence[AnyOperation], site: Site) -> None:
        """Undo a batch that failed. Raises InterruptedTransactionError if that fails as well."""
        problem: SyncError | OSError | None
        try:
            problem = next(iter(undo_all(done, site, keep_staged=True)), None)
            if problem is None:
                self.log.mark("undone", batch)
        except (SyncError, OSError) as error:
            problem = error
        if problem is not None:
            raise interrupted(self.log.transaction_id, problem) from problem


def _batches(plans: Sequence[SessionPlan]) -> Iterator[list[SessionPlan]]:
    batch: list[SessionPlan] = []
    size, targets = 0, set[str]()
    for plan in plans:
        assert plan.transcript is not None
        assert plan.target is not None
        length, target = plan.transcript.size, plan.target.session_id
        full = len(batch) == BATCH_SESSIONS or size + length > BATCH_BYTES
        if batch and (full or target in targets):
            yield batch
            batch, size, targets = [], 0, set()
        batch.append(plan)
        targets.add(target)
        size += length
    if batch:
        yield batch


def _failed(plan: SessionPlan, error: SyncError | OSError) -> SessionOutcome:
    if isinstance(error, SyncError):
        known = error
    else:
        known = SessionError(
            "write_failed",
            f"writing it failed: {error.strerror or error}",
            hint="nothing of it was left behind; make room or mend the cause, then sync again",
        )
    result = Result.REFUSED if known.code == "session_busy" else Result.FAILED
    return SessionOutcome(plan, result, None, known.code, known.message, known.hint)
