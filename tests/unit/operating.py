"""A home to do operations in, what it holds, and operations that several tests play."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from builders import Session
from codex_session_sync.codex.state_db import open_for_writing
from codex_session_sync.journal.operations import (
    AnyOperation,
    CutFile,
    EditText,
    ExtendFile,
    MoveFile,
    PutRow,
    Site,
)
from workbench import STATE_SCHEMA, insert, make_database, tree

DATA = b'{"type":"session_meta"}\n' * 20
SHA = hashlib.sha256(DATA).hexdigest()
FILE = "sessions/2026/03/02/rollout-x.jsonl"
LOCAL = "sessions/2026/03/02/rollout-y.jsonl"
ARCHIVED = "archived_sessions/rollout-y.jsonl"
START = b'{"type":"session_meta","id":"y"}\n' * 5
THEN, LATER = 1_700_000_000_000_000_000, 1_800_000_000_000_000_000
ROW = Session(1, start=10, name="Roses").say("How?").row("/home/me/.codex")
TOOL = {
    "thread_id": ROW["id"],
    "position": 0,
    "name": "water",
    "description": "waters",
    "input_schema": "{}",
    "defer_loading": 0,
    "namespace": None,
}
LINE = '{"id":"x","thread_name":"Für Elise"}\n'


def make_site(root: Path, schema: str = STATE_SCHEMA) -> Iterator[Site]:
    """A home with a database, and a file that waits to be put in place."""
    home, staged = root / "home", root / "home/session-sync/transactions/t/staged"
    staged.mkdir(parents=True)
    (home / "sessions/2026/03/02").mkdir(parents=True)
    (staged / "0").write_bytes(DATA)
    (home / "session_index.jsonl").write_text("first\n")
    with open_for_writing(make_database(home, schema)) as database:
        assert database is not None
        yield Site(home, home / "session-sync", staged, database)


def small_site(tmp_path: Path) -> Iterator[Site]:
    """One whose database has the tables that matter, without their triggers."""
    yield from make_site(tmp_path)


def state(site: Site) -> Any:
    """The whole home: files, folders, rows; not what waits to be put in place."""
    files = tree(site.home, "state_5.sqlite", "state_5.sqlite-wal", "state_5.sqlite-shm")
    waiting = site.staged.relative_to(site.home).as_posix()
    assert site.database is not None
    return (
        # A document that is put back and a file that is cut have another time.
        {
            path: what if path in (FILE, LOCAL, ARCHIVED) else (*what[:2], what[-1])
            for path, what in files.items()
            if not path.startswith(waiting)
        },
        [dict(row) for row in site.database.rows("threads")],
        [dict(row) for row in site.database.rows("thread_dynamic_tools")],
    )


def database_do(site: Site, statement: str, *values: object) -> None:
    """What another program does to the database."""
    with closing(sqlite3.connect(site.home / "state_5.sqlite")) as connection, connection:
        connection.execute(statement, values)


def add_line(site: Site, path: str) -> None:
    """What another program does to a text."""
    with (site.home / path).open("a") as stream:
        stream.write("more\n")


def add_thread(site: Site, row: dict[str, Any]) -> None:
    """One more row in the database."""
    with closing(sqlite3.connect(site.home / "state_5.sqlite")) as connection, connection:
        insert(connection, "threads", row)


def thread_of(site: Site) -> dict[str, Any]:
    """The row as the database has it."""
    assert site.database is not None
    return dict(next(iter(site.database.rows("threads", [str(ROW["id"])]))))


def transcript_here(site: Site) -> Path:
    """A transcript that is here already."""
    path = site.home / LOCAL
    path.write_bytes(START)
    os.utime(path, ns=(THEN, THEN))
    return path


def extension(site: Site) -> ExtendFile:
    """More for the transcript that is here."""
    transcript_here(site)
    return ExtendFile(LOCAL, "0", len(START), THEN, len(DATA), SHA, LATER)


def move(site: Site) -> MoveFile:
    """The transcript that is here is archived."""
    transcript_here(site)
    (site.home / "archived_sessions").mkdir()
    return MoveFile(LOCAL, ARCHIVED, len(START))


def rest_of(site: Site) -> Path:
    """Where the end of a transcript is kept that is cut."""
    return site.staged.parent / "y.rest"


def cut(site: Site) -> CutFile:
    """The transcript that is here loses an end."""
    path = transcript_here(site)
    path.write_bytes(START + DATA)
    os.utime(path, ns=(LATER, LATER))
    kept = rest_of(site).relative_to(site.home).as_posix()
    return CutFile(LOCAL, kept, len(START), len(DATA), SHA, LATER, THEN)


def _index(site: Site, text: str) -> tuple[str, int]:
    """An index with a text between two others; its tail's digest and its size."""
    (site.home / "session_index.jsonl").write_text(f"first\n{text}last\n")
    return hashlib.sha256(b"last\n").hexdigest(), len(f"first\n{text}last\n".encode())


def removal(site: Site) -> EditText:
    """A line goes from between two others."""
    tail, size = _index(site, LINE)
    return EditText("session_index.jsonl", 6, LINE, "", size, size - len(LINE.encode()), tail)


def insertion(site: Site) -> EditText:
    """A line comes between two others."""
    tail, size = _index(site, "")
    return EditText("session_index.jsonl", 6, "", LINE, size, size + len(LINE.encode()), tail)


def last_line(site: Site) -> EditText:
    """The only line goes, and the file with it."""
    (site.home / "session_index.jsonl").write_text(LINE)
    nothing = hashlib.sha256(b"").hexdigest()
    return EditText("session_index.jsonl", 0, LINE, "", len(LINE.encode()), None, nothing)


def run(change: Callable[[Site], None], operation: AnyOperation, site: Site) -> None:
    """One operation, in a database transaction where it needs one."""
    if not isinstance(operation, PutRow):
        return change(site)
    assert site.database is not None
    with site.database.transaction():
        return change(site)
