"""What the import service refuses, with which code, and what it tells of the cause."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builders import Session, write_snapshot
from codex_session_sync.errors import HomeError
from codex_session_sync.journal.log import Journal
from codex_session_sync.locks import home_lock
from codex_session_sync.service import importing
from service_frames import Json, batch, changed, chunks, frame, item
from servicebed import SMALL, Bed
from unit.service_cases import COMPOST, ROSES, SINGLE, coded, make_here, make_service, results
from workbench import call, make_database, tree

here = pytest.fixture(make_here)
service = pytest.fixture(make_service)

SECRET = "the words of a conversation"
DEEP = '{"a":' * 200 + "1" + "}" * 200


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (None, "frame_too_long"),
        (b"x" * (SMALL.frame_bytes + 2), "frame_too_long"),
        (b"garbage\n", "frame_not_json"),
        (b"[]\n", "frame_not_json"),
        (b"\xff\xfe\n", "frame_not_json"),
        (b'{"type":"import.batch","runId":"r"', "frame_not_json"),
        (b"[" * 5000 + b"]" * 5000, "frame_not_json"),
        (f'{{"type":"health.probe","runId":"r","payload":{DEEP}}}'.encode(), "frame_too_deep"),
        ({"type": "nothing", "runId": "r"}, "frame_type_unknown"),
        ({"type": 5, "runId": "r"}, "frame_type_unknown"),
        ({"runId": "r"}, "frame_type_unknown"),
        ({"type": "run.start", "runId": "r", "payload": {}}, "frame_type_unknown"),
        ({"type": "health.probe"}, "frame_invalid"),
        ({"type": "health.probe", "runId": ""}, "frame_invalid"),
        ({"type": "health.probe", "runId": "r", "seq": -1}, "frame_invalid"),
        ({"type": "health.probe", "runId": "r", "seq": True}, "frame_invalid"),
        ({"type": "health.probe", "runId": "r", "seq": 1 << 60}, "frame_invalid"),
        ({"type": "health.probe", "runId": "r", "payload": []}, "frame_invalid"),
        ({"type": "health.probe", "runId": "r", "more": 1}, "frame_invalid"),
        ({"type": "import.batch", "runId": "r"}, "frame_invalid"),
        (batch("", [item(ROSES)]), "frame_invalid"),
        (batch("k", []), "frame_invalid"),
        (batch("k", [5]), "frame_invalid"),  # type: ignore[list-item]
        (batch("k", [{}] * 1001), "frame_invalid"),
        (batch("k", [item(ROSES)], source="a\nb"), "frame_invalid"),
        (batch("k", [item(ROSES)], mode="other"), "frame_invalid"),
        (frame("job.status"), "frame_invalid"),
        (frame("job.status", jobId="../../etc"), "job_unknown"),
        (frame("job.cancel", jobId="nothing"), "job_unknown"),
        (frame("run.error"), "frame_invalid"),
    ],
)
def test_what_is_refused(service: Bed, sent: Any, code: str) -> None:
    before = tree(service.home)
    answer = service.one(sent)
    assert answer["type"] == "run.error"
    assert answer["payload"]["code"] == code
    assert answer["payload"]["hint"]
    assert tree(service.home) == before
    assert results(service.result(batch("k", [item(ROSES)]))) == [("imported", None)]


def test_a_refusal_names_what_it_is_about(service: Bed) -> None:
    answer = service.one(changed(batch("k", [item(ROSES)], 9), mode="other"))
    assert (answer["runId"], answer["seq"]) == ("run-1", 9)
    about = {k: answer["payload"][k] for k in ("frame", "idempotencyKey", "retryable")}
    assert about == {"frame": "import.batch", "idempotencyKey": "k", "retryable": False}
    assert service.one(b"nothing\n")["runId"] == "unknown"


def test_nothing_of_a_conversation_is_told(here: Path, service: Bed) -> None:
    said = Session(7, start=50, name=SECRET).say(SECRET, SECRET)
    package = write_snapshot(here / "package", [said])
    (package / "sessions" / "2026" / "03" / "02" / said.file_name).write_bytes(SECRET.encode())
    records = said.records()
    strange: list[Json | bytes] = [
        batch("1", [item(said, [{"type": "session_meta", "payload": {"id": SECRET}}])]),
        batch("2", [item(said, name=5), {"package": SECRET}, {"package": str(package)}]),
        batch("3", [item(said)]),
        batch("4", [item(said, records[:-1]), item(said.say("x"), records[:-3])]),
        batch("5", [item(replace(said.say("y"), turns=((SECRET + "!", "z"),)))]),
        {**batch("6", [item(said)]), SECRET: 1},
        changed(batch("7", [item(said)]), mode=SECRET),
        changed(SINGLE, **coded(SECRET.encode())),
        changed(SINGLE, data=SECRET),
        frame("job.status", jobId=SECRET),
        json.dumps(batch("8", [item(said)])).encode()[:-30] + b"\n",
    ]
    heard = service.ask(*strange)
    assert len(heard) == len(strange)
    assert SECRET not in json.dumps(heard)
    logs = [path.read_text() for path in service.state.logs.iterdir()]
    assert SECRET not in "".join(logs)


def test_a_defect_ends_nothing(service: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError(SECRET)

    with monkeypatch.context() as patched:
        patched.setattr(importing, "make_plan", broken)
        answer = service.one(batch("k", [item(ROSES)]))
    assert answer["payload"]["code"] == "defect"
    assert SECRET not in json.dumps(answer)
    log = (service.state.logs / "defects.log").read_text()
    assert "KeyError" in log
    assert "make_plan" in log
    assert SECRET not in log
    assert results(service.result(batch("k", [item(ROSES)]))) == [("imported", None)]


def test_a_refused_system_call_can_be_made_again(
    service: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(importing, "stage", full)
        answer = service.one(batch("k", [item(ROSES)]))
    assert (answer["payload"]["code"], answer["payload"]["retryable"]) == ("system_error", True)
    assert results(service.result(batch("k", [item(ROSES)]))) == [("imported", None)]


def test_a_home_that_another_command_has(service: Bed) -> None:
    asked = batch("k", [item(ROSES)])
    with home_lock(service.home / "session-sync", "sync"):
        answer = service.one(asked)
    assert (answer["payload"]["code"], answer["payload"]["retryable"]) == ("home_locked", True)
    assert not service.result(asked)["repeated"]


def test_what_a_person_left_unfinished_is_the_persons(here: Path, service: Bed) -> None:
    synced_here = write_snapshot(here / "package", [COMPOST])
    call("sync", synced_here, "--execute", "--no-prime", "--codex-home", service.home)
    journal = Journal(service.home / "session-sync")
    path = service.home / "session-sync" / "transactions" / journal.ids()[0] / "manifest.json"
    manifest = json.loads(path.read_bytes())
    unfinished = {**manifest, "status": "running", "completed_at": None}
    path.write_text(json.dumps(unfinished))
    assert service.code(batch("k", [item(ROSES)])) == "transaction_interrupted"
    request = {"idempotency_key": "x", "source": "laptop", "mode": "tail"}
    path.write_text(json.dumps({**unfinished, "request": request}))
    assert results(service.result(batch("k", [item(ROSES)]))) == [("imported", None)]
    assert json.loads(path.read_bytes())["status"] == "recovered"


def test_a_home_that_has_gone(service: Bed) -> None:
    make_database(service.home).write_bytes(b"no database" * 1000)
    answer = service.one(batch("k", [item(ROSES)]))
    assert answer["payload"]["code"] == "database_unreadable"
    (service.home / "state_5.sqlite").unlink()
    assert results(service.result(batch("k", [item(ROSES)]))) == [("imported", None)]


def test_home_errors_are_not_kept(service: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object, **__: object) -> None:
        raise HomeError("database_busy", "it is", hint="wait")

    with monkeypatch.context() as patched:
        patched.setattr(importing, "execute", busy)
        assert service.code(batch("k", [item(ROSES)])) == "database_busy"
        [parts] = [chunks(COMPOST, "c", "u", 2)]
        service.ask(parts[0])
        assert service.code(parts[1]) == "database_busy"
    assert results(service.result(parts[1])) == [("imported", None)]
    assert not service.result(batch("k", [item(ROSES)]))["repeated"]
