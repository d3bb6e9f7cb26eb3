"""Codex's database: read without a trace, written by its own columns, its troubles told."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from builders import Session, session_id
from codex_session_sync.codex import state_db
from codex_session_sync.codex.sharing import Sharing
from codex_session_sync.codex.state_db import StateDb, open_for_reading, open_for_writing
from codex_session_sync.errors import ExitCode, HomeError
from codex_session_sync.model import Row
from workbench import (
    add_rows,
    environment,
    holding,
    insert,
    leave_log,
    make_database,
    rows,
    tree,
)

ONE = Session(1, start=10, name="Roses").say("How do I prune?")
TWO = Session(2, start=20).say("What goes on the heap?")
THREE = Session(3, start=30).say("When?")

TOOL: Row = {
    "thread_id": ONE.id,
    "position": 0,
    "name": "n",
    "description": "",
    "input_schema": "",
}

HOSTILE = ['a"b', "select", "x); DROP TABLE threads; --", "with space", "été", "a'b", "[c]", "`d`"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and a temporary folder of its own that must end empty."""
    (tmp_path / "home").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(state_db, "BUSY_TIMEOUT_S", 0.05)
    return tmp_path / "home"


@contextmanager
def reading(path: Path) -> Iterator[StateDb]:
    with open_for_reading(path) as database:
        assert database is not None
        yield database


@contextmanager
def writing(path: Path) -> Iterator[StateDb]:
    with open_for_writing(path) as database:
        assert database is not None
        yield database


def ids(path: Path) -> list[str]:
    with reading(path) as database:
        return sorted(str(row["id"]) for row in database.rows("threads"))


def code_of(caught: pytest.ExceptionInfo[HomeError]) -> str:
    assert caught.value.exit_code == ExitCode.HOME
    assert caught.value.hint
    return caught.value.code


# Reading leaves no trace


@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
def test_a_database_is_read_in_place(home: Path, journal_mode: str) -> None:
    path = make_database(home, journal_mode=journal_mode)
    add_rows(path, [ONE, TWO])
    before = tree(home.parent)
    assert ids(path) == [ONE.id, TWO.id]
    assert tree(home.parent) == before


def test_an_unfinished_log_is_read_and_left(home: Path) -> None:
    path = make_database(home)
    add_rows(path, [ONE])
    leave_log(path, [TWO])
    before = tree(home.parent)
    assert ids(path) == [ONE.id, TWO.id]
    with reading(path) as database:
        assert len(list(database.rows("threads", [TWO.id]))) == 1
        assert {f"home/{name}" for name in tree(home)} == {key for key in before if "/" in key}
    assert tree(home.parent) == before


def test_a_database_that_another_program_has_open(home: Path) -> None:
    path = make_database(home)
    with closing(sqlite3.connect(path)) as codex:
        codex.execute("PRAGMA wal_autocheckpoint = 0")
        with codex:
            insert(codex, "threads", ONE.row())
        codex.execute("BEGIN")
        codex.execute("DELETE FROM threads")
        before = tree(home.parent)
        assert ids(path) == [ONE.id], "what is not committed is not seen"
        assert tree(home.parent) == before
        codex.rollback()


def test_a_torn_log_is_read_up_to_its_last_whole_transaction(home: Path) -> None:
    path = make_database(home)
    leave_log(path, [ONE])
    log = path.with_name(path.name + "-wal")
    first = log.stat().st_size
    leave_log(path, [TWO])
    data = log.read_bytes()
    assert len(data) > first
    log.write_bytes(data[: len(data) - 100])
    before = tree(home.parent)
    assert TWO.id not in ids(path)
    assert tree(home.parent) == before


def test_a_log_without_content_is_no_log(home: Path) -> None:
    path = make_database(home)
    add_rows(path, [ONE])
    path.with_name(path.name + "-wal").write_bytes(b"")
    before = tree(home.parent)
    assert ids(path) == [ONE.id]
    assert tree(home.parent) == before


def test_a_database_is_never_made(home: Path) -> None:
    path = home / "state_5.sqlite"
    before = tree(home.parent)
    with open_for_reading(path) as database:
        assert database is None
    with open_for_writing(path) as database:
        assert database is None
    path.symlink_to(home / "nowhere.sqlite")
    with open_for_reading(path) as database:
        assert database is None
    with open_for_writing(path) as database:
        assert database is None
    path.unlink()
    assert tree(home.parent) == before


def test_a_database_that_vanishes_is_not_made_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "state_5.sqlite"
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    with pytest.raises(HomeError) as caught, open_for_writing(path):
        pass
    monkeypatch.undo()
    assert code_of(caught) == "database_not_writable"
    assert not path.exists()


