"""Jobs: what is done in the background, told by one small file each.

The only module that knows the database beside them, which is derived: it says which jobs there are,
sees to it that a source has one active backfill and that a job is done by one process, and is made
anew from the files if it is lost.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from .. import validation
from ..durable import write_atomic
from ..errors import HomeError, RequestError
from ..model import Json
from ..moments import now
from ..regular import read_regular
from .importing import RESULTS
from .keys import Asked, payload_mismatch, require_same_sender
from .limits import ServiceLimits
from .state import ServiceState, older

SCHEMA = "codex-session-sync/service-job/1"
ACTIVE = ("queued", "running")

_VERSION = 1
_TABLE = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, key TEXT, source TEXT NOT NULL, status TEXT NOT NULL, owner TEXT,
    created TEXT NOT NULL
);

CREATE UNIQUE INDEX one_active_backfill ON jobs (source) WHERE status IN ('queued', 'running');

CREATE INDEX jobs_by_key ON jobs (key);
"""
_PUT = (
    "INSERT INTO jobs (id, key, source, status, owner, created) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (id) DO UPDATE SET status = excluded.status, owner = excluded.owner"
)
_BUSY_S = 10.0


def no_totals() -> Json:
    """Totals of nothing."""
    return dict.fromkeys(RESULTS, 0)


@dataclass(slots=True)
class Jobs:
    """The jobs of one home; ``open`` comes first."""

    state: ServiceState
    limits: ServiceLimits

    def open(self) -> None:
        """Bring files and database together, and free what a process that died was at.

        A request goes on where it was; a worker's run has failed, and can be begun again. Raises
        OSError.
        """
        with self._alone() as database:
            owners = dict(database.execute("SELECT id, owner FROM jobs").fetchall())
            for path in sorted(self.state.jobs.glob("*.json")):
                document = _read(path)
                if document is None or document["job"]["jobId"] != path.stem:
                    continue
                job = document["job"]
                owner = owners.pop(path.stem, None)
                if job["status"] == "running" and not (owner and self.state.lives(owner)):
                    if job["kind"] == "worker":
                        job |= {"status": "failed", "error": "interrupted", "endedAt": now()}
                    else:
                        job["status"] = "queued"
                    self._write(document)
                    owner = None
                self._put(database, document, owner)
            for lost in owners:
                database.execute("DELETE FROM jobs WHERE id = ?", (lost,))

    def enqueue(self, asked: Asked, run_id: str, payload: Json) -> tuple[Json, bool]:
        """The job of a request, and whether its key had been given to it before.

        Raises RequestError ``idempotency_key_…_mismatch``, and as ``add``.
        """
        with self._alone() as database:
            known = self._of_key(database, asked)
            if known is not None:
                return known, True
            return self._added(database, asked, asked.source, run_id, payload), False

    def add(self, asked: Asked | None, source: str, run_id: str, payload: Json | None) -> Json:
        """A new job: a request that is queued, or without one a worker's run that is running.

        Raises RequestError ``backfill_active``, ``job_limit``; OSError.
        """
        with self._alone() as database:
            return self._added(database, asked, source, run_id, payload)

    def _added(
        self,
        database: sqlite3.Connection,
        asked: Asked | None,
        source: str,
        run_id: str,
        payload: Json | None,
    ) -> Json:
        job_id = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}"
        job = {
            "jobId": job_id,
            "kind": "request" if payload is not None else "worker",
            "source": source,
            "mode": "backfill",
            "status": "queued" if payload is not None else "running",
            "createdAt": now(),
            "startedAt": None if payload is not None else now(),
            "endedAt": None,
            "attempts": 0 if payload is not None else 1,
            "error": None,
            "statistics": {
                "items": len(payload["items"]) if payload is not None else 0,
                "done": 0,
                "totals": no_totals(),
            },
        }
        document = {
            "schema": SCHEMA,
            "job": job,
            "runId": run_id,
            "idempotencyKey": asked and asked.key,
            "payloadSha256": asked and asked.digest,
        }
        count = "SELECT count(*) FROM jobs WHERE status IN ('queued', 'running')"
        [(active,)] = database.execute(count).fetchall()
        if active >= self.limits.jobs:
            raise RequestError(
                "job_limit",
                f"{active} jobs have not ended, which is the most",
                hint="wait for some of them to end, or cancel them",
            )
        try:
            self._put(database, document, None if payload is not None else self.state.instance)
        except sqlite3.IntegrityError:
            raise RequestError(
                "backfill_active",
                "the source has a backfill that has not ended",
                hint="wait for it to end, or cancel it; a tail may go on beside it",
            ) from None
        if payload is not None:
            write_atomic(self._payload(job_id), orjson.dumps(payload))
        self._write(document)
        return job

    def _of_key(self, database: sqlite3.Connection, asked: Asked) -> Json | None:
        """The job that a key was given to; None if there is none."""
        found = database.execute("SELECT id FROM jobs WHERE key = ?", (asked.key,)).fetchall()
        for (job_id,) in found:
            document = self._document(job_id)
            if document is not None:
                require_same_sender(document["job"], asked.source, asked.mode)
                if document["payloadSha256"] != asked.digest:
                    raise payload_mismatch()
                job: Json = document["job"]
                return job
        return None

    def get(self, job_id: str) -> Json:
        """One job. Raises RequestError ``job_unknown``."""
        job: Json = self._required(job_id)["job"]
        return job

    def run_of(self, job_id: str) -> str:
        """The run in which a job was asked for."""
        document = self._document(job_id)
        return str(document["runId"]) if document is not None else job_id

    def payload(self, job_id: str) -> Json:
        """What is to be done for a request. Raises OSError, ValueError."""
        found: Json = orjson.loads(read_regular(self._payload(job_id)))
        return found

    def all(self, source: str | None = None, status: str | None = None) -> list[Json]:
        """The jobs there are, newest first."""
        with self._database() as database:
            query = "SELECT id FROM jobs ORDER BY created DESC, id DESC"
            ids = [job_id for (job_id,) in database.execute(query).fetchall()]
        found = [document["job"] for i in ids if (document := self._document(i)) is not None]
        return [
            job
            for job in found
            if source in (None, job["source"]) and status in (None, job["status"])
        ]

    def counts(self) -> dict[str, int]:
        """How many jobs have not ended, by status."""
        with self._database() as database:
            query = "SELECT status, count(*) FROM jobs GROUP BY status"
            found = dict(database.execute(query).fetchall())
        return {status: int(found.get(status, 0)) for status in ACTIVE}

    def claim(self) -> Json | None:
        """The oldest request that is queued, now this process's; None if there is none."""
        query = "SELECT id FROM jobs WHERE status = 'queued' ORDER BY created, id"
        with self._alone() as database:
            for (job_id,) in database.execute(query).fetchall():
                document = self._document(job_id)
                if document is None:  # its file has gone
                    database.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
                    continue
                job: Json = document["job"]
                job |= {"status": "running", "attempts": job["attempts"] + 1}
                job["startedAt"] = job["startedAt"] or now()
                self._write(document)
                self._put(database, document, self.state.instance)
                return job
        return None

    def change(self, job_id: str, **changes: Any) -> Json:
        """Set what is to be told of a job, durably; of one that has ended only what came in.

        Raises RequestError ``job_unknown``.
        """
        with self._alone() as database:
            document = self._required(job_id)
            job: Json = document["job"]
            if job["status"] not in ACTIVE:
                changes = {k: v for k, v in changes.items() if k == "statistics"}
            job |= changes
            self._write(document)
            owner = self.state.instance if job["status"] == "running" else None
            self._put(database, document, owner)
        if job["status"] not in ACTIVE:
            self._payload(job_id).unlink(missing_ok=True)
        return job

    def end(self, job_id: str, status: str, error: str | None = None) -> Json:
        """End a job."""
        return self.change(job_id, status=status, error=error, endedAt=now())

    def expire(self) -> int:
        """Forget the jobs that ended long ago; how many."""
        before = time.time() - self.limits.kept_seconds
        ended = [job["jobId"] for job in self.all() if job["status"] not in ACTIVE]
        old = list(older((self.state.jobs / f"{job_id}.json" for job_id in ended), before))
        for path in old:
            path.unlink(missing_ok=True)
        if old:
            self.open()
        return len(old)

    def _document(self, job_id: str) -> Json | None:
        """What is kept of a job, read each time: another process may have changed it."""
        if "/" in job_id or "\\" in job_id or "\0" in job_id:
            return None
        return _read(self.state.jobs / f"{job_id}.json")

    def _required(self, job_id: str) -> Json:
        document = self._document(job_id)
        if document is None:
            raise RequestError(
                "job_unknown", "there is no such job", hint="a frame job.list tells those there are"
            )
        return document

    def _write(self, document: Json) -> None:
        write_atomic(self.state.jobs / f"{document['job']['jobId']}.json", orjson.dumps(document))

    def _payload(self, job_id: str) -> Path:
        return self.state.jobs / f"{job_id}.payload"

    def _put(self, database: sqlite3.Connection, document: Json, owner: str | None) -> None:
        job = document["job"]
        row = (job["jobId"], document["idempotencyKey"], job["source"], job["status"], owner)
        database.execute(_PUT, (*row, job["createdAt"]))

    @contextmanager
    def _alone(self) -> Iterator[sqlite3.Connection]:
        """The database, while no other process changes a job: its file is read and written in the
        same transaction. Raises HomeError ``service_database_busy``."""
        with self._database() as database:
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.commit()

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """The database, made anew where it is none. Raises HomeError
        ``service_database_busy``."""
        try:
            with closing(_opened(self.state.database)) as database:
                yield database
        except sqlite3.OperationalError as error:
            raise HomeError(
                "service_database_busy",
                f"the database of jobs cannot be used: {error}",
                hint="make room, or end the process that has it open; it may be deleted, and is "
                "made anew: then run `codex-session-sync AGAIN`",
            ) from error


