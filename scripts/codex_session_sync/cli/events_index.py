"""``events index``: the index of a store brought up to date."""

from __future__ import annotations

import click

from ..events.index import update
from ..report.envelope import Report
from .options import common, store_option
from .storing import brought_up_to_date

COMMAND = "events index"


@click.command("index")
@store_option
@common
def command(store: str | None, codex_home: str | None, as_json: bool) -> Report:
    """Bring the index of the store's events up to date.

    It goes on from where it was, and is made anew where it is missing, damaged, of another release
    or has what the store does not have. Other commands do this as they need it.

    Writes the index and nothing else.

    \b
    Examples:
      codex-session-sync events index
      codex-session-sync events index --store /srv/store --json

    \b
    Next:
      codex-session-sync events search WORDS  find what was said
    """
    del as_json, codex_home
    return brought_up_to_date(COMMAND, store, update)
