"""``recover``: brings what a crash interrupted to an end."""

from __future__ import annotations

import click

from ..journal.log import Journal
from ..locks import home_lock
from ..recovery import find_interrupted, recover
from ..report.envelope import Report
from .options import common, execute_option, home_of


@click.command("recover")
@execute_option
@common
def command(do_it: bool, codex_home: str | None, as_json: bool) -> Report:
    """Undo what an interrupted transaction had not confirmed; what it had confirmed stands.

    With --execute it writes back what was there before the part that was not confirmed.

    \b
    Examples:
      codex-session-sync recover
      codex-session-sync recover --execute

    \b
    Next:
      codex-session-sync sync PKG --execute  run again what was interrupted
    """
    del as_json
    home = home_of(codex_home)
    journal = Journal(home.sync_dir)
    found = find_interrupted(journal)
    data = {"transactions": [item.to_json() for item in found]}
    if not found:
        return Report("recover", "no_op", data)
    if not do_it:
        return Report("recover", "dry_run", data)
    with home_lock(home.sync_dir, "recover"):
        found = find_interrupted(journal)
        data = {"transactions": [item.to_json() for item in found]}
        notices = tuple(notice for item in found for notice in recover(home, journal, item))
    return Report("recover", "ok", data, warnings=notices)
