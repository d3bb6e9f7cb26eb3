"""Goals and spawn edges: they come along at rest, over nothing that is there, and go back."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builders import Session, session_id
from codex_session_sync.codex import state_db
from rolling import make_rolling
from workbench import call, insert, rows

DAY = 24 * 60
OWN = Session(1, start=10, name="Own").say("Was here before")
BEANS = Session(2, start=1 * DAY, name="Beans").say("How do beans climb?")
ROSES = Session(3, start=2 * DAY).say("Which roses?")
CHILD = Session(4, start=40, meta={"parent_thread_id": session_id(2)}).say("Look that up")
GOALS_SCHEMA = """
CREATE TABLE thread_goals (
    thread_id TEXT PRIMARY KEY NOT NULL,
    goal_id TEXT NOT NULL,
    objective TEXT NOT NULL,
    status TEXT NOT NULL CHECK(status IN (
        'active', 'paused', 'blocked', 'usage_limited', 'budget_limited', 'complete'
    )),
    token_budget INTEGER,
    tokens_used INTEGER NOT NULL DEFAULT 0,
    time_used_seconds INTEGER NOT NULL DEFAULT 0,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
);
"""
EDGES_SCHEMA = """
CREATE TABLE thread_spawn_edges (
    parent_thread_id TEXT NOT NULL,
    child_thread_id TEXT NOT NULL PRIMARY KEY,
    status TEXT NOT NULL
);
"""


def goal(session: Session, status: str = "active", objective: str = "Plant them") -> dict[str, Any]:
    return {
        "thread_id": session.id,
        "goal_id": f"goal-{session.number}",
        "objective": objective,
        "status": status,
        "token_budget": 5000,
        "tokens_used": 12,
        "time_used_seconds": 3,
        "created_at_ms": 1000,
        "updated_at_ms": 2000,
    }


def make_goals(home: Path, *goals: dict[str, Any], schema: str = GOALS_SCHEMA) -> Path:
    """Codex's database of goals, as it leaves one behind."""
    path = home / "goals_1.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.executescript(schema)
        for row in goals:
            insert(connection, "thread_goals", row)
    return path


class Bed:
    """A home with a database of goals, and one that packages are made of."""

    def __init__(self, root: Path) -> None:
        self.rolling = make_rolling(root, [OWN])
        self.home = self.rolling.home
        self.goals = make_goals(self.home)
        with closing(sqlite3.connect(self.rolling.database)) as connection:
            connection.executescript(EDGES_SCHEMA)

    def package(self, *sessions: Session, goals: tuple[dict[str, Any], ...] = ()) -> Path:
        """A home with sessions and goals, as a package."""
        folder = self.rolling.package(*sessions)
        make_goals(folder, *goals)
        return folder

    def sync(self, package: Path, *options: str) -> dict[str, Any]:
        done = self.rolling.call("sync", package, "--execute", "--no-prime", *options)
        assert done.exit_code == 0, done.envelope
        return done.envelope

    def here(self) -> dict[str, dict[str, Any]]:
        """The goals of the home by session."""
        with closing(sqlite3.connect(self.goals)) as connection:
            connection.row_factory = sqlite3.Row
            found = connection.execute("SELECT * FROM thread_goals").fetchall()
        return {row["thread_id"]: dict(row) for row in found}

    def state(self) -> tuple[dict[str, Any], dict[str, Any], Any]:
        state = {k: v for k, v in self.rolling.state().items() if not k.startswith("goals_1")}
        return state, self.here(), rows(self.rolling.database, "thread_spawn_edges")


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def packed(bed: Bed, *sessions: Session, goals: tuple[dict[str, Any], ...]) -> Path:
    """A native package of sessions with goals."""
    out = bed.rolling.root / "goals.csync"
    home = bed.package(*sessions, goals=goals)
    assert call("pack", "-o", out, "--codex-home", home, "--json").exit_code == 0
    return out


def codes(envelope: dict[str, Any]) -> list[tuple[str, str | None]]:
    told = [(one["code"], one.get("session_id")) for one in envelope["warnings"]]
    return [one for one in told if one[0] != "cwd_missing"]


