"""``list-transactions``: what was done to this home, newest first."""

from __future__ import annotations

import click

from ..journal.log import Journal
from ..recovery import unfinished_notices
from ..report.envelope import Report
from .options import common, home_of

SHOWN = (
    "transaction_id",
    "kind",
    "rolls_back",
    "status",
    "created_at",
    "completed_at",
    "package",
    "counts",
)


@click.command("list-transactions")
@common
def command(codex_home: str | None, as_json: bool) -> Report:
    """List the transactions of this home, newest first.

    Writes nothing.

    \b
    Examples:
      codex-session-sync list-transactions
      codex-session-sync list-transactions --json

    \b
    Next:
      codex-session-sync show-transaction ID  what one of them did
      codex-session-sync rollback ID          what undoing it would do
    """
    del as_json
    journal = Journal(home_of(codex_home).sync_dir)
    found = [{key: m[key] for key in SHOWN if key in m} for m in journal.manifests()]
    return Report(
        "list-transactions", "ok", {"transactions": found}, warnings=unfinished_notices(journal)
    )
