"""``prune-invalid-mappings``: mappings whose session is gone go."""

from __future__ import annotations

import click

from ..report.envelope import Report
from ..sidecars.rebuilding import plan_pruning
from .options import common, execute_option, home_of
from .rewriting import rewriting_report


@click.command("prune-invalid-mappings")
@execute_option
@common
def command(do_it: bool, codex_home: str | None, as_json: bool) -> Report:
    """Take mappings out of the sidecars whose local session is gone.

    Without --execute it only shows what would change.

    With --execute it writes sidecars, as one transaction.

    \b
    Examples:
      codex-session-sync prune-invalid-mappings
      codex-session-sync prune-invalid-mappings --execute

    \b
    Next:
      codex-session-sync sidecar-health  check them
    """
    del as_json
    return rewriting_report(
        "prune-invalid-mappings", home_of(codex_home), plan_pruning, do_it=do_it
    )
