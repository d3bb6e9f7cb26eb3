"""``events graph``: what imports read, and how the lines of events run, as a graph."""

from __future__ import annotations

from typing import Literal

import click

from ..events.graph import FORMATS, read_graph
from ..events.manifests import find_import
from ..report.envelope import Report
from .options import common, store_option
from .storing import asked, store_of

COMMAND = "events graph"


@click.command("graph")
@click.option("--import", "which", metavar="ID", help="Only what this import read.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["dot", "json", "mermaid"]),
    default="mermaid",
    show_default=True,
    help="What to show it as.",
)
@store_option
@common
def command(
    which: str | None,
    form: Literal["dot", "json", "mermaid"],
    store: str | None,
    codex_home: str | None,
    as_json: bool,
) -> Report:
    """Show imports, packages, sessions, the lineages of these, and how their heads continue.

    Writes nothing but the index, which is brought up to date.

    \b
    Examples:
      codex-session-sync events graph
      codex-session-sync events graph --import 20260309T12 --format dot

    \b
    Next:
      codex-session-sync events report ID  one of the imports or heads
    """
    del as_json, codex_home
    here = store_of(store)
    import_id = find_import(here, which).id if which is not None else None
    graph, notices = asked(here, lambda index: read_graph(index, import_id))
    data = {
        "nodes": graph.ordered(),
        "edges": graph.edges_json(),
        "document": "\n".join(FORMATS[form](graph)) + "\n",
        "format": form,
    }
    return Report(COMMAND, "ok", data, warnings=tuple(notices))
