"""Entry point: finds the command, runs it, prints its report, turns errors into exit codes."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from types import FrameType
from typing import Any, NoReturn

import click

from .. import __version__
from ..errors import ExitCode, HomeError, SyncError, hint_on
from ..report.envelope import Problem, Report, failure, pieces
from .calling import PROGRAM, Call, filled
from .commands import SETTINGS, LazyGroup, command_of


@click.group(cls=LazyGroup, context_settings=SETTINGS)
@click.version_option(__version__, prog_name="codex-session-sync")
def cli() -> None:
    """Bring offline packages of Codex sessions into a local Codex home, again and again.

    Nothing changes a home unless --execute is given.

    \b
    Start here:
      codex-session-sync demo
      codex-session-sync inspect-package PACKAGE
      codex-session-sync sync PACKAGE --execute
      codex-session-sync pack -o PACKAGE
    """


def main() -> int:
    """Run the command line with the process's arguments; returns the exit code."""
    instruction = os.environ.get("_CODEX_SESSION_SYNC_COMPLETE")
    if instruction:
        from .completing import answer

        return answer(cli, instruction)
    _fill_streams()
    # Thousands of sessions are thousands of values that stay: looking through them finds nothing.
    gc.set_threshold(50_000, 20, 100)
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        return run(sys.argv[1:])
    finally:
        # The interpreter looks through all that is left as it ends; it goes with the process.
        gc.freeze()


def _fill_streams() -> None:
    """Where the caller closed stdin, stdout or stderr, have nothing there: else the next file that
    is opened would stand in its place."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            with suppress(OSError):
                stream = open(os.devnull, mode, encoding="utf-8")  # noqa: PTH123, SIM115
                if stream.fileno() != number:
                    os.dup2(stream.fileno(), number)
                os.set_inheritable(number, True)
                setattr(sys, name, stream)


def run(arguments: Sequence[str], moment: datetime | None = None) -> int:
    """Run one command; prints its report and returns the exit code.

    ``moment`` is when ages count from, the present if it is not given.
    """
    own = arguments[: list(arguments).index("--")] if "--" in arguments else arguments
    as_json = "--json" in own
    name = command_of(own) or PROGRAM
    call = Call(arguments)
    try:
        outcome: Any = cli.main(list(arguments), prog_name=PROGRAM, standalone_mode=False, obj=call)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        if not as_json:
            error.show()
            return int(ExitCode.USAGE)
        outcome = _usage(name, error)
    except (KeyboardInterrupt, click.Abort):
        outcome = _interrupted(name, 128 + signal.SIGINT)
    except SystemExit as stop:
        outcome = _interrupted(name, stop.code)
    except BrokenPipeError:
        return _unheard()
    except Exception as error:
        outcome = _failed(name, error)
    if not isinstance(outcome, Report):
        return outcome if isinstance(outcome, int) else int(ExitCode.OK)
    outcome = filled(outcome, call)
    try:
        _print(outcome, moment or datetime.now(UTC), as_json=as_json)
    except (BrokenPipeError, SystemExit):  # the latter is what rich makes of the former
        return _unheard()
    return int(outcome.exit_code)


def _unheard() -> int:
    """Nobody reads stdout any more; keep the interpreter from trying again at its end."""
    sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
    return 128 + 13


def _failed(name: str, error: Exception) -> Report:
    match error:
        case SyncError():
            return failure(name, error)
        case OSError():
            return failure(name, _refused_by_system(error))
        case _:
            return _defect(name, error)


def _stop(number: int, _: FrameType | None) -> NoReturn:
    """End as on Ctrl-C: what is not confirmed is undone, temporary files go."""
    sys.exit(128 + number)


def _print(report: Report, moment: datetime, *, as_json: bool) -> None:
    if as_json:
        for piece in pieces(report):
            sys.stdout.buffer.write(piece)
        sys.stdout.flush()
        return
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal's or a pipe's encoding may lack a character that a name or a table has.
            stream.reconfigure(errors="backslashreplace")
    from ..report.screen import Screen
    from ..report.text import render

    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none
    render(report, Screen(moment, home), Screen(moment, home, stderr=True))
    sys.stdout.flush()


def _interrupted(name: str, code: object) -> Report:
    problem = Problem(
        "interrupted",
        "the run was stopped; what it had confirmed stands, the rest was not done or is undone",
        "run `codex-session-sync AGAIN`; `codex-session-sync recover` says whether a transaction "
        "is "
        "left unfinished",
    )
    exit_code = code if isinstance(code, int) else 128 + signal.SIGINT
    return Report(name, "error", {}, exit_code, errors=(problem,))


def _usage(name: str, error: click.ClickException) -> Report:
    hint = "`codex-session-sync --help` and `codex-session-sync COMMAND --help` explain the usage"
    problem = Problem("usage", error.format_message(), hint)
    return Report(name, "error", {}, ExitCode.USAGE, errors=(problem,))


def _refused_by_system(error: OSError) -> HomeError:
    where = f" ({error.filename})" if error.filename else ""
    return HomeError(
        "system_error",
        f"the system refused to read or write{where}: {error.strerror or error}",
        hint=hint_on(
            error,
            "mend that; then `codex-session-sync recover` says whether a transaction was begun",
        ),
    )


def _defect(name: str, error: Exception) -> Report:
    """A report for what must not happen; the traceback goes to a file, if one can be made."""
    import tempfile
    import traceback

    try:
        with tempfile.NamedTemporaryFile(
            "w",
            prefix="codex-session-sync-",
            suffix=".log",
            delete=False,
            encoding="utf-8",
            errors="backslashreplace",
        ) as log:
            traceback.print_exception(error, file=log)
        told = log.name
    except OSError:
        traceback.print_exception(error)
        told = "what stderr says"
    problem = Problem(
        "defect",
        f"this is a defect of codex-session-sync: {type(error).__name__}: {error}",
        "`codex-session-sync recover` says whether a transaction is left unfinished; report the "
        f"defect with {told}",
    )
    return Report(name, "error", {}, ExitCode.DEFECT, errors=(problem,))
