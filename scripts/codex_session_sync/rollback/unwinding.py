"""Executing a rollback: one transaction, whose operations are the inverses of another's."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import Any, BinaryIO

from .. import commit
from ..codex.home import CodexHome
from ..codex.inventory import rollout_file
from ..codex.state_db import StateDb, open_for_writing
from ..commit import Committer, Pair, transaction
from ..durable import safe_join, sync_all
from ..errors import SyncError
from ..journal.ledger import Deed, Ledger
from ..journal.log import Journal, TransactionLog
from ..journal.operations import CutFile, ExtendFile, MoveFile, concern_goals
from ..locks import codex_thread_lock
from ..model import Json, RolloutFile
from ..recovery import require_none_interrupted
from ..regular import open_regular
from .inverse import Inverse, Ready, Waiting
from .plan import RollbackPlan, SessionUndoing, UndoResult, result_of
from .present import Present
from .standing import COMPRESSED, Found, Obstacle, examine, left_by, obstacle_of, opened

_CHUNK = 1 << 20

JOURNALED = ("classification", "relation", "name", "entries")
"""What the journal of a rollback repeats of a session."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one session; ``obstacle`` where it was not undone."""

    undoing: SessionUndoing
    obstacle: Obstacle | None = None

    @property
    def result(self) -> UndoResult:
        """In a word."""
        return UndoResult.UNDONE if self.obstacle is None else result_of(self.obstacle)


@dataclass(frozen=True, slots=True)
class Unwinding:
    """What an executed rollback came to; ``transaction_id`` None where nothing was to be undone."""

    transaction_id: str | None
    outcomes: tuple[Outcome, ...]


def unwind(
    plan: RollbackPlan,
    home: CodexHome,
    ledger: Ledger,
    progress: Callable[[int], None] | None = None,
) -> Unwinding:
    """Undo what ``plan`` says; the caller holds the home's lock and made the plan under it.

    ``progress`` is told of each session that is done with.
    Raises HomeError, InterruptedTransactionError.
    """
    journal = Journal(home.sync_dir)
    require_none_interrupted(journal)
    if not plan.undoable:
        return Unwinding(None, tuple(Outcome(one, one.obstacle) for one in plan.sessions))
    operations = (operation for one in plan.undoable for operation in one.deed.operations)
    goals = home.goals_db if concern_goals(operations) else None
    with ExitStack() as stack:
        database = None
        if not all(one.deed.of_mappings for one in plan.undoable):
            database = stack.enter_context(open_for_writing(home.state_db, goals))
        if database is not None:
            database.require_writable()
        outcomes: dict[str, Outcome] = {}
        with transaction(
            home,
            "rollback",
            [_journaled(one, None) for one in plan.sessions if not one.deed.of_skill],
            lambda: _ending(_in_order(plan, outcomes)),
            rolls_back=plan.transaction_id,
            **_skills([Outcome(one) for one in plan.sessions], ended=False),
        ) as log:
            try:
                for outcome in Unwinder(home, log, database, ledger).run(plan.undoable):
                    outcomes[outcome.undoing.deed.session_id] = outcome
                    if progress:
                        progress(1)
            finally:
                log.manifest |= _skills(_in_order(plan, outcomes), ended=True)
    return Unwinding(log.transaction_id, _in_order(plan, outcomes))


@dataclass(frozen=True, slots=True)
class Unwinder:
    """Undoes sessions in one transaction."""

    home: CodexHome
    log: TransactionLog
    database: StateDb | None
    ledger: Ledger
    _numbers: count[int] = field(default_factory=count)

    def run(self, sessions: Sequence[SessionUndoing]) -> Iterator[Outcome]:
        """Undo sessions; yields what became of each."""
        committer = Committer(self.home, self.log, self.database, self)
        failed: dict[str, Obstacle] = {}
        for batch in _batches(sessions):
            if committer.broken is not None:
                yield from (Outcome(one, obstacle_of(committer.broken)) for one in batch)
                continue
            with ExitStack() as locks:
                known: dict[str, SessionUndoing] = {}
                ready: list[Ready] = []
                present = self._present(batch)
                for one in batch:
                    found = failed.get(one.deed.local_id) or self._tried(one, present, locks)
                    if isinstance(found, Obstacle):
                        failed[one.deed.local_id] = found
                        yield Outcome(one, found)
                    else:
                        known[one.deed.session_id] = one
                        ready.append(found)
                for done, problem in committer.commit(ready):
                    obstacle = None if problem is None else obstacle_of(problem)
                    if obstacle is not None:
                        failed[done.deed.local_id] = obstacle
                    yield Outcome(known[done.deed.session_id], obstacle)

    def settle(self, items: Sequence[Ready]) -> None:
        """Make durable what is to be appended."""
        sync_all(self.log.staged / one.name for item in items for one in item.staged.values())

    def operations(self, items: Sequence[Ready]) -> Iterable[Pair]:
        """What undoes the sessions."""
        present = Present(self.home, self.database, [item.deed.local_id for item in items])
        inverse = Inverse(self.home, self.ledger, present, self.log.transaction_id)
        return inverse.operations(items)

    def discard(self, item: Ready) -> None:
        """Remove what was staged for a session that failed."""
        for one in item.staged.values():
            (self.log.staged / one.name).unlink(missing_ok=True)

    def _present(self, batch: Sequence[SessionUndoing]) -> Present:
        return Present(self.home, self.database, [one.deed.local_id for one in batch])

    def _tried(self, one: SessionUndoing, present: Present, locks: ExitStack) -> Ready | Obstacle:
        try:
            return self._ready(one, present, locks)
        except (SyncError, OSError) as error:
            return obstacle_of(error)

    def _ready(self, one: SessionUndoing, present: Present, locks: ExitStack) -> Ready | Obstacle:
        """Keep Codex from writing to a session, look at it again, and stage what goes back."""
        if not (one.deed.of_mappings or one.deed.of_skill):
            locks.enter_context(codex_thread_lock(self.home.path, one.deed.local_id))
        found = examine(self.home, one.whole, left_by(one.whole.operations), present)
        if isinstance(found, Obstacle):
            return found
        return Ready(one.deed, one.left, found, dict(self._staged(one.deed, found)))

    def _staged(self, deed: Deed, found: Mapping[str, Found]) -> Iterator[tuple[str, Waiting]]:
        """Stage what is to be put in place, by the path that it comes from."""
        for operation in deed.operations:
            match operation:
                case CutFile(kept=kept, removed=removed):
                    with open_regular(safe_join(self.home.path, kept)) as source:
                        yield kept, self._stage(source, removed)
                case ExtendFile(path=path, size=size, mtime_ns=mtime_ns):
                    moved = _final(path, deed)
                    file = _compressed(self.home, moved) if found[moved].suffix else None
                    if file is not None:
                        with opened(file) as source:
                            waiting = self._stage(source, size)
                        os.utime(self.log.staged / waiting.name, ns=(mtime_ns, mtime_ns))
                        yield path, waiting

    def _stage(self, source: BinaryIO, size: int) -> Waiting:
        """Copy the beginning of a stream to where it waits."""
        name, digest, rest = str(next(self._numbers)), hashlib.sha256(), size
        with (self.log.staged / name).open("xb") as stream:
            while rest and (chunk := source.read(min(rest, _CHUNK))):
                stream.write(chunk)
                digest.update(chunk)
                rest -= len(chunk)
        return Waiting(name, size - rest, digest.hexdigest())