def _opened(path: Path) -> sqlite3.Connection:
    for again in (True, False):
        database = sqlite3.connect(path, timeout=_BUSY_S)
        try:
            if _version(database) != _VERSION:
                _make(database)
        except sqlite3.OperationalError:
            database.close()
            raise
        except sqlite3.DatabaseError:
            database.close()
            if not again:
                raise
            path.unlink(missing_ok=True)
        else:
            return database
    raise AssertionError


def _version(database: sqlite3.Connection) -> int:
    [(version,)] = database.execute("PRAGMA user_version").fetchall()
    return int(version)


def _make(database: sqlite3.Connection) -> None:
    """Make the table, unless another process has just done it."""
    database.execute("BEGIN IMMEDIATE")
    if _version(database) != _VERSION:
        for statement in ("DROP TABLE IF EXISTS jobs;", *_TABLE.strip().split("\n\n")):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {_VERSION}")
    database.commit()


def _read(path: Path) -> Json | None:
    try:
        document = orjson.loads(read_regular(path))
    except (OSError, orjson.JSONDecodeError):
        return None
    return document if validation.fits("service_job", document) else None


def jobs_in(folder: Path) -> list[Json]:
    """The jobs in a folder of the service, newest first, told without touching it."""
    found = [_read(path) for path in folder.glob("jobs/*.json")]
    jobs: list[Json] = [document["job"] for document in found if document is not None]
    return sorted(jobs, key=lambda job: (job["createdAt"], job["jobId"]), reverse=True)
