"""Kills at every passage of every step of a sync that extends, branches and imports at once.

After each one every session is as before or as after, and the old bytes of what was extended are
where they were: before the recovery too.
"""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from builders import Session
from codex_session_sync import validation
from crash.beds import MIXED, Bed, Driver, Twins, posix
from crash.faults import POINTS

pytestmark = posix

KILLED = -signal.SIGKILL
PASSAGES = 100
"""More than any step has."""


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process schemas are not checked, which is slow; in those that are killed they are."""
    monkeypatch.setattr(validation, "check", lambda *_: None)


UNDOING = [
    *("undo all", "undo file", "undo extension", "undo move", "undo folder", "cut", "delete row"),
    *("withdraw", "sweep"),
]
IN_SYNC = [
    (name, when)
    for name, point in POINTS.items()
    if name not in UNDOING
    for when in point.times()
    if (name, when) != ("lock", "after")  # it is taken only when it is entered
]
IN_RECOVERY = [
    (name, when)
    for name in [
        *(name for name in UNDOING if name != "withdraw"),  # that is for a run that goes on
        *("rows", "update", "name", "set time", "sidecar", "sync folder", "sync", "journal"),
        *("mark", "finish", "discard", "begin", "manifest"),
    ]
    for when in POINTS[name].times()
]


def recovered(bed: Bed, twins: Twins) -> tuple[Session, ...]:
    """Recover after a kill and check what stands; returns it."""
    bed.old_bytes_stand()
    confirmed = bed.confirmed()
    if bed.journal.interrupted():
        done = bed.command("recover", "--execute")
        assert (done.exit_code, done.envelope["warnings"]) == (0, [])
        [found] = done.envelope["data"]["transactions"]
        assert found["sessions_kept"] == sorted(one.id for one in confirmed)
        assert list(bed.home.glob("session-sync/**/.*.tmp")) == []
    bed.old_bytes_stand()
    assert bed.journal.interrupted() == []
    assert bed.state() == twins(confirmed)
    return confirmed


@pytest.mark.parametrize(("name", "when"), IN_SYNC)
def test_a_kill_in_a_mixed_sync_is_recovered(
    mixed: Bed, mixed_twins: Twins, driver: Driver, name: str, when: str
) -> None:
    standing: list[int] = []
    for number in range(1, PASSAGES):
        mixed.restore()
        ended = driver.sync(mixed, (name, when, number))
        if ended == 0:
            break
        assert ended == KILLED
        confirmed = recovered(mixed, mixed_twins)
        if len(confirmed) not in standing:
            mixed.completes(mixed_twins)
        standing.append(len(confirmed))
    assert standing
    assert standing == sorted(standing)
    assert mixed.state() == mixed_twins(MIXED)


@pytest.fixture(scope="module")
def killed(known: Bed, driver: Driver) -> str:
    """The name of a home in which all is applied, in one batch, and nothing confirmed."""
    known.restore()
    assert replace(driver, batch=100).sync(known, ("mark", "before", 1)) == KILLED
    known.save("killed")
    return "killed"


@pytest.mark.parametrize(("name", "when"), IN_RECOVERY)
def test_a_kill_in_the_recovery_of_a_mixed_sync(
    mixed: Bed, mixed_twins: Twins, driver: Driver, killed: str, name: str, when: str
) -> None:
    for number in range(1, PASSAGES):
        mixed.restore(killed)
        ended = driver.recover(mixed, (name, when, number))
        if ended == 0:
            break
        assert ended == KILLED
        assert recovered(mixed, mixed_twins) == ()
        if number == 1:
            mixed.completes(mixed_twins)
    assert number > 1
    assert mixed.state() == mixed_twins(())
