"""Locks: our own on a home, and those that Codex takes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import orjson
from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from .codex.history import HISTORY
from .durable import UNSUPPORTED, not_writable, unless_unsupported, write_atomic
from .errors import HomeError, SessionError
from .model import Json
from .moments import now
from .regular import open_if_any, read_regular, require_regular

LOCK = "lock"
HOLDER = "lock-holder.json"
TURN = "lock-turn"
PATIENT = ("serve", "ingest")
"""The commands that hold the home for one request after the other."""
PATIENCE_S = 30.0
_LOOK_S = 0.01
_LOOKS = 200
COORDINATION = ".coordination.lock"
"""Codex holds it, shared, while it opens and locks the lock file of a session."""


class LockHeldError(Exception):
    """Another command holds a folder; its text tells which, as the end of a sentence."""


@contextmanager
def home_lock(sync_dir: Path, command: str, patience: float = 0.0) -> Iterator[None]:
    """Hold the home for one writing command; the system frees it if the process dies.

    ``patience``: seconds to wait for whoever has it. One that holds it for a moment again and again
    (``PATIENT``) is waited for in any case, and lets who waits go first. Raises HomeError:
    ``home_locked``, naming the holder, if another one is at work; ``home_not_writable``.
    """
    try:
        sync_dir.mkdir(exist_ok=True)
        release = take(sync_dir, command, patience)
    except LockHeldError as error:
        raise HomeError(
            "home_locked",
            f"another sync is at work on this home{error}",
            hint="wait for it to end, then run `codex-session-sync AGAIN`",
        ) from error
    except OSError as error:
        raise not_writable(sync_dir, error) from error
    try:
        yield
    finally:
        release()


def take(folder: Path, command: str, wait: float = 0.0) -> Callable[[], None]:
    """Lock a folder for one command, which may wait for ``wait`` seconds; returns what frees it.

    Raises LockHeldError, OSError.
    """
    try:
        lock = _acquired(folder, wait)
    except Timeout as error:
        raise LockHeldError(_holder(folder)) from error
    try:
        holder = {"pid": os.getpid(), "since": now(), "command": command}
        write_atomic(folder / HOLDER, orjson.dumps(holder))
    except BaseException:
        lock.release()
        raise

    def release() -> None:
        with suppress(OSError):
            (folder / HOLDER).unlink(missing_ok=True)
        lock.release()

    return release


def _acquired(folder: Path, wait: float) -> BaseFileLock:
    """A folder's lock: the system's, or a file that names its process where there is none.

    Raises Timeout if it is held, OSError.
    """
    lock: BaseFileLock = FileLock(folder / LOCK, timeout=0)
    try:
        if wait:
            _in_turn(folder, lock, wait)
        else:
            lock.acquire()
    except Timeout:
        if wait or not _patient(folder):
            raise
        _in_turn(folder, lock, PATIENCE_S)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        lock = SoftFileLock(folder / f"{LOCK}.held", timeout=wait)
        lock.acquire()
    return lock


def _in_turn(folder: Path, lock: BaseFileLock, wait: float) -> None:
    """Wait for a lock; who waits has the turn, so that nobody who comes later gets it before.

    Raises Timeout, OSError.
    """
    until = time.monotonic() + wait
    with FileLock(folder / TURN).acquire(timeout=wait, poll_interval=_LOOK_S):
        lock.acquire(timeout=max(0.0, until - time.monotonic()), poll_interval=_LOOK_S)


def _patient(folder: Path) -> bool:
    """Whether a folder is held by a command that holds it for a moment only."""
    for _ in range(_LOOKS):
        holder = _read_holder(folder)
        if holder is not None:
            return holder.get("command") in PATIENT
        time.sleep(_LOOK_S)  # it has just been taken, and is not told yet
    return False


@contextmanager
def codex_index_lock(home: Path) -> Iterator[None]:
    """Hold the lock that Codex takes to append to ``session_index.jsonl``.

    Its lock file stays, as Codex leaves it; releases that take none are not kept out. Raises
    HomeError ``not_a_file``.
    """
    with _flock(home / "session_index.jsonl.lock"):
        yield


@contextmanager
def codex_history_lock(home: Path) -> Iterator[None]:
    """Hold the lock that Codex takes, on the file itself, to append to ``history.jsonl``.

    Raises HomeError ``not_a_file``.
    """
    with _flock(home / HISTORY):
        yield


@contextmanager
def codex_thread_lock(home: Path, session_id: str) -> Iterator[None]:
    """Hold the lock under which Codex writes to one session.

    Raises SessionError ``session_busy`` if Codex has the session open, HomeError ``not_a_file`` if
    the lock is no file. Releases before 0.147 take no such lock and have no folder for it;
    nothing is locked then.
    """
    folder = home / "thread-writer-locks"
    if sys.platform == "win32" or not folder.is_dir():
        yield
        return
    coordination, path = folder / COORDINATION, folder / f"{session_id}.lock"
    # Codex opens and removes lock files under this one, so that a lock is never of a removed file.
    coordinated = coordination.exists()
    with ExitStack() as held:
        with _flock(coordination):
            held.enter_context(_locked(path, session_id))
        try:
            yield
        finally:
            with _flock(coordination):
                if coordinated:
                    path.unlink(missing_ok=True)
                held.close()


def codex_has_open(home: Path, session_id: str) -> bool:
    """Whether another process writes to a session; nothing in the home is made or removed.

    Raises HomeError ``not_a_file`` if the lock is no file, OSError.
    """
    if sys.platform == "win32":
        return False
    import fcntl

    folder = home / "thread-writer-locks"
    # Codex takes its lock under the coordination lock, so that this short look is never in its way.
    with _flock(folder / COORDINATION):
        opened = open_if_any(folder / f"{session_id}.lock")
        if opened is None:
            return False
        with opened as stream:
            try:
                with unless_unsupported():
                    fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


@contextmanager
def _locked(path: Path, session_id: str) -> Iterator[None]:
    """Hold a session's lock file. Raises SessionError ``session_busy``."""
    if sys.platform == "win32":
        raise NotImplementedError
    import fcntl

    require_regular(path)
    with path.open("ab") as stream:
        try:
            with unless_unsupported():
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SessionError(
                "session_busy",
                "Codex has this session open",
                hint="close it there, then run `codex-session-sync AGAIN`; the other sessions are "
                "not "
                "affected",
                session_id=session_id,
            ) from error
        yield


@contextmanager
def _flock(path: Path) -> Iterator[None]:
    if sys.platform == "win32":
        yield
        return
    import fcntl

    opened = open_if_any(path)
    if opened is None:
        yield
        return
    with opened as stream:
        with unless_unsupported():
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield  # closing the file frees it


def _holder(folder: Path) -> str:
    try:
        found = _read_holder(folder) or {}
        return f": process {found['pid']}, since {found['since']} ({found['command']})"
    except KeyError:
        return ""


def _read_holder(folder: Path) -> Json | None:
    """Who holds a folder; None where nobody says so."""
    try:
        found = orjson.loads(read_regular(folder / HOLDER))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
