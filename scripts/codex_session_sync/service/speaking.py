"""What is said to the other side, and what was heard of it so far."""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

import orjson

from ..model import Json
from .frames import Frame, answer
from .importing import Told, added
from .jobs import no_totals

RUNS = 1000
"""Of so many runs the totals are known, those that were heard of last."""

TOLD_EVERY_S = 1.0


class UnheardError(Exception):
    """Nobody reads what is answered any more."""


@dataclass(slots=True)
class Outbox:
    """Where frames go, from either thread; a reader that is slow is waited for."""

    stream: IO[bytes]
    blocked_since: float | None = None
    """Since when a frame waits to be taken."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, frame: Json) -> None:
        """Write a frame. Raises UnheardError."""
        try:
            data = orjson.dumps(frame, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:  # a message names a file whose name is no UTF-8
            data = json.dumps(frame, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        try:
            with self._lock:
                self.blocked_since = time.monotonic()
                self.stream.write(data)
                self.stream.flush()
                self.blocked_since = None
        except (OSError, ValueError) as error:
            raise UnheardError from error


@dataclass(slots=True)
class Heard:
    """What was heard and done so far; ``failed``: that something was refused or failed."""

    totals: Json = field(default_factory=no_totals)
    frames: int = 0
    requests: int = 0
    repeated: int = 0
    refused: int = 0
    runs: OrderedDict[str, Json] = field(default_factory=OrderedDict)
    completed: bool = False
    worker_error: str | None = None
    worker_lag: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether there is something that was not done."""
        return bool(self.refused or self.totals["failed"])

    def begin(self) -> None:
        """Forget what the worker before said of itself."""
        self.completed, self.worker_error, self.worker_lag = False, None, 0.0

    def answered(self, run_id: str, result: Json) -> None:
        """Take note of what a request came to; what was told before counts once."""
        self.requests += 1
        self.repeated += result["repeated"]
        totals = no_totals() if result["repeated"] else result["totals"]
        self.totals = added(self.totals, totals)
        self.runs[run_id] = added(self.runs.get(run_id, no_totals()), totals)
        self.runs.move_to_end(run_id)
        while len(self.runs) > RUNS:
            self.runs.popitem(last=False)


def telling(out: Callable[[Json], None], frame: Frame, **more: object) -> Told:
    """A function that is told of bytes, and tells the other side now and then."""
    since = time.monotonic()
    counts = {"reading": 0, "writing": 0}

    def told(phase: str, count: int) -> None:
        nonlocal since
        counts[phase] += count
        if time.monotonic() - since > TOLD_EVERY_S:
            since = time.monotonic()
            progress = {"phase": phase, "bytes": counts[phase], **more}
            # Work that is under way is not given up because nobody hears of it.
            with suppress(UnheardError):
                out(answer(frame, "run.progress", progress))

    return told
