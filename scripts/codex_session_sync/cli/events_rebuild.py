"""``events rebuild``: all that is derived from the events of a store made anew."""

from __future__ import annotations

import click

from ..events.index import rebuild
from ..report.envelope import Report
from .options import common, store_option
from .storing import brought_up_to_date

COMMAND = "events rebuild"


@click.command("rebuild")
@store_option
@common
def command(store: str | None, codex_home: str | None, as_json: bool) -> Report:
    """Make anew all that is derived from the store's events: the index, as it was.

    Writes the store's folder `derived` and nothing else.

    \b
    Examples:
      codex-session-sync events rebuild
      codex-session-sync events rebuild --store /srv/store --json

    \b
    Next:
      codex-session-sync events report  what there is
    """
    del as_json, codex_home
    return brought_up_to_date(COMMAND, store, rebuild)
