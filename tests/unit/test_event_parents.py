"""Which event follows which: in lines that part, in deltas, past what is no event."""

from __future__ import annotations

from pathlib import Path

import pytest

from builders import Record, Session, write_snapshot
from codex_session_sync.events import drafting
from eventing import (
    busy,
    counts,
    dumped,
    events,
    imported,
    lines,
    searched,
    texts,
    told,
    write_records,
)
from unit.event_sessions import (
    BEANS,
    FORK,
    GROWING,
    GROWING_OLD,
    PARTED,
    heads,
    own_environment,
    said,
    store_path,
)
from workbench import call

surroundings = pytest.fixture(own_environment, autouse=True)
store = pytest.fixture(store_path)


def test_lines_that_part_share_what_they_share(store: Path, tmp_path: Path) -> None:
    imported(store, write_snapshot(tmp_path / "here", [BEANS]))
    outcome = imported(store, write_snapshot(tmp_path / "there", [PARTED]))
    assert counts(outcome) == (2, 2, 0)
    there = heads(outcome)[BEANS.id]
    assert texts(store, there) == said("When do I sow beans?", "And lettuce?")
    assert len({event["lineage_id"] for event in events(store)}) == 1
    both = searched(store, "sow")
    assert [len(event["sessions"]) for event in both] == [1, 1]
    assert dumped(store)
    here = heads(imported(store, tmp_path / "here"))[BEANS.id]
    assert texts(store, here) == said("When do I sow beans?", "And peas?")


def delta(folder: Path, old: Path, new: Path) -> Path:
    """What a home lacks of another."""
    have, out = folder / "have.json", folder / "news.csync"
    for path in (have, out):
        path.unlink(missing_ok=True)
    assert call("have", "-o", have, "--codex-home", old).exit_code == 0
    packed = call("pack", "-o", out, "--have", have, "--codex-home", new, "--json")
    assert packed.exit_code == 0, packed.envelope["errors"]
    return out


def beginnings(session: Session) -> list[list[Record]]:
    """The records of a session up to each of its entries."""
    records = busy(session)
    places = [n for n, record in enumerate(records, 1) if record["type"] == "response_item"]
    return [records[:place] for place in places]


@pytest.mark.parametrize(
    ("session", "base"),
    [*((GROWING, base) for base in (1, 3, 5, 7, 8)), (GROWING_OLD, 2), (GROWING_OLD, 7)],
    ids=lambda value: getattr(value, "id", value),
)
def test_a_delta_goes_on_wherever_its_base_ends(
    session: Session, base: int, store: Path, tmp_path: Path
) -> None:
    """The base may end between two calls of a tool; the store may have less, as much, or more."""
    stages = beginnings(session)
    whole = write_records(tmp_path / "whole", session, busy(session))
    imported(tmp_path / "reference", whole)
    old = write_records(tmp_path / "old", session, stages[base - 1])
    package = delta(tmp_path, old, whole)
    for known in sorted({base - 1, base, base + 1} - {0}):
        here = tmp_path / f"store-{known}"
        home = write_records(tmp_path / f"home-{known}", session, stages[known - 1])
        imported(here, home)
        outcome = imported(here, package)
        if known < base:
            assert outcome.codes == ["prerequisite_missing"]
            assert outcome.envelope["data"]["counts"]["refused"] == 1
            assert "events import" in outcome.envelope["errors"][0]["hint"]
            assert counts(imported(here, old))[2] == 0
            outcome = imported(here, package)
        assert outcome.codes == []
        assert told(here) == told(tmp_path / "reference")
        assert outcome.envelope["data"]["sessions"][0]["entries"] == len(stages)
        assert counts(imported(here, whole))[0] == 0
        assert counts(imported(here, package))[0] == 0


def test_a_delta_whose_base_another_session_of_the_package_has(store: Path, tmp_path: Path) -> None:
    """A fork that is packed whole brings what the session that it was forked from needs."""
    grown = BEANS.say("And chard?")
    old = write_snapshot(tmp_path / "old", [BEANS])
    new = write_snapshot(tmp_path / "new", [grown, FORK])
    package = delta(tmp_path, old, new)
    assert imported(store, package).codes == ["prerequisite_missing"] * 2
    imported(store, old)
    assert counts(imported(store, package)) == (4, 0, 0)
    reference = tmp_path / "reference"
    imported(reference, new)
    assert told(store) == told(reference)


def test_many_entries_without_a_word_are_passed_in_parts(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drafting, "MOST_PASSED", 3)
    stages = beginnings(BEANS)
    for stage in (6, 7, len(stages)):
        imported(store, write_records(tmp_path / str(stage), BEANS, stages[stage - 1]))
    assert [line for line in lines(store) if "event_id" not in line]
    imported(tmp_path / "reference", tmp_path / str(len(stages)))
    assert told(store) == told(tmp_path / "reference")
    before = lines(store)
    package = delta(tmp_path, tmp_path / "7", tmp_path / str(len(stages)))
    assert counts(imported(store, package))[0] == 0
    assert lines(store) == before
