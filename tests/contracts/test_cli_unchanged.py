"""What a command leaves alone: all of it in a dry run, the rest when it is executed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from builders import Session, write_snapshot
from contracts.places import NAMED, PLAIN, SOME, Place, make_place, only_transaction, tar_gz
from workbench import add_rows, call, leave_log, make_database, tree

place = pytest.fixture(make_place)


def _nothing(_: Place) -> None:
    return None


def _packed(place: Place) -> None:
    data = tar_gz(place.package)
    place.drop_package()
    place.package.write_bytes(data)


def _snapshot_with_log(place: Place) -> None:
    place.drop_package()
    write_snapshot(place.package, SOME)
    path = make_database(place.package)
    add_rows(path, [PLAIN])
    leave_log(path, [NAMED])


def _live_snapshot(place: Place) -> None:
    _snapshot_with_log(place)
    path = place.package / "state_5.sqlite-shm"
    path.write_bytes(b"\0" * 32768)


@pytest.mark.parametrize("packed", [_nothing, _packed, _snapshot_with_log, _live_snapshot])
@pytest.mark.parametrize("used", ["fresh", "database", "log", "synced"])
def test_a_dry_run_changes_no_byte(
    place: Place, packed: Callable[[Place], None], used: str
) -> None:
    old = Session(8, start=80).say("Was here before")
    packed(place)
    if used == "synced":
        place.fill()
    if used != "fresh":
        write_snapshot(place.home, [old, PLAIN])
        path = make_database(place.home)
        if used == "log":
            leave_log(path, [old])
        else:
            add_rows(path, [old])
    before = tree(place.root)
    commands = [
        ("inspect-package", place.package),
        ("inspect-package", place.package, "--session", PLAIN.id),
        ("sync", place.package),
        ("list-transactions",),
        ("recover",),
        ("rebuild-index", "--max-threads", "0", "--include-orphans"),
    ]
    if used == "synced":
        commands.append(("show-transaction", only_transaction(place)))
    for command in commands:
        for more in ((), ("--json",)):
            assert call(*command, *more).exit_code == 0
            assert tree(place.root) == before, command


def test_an_execution_leaves_the_package_and_other_sessions_alone(place: Place) -> None:
    old = Session(8, start=80, name="Old").say("Was here before")
    _snapshot_with_log(place)
    write_snapshot(place.home, [old])
    database = make_database(place.home)
    add_rows(database, [old])
    package, before = tree(place.package), tree(place.home)
    index = (place.home / "session_index.jsonl").read_bytes()
    assert place.sync("--execute").exit_code == 0
    assert tree(place.package) == package
    after = tree(place.home)
    assert after[old.relative_path] == before[old.relative_path]
    assert (place.home / "session_index.jsonl").read_bytes().startswith(index)
    assert list((place.root / "tmp").iterdir()) == []


def test_a_second_sync_has_nothing_to_do(place: Place) -> None:
    make_database(place.home)
    first = place.sync("--execute")
    assert first.envelope["status"] == "ok"
    assert {one["result"] for one in first.sessions.values()} == {"imported"}
    before = tree(place.home, "session-sync/lock")
    second = place.sync("--execute")
    assert second.envelope["status"] == "no_op"
    assert second.envelope["data"]["transaction_id"] is None
    assert {(one["action"], one["reason"], one["result"]) for one in second.sessions.values()} == {
        ("skip", "equal", "skipped")
    }
    assert tree(place.home, "session-sync/lock") == before
    assert len(call("list-transactions", "--json").envelope["data"]["transactions"]) == 1


@pytest.mark.parametrize("execute", [True, False])
def test_a_sync_that_writes_nothing_leaves_no_trace(place: Place, execute: bool) -> None:
    write_snapshot(place.home, SOME)
    before = tree(place.root)
    outcome = place.sync(*(["--execute"] if execute else []))
    assert outcome.envelope["status"] == "no_op"
    assert tree(place.root) == before
