"""A progress bar on stderr, for work that takes longer than a moment."""

from __future__ import annotations

import sys
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
    with _progress(_LazyBar(title, total, STEP_BYTES)) as advance:
        yield advance


@contextmanager
def item_progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """As ``byte_progress``, of things that are counted one by one."""
    with _progress(_LazyBar(title, total, 1)) as advance:
        yield advance


@contextmanager
def _progress(bar: _LazyBar) -> Iterator[Callable[[int], None]]:
    if not sys.stderr.isatty():
        yield _ignore
        return
    try:
        yield bar.advance
    finally:
        bar.stop()


def _ignore(_: int) -> None:
    return None


class _LazyBar:
    """Becomes visible once the work has lasted DELAY_S."""

    def __init__(self, title: str, total: int | None, step: int) -> None:
        self._title = title
        self._total = total
        self._step = step
        self._since = time.monotonic()
        self._pending = 0
        self._progress: Progress | None = None

    def advance(self, size: int) -> None:
        self._pending += size
        if self._pending < self._step:
            return
        if self._progress is None:
            if time.monotonic() - self._since < DELAY_S:
                return
            self._progress = _bar(counted=self._step == 1)
            self._progress.add_task(self._title, total=self._total)
            self._progress.start()
        self._progress.advance(self._progress.task_ids[0], self._pending)
        self._pending = 0

    def stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()


def _bar(*, counted: bool) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *((MofNCompleteColumn(),) if counted else (DownloadColumn(), TransferSpeedColumn())),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
