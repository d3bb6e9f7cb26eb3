"""Rows for tables of the real releases: what is given, what is derived, what is never null."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builders import Session, dump
from codex_session_sync.codex.thread_row import (
    LOCAL_REFERENCES,
    Placed,
    advanced_row,
    provider_of,
    thread_row,
)
from codex_session_sync.model import Row, Transcript
from rollouts import put, read

OLD = """
CREATE TABLE threads (
    id TEXT PRIMARY KEY,
    rollout_path TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    source TEXT NOT NULL,
    model_provider TEXT NOT NULL,
    cwd TEXT NOT NULL,
    title TEXT NOT NULL,
    sandbox_policy TEXT NOT NULL,
    approval_mode TEXT NOT NULL,
    tokens_used INTEGER NOT NULL DEFAULT 0,
    has_user_event INTEGER NOT NULL DEFAULT 0,
    archived INTEGER NOT NULL DEFAULT 0,
    archived_at INTEGER,
    git_sha TEXT,
    git_branch TEXT,
    git_origin_url TEXT,
    cli_version TEXT NOT NULL DEFAULT '',
    first_user_message TEXT NOT NULL DEFAULT '',
    agent_nickname TEXT,
    agent_role TEXT,
    memory_mode TEXT NOT NULL DEFAULT 'enabled',
    model TEXT,
    reasoning_effort TEXT,
    agent_path TEXT
);
"""
"""The table of 0.118.0."""

ADDED = (
    "created_at_ms INTEGER",
    "updated_at_ms INTEGER",
    "thread_source TEXT",
    "preview TEXT NOT NULL DEFAULT ''",
    "recency_at INTEGER NOT NULL DEFAULT 0",
    "recency_at_ms INTEGER NOT NULL DEFAULT 0",
    "history_mode TEXT NOT NULL DEFAULT 'legacy'",
    "name TEXT",
    "is_pinned INTEGER NOT NULL DEFAULT 0",
    "thread_section_id TEXT",
    "section_position INTEGER",
    "section_entered_at_ms INTEGER",
    "project_id TEXT",
    "originator TEXT",
    "daybreak_enabled BOOLEAN",
    "creator_user_id TEXT",
    "creator_account_id TEXT",
    "attached_thread_parent_id TEXT",
)
"""What 0.169.0 has besides."""

LATER = ("made_at INTEGER", "made_ms INTEGER", "is_new BOOLEAN", "use_count INTEGER", "color TEXT")
"""What a later release might want, with no default."""

NEW = OLD + "".join(f"ALTER TABLE threads ADD COLUMN {column};" for column in ADDED)
PATH = "/home/bob/.codex/sessions/2026/03/02/rollout.jsonl"


def row_of(
    columns: Mapping[str, bool],
    transcript: Transcript,
    source: Row | None = None,
    approval_policy: str | None = None,
    **placed: Any,
) -> Row:
    """A row for a session that stands at PATH under its own id, unless ``placed`` differs."""
    natural: Any = {"path": PATH, "archived": False, "name": None, "cwd": None}
    natural["provider"] = provider_of(transcript, source)
    natural["mode"] = transcript.mode
    place = Placed(**{"session_id": transcript.session_id, **natural, **placed})
    return thread_row(columns, transcript, source, place, approval_policy)


def columns(schema: str) -> dict[str, bool]:
    """The columns as ``state_db`` has them: name, and whether a value is needed."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(schema)
        found = connection.execute("PRAGMA table_info(threads)").fetchall()
        return {name: bool(needed) and default is None for _, name, _, needed, default, _ in found}


