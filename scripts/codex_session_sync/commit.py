"""A transaction and its batches: journal, change, confirm; what fails is undone, then tried alone.

A batch is the unit of durability: its operations are journaled and synced, then applied and
synced, then confirmed. Where one fails it is undone and its items are tried alone, so that one
session's failure does not stop the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from . import __version__
from .codex.home import CodexHome
from .codex.state_db import StateDb
from .errors import HomeError, InterruptedTransactionError, SyncError
from .journal.log import Journal, TransactionLog
from .journal.operations import AnyOperation, Site
from .journal.playback import apply_all, undo_all
from .locks import codex_index_lock
from .model import Json
from .moments import now
from .recovery import interrupted

BATCH_SESSIONS = 256
"""The most that is made durable together."""

Ending = Callable[[], tuple[str, list[Json]]]
"""How a transaction ended: its status, and its sessions with their results."""

T = TypeVar("T")
Item_contra = TypeVar("Item_contra", contravariant=True)
Pair = tuple[str, AnyOperation]
"""A session's id in the transaction, and a change made for it."""


@contextmanager
def transaction(
    home: CodexHome,
    kind: str,
    sessions: list[Json],
    ending: Ending,
    *,
    transaction_id: str | None = None,
    **more: Any,
) -> Iterator[TransactionLog]:
    """A transaction from its manifest to its end, which comes on an interrupt too.

    ``sessions`` are as the manifest has them at first, ``more`` is what else it says. With a batch
    that is neither confirmed nor undone the transaction is left to ``recover``. Raises HomeError
    before anything is written, InterruptedTransactionError.
    """
    manifest = {
        "kind": kind,
        "status": "running",
        "program_version": __version__,
        "created_at": now(),
        "completed_at": None,
        "home": str(home.path),
        "package": None,
        "counts": {},
        "sessions": sessions,
        **more,
    }
    log = Journal(home.sync_dir).begin(manifest, transaction_id)
    # They are on the disk; those that the end has stand in their place.
    del log.manifest["sessions"], manifest, sessions
    try:
        yield log
    finally:
        if not log.undecided:
            status, ended = ending()
            counts = Counter(str(session["result"]) for session in ended)
            try:
                log.finish(status, dict(sorted(counts.items())), ended)
            except OSError as error:
                raise interrupted(log.transaction_id, error) from error


class Work(Protocol[Item_contra]):
    """What is to be done with the items of a batch."""

    def settle(self, items: Sequence[Item_contra]) -> None:
        """Make durable what waits for the batch's operations."""

    def operations(self, items: Sequence[Item_contra]) -> Iterable[Pair]:
        """The operations in order of application; reads the home and writes nothing."""

    def discard(self, item: Item_contra) -> None:
        """Remove what waited for an item that failed."""


@dataclass(frozen=True, slots=True)
class Committer(Generic[T]):
    """Commits the batches of one transaction to one home."""

    home: CodexHome
    log: TransactionLog
    database: StateDb | None
    work: Work[T]
    _broken: list[HomeError] = field(default_factory=list)

    @property
    def broken(self) -> HomeError | None:
        """The failure of the database, after which nothing else is tried."""
        return self._broken[0] if self._broken else None

    def commit(self, items: Sequence[T]) -> Iterator[tuple[T, SyncError | OSError | None]]:
        """Put a batch in place; if that fails, each of its items alone. Yields what failed why.

        Raises InterruptedTransactionError where a failure cannot be undone.
        """
        if not items:
            return
        if self.broken is not None:
            yield from self._given_up(items, self.broken)
            return
        try:
            self._apply(items)
        except InterruptedTransactionError:
            raise
        except (SyncError, OSError) as error:
            if isinstance(error, HomeError) and error.code.startswith("database_"):
                self._broken.append(error)
            if self.broken is not None or len(items) == 1:
                yield from self._given_up(items, error)
                return
            for item in items:
                yield from self.commit([item])
            return
        for item in items:
            yield item, None

    def _given_up(
        self, items: Sequence[T], error: SyncError | OSError
    ) -> Iterator[tuple[T, SyncError | OSError]]:
        for item in items:
            self.work.discard(item)
            yield item, error

    def _apply(self, items: Sequence[T]) -> None:
        home = self.home
        site = Site(home.path, home.sync_dir, self.log.staged, self.database, home.history_db)
        self.work.settle(items)
        with codex_index_lock(home.path):
            operations = list(self.work.operations(items))
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
