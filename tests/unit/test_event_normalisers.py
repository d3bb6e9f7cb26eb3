"""A newer normaliser adds its own observations of sessions and changes no event."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builders import Record, Session, write_snapshot
from codex_session_sync.events.importing import import_events
from codex_session_sync.events.normalise import CURRENT, Message, Normaliser
from codex_session_sync.events.sources import Source
from codex_session_sync.package.reader import open_package
from eventing import (
    busy,
    counts,
    dumped,
    events,
    imported,
    owners,
    renumbered,
    searched,
    shown_owners,
    write_records,
)
from unit.event_sessions import BEANS, GROWING, PARTED, own_environment, store_path
from workbench import call

surroundings = pytest.fixture(own_environment, autouse=True)
store = pytest.fixture(store_path)


def newer(entry: Record, following: Record | None) -> Message | None:
    """Takes calls of tools for messages of agents, and lets go of what begins with And."""
    if entry["payload"].get("type") == "function_call":
        return Message("agent_message", f"called {entry['payload']['name']}")
    found = CURRENT.message(entry, following)
    if found is None or found.text.startswith("And"):
        return None
    return replace(found, text=found.text.upper())


NEWER = Normaliser(2, newer)


def run(store: Path, package: Path, normaliser: Normaliser) -> dict[str, Any]:
    sources = [Source(package, package.name)]
    done = import_events(store, sources, open_package, normaliser=normaliser)
    found: dict[str, Any] = done.manifest["counts"]
    return found


def test_a_newer_normaliser_observes_again_and_rewrites_nothing(
    store: Path, tmp_path: Path
) -> None:
    home = write_records(tmp_path / "home", GROWING, busy(GROWING))
    imported(store, home)
    old, before = events(store), {p: p.read_bytes() for p in (store / "events").rglob("*.jsonl")}
    assert len(searched(store, "chard")) == 2
    assert run(store, home, NEWER)["added"] == 12
    for path, data in before.items():
        assert path.read_bytes().startswith(data)
    new = events(store)[len(old) :]
    assert {event["normaliser"] for event in new} == {2}
    by_id = {event["event_id"]: event for event in old}
    for event in new:
        known = by_id.get(event["event_id"])
        assert event.get("reobserves") == (1 if known else None)
        if event["text"].startswith("called"):
            assert known is None
        else:
            assert known is not None
            gone = known["text"].startswith("And")
            assert event["kind"] == ("withdrawn" if gone else known["kind"])
            assert event["text"] == ("" if gone else known["text"].upper())
    for normaliser in (NEWER, CURRENT):
        assert run(store, home, normaliser)["added"] == 0
    assert len(searched(store, "called")) == 6
    assert [event["snippet"] for event in searched(store, "chard")] == ["ANSWER TO: AND CHARD?"]
    everything = searched(store, "--session", GROWING.id)
    assert len(everything) == 10
    assert {len(event["sessions"]) for event in everything} == {1}
    index = dumped(store)
    assert call("events", "rebuild", "--store", store).exit_code == 0
    assert dumped(store) == index


def test_a_newer_normaliser_that_finds_a_later_end_gives_it_to_the_session(
    store: Path, tmp_path: Path
) -> None:
    records = busy(BEANS)
    call = next(one for one in records if one["payload"].get("type") == "function_call")
    home = write_records(tmp_path / "home", BEANS, renumbered([*records, call]))
    imported(store, home)
    run(store, home, NEWER)
    assert shown_owners(store) == owners(store)


def test_a_session_that_only_the_older_normaliser_saw_goes_on(store: Path, tmp_path: Path) -> None:
    """Forks of one line, of which one is read by a newer program and the other is not."""
    home = write_snapshot(tmp_path / "home", [BEANS])
    imported(store, home)
    imported(store, write_snapshot(tmp_path / "parted", [PARTED]))
    run(store, home, NEWER)
    outcome = imported(store, write_snapshot(tmp_path / "more", [PARTED.say("And leek?")]))
    assert counts(outcome)[0] == 2
    found = searched(store, "leek")
    assert [len(event["sessions"]) for event in found] == [1, 1]
    index = dumped(store)
    assert call("events", "rebuild", "--store", store).exit_code == 0
    assert dumped(store) == index


@pytest.mark.parametrize("known", [0, 1, 2, 3])
@pytest.mark.parametrize("way", [1, -1])
@pytest.mark.parametrize("last", [("{}", "Yes."), ("Weed?", "{}")], ids=["user", "agent"])
def test_a_newer_normaliser_leaves_the_events_of_parted_lines_to_them(
    store: Path, tmp_path: Path, known: int, last: tuple[str, str], way: int
) -> None:
    """However many of the lines the older one had observed."""
    grown = [
        Session(number).say("Do I sow?").say(*(words.format(number) for words in last))
        for number in (1, 2, 3)
    ]
    home = tmp_path / "home"
    for session in grown[::way][:known]:
        imported(store, write_records(home, session, busy(session)))
    for session in grown:
        write_records(home, session, busy(session))
    run(store, home, NEWER)
    assert len(set(map(frozenset, owners(store).values()))) == 4
    assert shown_owners(store) == owners(store)
    index = dumped(store)
    assert call("events", "rebuild", "--store", store).exit_code == 0
    assert dumped(store) == index
