"""``demo``: the main job on shipped samples, in a throw-away home."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import click

from ..durable import temporary_folder
from ..errors import ExitCode, UsageError
from ..model import Json
from ..report.envelope import Report
from . import inspect_package, list_transactions, rollback, sync

SAMPLE = "garden.tar.zst"
TABLET = "garden-tablet.tar.zst"
LATER = "garden-later.tar.zst"


@dataclass(frozen=True, slots=True)
class Step:
    """One command that the demonstration runs, with what it shows."""

    title: str
    meaning: str
    command: click.Command
    package: str | None = None
    more: tuple[str, ...] = ()


STEPS = (
    Step(
        "Look at a package",
        "Each session is compared with what the home has. It is empty: all are new.",
        inspect_package.command,
        SAMPLE,
    ),
    Step(
        "Bring it in",
        "Each session is written with its whole history, so that it needs no other file.",
        sync.command,
        SAMPLE,
        ("--execute",),
    ),
    Step(
        "Bring in what was added on another machine",
        "The beans went on there. The new turn is appended to the session that is here.",
        sync.command,
        TABLET,
        ("--execute",),
    ),
    Step(
        "Bring in a later package of the first machine",
        "The roses went on. The beans went another way: that way becomes a branch.",
        sync.command,
        LATER,
        ("--execute",),
    ),
    Step(
        "Bring it in again",
        "The branch is found by its conversation. Nothing is doubled, nothing is touched.",
        sync.command,
        LATER,
        ("--execute",),
    ),
    Step(
        "Undo a sync",
        "What the last transaction did is taken back; a session that went on since would be kept.",
        rollback.command,
        more=("--latest", "--execute"),
    ),
    Step(
        "Ask what was done",
        "Each sync that wrote, and what undid one, is a transaction in the home's journal.",
        list_transactions.command,
    ),
)


@click.command("demo")
@click.option(
    "--codex-home",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Make the home here and keep it, to look at it afterwards.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(codex_home: Path | None, as_json: bool) -> Report:
    """Show the main job on small packages that come with this program.

    Looks at one, brings it into a throw-away home, then others in which its sessions went on and
    went another way. Your own Codex home is not touched, and Codex itself is not started.

    Writes a home of its own, which it removes again, or keeps where --codex-home says.

    \b
    Examples:
      codex-session-sync demo
      codex-session-sync demo --codex-home ./garden-home

    \b
    Next:
      codex-session-sync inspect-package PKG  look at a package of your own
    """
    del as_json
    with (
        _throw_away_home(codex_home) as home,
        as_file(files("codex_session_sync.sample")) as folder,
    ):
        steps = [_run(step, home, folder) for step in STEPS]
    data = {"home": str(home), "kept": codex_home is not None, "steps": steps}
    failed = [step for step in steps if step["exit_code"]]
    if failed:
        return Report("demo", "partial", data, ExitCode.PARTIAL)
    return Report("demo", "ok", data)


def _run(step: Step, home: Path, samples: Path) -> Json:
    package = [] if step.package is None else [str(samples / step.package)]
    no_prime = ["--no-prime"] if step.command is sync.command else []
    report = step.command.main(
        [*package, *step.more, *no_prime, "--codex-home", str(home)], standalone_mode=False
    )
    assert isinstance(report, Report)
    shown = ["codex-session-sync", report.command, *(Path(p).name for p in package), *step.more]
    return {
        "title": step.title,
        "meaning": step.meaning,
        "command": " ".join(shown),
        "report": report.command,
        "status": report.status,
        "exit_code": int(report.exit_code),
        "data": report.data,
    }


@contextmanager
def _throw_away_home(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with temporary_folder("codex-session-sync-demo-") as folder:
            yield folder
        return
    if keep.exists():
        raise UsageError(
            "demo_home_exists",
            f"{keep} exists already",
            hint="name a folder that does not: `codex-session-sync demo --codex-home DIR`",
        )
    keep.mkdir(parents=True)
    try:
        yield keep.absolute()
    except BaseException:
        shutil.rmtree(keep, ignore_errors=True)
        raise
