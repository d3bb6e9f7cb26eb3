"""What the program prints, kept as files to look at: help and reports, at two widths.

``pytest tests/contracts/test_golden.py --refill`` writes the files anew; read the difference then.
What differs from run to run, ids of transactions and times, is put into words.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.cells import cell_len

import checkpointing
from builders import Session, write_snapshot
from codex_session_sync.cli.commands import COMMANDS, GROUPS, command_of
from make_pictures import CARRIED, MOMENT, carried, terminal
from workbench import call, environment, make_database

FOLDER = Path(__file__).parent / "golden"
WIDTHS = (80, 140)

SAMPLE, TABLET, LATER = "garden.tar.zst", "garden-tablet.tar.zst", "garden-later.tar.zst"
BEANS = "019cac00-0001-7000-8000-000000000001"

_WORDS = (
    (re.compile(r"\d{8}T\d{12}Z-[0-9a-f]{8}"), "20260309T120000000000Z-01234567"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"), "2026-03-09T12:00:00.000Z"),
    (re.compile(r"import \d{4}-\d\d-\d\dT\d\d:\d\d"), "import 2026-03-09T12:00"),
    (re.compile(r"sha256 [0-9a-f]{12}"), "sha256 0123456789ab"),
    (re.compile(r"SHA-256 [0-9a-f]{64}"), "SHA-256 " + "0" * 64),
    (re.compile(r"\d{8}T\d{12}Z"), "20260309T120000000000Z"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d (?=\w+ from )"), "2026-03-09 12:00 "),
    (re.compile(r"\d+ \w+ ago"), "a week ago"),
    (re.compile(r"packed (\d+ sessions?), [\d.]+ [kM]?B"), r"packed \1, 4.2 kB"),
)


OTHER_HOME = "other-home"
DAY = {f"GIT_{who}_DATE": "2026-03-08T12:00:00Z" for who in ("AUTHOR", "COMMITTER")}


@dataclass(frozen=True)
class Run:
    """Commands that a file shows, one after another in one home, after others that it does not."""

    name: str
    shown: tuple[str, ...]
    before: tuple[str, ...] = ()


IMPORTED = f"sync {SAMPLE} --execute --no-prime"
EXTENDED = f"sync {TABLET} --execute --no-prime"
BRANCHED = f"sync {LATER} --execute --no-prime"

TOLD = (f"events import {SAMPLE}", f"events import {TABLET}", f"events import {LATER}")

RUNS = (
    Run(
        "inspect-package",
        (
            f"inspect-package {CARRIED}",
            f"inspect-package {CARRIED} --only-changes",
            f"inspect-package {CARRIED} --summary",
        ),
        ("CARRIED",),
    ),
    Run("inspect-package-wide", ("inspect-package other",), ("OTHER",)),
    Run(
        "sync",
        (
            f"sync {SAMPLE}",
            IMPORTED,
            EXTENDED,
            f"sync {LATER} --diff {BEANS}",
            BRANCHED,
            f"{BRANCHED} --only-changes",
        ),
    ),
    Run(
        "sync-refused", (f"sync {CARRIED} --execute --no-prime --on-diverged refuse",), ("CARRIED",)
    ),
    Run("sync-summary", (f"sync {CARRIED} --execute --no-prime --summary",), ("CARRIED",)),
    Run(
        "pack",
        ("pack -o garden.csync --archived", "pack -o news.csync --have have.json"),
        (
            IMPORTED,
            "have -o have.json",
        ),
    ),
    Run("have", ("have -o have.json",), (IMPORTED,)),
    Run("adopt", ("adopt", "adopt --all", "adopt --all --summary"), (IMPORTED,)),
    Run("list-transactions", ("list-transactions",), (IMPORTED, EXTENDED, BRANCHED)),
    Run("show-transaction", ("show-transaction 20",), (IMPORTED,)),
    Run(
        "rollback",
        ("rollback --latest", "rollback --latest --execute", "rollback --latest --summary"),
        (IMPORTED, EXTENDED, BRANCHED),
    ),
    Run("recover", ("recover",)),
    Run("sidecar-health", ("sidecar-health", "sidecar-health --deep"), (IMPORTED,)),
    Run("rebuild-sidecar", ("rebuild-sidecar", "rebuild-sidecar --execute"), (IMPORTED, "LOST")),
    Run(
        "replay-transactions-sidecar",
        ("replay-transactions-sidecar", "replay-transactions-sidecar --execute"),
        (IMPORTED, "LOST"),
    ),
    Run("prune-invalid-mappings", ("prune-invalid-mappings",), (IMPORTED, "GONE")),
    Run("rebuild-index", ("rebuild-index", "rebuild-index --execute"), (IMPORTED,)),
    Run("verify", ("verify",)),
    Run("explain", (f"explain {BEANS[:8]}…{BEANS[-6:]}", "explain 019"), (IMPORTED,)),
    Run("lineage", ("lineage",), (IMPORTED, EXTENDED, BRANCHED)),
    Run(
        "checkpoint",
        (
            "checkpoint install-hook --repo repo",
            "checkpoint install-hook --repo repo",
            "checkpoint remove-hook --repo repo",
            "checkpoint capture --repo repo",
            "checkpoint capture --repo repo --force",
            "checkpoint report --repo repo --all",
            "checkpoint list --repo repo",
        ),
        (IMPORTED, "REPO"),
    ),
    Run(
        "checkpoint-later",
        (
            "checkpoint capture --repo repo",
            "checkpoint report --commit HEAD~1..HEAD --repo repo",
            f"checkpoint report --repo repo --open --codex-home {OTHER_HOME}",
            f"checkpoint sync --repo repo --no-prime --codex-home {OTHER_HOME}",
            f"checkpoint sync --repo repo --execute --no-prime --codex-home {OTHER_HOME}",
            "checkpoint report --repo repo --commit HEAD~2",
        ),
        (IMPORTED, "REPO", "checkpoint capture --repo repo", EXTENDED, "COMMIT"),
    ),
    Run("events-import", (f"events import {SAMPLE}", f"events import {LATER}"), ()),
    Run(
        "events-search",
        (
            "events search beans climb*",
            "events search --kind agent --limit 2",
            "events search nothing",
            "events search ???",
            "events search",
        ),
        TOLD,
    ),
    Run(
        "events-report",
        ("events report", "events report d0fdc3bd1167", "events report 0fff0fff"),
        TOLD,
    ),
    Run("events-graph", ("events graph --format mermaid",), TOLD[:1]),
    Run("events-index", ("events index", "events index"), TOLD),
    Run("events-rebuild", ("events rebuild",), TOLD),
    Run("serve", ("serve",), (IMPORTED,)),
    Run("ingest", ("ingest -- no-such-worker",)),
    Run("watch", ("watch home",), (IMPORTED,)),
    Run("demo", ("demo",)),
    Run(
        "refusals",
        (
            "inspect-package nothing",
            "sync README",
            f"sync {SAMPLE} --session 019",
            f"sync {SAMPLE} --session 0fff --codex-home home",
            "show-transaction 1999",
            "rollback",
        ),
        ("README",),
    ),
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the samples and a home that Codex used before; no Codex within reach."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    return tmp_path / "place"


def prepared(step: str) -> bool:
    """Do what is no command; whether it was that."""
    home = Path.cwd() / "home"
    match step:
        case "CARRIED":
            carried(Path.cwd())
        case "OTHER":
            write_snapshot(Path.cwd() / "other", list(others()))
        case "LOST":
            shutil.rmtree(home / "session-sync" / "sidecars")
        case "GONE":
            for path in home.rglob(f"rollout-*{BEANS}.jsonl"):
                path.unlink()
        case "REPO":
            os.environ["PATH"] = checkpointing.PATH
            os.environ["CODEX_SESSION_SYNC_STORE"] = str(Path.cwd() / "store")
            repo = checkpointing.new_repo(Path.cwd() / "repo")
            for message in ("Plant beans", "Water them\n\nEvery day."):
                checkpointing.commit(repo, message, **DAY)
            began_at(home, checkpointing.git(repo, "rev-parse", "HEAD~1"))
            make_database(new_folder(Path.cwd() / OTHER_HOME))
        case "COMMIT":
            checkpointing.commit(Path.cwd() / "repo", "Harvest", **DAY)
        case "README":
            Path("README").write_text("Dear all, please find attached\n" * 50)
        case _:
            return False
    return True


def began_at(home: Path, sha: str) -> None:
    """All sessions but one began at a commit."""
    with closing(sqlite3.connect(home / "state_5.sqlite")) as database, database:
        database.execute("UPDATE threads SET git_sha = ? WHERE id NOT LIKE '%0003'", (sha,))


def new_folder(path: Path) -> Path:
    path.mkdir()
    return path


def others() -> Iterator[Session]:
    """Sessions with names of wide, combined and right-to-left characters, and of two ids alike."""
    names = (
        "庭の手入れについて、冬の間に何をすべきか、そして春の準備",
        "A garden 🌱🌿 with 👩‍🌾 and 🧑‍🌾 who water it every day, rain or shine, all summer",
        "מתי לגזום את הוורדים בגינה הקטנה",
        "Zoe\u0308's cafe\u0301: naïve façades",
        "[red]not red[/red] \x1b[31mnor this",
        "x" * 150,
    )
    for number, name in enumerate(names, 1):
        one = Session(number, name=name, start=600 * number, cwd=f"/home/alice/src/p{number}/deep")
        yield one.say(name)


def output(command: str) -> str:
    done = call(*command.split(), moment=MOMENT)
    text = (done.out.decode() + done.err).replace(f"{Path.cwd()}/", "/home/alice/")
    for pattern, word in _WORDS:
        text = pattern.sub(word, text)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def kept(name: str, text: str, request: pytest.FixtureRequest) -> None:
    """Compare a text with its file, or write the file."""
    path = FOLDER / name
    if request.config.getoption("--refill"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, "look at it, and refill with --refill"


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("command", ["", *GROUPS, *COMMANDS])
def test_help(
    command: str, columns: int, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = call(*command.split(), "--help").out.decode()
    assert max(map(cell_len, text.splitlines())) <= columns
    if command in COMMANDS:
        assert "\n  Examples:\n" in text
        assert re.search(r"\bwrites? ", text, re.IGNORECASE)
        assert "\n  Next" in text or command == "completion"
    kept(f"help/{command.replace(' ', '-') or 'program'}.{columns}.txt", text, request)


@pytest.mark.skipif(sys.platform == "win32", reason="other paths there")
@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_output(run: Run, columns: int, place: Path, request: pytest.FixtureRequest) -> None:
    with terminal(place, columns):
        for step in run.before:
            if not prepared(step):
                call(*step.split())
        parts = [f"$ codex-session-sync {one}\n{output(one)}" for one in run.shown]
    text = "\n".join(parts)
    kept(f"runs/{run.name}.{columns}.txt", text, request)
    for line in text.splitlines():
        # What is copied is not broken, nor is a document.
        told = line.startswith(("$", "  codex")) or "`" in line or run.name == "lineage"
        assert told or cell_len(line) <= columns, line


def test_every_command_is_shown() -> None:
    shown = {command_of(command.split()) for run in RUNS for command in run.shown}
    assert shown == set(COMMANDS) - {"completion"}


def test_no_file_is_left_over() -> None:
    names = {
        f"help/{c.replace(' ', '-') or 'program'}.{w}.txt"
        for c in ("", *GROUPS, *COMMANDS)
        for w in WIDTHS
    }
    names |= {f"runs/{run.name}.{w}.txt" for run in RUNS for w in WIDTHS}
    assert {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.txt")} == names


@pytest.mark.parametrize("columns", [12, 20, 30, 40, 60, 100, 200])
def test_no_width_breaks_a_table(columns: int, place: Path) -> None:
    """A line of a table is one line, however narrow it is."""
    with terminal(place, columns):
        prepared("OTHER")
        lines = output("inspect-package other").splitlines()
    sessions = [line for line in lines if line.startswith("019")]
    assert len(sessions) == 6
    start = lines.index(sessions[0])
    assert lines[start : start + 6] == sessions
    assert lines[start - 1].startswith("ses")
    assert all(cell_len(line) <= columns for line in lines[start - 1 : start + 6])
