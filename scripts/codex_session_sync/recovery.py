"""Bringing interrupted transactions to an end: what was not confirmed is undone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .codex.home import CodexHome
from .codex.state_db import open_for_writing
from .durable import TEMPORARY
from .errors import HomeError, InterruptedTransactionError, SessionError, SyncError
from .journal.log import Batch, Journal
from .journal.operations import PutRow, Site, concern_goals
from .journal.playback import undo_all
from .lineage.sidecar import sidecar_path
from .locks import codex_index_lock, codex_thread_lock
from .model import Json, Notice
from .planned import RESULT_OF, RESULT_OF_MAPPING, RESULT_OF_SKILL, SKILL, Action, Result

RECENT = 64
"""A transaction begins only where none is interrupted, so one that is is among the newest. As many
are looked at as can have been at work at once where a file system has no locks; `recover` and the
check of health look at all."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A transaction that did not end: the batches that stand, and those that must be undone."""

    transaction_id: str
    manifest: Json
    standing: tuple[Batch, ...]
    undecided: tuple[Batch, ...]

    def to_json(self) -> Json:
        """What a report says of it."""
        found: Json = {
            "transaction_id": self.transaction_id,
            "kind": self.manifest["kind"],
            "created_at": self.manifest["created_at"],
            "package": self.manifest["package"],
        }
        for word, batches in (("kept", self.standing), ("undone", self.undecided)):
            keys = _sessions(batches)
            skills = sorted(key.removeprefix(SKILL) for key in keys if key.startswith(SKILL))
            found[f"sessions_{word}"] = sorted(key for key in keys if not key.startswith(SKILL))
            if skills:
                found[f"skills_{word}"] = skills
        return found


def require_none_interrupted(journal: Journal) -> None:
    """Raise InterruptedTransactionError if some transaction of late did not end."""
    found = journal.interrupted(most=RECENT)
    if found:
        raise InterruptedTransactionError(
            "transaction_interrupted",
            f"transaction {found[0]} was interrupted and left unfinished",
            hint="`codex-session-sync recover` shows what would be done, `recover --execute` does "
            "it",
        )


def unfinished_notices(journal: Journal) -> tuple[Notice, ...]:
    """A warning for each transaction of late that has not ended, for commands that only read."""
    return tuple(
        Notice(
            "transaction_unfinished",
            f"transaction {transaction_id} has not ended: a sync is at work, or "
            "`codex-session-sync recover` has to mend what one left, which may change what is said "
            "here",
        )
        for transaction_id in journal.interrupted(most=RECENT)
    )


def interrupted(transaction_id: str, problem: SyncError | OSError) -> InterruptedTransactionError:
    """The error for a transaction that fails and cannot be brought to its end at once."""
    what = problem.message if isinstance(problem, SyncError) else problem.strerror or problem
    return InterruptedTransactionError(
        "transaction_interrupted",
        f"transaction {transaction_id} could not be ended: {what}",
        hint="mend the cause, then run `codex-session-sync recover --execute`",
    )


def find_interrupted(journal: Journal, ended: set[str] | None = None) -> list[Interrupted]:
    """The transactions to recover, newest first; ``ended`` as of ``Journal.interrupted``."""
    return [_examine(journal, transaction_id) for transaction_id in journal.interrupted(ended)]


def recover(home: CodexHome, journal: Journal, found: Interrupted) -> list[Notice]:
    """Undo what the transaction did not confirm, newest batch first, and end it.

    What another program has changed since is left as it is; the notices say where. Safe to repeat:
    each operation looks at the present state first. The caller holds the home. Raises HomeError,
    InterruptedTransactionError.
    """
    log = journal.reopen(found.transaction_id)
    kept: list[HomeError] = []
    standing = _sessions(found.standing)
    sessions = [
        {**session, "result": _result(session, standing)} for session in found.manifest["sessions"]
    ]
    if "skills" in log.manifest:
        log.manifest["skills"] = [
            {**skill, "result": _result({**skill, "session_id": SKILL + skill["name"]}, standing)}
            for skill in log.manifest["skills"]
        ]
    results = Counter(str(session["result"]) for session in sessions)
    try:
        with ExitStack() as stack:
            stack.enter_context(_locked(home, found))
            database = None
            if any(isinstance(o, PutRow) for batch in found.undecided for _, o in batch.operations):
                database = stack.enter_context(open_for_writing(home.state_db, _goals(home, found)))
            stack.enter_context(codex_index_lock(home.path))
            site = Site(
                home.path, home.sync_dir, log.staged, database, home.history_db, journal.places.row
            )
            for batch in reversed(found.undecided):
                if batch.step is not None:
                    kept += undo_all([operation for _, operation in batch.operations], site)
                log.mark("undone", batch.number)
        _sweep((home.sync_dir / sidecar_path("")).parent, TEMPORARY)
        _sweep(log.staged.parent, TEMPORARY)
        _sweep(home.path, f".{home.session_index.name}{TEMPORARY[1:]}")
        log.finish("recovered", dict(sorted(results.items())), sessions)
    except OSError as error:
        raise interrupted(found.transaction_id, error) from error
    return [Notice(error.code, f"{error.message}; it is left as it is") for error in kept]


def _goals(home: CodexHome, found: Interrupted) -> Path | None:
    """The database of goals, if there is something of them to undo."""
    operations = (operation for batch in found.undecided for _, operation in batch.operations)
    return home.goals_db if concern_goals(operations) else None


@contextmanager
def _locked(home: CodexHome, found: Interrupted) -> Iterator[None]:
    """Hold the sessions that are undone. Raises InterruptedTransactionError if Codex has one."""
    undone = _sessions(found.undecided)
    touched = [
        session
        for session in found.manifest["sessions"]
        if session["session_id"] in undone and session["action"] not in RESULT_OF_MAPPING
    ]
    with ExitStack() as locks:
        # Two packaged sessions may stand for one here.
        for local_id in dict.fromkeys(session.get("local_session_id") for session in touched):
            if local_id is None:
                continue
            try:
                locks.enter_context(codex_thread_lock(home.path, local_id))
            except SessionError as error:
                raise interrupted(found.transaction_id, error) from error
        yield


def _examine(journal: Journal, transaction_id: str) -> Interrupted:
    batches = journal.batches(transaction_id)
    return Interrupted(
        transaction_id,
        journal.manifest(transaction_id),
        tuple(b for b in batches if b.step == "done"),
        tuple(b for b in batches if b.step not in ("done", "undone")),
    )


def _sweep(folder: Path, pattern: str) -> None:
    """Remove the files that were being written whole when the process was killed."""
    for path in folder.glob(pattern):
        path.unlink()


def _result(session: Json, standing: set[str]) -> str:
    if session["session_id"] in standing:
        return _STANDING[session["action"]]
    return _UNTOUCHED.get(session["action"], Result.FAILED)


_STANDING: dict[str, str] = {
    **{str(k): str(v) for k, v in RESULT_OF.items()},
    **RESULT_OF_MAPPING,
    **RESULT_OF_SKILL,
    "undo": "undone",
}
_UNTOUCHED: dict[str, str] = {
    Action.SKIP: Result.SKIPPED,
    Action.REFUSE: Result.REFUSED,
    "keep": "kept",
    "undo": Result.REFUSED,
}
"""What became of a session by its action, in a sync or a rollback."""


def _sessions(batches: tuple[Batch, ...]) -> set[str]:
    return {session for batch in batches for session, _ in batch.operations}
