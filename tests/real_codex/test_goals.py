"""Goals and spawned sessions that the real Codex made, packed and synced: none acts by itself."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from codexbed import CodexHome, ModelServer, require_codex
from codexbed.making import spawn, talk
from real_codex.syncing import call, fresh_home, pack, sync

WATCHED_SECONDS = 2.0
"""An active goal makes dozens of requests in this time."""


def goals(home: CodexHome) -> dict[str, dict[str, Any]]:
    """The goals as they lie in the database, by session."""
    with closing(sqlite3.connect(home.home / "goals_1.sqlite")) as connection:
        connection.row_factory = sqlite3.Row
        found = connection.execute("SELECT * FROM thread_goals").fetchall()
    return {row["thread_id"]: dict(row) for row in found}


def edges(home: CodexHome) -> list[tuple[str, str, str]]:
    """Who spawned whom."""
    with closing(sqlite3.connect(home.home / "state_5.sqlite")) as connection:
        return connection.execute(
            "SELECT parent_thread_id, child_thread_id, status FROM thread_spawn_edges"
        ).fetchall()


def requests_at_resume(home: CodexHome, model: ModelServer, session: str) -> int:
    """How often Codex asks the model after a session was merely opened."""
    before = len(model.requests)
    with home.app_server() as app:
        app.resume(session)
        time.sleep(WATCHED_SECONDS)
    return len(model.requests) - before


@pytest.fixture
def busy(tmp_path: Path, model: ModelServer) -> tuple[CodexHome, str]:
    """A home with a session whose goal is active."""
    require_codex()
    home = CodexHome(tmp_path / "there", tmp_path / "user", model).prepare()
    with home.app_server() as app:
        session = talk(home, app, "goal", "one")
        given = {"threadId": session, "objective": "Count to ten", "tokenBudget": 1000}
        app.request("thread/goal/set", {**given, "status": "paused"})
    # Set by Codex it would have done its work at once.
    mark(home, "active")
    return home, session


def mark(home: CodexHome, status: str) -> None:
    """Give the goals of a home a status."""
    with closing(sqlite3.connect(home.home / "goals_1.sqlite")) as connection, connection:
        connection.execute("UPDATE thread_goals SET status = ?", (status,))


@pytest.mark.parametrize("form", ["native", "home"])
def test_an_active_goal_arrives_paused(
    busy: tuple[CodexHome, str], model: ModelServer, tmp_path: Path, form: str
) -> None:
    there, session = busy
    package = there.home
    if form == "native":
        package = tmp_path / "package"
        assert pack(there, package).status == "ok"
    here = fresh_home(there.user_home, tmp_path / "here", model)
    answer = sync(here, package)
    assert (answer.status, answer.warnings) == ("ok", {})
    assert goals(here) == {session: {**goals(there)[session], "status": "paused"}}
    assert requests_at_resume(here, model, session) == 0
    with here.app_server() as app:
        shown = app.request("thread/goal/get", {"threadId": session})["goal"]
    assert (shown["objective"], shown["status"], shown["tokenBudget"]) == (
        "Count to ten",
        "paused",
        1000,
    )
    assert sync(here, package).status == "no_op"
    assert call(here, "rollback", "--latest", "--execute").status == "ok"
    assert goals(here) == {}
    # The same goal where it was active: what the comparison rests on.
    assert requests_at_resume(there, model, session) > 0


def test_an_imported_goal_is_taken_up_again(
    busy: tuple[CodexHome, str], model: ModelServer, tmp_path: Path
) -> None:
    """Codex itself makes it active when its user says so."""
    there, session = busy
    here = fresh_home(there.user_home, tmp_path / "here", model)
    assert sync(here, there.home).status == "ok"
    before = len(model.requests)
    with here.app_server() as app:
        app.resume(session)
        since = len(app.notifications)
        app.request("thread/goal/set", {"threadId": session, "status": "active"})
        app.wait_for("turn/completed", since=since, threadId=session)
        app.request("thread/goal/set", {"threadId": session, "status": "paused"})
    assert len(model.requests) > before
    assert call(here, "rollback", "--latest").sessions[session]["reason"] == "advanced_since"


def test_a_goal_of_this_home_stays(
    busy: tuple[CodexHome, str], model: ModelServer, tmp_path: Path
) -> None:
    there, session = busy
    here = fresh_home(there.user_home, tmp_path / "here", model)
    assert sync(here, there.home).status == "ok"
    with here.app_server() as app:
        app.resume(session)
        app.request("thread/goal/set", {"threadId": session, "status": "complete"})
    mine = goals(here)
    mark(there, "paused")
    there.exec_resume(session, "and on")
    assert sync(here, there.home).sessions[session]["result"] == "fast_forwarded"
    assert goals(here) == mine


def test_who_spawned_whom_is_as_at_the_source(tmp_path: Path, model: ModelServer) -> None:
    require_codex()
    there = CodexHome(tmp_path / "there", tmp_path / "user", model).prepare()
    with there.app_server() as app:
        parent, child = (one.session_id for one in spawn(there, app, "edges"))
    package = tmp_path / "package"
    assert pack(there, package).status == "ok"
    here = replace(there, home=tmp_path / "here").prepare()
    assert sync(here, package).status == "ok"
    assert edges(here) == edges(there) == [(parent, child, "open")]
    assert requests_at_resume(here, model, parent) == 0
    assert edges(here) == edges(there)
    assert call(here, "rollback", "--latest", "--execute").status == "ok"
    assert edges(here) == []
