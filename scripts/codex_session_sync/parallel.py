"""Sessions read on all processors, by processes that are copies of this one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from .errors import SyncError
from .model import HistoryMode, Slice
from .scan_state import dump
from .transcript import Wanted, read

CHUNK_BYTES = 2 << 20
MOST_PROCESSES = 8

Result = list[bytes] | SyncError
"""The state of a session that was read, as ``scan_state.dump`` gives it, or why it was not."""

_Job = tuple[tuple[Slice, ...], HistoryMode]


def read_in_processes(
    left: dict[int, Wanted],
) -> Generator[tuple[int, Result], None, None]:
    """Read sessions in other processes; those that are not told are still to be read."""
    processes = min(_processors(), MOST_PROCESSES, len(left))
    if processes < 2:
        return
    try:
        with ProcessPoolExecutor(processes, _context(), _begin) as pool:
            yield from _results(pool, left, 2 * processes)
    except (BrokenProcessPool, OSError, ImportError, NotImplementedError):
        # A sandbox may keep processes from being made, or what they share; others are killed.
        return


def _results(
    pool: ProcessPoolExecutor, left: dict[int, Wanted], most: int
) -> Generator[tuple[int, Result], None, None]:
    """What the processes find, as they find it; ``most`` chunks are on their way at a time."""
    chunks = _chunks(left)
    running: dict[Future[list[Result]], list[int]] = {}
    try:
        while chunks or running:
            while chunks and len(running) < most:
                chunk = chunks.pop()
                jobs = [(left[place].slices, left[place].mode) for place in chunk]
                running[pool.submit(_read_all, jobs)] = chunk
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                yield from zip(running.pop(done), done.result(), strict=True)
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise


def _chunks(left: dict[int, Wanted]) -> list[list[int]]:
    """Sessions to be read one after the other by a process; the largest at the end of the list."""
    chunks: list[list[int]] = [[]]
    size = 0
    for place in sorted(left, key=lambda place: left[place].size):
        if size > CHUNK_BYTES:
            chunks.append([])
            size = 0
        chunks[-1].append(place)
        size += left[place].size
    return chunks


def _read_all(jobs: Sequence[_Job]) -> list[Result]:
    """In another process: the states of sessions, as bytes."""
    found: list[Result] = []
    for slices, mode in jobs:
        try:
            found.append([bytes(part) for part in dump(read(slices, mode, None))])
        except SyncError as error:
            found.append(error)
    return found


def _begin() -> None:
    """In another process: leave it to the first one to be interrupted, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # One that was killed says nothing; what is left of it here would hold the lock of the home.
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _context() -> multiprocessing.context.BaseContext:
    # A copy of this process begins at once, but must not be made beside other threads.
    alone = sys.platform == "linux" and threading.active_count() == 1
    return multiprocessing.get_context("fork" if alone else "spawn")


def _processors() -> int:
    """How many this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1