def stored(schema: str, row: Row) -> dict[str, Any]:
    """The row as such a table holds it, defaults filled in."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(schema)
        connection.row_factory = sqlite3.Row
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO threads ({names}) VALUES ({marks})", tuple(row.values()))
        return dict(connection.execute("SELECT * FROM threads").fetchone())


def with_later_columns(schema: str) -> tuple[str, dict[str, bool]]:
    end = schema.index("PRIMARY KEY,") + len("PRIMARY KEY,")
    wanted = ", ".join(f"{column} NOT NULL" for column in LATER)
    later = f"{schema[:end]} {wanted},{schema[end:]}"
    return later, columns(later)


@pytest.fixture
def transcript(tmp_path: Path) -> Transcript:
    return transcript_of(tmp_path, SESSION)


def transcript_of(folder: Path, *sessions: Session) -> Transcript:
    return read([put(folder, one.file_name, one.data()) for one in sessions], sessions[-1].id)


GIT = {"commit_hash": "c0ffee", "branch": "main", "repository_url": "ssh://there"}
META = {
    "git": GIT,
    "source": {"subagent": {"thread_spawn": {"depth": 1}}},
    "thread_source": "subagent",
    "agent_nickname": "Ada",
    "agent_role": "explorer",
    "agent_path": "/ada",
    "model_provider": "mock",
    "memory_mode": "disabled",
}
SESSION = Session(1, meta=META).say("first", "a").say("second", "b")

DERIVED: Mapping[str, Any] = {
    "id": SESSION.id,
    "rollout_path": PATH,
    "created_at": 1_772_442_000,
    "updated_at": 1_772_442_004,
    "source": '{"subagent":{"thread_spawn":{"depth":1}}}',
    "model_provider": "mock",
    "cwd": "/home/alice/garden",
    "title": "first",
    "sandbox_policy": '{"type":"read-only"}',
    "approval_mode": "on-request",
    "tokens_used": 30,
    "has_user_event": 0,
    "archived": 0,
    "archived_at": None,
    "git_sha": "c0ffee",
    "git_branch": "main",
    "git_origin_url": "ssh://there",
    "cli_version": "0.169.0",
    "first_user_message": "first",
    "agent_nickname": "Ada",
    "agent_role": "explorer",
    "memory_mode": "disabled",
    "model": "gpt-5",
    "reasoning_effort": None,
    "agent_path": "/ada",
    "created_at_ms": 1_772_442_000_000,
    "updated_at_ms": 1_772_442_004_500,
    "thread_source": "subagent",
    "preview": "first",
    "recency_at": 1_772_442_004,
    "recency_at_ms": 1_772_442_004_500,
    "history_mode": "paginated",
    "name": None,
    "is_pinned": 0,
    "thread_section_id": None,
    "section_position": None,
    "section_entered_at_ms": None,
    "project_id": None,
    "originator": "codex_cli_rs",
    "daybreak_enabled": None,
    "creator_user_id": None,
    "creator_account_id": None,
    "attached_thread_parent_id": None,
}


def test_tables_are_those_of_the_releases() -> None:
    assert (len(columns(OLD)), len(columns(NEW))) == (25, 43)
    assert sum(columns(OLD).values()) == 9


@pytest.mark.parametrize("schema", [OLD, NEW], ids=["0.118.0", "0.169.0"])
def test_row_is_derived_from_the_transcript(transcript: Transcript, schema: str) -> None:
    row = row_of(columns(schema), transcript)
    assert stored(schema, row) == {name: DERIVED[name] for name in columns(schema)}


@pytest.mark.parametrize("schema", [OLD, NEW], ids=["0.118.0", "0.169.0"])
def test_row_of_a_session_that_says_nothing(tmp_path: Path, schema: str) -> None:
    head = {"timestamp": "", "type": "session_meta", "payload": {"id": SESSION.id}}
    found = read([put(tmp_path, SESSION.file_name, dump([head]))], SESSION.id)
    row = stored(schema, row_of(columns(schema), found))
    assert (row["title"], row["cwd"], row["source"]) == ("", "", "cli")
    assert (row["model_provider"], row["created_at"], row["memory_mode"]) == (
        "openai",
        0,
        "enabled",
    )
    if schema is NEW:
        assert row["preview"] == SESSION.id, "without a preview Codex does not list it"
        assert row["history_mode"] == "legacy"


def given_row() -> dict[str, Any]:
    """A source row in which every value differs from what would be derived."""
    found: dict[str, Any] = {
        name: 77 if isinstance(value, int) else f"given {name}"
        for name, value in DERIVED.items()
        if name != "archived"
    }
    return {**found, "archived": 1, "archived_at": 88, "of_another_release": "x"}


DECIDED = {"id", "rollout_path", "history_mode", "archived", "archived_at", "name"}
"""Columns that neither the package nor the transcript decides."""


@pytest.mark.parametrize("schema", [OLD, NEW], ids=["0.118.0", "0.169.0"])
def test_what_the_package_gives_is_kept(transcript: Transcript, schema: str) -> None:
    given = given_row()
    row = stored(schema, row_of(columns(schema), transcript, given))
    expected = {name: given[name] for name in columns(schema)}
    expected |= {name: DERIVED[name] for name in DECIDED & columns(schema).keys()}
    expected |= {name: None for name in LOCAL_REFERENCES if name in columns(schema)}
    assert row == expected


def test_row_of_an_old_release_is_completed_for_a_new_one(transcript: Transcript) -> None:
    given = {name: value for name, value in given_row().items() if name in columns(OLD)}
    row = stored(NEW, row_of(columns(NEW), transcript, given))
    for name in columns(NEW).keys() - columns(OLD).keys():
        assert row[name] == DERIVED[name], name
    assert row["title"] == "given title"


@pytest.mark.parametrize("nothing", [None, ""])
@pytest.mark.parametrize("column", ["preview", "first_user_message", "title"])
def test_empty_texts_are_derived(transcript: Transcript, column: str, nothing: str | None) -> None:
    row = row_of(columns(NEW), transcript, {**given_row(), column: nothing})
    assert row[column] == "first"


def test_nulls_of_the_package_are_derived(transcript: Transcript) -> None:
    row = row_of(columns(NEW), transcript, dict.fromkeys(DERIVED))
    assert stored(NEW, row) == dict(DERIVED)


def test_what_the_sync_decides_wins(transcript: Transcript) -> None:
    decided: Any = {
        "path": "/elsewhere",
        "archived": True,
        "name": "a name",
        "cwd": "/here",
        "approval_policy": "untrusted",
    }
    row = stored(NEW, row_of(columns(NEW), transcript, given_row(), **decided))
    assert (row["rollout_path"], row["cwd"], row["approval_mode"]) == (
        "/elsewhere",
        "/here",
        "untrusted",
    )
    assert (row["name"], row["archived"], row["archived_at"]) == ("a name", 1, 88)
    assert row["id"] == SESSION.id


def test_archived_session_has_a_time(transcript: Transcript) -> None:
    archived: dict[str, Any] = {"archived": True}
    assert row_of(columns(NEW), transcript, None, **archived)["archived_at"] == 1_772_442_004
    given = {"archived": 1, "archived_at": None, "updated_at": 99}
    assert row_of(columns(NEW), transcript, given, **archived)["archived_at"] == 99
    given = {"archived": 1, "archived_at": 5}
    assert row_of(columns(NEW), transcript, given)["archived_at"] is None


def test_local_references_do_not_come_along(transcript: Transcript) -> None:
    row = row_of(columns(NEW), transcript, given_row())
    assert {row[name] for name in LOCAL_REFERENCES} == {None}


def test_defaults_are_left_to_the_table(transcript: Transcript) -> None:
    table = NEW + "ALTER TABLE threads ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm';"
    row = row_of(columns(table), transcript)
    assert "mood" not in row
    assert "reasoning_effort" not in row
    assert stored(table, row)["mood"] == "calm"


def test_needed_columns_of_a_later_release_are_the_packages_to_give(transcript: Transcript) -> None:
    schema, found = with_later_columns(NEW)
    assert not {column.split()[0] for column in LATER} & row_of(found, transcript).keys()
    given = {column.split()[0]: 5 for column in LATER}
    row = stored(schema, row_of(found, transcript, given))
    assert [row[column.split()[0]] for column in LATER] == [5, 5, 5, 5, "5"]


def test_row_has_only_columns_of_the_table(transcript: Transcript) -> None:
    assert row_of({}, transcript, given_row()) == {}
    few = {"id": True, "title": False}
    assert row_of(few, transcript) == {"id": SESSION.id, "title": "first"}


def test_legacy_session(tmp_path: Path) -> None:
    found = transcript_of(tmp_path, replace(SESSION, legacy=True))
    row = stored(NEW, row_of(columns(NEW), found, {"history_mode": "paginated"}))
    assert (row["history_mode"], row["first_user_message"]) == ("legacy", "first")
    assert (row["tokens_used"], row["cli_version"]) == (30, "0.118.0")


def test_fork_is_shown_by_where_it_begins_and_titled_by_its_own_words(tmp_path: Path) -> None:
    parent = Session(1).say("of the parent")
    row = row_of(columns(NEW), transcript_of(tmp_path, parent, parent.fork(2).say("own")))
    assert (row["title"], row["first_user_message"]) == ("own", "own")
    assert row["preview"] == "of the parent"
    assert row["tokens_used"] == 15
    silent = transcript_of(tmp_path, parent, parent.fork(3))
    row = row_of(columns(NEW), silent)
    assert (row["title"], row["preview"], row["tokens_used"]) == ("", "of the parent", 0)


def test_fork_in_a_table_without_previews_is_shown_by_where_it_begins(tmp_path: Path) -> None:
    parent = Session(1).say("of the parent")
    fork = transcript_of(tmp_path, parent, parent.fork(2).say("own"))
    row = row_of(columns(OLD), fork)
    assert (row["title"], row["first_user_message"]) == ("of the parent", "of the parent")
    own = row_of(columns(OLD), fork, {"preview": "own"})
    assert (own["title"], own["first_user_message"]) == ("own", "own")
    named = row_of(columns(OLD), fork, {"title": "a name", "first_user_message": "own"})
    assert (named["title"], named["first_user_message"]) == ("a name", "of the parent")
    other = row_of(columns(OLD), fork, {"title": "own", "first_user_message": "kept"})
    assert (other["title"], other["first_user_message"]) == ("own", "kept")


# --- a row that goes on --------------------------------------------------------------------------

CONTINUED = 1_772_442_004_500
ADVANCING = ("updated_at", "updated_at_ms", "recency_at", "recency_at_ms", "tokens_used")


def advanced(
    transcript: Transcript, known: Mapping[str, Any], source: Row | None = None, **follow: Any
) -> dict[str, Any]:
    """What is another value in the row after its session went on."""
    before = dict(known)
    row = advanced_row(known, transcript, source, path=str(known["rollout_path"]), follow=follow)
    assert dict(known) == before
    assert row.keys() == known.keys(), "a column is made or lost"
    return {name: row[name] for name in row if row[name] != known[name]}


def local_row() -> dict[str, Any]:
    """A local row, older than the transcript, in which every value is one of its own."""
    texts = {name: f"local {name}" for name, value in DERIVED.items() if isinstance(value, str)}
    own = dict.fromkeys(DERIVED) | texts
    return own | {
        "id": SESSION.id,
        "created_at": 7,
        "created_at_ms": 7000,
        "updated_at": 8,
        "updated_at_ms": 8000,
        "recency_at": 9,
        "recency_at_ms": 9000,
        "tokens_used": 5,
        "has_user_event": 1,
        "is_pinned": 1,
        "archived": 0,
    }


def test_times_and_counters_go_on_and_the_rest_stays(transcript: Transcript) -> None:
    assert advanced(transcript, local_row()) == {
        "updated_at": CONTINUED // 1000,
        "updated_at_ms": CONTINUED,
        "recency_at": CONTINUED // 1000,
        "recency_at_ms": CONTINUED,
        "tokens_used": 30,
    }


def test_the_source_knows_better_than_the_transcript(transcript: Transcript) -> None:
    later = {"updated_at": 1_800_000_000, "updated_at_ms": 1_800_000_000_123, "tokens_used": 77}
    found = advanced(transcript, local_row(), {**given_row(), **later})
    assert found == {**later, "recency_at": 77}
    nothing = advanced(transcript, local_row(), dict.fromkeys(DERIVED))
    assert nothing["tokens_used"] == 30


def test_nothing_goes_back(transcript: Transcript) -> None:
    ahead = local_row() | dict.fromkeys(ADVANCING, 10**15)
    assert advanced(transcript, ahead) == {}
    assert advanced(transcript, ahead, given_row()) == {}


@pytest.mark.parametrize("column", ADVANCING)
def test_each_column_goes_on_by_itself(transcript: Transcript, column: str) -> None:
    ahead = local_row() | {column: 10**15}
    assert advanced(transcript, ahead).keys() == {*ADVANCING} - {column}
    assert advanced(transcript, local_row() | {column: None})[column] == DERIVED[column]
    source = given_row() | {column: 10**15}
    assert advanced(transcript, local_row(), source)[column] == 10**15


@pytest.mark.parametrize("value", ["later", 1.5e15])
@pytest.mark.parametrize("column", ADVANCING)
def test_only_whole_numbers_go_on(transcript: Transcript, column: str, value: Any) -> None:
    row = local_row() | advanced(transcript, local_row(), given_row() | {column: value})
    assert isinstance(row[column], int)
    assert row[column] >= local_row()[column]


def test_columns_that_the_table_lacks_stay_away(transcript: Transcript) -> None:
    few = {"id": SESSION.id, "rollout_path": "local", "tokens_used": None}
    found = advanced(transcript, few, given_row(), git_branch="b", name="n")
    assert found == {"tokens_used": 77}


def test_a_row_of_an_old_release(transcript: Transcript) -> None:
    old = {name: value for name, value in local_row().items() if name in columns(OLD)}
    assert advanced(transcript, old, name="there", git_branch="there", archived=True) == {
        "updated_at": CONTINUED // 1000,
        "tokens_used": 30,
        "git_branch": "there",
        "archived": 1,
        "archived_at": CONTINUED // 1000,
    }


def test_a_name_or_branch_that_is_gone_at_the_source_stays(transcript: Transcript) -> None:
    for follow in ({}, {"name": None, "git_branch": None}, {"name": "", "git_branch": ""}):
        found = advanced(transcript, local_row(), given_row(), **follow)
        assert not {"name", "git_branch", "title"} & found.keys()


def test_name_and_branch_follow(transcript: Transcript) -> None:
    found = advanced(transcript, local_row(), name="there", git_branch="main")
    assert (found["name"], found["git_branch"]) == ("there", "main")


def test_the_archive_follows(transcript: Transcript) -> None:
    found = advanced(transcript, local_row(), archived=True)
    assert (found["archived"], found["archived_at"]) == (1, CONTINUED // 1000)
    ahead = local_row() | {"updated_at": 10**10}
    assert advanced(transcript, ahead, archived=True)["archived_at"] == 10**10
    there = local_row() | {"archived": 1, "archived_at": 55}
    kept = advanced(transcript, there)
    assert not {"archived", "archived_at"} & kept.keys()
    found = advanced(transcript, there, archived=False)
    assert (found["archived"], found["archived_at"]) == (0, None)


def test_the_row_follows_its_file(transcript: Transcript) -> None:
    row = advanced_row(local_row(), transcript, None, path="/moved", follow={})
    assert row["rollout_path"] == "/moved"
