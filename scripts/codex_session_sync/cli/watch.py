"""``watch``: the worker that ships with the program."""

from __future__ import annotations

import sys
import uuid
from contextlib import redirect_stdout
from pathlib import Path

import click

from ..errors import ExitCode, UsageError
from ..report.envelope import Report
from ..service.inbox import Inbox
from ..service.limits import ANSWERS
from ..service.reporting import Reporter
from ..service.speaking import Outbox
from ..service.watching import watched
from .conversing import ending, stdin
from .options import Seconds, common

COMMAND = "watch"


@click.command(COMMAND)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--stdio", is_flag=True, help="Be a worker: frames on stdout, answers on stdin.")
@click.option(
    "--once",
    is_flag=True,
    help="With --stdio: tell all that there is, wait for nobody, and end.",
)
@click.option(
    "--source",
    metavar="NAME",
    default="watch",
    show_default=True,
    help="With --once: the name of the source; else ingest gives it.",
)
@click.option(
    "--every",
    type=Seconds(min=0.05),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How often to look.",
)
@common
def command(
    folder: Path,
    stdio: bool,
    once: bool,
    source: str,
    every: float,
    codex_home: str | None,
    as_json: bool,
) -> Report:
    """Tell what changes in FOLDER, an inbox of packages or another Codex home.

    It is a worker for ingest. Without --stdio it only says what it would tell. It writes nothing
    but frames, and reads nothing of FOLDER but names, sizes and times.

    \b
    Examples:
      codex-session-sync watch inbox/
      codex-session-sync ingest -- codex-session-sync watch inbox/ --stdio

    \b
    Next:
      codex-session-sync ingest -- WORKER  have what it tells brought in
    """
    del codex_home, as_json
    if once and not stdio:
        raise UsageError(
            "usage",
            "--once says how frames are told, and without --stdio none are",
            hint="`codex-session-sync AGAIN --stdio`",
        )
    found = watched(folder)
    if not stdio:
        wishes = found.changed(settled=False)
        names = sorted(name for wish in wishes for name in wish.states)
        data = {"folder": str(found.path), "kind": found.kind, "items": names}
        return Report(COMMAND, "ok" if names else "no_op", data)
    out = Outbox(sys.stdout.buffer)
    with ending(), redirect_stdout(sys.stderr):
        inbox = Inbox(stdin(), ANSWERS, lambda _: False)
        reporter = Reporter(found, inbox, out, every)
        told = True
        if once:
            reporter.tell_all(source, "backfill", uuid.uuid4().hex)
        else:
            inbox.start()
            told = reporter.run()
    raise click.exceptions.Exit(ExitCode.OK if told else ExitCode.PARTIAL)
