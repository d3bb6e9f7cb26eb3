"""``lineage``: the family of sessions, as text, data, a graph language or a page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from ..family.drawing import FORMATS, as_json, today, tree
from ..family.gathering import read_family, with_turns
from ..family.page import page
from ..family.values import Family
from ..identify import match_id
from ..journal.log import Journal
from ..packing.output import new_file, output_errors, require_free
from ..recovery import unfinished_notices
from ..report.envelope import Report
from ..report.progress import byte_progress
from .options import common, completing, home_of

COMMAND = "lineage"

Format = Literal["text", "json", "dot", "mermaid", "html"]


@click.command(COMMAND)
@click.argument("session", required=False, shell_complete=completing("sessions"))
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "dot", "mermaid", "html"]),
    default="text",
    show_default=True,
    help="What to show it as; html is one page that needs no network.",
)
@click.option(
    "-o",
    "out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The file to write, where nothing may be yet. Without it, it is printed.",
)
@common
def command(
    session: str | None, form: Format, out: Path | None, codex_home: str | None, as_json: bool
) -> Report:
    """Show which sessions came from which, and which packages and transactions made it so.

    With SESSION, which may be shortened, only those that are related to it.

    Writes FILE, if -o names one, and nothing else.

    \b
    Examples:
      codex-session-sync lineage
      codex-session-sync lineage 01a1fd25 --format mermaid
      codex-session-sync lineage --format html -o lineage.html

    \b
    Next:
      codex-session-sync explain ID  what Codex makes of one of them
    """
    del as_json
    home = home_of(codex_home)
    if out is not None:
        require_free(out, home)
    family, notices = read_family(home)
    title = "Sessions and where they come from"
    if session is not None:
        family = family.of(match_id(session, family.sessions, lambda i: family.sessions[i].title))
        with byte_progress("reading", None) as progress:
            family = with_turns(family, home, progress)
    text = _written(family, form, title)
    if out is not None:
        with new_file(out) as stream, output_errors(out):
            stream.write(text.encode())
    return Report(
        COMMAND,
        "ok",
        {
            "nodes": family.nodes(),
            "edges": family.edges_json(),
            "path": str(out.absolute()) if out is not None else None,
            "document": text if out is None else None,
            "format": form,
        },
        warnings=(*notices, *unfinished_notices(Journal(home.sync_dir))),
    )


def _written(family: Family, form: Format, title: str) -> str:
    """The document; where not all can be looked at, without what has nothing to show."""
    if form == "html":
        return page(family, today(), title)
    if form == "json":
        return as_json(family) + "\n"
    family = family.related() if len(family.sessions) > 1 else family
    if form == "text":
        lines = list(tree(family, today()))
        return "\n".join(lines or ["No session here has relatives, or came by a sync."]) + "\n"
    return "\n".join(FORMATS[form](family)) + "\n"
