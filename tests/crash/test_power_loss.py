"""Power lost at every moment of a sync and of a recovery (``power``), then recovered."""

from __future__ import annotations

import os
import random
import sqlite3
import sys
from collections.abc import Callable, Hashable
from pathlib import Path

import pytest

from codex_session_sync import commit, validation
from codex_session_sync.codex.state_db import open_for_writing
from codex_session_sync.journal.log import TransactionLog
from crash.beds import DATABASE, MIXED, NO_SPACE, PACKAGED, Bed, Twins, make_bed, strike
from crash.power import Disk, Moment, State, lay_out, left, picks

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be synced")

STATES = int(os.environ.get("POWER_LOSS_STATES", "40"))
"""How many different homes are tried after each of the runs; more of them can be asked for."""
WAYS = max(4, STATES // 20)
"""How many ways to lose power are looked at for each moment, beside losing and keeping all."""


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Schemas are checked elsewhere, which is slow."""
    monkeypatch.setattr(validation, "check", lambda *_: None)


def record(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, run: Callable[[], object], batch: int
) -> list[Moment]:
    """The moments of a run, each with the number of batches that were confirmed before."""
    disk = Disk(bed.home, DATABASE)
    real = TransactionLog.mark

    def mark(log: TransactionLog, step: str, number: int) -> None:
        real(log, step, number)
        disk.claimed += step == "done"

    with monkeypatch.context() as patched:
        patched.setattr(TransactionLog, "mark", mark)
        patched.setattr(commit, "BATCH_SESSIONS", batch)
        with disk.recording(monkeypatch):
            run()
    return disk.moments


def homes(moments: list[Moment], seed: int) -> list[tuple[State, Moment]]:
    """Some of the different homes that may be left, those at the end always among them."""
    rng = random.Random(seed)
    found: dict[Hashable, tuple[State, Moment]] = {}
    for moment in moments:
        none, every, *others = picks(moment, rng)
        if moment is not moments[-1]:
            others = rng.sample(others, min(WAYS, len(others)))
        for pick in (none, every, *others):
            state = left(moment, pick)
            key = (frozenset(state.items()), tuple(moment.database.items()), moment.claimed)
            found.setdefault(key, (state, moment))
    last = [one for one in found.values() if one[1] is moments[-1]]
    return [*rng.sample([*found.values()], min(STATES, len(found))), *last]


def recovers(bed: Bed, twins: Twins, state: State, moment: Moment) -> int:
    """Recover what is left; how many sessions stand."""
    lay_out(bed.home, state, moment.database)
    return recovers_from_here(bed, twins)


def recovers_from_here(bed: Bed, twins: Twins) -> int:
    """Recover a home; how many sessions stand."""
    bed.old_bytes_stand()
    confirmed = bed.confirmed()
    if bed.journal.interrupted():
        done = bed.command("recover", "--execute")
        assert (done.exit_code, done.envelope["warnings"]) == (0, [])
    bed.old_bytes_stand()
    assert bed.state() == twins(confirmed)
    return len(confirmed)


def run_sync(bed: Bed) -> None:
    assert bed.sync().exit_code == 0


@pytest.mark.parametrize("batch", [2, 100])
@pytest.mark.parametrize("fails", [False, True], ids=["undisturbed", "undone and done again"])
def test_power_is_lost_in_a_sync(
    mixed: Bed,
    mixed_twins: Twins,
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
    fails: bool,
) -> None:
    with monkeypatch.context() as patched:
        if fails:
            strike(patched, "sync", "before", NO_SPACE, 1)
        moments = record(mixed, monkeypatch, lambda: run_sync(mixed), batch)
    standing = set()
    for number, (state, moment) in enumerate(homes(moments, 1)):
        stand = recovers(mixed, mixed_twins, state, moment)
        if not fails:
            assert stand >= min(moment.claimed * batch, len(MIXED)), "confirmed and lost"
        if moment is moments[-1]:
            assert stand == len(MIXED)
        if stand not in standing or number % 10 == 0:
            mixed.completes(mixed_twins, littered=True)
        standing.add(stand)
    assert len(standing) > 1


def test_power_is_lost_in_the_first_sync(
    tmp_path: Path, twins: Twins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folders of the program and of new sessions are made by it."""
    bed = make_bed(tmp_path / "bed")
    bed.save("before")
    moments = record(bed, monkeypatch, lambda: run_sync(bed), 2)
    stood = set()
    for state, moment in homes(moments, 3):
        stand = recovers(bed, twins, state, moment)
        assert stand >= min(moment.claimed * 2, len(PACKAGED)), "confirmed and lost"
        stood.add(stand)
    assert stood == {0, 2, 4}


def test_power_is_lost_in_a_recovery(
    mixed: Bed, mixed_twins: Twins, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        strike(patched, "mark", "before", KeyboardInterrupt(), 1)
        strike(patched, "undo extension", "before", KeyboardInterrupt(), 1)
        mixed.sync()
    assert mixed.journal.interrupted()

    def recover() -> None:
        assert mixed.command("recover", "--execute").exit_code == 0

    moments = record(mixed, monkeypatch, recover, 2)
    for number, (state, moment) in enumerate(homes(moments, 2)):
        assert recovers(mixed, mixed_twins, state, moment) == 0
        if number % 10 == 0:
            mixed.completes(mixed_twins, littered=True)


def test_a_journal_of_which_only_the_end_was_written(mixed: Bed, mixed_twins: Twins) -> None:
    """Beyond the model: the later pages of an append that was not synced, before the earlier."""
    with pytest.MonkeyPatch.context() as patched:
        strike(patched, "intend", "after", KeyboardInterrupt(), 1)
        mixed.sync()
    [transaction] = mixed.ids()
    journal = mixed.home / "session-sync" / "transactions" / transaction / "operations.jsonl"
    data = journal.read_bytes()
    assert len(data) > 4096
    journal.write_bytes(bytes(4096) + data[4096:])
    assert recovers_from_here(mixed, mixed_twins) == 0


def test_what_the_database_commits_is_synced(mixed: Bed) -> None:
    """The model takes it as given."""
    connections: list[sqlite3.Connection] = []
    with open_for_writing(mixed.home / DATABASE) as database:
        assert database is not None
        connections.append(database._connection)
        [(synchronous,)] = connections[0].execute("PRAGMA synchronous").fetchall()
    assert synchronous >= 2
