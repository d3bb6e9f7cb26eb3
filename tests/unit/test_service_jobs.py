"""Jobs of the import service: one active backfill a source, taken up again, never lost."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builders import Session
from codex_session_sync.errors import HomeError, RequestError
from codex_session_sync.service import importing, serving, working
from service_frames import Json, answers, batch, changed, frame, item
from servicebed import SMALL, Bed, bed, transcripts

SESSIONS = [Session(n, start=10 * n).say(f"question {n}") for n in range(1, 6)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def service(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    monkeypatch.setattr(working, "SLICE_ITEMS", 2)
    with bed(home) as found:
        yield found


def enqueue(key: str = "job", source: str = "laptop", count: int = 5) -> Json:
    items = [item(one) for one in SESSIONS[:count]]
    told = {"idempotencyKey": key, "source": source, "mode": "backfill"}
    return frame("job.enqueue", 1, **told, items=items)


def job_of(answer: Json) -> Json:
    assert answer["type"] == "job.result", answer
    job: Json = answer["payload"]["job"]
    return job


def test_a_job_is_done_in_parts(service: Bed) -> None:
    job = job_of(service.one(enqueue()))
    assert (job["status"], job["statistics"]["items"]) == ("queued", 5)
    heard = service.work()
    kinds = [one["type"] for one in heard]
    parts = ["import.result", "run.progress", "import.result", "run.progress", "import.result"]
    assert kinds == [*parts, "run.complete"]
    indexes = [one["index"] for part in answers(heard) for one in part["items"]]
    assert indexes == [0, 1, 2, 3, 4]
    ended = heard[-1]["payload"]["job"]
    assert (ended["status"], ended["statistics"]["done"]) == ("completed", 5)
    assert ended["statistics"]["totals"]["imported"] == 5
    assert len(transcripts(service.home)) == 5
    assert job_of(service.one(frame("job.status", jobId=job["jobId"]))) == ended
    assert list(service.state.jobs.glob("*.payload")) == []


def test_the_same_key_is_the_same_job(service: Bed) -> None:
    first = service.one(enqueue())
    again = service.one(enqueue())
    assert again["payload"]["repeated"]
    assert job_of(again) == job_of(first)
    service.work()
    assert job_of(service.one(enqueue()))["status"] == "completed"
    assert service.work() == []
    assert service.code(enqueue(count=4)) == "idempotency_key_payload_mismatch"
    assert service.code(enqueue(source="tablet")) == "idempotency_key_source_mismatch"
    service.ask(batch("taken", [item(SESSIONS[0])]))
    assert service.code(enqueue("taken")) == "idempotency_key_mode_mismatch"


def test_one_active_backfill_of_a_source(service: Bed) -> None:
    service.ask(enqueue("1"))
    assert service.code(enqueue("2", count=2)) == "backfill_active"
    assert job_of(service.one(enqueue("3", source="tablet")))["status"] == "queued"
    assert service.result(batch("tail", [item(SESSIONS[0])]))["totals"]["imported"] == 1
    service.work()
    assert job_of(service.one(enqueue("2", count=2)))["status"] == "queued"


def test_a_job_in_a_tail_is_no_job(service: Bed) -> None:
    assert service.code(changed(enqueue(), mode="tail")) == "frame_invalid"


def test_a_tail_goes_on_beside_a_backfill(service: Bed) -> None:
    service.ask(enqueue())
    assert service.service.work()
    more = item(SESSIONS[0].say("went on"))
    assert service.ask(batch("tail", [more]))[-1]["payload"]["totals"]["upserted"] == 1
    service.work()
    assert len(transcripts(service.home)) == 5


def test_a_cancelled_job_keeps_what_came_in(service: Bed) -> None:
    job = job_of(service.one(enqueue()))
    service.service.work()
    service.heard()
    cancelled = job_of(service.one(frame("job.cancel", jobId=job["jobId"])))
    assert (cancelled["status"], cancelled["statistics"]["done"]) == ("cancelled", 2)
    [told] = service.work()
    assert told["payload"]["job"]["status"] == "cancelled"
    assert len(transcripts(service.home)) == 2
    assert job_of(service.one(frame("job.cancel", jobId=job["jobId"]))) == cancelled
    assert job_of(service.one(enqueue("2")))["status"] == "queued"


def test_jobs_are_listed(service: Bed) -> None:
    service.ask(enqueue("1"), enqueue("2", source="tablet"))
    service.work()
    service.ask(enqueue("3"))

    def listed(**wanted: Any) -> list[tuple[str, str]]:
        found = service.one(frame("job.list", **wanted))["payload"]["jobs"]
        return sorted((job["source"], job["status"]) for job in found)

    done = ("laptop", "completed")
    assert listed() == [done, ("laptop", "queued"), ("tablet", "completed")]
    assert listed(source="laptop") == [done, ("laptop", "queued")]
    assert listed(status="completed") == [done, ("tablet", "completed")]
    assert len(listed(limit=1)) == 1


def test_too_many_jobs(home: Path) -> None:
    with bed(home, replace(SMALL, jobs=2)) as service:
        service.ask(enqueue("1", source="a"), enqueue("2", source="b"))
        refused = service.one(enqueue("3", source="c"))["payload"]
        assert (refused["code"], refused["retryable"]) == ("job_limit", True)


def test_a_job_is_taken_up_where_it_was(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "SLICE_ITEMS", 2)
    with bed(home) as service:
        service.ask(enqueue())
        service.service.work()
        began = service.service.jobs.all()[0]["startedAt"]
    with bed(home) as service:
        heard = service.work()
        assert [len(part["items"]) for part in answers(heard)] == [2, 1]
        ended = heard[-1]["payload"]["job"]
        assert (ended["status"], ended["attempts"]) == ("completed", 1)
        assert ended["startedAt"] == began
        assert ended["statistics"]["totals"]["imported"] == 5


def test_a_part_that_was_answered_is_not_done_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill between the answer and the job's own file."""
    monkeypatch.setattr(working, "SLICE_ITEMS", 2)
    with bed(home) as service:
        service.ask(enqueue())
        job_file = next(service.state.jobs.glob("*.json"))
        before = job_file.read_bytes()
        service.service.work()
        job_file.write_bytes(before)
    with bed(home) as service:
        parts = answers(service.work())
        assert [part["repeated"] for part in parts] == [True, False, False]
        assert service.service.jobs.all()[0]["statistics"]["totals"]["imported"] == 5


