"""A home of three sessions beside a repository, and what its checkpoints give back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builders import Session
from checkpointing import PATH, Place, commit, new_repo, of_session
from codex_session_sync.store.place import VARIABLE
from exchanging import Side, side
from workbench import Outcome, call, environment

BEANS = Session(1, start=10, name="Beans").say("When do I sow beans?").say("And peas?")
ROSES = Session(2, start=20).say("How do I prune roses?")
OLD = Session(3, start=30, archived=True, legacy=True).say("An old question")


def make_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A home with three sessions, a repository with a commit; no store yet."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", PATH)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "store"))
    found = Place(tmp_path)
    side(tmp_path, "home", [BEANS, ROSES, OLD])
    commit(new_repo(found.repo))
    return found


def home(place: Place) -> Side:
    """The home, to go on in."""
    return Side(place.home, place.root)


def checkpoint(place: Place, *arguments: str | Path) -> Outcome:
    """A command about checkpoints, called in the repository."""
    os.chdir(place.repo)
    return call("checkpoint", *arguments, "--json")


def gives_back(place: Place) -> None:
    """The last checkpoint gives all sessions of the home as a whole package has them."""
    expected, parts = place.packed_whole()
    made, sessions, found = place.assembled(place.manifests()[-1])
    assert not made.refused
    assert {i: of_session(one, found) for i, one in sessions.items()} == {
        i: of_session(one, parts) for i, one in expected.items()
    }
