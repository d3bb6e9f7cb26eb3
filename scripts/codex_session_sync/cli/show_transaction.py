"""``show-transaction``: one transaction, its sessions and its operations."""

from __future__ import annotations

import click

from ..journal.log import Journal
from ..journal.operations import to_json
from ..recovery import unfinished_notices
from ..report.envelope import Report
from .options import common, home_of


@click.command("show-transaction")
@click.argument("transaction_id", metavar="ID")
@common
def command(transaction_id: str, codex_home: str | None, as_json: bool) -> Report:
    """Show one transaction: its sessions, and every change it made to the home.

    ID may be shortened as long as it is unique.
    """
    del as_json
    journal = Journal(home_of(codex_home).sync_dir)
    manifest = journal.manifest(transaction_id)
    operations = [
        {"session_id": session_id, "state": batch.step or "intended", **to_json(operation)}
        for batch in journal.batches(manifest["transaction_id"])
        for session_id, operation in batch.operations
    ]
    transaction = {**manifest, "operations": operations}
    data = {"transaction": transaction}
    return Report("show-transaction", "ok", data, warnings=unfinished_notices(journal))
