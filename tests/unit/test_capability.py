"""What a home's Codex can read, and databases of releases that are not known."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from builders import Session, write_snapshot
from codex_session_sync.codex.capability import (
    MIGRATIONS,
    NEWEST,
    READS_PAGINATED_FROM_MIGRATION,
    Readable,
    installed_version,
    readable,
)
from workbench import STATE_SCHEMA, add_rows, call, codex_home, make_database, rows, tree

ONE = Session(1).say("one").say("two")
FORK = Session(2).say("other").fork(3).say("own")
MIGRATED = "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY);"
WITHOUT_MODE = STATE_SCHEMA.replace("    history_mode TEXT NOT NULL DEFAULT 'legacy',\n", "")


def migrated_to(migration: int | None, schema: str = STATE_SCHEMA) -> str:
    if migration is None:
        return schema
    return f"{schema}{MIGRATED}INSERT INTO _sqlx_migrations VALUES (1), ({migration});"


def codex_that_says(folder: Path, script: str) -> Path:
    program = folder / "codex"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def old_home(folder: Path, migration: int = 40) -> Path:
    folder.mkdir()
    make_database(folder, migrated_to(migration))
    return folder


def package_of(folder: Path, *sessions: Session) -> Path:
    write_snapshot(folder, sessions)
    add_rows(make_database(folder), sessions)
    return folder


# -- what is concluded --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("migration", "schema", "reads"),
    [
        (None, WITHOUT_MODE, False),
        (22, WITHOUT_MODE, False),
        (70, WITHOUT_MODE, False),
        (None, STATE_SCHEMA, None),
        (40, STATE_SCHEMA, False),
        (READS_PAGINATED_FROM_MIGRATION - 1, STATE_SCHEMA, False),
        (READS_PAGINATED_FROM_MIGRATION, STATE_SCHEMA, True),
        (99, STATE_SCHEMA, True),
    ],
)
def test_the_database_tells(
    tmp_path: Path, migration: int | None, schema: str, reads: bool | None
) -> None:
    make_database(tmp_path, migrated_to(migration, schema))
    found = readable(codex_home(tmp_path), None, {})
    assert (found.reads_paginated, found.migration, found.codex) == (reads, migration, None)


def test_without_a_database_nothing_is_known(tmp_path: Path) -> None:
    assert readable(codex_home(tmp_path), None, {}) == Readable(None, None, None)
    (tmp_path / "thread_history_1.sqlite").touch()
    assert readable(codex_home(tmp_path), None, {}).reads_paginated is True


@pytest.mark.parametrize(
    ("migration", "version", "reads"),
    [
        (None, "0.146.9", False),
        (None, "0.147.0", True),
        (None, "0.147.0-alpha.3", True),
        (None, "1.0.0", True),
        (62, "0.146.0", False),
        (62, "0.169.0", True),
        (40, "0.169.0", False),
    ],
)
def test_one_that_does_not_read_is_enough(
    tmp_path: Path, migration: int | None, version: str, reads: bool
) -> None:
    codex = codex_that_says(tmp_path, f"echo codex-cli {version}")
    if migration is not None:
        make_database(tmp_path, migrated_to(migration))
    found = readable(codex_home(tmp_path), codex, {})
    assert (found.reads_paginated, found.codex) == (reads, version.split("-", maxsplit=1)[0])


@pytest.mark.parametrize(
    "script", ["echo of no known sort", "echo codex-cli 0.118.0; exit 1", "echo 0.118.0 >&2"]
)
def test_a_program_that_tells_no_version(tmp_path: Path, script: str) -> None:
    assert installed_version(codex_that_says(tmp_path, script), {}) is None


def test_no_program_at_all(tmp_path: Path) -> None:
    assert installed_version(tmp_path / "codex", {}) is None


def test_it_is_asked_without_a_home(tmp_path: Path) -> None:
    codex = codex_that_says(tmp_path, 'test ! -e "$CODEX_HOME" && echo codex-cli 0.1.2')
    assert installed_version(codex, {"CODEX_HOME": str(tmp_path)}) == (0, 1, 2)


@pytest.mark.parametrize(
    ("migration", "told"),
    [
        (21, "older than 0.118.0"),
        (22, "0.118.0"),
        (41, "between 0.144.0 and 0.145.0"),
        (max(MIGRATIONS), f"0.166.0 to {NEWEST}"),
        (max(MIGRATIONS) + 1, f"newer than {NEWEST}"),
        (None, None),
    ],
)
def test_migrations_as_releases(migration: int | None, told: str | None) -> None:
    assert Readable(None, migration).database == told


# -- the legacy form ----------------------------------------------------------------------------


def written(home: Path, session: Session) -> list[dict[str, Any]]:
    [path] = home.rglob(f"rollout-*{session.id}.jsonl")
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def test_paginated_sessions_are_put_into_the_legacy_form(tmp_path: Path) -> None:
    home = old_home(tmp_path / "home")
    assert FORK.forked_from is not None
    package = package_of(tmp_path / "package", ONE, FORK.forked_from, FORK)
    command = ("sync", package, "--codex-home", home, "--no-prime", "--json")
    planned, done = call(*command), call(*command, "--execute")
    for outcome in (planned, done):
        assert {one["written_as"] for one in outcome.sessions.values()} == {"legacy"}
        assert outcome.envelope["data"]["home"] == {
            "reads_paginated": False,
            "database": "0.144.0",
            "migration": 40,
            "codex": None,
        }
    for session in (ONE, FORK):
        found = written(home, session)
        assert not any("ordinal" in record for record in found)
        assert "history_mode" not in found[0]["payload"]
        assert [record["type"] for record in found].count("session_meta") == 1
    said = [r["payload"].get("message") for r in written(home, FORK) if r["type"] == "event_msg"]
    words = [text for text in said if text in ("other", "own")]
    assert words == ["other", "own"]
    modes = [row[-3] for row in rows(home / "state_5.sqlite", "threads")]
    assert modes == ["legacy"] * 3
    again = call(*command, "--execute")
    assert (again.envelope["status"], again.envelope["data"]["home"]["database"]) == ("no_op", None)


def test_what_the_legacy_form_grew_by_goes_back(tmp_path: Path) -> None:
    home, source = old_home(tmp_path / "home"), package_of(tmp_path / "package", ONE)
    call("sync", source, "--codex-home", home, "--no-prime", "--execute")
    out = tmp_path / "back"
    assert call("pack", "-o", out, "--codex-home", home).exit_code == 0
    back = call("sync", out, "--codex-home", source, "--no-prime", "--execute", "--json")
    assert back.envelope["status"] == "no_op"
    assert back.sessions[ONE.id]["reason"] == "equal"


def test_a_rollback_without_effect_stays_without_effect(tmp_path: Path) -> None:
    """Such a record takes nothing back in a paginated session; in a legacy one it would."""
    home, package = old_home(tmp_path / "home"), package_of(tmp_path / "package", ONE)
    [path] = package.rglob("rollout-*.jsonl")
    last = orjson.loads(path.read_bytes().splitlines()[-1])
    record = {**last, "ordinal": last["ordinal"] + 1, "type": "event_msg"}
    record["payload"] = {"type": "thread_rolled_back", "num_turns": 1}
    path.write_bytes(path.read_bytes() + orjson.dumps(record) + b"\n")
    command = ("sync", package, "--codex-home", home, "--no-prime", "--execute", "--json")
    assert call(*command).sessions[ONE.id]["result"] == "imported"
    assert call(*command).envelope["status"] == "no_op"


def test_the_window_of_a_compaction_is_told_by_its_number(tmp_path: Path) -> None:
    home, package = old_home(tmp_path / "home"), package_of(tmp_path / "package", ONE)
    [path] = package.rglob("rollout-*.jsonl")
    last = orjson.loads(path.read_bytes().splitlines()[-1])
    payload = {"message": "m", "replacement_history": [], "window_number": 1, "window_id": "0-1"}
    record = {**last, "ordinal": last["ordinal"] + 1, "type": "compacted", "payload": payload}
    path.write_bytes(path.read_bytes() + orjson.dumps(record) + b"\n")
    command = ("sync", package, "--codex-home", home, "--no-prime", "--execute", "--json")
    assert call(*command).exit_code == 0
    assert written(home, ONE)[-1]["payload"] == {**payload, "window_id": 1}
    assert call(*command).envelope["status"] == "no_op"


def test_legacy_sessions_are_copied_as_they_are(tmp_path: Path) -> None:
    session = Session(1, legacy=True).say("one").say("two")
    home, package = old_home(tmp_path / "home"), tmp_path / "package"
    write_snapshot(package, [session])
    [path] = package.rglob("rollout-*.jsonl")
    spaced = path.read_bytes().replace(
        b'"payload":{"type":"message"', b'"payload": {"type":"message"'
    )
    assert spaced != path.read_bytes()
    path.write_bytes(spaced)
    done = call("sync", package, "--codex-home", home, "--no-prime", "--execute", "--json")
    assert "written_as" not in done.sessions[session.id]
    [there] = home.rglob("rollout-*.jsonl")
    assert there.read_bytes() == spaced


def test_what_the_model_saw_goes_on_naming_the_old_id(tmp_path: Path) -> None:
    """A branch has another id; in the legacy form too only records that do not speak name it."""
    home = old_home(tmp_path / "home")
    call("sync", package_of(tmp_path / "one", ONE.say("here")), "--codex-home", home, "--execute")
    package = package_of(tmp_path / "other", ONE.say("there"))
    [path] = package.rglob("rollout-*.jsonl")
    last = orjson.loads(path.read_bytes().splitlines()[-1])
    said = {"type": "function_call_output", "call_id": "c", "output": {"thread_id": ONE.id}}
    item = {**last, "ordinal": last["ordinal"] + 1, "type": "response_item", "payload": said}
    shown = {**item, "ordinal": item["ordinal"] + 1, "type": "event_msg"}
    shown["payload"] = {"type": "x", "thread_id": ONE.id}
    path.write_bytes(
        b"\n".join([path.read_bytes().rstrip(), *map(orjson.dumps, (item, shown)), b""])
    )
    done = call("sync", package, "--codex-home", home, "--no-prime", "--execute", "--json")
    branch = done.sessions[ONE.id]
    assert (branch["result"], branch["written_as"]) == ("branched", "legacy")
    [there] = home.rglob(f"rollout-*{branch['local_session_id']}.jsonl")
    *_, item, shown = [orjson.loads(line) for line in there.read_bytes().splitlines()]
    assert item["payload"] == said
    assert shown["payload"]["thread_id"] == branch["local_session_id"]


def test_the_text_says_so(tmp_path: Path) -> None:
    home, package = old_home(tmp_path / "home"), package_of(tmp_path / "package", ONE)
    done = call("sync", package, "--codex-home", home, "--no-prime")
    assert b"1 of them in the legacy form" in done.out
    assert b"database 0.144.0" in done.out


def test_what_is_here_in_the_paginated_form_goes_on_in_it(tmp_path: Path) -> None:
    home = package_of(tmp_path / "home", ONE)
    codex = codex_that_says(tmp_path, "echo codex-cli 0.144.0")
    package = package_of(tmp_path / "package", ONE.say("three"))
    command = ("sync", package, "--codex-home", home, "--codex-bin", codex, "--execute", "--json")
    done = call(*command)
    assert done.sessions[ONE.id]["result"] == "fast_forwarded"
    warnings = [(one["code"], one["session_id"]) for one in done.envelope["warnings"]]
    assert warnings == [("paginated_unreadable", ONE.id)]
    ordinals = [record["ordinal"] for record in written(home, ONE)]
    assert ordinals == list(range(len(ordinals)))


# -- databases of releases that are not known ---------------------------------------------------

NEEDED = STATE_SCHEMA.replace(
    "    title TEXT NOT NULL,", "    mood TEXT NOT NULL, title TEXT NOT NULL,"
)
THREADS = "CREATE TABLE threads ("
CHANGES_TITLES = (
    "CREATE TRIGGER t AFTER INSERT ON threads BEGIN"
    " UPDATE threads SET title = 'x' WHERE id = NEW.id; END;"
)
FITTING = {
    "a column more": f"{STATE_SCHEMA}ALTER TABLE threads ADD COLUMN mood TEXT;",
    "with a default": f"{STATE_SCHEMA}ALTER TABLE threads"
    " ADD COLUMN mood TEXT NOT NULL DEFAULT 'x';",
    "without rowid": STATE_SCHEMA.replace("SET NULL\n);", "SET NULL\n) WITHOUT ROWID;"),
    "times filled in": f"{STATE_SCHEMA}CREATE TRIGGER t AFTER INSERT ON threads BEGIN"
    " UPDATE threads SET created_at_ms = 7 WHERE id = NEW.id AND created_at_ms IS NULL; END;",
    "a check that holds": STATE_SCHEMA.replace(
        "cwd TEXT NOT NULL", "cwd TEXT NOT NULL CHECK (cwd)"
    ).replace("CHECK (cwd)", "CHECK (length(cwd) > 0)"),
}
MISFITS = {
    "a value that is not known": (NEEDED, "mood"),
    "another name": (f"{STATE_SCHEMA}ALTER TABLE threads RENAME TO conversations;", "id"),
    "another type": (
        STATE_SCHEMA.replace("updated_at INTEGER NOT NULL", "updated_at TEXT NOT NULL"),
        "updated_at",
    ),
    "a view": (
        f"{STATE_SCHEMA}ALTER TABLE threads RENAME TO stored;"
        "CREATE VIEW threads AS SELECT * FROM stored;",
        "id",
    ),
    "a generated column": (
        STATE_SCHEMA.replace("title TEXT NOT NULL", "title TEXT GENERATED ALWAYS AS ('x')"),
        "title",
    ),
    "another key": (
        STATE_SCHEMA.replace(
            "id TEXT PRIMARY KEY,\n    rollout_path TEXT NOT NULL,",
            "id TEXT, rollout_path TEXT PRIMARY KEY,",
        ),
        "id alone",
    ),
    "a check": (
        STATE_SCHEMA.replace("source TEXT NOT NULL", "source TEXT NOT NULL CHECK (source = 'x')"),
        "CHECK",
    ),
    "a trigger": (STATE_SCHEMA + CHANGES_TITLES, "title"),
}


@pytest.mark.parametrize("change", FITTING)
def test_a_newer_database_is_written_by_its_own_columns(tmp_path: Path, change: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    make_database(home, migrated_to(90, FITTING[change]))
    package = package_of(tmp_path / "package", ONE)
    done = call("sync", package, "--codex-home", home, "--no-prime", "--execute", "--json")
    assert (done.exit_code, done.sessions[ONE.id]["result"]) == (0, "imported")
    assert done.envelope["data"]["home"]["database"] == f"newer than {NEWEST}"
    [row] = rows(home / "state_5.sqlite", "threads")
    assert row[0] == ONE.id


@pytest.mark.parametrize("change", MISFITS)
def test_a_newer_database_that_does_not_fit_is_left_alone(tmp_path: Path, change: str) -> None:
    schema, told = MISFITS[change]
    home = tmp_path / "home"
    home.mkdir()
    make_database(home, migrated_to(90, schema), journal_mode="delete")
    before = tree(home)
    package = package_of(tmp_path / "package", ONE)
    done = call("sync", package, "--codex-home", home, "--no-prime", "--execute", "--json")
    assert (done.exit_code, done.codes) == (4, ["database_too_new"])
    assert told in done.envelope["errors"][0]["message"]
    after = tree(home, "session-sync")
    assert before.keys() - {"state_5.sqlite"} == after.keys() - {"state_5.sqlite"}
    assert not any((home / "session-sync").rglob("transactions/*"))


@pytest.mark.parametrize(
    ("name", "refused"), [("6", True), ("10", True), ("4", False), ("x", False)]
)
def test_a_database_of_a_later_number_is_not_written_beside(
    tmp_path: Path, name: str, refused: bool
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    make_database(home)
    (home / f"state_{name}.sqlite").touch()
    package = package_of(tmp_path / "package", ONE)
    done = call("sync", package, "--codex-home", home, "--no-prime", "--execute", "--json")
    assert done.codes == (["database_too_new"] if refused else [])
    assert bool(rows(home / "state_5.sqlite", "threads")) != refused


def test_another_machine_of_the_newer_release_gives_what_is_not_known(tmp_path: Path) -> None:
    home, package = tmp_path / "home", tmp_path / "package"
    home.mkdir()
    write_snapshot(package, [ONE])
    for folder in (home, package):
        make_database(folder, migrated_to(90, NEEDED))
    with closing(sqlite3.connect(package / "state_5.sqlite")) as database, database:
        row = {**ONE.row(), "mood": "calm"}
        marks = ", ".join("?" * len(row))
        statement = f"INSERT INTO threads ({', '.join(row)}) VALUES ({marks})"
        database.execute(statement, list(row.values()))
    done = call("sync", package, "--codex-home", home, "--no-prime", "--execute", "--json")
    assert done.sessions[ONE.id]["result"] == "imported"
    with closing(sqlite3.connect(home / "state_5.sqlite")) as database:
        assert database.execute("SELECT mood FROM threads").fetchall() == [("calm",)]