def test_a_copy_that_never_is_consistent(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_database(home)
    leave_log(path, [ONE])
    real = shutil.copyfile
    copies: list[str] = []

    def copyfile(source: Path, target: Path) -> Path:
        copies.append(source.name)
        real(source, target)
        with source.open("ab") as stream:
            stream.write(b"\0")
        return target

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    with pytest.raises(HomeError) as caught:
        ids(path)
    assert code_of(caught) == "database_busy"
    assert len(copies) == 2 * state_db.COPY_ATTEMPTS


def test_a_copy_is_repeated_until_it_is_consistent(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_database(home)
    leave_log(path, [ONE])
    real = shutil.copyfile
    copies: list[str] = []

    def copyfile(source: Path, target: Path) -> Path:
        copies.append(source.name)
        real(source, target)
        if len(copies) == 1:
            leave_log(path, [TWO])
        return target

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    assert ids(path) == [ONE.id, TWO.id]
    assert len(copies) == 4


# Columns


def test_columns_are_those_of_the_table(home: Path) -> None:
    path = make_database(
        home,
        "CREATE TABLE threads (id TEXT PRIMARY KEY, title TEXT NOT NULL, cwd TEXT NOT NULL"
        " DEFAULT '', new_one INTEGER)",
    )
    with reading(path) as database:
        found = database.columns("threads")
        assert dict(found) == {"id": False, "title": True, "cwd": False, "new_one": False}
        assert list(found) == ["id", "title", "cwd", "new_one"]
        assert database.columns("thread_dynamic_tools") == {}
        assert list(database.rows("thread_dynamic_tools")) == []
        assert list(database.rows("thread_dynamic_tools", [ONE.id])) == []


def test_names_are_quoted(home: Path) -> None:
    path = home / "state_5.sqlite"
    columns = ", ".join(f'"{name.replace(chr(34), chr(34) * 2)}" TEXT' for name in HOSTILE)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE threads (id TEXT PRIMARY KEY, {columns})")
    row = {"id": ONE.id, **{name: f"value of {name}" for name in HOSTILE}}
    with writing(path) as database:
        assert list(database.columns("threads")) == ["id", *HOSTILE]
        with database.transaction():
            database.insert("threads", row)
        assert list(database.rows("threads")) == [row]
        changed = row | dict.fromkeys(HOSTILE, "x'; DROP TABLE threads; --")
        with database.transaction():
            database.update("threads", {"id": ONE.id}, changed)
        assert list(database.rows("threads", [ONE.id])) == [changed]
        assert list(database.rows("threads", ["' OR 1=1 --"])) == []
        with database.transaction():
            database.delete("threads", {name: changed[name] for name in HOSTILE})
        assert list(database.rows("threads")) == []


def test_rows_of_many_sessions(home: Path) -> None:
    path = make_database(home)
    many = [Session(number, start=number).say("x") for number in range(1200)]
    add_rows(path, many)
    with reading(path) as database:
        wanted = [session.id for session in many[::2]]
        found = [str(row["id"]) for row in database.rows("threads", wanted)]
        assert sorted(found) == sorted(wanted)
        assert list(database.rows("threads", [])) == []
        assert len(list(database.rows("threads"))) == 1200


# Writing


def _stopped_transaction(database: StateDb, error: type[BaseException]) -> None:
    with database.transaction():
        database.insert("threads", ONE.row())
        raise error


def test_a_transaction_is_whole_or_not_at_all(home: Path) -> None:
    path = make_database(home)
    with writing(path) as database:
        for error in (ZeroDivisionError, KeyboardInterrupt):
            with pytest.raises(error):
                _stopped_transaction(database, error)
        with database.transaction():
            database.insert("threads", TWO.row())
    assert ids(path) == [TWO.id]


def test_a_transaction_that_cannot_be_committed_is_not_left_open(home: Path) -> None:
    path = make_database(home, journal_mode="delete")
    add_rows(path, [ONE])
    with closing(sqlite3.connect(path)) as codex, writing(path) as database:
        reader = codex.execute("SELECT * FROM thread_sections UNION SELECT id, title FROM threads")
        reader.fetchone()
        codex.execute("BEGIN")
        codex.execute("SELECT * FROM threads").fetchall()
        with pytest.raises(HomeError) as caught, database.transaction():
            database.insert("threads", TWO.row())
        assert code_of(caught) == "database_busy"
        codex.rollback()
        with database.transaction():
            database.insert("threads", THREE.row())
    assert ids(path) == [ONE.id, THREE.id]


def test_foreign_keys_hold(home: Path) -> None:
    path = make_database(home)
    with writing(path) as database:
        with pytest.raises(HomeError) as caught, database.transaction():
            database.insert("thread_dynamic_tools", TOOL)
        assert "FOREIGN KEY" in caught.value.message
        with database.transaction():
            database.insert("threads", ONE.row())
            database.insert("thread_dynamic_tools", TOOL)
        with database.transaction():
            database.delete("threads", {"id": ONE.id})
        assert list(database.rows("thread_dynamic_tools")) == []


def test_an_update_keeps_what_refers_to_the_row(home: Path) -> None:
    path = make_database(home)
    with writing(path) as database, database.transaction():
        database.insert("threads", ONE.row())
        database.insert("threads", TWO.row())
        database.insert("thread_dynamic_tools", TOOL)
        database.update("threads", {"id": ONE.id}, {**ONE.row(), "title": "new"})
    assert len(rows(path, "thread_dynamic_tools")) == 1
    with reading(path) as database:
        titles = {row["id"]: row["title"] for row in database.rows("threads")}
    assert titles == {ONE.id: "new", TWO.id: TWO.row()["title"]}


def test_deleting_what_is_not_there(home: Path) -> None:
    path = make_database(home)
    add_rows(path, [ONE])
    with writing(path) as database, database.transaction():
        database.delete("threads", {"id": session_id(99)})
    assert ids(path) == [ONE.id]


# Trouble


@pytest.mark.parametrize(
    "data",
    [
        b"not a database, just some text " * 100,
        b"SQLite format 3\0" + b"\xff" * 4096,
        b"short",
    ],
)
def test_a_file_that_is_no_database(home: Path, data: bytes) -> None:
    path = home / "state_5.sqlite"
    path.write_bytes(data)
    before = tree(home.parent)
    for opened in (reading, writing):
        with pytest.raises(HomeError) as caught, opened(path) as database:
            list(database.rows("threads"))
        assert code_of(caught) == "database_unreadable"
        assert str(path) in caught.value.message
    assert tree(home.parent) == before


def test_a_damaged_page(home: Path) -> None:
    path = make_database(home)
    add_rows(path, [Session(n, start=n).say("x" * 300) for n in range(50)])
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : -100] = os.urandom(len(data) // 2 - 100)
    path.write_bytes(bytes(data))
    with pytest.raises(HomeError) as caught, reading(path) as database:
        list(database.rows("threads"))
    assert code_of(caught) == "database_unreadable"


def test_an_empty_file_has_no_threads(home: Path) -> None:
    path = home / "state_5.sqlite"
    path.write_bytes(b"")
    with reading(path) as database:
        assert database.columns("threads") == {}
        assert list(database.rows("threads")) == []


HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN " + sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


def held(path: Path, how: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """Another process has a transaction open on the database."""
    return holding(HOLDER, path, how)


@pytest.mark.parametrize(
    ("journal_mode", "how"), [("wal", "EXCLUSIVE"), ("wal", "IMMEDIATE"), ("delete", "EXCLUSIVE")]
)
def test_a_busy_database(home: Path, journal_mode: str, how: str) -> None:
    path = make_database(home, journal_mode=journal_mode)
    add_rows(path, [ONE])
    with held(path, how):
        with pytest.raises(HomeError) as caught, writing(path) as database:
            database.require_writable()
        assert code_of(caught) == "database_busy"
        if journal_mode == "wal":
            assert ids(path) == [ONE.id], "reading needs no lock"
    with writing(path) as database:
        database.require_writable()


@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
def test_a_busy_database_ends_a_sync(home: Path, journal_mode: str) -> None:
    """Before anything is written, and after waiting once for all its sessions together."""
    path = make_database(home, journal_mode=journal_mode)
    package = home.parent / "package"
    for session in (ONE, TWO, THREE):
        target = package / session.relative_path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(session.data())
    program = (
        "import sys; from codex_session_sync.codex import state_db;"
        "state_db.BUSY_TIMEOUT_S = 0.1;"
        "from codex_session_sync.cli.main import main; sys.exit(main())"
    )
    before = tree(home, "session-sync", "state_5.sqlite-shm", "state_5.sqlite-wal")
    with held(path, "EXCLUSIVE"):
        done = subprocess.run(
            [sys.executable, "-c", program, "sync", str(package), "--execute", "--json"],
            env=environment(home.parent),
            capture_output=True,
            timeout=30,
            check=False,
        )
    report: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (4, b"")
    assert [error["code"] for error in report["errors"]] == ["database_busy"]
    after = tree(home, "session-sync", "state_5.sqlite-shm", "state_5.sqlite-wal")
    assert after == before
    assert list(home.glob("session-sync/transactions/*")) == []


def test_waiting_for_a_busy_database(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_db, "BUSY_TIMEOUT_S", 20.0)
    path = make_database(home)
    ended: list[bool] = []
    with writing(path) as database, ExitStack() as other:
        other.enter_context(held(path, "EXCLUSIVE"))
        other.callback(ended.append, True)
        timer = threading.Timer(0.2, other.close)
        timer.start()
        with database.transaction():
            assert ended == [True]
            database.insert("threads", ONE.row())
        timer.join()
    assert ids(path) == [ONE.id]


def test_kept_rows_say_what_the_rows_say() -> None:
    sharing = Sharing()
    given: list[Row] = [
        {"id": "a", "title": "x" * 9, "name": None, "archived": 0, "preview": "x" * 9},
        {"id": "b", "title": "".join(["x"] * 9), "name": "n", "archived": 1},
        {"id": "c", "title": None, "name": None, "archived": None},
        {},
    ]
    kept = [sharing.row(row) for row in given]
    for before, after in zip(given, kept, strict=True):
        full = {column: value for column, value in before.items() if value is not None}
        assert dict(after) == full == after
        assert list(after) == list(full)
        assert [after.get(column) for column in before] == list(before.values())
        assert bool(after) == bool(full)
        assert after.get("no column", 7) == 7
        with pytest.raises(KeyError):
            after["no column"]
    assert kept[0]["title"] is kept[0]["preview"] is kept[1]["title"]
