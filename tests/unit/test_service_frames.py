"""Frames of the import service beside requests, and how it gets on with a second one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout

from codex_session_sync.locks import home_lock
from codex_session_sync.service import importing, state
from service_frames import answers, batch, changed, frame, item
from servicebed import Bed, bed, transcripts
from unit.service_cases import (
    COMPOST,
    POND,
    ROSES,
    SINGLE,
    UPLOAD,
    make_here,
    make_service,
    results,
)
from workbench import make_database, rows

here = pytest.fixture(make_here)
service = pytest.fixture(make_service)


# Frames of other kinds


def test_a_run_ends_with_its_totals(service: Bed) -> None:
    service.ask(batch("1", [item(ROSES)]), batch("2", [item(ROSES)]))
    other = {**batch("3", [item(COMPOST)]), "runId": "run-2"}
    service.ask(other)
    ended = service.one(frame("run.complete", 5))
    assert (ended["type"], ended["seq"]) == ("run.complete", 5)
    assert ended["payload"]["totals"] == {"imported": 1, "upserted": 0, "skipped": 1, "failed": 0}
    service.service.finish()
    [rest] = service.heard()
    assert (rest["runId"], rest["payload"]["totals"]["imported"]) == ("run-2", 1)


def test_what_a_worker_tells_of_itself_is_not_answered(service: Bed) -> None:
    heard = service.ask(
        frame("run.progress", phase="reading"),
        frame("health.status", lagSeconds=2.5),
        frame("run.error", code="sources_gone"),
    )
    assert heard == []
    assert service.service.heard.worker_lag == 2.5
    assert service.service.heard.worker_error == "sources_gone"


def test_health(service: Bed) -> None:
    service.ask(batch("1", [item(ROSES)]))
    status = service.one(frame("health.probe", 3))
    assert (status["type"], status["seq"]) == ("health.status", 3)
    assert status["payload"]["totals"]["imported"] == 1
    assert not status["payload"]["planned"]


def test_a_source_may_be_given(service: Bed) -> None:
    service.service.source = "tablet"
    assert service.code(batch("k", [item(ROSES)])) == "source_refused"
    assert service.code(SINGLE) == "source_refused"


def test_rows_and_names_come_too(service: Bed) -> None:
    make_database(service.home)
    service.ask(batch("k", [item(COMPOST), item(POND)]))
    names = [(row[0], row[-2]) for row in rows(service.home / "state_5.sqlite", "threads")]
    assert names == [(COMPOST.id, "Compost"), (POND.id, None)]
    assert [name for name in transcripts(service.home) if "archived" in name] == [
        POND.relative_path
    ]


def test_answers_of_one_type_are_picked() -> None:
    assert answers([frame("import.result", a=1), frame("run.error")]) == [{"a": 1}]


def test_a_run_of_answers_that_were_given_before_ends_too(service: Bed) -> None:
    service.ask(batch("1", [item(ROSES)]), frame("run.complete"))
    service.ask({**batch("1", [item(ROSES)]), "runId": "run-2"})
    service.service.finish()
    [rest] = service.heard()
    assert (rest["type"], rest["runId"]) == ("run.complete", "run-2")
    assert set(rest["payload"]["totals"].values()) == {0}


def test_a_source_may_be_called_like_anything(service: Bed) -> None:
    for name in ("upload.jsonl", "records", "..", "a/b"):
        asked = changed(SINGLE, source=name, uploadId=name, idempotencyKey=name)
        assert service.one(asked)["type"] == "import.result"


# Two services of one home


def test_a_run_with_a_long_name_is_unknown(service: Bed) -> None:
    for length, name in ((200, "r" * 200), (201, "unknown")):
        answer = service.one({"type": "nothing", "runId": "r" * length})
        assert answer["runId"] == name


def test_of_two_that_are_asked_the_same_one_does_it(
    service: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, taken = batch("k", [item(ROSES)]), home_lock
    with bed(service.home) as other:

        def late(*arguments: Any) -> Any:
            monkeypatch.undo()
            assert not other.result(asked)["repeated"]
            return taken(*arguments)

        monkeypatch.setattr(importing, "home_lock", late)
        found = service.result(asked)
    assert (found["repeated"], results(found)) == (True, [("imported", None)])
    assert len(found["transactionIds"]) == 1
    with bed(service.home) as other:

        def another(*arguments: Any) -> Any:
            monkeypatch.undo()
            other.result(batch("l", [item(POND)]))
            return taken(*arguments)

        monkeypatch.setattr(importing, "home_lock", another)
        assert service.code(batch("l", [item(COMPOST)])) == "idempotency_key_payload_mismatch"
    assert len(transcripts(service.home)) == 2


def test_two_share_an_upload(service: Bed) -> None:
    with bed(service.home) as other:
        assert service.one(UPLOAD[0])["payload"]["received"] == 1
        assert other.one(UPLOAD[1])["payload"]["received"] == 2
        assert results(service.result(UPLOAD[2])) == [("imported", None)]
        assert other.result(UPLOAD[1])["repeated"]
        for one in (service, other):
            assert one.one(frame("health.probe"))["payload"]["uploads"] == 0


def test_what_one_dropped_the_other_takes_anew(service: Bed) -> None:
    named = {**SINGLE["payload"]["item"], "sourceSessionFingerprint": "sha256:" + "0" * 64}
    first, second = (changed(one, item=named, idempotencyKey="w") for one in UPLOAD[:2])
    rest = changed(UPLOAD[2], item=named, idempotencyKey="w")
    with bed(service.home) as other:
        other.ask(first)
        service.ask(second)
        assert service.code(rest) == "chunk_item_source_session_fingerprint_mismatch"
        assert other.one(first)["payload"]["received"] == 1


def test_an_upload_that_another_one_is_at(service: Bed) -> None:
    with bed(service.home) as other, other.service._uploads.held():
        answer = service.one(UPLOAD[0])
    assert (answer["payload"]["code"], answer["payload"]["retryable"]) == ("home_locked", True)
    assert service.one(UPLOAD[0])["payload"]["received"] == 1


def test_they_begin_one_at_a_time(service: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one takes the folder of the other, which it has not locked yet, for a dead one's."""
    monkeypatch.setattr(state, "START_S", 0.05)
    instances = service.state.folder / "instances"
    before = list(instances.iterdir())
    with FileLock(service.state.folder / state.LOCK), pytest.raises(Timeout), bed(service.home):
        pass
    assert list(instances.iterdir()) == before


def test_what_another_one_took_away_does_not_age(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    found = state.older([tmp_path / "gone", tmp_path / "old"], time.time() + 60)
    assert list(found) == [tmp_path / "old"]
