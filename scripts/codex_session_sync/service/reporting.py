"""The worker that ships with the program: it tells the service what changed in a folder.

One request is under way at a time, so that a tail stays in order. What was not answered is sent
again under its key; what failed and may come right is asked for again under another one, later; so
is, once, what is known to have failed before, since it may have come right meanwhile.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from dataclasses import dataclass, field

import orjson

from .. import __version__
from ..model import Json
from .frames import PROTOCOL
from .inbox import Inbox, Line
from .speaking import Outbox
from .watching import Folder, Wish

TRIES = 6
"""So often a request is made in a backfill; a tail goes on."""
AGAIN_S = 120.0
"""A request that nothing is heard of for so long is sent again."""

LONGEST_WAIT_S = 600.0
_LOOK_S = 0.1


@dataclass(slots=True)
class _Pending:
    """A request under way."""

    wish: Wish
    frame: Json
    attempt: int
    sent: float


@dataclass(slots=True)
class Reporter:
    """Tells what changes in a folder. ``every``: seconds between looks at it."""

    folder: Folder
    inbox: Inbox
    out: Outbox
    every: float
    source: str = ""
    mode: str = ""
    run_id: str = ""
    _seq: int = 0
    _pending: _Pending | None = None
    _wishes: deque[Wish] = field(default_factory=deque)
    _later: dict[str, tuple[float, int, Wish]] = field(default_factory=dict)
    _looked: float = 0.0
    _since: float | None = None
    _stopping: bool = False
    _failed: bool = False
    _own: str = field(default_factory=lambda: uuid.uuid4().hex)
    """What no key of another process has."""

    def run(self) -> bool:
        """Work from when it is told to begin until all is told, or it is to stop; whether a
        backfill could read the folder."""
        if not self._begun():
            return True
        while not (self._stopping and self._pending is None):
            self._hear(self.inbox.take(_LOOK_S))
            if self.inbox.ended:
                return True
            if self._stopping:
                continue
            self._look()
            if self._failed:
                return False
            self._ask()
            if self.mode == "backfill" and self._idle():
                break
        self._say("run.complete", {})
        self._last_word()
        return True

    def tell_all(self, source: str, mode: str, run_id: str) -> None:
        """Tell everything that there is, wait for no answer, and end."""
        self.source, self.mode, self.run_id = source, mode, run_id
        for wish in self.folder.changed(settled=False):
            self._send(wish, 1)
        self._pending = None
        self._say("run.complete", {})

    def _begun(self) -> bool:
        """Wait to be told to begin."""
        while not self.inbox.ended:
            frame = _frame(self.inbox.take(_LOOK_S))
            if frame is not None and frame["type"] == "run.start":
                payload = frame.get("payload") or {}
                self.source = str(payload.get("source") or "watch")
                self.mode = str(payload.get("mode") or "tail")
                self.run_id = str(frame.get("runId"))
                return True
        return False

    def _look(self) -> None:
        """See what changed, if it is time; in a tail only what nobody is writing to."""
        now = time.monotonic()
        for name, (when, attempt, wish) in list(self._later.items()):
            if now >= when and self._pending is None:
                del self._later[name]
                self._send(wish, attempt)
        if self._wishes or self._pending or now - self._looked < self.every:
            return
        self._looked = now
        asked = {name for _, _, wish in self._later.values() for name in wish.states}
        try:
            self._wishes += self.folder.changed(settled=self.mode == "tail", without=asked)
        except OSError as error:
            code = {"code": "package_unreadable", "message": error.strerror or "it cannot be read"}
            self._say("run.error", {**code, "retryable": True})
            self._failed = self.mode == "backfill"
            return
        self._since = now if self.folder.behind and self._since is None else self._since
        if not self.folder.behind:
            self._since = None

    def _ask(self) -> None:
        """Send the next request, or the one again that nothing was heard of."""
        pending, now = self._pending, time.monotonic()
        if pending is not None:
            if now - max(pending.sent, self.inbox.heard) > AGAIN_S:
                pending.sent = now
                self.out.send(pending.frame)
        elif self._wishes:
            self._send(self._wishes.popleft(), 1)

    def _send(self, wish: Wish, attempt: int) -> None:
        self._seq += 1
        frame = {
            "type": "import.batch",
            "runId": self.run_id,
            "seq": self._seq,
            "payload": {
                "idempotencyKey": wish.key(self.source, self._tag(attempt)),
                "source": self.source,
                "mode": self.mode,
                "items": [wish.item],
            },
        }
        self._pending = _Pending(wish, frame, attempt, time.monotonic())
        self.out.send(frame)

    def _hear(self, line: Line | None) -> None:
        frame = _frame(line)
        if frame is None:
            return
        payload = frame.get("payload") or {}
        match frame["type"]:
            case "health.probe":
                self._say("health.status", self._status())
            case "run.stop":
                self._stopping = True
            case "import.result" if self._is_answer(frame):
                self._ended(payload["items"], repeated=bool(payload.get("repeated")))
            case "run.error" if self._is_answer(frame):
                self._ended([payload])

    def _is_answer(self, frame: Json) -> bool:
        return self._pending is not None and frame.get("seq") == self._pending.frame["seq"]

    def _ended(self, items: list[Json], *, repeated: bool = False) -> None:
        """A request was answered: it is done, or comes again later."""
        pending, self._pending = self._pending, None
        assert pending is not None
        wish, attempt = pending.wish, pending.attempt
        often = self.mode == "tail" or attempt < TRIES
        if repeated and any(item["result"] == "failed" for item in items):
            self._postpone(wish, attempt, 0.0)
        elif often and any(item.get("retryable") for item in items):
            told = [one for item in items for one in item.get("sessions", ())]
            late = {one["sessionId"] for one in told if one.get("retryable")}
            rest = wish.only(late) if late else wish
            self.folder.settle(wish, rest)
            self._postpone(rest, attempt, min(self.every * 2 ** min(attempt, 20), LONGEST_WAIT_S))
        elif _missing(items) and self.folder.lacks(wish):
            self._looked = 0.0  # the others are told without what has gone
        else:
            self.folder.settle(wish)

    def _postpone(self, wish: Wish, attempt: int, seconds: float) -> None:
        name = next(iter(wish.states))
        self._later[name] = (time.monotonic() + seconds, attempt + 1, wish)

    def _tag(self, attempt: int) -> str:
        """What tells attempts apart, whose keys have to differ: an answer is kept under its key."""
        return "" if attempt == 1 else f"{self._own}/{attempt}"

    def _idle(self) -> bool:
        """Whether all that was seen is told and answered."""
        return bool(self._looked) and not (self._pending or self._wishes or self._later)

    def _status(self) -> Json:
        lag = 0.0 if self._since is None else time.monotonic() - self._since
        state = "idle" if self._pending is None else "working"
        return {
            "state": state,
            "protocol": PROTOCOL,
            "version": __version__,
            "lagSeconds": round(lag, 3),
            "waitingFrames": len(self._wishes),
        }

    def _last_word(self) -> None:
        """Wait for the answer to the end of the run, as long as there may be one."""
        until = time.monotonic() + AGAIN_S
        while not self.inbox.ended and time.monotonic() < until:
            frame = _frame(self.inbox.take(_LOOK_S))
            if frame is not None and frame["type"] == "run.complete":
                return

    def _say(self, kind: str, payload: Json) -> None:
        self.out.send({"type": kind, "runId": self.run_id, "payload": payload})


def _missing(items: list[Json]) -> bool:
    gone = ("item_session_missing", "package_not_found")
    return any(item.get("reason") in gone for item in items)


def _frame(line: Line | None) -> Json | None:
    """A line as a frame; what is none is passed over."""
    if line is None or line.data is None:
        return None
    try:
        found = orjson.loads(line.data)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("type"), str) else None
