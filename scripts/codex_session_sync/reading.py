"""Many sessions read at once, on all processors."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing

from .codex.inventory import SegmentLookup
from .errors import SessionError, SyncError
from .model import HistoryMode, RolloutFile, Slice, Transcript
from .scan_cache import Kept
from .scan_state import dump, load
from .scanning import Progress
from .transcript import Wanted, kept, known, read, wanted

WORTHWHILE_BYTES = 32 << 20
"""What must be read for processes to be started; they take as long as some megabytes."""

CHUNK_BYTES = 2 << 20
MOST_PROCESSES = 8

Read = Transcript | SessionError
_Job = tuple[tuple[Slice, ...], HistoryMode]
_Result = list[bytes] | SyncError


def scan_all(
    tips: Sequence[RolloutFile], lookup: SegmentLookup, progress: Progress | None = None
) -> list[Read]:
    """What ``scan`` finds of each session, or the error that it raises.

    Raises PackageError where the package is unsafe as a whole.
    """
    found = dict(scan_each(tips, lookup, progress))
    return [found[place] for place in range(len(tips))]


def scan_each(
    tips: Sequence[RolloutFile], lookup: SegmentLookup, progress: Progress | None = None
) -> Generator[tuple[int, Read], None, None]:
    """As ``scan_all``, each with its place as soon as it is read; none is kept here."""
    left: dict[int, Wanted] = {}
    for place, tip in enumerate(tips):
        try:
            one = wanted(tip, lookup)
            transcript = known(one, progress)
        except SessionError as error:
            yield place, error
            continue
        if transcript is None:
            left[place] = one
        else:
            yield place, transcript
    with closing(_parallel(left)) as results:
        for place, result in results:
            if progress:
                progress(left[place].size)
            yield place, _taken(left.pop(place), result)
    for place, one in left.items():
        try:
            transcript = kept(one, read(one.slices, one.mode, progress))
        except SessionError as error:
            yield place, error
        else:
            yield place, transcript


def _taken(one: Wanted, result: _Result) -> Read:
    if isinstance(result, list):
        state = load(Kept.of(result), one.slices, None)
        assert state is not None
        return kept(one, state, result)
    if isinstance(result, SessionError):
        return result
    raise result


def _parallel(left: dict[int, Wanted]) -> Generator[tuple[int, _Result], None, None]:
    """Read sessions in other processes; those that are not told are still to be read."""
    processes = min(_processors(), MOST_PROCESSES, len(left))
    if processes < 2 or sum(one.size for one in left.values()) < WORTHWHILE_BYTES:
        return
    try:
        with ProcessPoolExecutor(processes, _context(), _begin) as pool:
            yield from _results(pool, left, 2 * processes)
    except (BrokenProcessPool, OSError, ImportError, NotImplementedError):
        # A sandbox may keep processes from being made, or what they share; others are killed.
        return


def _results(
    pool: ProcessPoolExecutor, left: dict[int, Wanted], most: int
) -> Generator[tuple[int, _Result], None, None]:
    """What the processes find, as they find it; ``most`` chunks are on their way at a time."""
    chunks = _chunks(left)
    running: dict[Future[list[_Result]], list[int]] = {}
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


def _read_all(jobs: Sequence[_Job]) -> list[_Result]:
    """In another process: the states of sessions, as bytes."""
    found: list[_Result] = []
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
