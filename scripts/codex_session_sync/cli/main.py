"""Entry point: finds the command, runs it, prints its report, turns errors into exit codes."""

from __future__ import annotations

import gc
import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from types import FrameType
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from .. import __version__
from ..errors import ExitCode, HomeError, SyncError, hint_on
from ..report.envelope import Problem, Report, encoded, failure
from .calling import PROGRAM, Call, filled

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
    "serve": "serve",
    "ingest": "ingest",
    "watch": "watch",
    "demo": "demo",
    "completion": "completion",
}
"""Each command's module; imported only when it is called."""

PURPOSES = {
    "inspect-package": "Tell what is in a package, and what to do.",
    "sync": "Bring the sessions of a package into the home.",
    "pack": "Write sessions of this home to a package.",
    "have": "Write what this home has, for a `pack --have`.",
    "adopt": "Track sessions that came by other means.",
    "list-transactions": "List what was done to this home, newest first.",
    "show-transaction": "Show one transaction and every change it made.",
    "rollback": "Undo what a transaction did.",
    "recover": "End what a crash interrupted.",
    "sidecar-health": "Check what is known of earlier syncs.",
    "rebuild-sidecar": "Make the sidecars anew from all that is left.",
    "replay-transactions-sidecar": "Make the sidecars what the journal says.",
    "prune-invalid-mappings": "Take out mappings whose session is gone.",
    "rebuild-index": "Make Codex's lists of names and prompts anew.",
    "verify": "Ask the installed Codex to open sessions.",
    "explain": "Say why Codex does or does not show a session.",
    "lineage": "Show which sessions came from which.",
    "serve": "Take sessions from another program.",
    "ingest": "Start a worker and take what it finds.",
    "watch": "Tell what changes in a folder, as a worker.",
    "demo": "Show the main job, in a home of its own.",
    "completion": "Print what a shell reads to complete words.",
}
"""What each command is for; told without importing it."""


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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their purposes."""
        with formatter.section("Commands"):
            formatter.write_dl(list(PURPOSES.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands that begin so, or the options."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [
            CompletionItem(name, help=purpose)
            for name, purpose in PURPOSES.items()
            if name.startswith(incomplete)
        ]


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
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
    # Thousands of sessions are thousands of values that stay: looking through them finds nothing.
    gc.set_threshold(50_000, 20, 100)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _stop)
    return run(sys.argv[1:])


def run(arguments: Sequence[str], moment: datetime | None = None) -> int:
    """Run one command; prints its report and returns the exit code.

    ``moment`` is when ages count from, the present if it is not given.
    """
    own = arguments[: list(arguments).index("--")] if "--" in arguments else arguments
    as_json = "--json" in own
    name = next((a for a in arguments if not a.startswith("-")), "")
    name = name if name in COMMANDS else PROGRAM
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
        sys.stdout.buffer.write(encoded(report))
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
            "w", prefix="codex-session-sync-", suffix=".log", delete=False, encoding="utf-8"
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
