"""The service: a frame goes in, its answers come out; one at a time, in their order.

One thread reads ahead (``inbox``), this one does everything else. A probe alone is answered by the
reading thread, so that a long request does not look like death.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO

from .. import __version__
from ..errors import RequestError, SyncError
from ..model import Json
from .frames import NO_FRAME, PROTOCOL, Frame, answer, judge, read_frame, refusal
from .importing import Importer, Manner, item_failed
from .inbox import Inbox, Line
from .items import session_item
from .jobs import Jobs, no_totals
from .keys import Asked, Keys, digest, payload_mismatch, require_same_sender
from .limits import ServiceLimits
from .speaking import Heard, Outbox, UnheardError, telling
from .state import ServiceState
from .uploads import Uploads, data_of, head_of, other_session, require_same_head, short_digest
from .working import JOB_TRIES, JobWorker

JOB_EVERY_S = 0.5
UPKEEP_EVERY_S = 3600.0

_PAYLOAD = ("items", "personaId", "sourceHome")


class Service:
    """Answers frames. ``state`` is where it keeps what must outlive it."""

    def __init__(
        self, manner: Manner, state: ServiceState, limits: ServiceLimits, out: Outbox
    ) -> None:
        self.out = out
        self.heard = Heard()
        self.jobs = Jobs(state, limits)
        self.jobs.open()
        self.source: str | None = None
        """Whose requests alone are taken; None: anybody's."""
        self._manner = manner
        self._state = state
        self._limits = limits
        self._keys = Keys(state.keys)
        self._uploads = Uploads(state.uploads, limits)
        self._importer = Importer(manner, state.own / "staged", self._keys)
        self._worker = JobWorker(self.jobs, self._importer, self.heard, self._say, self._defect)
        self._job_counts = self.jobs.counts()
        self._worked = 0.0
        self._hindered = 0
        self._began = time.monotonic()
        self._busy = False
        self._kept_up = -UPKEEP_EVERY_S
        self._waiting: Callable[[], tuple[int, int, float]] = lambda: (0, 0, 0.0)

    # Frames

    def listen(self, stream: IO[bytes]) -> Inbox:
        """Begin to read frames from a stream."""
        inbox = Inbox(stream, self._limits, self._probed)
        self._waiting = inbox.waiting
        inbox.start()
        return inbox

    def handle(self, line: Line) -> None:
        """Answer one line, whatever it holds. Raises UnheardError."""
        frame = NO_FRAME
        self.heard.frames += 1
        self._busy = True
        try:
            frame = read_frame(line.data, self._limits)
            judge(frame)
            self._answer(frame)
        except UnheardError:
            raise
        except SyncError as error:
            self._refuse(frame, error)
        except OSError as error:
            self._refuse(frame, _of_system(error))
        except Exception as error:
            self._refuse(frame, self._defect(error))
        finally:
            self._busy = False

    def work(self) -> bool:
        """Do a part of what is to be done beside the frames; whether there was something."""
        with suppress(SyncError, OSError):
            self._keep_up()
        if self._worker.idle and not self._job_counts["queued"]:
            return False
        self._busy = True
        try:
            found = self._worker.work()
            self._job_counts = self.jobs.counts()
            self._hindered = 0
        except (SyncError, OSError):
            # Not even the jobs can be told what befell them, as where the disk is full.
            self._hindered += 1
            if self._hindered >= JOB_TRIES:
                raise
            time.sleep(0.1 * 2**self._hindered)
            return True
        finally:
            self._busy = False
            self._worked = time.monotonic()
        return found

    def turn(self) -> None:
        """Give a job its turn if frames have kept it waiting."""
        if time.monotonic() - self._worked > JOB_EVERY_S:
            self.work()

    def settle(self) -> None:
        """See to it that the home is whole after a signal; what cannot be done now is done by the
        next service."""
        with suppress(SyncError, OSError):
            self._importer.settle()

    def finish(self) -> None:
        """Tell what the runs that have not ended came to."""
        for run_id, totals in self.heard.runs.items():
            self._say(answer(Frame("", run_id), "run.complete", {"totals": totals}))

    def _say(self, frame: Json) -> None:
        self.out.send(frame)

    def _answer(self, frame: Frame) -> None:
        answering: dict[str, Callable[[Frame], None]] = {
            "import.batch": self._batch,
            "import.chunk": self._chunk,
            "health.probe": self._health,
            "job.enqueue": self._enqueue,
            "job.status": self._job,
            "job.cancel": self._cancel,
            "job.list": self._list,
            "run.complete": self._complete,
        }
        if frame.kind in answering:
            answering[frame.kind](frame)
        elif frame.kind == "run.error":
            self.heard.worker_error = frame.payload["code"]
        elif frame.kind == "health.status":
            self.heard.worker_lag = float(frame.payload.get("lagSeconds", 0.0))

    def _health(self, frame: Frame) -> None:
        self._say(answer(frame, "health.status", self._status()))

    def _complete(self, frame: Frame) -> None:
        self.heard.completed = True
        totals = self.heard.runs.pop(frame.run_id, no_totals())
        self._say(answer(frame, "run.complete", {"totals": totals}))

    def _refuse(self, frame: Frame, error: SyncError) -> None:
        self.heard.refused += 1
        self._say(refusal(frame, error))

    def _probed(self, data: bytes) -> bool:
        """Answer a probe at once; whether it was one."""
        try:
            frame = read_frame(data, self._limits)
            judge(frame)
        except RequestError:
            return False
        if frame.kind != "health.probe":
            return False
        with suppress(UnheardError):
            self._health(frame)
        return True

    def _status(self) -> Json:
        lines, size, oldest = self._waiting()
        return {
            "state": "working" if self._busy else "idle",
            "protocol": PROTOCOL,
            "version": __version__,
            "planned": not self._manner.writes,
            "uptimeSeconds": round(time.monotonic() - self._began, 3),
            "lagSeconds": round(oldest, 3),
            "waitingFrames": lines,
            "waitingBytes": size,
            "uploads": len(self._uploads),
            "jobs": dict(self._job_counts),
            "totals": dict(self.heard.totals),
        }

    # Requests

    def _batch(self, frame: Frame) -> None:
        asked, payload, told = self._asked(frame), frame.payload, telling(self._say, frame)
        home = payload.get("sourceHome")
        self._answered(frame, self._importer.run(asked, payload["items"], home, told))

    def _asked(self, frame: Frame) -> Asked:
        """Raises RequestError ``source_refused``."""
        payload = frame.payload
        if self.source not in (None, payload["source"]):
            raise RequestError(
                "source_refused",
                "the worker was started for another source",
                hint="use the source that run.start names",
            )
        told = {key: payload[key] for key in _PAYLOAD if key in payload}
        return Asked(payload["idempotencyKey"], payload["source"], payload["mode"], digest(told))

    def _answered(self, frame: Frame, result: Json) -> None:
        self.heard.answered(frame.run_id, result)
        upload = frame.payload.get("uploadId")
        more = {"uploadId": upload} if upload is not None else {}
        self._say(answer(frame, "import.result", {**result, **more}))

    def _chunk(self, frame: Frame) -> None:
        payload = frame.payload
        self._asked(frame)
        with self._uploads.held():
            kept = self._keys.find(payload["idempotencyKey"])
            if kept is not None:
                require_same_sender(kept, payload["source"], payload["mode"])
                if _of_this_upload(kept, payload):
                    self._answered(frame, {**kept["result"], "repeated": True})
                    return
            received = self._uploads.receive(payload)
            if received.whole:
                self._assembled(frame, received.head)
                return
        progress = {k: payload[k] for k in ("uploadId", "chunkIndex", "chunkTotal")}
        progress |= {"phase": "staged", "received": received.received}
        self._say(answer(frame, "run.progress", progress))

    def _assembled(self, frame: Frame, head: Json) -> None:
        """Bring in an upload that is whole; it is dropped unless that may come right by itself."""
        upload_id, item = head["uploadId"], head["item"]
        self._importer.scratch.mkdir(exist_ok=True)
        target = self._importer.scratch / "upload.jsonl"
        try:
            found = self._uploads.assemble(upload_id, target)
            payload = found.first.get("payload")
            named = payload.get("id") if isinstance(payload, dict) else None
            if isinstance(named, str) and named != item["sourceSessionId"]:
                raise other_session()
            said = {"item": item, "sha256": found.sha256, "sourceHome": head["sourceHome"]}
            asked = Asked(head["idempotencyKey"], head["source"], head["mode"], digest(said))
            result = self._bring(asked, head, found.first, frame)
        except RequestError:
            self._uploads.drop(upload_id)
            raise
        finally:
            target.unlink(missing_ok=True)
        self._uploads.drop(upload_id)
        self._answered(frame, result)

    def _bring(self, asked: Asked, head: Json, first: Json, frame: Frame) -> Json:
        lines, told = self._importer.scratch / "upload.jsonl", telling(self._say, frame)
        items, failed = [], {}
        try:
            items = [session_item(0, head["item"], first, lines=lines)]
        except RequestError as error:
            failed = {0: item_failed(0, error.code)}

        def upload() -> Json:
            return {"head": head, "chunks": self._uploads.digests(head["uploadId"])}

        return self._importer.bring(asked, items, failed, head["sourceHome"], told, upload)

    # Jobs

    def _enqueue(self, frame: Frame) -> None:
        asked = self._asked(frame)
        self._keys.answered(asked)
        kept = {k: frame.payload[k] for k in _PAYLOAD if k in frame.payload}
        job, repeated = self.jobs.enqueue(asked, frame.run_id, kept)
        self._job_counts = self.jobs.counts()
        self._say(answer(frame, "job.result", {"job": job, "repeated": repeated}))

    def _job(self, frame: Frame) -> None:
        job = self.jobs.get(frame.payload["jobId"])
        self._say(answer(frame, "job.result", {"job": job}))

    def _list(self, frame: Frame) -> None:
        payload = frame.payload
        found = self.jobs.all(payload.get("source"), payload.get("status"))
        self._say(answer(frame, "job.result", {"jobs": found[: payload.get("limit", 100)]}))

    def _cancel(self, frame: Frame) -> None:
        job = self.jobs.end(frame.payload["jobId"], "cancelled")
        self._say(answer(frame, "job.result", {"job": job}))

    # Upkeep

    def _keep_up(self) -> None:
        """Now and then drop what is too old."""
        if time.monotonic() - self._kept_up < UPKEEP_EVERY_S:
            return
        self._kept_up = time.monotonic()
        with self._uploads.held():
            self._uploads.expire()
        self._keys.expire(self._limits.kept_seconds)
        self.jobs.expire()

    def _defect(self, error: Exception) -> RequestError:
        """What is told of what must not happen; where it did goes to a log, without its words."""
        log = self._state.logs / "defects.log"
        where = "".join(traceback.format_tb(error.__traceback__))
        try:
            with log.open("a", encoding="utf-8") as stream:
                stream.write(f"{type(error).__name__}\n{where}\n")
        except OSError:
            log = self._state.folder
        return RequestError(
            "defect",
            f"this is a defect of codex-session-sync: {type(error).__name__}",
            hint=f"report it with {log.name} of session-sync/service/logs/",
        )


def _of_this_upload(kept: Json, payload: Json) -> bool:
    """Whether a chunk is one of an upload that was answered.

    Raises RequestError: it says that it is, and is another.
    """
    upload, head = kept["upload"], head_of(payload)
    if upload is None or upload["head"]["uploadId"] != head["uploadId"]:
        return False
    require_same_head(upload["head"], head)
    index = payload["chunkIndex"]
    if not 0 <= index < len(upload["chunks"]):
        return False
    if upload["chunks"][index] != short_digest(data_of(payload)):
        raise payload_mismatch()
    return True


def _of_system(error: OSError) -> RequestError:
    return RequestError(
        "system_error",
        f"the system refused to read or write: {error.strerror or type(error).__name__}",
        hint="mend that and send the frame again; `codex-session-sync recover` says whether a "
        "transaction was begun",
    )


def conversation(service: Service, inbox: Inbox, stopped: Callable[[], bool]) -> Iterator[Line]:
    """Answer what comes until no more does, with jobs in between; yields after each line."""
    while not stopped():
        line = inbox.take(0.0 if service.work() else 0.2)
        if line is not None:
            service.handle(line)
            service.turn()
            yield line
        elif inbox.ended and not service.work():
            return
