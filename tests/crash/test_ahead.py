"""A batch is staged beside what is done to the one before: kills, failures and interrupts then."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from codex_session_sync import apply, commit, staging
from codex_session_sync.journal import playback
from crash.beds import (
    FIRST,
    NO_SPACE,
    PACKAGED,
    SECOND,
    VICTIM,
    Bed,
    Driver,
    Twins,
    fail_all_rows,
    posix,
    strike,
)
from crash.faults import POINTS

KILLS = [
    (name, when, number)
    for name, number in [
        *(("stage", 2), ("stage", 3), ("stage", 4), ("time", 3), ("sync staged", 1)),
        *(("sync staged", 2), ("intend", 1), ("place", 1), ("place", 3), ("rows", 1)),
        *(("sidecar", 2), ("mark", 1), ("mark", 2)),
    ]
    for when in POINTS[name].times()
]


@posix
@pytest.mark.parametrize(("name", "when", "number"), KILLS)
def test_a_kill_is_recovered(
    bed: Bed, driver: Driver, twins: Twins, name: str, when: str, number: int
) -> None:
    ahead = replace(driver, ahead=True)
    assert ahead.sync(bed, (name, when, number)) == -signal.SIGKILL
    there = bed.confirmed()
    assert there in ((), (FIRST, SECOND), PACKAGED)
    assert bed.journal.interrupted()
    recovered = bed.command("recover", "--execute")
    assert (recovered.exit_code, recovered.envelope["warnings"]) == (0, [])
    assert bed.state() == twins(there)
    bed.completes(twins)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two sessions make a batch, which is staged ahead; nothing goes on afterwards."""
    monkeypatch.setattr(commit, "BATCH_SESSIONS", 2)
    monkeypatch.setattr(apply, "THREADS_BYTES", 0)
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is put in place before the third session is being staged."""
    begun = threading.Event()
    numbers = count(1)
    moment, placing = staging._last_moment, playback.apply_all

    def tell(*arguments: Any) -> int:
        if next(numbers) >= 3:
            begun.set()
        return moment(*arguments)

    def wait(*arguments: Any) -> None:
        assert begun.wait(10)
        placing(*arguments)

    monkeypatch.setattr(staging, "_last_moment", tell)
    monkeypatch.setattr(commit, "apply_all", wait)


@pytest.mark.usefixtures("at_once", "together")
def test_a_batch_is_staged_beside_another(bed: Bed, twins: Twins) -> None:
    assert bed.sync().exit_code == 0
    assert bed.state() == twins(PACKAGED)
    assert bed.steps() == ["done", "done"]


@pytest.mark.usefixtures("at_once", "together")
@pytest.mark.parametrize("name", ["stage", "time", "place", "append", "sidecar"])
def test_one_session_fails_and_the_others_are_imported(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, twins: Twins, name: str
) -> None:
    with monkeypatch.context() as patched:
        assert not strike(patched, name, "before", NO_SPACE, (VICTIM.id, "2026/03/05"))
        outcome = bed.sync()
    assert (outcome.exit_code, outcome.codes) == (1, ["write_failed"])
    assert outcome.sessions[VICTIM.id]["result"] == "failed"
    assert bed.state() == twins(one for one in PACKAGED if one is not VICTIM)
    bed.completes(twins)


@pytest.mark.usefixtures("at_once", "together")
def test_the_database_fails_for_all(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, twins: Twins
) -> None:
    """What was staged ahead is not tried, and does not stay."""
    with monkeypatch.context() as patched:
        met = fail_all_rows(patched, bed)
        outcome = bed.sync()
    assert outcome.codes == ["database_unreadable"] * len(PACKAGED)
    assert len(met) == 1
    assert bed.state() == twins(())
    bed.completes(twins)


@pytest.mark.usefixtures("at_once", "together")
@pytest.mark.parametrize(("name", "number"), [("rows", 2), ("mark", 1), ("mark", 2), ("append", 2)])
@pytest.mark.parametrize("failure", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_undoes_the_batch(
    bed: Bed,
    monkeypatch: pytest.MonkeyPatch,
    twins: Twins,
    name: str,
    number: int,
    failure: type[BaseException],
) -> None:
    with monkeypatch.context() as patched:
        strike(patched, name, "before", failure(143), number)
        outcome = bed.sync()
    assert outcome.codes == ["interrupted"]
    assert bed.state() == twins(bed.confirmed())
    assert set(bed.steps()) <= {"done", "undone"}
    bed.completes(twins)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("most", "held"), [(3, 2), (4, 4)])
def test_no_more_are_locked_at_once(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, most: int, held: int
) -> None:
    """Each lock takes a descriptor, of which there may be few."""
    here, at_once = set[str](), list[int]()

    @contextmanager
    def locked(_: Path, session_id: str) -> Iterator[None]:
        here.add(session_id)
        at_once.append(len(here))
        yield
        here.remove(session_id)

    monkeypatch.setattr(apply, "MOST_LOCKED", most)
    monkeypatch.setattr(apply, "codex_thread_lock", locked)
    assert bed.sync().exit_code == 0
    assert max(at_once) == held
    assert not here
