"""Operations on the databases of Codex: rows, and what it worked out of a transcript."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from codex_session_sync.codex.client import prime
from codex_session_sync.codex.thread_history import projected
from codex_session_sync.errors import HomeError
from codex_session_sync.journal.operations import ForgetProjection, PutRow, Site
from codex_session_sync.journal.playback import apply_all, undo_all
from codexbed import CURRENT, require_codex
from codexbed.install import cache_directory
from unit.operating import ROW, TOOL, add_thread, make_site, run, small_site, state, thread_of
from workbench import STATE_SCHEMA

site = pytest.fixture(small_site)


@pytest.fixture(scope="session")
def real_schema(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The statements with which the real program made its database; it is not fetched for them
    alone, but on CI."""
    if not os.environ.get("CI") and not cache_directory().is_dir():
        pytest.skip(f"Codex {CURRENT} is not installed for tests")
    home = tmp_path_factory.mktemp("real")
    prime(require_codex(), home, os.environ)
    with closing(sqlite3.connect(home / "state_5.sqlite")) as connection:
        found = connection.execute(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
            " ORDER BY type = 'index', type = 'trigger'"
        )
        return ";\n".join(row[0] for row in found) + ";"


@pytest.fixture(params=["small", "real"])
def schema(request: pytest.FixtureRequest) -> str:
    if request.param == "small":
        return STATE_SCHEMA
    found: str = request.getfixturevalue("real_schema")
    return found


# What Codex worked out

HISTORY = """
CREATE TABLE thread_history_projection_state (thread_id TEXT PRIMARY KEY, place INTEGER);
CREATE TABLE thread_turns (thread_id TEXT, turn_id TEXT);
CREATE TABLE thread_items (item_id TEXT);
INSERT INTO thread_history_projection_state VALUES ('x', 1), ('y', 2);
INSERT INTO thread_turns VALUES ('x', '1'), ('x', '2'), ('y', '1');
INSERT INTO thread_items VALUES ('x');
"""


def test_the_projection_of_one_segment_is_forgotten(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "thread_history_1.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(HISTORY)
    assert projected(path) == {"x", "y"}
    at = replace(site, history_db=path)
    for change in (ForgetProjection("x").apply, ForgetProjection("x").undo):
        change(at)
        with closing(sqlite3.connect(path)) as connection:
            turns = connection.execute("SELECT * FROM thread_turns").fetchall()
            items = connection.execute("SELECT * FROM thread_items").fetchall()
        assert (turns, items) == ([("y", "1")], [("x",)])
    assert projected(path) == {"y"}


def test_a_projection_that_is_not_there(site: Site, tmp_path: Path) -> None:
    for path in (None, tmp_path / "nothing.sqlite"):
        ForgetProjection("x").apply(replace(site, history_db=path))
    assert projected(tmp_path / "nothing.sqlite") == frozenset()
    assert not (tmp_path / "nothing.sqlite").exists()


def test_a_projection_that_is_locked(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codex_session_sync.codex.state_db.BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "thread_history_1.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(HISTORY)
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(HomeError) as caught:
            ForgetProjection("x").apply(replace(site, history_db=path))
    assert caught.value.code == "database_busy"


# Rows


@pytest.fixture
def real_site(tmp_path: Path, schema: str) -> Iterator[Site]:
    yield from make_site(tmp_path, schema)


def test_rows_under_the_triggers_of_codex(real_site: Site) -> None:
    """Triggers fill in times that are 0, and times in ms that seem to have been forgotten."""
    site = real_site
    empty = state(site)
    untimed = {**ROW, "recency_at": 0, "recency_at_ms": 0, "updated_at_ms": 7}
    new = PutRow("threads", None, untimed)
    run(new.apply, new, site)
    assert thread_of(site)["recency_at_ms"] == 0
    before = state(site)
    later = PutRow("threads", thread_of(site), {**untimed, "updated_at": ROW["updated_at"] + 60})
    run(later.apply, later, site)
    assert thread_of(site)["updated_at_ms"] == 7
    run(later.apply, later, site)
    run(later.undo, later, site)
    assert state(site) == before
    run(new.undo, new, site)
    assert state(site) == empty


def test_a_row_that_is_not_kept_as_written(site: Site) -> None:
    before = state(site)
    operation = PutRow("threads", None, {**ROW, "tokens_used": "15"})
    with pytest.raises(HomeError) as caught:
        run(operation.apply, operation, site)
    assert caught.value.code == "row_not_kept"
    assert "tokens_used" in caught.value.message
    assert state(site) == before


@pytest.mark.parametrize(
    "value", [True, 2**63, -(2**63) - 1, float("inf"), float("nan"), b"bytes", [1]], ids=repr
)
def test_a_row_that_the_journal_or_the_database_cannot_hold(value: Any) -> None:
    for before, after in ((None, {**ROW, "title": value}), ({**ROW, "title": value}, ROW)):
        with pytest.raises(HomeError) as caught:
            PutRow("threads", before, after)
        assert caught.value.code == "row_not_kept"
        assert "title" in caught.value.message


def test_a_row_keeps_columns_that_the_change_does_not_name(site: Site) -> None:
    add_thread(site, {**ROW, "git_sha": "abc"})
    change = PutRow("threads", thread_of(site), {"id": ROW["id"], "title": "new"})
    run(change.apply, change, site)
    assert (thread_of(site)["title"], thread_of(site)["git_sha"]) == ("new", "abc")


def test_a_row_of_a_thread_is_undone_with_its_tools(site: Site) -> None:
    before = state(site)
    operations = [PutRow("threads", None, ROW), PutRow("thread_dynamic_tools", None, TOOL)]
    apply_all(operations, site, [])
    assert len(state(site)[2]) == 1
    assert undo_all(operations, site) == []
    assert state(site) == before


def test_a_tool_needs_its_thread(site: Site) -> None:
    operation = PutRow("thread_dynamic_tools", None, TOOL)
    with pytest.raises(HomeError) as caught:
        run(operation.apply, operation, site)
    assert caught.value.code == "row_not_kept"
    assert "FOREIGN KEY" in caught.value.message
