"""``demo``: the main job on shipped samples, in a throw-away home."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import click

from ..durable import temporary_folder
from ..errors import ExitCode, UsageError
from ..model import Json
from ..report.envelope import Report
from . import (
    adopt,
    have,
    inspect_package,
    lineage,
    list_transactions,
    pack,
    rollback,
    sidecar_health,
    sync,
)
from .commands import SETTINGS

GARDEN = "garden.tar.zst"
TABLET = "garden-tablet.tar.zst"
LATER = "garden-later.tar.zst"
HAVE = "have.json"
NEWS = "news.csync"
DESK = "desk"
"""The second home, by the name that is shown for it."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the demonstration takes place: two homes, the samples, and room for what is made."""

    home: Path
    desk: Path
    samples: Path
    made: Path

    def resolved(self, word: str) -> str:
        """A word of a command as it is meant: the name of a file becomes its path."""
        if word in (GARDEN, TABLET, LATER):
            return str(self.samples / word)
        return str(self.made / word) if word in (HAVE, NEWS) else word


@dataclass(frozen=True, slots=True)
class Step:
    """One command that the demonstration runs, with what it shows.

    ``words`` follow the command's name; ``before`` is what somebody does by hand beforehand.
    """

    title: str
    meaning: str
    command: click.Command
    words: tuple[str, ...] = ()
    at_desk: bool = False
    before: Callable[[Places], None] | None = None


def _copy_by_hand(places: Places) -> None:
    """Copy the file of the compost's session to the desk, as people do without this program."""
    [source] = (places.home / "archived_sessions").glob("*000000000004.jsonl")
    target = places.desk / "archived_sessions"
    target.mkdir(exist_ok=True)
    shutil.copy2(source, target)


CHAPTERS: tuple[tuple[str, tuple[Step, ...]], ...] = (
    (
        "A package comes in",
        (
            Step(
                "Look at it",
                "Each session is compared with what the home has. It is empty: all are new.",
                inspect_package.command,
                (GARDEN,),
            ),
            Step(
                "Bring it in",
                "Each session is written with its whole history, so that it needs no other file.",
                sync.command,
                (GARDEN, "--execute"),
            ),
        ),
    ),
    (
        "Its sessions go on elsewhere",
        (
            Step(
                "Bring in what was added on another machine",
                "The beans went on there. The new turn is appended to the session that is here.",
                sync.command,
                (TABLET, "--execute"),
            ),
            Step(
                "See where a session went another way",
                "A later package has other beans. Both ways, side by side; nothing is written.",
                sync.command,
                (LATER, "--diff", "000001"),
            ),
            Step(
                "Bring that in as well",
                "The roses went on. The other way of the beans becomes a branch: both are kept.",
                sync.command,
                (LATER, "--execute"),
            ),
            Step(
                "Bring it in again",
                "The branch is found by its conversation. Nothing is doubled, nothing is touched.",
                sync.command,
                (LATER, "--execute"),
            ),
            Step(
                "See what came from what",
                "The family as a tree, with what each transaction did.",
                lineage.command,
            ),
        ),
    ),
    (
        "A sync is undone",
        (
            Step(
                "Undo the last one",
                "What it did is taken back; a session that went on since would be kept.",
                rollback.command,
                ("--latest", "--execute"),
            ),
            Step(
                "Ask what was done",
                "Each sync that wrote, and what undid one, is a transaction in the journal.",
                list_transactions.command,
            ),
        ),
    ),
    (
        "A second machine, the desk, has some of it",
        (
            Step(
                "What the desk got some time ago",
                "Two sessions of the first package.",
                sync.command,
                (GARDEN, "--session", "000001", "--session", "000003", "--execute"),
                at_desk=True,
            ),
            Step(
                "The desk tells what it has",
                "By fingerprints: not a word of any session is in this file.",
                have.command,
                ("-o", HAVE),
                at_desk=True,
            ),
            Step(
                "Pack what it lacks",
                "The new turn of the beans and the session that it never got; nothing else.",
                pack.command,
                ("-o", NEWS, "--have", HAVE),
            ),
            Step(
                "Bring that in at the desk",
                "The turn is appended to the beans there, the other session is new.",
                sync.command,
                (NEWS, "--execute"),
                at_desk=True,
            ),
        ),
    ),
    (
        "A session was copied by hand",
        (
            Step(
                "Take it under tracking",
                "Its file was copied to the desk. It stays as it is, and follows from now on.",
                adopt.command,
                ("--session", "000004", "--execute"),
                at_desk=True,
                before=_copy_by_hand,
            ),
            Step(
                "Check the desk",
                "What is known of earlier syncs fits the sessions that are there.",
                sidecar_health.command,
                at_desk=True,
            ),
        ),
    ),
)


@click.command("demo")
@click.option(
    "--codex-home",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Make the first home here and keep it, to look at it afterwards.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(codex_home: Path | None, as_json: bool) -> Report:
    """Show the main job on small packages that come with this program.

    Brings packages into a throw-away home: new sessions, ones that went on, one that went another
    way. Undoes a sync, sends a second home what it lacks, and checks that. Your own Codex home is
    not touched, and Codex itself is not started.

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
        temporary_folder("codex-session-sync-demo-") as folder,
        as_file(files("codex_session_sync.sample")) as samples,
    ):
        places = Places(home, folder / DESK, samples, folder)
        places.desk.mkdir()
        steps = [
            {"chapter": chapter, **_run(step, places)}
            for chapter, told in CHAPTERS
            for step in told
        ]
    data = {"home": str(home), "kept": codex_home is not None, "steps": steps}
    failed = [step for step in steps if step["exit_code"]]
    if failed:
        return Report("demo", "partial", data, ExitCode.PARTIAL)
    return Report("demo", "ok", data)


def _run(step: Step, places: Places) -> Json:
    if step.before is not None:
        step.before(places)
    words = [places.resolved(word) for word in step.words]
    no_prime = ["--no-prime"] if step.command is sync.command else []
    home = places.desk if step.at_desk else places.home
    report = step.command.main(
        [*words, *no_prime, "--codex-home", str(home)], standalone_mode=False, **SETTINGS
    )
    assert isinstance(report, Report)
    where = ["--codex-home", DESK] if step.at_desk else []
    return {
        "title": step.title,
        "meaning": step.meaning,
        "command": " ".join(["codex-session-sync", report.command, *step.words, *where]),
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
