"""``sidecar-health``: checks sidecars against transcripts, database and journal."""

from __future__ import annotations

from contextlib import ExitStack

import click

from ..health.checkup import check_health
from ..report.envelope import Report
from ..report.progress import byte_progress
from .options import common, home_of


@click.command("sidecar-health")
@click.option("--deep", is_flag=True, help="Read every transcript from end to end.")
@common
def command(deep: bool, codex_home: str | None, as_json: bool) -> Report:
    """Check the sidecars against their schema, the transcripts, the database and the journal.

    Writes nothing. Each problem is told with the command that mends it.

    Writes nothing.

    \b
    Examples:
      codex-session-sync sidecar-health
      codex-session-sync sidecar-health --deep

    \b
    Next:
      codex-session-sync rebuild-sidecar  what would mend most of it
    """
    del as_json
    home = home_of(codex_home)
    with ExitStack() as stack:
        health = check_health(
            home,
            deep=deep,
            progress=lambda total: stack.enter_context(byte_progress("checking", total)),
        )
    return Report("sidecar-health", "ok", health.to_json(), warnings=health.notices)
