"""Entry point: finds the command, runs it, prints its report, turns errors into exit codes."""

from __future__ import annotations

import gc
import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

import click

from .. import __version__
from ..errors import ExitCode, HomeError, SyncError
from ..report.envelope import Problem, Report, encoded, failure

COMMANDS = {
    "inspect-package": "inspect_package",
    "sync": "sync",
    "pack": "pack",
    "have": "have",
    "adopt": "adopt",
    "list-transactions": "list_transactions",
    "show-transaction": "show_transaction",
    "rollback": "rollback",
    "recover": "recover",
    "sidecar-health": "sidecar_health",
    "rebuild-sidecar": "rebuild_sidecar",
    "replay-transactions-sidecar": "replay_sidecar",
    "prune-invalid-mappings": "prune_mappings",
    "rebuild-index": "rebuild_index",
    "verify": "verify",
    "explain": "explain",
    "lineage": "lineage",
    "demo": "demo",
}
"""Each command's module; imported only when it is called."""


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name."""
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command = importlib.import_module(f".{module}", __package__).command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
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
    # Thousands of sessions are thousands of values that stay: looking through them finds nothing.
    gc.set_threshold(50_000, 20, 100)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _stop)
    return run(sys.argv[1:])


def run(arguments: Sequence[str]) -> int:
    """Run one command; prints its report and returns the exit code."""
    as_json = "--json" in arguments
    name = next((a for a in arguments if not a.startswith("-")), "")
    name = name if name in COMMANDS else "codex-session-sync"
    try:
        outcome: Any = cli.main(
            list(arguments), prog_name="codex-session-sync", standalone_mode=False
        )
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
        return int(ExitCode.OK)
    try:
        _print(outcome, as_json)
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


def _print(report: Report, as_json: bool) -> None:
    if as_json:
        sys.stdout.buffer.write(encoded(report))
        sys.stdout.flush()
        return
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal's or a pipe's encoding may lack a character that a name or a table has.
            stream.reconfigure(errors="backslashreplace")
    from rich.console import Console

    from ..report.text import render

    render(report, Console(), Console(stderr=True))
    sys.stdout.flush()


def _interrupted(name: str, code: object) -> Report:
    problem = Problem(
        "interrupted",
        "the run was stopped; what it had confirmed stands, the rest was not done or is undone",
        "`codex-session-sync list-transactions` shows what was done; run the same command again",
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
        hint="mend that; if a transaction was begun, `codex-session-sync recover` says what to do",
    )


def _defect(name: str, error: Exception) -> Report:
    """A report for what must not happen; the traceback goes to a file, not to the user."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", prefix="codex-session-sync-", suffix=".log", delete=False, encoding="utf-8"
    ) as log:
        traceback.print_exception(error, file=log)
    problem = Problem(
        "defect",
        f"this is a defect of codex-session-sync: {type(error).__name__}: {error}",
        f"please report it with {log.name}",
    )
    return Report(name, "error", {}, ExitCode.DEFECT, errors=(problem,))
