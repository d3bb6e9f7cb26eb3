"""Bringing interrupted transactions to an end: what was not confirmed is undone."""

from __future__ import annotations

from dataclasses import dataclass

from .codex.home import CodexHome
from .codex.state_db import open_for_writing
from .errors import InterruptedTransactionError
from .journal.log import Batch, Journal
from .journal.operations import Site
from .journal.playback import undo_all
from .model import Json, Result


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A transaction that did not end: the batches that stand, and those that must be undone."""

    transaction_id: str
    manifest: Json
    standing: tuple[Batch, ...]
    undecided: tuple[Batch, ...]

    def to_json(self) -> Json:
        """What a report says of it."""
        return {
            "transaction_id": self.transaction_id,
            "kind": self.manifest["kind"],
            "created_at": self.manifest["created_at"],
            "package": self.manifest["package"],
            "sessions_kept": sorted(_sessions(self.standing)),
            "sessions_undone": sorted(_sessions(self.undecided)),
        }


def require_none_interrupted(journal: Journal) -> None:
    """Raise InterruptedTransactionError if some transaction did not end."""
    found = journal.interrupted()
    if found:
        raise InterruptedTransactionError(
            "transaction_interrupted",
            f"transaction {found[0]} was interrupted and left unfinished",
            hint="`codex-session-sync recover` shows what would be done, `recover --execute` does "
            "it",
        )


def find_interrupted(journal: Journal) -> list[Interrupted]:
    """The transactions to recover, newest first."""
    return [_examine(journal, transaction_id) for transaction_id in journal.interrupted()]


def recover(home: CodexHome, journal: Journal, found: Interrupted) -> None:
    """Undo what the transaction did not confirm, newest batch first, and end it.

    Safe to repeat: each operation looks at the present state first. The caller holds the home.
    """
    log = journal.reopen(found.transaction_id)
    with open_for_writing(home.state_db) as database:
        site = Site(home.path, home.sync_dir, log.staged, database)
        for batch in reversed(found.undecided):
            undo_all([operation for _, operation in batch.operations], site)
            log.mark("undone", batch.number)
    kept = _sessions(found.standing)
    sessions = [
        {**session, "result": Result.IMPORTED if session["session_id"] in kept else Result.FAILED}
        for session in found.manifest["sessions"]
    ]
    log.finish("recovered", {"imported": len(kept)}, sessions)


def _examine(journal: Journal, transaction_id: str) -> Interrupted:
    batches = journal.batches(transaction_id)
    return Interrupted(
        transaction_id,
        journal.manifest(transaction_id),
        tuple(b for b in batches if b.step == "done"),
        tuple(b for b in batches if b.step not in ("done", "undone")),
    )


def _sessions(batches: tuple[Batch, ...]) -> set[str]:
    return {session for batch in batches for session, _ in batch.operations}
