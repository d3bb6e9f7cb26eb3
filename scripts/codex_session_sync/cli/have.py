"""``have``: what this home has, so that the other side can send only the rest."""

from __future__ import annotations

from pathlib import Path

import click
import orjson

from ..journal.log import Journal
from ..packing.holdings import holdings
from ..packing.output import new_file, output_errors, require_free
from ..recovery import unfinished_notices
from ..report.envelope import Report
from ..report.progress import byte_progress
from .options import common, home_of, transcript_bytes

COMMAND = "have"


@click.command(COMMAND)
@click.option(
    "-o",
    "out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The file to write; nothing may be there yet. Without it, the document is printed.",
)
@common
def command(out: Path | None, codex_home: str | None, as_json: bool) -> Report:
    """Write what this home has of which sessions, for `pack --have` on the other side.

    It is told by fingerprints and lengths: there is no word of any session in it, and no name.

    Writes FILE, if -o names one, and nothing else.

    \b
    Examples:
      codex-session-sync have -o have.json
      codex-session-sync have > have.json

    \b
    Next, on the other side:
      codex-session-sync pack -o news.csync --have have.json
    """
    del as_json
    home = home_of(codex_home)
    if out is not None:
        require_free(out, home)
    with byte_progress("reading", transcript_bytes(home)) as progress:
        document, notices = holdings(home, progress)
    if out is not None:
        with new_file(out) as stream, output_errors(out):
            stream.write(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE))
    return Report(
        COMMAND,
        "ok",
        {**document, "path": str(out.absolute()) if out is not None else None},
        warnings=(*notices, *unfinished_notices(Journal(home.sync_dir))),
    )
