"""``demo``: the main job on a shipped sample, in a throw-away home."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

import click

from ..errors import ExitCode, UsageError
from ..model import Json
from ..report.envelope import Report
from . import inspect_package, list_transactions, sync

SAMPLE = "garden.tar.zst"

STEPS: tuple[tuple[str, str, click.Command, tuple[str, ...]], ...] = (
    (
        "Look at the package",
        "Each session is read, its conversation fingerprinted, and compared with what the home "
        "has. The home is empty, so all of them are new. Nothing is written.",
        inspect_package.command,
        (),
    ),
    (
        "Bring it in",
        "Without --execute this would only plan. The fork is written with the history that it "
        "shares with its parent, so that it needs no other file.",
        sync.command,
        ("--execute",),
    ),
    (
        "Bring the same package in again",
        "Fingerprints tell that every session is here already. However often a package comes, "
        "nothing is doubled and nothing is touched.",
        sync.command,
        ("--execute",),
    ),
    (
        "Ask what was done",
        "What was written is one transaction in the home's journal. The second sync wrote "
        "nothing, so it is none.",
        list_transactions.command,
        (),
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
    """Show the main job on a small package that comes with this program.

    Inspects it, syncs it into a throw-away home, and syncs it again. Your own Codex home is not
    touched, and Codex itself is not started.
    """
    del as_json
    with (
        _throw_away_home(codex_home) as home,
        as_file(files("codex_session_sync.sample")) as folder,
    ):
        sample = str(folder / SAMPLE)
        steps = [_step(home, sample, *step) for step in STEPS]
    data = {"home": str(home), "kept": codex_home is not None, "steps": steps}
    failed = [step for step in steps if step["exit_code"]]
    if failed:
        return Report("demo", "partial", data, ExitCode.PARTIAL)
    return Report("demo", "ok", data)


def _step(
    home: Path, sample: str, title: str, meaning: str, called: click.Command, more: tuple[str, ...]
) -> Json:
    package = [] if called is list_transactions.command else [sample]
    no_prime = ["--no-prime"] if called is sync.command else []
    report = called.main(
        [*package, *more, *no_prime, "--codex-home", str(home)], standalone_mode=False
    )
    assert isinstance(report, Report)
    shown = ["codex-session-sync", report.command, *(Path(p).name for p in package), *more]
    return {
        "title": title,
        "meaning": meaning,
        "command": " ".join(shown),
        "report": report.command,
        "status": report.status,
        "exit_code": int(report.exit_code),
        "data": report.data,
    }


@contextmanager
def _throw_away_home(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="codex-session-sync-demo-") as folder:
            yield Path(folder)
        return
    if keep.exists():
        raise UsageError(
            "demo_home_exists", f"{keep} exists already", hint="name a folder that does not"
        )
    keep.mkdir(parents=True)
    try:
        yield keep.absolute()
    except BaseException:
        shutil.rmtree(keep, ignore_errors=True)
        raise