@pytest.mark.parametrize("damage", ["gone", "no database", "other version", "empty"])
def test_the_database_is_made_anew(home: Path, damage: str) -> None:
    with bed(home) as service:
        service.ask(enqueue("1"), enqueue("2", source="tablet"))
        service.service.work()
        service.heard()
        path = service.state.database
    for extra in ("-journal", "-wal", "-shm"):
        path.with_name(path.name + extra).unlink(missing_ok=True)
    match damage:
        case "gone":
            path.unlink()
        case "no database":
            path.write_bytes(b"no database at all" * 100)
        case "empty":
            path.write_bytes(b"")
        case _:
            with closing(sqlite3.connect(path)) as database:
                database.execute("PRAGMA user_version = 99")
    with bed(home) as service:
        assert service.code(enqueue("3", source="tablet", count=1)) == "backfill_active"
        service.work()
        statuses = {job["source"]: job["status"] for job in service.service.jobs.all()}
        assert statuses == {"laptop": "completed", "tablet": "completed"}
        assert len(transcripts(home)) == 5


def test_a_damaged_job_is_passed_over(home: Path) -> None:
    with bed(home) as service:
        service.ask(enqueue("1"), enqueue("2", source="tablet"))
        first = service.service.jobs.all("laptop")[0]["jobId"]
        (service.state.jobs / f"{first}.json").write_bytes(b"{")
    with bed(home) as service:
        assert service.code(frame("job.status", jobId=first)) == "job_unknown"
        service.work()
        assert [job["source"] for job in service.service.jobs.all()] == ["tablet"]


def test_a_home_that_cannot_be_used_is_tried_again(
    service: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object, **__: object) -> None:
        raise HomeError("database_busy", "it is", hint="wait")

    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    service.ask(enqueue())
    with monkeypatch.context() as patched:
        patched.setattr(importing, "execute", busy)
        assert service.service.work()
    [job] = service.service.jobs.all()
    assert (job["status"], job["attempts"]) == ("running", 2)
    with monkeypatch.context() as patched:
        patched.setattr(importing, "execute", busy)
        [told] = service.work()
    ended = told["payload"]["job"]
    assert (ended["status"], ended["error"]) == ("failed", "database_busy")
    assert waits == [0.2, 0.4, 0.8, 1.6]
    assert service.service.heard.failed


def test_a_run_of_a_worker_that_died_has_failed(home: Path) -> None:
    with bed(home) as service:
        jobs = service.service.jobs
        job = jobs.add(None, "laptop", "run", None)
        with pytest.raises(RequestError) as caught:
            jobs.add(None, "laptop", "run", None)
        assert caught.value.code == "backfill_active"
        with bed(home) as beside:
            # Another process of the service leaves it alone.
            assert beside.service.jobs.get(job["jobId"])["status"] == "running"
    with bed(home) as service:
        ended = service.service.jobs.get(job["jobId"])
        assert (ended["status"], ended["error"]) == ("failed", "interrupted")
        assert service.service.jobs.add(None, "laptop", "run", None)["status"] == "running"


def test_two_services_do_a_job_once(home: Path) -> None:
    with bed(home) as one, bed(home) as other:
        one.ask(enqueue("1"), enqueue("2", source="tablet"))
        assert one.service.jobs.claim() is not None
        assert other.service.jobs.claim() is not None
        assert one.service.jobs.claim() is None
        assert other.service.jobs.claim() is None