STATUSES = {
    "active": "paused",
    "paused": "paused",
    "blocked": "paused",
    "usage_limited": "paused",
    "budget_limited": "paused",
    "complete": "complete",
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("form", ["native", "snapshot"])
def test_a_goal_comes_at_rest(bed: Bed, form: str, status: str) -> None:
    before = bed.state()
    make = packed if form == "native" else Bed.package
    package = make(bed, BEANS, ROSES, goals=(goal(BEANS, status),))
    done = bed.sync(package)
    assert bed.here() == {BEANS.id: {**goal(BEANS), "status": STATUSES[status]}}
    assert codes(done) == []
    then = bed.state()
    back = bed.rolling.undo("--latest")
    assert bed.state() == before
    bed.rolling.undo(back)
    assert bed.state() == then


def test_a_package_that_calls_a_goal_active_is_not_believed(bed: Bed) -> None:
    from codex_session_sync.codex.goals import fits_table, goal_row

    columns = dict.fromkeys(goal(BEANS), False)
    told = {key: value for key, value in goal(BEANS).items() if key != "thread_id"}
    assert fits_table(columns, told)
    assert goal_row(columns, BEANS.id, told) == goal(BEANS, "paused")
    assert goal_row(columns, BEANS.id, {**told, "status": "roaring"}) == goal(BEANS, "paused")


def test_a_goal_that_is_here_stays(bed: Bed) -> None:
    make_goals(bed.home, goal(BEANS, "blocked", "My own"), schema="")
    done = bed.sync(bed.package(BEANS, goals=(goal(BEANS),)))
    assert bed.here() == {BEANS.id: goal(BEANS, "blocked", "My own")}
    assert codes(done) == [("goal_not_kept", BEANS.id)]


def test_a_continuation_brings_no_goal(bed: Bed) -> None:
    bed.sync(bed.package(BEANS))
    done = bed.sync(bed.package(BEANS.say("More"), goals=(goal(BEANS),)))
    assert done["data"]["sessions"][0]["result"] == "fast_forwarded"
    assert (bed.here(), codes(done)) == ({}, [])


def test_a_branch_brings_its_goal(bed: Bed) -> None:
    bed.sync(bed.package(BEANS, goals=(goal(BEANS),)))
    bed.rolling.go_on(BEANS, "Mine")
    theirs = goal(BEANS, objective="Theirs")
    done = bed.sync(packed(bed, BEANS.say("Theirs"), goals=(theirs,)))
    [session] = done["data"]["sessions"]
    branch = session["local_session_id"]
    assert branch != BEANS.id
    assert bed.here() == {
        BEANS.id: goal(BEANS, "paused"),
        branch: {**theirs, "status": "paused", "thread_id": branch},
    }
    bed.rolling.undo("--latest")
    assert bed.here() == {BEANS.id: goal(BEANS, "paused")}


def _gone(path: Path) -> None:
    for file in path.parent.glob("goals_1*"):
        file.unlink()


def _other(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE thread_goals RENAME COLUMN objective TO aim")


def _further(path: Path) -> None:
    _gone(path)
    make_goals(path.parent, schema=GOALS_SCHEMA.replace("token_budget", "owner TEXT NOT NULL, x"))


def _damaged(path: Path) -> None:
    _gone(path)
    path.write_bytes(b"no database" * 1000)


@pytest.mark.parametrize("spoil", [_gone, _other, _further, _damaged])
def test_without_a_table_that_is_known_a_session_comes_alone(bed: Bed, spoil: Any) -> None:
    spoil(bed.goals)
    before = {path.name: path.read_bytes() for path in bed.home.glob("goals_1.sqlite")}
    done = bed.sync(bed.package(BEANS, ROSES, goals=(goal(BEANS),)))
    assert codes(done) == [("goal_not_kept", BEANS.id)]
    assert {one["result"] for one in done["data"]["sessions"]} == {"imported"}
    assert {path.name: path.read_bytes() for path in bed.home.glob("goals_1.sqlite")} == before


def test_goals_that_are_locked_keep_no_session_out(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_db, "BUSY_TIMEOUT_S", 0.05)
    package = bed.package(BEANS, goals=(goal(BEANS),))
    with closing(sqlite3.connect(bed.goals, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        done = bed.sync(package)
    assert codes(done) == [("goal_not_kept", BEANS.id)]
    [told] = [one for one in done["warnings"] if one["code"] == "goal_not_kept"]
    assert "locked" in told["message"]
    assert (done["status"], bed.here()) == ("ok", {})


def test_a_home_without_rows_gets_no_goal(bed: Bed) -> None:
    bed.rolling.database.unlink()
    done = bed.sync(bed.package(BEANS, goals=(goal(BEANS),)))
    assert codes(done) == [("database_missing", None), ("goal_not_kept", BEANS.id)]
    assert bed.here() == {}


def test_columns_that_the_table_lacks_are_left_out(bed: Bed) -> None:
    _gone(bed.goals)
    make_goals(bed.home, schema=GOALS_SCHEMA.replace("    token_budget INTEGER,\n", ""))
    bed.sync(bed.package(BEANS, goals=(goal(BEANS),)))
    expected = goal(BEANS, "paused")
    del expected["token_budget"]
    assert bed.here() == {BEANS.id: expected}


def test_unreadable_goals_of_a_source_cost_no_more(bed: Bed) -> None:
    home = bed.package(BEANS, goals=(goal(BEANS),))
    _damaged(home / "goals_1.sqlite")
    looked = bed.rolling.call("inspect-package", home)
    assert (looked.exit_code, codes(looked.envelope)) == (0, [("goals_unreadable", None)])
    out = bed.rolling.root / "out.csync"
    done = call("pack", "-o", out, "--codex-home", home, "--json")
    assert (done.exit_code, codes(done.envelope)) == (0, [("goals_unreadable", None)])
    assert codes(bed.sync(out)) == []


def test_a_session_whose_goal_was_changed_stays(bed: Bed) -> None:
    bed.sync(bed.package(BEANS, goals=(goal(BEANS),)))
    with closing(sqlite3.connect(bed.goals)) as connection, connection:
        connection.execute("UPDATE thread_goals SET tokens_used = 99")
    assert bed.rolling.call("rollback", "--latest").sessions[BEANS.id]["action"] == "undo"
    with closing(sqlite3.connect(bed.goals)) as connection, connection:
        connection.execute("UPDATE thread_goals SET objective = 'Water them'")
    done = bed.rolling.call("rollback", "--latest", "--execute")
    assert done.sessions[BEANS.id]["reason"] == "advanced_since"
    with closing(sqlite3.connect(bed.goals)) as connection, connection:
        connection.execute("DELETE FROM thread_goals")
    bed.rolling.undo("--latest")


@pytest.mark.parametrize("half", ["goals", "state"])
def test_a_power_loss_between_two_databases_is_mended(bed: Bed, half: str) -> None:
    """Each database is durable for itself: recovery takes back the one that has the rows."""
    before = bed.state()
    bed.sync(bed.package(BEANS, goals=(goal(BEANS),)))
    [folder] = (bed.home / "session-sync" / "transactions").iterdir()
    operations, manifest = folder / "operations.jsonl", folder / "manifest.json"
    lines = operations.read_bytes().splitlines(keepends=True)
    assert json.loads(lines[-1])["step"] == "done"
    operations.write_bytes(b"".join(lines[:-1]))
    document = json.loads(manifest.read_bytes())
    manifest.write_text(json.dumps({**document, "status": "running", "completed_at": None}))
    lost, table, key = bed.rolling.database, "threads", "id"
    if half == "state":
        lost, table, key = bed.goals, "thread_goals", "thread_id"
    with closing(sqlite3.connect(lost)) as connection, connection:
        connection.execute(f"DELETE FROM {table} WHERE {key} = ?", (BEANS.id,))
    done = bed.rolling.call("recover", "--execute")
    assert (done.exit_code, done.envelope["warnings"]) == (0, [])
    assert bed.state() == before


# Spawn edges


def edge(child: Session, parent: str, status: str = "closed") -> dict[str, str]:
    return {"parent_thread_id": parent, "child_thread_id": child.id, "status": status}


def spawned(bed: Bed, *edges: dict[str, str], sessions: tuple[Session, ...]) -> Path:
    """A home as a package that knows who spawned whom."""
    home = bed.package(*sessions)
    with closing(sqlite3.connect(home / "state_5.sqlite")) as connection, connection:
        connection.executescript(EDGES_SCHEMA)
        for row in edges:
            insert(connection, "thread_spawn_edges", row)
    return home


@pytest.mark.parametrize("form", ["native", "snapshot"])
def test_who_spawned_a_session_comes_along(bed: Bed, form: str) -> None:
    before = bed.state()
    package = spawned(bed, edge(CHILD, BEANS.id), sessions=(BEANS, CHILD))
    if form == "native":
        home, package = package, bed.rolling.root / "out.csync"
        assert call("pack", "-o", package, "--codex-home", home, "--json").exit_code == 0
    bed.sync(package)
    assert rows(bed.rolling.database, "thread_spawn_edges") == [(BEANS.id, CHILD.id, "closed")]
    then = bed.state()
    back = bed.rolling.undo("--latest")
    assert bed.state() == before
    bed.rolling.undo(back)
    assert bed.state() == then


def test_an_edge_names_the_sessions_as_they_are_here(bed: Bed) -> None:
    """The parent became a branch, and the child names it."""
    bed.sync(bed.package(BEANS))
    bed.rolling.go_on(BEANS, "Mine")
    theirs = BEANS.say("Theirs")
    done = bed.sync(spawned(bed, edge(CHILD, BEANS.id), sessions=(theirs, CHILD)))
    here = {one["session_id"]: one["local_session_id"] for one in done["data"]["sessions"]}
    assert here[BEANS.id] != BEANS.id
    expected = [(here[BEANS.id], CHILD.id, "closed")]
    assert rows(bed.rolling.database, "thread_spawn_edges") == expected


def test_an_edge_that_is_here_stays(bed: Bed) -> None:
    with closing(sqlite3.connect(bed.rolling.database)) as connection, connection:
        insert(connection, "thread_spawn_edges", edge(CHILD, BEANS.id, "open"))
    bed.sync(spawned(bed, edge(CHILD, BEANS.id), sessions=(BEANS, CHILD)))
    assert rows(bed.rolling.database, "thread_spawn_edges") == [(BEANS.id, CHILD.id, "open")]


@pytest.mark.parametrize("bad", [{"parent_thread_id": "nobody"}, {"child_thread_id": "x"}])
def test_an_edge_of_another_shape_is_passed_over(bed: Bed, bad: dict[str, str]) -> None:
    row = {**edge(CHILD, BEANS.id), **bad}
    bed.sync(spawned(bed, row, sessions=(BEANS, replace(CHILD, name="Child"))))
    assert rows(bed.rolling.database, "thread_spawn_edges") == []
