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
    if not sys.stderr.isatty():
        yield _ignore
        return
    bar = _LazyBar(title, total)
    try:
        yield bar.advance
    finally:
        bar.stop()


def _ignore(_: int) -> None:
    return None


class _LazyBar:
    """Becomes visible once the work has lasted DELAY_S."""

    def __init__(self, title: str, total: int | None) -> None:
        self._title = title
        self._total = total
        self._since = time.monotonic()
        self._pending = 0
        self._progress: Progress | None = None

    def advance(self, size: int) -> None:
        self._pending += size
        if self._pending < STEP_BYTES:
            return
        if self._progress is None:
            if time.monotonic() - self._since < DELAY_S:
                return
            self._progress = _bar()
            self._progress.add_task(self._title, total=self._total)
            self._progress.start()
        self._progress.advance(self._progress.task_ids[0], self._pending)
        self._pending = 0

    def stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
