"""``show-transaction``: one transaction, its operations, and how its sessions are now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click

from ..codex.home import CodexHome
from ..errors import HomeError
from ..journal.ledger import Ledger
from ..journal.log import Batch, Journal
from ..journal.operations import PutRow, to_json
from ..lineage.differences import row_changes
from ..model import Json, Notice
from ..planned import SKILL
from ..recovery import unfinished_notices
from ..report.envelope import Report
from ..rollback.plan import ALREADY, plan_rollback
from .options import common, completing, home_of


@click.command("show-transaction")
@click.argument("transaction_id", metavar="ID", shell_complete=completing("transactions"))
@common
def command(transaction_id: str, codex_home: str | None, as_json: bool) -> Report:
    """Show one transaction: its sessions, how they are now, and every change it made to the home.

    ID may be shortened as long as it is unique.

    Writes nothing.

    \b
    Examples:
      codex-session-sync show-transaction 20260302T0915

    \b
    Next:
      codex-session-sync rollback ID  what undoing it would do
    """
    del as_json
    home = home_of(codex_home)
    journal = Journal(home.sync_dir)
    manifest = journal.manifest(transaction_id)
    batches = journal.batches(manifest["transaction_id"])
    notices = list(unfinished_notices(journal))
    try:
        states = _states(home, journal, manifest["transaction_id"])
    except HomeError as error:
        states = {}
        notices.append(Notice(error.code, f"how its sessions are now is unknown: {error.message}"))
    transaction = {
        **manifest,
        "sessions": [
            session | ({"now": states[i]} if (i := session["session_id"]) in states else {})
            for session in manifest["sessions"]
        ],
        **_skills(manifest, states),
        "operations": list(_operations(batches)),
    }
    return Report("show-transaction", "ok", {"transaction": transaction}, warnings=tuple(notices))


def _skills(manifest: Json, states: dict[str, Json]) -> Json:
    """The skills of a transaction that changed any, each with how it is now."""
    if "skills" not in manifest:
        return {}
    found = [
        skill | ({"now": states[key]} if (key := SKILL + skill["name"]) in states else {})
        for skill in manifest["skills"]
    ]
    return {"skills": found}


def _operations(batches: Iterable[Batch]) -> Iterator[Json]:
    for batch in batches:
        for session_id, operation in batch.operations:
            shown = {
                "session_id": session_id,
                "state": batch.step or "intended",
                **to_json(operation),
            }
            if isinstance(operation, PutRow) and operation.before and operation.after:
                shown["changes"] = row_changes(operation.before, operation.after)
            yield shown


def _states(home: CodexHome, journal: Journal, transaction_id: str) -> dict[str, Json]:
    """Of each session that the transaction changed: whether it is as it was left, else why not."""
    plan = plan_rollback(home, Ledger(journal), transaction_id)
    return {
        one.deed.session_id: {
            "state": "as_left"
            if one.obstacle is None
            else _STATE.get(one.obstacle.code, "unclear"),
            "message": None if one.obstacle is None else one.obstacle.message,
        }
        for one in plan.sessions
    }


_STATE = {"advanced_since": "moved_on", ALREADY: "rolled_back"}
