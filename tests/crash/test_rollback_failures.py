"""A rollback that fails or is killed at every step: a session is undone as a whole or not at all.

The oracle are the states between its batches, as undisturbed rollbacks of those sessions leave
them.
"""

from __future__ import annotations

import errno
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from builders import Session
from codex_session_sync import commit
from crash.beds import Driver, driving, posix
from crash.faults import faulty, nth
from crash.rollback_faults import POINTS, ROLLBACK_POINTS
from rolling import Rolling, compress, make_rolling

DAY = 24 * 60
OWN = Session(1, start=10, name="Own").say("Was here before")
FIRST = Session(2, start=1 * DAY, name="First").say("One")
SECOND = Session(3, start=2 * DAY).say("Two").say("and more")
THIRD = Session(4, start=3 * DAY, name="Third").say("Three")
NEW = Session(5, start=4 * DAY, name="New").say("Four")
LATER = (
    replace(FIRST.say("More"), name="Renamed"),
    SECOND.say("More"),
    replace(THIRD.say("More"), archived=True),
    NEW,
)
"""Second is compressed here, third follows into the archive."""

PASSAGES = 7
"""A step is struck at its first passages only, which reach into the second batch."""

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


@dataclass
class Scene:
    """A home before a rollback, the rollback, and what the home is after each of its batches."""

    bed: Rolling
    saved: Path
    transaction: str
    states: list[dict[str, Any]]

    def reset(self) -> Rolling:
        """The home as it was."""
        shutil.rmtree(self.bed.home)
        shutil.copytree(self.saved, self.bed.home)
        return self.bed


def make_scene(root: Path, what: str) -> Scene:
    bed = make_rolling(root, [OWN])
    bed.sync(FIRST, SECOND, THIRD)
    compress(bed.path(SECOND))
    transaction = bed.sync(*LATER)
    if what == "redo":
        transaction = bed.undo(transaction)
    saved = root / "saved"
    shutil.copytree(bed.home, saved)
    planned = bed.call("rollback", transaction)
    order = list(planned.sessions)
    scene = Scene(bed, saved, transaction, [bed.state()])
    for count in (2, 4):
        only = [text for one in order[:count] for text in ("--session", one)]
        assert scene.reset().call("rollback", transaction, *only, "--execute").exit_code == 0
        scene.states.append(bed.state())
    scene.reset()
    return scene


@pytest.fixture(scope="module", params=["undo", "redo"])
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("scene"), request.param)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    with driving(tmp_path_factory.mktemp("driver"), "rollback_faults.py") as found:
        yield found


def struck(driver: Driver, bed: Rolling, fault: tuple[str, str, int], *command: str) -> bool:
    """Run a command with a kill; whether it was struck, and did not end well instead."""
    code = driver.run(bed, fault, "SIGKILL", *command)
    assert code in (0, -signal.SIGKILL)
    return code != 0


def done_batches(bed: Rolling) -> int:
    newest = bed.journal.ids()[0]
    return sum(batch.step == "done" for batch in bed.journal.batches(newest))


def completes(scene: Scene, before: int) -> None:
    """Recovered, then rolled back again: all is undone."""
    bed = scene.bed
    ended = bed.journal.interrupted() == []
    recovered = bed.call("recover", "--execute")
    assert (recovered.exit_code, recovered.envelope["warnings"]) == (0, [])
    assert recovered.envelope["status"] == ("no_op" if ended else "ok")
    assert bed.state() == scene.states[before]
    assert list(bed.home.glob("session-sync/sidecars/.*")) == []
    assert list(bed.home.glob(".*.tmp")) == []
    known = bed.home / "session-sync" / "transactions"
    assert [one for one in bed.journal.ids() if (known / one / "staged").exists()] == []
    assert bed.call("rollback", scene.transaction, "--execute").exit_code == 0
    assert bed.state() == scene.states[-1]


STEPS = (
    *("begin", "manifest", "intend", "journal", "folder", "place", "rows", "sidecar"),
    *("sync", "mark", "finish", "discard", "row", "delete row"),
    *(name for name in ROLLBACK_POINTS if not name.startswith(("take", "undo"))),
)


@posix
@pytest.mark.parametrize("name", STEPS)
def test_a_kill_is_recovered(scene: Scene, driver: Driver, name: str) -> None:
    command = ("rollback", scene.transaction, "--execute")
    for when in POINTS[name].times():
        for number in range(1, PASSAGES):
            bed = scene.reset()
            known = len(bed.journal.ids())
            if not struck(driver, bed, (name, when, number), *command):
                assert bed.state() == scene.states[-1]
                break
            began = len(bed.journal.ids()) > known
            if began and bed.journal.interrupted():
                assert bed.call(*command).exit_code == 5
            completes(scene, done_batches(bed) if began else 0)


UNDOING = (
    *("undo all", "undo cut", "undo move", "undo edit", "undo extend", "undo folder"),
    *("mark", "sweep", "finish", "rows", "forget"),
)


@posix
@pytest.mark.parametrize("name", UNDOING)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_recovery_is_recovered(scene: Scene, driver: Driver, name: str, when: str) -> None:
    for passed in (1, 2):
        for number in range(1, PASSAGES):
            bed = scene.reset()
            assert struck(
                driver, bed, ("sync", "before", passed), "rollback", scene.transaction, "--execute"
            )
            done = done_batches(bed)
            if not struck(driver, bed, (name, when, number), "recover", "--execute"):
                break
            completes(scene, done)


@pytest.mark.parametrize("name", ["move", "edit", "sidecar", "rows", "sync", "settle"])
def test_a_failure_that_passes(scene: Scene, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What fails for a batch and then works for each of its sessions."""
    bed = scene.reset()
    point = POINTS[name]

    def fail() -> None:
        raise NO_SPACE

    with monkeypatch.context() as patched:
        patched.setattr(point.owner, point.name, faulty(point, "after", fail, nth(1)))
        done = bed.call("rollback", scene.transaction, "--execute")
    assert (done.exit_code, done.envelope["errors"]) == (0, [])
    assert bed.state() == scene.states[-1]


def test_a_failure_that_stays(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """One session fails each time; the others are undone, and it is when asked again."""
    bed = scene.reset()
    point = POINTS["move"]
    passed: list[int] = []
    monkeypatch.setattr(commit, "BATCH_SESSIONS", 1)

    def fail() -> None:
        passed.append(1)
        raise NO_SPACE

    with monkeypatch.context() as patched:
        patched.setattr(point.owner, point.name, faulty(point, "before", fail, nth(1)))
        done = bed.call("rollback", scene.transaction, "--execute")
    assert passed
    assert (done.exit_code, done.codes) == (1, ["write_failed"])
    results = sorted(one["result"] for one in done.sessions.values())
    assert results == ["refused", "undone", "undone", "undone"]
    assert bed.journal.manifest(bed.journal.ids()[0])["status"] == "partial"
    assert bed.call("rollback", scene.transaction, "--execute").exit_code == 0
    assert bed.state() == scene.states[-1]
