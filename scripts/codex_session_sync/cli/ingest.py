"""``ingest``: a worker, started and watched over, and what it finds brought in."""

from __future__ import annotations

import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import click

from ..errors import ExitCode, HomeError, RequestError, UsageError
from ..report.envelope import Problem, Report, Status
from ..report.parts import harmless
from ..service.importing import RESULTS, Manner
from ..service.limits import DEFAULT_SERVICE_LIMITS
from ..service.serving import Service
from ..service.speaking import Outbox
from ..service.supervising import Care, Ended, Supervisor
from .conversing import importing_options, settling, state_of
from .options import Seconds

COMMAND = "ingest"
BACKFILL_RESTARTS = 5
MOST_OF_A_NAME = 200

_STATUS_OF_JOB = {
    "completed": ("completed", None),
    "stopped": ("failed", "interrupted"),
    "cancelled": ("cancelled", None),
    "failed": ("failed", "worker_failed"),
}


@click.command(COMMAND)
@click.argument("worker", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- WORKER ...")
@click.option(
    "--source",
    metavar="NAME",
    help="What its sessions are from. Default: the name of the worker's program.",
)
@click.option(
    "--mode",
    type=click.Choice(["tail", "backfill"]),
    default="tail",
    show_default=True,
    help="Go on until stopped, or do what there is, as a job.",
)
@click.option(
    "--restarts",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"Give up after so many failures in a row. Default: never; {BACKFILL_RESTARTS} times in a "
    "backfill.",
)
@click.option(
    "--silence",
    type=Seconds(min=0.1),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Start it again if it answers no probe for so long.",
)
@click.option(
    "--stop",
    type=Seconds(min=0.1),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="What it has to end in when it is told to.",
)
@importing_options(COMMAND)
def command(
    worker: tuple[str, ...],
    source: str | None,
    mode: Literal["tail", "backfill"],
    restarts: int | None,
    silence: float,
    stop: float,
    manner: Callable[[], Manner],
    as_json: bool,
) -> Report:
    """Start WORKER, a program that emits sessions as frames, and bring in what it emits.

    The worker is started again when it dies or falls silent. Ctrl-C and SIGTERM have it end first.
    What it says on stderr goes to a log in session-sync/service/ of the home.

    Without --execute what it emits is only planned. With --execute each of its requests writes what
    a sync of its sessions writes, as a transaction of its own.

    \b
    Examples:
      codex-session-sync ingest -- codex-session-sync watch inbox/ --stdio
      codex-session-sync ingest --mode backfill --execute -- node worker.mjs

    \b
    Next:
      codex-session-sync serve              what jobs there are
      codex-session-sync list-transactions  what the requests came to
    """
    name = source or Path(worker[0]).stem or "worker"
    if len(name) > MOST_OF_A_NAME or not name.isprintable():
        raise UsageError(
            "usage",
            f"no request can name the source {name[:MOST_OF_A_NAME]!r}",
            hint=f"`codex-session-sync AGAIN --source NAME`, at most {MOST_OF_A_NAME} characters "
            "on one line",
        )
    how, limits = manner(), DEFAULT_SERVICE_LIMITS
    with state_of(how) as state:
        service = Service(how, state, limits, Outbox(sys.stderr.buffer))
        if restarts is None and mode == "backfill":
            restarts = BACKFILL_RESTARTS
        care = Care(probe=min(10.0, silence / 3), silence=silence, stop=stop, restarts=restarts)
        run_id = uuid.uuid4().hex
        service.source = name
        supervisor = Supervisor(
            service, state, worker, name, mode, not how.writes, run_id, care, limits
        )
        if not as_json:
            supervisor.restarting = lambda wait: _tell_failure(supervisor, wait)
        if mode == "backfill":
            supervisor.job_id = _begun(service, name, run_id)
        ended: Ended = "failed"
        try:
            with settling(service), _stopping(supervisor.stop):
                ended = supervisor.run()
        finally:
            if supervisor.job_id is not None:
                _end(service, supervisor.job_id, ended)
    return _report(service, supervisor, ended)


def _tell_failure(supervisor: Supervisor, wait: float) -> None:
    """Say on stderr what somebody who waits would otherwise find in the log only."""
    watch = supervisor.watch
    told = (
        f"The worker ended with exit code {watch.exit_code} ({watch.problem}); it is started again "
        f"in {wait:g} s. What it said: {supervisor.log}"
    )
    click.echo(harmless(told), err=True)


def _begun(service: Service, source: str, run_id: str) -> str:
    """The job of a backfill. Raises HomeError."""
    try:
        return str(service.jobs.add(None, source, run_id, None)["jobId"])
    except RequestError as error:
        if error.code != "backfill_active":
            raise
        raise HomeError(
            "backfill_active",
            f"{source!r} has a backfill that has not ended",
            hint="`codex-session-sync serve` shows it; wait for it to end, or name this one "
            "otherwise: `codex-session-sync AGAIN --source NAME`",
        ) from error


def _end(service: Service, job_id: str, ended: Ended) -> None:
    status, error = _STATUS_OF_JOB[ended]
    totals = service.heard.totals
    done = sum(totals[key] for key in RESULTS)
    service.jobs.change(job_id, statistics={"items": done, "done": done, "totals": totals})
    service.jobs.end(job_id, status, error)


@contextmanager
def _stopping(stop: Callable[[], None]) -> Iterator[None]:
    """Have signals stop the worker first; a second one ends this process as ever."""
    before: dict[int, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        for known, handler in before.items():
            signal.signal(known, handler)
        stop()

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            number = getattr(signal, name)
            before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report(service: Service, supervisor: Supervisor, ended: Ended) -> Report:
    heard, watch = service.heard, supervisor.watch
    data = {
        "source": supervisor.source,
        "mode": supervisor.mode,
        "run_id": supervisor.run_id,
        "job_id": supervisor.job_id,
        "ended": ended,
        "requests": heard.requests,
        "repeated": heard.repeated,
        "refused": heard.refused,
        "totals": heard.totals,
        "worker": {
            "command": list(supervisor.command),
            "starts": watch.starts,
            "exit_code": watch.exit_code,
            "lag_seconds": round(watch.lag, 3),
            "log": None if supervisor.planned else str(supervisor.log),
        },
    }
    problems = tuple(_problems(service, supervisor, ended))
    status: Status = "partial" if problems else "ok"
    if not problems and not any(heard.totals[key] for key in ("imported", "upserted")):
        status = "no_op"
    elif not problems and supervisor.planned:
        status = "dry_run"
    code = ExitCode.PARTIAL if problems else ExitCode.OK
    return Report(COMMAND, status, data, code, errors=problems)


def _problems(service: Service, supervisor: Supervisor, ended: Ended) -> Iterator[Problem]:
    heard, watch = service.heard, supervisor.watch
    if ended == "failed":
        yield Problem(
            "worker_failed",
            f"the worker ended {watch.starts} times without having done its work, the last time "
            f"with exit code {watch.exit_code} ({watch.problem})",
            f"see what it said: {supervisor.log}; then run `codex-session-sync AGAIN`",
        )
    failed = heard.totals["failed"] + heard.refused
    if failed:
        yield Problem(
            "requests_failed",
            f"{failed} of what the worker sent was refused or failed",
            "the worker was told each with its code; it has to send what it has mended, and "
            "`codex-session-sync list-transactions` tells what came in",
        )
