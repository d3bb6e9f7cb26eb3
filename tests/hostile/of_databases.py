"""Hostile databases in snapshots: they cost names and details, never sessions, time or memory."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from builders import dump
from hostile.corpus import ESCAPES, SNAPSHOT, SOUND, VICTIM, Docket, Parts, sound
from workbench import STATE_SCHEMA, insert, leave_log, make_database

CASES = Docket()
NAME, LOG = "state_5.sqlite", "state_5.sqlite-wal"
UNREADABLE = "package_database_unreadable"
PAGE = 4096


def made(script: str, schema: str = STATE_SCHEMA, *, rows: bool = True) -> Callable[[], Parts]:
    """A database with rows of the sessions, on which a script was run."""

    def build() -> Parts:
        with tempfile.TemporaryDirectory() as folder:
            path = make_database(Path(folder), schema, journal_mode="delete")
            with closing(sqlite3.connect(path)) as connection:
                for session in (VICTIM, SOUND) if rows else ():
                    insert(connection, "threads", session.row())
                connection.commit()
                connection.executescript(script)
                connection.commit()
            return holding(path.read_bytes())()

    return build


def holding(database: bytes, log: bytes | None = None) -> Callable[[], Parts]:
    """A database of these bytes, and a log of these."""
    files = {NAME: database} if log is None else {NAME: database, LOG: log}
    return lambda: replace(sound(VICTIM, SOUND), database=files)


def beside(log: bytes) -> Callable[[], Parts]:
    """A sound database beside such a log."""
    return changed(lambda data: data, log)


def changed(change: Callable[[bytes], bytes], log: bytes | None = None) -> Callable[[], Parts]:
    """A sound database, its bytes changed, and a log."""

    def build() -> Parts:
        parts = made("")()
        assert parts.database is not None
        return holding(change(parts.database[NAME]), log)()

    return build


def forged(script: str) -> Callable[[], Parts]:
    """As ``made``, with a schema that is written by hand."""
    return made(f"PRAGMA writable_schema = ON; {script}; PRAGMA writable_schema = OFF;")


for label, build in {
    "garbage": holding(b"\xff\xfe" * 5000),
    "NULs": holding(bytes(100_000)),
    "no more than a header": holding(b"SQLite format 3\0" + bytes(84)),
    "cut in the middle": changed(lambda data: data[: len(data) // 2 // PAGE * PAGE]),
    "pages of 0xff behind the first": changed(lambda d: d[:PAGE] + b"\xff" * (len(d) - PAGE)),
    "pages all alike": changed(lambda data: data[:PAGE] * (len(data) // PAGE)),
    "threads is a view without end": made(
        "DROP TABLE threads; CREATE VIEW threads AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
        f"SELECT i + 1 FROM n) SELECT '{VICTIM.id}' AS id, i AS created_at FROM n;"
    ),
    "threads is a view of 1 GB": made(
        "DROP TABLE threads; CREATE VIEW threads AS "
        f"SELECT '{VICTIM.id}' AS id, hex(zeroblob(500000000)) AS title;"
    ),
    "threads is a view that never gives a row": made(
        "DROP TABLE threads; CREATE VIEW threads AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
        "SELECT i + 1 FROM n) SELECT i AS id FROM n WHERE i < 0;"
    ),
    "tools are a view without end": made(
        "DROP TABLE thread_dynamic_tools; CREATE VIEW thread_dynamic_tools AS WITH RECURSIVE "
        "n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS thread_id FROM n;"
    ),
    "threads is a virtual table": made(
        "DROP TABLE threads; CREATE VIRTUAL TABLE threads USING fts5(id, title);"
    ),
    "a schema that is no SQL": forged("UPDATE sqlite_master SET sql = 'CREATE TABLE threads(((('"),
    "a view that says it is a table": forged(
        "UPDATE sqlite_master SET rootpage = 0, sql = 'CREATE VIEW threads AS WITH RECURSIVE n(i) "
        "AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id FROM n' WHERE name = 'threads'"
    ),
    "a default of 8 MiB": made(
        f"ALTER TABLE threads ADD COLUMN d TEXT DEFAULT '{'x' * (8 << 20)}';"
    ),
    "text that is no UTF-8": made("UPDATE threads SET title = CAST(x'fffe00ff' AS TEXT)"),
    "surrogates in text": made("UPDATE threads SET title = CAST(x'eda080' AS TEXT)"),
}.items():
    CASES.taken(f"database: {label}", build, UNREADABLE, kinds=(SNAPSHOT,))


def _log_only() -> Parts:
    """Rows that are in the write-ahead log alone."""
    with tempfile.TemporaryDirectory() as folder:
        path = make_database(Path(folder))
        leave_log(path, [VICTIM, SOUND])
        return holding(path.read_bytes(), path.with_name(LOG).read_bytes())()


def _torn_log() -> Parts:
    parts = _log_only()
    assert parts.database is not None
    return holding(parts.database[NAME], parts.database[LOG][:-3000])()


for label, build in {
    "rows in the log alone": _log_only,
    "a log that is cut off": _torn_log,
    "a log of garbage": beside(b"\xff" * 50_000),
    "a log of zeros": beside(bytes(200_000)),
    "an empty log": beside(b""),
    "empty file": holding(b""),
    "another program's": made("", "CREATE TABLE x (y);", rows=False),
    "threads without an id": made("", "CREATE TABLE threads (title TEXT);", rows=False),
    "no columns that are known": made("", "CREATE TABLE threads (x, y, z);", rows=False),
    "ids of every type": made(
        "CREATE TABLE t AS SELECT * FROM threads; DROP TABLE threads;"
        "ALTER TABLE t RENAME TO threads; UPDATE threads SET id = 7;"
        "INSERT INTO threads (id) VALUES (NULL), (x'00'), (1e308), ('../../x'), (''), ('x\n');"
    ),
    "values of every type": made(
        "CREATE TABLE t AS SELECT * FROM threads; DROP TABLE threads;"
        "ALTER TABLE t RENAME TO threads; UPDATE threads SET created_at = 'x', title = x'00',"
        "archived = 7, tokens_used = -1, cwd = 1e999, name = 5, updated_at = 1.5;"
    ),
    "NULs and escapes in texts": made(
        "UPDATE threads SET title = 'a' || char(0, 27, 155, 8238) || 'b', name = char(0, 27) || 'x'"
    ),
    "columns that are SQL": made(
        'ALTER TABLE threads ADD COLUMN "x"" FROM threads; DROP TABLE threads; --" TEXT;'
        'ALTER TABLE threads ADD COLUMN "" TEXT; ALTER TABLE threads ADD COLUMN "a b;c" TEXT;'
    ),
    "generated columns": made(
        "ALTER TABLE threads ADD COLUMN big TEXT AS (hex(zeroblob(500000000))) VIRTUAL;"
    ),
    "triggers, indexes and views of their own": made(
        "CREATE TRIGGER t AFTER INSERT ON threads BEGIN DELETE FROM threads; END;"
        "CREATE INDEX i ON threads (abs(created_at)) WHERE title LIKE '%x%';"
        "CREATE VIEW v AS SELECT load_extension('/tmp/x') FROM threads;"
    ),
    "another page size": made("PRAGMA page_size = 65536; VACUUM;"),
    "UTF-16": made("", "PRAGMA encoding = 'UTF-16le';" + STATE_SCHEMA),
    "a title of 8 MiB": made("UPDATE threads SET title = hex(zeroblob(4194304))"),
    "tools for nobody": made(
        "PRAGMA foreign_keys = OFF; INSERT INTO thread_dynamic_tools VALUES "
        "('../x', -1, 'a', 'b', 'c', 7, 'd'), (7, 'x', x'00', 1, 2, 3, 4);"
    ),
}.items():
    CASES.taken(f"database: {label}", build, kinds=(SNAPSHOT,))


def _without_end() -> Parts:
    """A tree of pages of which each leads 400 times to the next one; the last has one row."""
    with tempfile.TemporaryDirectory() as folder:
        path = make_database(Path(folder), journal_mode="delete")
        with closing(sqlite3.connect(path)) as connection, connection:
            insert(connection, "threads", VICTIM.row())
        with closing(sqlite3.connect(path)) as connection:
            query = "SELECT rootpage FROM sqlite_master WHERE name = 'threads'"
            [root] = connection.execute(query).fetchone()
        data = bytearray(path.read_bytes())
    last, place = len(data) // PAGE, (root - 1) * PAGE
    leaf = bytes(data[place : place + PAGE])
    data[place : place + PAGE] = _fan(last + 1)
    for page in range(last + 1, last + 15):
        data += _fan(page + 1)
    data += leaf
    data[28:32] = (len(data) // PAGE).to_bytes(4, "big")
    return holding(bytes(data))()


def _fan(child: int, cells: int = 400) -> bytes:
    """An inner page of a table that leads to one page alone."""
    start = PAGE - 6 * cells
    head = b"\x05\0\0" + cells.to_bytes(2, "big") + start.to_bytes(2, "big") + b"\0"
    places = b"".join((start + 6 * cell).to_bytes(2, "big") for cell in range(cells))
    front = head + child.to_bytes(4, "big") + places
    return front.ljust(start, b"\0") + (child.to_bytes(4, "big") + b"\x81\x01") * cells


CASES.taken("database: pages that never end", _without_end, UNREADABLE, kinds=(SNAPSHOT,))

for label, text in {
    "garbage": b"\xff\xfe\0" * 50,
    "escapes": ESCAPES.encode(),
    "a path": b"../../../etc/passwd",
    "empty": b"",
    "another id and a newline": VICTIM.id.encode() + b"\n\n",
}.items():
    more = {"installation_id": text, "config.toml": text, "history.jsonl": text}
    CASES.taken(
        f"home: installation_id and config.toml are {label}",
        lambda files=more: replace(sound(VICTIM, SOUND), more=files),  # type: ignore[misc]
        kinds=(SNAPSHOT,),
    )
CASES.unfit(
    "home: an installation_id of 1 MiB",
    lambda: replace(sound(VICTIM, SOUND), more={"installation_id": b"x" * (1 << 20)}),
    "package_unsafe",
    kinds=(SNAPSHOT,),
)
CASES.taken(
    "home: databases and folders that are not read",
    lambda: replace(
        sound(VICTIM, SOUND),
        more={
            "goals_1.sqlite": b"\xff" * 1000,
            "memories_1.sqlite": b"x",
            "session-sync/sidecars/x.json": dump([{"a": 1}]),
            "session-sync/transactions/x/manifest.json": b"\xff",
            "tmp/rollout-x.jsonl": b"x",
        },
    ),
    "goals_unreadable",
    kinds=(SNAPSHOT,),
)
