"""Kills at every step of an import of events, and of indexing: a repeat ends what was begun."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from builders import Session, write_snapshot
from crash.event_faults import POINTS
from eventing import counts, dumped, imported, told
from workbench import call, environment

SCRIPT = Path(__file__).with_name("event_faults.py")
ONE = Session(1, start=10).say("When do I sow beans?").say("And peas?")
TWO = Session(2, start=20).say("How do I prune roses?")
OLD = Session(3, legacy=True, start=30).say("An old question")
LATER = replace(ONE, turns=(*ONE.turns, ("And kale?", "In May.")))
NEW = Session(4, start=40).say("Something new")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")


def points(*names: str) -> Iterator[tuple[str, str, int]]:
    """Each time at which a kill can strike at these points, at their first and second passage."""
    for name in names:
        half = POINTS[name][2] is not None
        for number in (1, 2) if name in ("append", "index") else (1,):
            for when in ("before", "half", "after") if half else ("before", "after"):
                yield name, when, number


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    write_snapshot(tmp_path / "first", [ONE, TWO, OLD])
    write_snapshot(tmp_path / "later", [LATER, TWO, OLD, NEW])
    return tmp_path


def killed(place: Path, point: tuple[str, str, int], *arguments: str | Path) -> None:
    """Run a command that is killed."""
    name, when, number = point
    done = subprocess.run(
        [sys.executable, SCRIPT, name, when, str(number), *map(str, arguments)],
        env=environment(place),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, (done.stdout, done.stderr)


OF_USED = [("append", "half", 1), ("append", "after", 1), ("catalog", "half", 1)]
KILLS = [
    *((point, False) for point in points("make store", "append", "sync", "manifest", "catalog")),
    *((point, True) for point in OF_USED),
]


@pytest.mark.parametrize(("point", "used"), KILLS)
def test_a_killed_import_is_ended_by_a_repeat(
    place: Path, point: tuple[str, str, int], *, used: bool
) -> None:
    store, reference = place / "store", place / "reference"
    for package in ("first", "later") if used else ("first",):
        imported(reference, place / package)
    package, total = ("later", 12) if used else ("first", 8)
    if used:
        imported(store, place / "first")
        dumped(store)
    killed(place, point, "events", "import", place / package, "--store", store)

    done = point[0] == "catalog" and point[1] == "after"
    known = call("events", "report", "--store", store, "--json")
    if known.exit_code == 0:
        imports = known.envelope["data"]["totals"]["imports"]
        assert imports == used + done
        messages = known.envelope["data"]["totals"]["user_messages"]
        assert messages == 4 * used + 2 * done * (1 if used else 2)
    else:
        assert known.codes == ["store_missing"]
        assert point[0] == "make store"

    outcome = imported(store, place / package)
    added, seen, refused = counts(outcome)
    found = outcome.envelope["data"]["counts"]
    assert (added + seen, refused) == (total, 0)
    assert found["orphaned"] == (0 if done else seen - (8 if used else 0))
    assert told(store) == told(reference)
    assert counts(imported(store, place / package)) == (0, total, 0)
    assert list(store.rglob("*.tmp")) == []
    index = dumped(store)
    assert call("events", "rebuild", "--store", store).exit_code == 0
    assert dumped(store) == index


@pytest.mark.parametrize(
    ("point", "used"),
    [
        (("index", "after", 2), False),
        (("index", "before", 2), True),
        (("index placed", "after", 1), False),
    ],
)
def test_killed_indexing_is_ended_by_a_repeat(
    place: Path, point: tuple[str, str, int], *, used: bool
) -> None:
    store = place / "store"
    imported(store, place / "first")
    if used:
        dumped(store)
    for package in ("later", "first"):
        imported(store, place / package)
    killed(place, point, "events", "index", "--store", store)
    index = dumped(store)
    assert call("events", "rebuild", "--store", store).exit_code == 0
    assert dumped(store) == index
    assert list((store / "derived").iterdir()) == [store / "derived" / "events.sqlite3"]
