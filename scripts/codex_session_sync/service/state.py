"""Where the service keeps what must outlive it, and which processes are at it."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import orjson
from filelock import FileLock, Timeout

from ..model import Json
from ..regular import read_regular

FOLDER = "service"
"""Below ``session-sync/`` of the home."""

LOCK = "lock"
WORKER = "worker.json"
"""How the worker of a process is, told in its own folder."""

START_S = 60.0
"""How long a process waits for another one that is beginning."""


@dataclass(frozen=True, slots=True)
class ServiceState:
    """The folder of the service in a home, and what of it is this process's own."""

    folder: Path
    instance: str

    @property
    def keys(self) -> Path:
        """Answers, by idempotency key."""
        return self.folder / "keys"

    @property
    def uploads(self) -> Path:
        """Chunks that wait for the rest of their session."""
        return self.folder / "uploads"

    @property
    def jobs(self) -> Path:
        """Jobs, one file each."""
        return self.folder / "jobs"

    @property
    def database(self) -> Path:
        """What is looked up of jobs; made anew from their files if it is lost."""
        return self.folder / "jobs.sqlite3"

    @property
    def logs(self) -> Path:
        """What workers said on stderr, and where defects struck."""
        return self.folder / "logs"

    @property
    def own(self) -> Path:
        """The folder that goes with this process: its lock, records on their way, its worker."""
        return self.folder / "instances" / self.instance

    def lives(self, instance: str) -> bool:
        """Whether another process of the service is at work."""
        return instance == self.instance or _lives(self.folder / "instances" / instance)


@contextmanager
def open_state(folder: Path) -> Iterator[ServiceState]:
    """The state in a folder, which is made; what processes that were killed left goes.

    Raises OSError.
    """
    for name in ("keys", "uploads", "jobs", "logs", "instances"):
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    state = ServiceState(folder, f"{os.getpid()}-{secrets.token_hex(4)}")
    lock = FileLock(state.own / LOCK, timeout=0)
    # One at a time: a folder whose lock is not taken yet looks like one of a process that died.
    with FileLock(folder / LOCK, timeout=START_S):
        state.own.mkdir(mode=0o700)
        lock.acquire()
        for other in (folder / "instances").iterdir():
            if not state.lives(other.name):
                shutil.rmtree(other, ignore_errors=True)
    try:
        yield state
    finally:
        with suppress(OSError):
            lock.release()
        shutil.rmtree(state.own, ignore_errors=True)


def older(paths: Iterable[Path], before: float) -> Iterator[Path]:
    """The paths that changed last before a time; one that another process took away is none."""
    for path in paths:
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                yield path


def held_in(folder: Path) -> Json:
    """What a folder of the service holds beside jobs, told without touching it."""
    workers = []
    for path in sorted(folder.glob(f"instances/*/{WORKER}")):
        with suppress(OSError, ValueError):
            if _lives(path.parent):
                workers.append(orjson.loads(read_regular(path)))
    return {
        "answers": sum(1 for _ in folder.glob("keys/??/*.json")),
        "uploads": sum(1 for _ in folder.glob("uploads/*/upload.json")),
        "upload_bytes": sum(path.stat().st_size for path in folder.glob("uploads/*/*.part")),
        "workers": workers,
    }


def _lives(folder: Path) -> bool:
    """Whether the process that a folder goes with is at work: then it has its lock."""
    if not folder.is_dir():
        return False
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False
