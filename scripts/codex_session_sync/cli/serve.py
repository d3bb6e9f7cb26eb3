"""``serve``: the import service, over stdin and stdout."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import BinaryIO

import click

from ..codex.home import CodexHome
from ..errors import ExitCode, SyncError
from ..report.envelope import Report
from ..service.frames import NO_FRAME, refusal
from ..service.importing import Manner
from ..service.jobs import jobs_in
from ..service.limits import DEFAULT_SERVICE_LIMITS
from ..service.serving import Service, conversation
from ..service.speaking import Outbox
from ..service.state import FOLDER, held_in
from .conversing import ending, importing_options, settling, state_of, stdin

COMMAND = "serve"


@click.command(COMMAND)
@click.option("--stdio", is_flag=True, help="Read frames from stdin, answer on stdout.")
@importing_options(COMMAND)
def command(stdio: bool, manner: Callable[[], Manner], as_json: bool) -> Report:
    """Take sessions from another program, frame by frame, until its end of stdin.

    With --stdio stdout holds nothing but frames: references/import-service.md has them. Without
    it, what the service holds for this home is told.

    Without --execute requests are only planned. With --execute each of them writes what a sync of
    its sessions writes, as a transaction of its own, and the service keeps its answers, chunks and
    jobs in session-sync/service/ of the home.

    \b
    Examples:
      codex-session-sync serve
      codex-session-sync serve --stdio < frames.jsonl
      codex-session-sync serve --stdio --execute

    \b
    Next:
      codex-session-sync list-transactions  what the requests came to
      codex-session-sync ingest -- WORKER   start and watch over the other program
    """
    del as_json
    if not stdio:
        return _overview(manner().home)
    out = Outbox(sys.stdout.buffer)
    with ending(), redirect_stdout(sys.stderr):
        try:
            how = manner()
            with state_of(how) as state:
                code = _serve(Service(how, state, DEFAULT_SERVICE_LIMITS, out), stdin())
        except SyncError as error:
            out.send(refusal(NO_FRAME, error))
            code = int(error.exit_code)
    raise click.exceptions.Exit(code)


def _serve(service: Service, stream: BinaryIO) -> int:
    inbox = service.listen(stream)
    with settling(service):
        for _ in conversation(service, inbox, lambda: False):
            pass
    service.finish()
    return int(ExitCode.PARTIAL if service.heard.failed else ExitCode.OK)


def _overview(home: CodexHome) -> Report:
    """What the service holds for a home; nothing is written."""
    folder = home.sync_dir / FOLDER
    return Report(COMMAND, "ok", {"jobs": jobs_in(folder), **held_in(folder)})