def _batches(sessions: Sequence[SessionUndoing]) -> Iterator[Sequence[SessionUndoing]]:
    """Batches in order; of two deeds on one local session each has its own."""
    batch: dict[str, SessionUndoing] = {}
    for one in sessions:
        if len(batch) == commit.BATCH_SESSIONS or one.deed.local_id in batch:
            yield list(batch.values())
            batch = {}
        batch[one.deed.local_id] = one
    if batch:
        yield list(batch.values())


def _final(path: str, deed: Deed) -> str:
    """Where a deed left the file that it had at a path."""
    for operation in deed.operations:
        if isinstance(operation, MoveFile) and operation.path == path:
            path = operation.new_path
    return path


def _compressed(home: CodexHome, path: str) -> RolloutFile | None:
    place = safe_join(home.path, path + COMPRESSED)
    return rollout_file(place, place.name, 0, 0, archived=False)


def undoing_json(one: SessionUndoing, outcome: Outcome | None = None) -> Json:
    """One session as reports and the journal show it; ``result`` only after execution."""
    obstacle = one.obstacle if outcome is None else outcome.obstacle
    action = {"undone": "undo", "kept": "keep", "refused": "refuse"}[
        one.result if outcome is None else outcome.result
    ]
    document: Json = {
        "session_id": one.deed.session_id,
        "local_session_id": one.deed.local_id,
        "action": action,
        "reason": obstacle.code if obstacle is not None else None,
        "effect": one.effect,
        "name": one.deed.session.get("name"),
        "did": one.deed.session.get("result"),
    }
    if outcome is not None:
        document["result"] = outcome.result
    return document


def _in_order(plan: RollbackPlan, done: dict[str, Outcome]) -> tuple[Outcome, ...]:
    return tuple(
        done.get(one.deed.session_id) or Outcome(one, one.obstacle or _STOPPED)
        for one in plan.sessions
    )


_STOPPED = Obstacle(
    "interrupted", "the run was interrupted before it", "run `codex-session-sync AGAIN`"
)


def _journaled(one: SessionUndoing, outcome: Outcome | None) -> Json:
    shown = undoing_json(one, outcome)
    session = one.deed.session
    return {
        "session_id": shown["session_id"],
        "local_session_id": shown["local_session_id"],
        **{key: session[key] for key in JOURNALED if key in session},
        "action": shown["action"],
        "reason": shown["reason"],
        "result": shown.get("result"),
    }


def _skills(outcomes: Iterable[Outcome], *, ended: bool) -> dict[str, Any]:
    """What the manifest says of skills, if the transaction is about any."""
    found = []
    for outcome in outcomes:
        if outcome.undoing.deed.of_skill:
            shown = undoing_json(outcome.undoing, outcome if ended else None)
            skill = outcome.undoing.deed.session
            found.append(
                {
                    "name": skill["name"],
                    "digest": skill["digest"],
                    "action": shown["action"],
                    "reason": shown["reason"],
                    "result": shown.get("result"),
                }
            )
    return {"skills": found} if found else {}


def _ending(outcomes: Sequence[Outcome]) -> tuple[str, list[Json]]:
    results = {outcome.result for outcome in outcomes}
    status = "completed" if UndoResult.UNDONE in results else "failed"
    sessions = [_journaled(o.undoing, o) for o in outcomes if not o.undoing.deed.of_skill]
    return "partial" if len(results) > 1 else status, sessions
