"""Homes with databases, the command line called and captured, folders compared to the byte."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from builders import Record, Session
from codex_session_sync.cli.main import run
from codex_session_sync.codex.home import CodexHome
from codex_session_sync.package.transfer_v1 import MANIFEST

SCRIPTS = Path(__file__).parents[1] / "scripts"

STATE_SCHEMA = """
CREATE TABLE thread_sections (id TEXT PRIMARY KEY, name TEXT NOT NULL);
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
    created_at_ms INTEGER,
    updated_at_ms INTEGER,
    preview TEXT NOT NULL DEFAULT '',
    recency_at INTEGER NOT NULL DEFAULT 0,
    recency_at_ms INTEGER NOT NULL DEFAULT 0,
    history_mode TEXT NOT NULL DEFAULT 'legacy',
    name TEXT,
    thread_section_id TEXT REFERENCES thread_sections(id) ON DELETE SET NULL
);
CREATE TABLE thread_dynamic_tools (
    thread_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    input_schema TEXT NOT NULL,
    defer_loading INTEGER NOT NULL DEFAULT 0,
    namespace TEXT,
    PRIMARY KEY(thread_id, position),
    FOREIGN KEY(thread_id) REFERENCES threads(id) ON DELETE CASCADE
);
CREATE TRIGGER threads_updated_at_ms_after_update
AFTER UPDATE OF updated_at ON threads
WHEN NEW.updated_at != OLD.updated_at AND NEW.updated_at_ms IS OLD.updated_at_ms
BEGIN
    UPDATE threads SET updated_at_ms = NEW.updated_at * 1000 WHERE id = NEW.id;
END;
CREATE TRIGGER threads_recency_at_after_insert
AFTER INSERT ON threads
WHEN NEW.recency_at_ms = 0
BEGIN
    UPDATE threads
    SET recency_at = NEW.updated_at,
        recency_at_ms = COALESCE(NEW.updated_at_ms, NEW.updated_at * 1000)
    WHERE id = NEW.id;
END;
"""
"""What of Codex's own state database the program meets, its triggers among it."""


@dataclass(frozen=True)
class Outcome:
    """What one call of the command line gave."""

    exit_code: int
    out: bytes
    err: str

    @cached_property
    def envelope(self) -> dict[str, Any]:
        """The JSON object on stdout, which holds nothing else."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    @property
    def codes(self) -> list[str]:
        """The codes of the errors."""
        return [error["code"] for error in self.envelope["errors"]]

    @property
    def sessions(self) -> dict[str, dict[str, Any]]:
        """The sessions of the report by id."""
        return {one["session_id"]: one for one in self.envelope["data"]["sessions"]}


def call(*arguments: str | Path, moment: datetime | None = None) -> Outcome:
    """The command line, called in this process under the environment as it is, at a moment."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with redirect_stdout(out), redirect_stderr(err):
        exit_code = run([str(argument) for argument in arguments], moment)
    raw, said = out.buffer, err.buffer
    assert isinstance(raw, io.BytesIO)
    assert isinstance(said, io.BytesIO)
    return Outcome(exit_code, raw.getvalue(), said.getvalue().decode())


def environment(folder: Path) -> dict[str, str]:
    """Variables for a process that is to find no home, no Codex and no old files but below here."""
    for name in ("bin", "user", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    return {
        "PATH": str(folder / "bin"),
        "HOME": str(folder / "user"),
        "CODEX_HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "PYTHONPATH": os.pathsep.join((str(SCRIPTS), str(SCRIPTS.parent / "tests"))),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def call_process(
    variables: Mapping[str, str],
    *arguments: str | Path,
    program: Sequence[str] = ("-m", "codex_session_sync"),
) -> Outcome:
    """The command line as a process of its own, with nothing on its stdin."""
    done = subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        env=dict(variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr.decode())


@contextmanager
def holding(
    program: str, *arguments: str | Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds something; it lets go when told, or when it is killed.

    ``program`` takes it, prints ``held`` and waits for the end of its stdin.
    """
    with subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=None if env is None else dict(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.stdin.close()


def _below(folder: Path, skip: Container[Path]) -> Iterator[Path]:
    """All paths below a folder; what is skipped is not even looked into."""
    for path in folder.iterdir():
        if path not in skip:
            yield path
            if path.is_dir() and not path.is_symlink():
                yield from _below(path, skip)


def tree(folder: Path, *skip: str) -> dict[str, tuple[Any, ...]]:
    """Everything below a folder by relative path: kind, permissions, time, content.

    ``skip`` names paths that are left out with all below them. Folders have no time here: it
    follows from what is in them.
    """
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted(_below(folder, {folder / name for name in skip})):
        relative = path.relative_to(folder)
        status = path.lstat()
        if path.is_symlink():
            found[relative.as_posix()] = ("link", str(path.readlink()))
        elif path.is_dir():
            found[relative.as_posix()] = ("folder", status.st_mode)
        else:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[relative.as_posix()] = ("file", status.st_mode, status.st_mtime_ns, digest)
    return found


def make_database(home: Path, schema: str = STATE_SCHEMA, *, journal_mode: str = "wal") -> Path:
    """An empty state database, as Codex leaves one behind."""
    path = home / "state_5.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal_mode}")
        connection.executescript(schema)
    return path


def add_rows(path: Path, sessions: Iterable[Session]) -> None:
    """Rows of ``threads`` for sessions of this home."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for session in sessions:
            insert(connection, "threads", session.row(str(path.parent)))


def insert(connection: sqlite3.Connection, table: str, row: Record) -> None:
    """Add one row."""
    marks = ", ".join("?" * len(row))
    statement = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})"
    connection.execute(statement, list(row.values()))


def rows(path: Path, table: str) -> list[tuple[Any, ...]]:
    """The rows of a table in order of their keys; [] without a database."""
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()


def leave_log(path: Path, sessions: Iterable[Session]) -> None:
    """Add rows so that they stay in the write-ahead log, as after a Codex that was killed."""
    kept = {}
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        with connection:
            for session in sessions:
                insert(connection, "threads", session.row(str(path.parent)))
        for suffix in ("", "-wal"):
            file = path.with_name(path.name + suffix)
            kept[file] = file.read_bytes()
    for file, data in kept.items():
        file.write_bytes(data)
    assert path.with_name(path.name + "-wal").stat().st_size


def codex_home(path: Path) -> CodexHome:
    """A home as the program sees it."""
    return CodexHome(path, path)


def with_tools(package: Path, session: Session, count: int = 2) -> None:
    """Give a session of a transfer package dynamic tools."""
    assert (package / MANIFEST).exists()
    tools = [
        {
            "thread_id": session.id,
            "position": place,
            "name": f"tool_{place}",
            "description": "waters",
            "input_schema": "{}",
            "defer_loading": 0,
            "namespace": None,
        }
        for place in range(count)
    ]
    text = "".join(json.dumps(tool) + "\n" for tool in tools)
    (package / "metadata" / "thread_dynamic_tools.jsonl").write_text(text)
