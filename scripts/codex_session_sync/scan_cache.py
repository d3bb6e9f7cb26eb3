"""What scans found, kept for the next time: a file that may be deleted at any time.

The only module that knows this file, a database of SQLite in the user's folder for caches. It holds
what scans of sessions came to, by what tells that their files have not changed since: device,
inode, size, times of change. What depends on code is kept for this very code. Where the file cannot
be read or written, everything is read anew, and nobody is told.
"""

from __future__ import annotations

import atexit
import hashlib
import io
import os
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from .lineage.fingerprint import Buffer
from .model import Slice

VARIABLE = "CODEX_SESSION_SYNC_CACHE"
"""Names the folder of the cache; ``off``: there is none."""

LIMIT_BYTES = 512 << 20
"""What is kept at most; what was not used for longest goes first."""

SETTLED_NS = 20_000_000
"""A file that changed so shortly before it was read may change again within one tick of its
clock; the same is done by git, which calls such a file racy."""

_BATCH_BYTES = 16 << 20
_DAY_S = 86_400
_WAIT_S = 0.2
_DEPENDS_ON = (
    *("scan_state.py", "scanning.py", "facts.py", "claims.py", "policy.py", "roots.py"),
    *("model.py", "errors.py", "regular.py", "lineage/fingerprint.py", "codex/inventory.py"),
    *("codex/items.py", "codex/rollout.py"),
)
_PART_BYTES = 1 << 20
_TABLE_VERSION = 1
_TABLE = """
CREATE TABLE scans (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, name TEXT NOT NULL, size INTEGER NOT NULL,
    used INTEGER NOT NULL, header INTEGER NOT NULL, length INTEGER NOT NULL, digest BLOB NOT NULL,
    state BLOB NOT NULL
);
CREATE INDEX scans_by_name ON scans (name, size);
"""
_INSERT = (
    "INSERT OR REPLACE INTO scans (key, name, size, used, header, length, digest, state) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_MAKE_ROOM = "UPDATE scans SET state = zeroblob(?) WHERE key = ? RETURNING id"
_FIND = "SELECT id, used, header, length, digest FROM scans WHERE "


class Key(NamedTuple):
    """What a session's files are now: a digest of what tells it, and when they last changed."""

    digest: bytes
    changed_ns: int

    def settled(self, moment_ns: int) -> bool:
        """Whether the files had not just been changed at a time."""
        return self.changed_ns < moment_ns - SETTLED_NS


def key_of(slices: Sequence[Slice]) -> Key | None:
    """The key of a session with these slices; None where a file is not to be had."""
    found: list[object] = [_code(), sys.byteorder]
    newest = 0
    for part in slices:
        try:
            status = os.stat(part.file.path)  # noqa: PTH116 - a third of the time of Path.stat
        except OSError:
            return None
        times = (status.st_mtime_ns, status.st_ctime_ns)
        newest = max(newest, *times)
        end = part.end and (part.end.segment_id, part.end.end_ordinal, part.end.end_offset)
        found.append((part.file.thread_id, part.file.segment_id, end, part.limit))
        found.append((status.st_dev, status.st_ino, status.st_size, *times))
    text = repr(found).encode()
    return Key(hashlib.sha256(text).digest(), newest)


def name_of(slices: Sequence[Slice]) -> str:
    """What copies of a session's newest file, and longer ones of it, have in common."""
    file = slices[-1].file
    return f"{file.thread_id}/{file.segment_id}/{len(slices)}"


class Kept:
    """A state as it was kept, to be read from its beginning: ``header`` is the length of its first
    part. It is what was kept if all of it was read and ``is_whole``."""

    def __init__(self, stream: BinaryIO | sqlite3.Blob, header: int, digest: bytes) -> None:
        self.header = header
        self._stream = stream
        self._digest = digest
        self._found = hashlib.sha256()

    @classmethod
    def of(cls, parts: Sequence[Buffer]) -> Kept:
        """One that is at hand."""
        data = b"".join(parts)
        return cls(io.BytesIO(data), len(parts[0]), hashlib.sha256(data).digest())

    def take(self, length: int) -> bytearray:
        """The next bytes. Raises ValueError where there are no more so many."""
        data = bytearray()
        while len(data) < length:
            part = self._read(min(_PART_BYTES, length - len(data)))
            if not part:
                raise ValueError("the state is too short")
            self._found.update(part)
            data += part
        return data

    def is_whole(self) -> bool:
        """Whether what was taken is all that was kept, as it was kept."""
        return not self._read(1) and self._found.digest() == self._digest

    def _read(self, length: int) -> bytes:
        """The next bytes; none where the file cannot be read any more."""
        try:
            return self._stream.read(length)
        except sqlite3.Error:
            return b""


class ScanCache:
    """The cache in one file; without a path it keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._database = None if path is None else _opened(path)
        self._pending = 0
        self._kept = False
        self._used: list[int] = []

    def find(self, key: Key) -> Iterator[Kept]:
        """What was kept for this key, if anything was."""
        yield from self._states("key = ?", (key.digest,))

    def beginnings(self, name: str, size: int, most: int = 3) -> Iterator[Kept]:
        """What was kept of sessions of this name of which so many bytes or fewer were read."""
        where = "name = ? AND size <= ? ORDER BY size DESC LIMIT ?"
        yield from self._states(where, (name, size, most))

    def keep(self, key: Key, name: str, size: int, state: Sequence[Buffer]) -> None:
        """Keep what a scan came to, in parts; ``size``: the bytes of the newest file it read."""
        length, digest = sum(map(len, state)), hashlib.sha256()
        if self._database is None or length > LIMIT_BYTES // 4:
            return
        for part in state:
            digest.update(part)
        row = (key.digest, name, size, int(time.time()), len(state[0]), length, digest.digest())
        try:
            if length <= _PART_BYTES:
                self._database.execute(_INSERT, (*row, b"".join(state)))
            else:
                self._keep_large(self._database, row, state)
            self._kept = True
            self._pending += length
            if self._pending > _BATCH_BYTES:
                self._database.commit()
                self._pending = 0
        except sqlite3.Error:
            self._give_up()

    def _keep_large(
        self, database: sqlite3.Connection, row: tuple[object, ...], state: Sequence[Buffer]
    ) -> None:
        """Write a state part by part, so that it is not in memory twice."""
        database.execute(_INSERT, (*row, b""))
        made = database.execute(_MAKE_ROOM, (sum(map(len, state)), row[0])).fetchall()
        with database.blobopen("scans", "state", made[0][0]) as blob:
            for part in state:
                blob.write(part)

    def close(self) -> None:
        """Write what is left to write, and make room."""
        if self._database is None:
            return
        try:
            now = int(time.time())
            used = ((now, number) for number in self._used)
            self._database.executemany("UPDATE scans SET used = ? WHERE id = ?", used)
            if self._kept:
                self._make_room(self._database)
            self._database.commit()
            self._database.close()
        except sqlite3.Error:
            self._give_up()
        self._database = None

    def _states(self, where: str, values: tuple[object, ...]) -> Iterator[Kept]:
        for number, used, header, length, digest in self._rows(_FIND + where, values):
            if used < time.time() - _DAY_S:
                self._used.append(number)
            if length > _PART_BYTES:
                if self._database is None:
                    return
                try:
                    with self._database.blobopen("scans", "state", number, readonly=True) as blob:
                        yield Kept(blob, header, digest)
                except sqlite3.Error:
                    self._give_up()
            else:
                for (state,) in self._rows("SELECT state FROM scans WHERE id = ?", (number,)):
                    yield Kept(io.BytesIO(state), header, digest)

    def _rows(self, query: str, values: tuple[object, ...]) -> list[Any]:
        if self._database is None:
            return []
        try:
            return self._database.execute(query, values).fetchall()
        except sqlite3.Error:
            self._give_up()
            return []

    def _make_room(self, database: sqlite3.Connection) -> None:
        [(held,)] = database.execute("SELECT total(length) FROM scans").fetchall()
        if held <= LIMIT_BYTES:
            return
        oldest = database.execute("SELECT id, length FROM scans ORDER BY used").fetchall()
        gone = []
        for number, length in oldest:
            if held <= LIMIT_BYTES * 3 // 4:
                break
            gone.append((number,))
            held -= length
        database.executemany("DELETE FROM scans WHERE id = ?", gone)

    def _give_up(self) -> None:
        """Do without it from now on; a damaged file goes."""
        if self._database is None or self._path is None:
            return
        database, self._database = self._database, None
        damaged = False
        try:
            database.rollback()
            database.execute("SELECT count(*) FROM scans").fetchall()
        except sqlite3.OperationalError:
            pass
        except sqlite3.Error:
            damaged = True
        database.close()
        if damaged:
            self._path.unlink(missing_ok=True)


def current() -> ScanCache:
    """The cache of this process, as the environment says."""
    return _cache(os.environ.get(VARIABLE))


@cache
def _cache(told: str | None) -> ScanCache:
    made = ScanCache(_path(told))
    atexit.register(made.close)
    return made


def _path(told: str | None) -> Path | None:
    """The file of the cache, in a folder of this user's alone; None where there is none."""
    if told == "off":
        return None
    if told:
        folder = Path(told)
    else:
        from platformdirs import user_cache_path

        folder = user_cache_path("codex-session-sync", appauthor=False)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        foreign = os.name == "posix" and folder.stat().st_uid != os.geteuid()
    except OSError:
        return None
    return None if foreign else folder / "scans.sqlite3"


def _opened(path: Path) -> sqlite3.Connection | None:
    try:
        # Nobody else may read it: it has the first words of conversations.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        database = sqlite3.connect(path, timeout=_WAIT_S)
    except (OSError, sqlite3.Error):
        return None
    try:
        database.execute("PRAGMA synchronous = OFF")
        [(version,)] = database.execute("PRAGMA user_version").fetchall()
        if version != _TABLE_VERSION:
            # Of another release, or new; whatever it has can be found again.
            database.executescript(f"DROP TABLE IF EXISTS scans; {_TABLE}")
            database.execute(f"PRAGMA user_version = {_TABLE_VERSION}")
    except sqlite3.OperationalError:
        # Somebody else writes to it, or nobody may; what is in it can be read all the same.
        return database
    except sqlite3.DatabaseError:
        database.close()
        path.unlink(missing_ok=True)
        return None
    return database


@cache
def _code() -> str:
    """A digest of the code that what is kept depends on."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for name in _DEPENDS_ON:
        digest.update((here / name).read_bytes())
    return digest.hexdigest()
