"""Lists that were lost and made anew: Codex shows the same names in the same order."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from codexbed import CURRENT, LEGACY, CodexHome, ModelServer, copy_home
from codexbed.making import talk
from codexbed.terminal import type_prompts
from real_codex.syncing import Answer, Source, call, said, shared

INDEX, HISTORY = "session_index.jsonl", "history.jsonl"

Listed = list[tuple[str, str | None, str | None]]
"""Id, name and preview of the sessions in a list, in its order."""


def rebuild(home: CodexHome, *options: str) -> Answer:
    """The command, done without an error."""
    answer = call(home, "rebuild-index", "--execute", *options)
    assert answer.code == 0
    return answer


def shows(home: CodexHome, tmp_path: Path, *, archived: bool = False) -> Listed:
    """What Codex lists; a copy of the home is asked, which it may change."""
    copied = copy_home(home, tmp_path / f"asked-{len(list(tmp_path.iterdir()))}")
    with copied.app_server() as app:
        return [
            (str(one["id"]), one.get("name"), one.get("preview"))
            for one in app.list_threads(archived)
        ]


def lose(home: CodexHome, *, database: bool = False) -> None:
    """Take away the two files; the database as well, if asked to."""
    for name in (INDEX, HISTORY):
        (home.home / name).unlink(missing_ok=True)
    if database:
        for path in home.home.glob("*.sqlite*"):
            path.unlink()


def lines(home: CodexHome, name: str) -> list[dict[str, Any]]:
    """The lines of one of the two files."""
    return [json.loads(line) for line in (home.home / name).read_bytes().splitlines()]


def history(home: CodexHome) -> dict[str, list[str]]:
    """The prompts of each session in the history, oldest first."""
    found = defaultdict(list)
    for line in lines(home, HISTORY):
        found[line["session_id"]].append(line["text"])
    return dict(found)


def run(home: CodexHome, statement: str, *values: str) -> None:
    """Change the database."""
    with closing(sqlite3.connect(home.home / "state_5.sqlite")) as database, database:
        database.execute(statement, values)


@pytest.fixture
def home(source: Source, tmp_path: Path) -> CodexHome:
    """A copy of a home with a session of every kind."""
    return copy_home(source.home, tmp_path / "home").prepare()


def active(source: Source) -> set[str]:
    return {session.session_id for session in source.made.values() if not session.archived}


# Sessions of every kind

NAME_IN_INDEX_ONLY = {"legacy_named": None}
"""The old release keeps the name of a session nowhere else: lost with the index."""


def without_those_names(source: Source, listed: Listed) -> Listed:
    """A list as it is once names that only the index had are lost."""
    kinds = source.kinds()
    return [(i, NAME_IN_INDEX_ONLY.get(kinds[i], name), preview) for i, name, preview in listed]


@pytest.mark.parametrize("archived", [False, True])
def test_what_codex_shows_stays(
    source: Source, home: CodexHome, tmp_path: Path, archived: bool
) -> None:
    before = shows(home, tmp_path, archived=archived)
    rebuild(home)
    assert shows(home, tmp_path, archived=archived) == before
    lose(home)
    answer = rebuild(home)
    assert answer.document["data"]["conversations"] == len(active(source))
    wanted = without_those_names(source, before)
    assert shows(home, tmp_path, archived=archived) == wanted


def test_without_a_database(source: Source, home: CodexHome, tmp_path: Path) -> None:
    lose(home, database=True)
    before = shows(home, tmp_path)
    answer = rebuild(home)
    assert answer.document["data"]["conversations"] == len(active(source))
    assert shows(home, tmp_path) == before


def test_names_survive_the_loss_of_the_database(
    source: Source, home: CodexHome, tmp_path: Path
) -> None:
    (home.home / HISTORY).unlink(missing_ok=True)
    for path in home.home.glob("*.sqlite*"):
        path.unlink()
    before = shows(home, tmp_path)
    rebuild(home)
    assert shows(home, tmp_path) == before
    names = {line["id"]: line["thread_name"] for line in lines(home, INDEX)}
    for session in source.made.values():
        if session.name is not None:
            assert names[session.session_id] == session.name


OWN = {
    "plain": ["plain: one"],
    "several_turns": [f"several_turns: {n}" for n in ("one", "two", "three", "four", "five")],
    "fork": ["fork: own turn"],
    "fork_of_fork": ["fork_of_fork: own turn"],
    "fork_midway": ["fork_midway: own turn"],
    "fork_parent": ["fork_parent: one", "fork_parent: two", "fork_parent: after the fork"],
    "reverted": [f"reverted: {text}" for text in ("one", "two", "three", "another two")],
    "legacy_fork": ["legacy_fork: own turn"],
    "legacy_carried_on": ["legacy_carried_on: one", "legacy_carried_on: two"],
    "legacy_rolled_back": [
        f"legacy_rolled_back: {text}" for text in ("one", "two", "three", "another two")
    ],
}
"""What was typed in a session: nothing that a fork has from its parent, all that was taken back."""


def test_the_prompts_are_those_that_were_typed(source: Source, home: CodexHome) -> None:
    lose(home)
    rebuild(home)
    found = history(home)
    assert {kind: found[source.made[kind].session_id] for kind in OWN} == OWN
    assert found.keys() <= active(source)
    for kind in ("subagent", "subagent_with_history", "legacy_subagent", "fork_no_turn"):
        if kind in source.made:
            assert source.made[kind].session_id not in found
    # What a session shows of its own is there, whatever its kind.
    for kind, seen in source.views.items():
        session = source.made[kind]
        if session.session_id in found and not session.needs and "fork" not in kind:
            assert set(said(seen)) <= set(found[session.session_id])
    times = [line["ts"] for line in lines(home, HISTORY)]
    assert times == sorted(times)


def test_orphans(source: Source, home: CodexHome) -> None:
    orphans = source.ids(["plain", "legacy", "fork"])
    for session_id in orphans:
        run(home, "DELETE FROM threads WHERE id = ?", session_id)
    lose(home)
    answer = rebuild(home)
    assert answer.document["data"]["skipped"]["without_row"] == len(orphans)
    assert ids(home) == active(source) - set(orphans)
    rebuild(home, "--include-orphans")
    assert ids(home) == active(source)
    assert history(home).keys() >= set(orphans)


def ids(home: CodexHome) -> Collection[str]:
    return {line["id"] for line in lines(home, INDEX)}


def test_the_newest(source: Source, source_order: list[str], home: CodexHome) -> None:
    lose(home)
    rebuild(home, "--max-threads", "5")
    assert len(lines(home, INDEX)) == 5
    # Codex lists the last active one first, the index has it last.
    in_order = [line["id"] for line in lines(home, INDEX)]
    rebuild(home, "--max-threads", "0")
    assert [line["id"] for line in lines(home, INDEX)][-5:] == in_order
    assert history(home).keys() <= set(source_order)


def test_codex_goes_on_with_what_was_rebuilt(
    source: Source, home: CodexHome, tmp_path: Path
) -> None:
    lose(home)
    rebuild(home)
    legacy, plain = source.ids(["legacy", "plain"])
    with home.app_server() as app:
        for session_id in (legacy, plain):
            app.resume(session_id)
            app.set_name(session_id, "renamed")
    before = shows(home, tmp_path)
    assert {name for i, name, _ in before if i in (legacy, plain)} == {"renamed"}
    rebuild(home)
    assert shows(home, tmp_path) == before
    names = {line["id"]: line["thread_name"] for line in lines(home, INDEX)}
    assert names[legacy] == names[plain] == "renamed"


# The old release alone


def test_a_home_of_the_old_release(legacy_source: Source, tmp_path: Path) -> None:
    """It shows a title as a name even where it is what the session begins with anyway."""
    home = copy_home(legacy_source.home, tmp_path / "home").prepare()
    current = home.with_version(CURRENT)
    before, before_in_current = shows(home, tmp_path), shows(current, tmp_path)
    assert any(name is None for _, name, _ in before)
    rebuild(home)
    wanted = [(i, name or preview, preview) for i, name, preview in before]
    assert shows(home, tmp_path) == wanted
    assert shows(current, tmp_path) == before_in_current


MESSAGES = {"one line": "only one", "several lines": "the first\nthe second"}


@pytest.fixture(scope="module")
def unnamed(base: Path, model: ModelServer) -> tuple[CodexHome, dict[str, str]]:
    """A home of the old release, with sessions that have no name."""

    def make(folder: Path) -> dict[str, str]:
        home = CodexHome(folder / "home", folder / "user", model, version=LEGACY).prepare()
        with home.app_server() as app:
            return {kind: talk(home, app, "said", text) for kind, text in MESSAGES.items()}

    folder, made = shared(base, "unnamed", make)
    return CodexHome(folder / "home", folder / "user", model), made


@pytest.mark.parametrize("database", [True, False])
def test_no_session_gets_a_name_that_nobody_gave(
    unnamed: tuple[CodexHome, dict[str, str]], tmp_path: Path, database: bool
) -> None:
    """But a message of several lines, without a row: its first line is the title then."""
    source, made = unnamed
    home = copy_home(source, tmp_path / "home").prepare()
    lose(home, database=not database)
    rebuild(home)
    names = {i: name for i, name, _ in shows(home, tmp_path)}
    assert names[made["one line"]] is None
    assert names[made["several lines"]] == (None if database else "said: the first")


# The terminal interface, which alone writes a history

TYPED = [f"prompt {number} {'x' * 60}" for number in range(4)]


@pytest.fixture(scope="module")
def typed(base: Path, model: ModelServer) -> CodexHome:
    """A home with a session that a person had at a terminal."""

    def make(folder: Path) -> None:
        type_prompts(CodexHome(folder / "home", folder / "user", model).prepare(), TYPED)

    folder, _ = shared(base, "typed", make)
    return CodexHome(folder / "home", folder / "user", model)


def test_the_history_is_as_codex_wrote_it(typed: CodexHome, tmp_path: Path) -> None:
    home = copy_home(typed, tmp_path / "home").prepare()
    path = home.home / HISTORY
    content, mode, own = path.read_bytes(), path.stat().st_mode, lines(home, HISTORY)
    assert [line["text"] for line in own] == TYPED
    # What is there already is found again, be it recorded in the next second.
    rebuild(home)
    assert path.read_bytes() == content
    lose(home)
    rebuild(home)
    assert path.stat().st_mode == mode
    made = lines(home, HISTORY)
    assert [list(line) for line in made] == [list(line) for line in own]
    assert all(0 <= one["ts"] - other["ts"] <= 5 for one, other in zip(made, own, strict=True))
    assert [{**line, "ts": 0} for line in made] == [{**line, "ts": 0} for line in own]


def test_a_limit_leaves_what_codex_leaves(base: Path, model: ModelServer, tmp_path: Path) -> None:
    limited = "[history]\nmax_bytes = 500"
    home = CodexHome(tmp_path / "home", tmp_path / "user", model, extra_config=limited).prepare()
    type_prompts(home, TYPED)
    left = history(home)
    assert list(left.values()) == [TYPED[-2:]]
    lose(home)
    rebuild(home)
    assert history(home) == left
