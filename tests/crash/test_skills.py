"""Kills and failures at every step of installing skills, of recovery, and of their rollback."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builders import Session, write_transfer
from codex_session_sync.journal.log import Journal
from codex_session_sync.journal.operations import MoveFolder
from codex_session_sync.skills.installing import Installer
from crash.beds import NO_SPACE, posix
from crash.faults import Point, faulty, nth
from workbench import Outcome, call, tree

ROOT = Path(__file__).parents[2]
ONE = Session(1, name="n").say("one")
OLD = {"SKILL.md": "old\n", "run.py": "#!/usr/bin/env python3\n", "only/old.md": "x\n"}
NEW = {"SKILL.md": "new\n", "run.py": "#!/usr/bin/env python3\nprint()\n", "only/new.md": "y\n"}
OTHER = {"SKILL.md": "other\n"}

CHILD = """
import os, signal, sys
from codex_session_sync.journal.log import TransactionLog
from codex_session_sync.journal.operations import MakeFolder, MoveFolder
from codex_session_sync.journal import folders
from codex_session_sync.skills import installing
from crash import faults
from crash.faults import POINTS, Point
POINTS["stage skill"] = Point(installing.Installer, "_stage")
POINTS["copy"] = Point(installing.shutil, "copyfileobj")
POINTS["settle"] = Point(installing, "sync_all")
POINTS["move skill"] = Point(MoveFolder, "apply")
POINTS["sync moved"] = Point(folders, "sync_folder")
POINTS["move back"] = Point(MoveFolder, "undo")
name, when, number, *rest = sys.argv[1:]
sys.exit(faults.run_with_fault((name, when, int(number)), "SIGKILL", 1, False, *rest))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a session, an old skill and one of its own."""
    home = tmp_path / "home"
    home.mkdir()
    first = package_of(tmp_path / "first", {"a": OLD})
    assert call("sync", first, *options(home), "--execute").exit_code == 0
    write(home / "skills" / "own", OTHER)
    return home


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return package_of(tmp_path / "later", {"a": NEW, "b": OTHER})


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def package_of(folder: Path, skills: dict[str, dict[str, str]]) -> Path:
    write_transfer(folder, [ONE])
    for name, files in skills.items():
        write(folder / "skills" / name, files)
    return folder


def options(home: Path) -> list[str]:
    chosen = ["--with-skills", "--replace-skills", "--no-prime"]
    return [*chosen, "--codex-home", str(home), "--json"]


def killed(fault: tuple[str, str, int], *arguments: str | Path) -> int:
    paths = os.pathsep.join([str(ROOT / "scripts"), str(ROOT / "tests")])
    command = [sys.executable, "-c", CHILD, *map(str, (*fault, *arguments))]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, check=False
    )
    return done.returncode


def found(home: Path) -> dict[str, dict[str, str]]:
    """The skills of a home with their texts."""
    return {
        skill.name: {
            path.relative_to(skill).as_posix(): path.read_text()
            for path in sorted(skill.rglob("*"))
            if path.is_file()
        }
        for skill in (home / "skills").iterdir()
    }


BEFORE = {"a": OLD, "own": OTHER}
HALF = {"a": NEW, "own": OTHER}
AFTER = {"a": NEW, "b": OTHER, "own": OTHER}


def run(home: Path, *arguments: str | Path) -> Outcome:
    return call(*arguments, "--codex-home", home, "--json")


def settled(home: Path) -> None:
    """Nothing is left to be recovered, and nothing lies about."""
    journal = Journal(home / "session-sync")
    assert journal.interrupted() == []
    assert list(home.glob("session-sync/transactions/*/staged")) == []
    assert run(home, "sidecar-health").envelope["data"]["healthy"]


# (point, when, passage) and the skills that are there once it is recovered.
KILLS: list[tuple[str, str, int, dict[str, Any]]] = [
    ("stage skill", "before", 1, BEFORE),
    ("copy", "before", 2, BEFORE),
    ("copy", "after", 3, BEFORE),
    ("settle", "after", 1, BEFORE),
    ("intend", "before", 1, BEFORE),
    ("intend", "after", 1, BEFORE),
    ("journal", "half", 1, BEFORE),
    ("move skill", "before", 1, BEFORE),
    ("move skill", "after", 1, BEFORE),
    ("sync moved", "before", 1, BEFORE),
    ("sync moved", "before", 3, BEFORE),
    ("move skill", "after", 2, BEFORE),
    ("mark", "before", 1, BEFORE),
    ("mark", "after", 1, HALF),
    ("move skill", "after", 3, HALF),
    ("mark", "after", 2, AFTER),
    ("finish", "before", 1, AFTER),
    ("discard", "before", 1, AFTER),
    ("discard", "after", 1, AFTER),
]


@posix
@pytest.mark.parametrize(("name", "when", "number", "there"), KILLS)
def test_a_kill_is_recovered(
    home: Path, package: Path, name: str, when: str, number: int, there: dict[str, Any]
) -> None:
    fault = (name, when, number)
    assert killed(fault, "sync", package, *options(home), "--execute") == -signal.SIGKILL
    assert run(home, "sync", package, "--execute", "--no-prime").exit_code in (0, 5)
    planned = run(home, "recover").envelope
    assert planned["status"] == "dry_run"
    [one] = planned["data"]["transactions"]
    expected = [skill for skill in ("a", "b") if skill in there and there[skill] != OLD]
    assert one.get("skills_kept", []) == expected
    recovered = run(home, "recover", "--execute")
    assert (recovered.exit_code, recovered.envelope["warnings"]) == (0, [])
    assert found(home) == there
    settled(home)
    again = call("sync", package, *options(home), "--execute")
    assert again.exit_code == 0
    assert found(home) == AFTER
    settled(home)


@posix
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_recovery_is_recovered(home: Path, package: Path, when: str, number: int) -> None:
    arguments: tuple[str | Path, ...] = ("sync", package, *options(home), "--execute")
    assert killed(("move skill", "after", 2), *arguments) == -signal.SIGKILL
    recover = ("recover", "--execute", "--codex-home", str(home), "--json")
    assert killed(("move back", when, number), *recover) == -signal.SIGKILL
    assert run(home, "recover", "--execute").exit_code == 0
    assert found(home) == BEFORE
    settled(home)


@posix
@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_rollback_is_recovered(home: Path, package: Path, when: str, number: int) -> None:
    done = call("sync", package, *options(home), "--execute").envelope
    transaction: str = done["data"]["transaction_id"]
    rollback = ("rollback", transaction, "--execute", "--codex-home", str(home), "--json")
    assert killed(("move skill", when, number), *rollback) == -signal.SIGKILL
    assert run(home, "recover", "--execute").exit_code == 0
    # The last one that was installed is the first to go, and that is confirmed by then.
    assert found(home) == (AFTER if number == 1 else HALF)
    settled(home)
    assert run(home, "rollback", transaction, "--execute").exit_code == 0
    assert found(home) == BEFORE
    settled(home)


def test_what_somebody_changed_meanwhile_is_left_as_it_is(home: Path, package: Path) -> None:
    arguments: tuple[str | Path, ...] = ("sync", package, *options(home), "--execute")
    assert killed(("move skill", "after", 2), *arguments) == -signal.SIGKILL
    write(home / "skills" / "a", {"SKILL.md": "mine\n"})
    recovered = run(home, "recover", "--execute")
    assert [one["code"] for one in recovered.envelope["warnings"]] == ["home_changed"]
    assert found(home)["a"] == {**NEW, "SKILL.md": "mine\n"}
    settled(home)


# -- failures ------------------------------------------------------------------------------------

POINTS = {
    "stage": Point(Installer, "_stage"),
    "settle": Point(Installer, "settle"),
    "move": Point(MoveFolder, "apply"),
}


def failing(
    monkeypatch: pytest.MonkeyPatch, name: str, when: str, number: int, error: BaseException
) -> None:
    def fail() -> None:
        raise error

    point = POINTS[name]
    monkeypatch.setattr(point.owner, point.name, faulty(point, when, fail, nth(number)))


@pytest.fixture
def patched() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.mark.parametrize(
    ("name", "when", "number", "there", "failed"),
    [
        ("stage", "before", 1, {"a": OLD, "b": OTHER, "own": OTHER}, "a"),
        ("settle", "before", 1, {"a": OLD, "b": OTHER, "own": OTHER}, "a"),
        ("move", "before", 1, {"a": OLD, "b": OTHER, "own": OTHER}, "a"),
        ("move", "after", 1, {"a": OLD, "b": OTHER, "own": OTHER}, "a"),
        ("move", "before", 2, {"a": OLD, "b": OTHER, "own": OTHER}, "a"),
        ("move", "after", 2, {"a": OLD, "b": OTHER, "own": OTHER}, "a"),
        ("move", "before", 3, HALF, "b"),
        ("stage", "before", 2, HALF, "b"),
    ],
)
def test_one_skill_fails_and_the_other_goes_on(
    home: Path,
    package: Path,
    patched: pytest.MonkeyPatch,
    name: str,
    when: str,
    number: int,
    there: dict[str, Any],
    failed: str,
) -> None:
    failing(patched, name, when, number, NO_SPACE)
    outcome = call("sync", package, *options(home), "--execute")
    patched.undo()
    assert (outcome.exit_code, outcome.codes) == (1, ["write_failed"])
    results = {one["name"]: one["result"] for one in outcome.envelope["data"]["skills"]}
    assert [name for name, result in results.items() if result == "failed"] == [failed]
    assert found(home) == there
    settled(home)


def test_another_file_system_is_no_place_for_a_skill(
    home: Path, package: Path, patched: pytest.MonkeyPatch
) -> None:
    before = tree(home / "skills")
    error = OSError(errno.EXDEV, "Invalid cross-device link")

    def rename(*_: object) -> None:
        raise error

    patched.setattr(Path, "rename", rename)
    outcome = call("sync", package, *options(home), "--execute")
    patched.undo()
    assert (outcome.exit_code, outcome.codes) == (1, ["write_failed", "write_failed"])
    assert tree(home / "skills") == before
    settled(home)


def test_a_package_that_changes_while_it_is_read(
    home: Path, package: Path, patched: pytest.MonkeyPatch
) -> None:
    real = Installer._stage

    def stage(self: Installer, plan: Any) -> Any:
        write(package / "skills" / "a", {"SKILL.md": "evil\n"})
        return real(self, plan)

    patched.setattr(Installer, "_stage", stage)
    outcome = call("sync", package, *options(home), "--execute")
    assert (outcome.exit_code, outcome.codes) == (1, ["package_changed"])
    assert found(home) == {"a": OLD, "b": OTHER, "own": OTHER}
    settled(home)
