"""The index of a store: derived, and made anew by itself wherever it cannot be gone on with.

This module and ``indexing`` are all that know its SQLite; ``tables`` has its tables.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..errors import StoreError
from ..model import Notice
from ..regular import open_regular
from ..store.documents import entry_of
from ..store.gate import WAIT_SECONDS, gate
from ..store.lines import read_lines_from
from ..store.place import Store, not_writable, unreadable
from .indexing import Indexing, Progress
from .tables import DUMPED, TABLES, VERSION

T = TypeVar("T")

NAME = "events.sqlite3"
BUSY_SECONDS = 10.0
READER_WAIT_SECONDS = 3.0
"""How long who only reads waits for a writer, before what is indexed has to do."""


@dataclass(frozen=True, slots=True)
class Index:
    """An index that is open to be read."""

    connection: sqlite3.Connection

    def rows(
        self, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()
    ) -> sqlite3.Cursor:
        """The rows of a query. What is no Unicode in a value is like nothing that there is."""
        if isinstance(values, Mapping):
            return self.connection.execute(statement, {k: _plain(v) for k, v in values.items()})
        return self.connection.execute(statement, [_plain(value) for value in values])

    def dump(self) -> Iterator[tuple[Any, ...]]:
        """All that it holds, in an order that depends on nothing else."""
        for table in DUMPED:
            columns = len(list(self.rows(f"PRAGMA table_info({table})")))
            order = ", ".join(map(str, range(1, columns + 1)))
            for row in self.rows(f"SELECT * FROM {table} ORDER BY {order}"):  # noqa: S608
                yield table, *row
        for row in self.rows("SELECT rowid, text FROM words ORDER BY rowid"):
            yield "words", *row


@dataclass(frozen=True, slots=True)
class Updated:
    """What bringing an index up to date took: the imports that were put in, and whether it was made
    anew."""

    imports: int
    anew: bool


def _plain(value: Any) -> Any:
    """A value as SQLite takes it: an argument of bytes that are no UTF-8 has lone surrogates."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def index_path(store: Store) -> Path:
    """Where the index lies."""
    return store.derived / NAME


def consult(
    store: Store, question: Callable[[Index], T], progress: Progress | None = None
) -> tuple[T, list[Notice]]:
    """What the index, with all imports that ended, answers, and what is to be said of it.

    Where another command writes to the store, or nothing can be written to it, an index that is
    behind has to do. One that turns out to be damaged is made anew. Raises StoreError, and what
    ``question`` raises.
    """
    notices: list[Notice] = []
    if not _is_current(store):
        try:
            update(store, progress, READER_WAIT_SECONDS)
        except StoreError as error:
            if error.code not in ("store_locked", "store_not_writable") or _state(store) is None:
                raise
            notices.append(Notice("index_behind", f"{error.message}; newer imports are not shown"))

    def answered(index: Index) -> tuple[T, list[Notice]]:
        return question(index), notices + _unread(index)

    try:
        return _asked(store, answered)
    except sqlite3.DatabaseError:
        rebuild(store, progress)
    try:
        return _asked(store, answered)
    except sqlite3.DatabaseError as error:
        raise _not_writable(index_path(store), error) from error


def _unread(index: Index) -> list[Notice]:
    """The checkpoints that an index lacks, since they cannot be read."""
    return [
        Notice("store_damaged", f"{why}; what was said for its commit is not told")
        for (why,) in index.rows("SELECT message FROM unread ORDER BY checkpoint")
    ]


def _asked(store: Store, question: Callable[[Index], T]) -> T:
    with closing(_connect(index_path(store), "ro")) as connection:
        return question(Index(connection))


def update(store: Store, progress: Progress | None = None, wait: float = WAIT_SECONDS) -> Updated:
    """Put in the imports that are not in yet; make it anew where it is missing, damaged, of another
    version, or has what the truth does not have. Raises StoreError."""
    with gate(store.path, "events index", wait):
        state = _state(store)
        if state is not None:
            try:
                return Updated(_go_on(store, index_path(store), state, progress), anew=False)
            except sqlite3.DatabaseError:
                pass
        return _anew(store, progress)


