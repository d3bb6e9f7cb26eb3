"""``explain``: why Codex does or does not show a session."""

from __future__ import annotations

import click

from ..explaining import explain
from ..journal.log import Journal
from ..recovery import unfinished_notices
from ..report.envelope import Report
from .options import common, completing, home_of

COMMAND = "explain"


@click.command(COMMAND)
@click.argument("session", shell_complete=completing("sessions"))
@common
def command(session: str, codex_home: str | None, as_json: bool) -> Report:
    """Say why Codex does or does not show SESSION, and what helps.

    SESSION is an id, which may be shortened, of a session that is in this home, or was brought in
    and has gone.

    Writes nothing.

    \b
    Examples:
      codex-session-sync explain 01a1fd25
      codex-session-sync explain 01a1fd25…9837

    \b
    Next:
      codex-session-sync verify --session ID  ask Codex itself
    """
    del as_json
    home = home_of(codex_home)
    found = explain(home, session)
    return Report(
        COMMAND,
        "ok",
        {
            "session": found.session,
            "listed": found.listed,
            "opens": found.opens,
            "findings": [cause.to_json() for cause in found.causes],
        },
        warnings=unfinished_notices(Journal(home.sync_dir)),
    )
