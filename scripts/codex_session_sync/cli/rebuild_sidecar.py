"""``rebuild-sidecar``: what is left tells which session stands for which."""

from __future__ import annotations

from functools import partial

import click

from ..report.envelope import Report
from ..report.progress import byte_progress
from ..sidecars.rebuilding import plan_rebuild
from .options import common, execute_option, home_of, transcript_bytes
from .rewriting import rewriting_report


@click.command("rebuild-sidecar")
@execute_option
@common
def command(do_it: bool, codex_home: str | None, as_json: bool) -> Report:
    """Make the sidecars anew from the journal, the transcripts, and what sidecars are left.

    Also after a home, or part of it, was put back from a backup. Without --execute it only shows
    what would change.

    With --execute it writes sidecars, as one transaction.

    \b
    Examples:
      codex-session-sync rebuild-sidecar
      codex-session-sync rebuild-sidecar --execute

    \b
    Next:
      codex-session-sync sidecar-health  check them
    """
    del as_json
    home = home_of(codex_home)
    with byte_progress("checking", transcript_bytes(home)) as progress:
        planning = partial(plan_rebuild, progress=progress)
        return rewriting_report("rebuild-sidecar", home, planning, do_it=do_it)
