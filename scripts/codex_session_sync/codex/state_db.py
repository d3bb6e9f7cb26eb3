"""Codex's database of threads, read and written by the columns that it has.

The only module that knows SQLite. It never creates a database or a table: a home whose ``threads``
table was made by somebody else no longer starts.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..durable import temporary_folder
from ..errors import OUTSIDE, HomeError
from ..model import Row

BUSY_TIMEOUT_S = 10.0
COPY_ATTEMPTS = 5
KEY = {
    "threads": ("id",),
    "thread_dynamic_tools": ("thread_id", "position"),
    "thread_spawn_edges": ("child_thread_id",),
    "thread_goals": ("thread_id",),
}
"""The tables that are read and written, with their keys."""

_VARIABLES = 500

_FOREIGN_STEPS = 10_000
"""Thousands of steps that somebody else's database may take, and one more for each 256 bytes."""

_REFUSED = (
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column as its table declares it; ``needed``: NOT NULL and without a default."""

    name: str
    type: str
    needed: bool
    key: bool

    @property
    def affinity(self) -> str:
        """What SQLite makes of the declared type: ``TEXT``, or another one."""
        declared = self.type.upper()
        texts = any(word in declared for word in ("CHAR", "CLOB", "TEXT"))
        return "TEXT" if texts and "INT" not in declared else declared


class StateDb:
    """An open state database."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._columns: dict[str, dict[str, bool]] = {}
        self._statements: dict[tuple[str, str, tuple[str, ...]], str] = {}
        self._referring: dict[tuple[str, str], Sequence[tuple[str, str]]] = {}

    def columns(self, table: str) -> Mapping[str, bool]:
        """The columns of a table in order; True where a value is needed (NOT NULL, no default).

        Empty if there is no such table.
        """
        if table not in self._columns:
            with self._errors():
                found = self._connection.execute(f"PRAGMA table_info({_name(table)})").fetchall()
            self._columns[table] = {
                name: bool(notnull) and default is None for _, name, _, notnull, default, _ in found
            }
        return self._columns[table]

    def described(self, table: str) -> Sequence[Column]:
        """The columns that can be written of a table; none if it is missing, or no plain table."""
        plain = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
        with self._errors():
            if self._connection.execute(plain, (table,)).fetchone() is None:
                return ()
            found = self._connection.execute(f"PRAGMA table_info({_name(table)})").fetchall()
        return tuple(
            Column(name, kind, bool(notnull) and default is None, bool(key))
            for _, name, kind, notnull, default, key in found
        )

    def is_plain(self, table: str) -> bool:
        """Whether there is a table of this name that has its rows, rather than computes them."""
        with self._errors():
            [(count, plain)] = self._connection.execute(
                "SELECT COUNT(*), TOTAL(sql LIKE 'CREATE TABLE %') FROM sqlite_master "
                "WHERE name = ? COLLATE NOCASE",
                (table,),
            )
        return bool(count == 1 == plain)

    def rows(
        self,
        table: str,
        session_ids: Sequence[str] | None = None,
        *,
        only: Collection[str] | None = None,
    ) -> Iterator[Row]:
        """The rows of a table, all of them or those of some sessions; ``only`` some columns."""
        columns = [c for c in self.columns(table) if only is None or c in only]
        if not columns:
            return
        select = f"SELECT {', '.join(map(_name, columns))} FROM {_name(table)}"  # noqa: S608
        for part in [None] if session_ids is None else _parts(session_ids):
            where = ""
            values: tuple[str, ...] = ()
            if part is not None:
                marks = ",".join("?" * len(part))
                where, values = f" WHERE {_name(KEY[table][0])} IN ({marks})", tuple(part)
            with self._errors():
                for row in self._connection.execute(select + where, values):
                    yield dict(zip(columns, row, strict=True))

    def row(self, table: str, key: Row) -> Row | None:
        """The row of which these columns have these values, if there is one."""
        columns = self.columns(table)
        if not columns:
            return None
        asked = (table, "select", tuple(key))
        if asked not in self._statements:
            where = " AND ".join(f"{_name(column)} = ?" for column in key)
            select = f"SELECT {', '.join(map(_name, columns))} FROM {_name(table)}"  # noqa: S608
            self._statements[asked] = f"{select} WHERE {where}"
        try:
            found = self._connection.execute(
                self._statements[asked], tuple(key.values())
            ).fetchone()
        except sqlite3.Error as error:
            raise _unusable(self._path, error) from error
        return dict(zip(columns, found, strict=True)) if found is not None else None

    def values(self, table: str, column: str) -> Iterator[str | int | float | None]:
        """The different values of one column."""
        select = f"SELECT DISTINCT {_name(column)} FROM {_name(table)}"  # noqa: S608
        with self._errors():
            for (value,) in self._connection.execute(select):
                yield value

    def referring(self, table: str, column: str, value: str) -> list[str]:
        """The other tables with rows that refer to a row, and go with it if it is removed."""
        with self._errors():
            return [
                name
                for name, own in self._references(table, column)
                if self._connection.execute(
                    f"SELECT 1 FROM {_name(name)} WHERE {_name(own)} = ? LIMIT 1",  # noqa: S608
                    (value,),
                ).fetchone()
            ]

    def _references(self, table: str, column: str) -> Sequence[tuple[str, str]]:
        """The foreign keys that name a column: their tables and columns."""
        if (table, column) not in self._referring:
            names = self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            self._referring[table, column] = [
                (name, own)
                for (name,) in names.fetchall()
                for _, _, target, own, to, *_ in self._connection.execute(
                    f"PRAGMA foreign_key_list({_name(name)})"
                ).fetchall()
                if target == table and to in (column, None)
            ]
        return self._referring[table, column]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A short write transaction: committed at the end, undone on an exception."""
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            with self._errors():
                self._connection.commit()
        except BaseException:
            self._connection.rollback()
            raise

    def require_writable(self) -> None:
        """Raise HomeError if no write transaction can begin now."""
        with self._errors():
            [version] = self._connection.execute("PRAGMA user_version").fetchone()
        with self.transaction(), self._errors():
            # Of a read-only file a transaction begins all the same, and fails at its first change.
            self._connection.execute(f"PRAGMA user_version = {int(version)}")

    def insert(self, table: str, row: Row) -> None:
        """Add one row; its columns must be the table's."""
        asked = (table, "insert", tuple(row))
        if asked not in self._statements:
            names = ", ".join(map(_name, row))
            marks = ", ".join("?" * len(row))
            self._statements[asked] = f"INSERT INTO {_name(table)} ({names}) VALUES ({marks})"  # noqa: S608
        try:
            self._connection.execute(self._statements[asked], tuple(row.values()))
        except sqlite3.Error as error:
            raise _unusable(self._path, error) from error

    def update(self, table: str, key: Row, row: Row) -> None:
        """Set the columns of the row of this key; what refers to the row stays."""
        sets = ", ".join(f"{_name(column)} = ?" for column in row)
        where = " AND ".join(f"{_name(column)} = ?" for column in key)
        with self._errors():
            self._connection.execute(
                f"UPDATE {_name(table)} SET {sets} WHERE {where}",  # noqa: S608
                (*row.values(), *key.values()),
            )

    def delete(self, table: str, key: Row) -> None:
        """Remove the row of this key, if it is there."""
        where = " AND ".join(f"{_name(column)} = ?" for column in key)
        with self._errors():
            self._connection.execute(
                f"DELETE FROM {_name(table)} WHERE {where}",  # noqa: S608
                tuple(key.values()),
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _unusable(self._path, error) from error


@contextmanager
def open_for_reading(path: Path, beside: Path | None = None) -> Iterator[StateDb | None]:
    """The database at ``path``, or None where there is none; no file beside it is made or changed.

    The tables of the one at ``beside``, if there is one, are read as its own. A database with an
    unfinished write-ahead log is read from a private copy, since opening it would write. Raises
    HomeError ``database_unreadable``, ``no_temporary_folder``.
    """
    if not _is_there(path):
        yield None
        return
    with (
        temporary_folder() as scratch,
        _connected(_readable(path, scratch), path) as connection,
    ):
        if beside is not None and beside.exists():
            _attach(connection, _readable(beside, scratch), beside)
        yield StateDb(connection, path)


@contextmanager
def open_foreign(path: Path) -> Iterator[StateDb]:
    """A copy of a database that somebody else made, beside its log if it has one.

    What is asked of it ends after as many steps as a database of its size can need, and no value is
    longer than it is; see ``StateDb.is_plain`` for the rest. Raises HomeError
    ``database_unreadable``.
    """
    size = sum(_size(path.with_name(path.name + end)) for end in ("", "-wal"))
    steps = iter(range(_FOREIGN_STEPS + size // 256))
    with _connected(f"{path.absolute().as_uri()}?mode=rw", path) as connection:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(size, 1 << 16))
        connection.set_progress_handler(lambda: next(steps, None) is None, 1000)
        for setting in ("cell_size_check = ON", "trusted_schema = OFF"):
            connection.execute(f"PRAGMA {setting}")
        yield StateDb(connection, path)


@contextmanager
def open_for_writing(path: Path, beside: Path | None = None) -> Iterator[StateDb | None]:
    """The database at ``path`` for short transactions, or None where there is none.

    The tables of the one at ``beside``, if there is one, are read and written with its own, in the
    same transactions. Each of the two is then durable for itself.
    """
    if not _is_there(path):
        yield None
        return
    with _connected(f"{path.absolute().as_uri()}?mode=rw", path) as connection:
        if beside is not None and beside.exists():
            _attach(connection, f"{beside.absolute().as_uri()}?mode=rw", beside)
        yield StateDb(connection, path)


def _is_there(path: Path) -> bool:
    """Whether there is a database; SQLite would wait for a pipe. Raises HomeError."""
    if path.is_file():
        return True
    if path.exists():
        raise HomeError(
            "database_unreadable",
            f"{path} is not a regular file",
            hint="move away what lies there, start Codex once, which makes a new one, then run "
            "run `codex-session-sync AGAIN`",
        )
    return False


@contextmanager
def _connected(uri: str, path: Path) -> Iterator[sqlite3.Connection]:
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        with closing(connection):
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
            yield connection
    except sqlite3.Error as error:
        raise _unusable(path, error) from error


def _readable(path: Path, scratch: Path) -> str:
    """The URI under which a database is read without writing beside it."""
    log = path.with_name(path.name + "-wal")
    source, immutable = path, "1"
    if log.exists() and log.stat().st_size:
        source, immutable = _copy(path, log, scratch), "0"
    return f"{source.absolute().as_uri()}?mode=ro&immutable={immutable}"


def _attach(connection: sqlite3.Connection, uri: str, path: Path) -> None:
    try:
        connection.execute("ATTACH ? AS beside", (uri,))
        connection.execute("SELECT 1 FROM beside.sqlite_master LIMIT 1").fetchone()
    except sqlite3.Error as error:
        raise _unusable(path, error) from error


def _copy(path: Path, log: Path, scratch: Path) -> Path:
    """A consistent copy of database and log: neither changed while they were copied."""
    target = scratch / path.name
    for _ in range(COPY_ATTEMPTS):
        before = _state(path, log)
        shutil.copyfile(path, target)
        if log.exists():
            shutil.copyfile(log, scratch / log.name)
        if _state(path, log) == before:
            return target
    raise HomeError(
        "database_busy",
        f"{path} kept changing while it was read",
        hint="wait for Codex to finish its turn, then run `codex-session-sync AGAIN`",
    )


def _state(*paths: Path) -> list[tuple[int, int] | None]:
    return [(p.stat().st_size, p.stat().st_mtime_ns) if p.exists() else None for p in paths]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _unusable(path: Path, error: sqlite3.Error) -> HomeError:
    number = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if number in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return HomeError(
            "database_busy",
            f"{path} is locked by another program",
            hint="wait for Codex to finish its turn, then run `codex-session-sync AGAIN`",
        )
    if number in _REFUSED:
        return HomeError(
            "database_not_writable",
            f"the system refuses to read or write {path}: {error}",
            hint=f"{OUTSIDE}; else make room on its disk, or mend its owner and permissions, then "
            "run `codex-session-sync AGAIN`",
        )
    if isinstance(error, sqlite3.IntegrityError):
        return HomeError(
            "row_not_kept",
            f"{path} does not take a row: {error}",
            hint="the package's row does not fit this release's columns; report it",
        )
    return HomeError(
        "database_unreadable",
        f"{path} cannot be used: {error}",
        hint="see `codex doctor`; move the database away and start Codex, which makes a new one; "
        "then "
        "run `codex-session-sync AGAIN`",
    )


def _name(identifier: str) -> str:
    """An SQL identifier, quoted."""
    return '"' + identifier.replace('"', '""') + '"'


def _parts(values: Sequence[str]) -> Iterable[Sequence[str]]:
    return (values[i : i + _VARIABLES] for i in range(0, len(values), _VARIABLES))
