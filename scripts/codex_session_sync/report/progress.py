"""A progress bar on stderr, for work that takes longer than a moment."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

DELAY_S = 1.0
"""How long work may take before a bar is shown."""

STEP_BYTES = 1 << 20


@contextmanager
def byte_progress(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Yields a function to be told of bytes done; draws only on a terminal, and only if slow."""
    with _shown(_LazyBar(title, total, STEP_BYTES)) as bar:
        yield bar.advance if bar else _ignore


@contextmanager
def item_progress(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """As ``byte_progress``, of things that are counted one by one."""
    with _shown(_LazyBar(title, total, 1)) as bar:
        yield bar.advance if bar else _ignore


@contextmanager
def reading_progress(title: str) -> Iterator[Callable[[int, int | None], None]]:
    """As ``byte_progress``; the function is told how many bytes are done, and of how many."""
    with _shown(_LazyBar(title, None, STEP_BYTES)) as bar:
        yield bar.reach if bar else _ignore


@contextmanager
def _shown(bar: _LazyBar) -> Iterator[_LazyBar | None]:
    if not _watched():
        yield None
        return
    try:
        yield bar
    finally:
        bar.stop()


def _watched() -> bool:
    """Whether somebody looks at stderr, through a terminal that can move back in a line."""
    return (
        sys.stderr.isatty()
        and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")
        and not os.environ.get("CI")
    )


def _ignore(*_: int | None) -> None:
    return None


class _LazyBar:
    """Becomes visible once the work has lasted DELAY_S."""

    def __init__(self, title: str, total: int | None, step: int) -> None:
        self._title = title
        self._total = total
        self._step = step
        self._since = time.monotonic()
        self._pending = 0
        self._done = 0
        self._progress: Progress | None = None
        self._lock = threading.Lock()

    def advance(self, size: int) -> None:
        """So much more is done; any thread may say so."""
        with self._lock:
            self._pending += size
            if self._pending >= self._step:
                self._show()

    def _show(self) -> None:
        if self._progress is None:
            if time.monotonic() - self._since < DELAY_S:
                return
            self._progress = _bar(counted=self._step == 1)
            self._progress.add_task(self._title, total=self._total)
            self._progress.start()
        self._done += self._pending
        self._progress.update(self._progress.task_ids[0], completed=self._done, total=self._total)
        self._pending = 0

    def reach(self, done: int, total: int | None) -> None:
        """So much is done, of so much."""
        self._total = total
        self.advance(done - self._done - self._pending)

    def stop(self) -> None:
        """Leave the line empty, and the cursor where it was."""
        if self._progress is not None:
            self._progress.stop()


def _bar(*, counted: bool) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.text import Text

    class RateColumn(ProgressColumn):
        """How many are done in a second, or in a minute where that is less than one."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            if speed is None:
                return Text("")
            return Text(f"{speed:.0f}/s" if speed >= 1 else f"{60 * speed:.0f}/min")

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        *(
            (MofNCompleteColumn(), RateColumn())
            if counted
            else (DownloadColumn(), TransferSpeedColumn())
        ),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        expand=True,
    )
