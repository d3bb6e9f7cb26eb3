"""``replay-transactions-sidecar``: the sidecars as the journal has them."""

from __future__ import annotations

import click

from ..report.envelope import Report
from ..sidecars.retelling import plan_replay
from .options import common, execute_option, home_of
from .rewriting import rewriting_report


@click.command("replay-transactions-sidecar")
@execute_option
@common
def command(do_it: bool, codex_home: str | None, as_json: bool) -> Report:
    """Make the sidecars what the journal says, whatever the transcripts tell.

    Without --execute it only shows what would change.

    With --execute it writes sidecars, as one transaction.

    \b
    Examples:
      codex-session-sync replay-transactions-sidecar
      codex-session-sync replay-transactions-sidecar --execute

    \b
    Next:
      codex-session-sync sidecar-health  check them
    """
    del as_json
    return rewriting_report(
        "replay-transactions-sidecar", home_of(codex_home), plan_replay, do_it=do_it
    )
