"""What scans found, kept for the next time: a file that may be deleted at any time.

The only module that knows this file, a database of SQLite in the user's folder for caches. It holds
what scans of sessions came to, by what tells that their files have not changed since: device,
inode, size, times of change. What depends on code is kept for this very code. Where the file cannot
be read or written, everything is read anew, and nobody is told.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

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
    *("scan_state.py", "scanning.py", "claims.py", "policy.py", "model.py"),
    *("lineage/fingerprint.py", "codex/rollout.py"),
)
_TABLE = """
CREATE TABLE IF NOT EXISTS scans (
    key BLOB PRIMARY KEY, name TEXT NOT NULL, size INTEGER NOT NULL, used INTEGER NOT NULL,
    length INTEGER NOT NULL, digest BLOB NOT NULL, state BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS scans_by_name ON scans (name, size);
"""


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


class ScanCache:
    """The cache in one file; without a path it keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._database = None if path is None else _opened(path)
        self._pending = 0
        self._kept = False
        self._used: list[bytes] = []

    def find(self, key: Key) -> bytes | None:
        """What was kept for this key."""
        query = "SELECT state, digest, key, used FROM scans WHERE key = ?"
        return next(self._states(query, (key.digest,)), None)

    def beginnings(self, name: str, size: int, most: int = 3) -> Iterator[bytes]:
        """What was kept of sessions of this name of which so many bytes or fewer were read."""
        query = (
            "SELECT state, digest, key, used FROM scans WHERE name = ? AND size <= ? "
            "ORDER BY size DESC LIMIT ?"
        )
        yield from self._states(query, (name, size, most))

    def keep(self, key: Key, name: str, size: int, state: bytes) -> None:
        """Keep what a scan came to; ``size``: the bytes of the newest file that it read."""
        if self._database is None or len(state) > LIMIT_BYTES // 4:
            return
        digest = hashlib.sha256(state).digest()
        row = (key.digest, name, size, int(time.time()), len(state), digest, state)
        try:
            self._database.execute("INSERT OR REPLACE INTO scans VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            self._kept = True
            self._pending += len(state)
            if self._pending > _BATCH_BYTES:
                self._database.commit()
                self._pending = 0
        except sqlite3.Error:
            self._give_up()

    def close(self) -> None:
        """Write what is left to write, and make room."""
        if self._database is None:
            return
        try:
            now = int(time.time())
            used = ((now, key) for key in self._used)
            self._database.executemany("UPDATE scans SET used = ? WHERE key = ?", used)
            if self._kept:
                self._make_room(self._database)
            self._database.commit()
            self._database.close()
        except sqlite3.Error:
            self._give_up()
        self._database = None

    def _states(self, query: str, values: tuple[object, ...]) -> Iterator[bytes]:
        if self._database is None:
            return
        try:
            rows = self._database.execute(query, values).fetchall()
        except sqlite3.DatabaseError:
            self._give_up()
            return
        for state, digest, key, used in rows:
            if hashlib.sha256(state).digest() == digest:
                if used < time.time() - _DAY_S:
                    self._used.append(key)
                yield state

    def _make_room(self, database: sqlite3.Connection) -> None:
        [(held,)] = database.execute("SELECT total(length) FROM scans").fetchall()
        if held <= LIMIT_BYTES:
            return
        oldest = database.execute("SELECT key, length FROM scans ORDER BY used").fetchall()
        gone = []
        for key, length in oldest:
            if held <= LIMIT_BYTES * 3 // 4:
                break
            gone.append((key,))
            held -= length
        database.executemany("DELETE FROM scans WHERE key = ?", gone)

    def _give_up(self) -> None:
        """Do without it from now on; a damaged file goes."""
        assert self._database is not None
        assert self._path is not None
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
        database.executescript(_TABLE)
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
