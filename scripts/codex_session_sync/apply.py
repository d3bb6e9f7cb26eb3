"""Executing a plan: lock and stage its sessions, batch by batch, and commit them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import TYPE_CHECKING

from . import commit
from .changes import Changes
from .codex.home import CodexHome
from .codex.inventory import rollout_file
from .codex.state_db import StateDb
from .commit import Committer, Pair
from .durable import sync_all
from .errors import SyncError, told
from .foreseen import remember
from .journal.log import TransactionLog
from .locks import codex_thread_lock
from .model import Transcript
from .planned import RESULT_OF, Action, Result, SessionOutcome, SessionPlan
from .staging import Staged, Stager
from .terms import Terms

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

BATCH_BYTES = 64 << 20

THREADS = 2
THREADS_BYTES = 8 << 20

MOST_LOCKED = commit.BATCH_SESSIONS
"""Sessions that are locked at once: each takes a descriptor."""

Progress = Callable[[int], None]
_Made = Staged | SyncError | OSError


@dataclass(frozen=True, slots=True)
class _Begun:
    """A batch whose sessions are locked: what staging each comes to, as far as it has come."""

    plans: Sequence[SessionPlan]
    made: Iterable[_Made]
    locks: ExitStack


@dataclass(frozen=True, slots=True)
class Writer:
    """Applies the writing actions of one transaction to one home."""

    home: CodexHome
    log: TransactionLog
    database: StateDb | None
    terms: Terms
    progress: Progress | None = None

    def run(self, plans: Sequence[SessionPlan]) -> Generator[SessionOutcome, None, None]:
        """Write the sessions; yields what became of each, in order.

        Nothing is staged any more once the generator is closed.
        """
        committer = Committer(self.home, self.log, self.database, self)
        foreseen: list[Staged] = []
        with closing(self._begun(plans, committer)) as batches:
            for batch in batches:
                with batch.locks:
                    staged: list[Staged] = []
                    for plan, made in zip(batch.plans, batch.made, strict=True):
                        if isinstance(made, Staged):
                            staged.append(made)
                        else:
                            yield _failed(plan, made)
                    # The batch before has settled by now.
                    self._remember(foreseen)
                    foreseen = []
                    for one, problem in committer.commit(staged):
                        yield _written(one) if problem is None else _failed(one.plan, problem)
                        if problem is None and one.foreseen is not None:
                            foreseen.append(one)
        self._remember(foreseen)

    def _begun(
        self, plans: Sequence[SessionPlan], committer: Committer[Staged]
    ) -> Generator[_Begun, None, None]:
        """The batches, locked and being staged: the next one beside what is done to this one."""
        stager = Stager(self.home, self.log.staged, self.terms, self.progress)
        batches = list(_batches(plans))
        pool = _threads() if any(map(_is_large, batches)) else None
        ahead: _Begun | None = None
        try:
            for batch, following in pairwise([*batches, []]):
                if committer.broken is not None and ahead is None:
                    yield _Begun(batch, repeat(committer.broken, len(batch)), ExitStack())
                    continue
                begun = ahead or self._begin(stager, batch, pool)
                ahead = None
                if committer.broken is None and self._is_apart(following, batch):
                    ahead = self._begin(stager, following, pool)
                yield begun
        finally:
            if pool is not None:
                pool.shutdown(cancel_futures=True)
            if ahead is not None:
                ahead.locks.close()

    def _is_apart(self, batch: Sequence[SessionPlan], others: Sequence[SessionPlan]) -> bool:
        """Whether to stage a batch needs much time, and nothing that is written for ``others``."""
        written = {plan.target.session_id for plan in others if plan.target}
        if not _is_large(batch) or len(batch) + len(others) > MOST_LOCKED:
            return False
        return all(
            plan.action is Action.IMPORT
            and plan.target is not None
            and plan.target.session_id not in written
            and isinstance(plan.transcript, Transcript)
            and not any(self.home.holds(part.slice.file.path) for part in plan.transcript.slices)
            for plan in batch
        )

    def _begin(
        self, stager: Stager, batch: Sequence[SessionPlan], pool: ThreadPoolExecutor | None
    ) -> _Begun:
        """Lock the sessions of a batch and stage them, in order; much of it in threads."""
        locks = ExitStack()
        locked = [self._locked(plan, locks) for plan in batch]

        def staged(plan: SessionPlan, busy: SyncError | OSError | None) -> _Made:
            try:
                return busy or stager.stage(plan)
            except (SyncError, OSError) as error:
                return error

        each = pool.map if pool is not None and _is_large(batch) else map
        return _Begun(batch, each(staged, batch, locked), locks)

    def _remember(self, written: Sequence[Staged]) -> None:
        """Keep in the cache what scans will find of the transcripts that were written."""
        for one in written:
            path = self.home.path / one.path
            file = rollout_file(path, path.name, one.size, one.mtime_ns, archived=False)
            assert file is not None
            assert one.foreseen is not None
            assert one.written is not None
            state = one.foreseen.state(file, one.size, one.written.sha256)
            if state is not None:
                remember(state, path, one.size, one.mtime_ns)

    def settle(self, items: Sequence[Staged]) -> None:
        """Make the staged files durable."""
        sync_all(self.log.staged / one.name for one in items if one.written is not None)

    def operations(self, items: Sequence[Staged]) -> Iterable[Pair]:
        """What puts staged sessions in place."""
        changes = Changes(self.home, self.database, self.terms, self.log.transaction_id)
        return changes.operations(items)

    def discard(self, item: Staged) -> None:
        """Remove the staged file of a session that failed."""
        (self.log.staged / item.name).unlink(missing_ok=True)

    def _locked(self, plan: SessionPlan, locks: ExitStack) -> SyncError | OSError | None:
        """Keep Codex from writing to a session meanwhile; the error where that cannot be."""
        assert plan.target is not None
        try:
            locks.enter_context(codex_thread_lock(self.home.path, plan.target.session_id))
        except (SyncError, OSError) as error:
            return error
        return None


def _threads() -> ThreadPoolExecutor:
    """Digests and the system's work go on beside Python's: two at a time take less long."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(THREADS)


def _is_large(batch: Sequence[SessionPlan]) -> bool:
    """Whether there is enough to stage for threads to be started."""
    return sum(map(_size, batch)) >= THREADS_BYTES


def _written(one: Staged) -> SessionOutcome:
    result = RESULT_OF[one.plan.action]
    return SessionOutcome(one.plan, result, one.target.session_id, removed=one.removed)


def _batches(plans: Sequence[SessionPlan]) -> Iterator[list[SessionPlan]]:
    batch: list[SessionPlan] = []
    size, targets = 0, set[str]()
    for plan in plans:
        assert plan.target is not None
        length, target = _size(plan), plan.target.session_id
        full = len(batch) == commit.BATCH_SESSIONS or size + length > BATCH_BYTES
        if batch and (full or target in targets):
            yield batch
            batch, size, targets = [], 0, set()
        batch.append(plan)
        targets.add(target)
        size += length
    if batch:
        yield batch


def _size(plan: SessionPlan) -> int:
    assert isinstance(plan.transcript, Transcript)
    return plan.transcript.size


def _failed(plan: SessionPlan, error: SyncError | OSError) -> SessionOutcome:
    known = told(error)
    result = Result.REFUSED if known.code == "session_busy" else Result.FAILED
    return SessionOutcome(plan, result, None, known.code, known.message, known.hint)