def rebuild(store: Store, progress: Progress | None = None, wait: float = WAIT_SECONDS) -> Updated:
    """Take away all that is derived, and make it anew. Raises StoreError."""
    with gate(store.path, "events rebuild", wait):
        try:
            if store.derived.exists():
                shutil.rmtree(store.derived)
        except OSError as error:
            raise not_writable(store.derived, error) from error
        return _anew(store, progress)


def _anew(store: Store, progress: Progress | None) -> Updated:
    """A new index, which takes the old one's place once it is whole."""
    path = index_path(store)
    making = path.with_name(f"{NAME}.new")
    try:
        path.parent.mkdir(exist_ok=True)
        for left in (making, making.with_name(f"{making.name}-journal")):
            left.unlink(missing_ok=True)
        with closing(sqlite3.connect(making, isolation_level=None)) as connection:
            connection.executescript(
                f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {TABLES}"
                f"PRAGMA user_version = {VERSION};"
            )
            connection.execute("INSERT INTO state VALUES (?, 0, 0, '')", (store.store_id,))
        count = _go_on(store, making, (0, 0), progress)
        making.replace(path)
        path.with_name(f"{NAME}-journal").unlink(missing_ok=True)
    except sqlite3.OperationalError as error:
        raise _not_writable(path, error) from error
    except OSError as error:
        raise not_writable(path, error) from error
    return Updated(count, anew=True)


def _go_on(store: Store, path: Path, state: tuple[int, int], progress: Progress | None) -> int:
    """Put in what the catalog has from a byte on; returns how many imports that were."""
    count = 0
    with closing(_connect(path, "rw")) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN IMMEDIATE")
        indexing = Indexing(store, connection, progress)
        indexing.add_unread()
        for start, end, line in read_lines_from(store.catalog, "store_catalog", state[1]):
            if line["kind"] == "import":
                indexing.add(entry_of(line))
                count += 1
            elif line["kind"] == "checkpoint":
                indexing.add_checkpoint(entry_of(line))
            connection.execute(
                "UPDATE state SET catalog_start = ?, catalog_end = ?, catalog_line = ?",
                (start, end, _catalog_line(store, start, end)),
            )
        connection.execute("COMMIT")
    return count


def _is_current(store: Store) -> bool:
    """Whether the index has all that the catalog has for it, and nothing else."""
    state = _state(store)
    try:
        if state is None or _asked(store, _unread):
            return False
    except sqlite3.DatabaseError:
        return False
    lines = read_lines_from(store.catalog, "store_catalog", state[1])
    return all(line["kind"] not in ("import", "checkpoint") for _, _, line in lines)


def _state(store: Store) -> tuple[int, int] | None:
    """Where the last line of the catalog that is in the index begins and ends.

    None where there is no index that can be gone on with.
    """
    try:
        with closing(_connect(index_path(store), "ro")) as connection:
            [(version,)] = connection.execute("PRAGMA user_version")
            if version != VERSION:
                return None
            [(store_id, start, end, line)] = connection.execute("SELECT * FROM state")
    except (sqlite3.DatabaseError, ValueError):
        return None
    if store_id != store.store_id or _catalog_line(store, start, end) != line:
        return None
    return start, end


def _catalog_line(store: Store, start: int, end: int) -> str:
    """What the catalog has between two bytes; "" where it has nothing there."""
    try:
        with open_regular(store.catalog) as stream:
            stream.seek(start)
            data = stream.read(end - start)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise unreadable(store.catalog, error) from error
    return data.decode(errors="replace")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.as_uri()}?mode={mode}", uri=True, timeout=BUSY_SECONDS, isolation_level=None
    )


def _not_writable(path: Path, error: sqlite3.Error) -> StoreError:
    return not_writable(path, OSError(None, str(error)))
