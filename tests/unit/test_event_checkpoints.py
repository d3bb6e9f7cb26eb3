"""Events of checkpoints: imported by a commit, and found by the commit that they were said for."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from builders import Session, write_snapshot
from checkpointing import PATH, Place, commit, new_repo
from eventing import counts, dumped, imported, lines, searched, told, write_records
from workbench import call, environment

PRUNE = ("How do I prune the rose bush?", "Cut.")
HEDGE = ("And the hedge?", "In March.")
SOUP = ("Is a rose edible?", "The hips are.")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A repository with two commits, each made after a turn; another session has nothing to do
    with it."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{PATH}:{os.environ['PATH']}")
    place = Place(tmp_path)
    new_repo(place.repo)
    monkeypatch.chdir(place.repo)
    roses = Session(1, start=0, cwd=str(place.repo), name="Roses").say(*PRUNE)
    soup = Session(2, start=600, cwd="/srv/kitchen").say(*SOUP)
    write_snapshot(place.home, [roses, soup])
    place.commit_and_capture()
    write_snapshot(place.home, [replace(roses, turns=(*roses.turns, HEDGE)), soup])
    place.commit_and_capture()
    return place


def shas(place: Place) -> list[str]:
    return [manifest.origin.sha for manifest in place.manifests()]


def found(place: Place, sha: str) -> list[str]:
    return sorted(event["snippet"] for event in searched(place.root / "store", "--commit", sha))


def test_what_was_said_for_a_commit(place: Place) -> None:
    store = place.root / "store"
    first, second = shas(place)
    imported(store, place.home)
    assert found(place, first) == sorted(PRUNE)
    assert found(place, second[:8]) == sorted(HEDGE)
    assert found(place, "0" * 40) == []
    assert found(place, "HEAD~1") == sorted(PRUNE)
    done = call("events", "search", "--commit", "no-such", "--store", store, "--json")
    assert [error["code"] for error in done.envelope["errors"]] == ["commit_unknown"]


def test_a_checkpoint_that_comes_later_is_indexed_too(place: Place) -> None:
    store = place.root / "store"
    imported(store, place.home)
    dumped(store)
    third = commit(place.repo)
    assert found(place, third) == []
    roses = Session(1, start=0, cwd=str(place.repo), name="Roses").say(*PRUNE)
    write_snapshot(place.home, [replace(roses, turns=(*roses.turns, HEDGE, SOUP))])
    place.capture()
    imported(store, place.home)
    assert found(place, third) == sorted(SOUP)
    place.capture(force=True)
    gone_on = dumped(store)
    assert found(place, third) == sorted(SOUP)
    assert call("events", "rebuild", "--store", store, "--json").exit_code == 0
    assert dumped(store) == gone_on


@pytest.mark.parametrize("again", [(SOUP,), (SOUP, HEDGE), (SOUP, HEDGE, PRUNE)])
def test_what_was_said_in_place_of_what_was_taken_back(
    place: Place, again: tuple[tuple[str, str], ...]
) -> None:
    """However many entries there are then: more than before, as many, or fewer."""
    store = place.root / "store"
    said = Session(4, start=900, cwd=str(place.repo), legacy=True).say("Old")
    before = replace(said, turns=(*said.turns, PRUNE, HEDGE))
    write_snapshot(place.home, [before])
    place.commit_and_capture()
    records = before.records()
    undo = {**records[-1], "payload": {"type": "thread_rolled_back", "num_turns": 2}}
    new = replace(before, turns=(*before.turns, *again)).records()[len(records) :]
    write_records(place.home, before, [*records, undo, *new])
    [taken] = [one for one in place.commit_and_capture().manifest.sessions if one.packed]
    assert (taken.entries - taken.entries_before, taken.went_on) == (2 * len(again), True)
    imported(store, Path("HEAD"))
    assert found(place, "HEAD") == sorted(word for turn in again for word in turn)
    assert found(place, "HEAD~1") == sorted([*said.turns[0], *PRUNE, *HEDGE])


def test_a_checkpoint_that_cannot_be_read_is_told_and_tried_again(place: Place) -> None:
    store = place.root / "store"
    imported(store, place.home)
    before = dumped(store)
    [path] = [path for path in store.rglob("*.toml") if path.stem == shas(place)[0]]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert call("events", "rebuild", "--store", store, "--json").exit_code == 0
    for words, hits in (("rose", 2), ("hedge", 1)):
        done = call("events", "search", words, "--store", store, "--json").envelope
        assert (done["data"]["total"], done["warnings"][0]["code"]) == (hits, "store_damaged")
    assert found(place, "HEAD~1") == []
    path.write_bytes(whole)
    assert found(place, "HEAD~1") == sorted(PRUNE)
    assert dumped(store) == before


@pytest.mark.parametrize("name", ["HEAD", "second", "HEAD~1..HEAD"])
def test_a_checkpoint_gives_the_events_of_the_home(place: Place, name: str, tmp_path: Path) -> None:
    store = place.root / "store"
    given = shas(place)[1][:10] if name == "second" else name
    done = imported(store, Path(given))
    assert counts(done) == (6, 0, 0)
    assert [one["kind"] for one in done.envelope["data"]["packages"]] == ["native", "native"]
    imported(tmp_path / "other", place.home)
    assert told(store) == told(tmp_path / "other")
    assert counts(imported(store, place.home))[0] == 0


def test_an_earlier_checkpoint_gives_what_there_was(place: Place) -> None:
    store = place.root / "store"
    assert counts(imported(store, Path("HEAD~1")))[0] == 4
    assert counts(imported(store, Path("HEAD")))[0] == 2


def test_records_are_told_where_the_store_has_them(place: Place) -> None:
    store = place.root / "store"
    imported(store, Path("HEAD"))
    kept = {path.stem for path in (store / "packages").rglob("*.csync")}
    found = {line["raw"]["package"] for line in lines(store) if "event_id" in line}
    assert found == kept


@pytest.mark.parametrize("given", ["no-such-thing", "0123456789abcdef"])
def test_what_is_neither_a_package_nor_a_checkpoint(place: Place, given: str) -> None:
    done = imported(place.root / "store", Path(given))
    assert [error["code"] for error in done.envelope["errors"]] == ["package_not_found"]
    assert done.exit_code == 3
