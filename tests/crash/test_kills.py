"""Kills at every step of an import, and of its recovery."""

from __future__ import annotations

import signal

import pytest

from builders import Session
from crash.beds import FIRST, PACKAGED, SECOND, Bed, Driver, Twins, posix
from crash.faults import POINTS

# (point, when, passage) and the sessions that are there once it is recovered. The first passages
# of a step belong to the first batch with FIRST and SECOND, the later ones to VICTIM and LAST.
NONE, HALF, ALL = (), (FIRST, SECOND), PACKAGED
KILLS = [
    *[("begin", when, 1, NONE) for when in POINTS["begin"].times()],
    *[("manifest", when, 1, NONE) for when in POINTS["manifest"].times()],
    *[("stage", when, 2, NONE) for when in POINTS["stage"].times()],
    *[("time", when, 3, HALF) for when in POINTS["time"].times()],
    *[("sync staged", when, 2, HALF) for when in POINTS["sync staged"].times()],
    *[("intend", when, 2, HALF) for when in POINTS["intend"].times()],
    *[("journal", when, 1, NONE) for when in POINTS["journal"].times()],
    *[("folder", when, 3, HALF) for when in POINTS["folder"].times()],
    *[("place", when, 1, NONE) for when in POINTS["place"].times()],
    *[("place", when, 4, HALF) for when in POINTS["place"].times()],
    # The first row is a trial that the table takes what is to come.
    *[("row", when, 4, HALF) for when in POINTS["row"].times()],
    *[("rows", when, 1, NONE) for when in POINTS["rows"].times()],
    *[("append", when, 2, HALF) for when in POINTS["append"].times()],
    *[("append", when, 3, HALF) for when in POINTS["append"].times()],
    *[("sidecar", when, 4, HALF) for when in POINTS["sidecar"].times()],
    *[("sync", when, 2, HALF) for when in POINTS["sync"].times()],
    *[("mark", when, 1, NONE if when == "before" else HALF) for when in POINTS["mark"].times()],
    *[("journal", "half", 4, HALF)],
    *[("finish", when, 1, ALL) for when in POINTS["finish"].times()],
    *[("discard", when, 1, ALL) for when in POINTS["discard"].times()],
    *[("manifest", when, 2, ALL) for when in POINTS["manifest"].times()],
]


@posix
@pytest.mark.parametrize(("name", "when", "number", "there"), KILLS)
def test_a_kill_is_recovered(
    bed: Bed,
    driver: Driver,
    twins: Twins,
    name: str,
    when: str,
    number: int,
    there: tuple[Session, ...],
) -> None:
    assert driver.sync(bed, (name, when, number)) == -signal.SIGKILL
    ids = bed.journal.ids()
    if bed.journal.interrupted():
        assert bed.sync().exit_code == 5
        planned = bed.command("recover")
        assert planned.envelope["status"] == "dry_run"
        (found,) = planned.envelope["data"]["transactions"]
        assert found["sessions_kept"] == sorted(one.id for one in there)
        recovered = bed.command("recover", "--execute")
        assert (recovered.exit_code, recovered.envelope["warnings"]) == (0, [])
        manifest = bed.journal.manifest(ids[0])
        assert manifest["status"] == "recovered"
        done = [one["session_id"] for one in manifest["sessions"] if one["result"] == "imported"]
        assert done == [one.id for one in there]
    else:
        assert not ids or bed.journal.manifest(ids[0])["status"] == "completed"
    assert bed.state() == twins(there)
    assert list(bed.home.glob("session-sync/sidecars/.*")) == []
    bed.completes(twins)


RECOVERY_KILLS = [
    (name, when)
    for name in ("undo all", "undo file", "delete row", "undo folder", "mark", "sweep", "finish")
    for when in ("before", "after")
]


@posix
@pytest.mark.parametrize(("name", "when"), RECOVERY_KILLS)
def test_a_killed_recovery_is_recovered(
    bed: Bed, driver: Driver, twins: Twins, name: str, when: str
) -> None:
    assert driver.sync(bed, ("sync", "after", 1)) == -signal.SIGKILL
    killed = driver.recover(bed, (name, when, 1))
    assert killed == -signal.SIGKILL
    if (name, when) != ("finish", "after"):
        assert bed.sync().exit_code == 5
        assert bed.command("recover", "--execute").exit_code == 0
    assert bed.state() == twins(NONE)
    bed.completes(twins)


@posix
@pytest.mark.parametrize(
    ("sent", "exit_code"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGHUP", 129)]
)
def test_a_signal_undoes_the_batch(
    bed: Bed, driver: Driver, twins: Twins, sent: str, exit_code: int
) -> None:
    assert driver.sync(bed, ("place", "after", 4), sent) == exit_code
    assert bed.journal.interrupted() == []
    assert bed.state() == twins(HALF)
    bed.completes(twins)
