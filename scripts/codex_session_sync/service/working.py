"""Doing jobs, a part at a time, between the frames."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import RequestError, SyncError
from ..model import Json
from .frames import RETRYABLE, Frame, answer
from .importing import Importer, added
from .jobs import Jobs
from .keys import Asked, digest
from .speaking import Heard, UnheardError, telling

SLICE_ITEMS = 64
JOB_TRIES = 5


class JobWorker:
    """Does the requests that are queued, one after the other."""

    def __init__(
        self,
        jobs: Jobs,
        importer: Importer,
        heard: Heard,
        send: Callable[[Json], None],
        defect: Callable[[Exception], SyncError],
    ) -> None:
        self._jobs = jobs
        self._importer = importer
        self._heard = heard
        self._send = send
        self._defect = defect
        self._job: str | None = None

    @property
    def idle(self) -> bool:
        """Whether no job was begun that has not ended."""
        return self._job is None

    def work(self) -> bool:
        """Do the next part of a job; whether there was one."""
        if self._job is None:
            claimed = self._jobs.claim()
            self._job = claimed["jobId"] if claimed else None
        if self._job is None:
            return False
        try:
            job = self._jobs.get(self._job)
        except RequestError:
            self._job = None  # its file has gone
            return True
        if job["status"] != "running":
            self._ended(job)
            return True
        try:
            self._slice(job)
        except UnheardError:
            raise
        except SyncError as error:
            self._put_off(job, error.code)
        except (OSError, ValueError):
            self._put_off(job, "system_error")
        except Exception as error:
            self._put_off(job, self._defect(error).code)
        return True

    def _slice(self, job: Json) -> None:
        """Bring in the next items of a job; each part has a key of its own."""
        payload = self._jobs.payload(job["jobId"])
        done = job["statistics"]["done"]
        items = payload["items"][done : done + SLICE_ITEMS]
        key = f"{job['jobId']}/{done}"
        asked = Asked(key, job["source"], job["mode"], digest({"items": items}))
        frame = Frame("job", self._jobs.run_of(job["jobId"]))
        told = telling(self._send, frame, jobId=job["jobId"])
        result = self._importer.run(asked, items, payload.get("sourceHome"), told, done)
        self._heard.answered(frame.run_id, result)
        statistics = {
            "items": len(payload["items"]),
            "done": done + len(items),
            "totals": added(job["statistics"]["totals"], result["totals"]),
        }
        # What is told comes last: nobody may hear it, and it is done all the same.
        job = self._jobs.change(job["jobId"], statistics=statistics, attempts=1)
        finished = statistics["done"] >= statistics["items"]
        if finished:
            job = self._jobs.end(job["jobId"], "completed")
        self._send(answer(frame, "import.result", result))
        if finished:
            self._ended(job)
            return
        told_of = {"phase": "job", "jobId": job["jobId"], "statistics": statistics}
        self._send(answer(frame, "run.progress", told_of))

    def _put_off(self, job: Json, code: str) -> None:
        """Leave a job whose home cannot be used now for later, a few times."""
        if code in RETRYABLE and job["attempts"] < JOB_TRIES:
            self._jobs.change(job["jobId"], attempts=job["attempts"] + 1)
            time.sleep(min(0.1 * 2 ** job["attempts"], 2.0))
            return
        self._heard.refused += 1
        self._ended(self._jobs.end(job["jobId"], "failed", code))

    def _ended(self, job: Json) -> None:
        self._job = None
        payload = {"job": job, "totals": job["statistics"]["totals"]}
        frame = Frame("job", self._jobs.run_of(job["jobId"]))
        self._send(answer(frame, "run.complete", payload))