def test_ended_jobs_go_after_a_while(service: Bed) -> None:
    service.ask(enqueue("1"))
    service.work()
    service.ask(enqueue("2", source="tablet"))
    then = time.time() - SMALL.kept_seconds - 60
    for path in service.state.jobs.glob("*.json"):
        os.utime(path, (then, then))
    assert service.service.jobs.expire() == 1
    assert [job["source"] for job in service.service.jobs.all()] == ["tablet"]


def test_a_database_that_is_held(service: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    from codex_session_sync.service import jobs

    monkeypatch.setattr(jobs, "_BUSY_S", 0.05)
    with closing(sqlite3.connect(service.state.database)) as database:
        database.execute("BEGIN EXCLUSIVE")
        answer = service.one(enqueue())
    assert answer["payload"]["code"] == "service_database_busy"
    assert job_of(service.one(enqueue()))["status"] == "queued"
    assert json.loads(next(service.state.jobs.glob("*.payload")).read_bytes())["items"]


def test_what_was_cancelled_stays_cancelled(service: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while its last part comes in; another backfill may have been begun since."""
    job = job_of(service.one(enqueue(count=2)))
    run = importing.Importer.run
    with bed(service.home) as other:

        def slow(*arguments: Any) -> Json:
            monkeypatch.undo()
            other.ask(frame("job.cancel", jobId=job["jobId"]), enqueue("2", count=1))
            return run(*arguments)

        monkeypatch.setattr(importing.Importer, "run", slow)
        assert service.service.work()
        told = service.heard()[-1]["payload"]["job"]
        assert (told["status"], told["statistics"]["done"]) == ("cancelled", 2)
        assert service.service.jobs.get(job["jobId"]) == told
        [one] = [one for one in other.service.jobs.all() if one["status"] == "queued"]
        assert one["jobId"] != job["jobId"]


@pytest.mark.parametrize("payload", [b"{}", b"[]", b'{"items": 5}', b'{"items": [1]}'])
def test_a_job_that_cannot_be_done_ends(service: Bed, payload: bytes) -> None:
    service.ask(enqueue("1"), enqueue("2", source="tablet"))
    first = service.service.jobs.all("laptop")[0]["jobId"]
    (service.state.jobs / f"{first}.payload").write_bytes(payload)
    service.work()
    found = {job["source"]: (job["status"], job["error"]) for job in service.service.jobs.all()}
    assert found == {"laptop": ("failed", "defect"), "tablet": ("completed", None)}


def test_a_job_whose_file_goes_while_it_waits_or_runs(service: Bed) -> None:
    service.ask(enqueue("1"), enqueue("2", source="tablet"), enqueue("3", source="desk"))
    for _ in range(2):
        [path] = [
            service.state.jobs / f"{job['jobId']}.json"
            for job in service.service.jobs.all()
            if job["source"] in ("laptop", "tablet")
        ][-1:]
        path.unlink()
        service.service.work()
    service.work()
    assert [job["status"] for job in service.service.jobs.all()] == ["completed"]


def test_jobs_that_cannot_be_told_of_wait(service: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the disk is full: the service goes on, and gives up in the end."""

    def full(*_: object, **__: object) -> None:
        raise HomeError("service_database_busy", "it is", hint="make room")

    monkeypatch.setattr("time.sleep", lambda _: None)
    service.ask(enqueue())
    with monkeypatch.context() as patched:
        patched.setattr("codex_session_sync.service.jobs.Jobs.claim", full)
        assert service.service.work()
        assert service.result(batch("tail", [item(SESSIONS[0])]))["totals"]["imported"] == 1
    service.work()
    service.ask(enqueue("again"))
    assert service.service.jobs.all()[-1]["status"] == "completed"
    monkeypatch.setattr("codex_session_sync.service.jobs.Jobs.claim", full)
    with pytest.raises(HomeError):
        service.work()


def test_one_key_at_two_services_is_one_job(service: Bed) -> None:
    with bed(service.home) as other:
        first, second = service.one(enqueue()), other.one(enqueue())
        assert second["payload"]["repeated"]
        assert job_of(second) == job_of(first)


def test_frames_keep_no_job_waiting(service: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    service.ask(enqueue())
    for often, parts in ((1e9, 0), (-1.0, 1), (1e9, 0), (-1.0, 1)):
        monkeypatch.setattr(serving, "JOB_EVERY_S", often)
        service.service.turn()
        assert len(answers(service.heard())) == parts


def test_what_does_not_come_right_is_not_tried_again(
    service: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object, **__: object) -> None:
        raise HomeError("database_unreadable", "it is", hint="mend it")

    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    monkeypatch.setattr(importing, "execute", damaged)
    service.ask(enqueue())
    assert service.service.work()
    [job] = service.service.jobs.all()
    assert (job["status"], job["error"], waits) == ("failed", "database_unreadable", [])
