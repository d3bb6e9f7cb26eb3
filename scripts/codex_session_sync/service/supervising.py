"""Watching over a worker: started, asked whether it lives, started again, ended.

A worker may die at any moment and is started anew, after a while that grows with each failure. What
it had sent stands; what it sends again is known by its key.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import orjson

from ..durable import own_name
from ..errors import RequestError, UsageError
from ..model import Json
from ..moments import now
from .frames import PROTOCOL
from .inbox import Inbox
from .limits import ServiceLimits
from .serving import Service
from .speaking import Outbox, UnheardError
from .state import WORKER, ServiceState
from .workers import END_S, Worker, start

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

Ended = Literal["completed", "stopped", "cancelled", "failed"]

HEALTHY_S = 60.0
"""A worker that ran for so long has come right: its failures before count no more."""
LONGEST_WAIT_S = 60.0
TELL_EVERY_S = 1.0
MOST_ITEMS = 1000
_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Care:
    """How a worker is watched over, in seconds.

    ``probe``: between questions whether it lives. ``silence``: after which it counts as dead.
    ``stop``: what it has to end in. ``wait``: before it is started again, twice as long each time.
    ``restarts``: how often in a row at most; None: as often as needed.
    """

    probe: float = 10.0
    silence: float = 60.0
    stop: float = 10.0
    wait: float = 0.5
    restarts: int | None = None


@dataclass(slots=True)
class Watch:
    """What happened to the worker."""

    starts: int = 0
    failures: int = 0
    exit_code: int | None = None
    problem: str | None = None
    lag: float = 0.0
    """The longest that a frame waited, or that the worker said it was behind."""


class _Nobody(io.BytesIO):
    """Hears what is said while there is no worker."""

    def write(self, data: Buffer, /) -> int:
        """Forget it."""
        return len(memoryview(data))


@dataclass(slots=True)
class Supervisor:
    """Runs one worker for one source until it completes, is stopped, or fails too often."""

    service: Service
    state: ServiceState
    command: Sequence[str]
    source: str
    mode: str
    planned: bool
    run_id: str
    care: Care
    limits: ServiceLimits
    job_id: str | None = None
    restarting: Callable[[float], None] = lambda _: None
    """Told that the worker failed, and in how many seconds it is started again."""
    watch: Watch = field(default_factory=Watch)
    _stopping: float | None = None
    _cancelled: bool = False
    _told_to_stop: bool = False
    _probed: float = 0.0
    _died: float | None = None
    _looked: float = 0.0

    @property
    def log(self) -> Path:
        """Where the worker's stderr is kept."""
        return self.state.logs / f"worker-{own_name(self.source, 'worker')}.log"

    def stop(self) -> None:
        """Have the worker end, and the run with it; safe to call from a signal's handler."""
        if self._stopping is None:
            self._stopping = time.monotonic()

    def run(self) -> Ended:
        """Run the worker, as often as needed. Raises UsageError if it cannot be started."""
        try:
            ended: Ended | None = None
            while ended is None:
                began = time.monotonic()
                completed = self._once()
                if completed and self._stopping is None:
                    ended = "completed"
                elif self._stopping is None:
                    self._failed(time.monotonic() - began)
                    ended = self._rested()
                else:
                    ended = self._stopped()
            return ended
        finally:
            self._file.unlink(missing_ok=True)

    def _stopped(self) -> Ended:
        return "cancelled" if self._cancelled else "stopped"

    def _once(self) -> bool:
        """Run the worker until it ends; whether it did all that it was to do."""
        watch, heard = self.watch, self.service.heard
        watch.problem = None
        try:
            worker = start(self.command, self.log)
        except UsageError as error:
            if not watch.starts:
                raise
            watch.problem = error.code  # it was there, and may come again
            return False
        watch.starts += 1
        heard.begin()
        self._told_to_stop = False
        self._probed = 0.0
        self._died = None
        over = threading.Event()
        out = self.service.out = Outbox(worker.into)
        inbox = self.service.listen(worker.out_of)
        guard = threading.Thread(target=self._guard, args=(worker, out, over), daemon=True)
        guard.start()
        try:
            self._say("run.start", self._start())
            while self._goes_on(worker, inbox):
                line = inbox.take(0.0 if self.service.work() else _LOOK_S)
                if line is not None:
                    self.service.handle(line)
                    self.service.turn()
        except UnheardError:
            pass  # it has ended, or was killed
        finally:
            watch.exit_code = worker.end(self.care.stop if heard.completed else END_S)
            inbox.close()
            over.set()
            guard.join()
            self.service.out = Outbox(_Nobody())
        if heard.completed and watch.exit_code == 0:
            watch.problem = None
            return True
        watch.problem = heard.worker_error or watch.problem or "worker_ended"
        return False

    def _goes_on(self, worker: Worker, inbox: Inbox) -> bool:
        """Whether there is more to hear of the worker; asks and tells it what is due."""
        if inbox.ended:
            return False
        now = time.monotonic()
        lines, _, oldest = inbox.waiting()
        self.watch.lag = max(self.watch.lag, oldest, self.service.heard.worker_lag)
        if worker.process.poll() is not None:
            # What it started may hold its stdout; what it still had to say is soon here.
            self._died = self._died or now
            if not lines and now - max(self._died, inbox.heard) > END_S:
                return False
        if now - self._looked > TELL_EVERY_S:
            self._looked = now
            self._look(worker, lines, oldest)
        if self._stopping is not None:
            if not self._told_to_stop:
                self._told_to_stop = True
                self._say("run.stop", {"reason": "cancelled" if self._cancelled else "stopped"})
            return now - self._stopping < self.care.stop
        answered = inbox.heard >= self._probed
        if answered and now - inbox.heard > self.care.probe:
            self._probed = now
            self._say("health.probe", {})
        elif not answered and not lines and now - self._probed > self.care.silence:
            self.watch.problem = "worker_silent"
            worker.kill()
            return False
        return True

    def _guard(self, worker: Worker, out: Outbox, over: threading.Event) -> None:
        """In a thread: kill a worker that does not read what it is told, or what it left behind."""
        while not over.wait(_LOOK_S):
            blocked, now = out.blocked_since, time.monotonic()
            most = self.care.silence if self._stopping is None else self.care.stop
            if blocked is not None and now - blocked > most:
                self.watch.problem = "worker_deaf"
                worker.kill()
                return

    def _start(self) -> Json:
        limits = self.limits
        return {
            "protocol": PROTOCOL,
            "source": self.source,
            "mode": self.mode,
            "planned": self.planned,
            "limits": {
                "frameBytes": limits.frame_bytes,
                "uploadChunks": limits.upload_chunks,
                "items": MOST_ITEMS,
            },
        }

    def _say(self, kind: str, payload: Json) -> None:
        self.service.out.send({"type": kind, "runId": self.run_id, "payload": payload})

    def _failed(self, seconds: float) -> None:
        """Count a failure; those before a long run in health are past."""
        self.watch.failures = 1 if seconds > HEALTHY_S else self.watch.failures + 1

    def _rested(self) -> Ended | None:
        """Wait before the worker is started again, longer after each failure; how the run ends
        where it is not."""
        failures = self.watch.failures
        if self.care.restarts is not None and failures > self.care.restarts:
            return "failed"
        wait = min(self.care.wait * 2 ** min(failures - 1, 20), LONGEST_WAIT_S)
        self.restarting(wait)
        until = time.monotonic() + wait
        while time.monotonic() < until:
            if self._stopping is not None:
                return self._stopped()
            if not self.service.work():
                time.sleep(min(_LOOK_S, wait))
        return None

    def _look(self, worker: Worker, lines: int, oldest: float) -> None:
        """Tell in a file how the worker is; heed that its job is not wanted any more."""
        if self.job_id is not None:
            with suppress(RequestError):
                if self.service.jobs.get(self.job_id)["status"] == "cancelled":
                    self._cancelled = True
                    self.stop()
        told = {
            "source": self.source,
            "mode": self.mode,
            "pid": worker.process.pid,
            "starts": self.watch.starts,
            "told_at": now(),
            "lag_seconds": round(max(oldest, self.service.heard.worker_lag), 3),
            "waiting_frames": lines,
            "totals": self.service.heard.totals,
        }
        scratch = self._file.with_suffix(".tmp")
        with suppress(OSError):
            scratch.write_bytes(orjson.dumps(told))
            scratch.replace(self._file)

    @property
    def _file(self) -> Path:
        return self.state.own / WORKER
