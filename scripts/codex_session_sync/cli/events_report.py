"""``events report``: what a store has of events, of one import, or of one event."""

from __future__ import annotations

import re

import click

from ..events import reporting
from ..events.index import Index
from ..model import Json, Notice
from ..report.envelope import Report
from .options import common, store_option
from .storing import asked, store_of

COMMAND = "events report"

_IMPORT = re.compile(r"\d+T.*")
"""The id of an event has no T in it."""


@click.command("report")
@click.argument("which", metavar="[ID]", required=False)
@store_option
@common
def command(which: str | None, store: str | None, codex_home: str | None, as_json: bool) -> Report:
    """Tell what the store has of events, and which imports brought it.

    With ID, which may be shortened, tell of that import, or of that event as a whole: its text,
    its sessions, and where its record lies.

    Writes nothing but the index, which is brought up to date.

    \b
    Examples:
      codex-session-sync events report
      codex-session-sync events report 20260309T12
      codex-session-sync events report 272caa751a07 --json

    \b
    Next:
      codex-session-sync events search WORDS  find what was said
    """
    del as_json, codex_home
    here = store_of(store)
    told: Json = dict.fromkeys(("totals", "imports", "import", "event"))
    notices: list[Notice] = []
    if which is None:

        def question(index: Index) -> Json:
            return {"totals": reporting.totals(index), "imports": reporting.imports(index)}

        found, notices = asked(here, question)
        told |= found
    elif _IMPORT.fullmatch(which):
        told["import"] = reporting.one_import(here, which)
    else:
        told["event"], notices = asked(here, lambda i: reporting.one_event(here, i, which.lower()))
    data = {"store": str(here.path), "store_id": here.store_id, **told}
    return Report(COMMAND, "ok", data, warnings=tuple(notices))
