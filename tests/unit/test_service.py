"""The import service frame by frame: requests, chunks, what is refused with which code."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard
from filelock import FileLock, Timeout

from builders import Session, write_snapshot
from codex_session_sync.errors import HomeError
from codex_session_sync.journal.log import Journal
from codex_session_sync.locks import home_lock
from codex_session_sync.service import decoding, importing, state
from service_frames import Json, answers, batch, changed, chunks, frame, item
from servicebed import SMALL, Bed, bed, state_of, transcripts
from workbench import call, environment, make_database, rows, tree

ROSES = Session(1, start=10).say("How do I prune roses?")
COMPOST = Session(2, start=20, name="Compost").say("What goes on the heap?").say("And peel?")
POND = Session(3, start=30, archived=True).say("How deep is a pond?")
SECRET = "the words of a conversation"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "home").mkdir()
    return tmp_path


@pytest.fixture
def service(here: Path) -> Iterator[Bed]:
    with bed(here / "home") as found:
        yield found


def results(payload: Json) -> list[tuple[str, str | None]]:
    return [(one["result"], one["reason"]) for one in payload["items"]]


def synced(here: Path, *sessions: Session) -> Path:
    """A home that one sync brought these sessions into."""
    home, package = here / "synced", here / "package"
    home.mkdir()
    make_database(home)
    write_snapshot(package, list(sessions))
    assert call("sync", package, "--execute", "--no-prime", "--codex-home", home).exit_code == 0
    return home


# Requests


def test_a_request_does_what_a_sync_does(here: Path, service: Bed) -> None:
    make_database(service.home)
    found = service.result(batch("k", [item(ROSES), item(COMPOST), item(POND)]))
    assert results(found) == [("imported", None)] * 3
    assert found["totals"] == {"imported": 3, "upserted": 0, "skipped": 0, "failed": 0}
    assert (found["planned"], found["repeated"]) == (False, False)
    assert len(state_of(service.home)["rows"]) == 3
    assert state_of(service.home) == state_of(synced(here, ROSES, COMPOST, POND))


def test_records_are_one_transaction_that_is_rolled_back(here: Path, service: Bed) -> None:
    before = transcripts(service.home)
    found = service.result(batch("k", [item(ROSES), item(COMPOST)]))
    [transaction] = found["transactionIds"]
    assert Journal(service.home / "session-sync").ids() == [transaction]
    shown = call("show-transaction", transaction, "--json").envelope["data"]["transaction"]
    assert shown["request"] == {"idempotency_key": "k", "source": "laptop", "mode": "tail"}
    assert call("rollback", transaction, "--execute").exit_code == 0
    assert transcripts(service.home) == before


def test_what_went_on_is_upserted_and_what_is_here_skipped(service: Bed) -> None:
    service.ask(batch("1", [item(ROSES), item(COMPOST)]))
    found = service.result(batch("2", [item(ROSES.say("More")), item(COMPOST)]))
    assert results(found) == [("upserted", None), ("skipped", "equal")]
    assert [one["sessions"][0]["action"] for one in found["items"]] == ["fast_forward", "skip"]
    branch = service.result(batch("3", [item(ROSES.say("Another way"))]))
    assert results(branch) == [("upserted", None)]
    assert branch["items"][0]["sessions"][0]["action"] == "branch"


def test_items_are_isolated(here: Path, service: Bed) -> None:
    package = write_snapshot(here / "package", [COMPOST])
    wrong = item(Session(4, start=40).say("x"))
    found = service.result(
        batch(
            "k",
            [
                {"package": str(here / "nowhere")},
                {"neither": 1},
                item(ROSES),
                {**wrong, "sourceSessionId": ROSES.id},
                {**wrong, "records": [1, 2]},
                {**wrong, "records": [{"type": "other"}]},
                {"package": str(package)},
                {"package": str(package), "sessions": [ROSES.id]},
                {"package": "relative"},
            ],
        )
    )
    assert results(found) == [
        ("failed", "package_not_found"),
        ("failed", "item_invalid"),
        ("imported", None),
        ("failed", "item_session_id_mismatch"),
        ("failed", "item_invalid"),
        ("failed", "item_invalid"),
        ("imported", None),
        ("failed", "item_session_missing"),
        ("failed", "item_invalid"),
    ]
    assert len(found["transactionIds"]) == 2
    assert len(transcripts(service.home)) == 2


def test_one_session_twice_is_taken_in_order(service: Bed) -> None:
    more = ROSES.say("More")
    found = service.result(batch("k", [item(ROSES), item(COMPOST), item(more), item(ROSES)]))
    assert [one for one, _ in results(found)] == ["imported", "imported", "upserted", "skipped"]
    assert len(found["transactionIds"]) == 2
    [roses] = [data for name, data in transcripts(service.home).items() if ROSES.id in name]
    assert roses.count(b"\n") == len(more.records())


def test_a_package_is_limited_to_sessions_and_to_places(here: Path) -> None:
    package = write_snapshot(here / "inbox" / "package", [ROSES, COMPOST])
    (here / "link").symlink_to(package)
    with bed(here / "home", below=((here / "inbox").resolve(),)) as service:
        found = service.result(batch("1", [{"package": str(package), "sessions": [ROSES.id]}]))
        assert results(found) == [("imported", None)]
        [session] = found["items"][0]["sessions"]
        assert session["sessionId"] == ROSES.id
        outside = write_snapshot(here / "outside", [COMPOST])
        (here / "inbox" / "way-out").symlink_to(outside)
        for path in (outside, here / "inbox" / "way-out", here / "inbox" / ".." / "outside"):
            found = service.result(batch(str(path), [{"package": str(path)}]))
            assert results(found) == [("failed", "item_package_refused")]
        found = service.result(batch("2", [{"package": str(here / "link")}]))
        assert [one for one, _ in results(found)] == ["imported"]


def test_without_execute_it_only_plans(here: Path) -> None:
    home = here / "home"
    with bed(home) as service:
        service.ask(batch("1", [item(ROSES)]))
    before = tree(home, "session-sync/service")
    with bed(home, writes=False) as service:
        more = [item(ROSES.say("More")), item(COMPOST), item(ROSES)]
        found = service.result(batch("2", more))
        assert found["planned"]
        assert found["transactionIds"] == []
        assert [one for one, _ in results(found)] == ["upserted", "imported", "skipped"]
    assert tree(home, "session-sync/service") == before


def test_trust_is_that_of_a_sync(here: Path, service: Bed) -> None:
    """What acts in a package is taken away from records too."""
    wide = replace(ROSES, meta={"selected_capability_roots": ["/tools"]})
    service.ask(batch("k", [item(wide)]))
    [data] = transcripts(service.home).values()
    assert b"selected_capability_roots" not in data
    [manifest] = Journal(service.home / "session-sync").manifests()
    assert manifest["sessions"][0]["removed"] == ["selected_capability_roots"]


# Keys


def reversed_keys(value: Any) -> Any:
    if isinstance(value, list):
        return [reversed_keys(one) for one in value]
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return value


def test_a_repeated_key_gets_the_first_answer(service: Bed) -> None:
    asked = batch("k", [item(ROSES), {"package": "/nowhere"}], 7)
    first = service.one(asked)
    before = tree(service.home)
    spaced = json.dumps(asked, indent=1).replace("\n", " ").encode() + b"\n"
    turned = reversed_keys(asked)
    for again in (asked, spaced, turned):
        answer = service.one(again)
        assert answer == {**first, "payload": {**first["payload"], "repeated": True}}
    assert tree(service.home) == before
    assert service.service.heard.totals["imported"] == 1


def test_an_answer_outlives_the_service(here: Path) -> None:
    with bed(here / "home") as service:
        first = service.result(batch("k", [item(ROSES)]))
    with bed(here / "home") as service:
        assert service.result(batch("k", [item(ROSES)])) == {**first, "repeated": True}


def test_an_answer_that_cannot_be_read_costs_doing_it_again(service: Bed) -> None:
    service.ask(batch("k", [item(ROSES)]))
    [path] = service.state.keys.glob("??/*.json")
    for data in (b"", b"{}", path.read_bytes()[:-20]):
        path.write_bytes(data)
        assert results(service.result(batch("k", [item(ROSES)]))) == [("skipped", "equal")]


def test_old_answers_go(service: Bed) -> None:
    service.ask(batch("old", [item(ROSES)]), batch("new", [item(ROSES)]))
    old = next(p for p in service.state.keys.glob("??/*.json") if b'"old"' in p.read_bytes())
    then = time.time() - SMALL.kept_seconds - 60
    os.utime(old, (then, then))
    service.service.work()
    assert not old.exists()
    assert service.result(batch("new", [item(ROSES)]))["repeated"]
    assert not service.result(batch("old", [item(ROSES)]))["repeated"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"source": "tablet"}, "idempotency_key_source_mismatch"),
        ({"mode": "backfill"}, "idempotency_key_mode_mismatch"),
        ({"items": [{"package": "/nowhere"}]}, "idempotency_key_payload_mismatch"),
        ({"personaId": "gardener"}, "idempotency_key_payload_mismatch"),
        ({"sourceHome": ROSES.id}, "idempotency_key_payload_mismatch"),
    ],
)
def test_a_key_is_for_one_request(service: Bed, change: Json, code: str) -> None:
    asked = batch("k", [item(ROSES)])
    service.ask(asked)
    before = tree(service.home)
    assert service.code(changed(asked, **change)) == code
    assert tree(service.home) == before
    assert service.result(asked)["repeated"]


def test_a_key_of_one_chunk_and_of_requests(service: Bed) -> None:
    [upload] = chunks(ROSES, "k", "u", 1)
    service.ask(upload)
    assert service.code(batch("k", [item(ROSES)])) == "idempotency_key_payload_mismatch"
    other = changed(upload, source="tablet")
    assert service.code(other) == "idempotency_key_source_mismatch"
    assert service.code(changed(upload, mode="backfill")) == "idempotency_key_mode_mismatch"


# Chunks


@pytest.mark.parametrize("encoding", ["gzip+base64", "zstd+base64"])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_chunks_in_any_order_and_twice(service: Bed, encoding: str, count: int) -> None:
    parts = chunks(COMPOST, "k", "u", count, encoding)
    for one in [*reversed(parts[1:]), *parts[1:]]:
        assert service.one(one)["payload"]["phase"] == "staged"
    found = service.result(parts[0])
    assert results(found) == [("imported", None)]
    assert found["uploadId"] == "u"
    assert list(service.state.uploads.iterdir()) == []
    for one in parts:
        assert service.result(one) == {**found, "repeated": True}
    [data] = transcripts(service.home).values()
    assert data.count(b"\n") == len(COMPOST.records())


def test_chunks_that_were_compressed_one_by_one(service: Bed) -> None:
    """Also with what a gzip file may have: an empty member, and one that grows a lot."""
    long = ROSES.say("x" * 200_000)
    data, parts = long.data(), chunks(long, "k", "u", 4)
    step = -(-len(data) // 3)
    pieces = [data[i * step : (i + 1) * step] for i in range(3)]
    for compress in (gzip.compress, zstandard.compress):
        told = "gzip" if compress is gzip.compress else "zstd"
        for place, piece in enumerate([*pieces[:2], b"", pieces[2]]):
            code = {"encoding": f"{told}+base64", "idempotencyKey": told, "uploadId": told}
            coded = base64.b64encode(compress(piece)).decode()
            [answer] = service.ask(changed(parts[place], data=coded, **code))
        assert answer["type"] == "import.result"
    assert [one["result"] for one in answer["payload"]["items"]] == ["skipped"]


def test_an_upload_outlives_the_service(here: Path) -> None:
    parts = chunks(COMPOST, "k", "u", 3)
    with bed(here / "home") as service:
        service.ask(*parts[:2])
    with bed(here / "home") as service:
        assert service.service._status()["uploads"] == 1
        assert results(service.result(parts[2])) == [("imported", None)]


UPLOAD = chunks(COMPOST, "k", "u", 3)


def about(**more: Any) -> Json:
    return {"item": {**UPLOAD[1]["payload"]["item"], **more}}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"uploadId": ""}, "chunk_upload_id_required"),
        ({"uploadId": 5}, "chunk_upload_id_required"),
        ({"chunkIndex": 3}, "chunk_index_out_of_range"),
        ({"chunkIndex": -1}, "chunk_index_out_of_range"),
        ({"chunkTotal": 4}, "chunk_total_mismatch"),
        ({"mode": "backfill"}, "chunk_mode_mismatch"),
        ({"idempotencyKey": "other"}, "chunk_idempotency_key_mismatch"),
        ({"encoding": "zstd+base64"}, "chunk_encoding_mismatch"),
        (about(sourceProvider="other"), "chunk_item_source_provider_mismatch"),
        (about(sourceSessionId=ROSES.id), "chunk_item_source_session_id_mismatch"),
        (
            about(sourceSessionFingerprint="other"),
            "chunk_item_source_session_fingerprint_mismatch",
        ),
        ({"source": "tablet"}, "idempotency_key_source_mismatch"),
        ({"data": "no base64!"}, "chunk_payload_decode_failed"),
        ({"chunkIndex": 0, "data": ""}, "idempotency_key_payload_mismatch"),
        ({"encoding": "br+base64"}, "frame_invalid"),
        ({"item": {}}, "frame_invalid"),
        ({"chunkTotal": "3"}, "frame_invalid"),
    ],
)
def test_chunks_say_the_same(service: Bed, change: Json, code: str) -> None:
    service.ask(UPLOAD[0])
    assert service.code(changed(UPLOAD[1], **change)) == code
    assert service.one(UPLOAD[1])["payload"]["received"] == 2
    assert results(service.result(UPLOAD[2])) == [("imported", None)]


def test_a_chunk_without_an_upload(service: Bed) -> None:
    payload = {k: v for k, v in UPLOAD[0]["payload"].items() if k != "uploadId"}
    assert service.code({**UPLOAD[0], "payload": payload}) == "chunk_upload_id_required"


@pytest.mark.parametrize("total", [0, -1])
def test_an_upload_of_no_chunks(service: Bed, total: int) -> None:
    assert service.code(changed(UPLOAD[0], chunkTotal=total)) == "chunk_index_out_of_range"
    assert list(service.state.uploads.iterdir()) == []


def test_a_late_chunk_with_other_data(service: Bed) -> None:
    service.ask(*UPLOAD)
    other = changed(UPLOAD[0], data=UPLOAD[1]["payload"]["data"])
    assert service.code(other) == "idempotency_key_payload_mismatch"
    assert service.code(changed(UPLOAD[0], chunkTotal=9)) == "chunk_total_mismatch"


def coded(data: bytes, encoding: str = "gzip+base64") -> Json:
    packed = zstandard.compress(data) if encoding.startswith("zstd") else gzip.compress(data)
    return {"encoding": encoding, "data": base64.b64encode(packed).decode()}


SINGLE = chunks(COMPOST, "k", "u", 1)[0]
RAW = {
    "gzip": gzip.compress(COMPOST.data()),
    "zstd": zstandard.compress(COMPOST.data()),
}


@pytest.mark.parametrize("kind", RAW)
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: b"garbage " + data,
        lambda data: data + b"garbage",
        lambda data: data[:20] + bytes([data[20] ^ 255]) + data[21:],
    ],
)
def test_what_is_damaged_is_not_brought_in(service: Bed, kind: str, damage: Any) -> None:
    packed = base64.b64encode(damage(RAW[kind])).decode()
    sent = changed(SINGLE, encoding=f"{kind}+base64", data=packed)
    assert service.code(sent) in ("chunk_payload_decode_failed", "chunk_payload_json_invalid")
    assert list(service.state.uploads.iterdir()) == []
    assert transcripts(service.home) == {}
    assert results(service.result(SINGLE)) == [("imported", None)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        b"no json",
        COMPOST.data() + b"[1]\n",
        COMPOST.data()[:-10],
        COMPOST.data() + b'{"a": NaN}\n',
    ],
)
def test_an_upload_that_holds_no_records(service: Bed, data: bytes) -> None:
    assert service.code(changed(SINGLE, **coded(data))) == "chunk_payload_json_invalid"
    assert transcripts(service.home) == {}


def test_an_upload_is_verified(service: Bed) -> None:
    digest = "sha256:" + hashlib.sha256(COMPOST.data()).hexdigest()
    named = {**SINGLE["payload"]["item"], "sourceSessionFingerprint": digest}
    wrong = {**named, "sourceSessionFingerprint": "sha256:" + "0" * 64}
    other = changed(SINGLE, **coded(ROSES.data()))
    assert service.code(other) == "chunk_item_source_session_id_mismatch"
    code = "chunk_item_source_session_fingerprint_mismatch"
    assert service.code(changed(SINGLE, item=wrong)) == code
    assert results(service.result(changed(SINGLE, item=named))) == [("imported", None)]


def test_limits_of_uploads(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = replace(SMALL, uploads=2, upload_chunks=4, upload_bytes=5000, session_bytes=60_000)
    monkeypatch.setattr(decoding, "MAX_LINE_BYTES", 30_000)
    with bed(here / "home", few) as service:
        service.ask(*(changed(UPLOAD[0], uploadId=f"u{n}") for n in range(2)))
        refused = service.one(changed(UPLOAD[0], uploadId="u2"))
        assert refused["payload"]["code"] == "upload_limit"
        assert refused["payload"]["retryable"]
        assert service.one(changed(UPLOAD[1], uploadId="u1"))["payload"]["phase"] == "staged"
        assert service.code(changed(UPLOAD[0], uploadId="u0", chunkTotal=5)) == (
            "chunk_total_mismatch"
        )
        service.service._uploads.drop("u0")
        assert service.code(changed(UPLOAD[0], chunkTotal=5)) == "upload_too_large"
        packed = os.urandom(6000)
        much = changed(UPLOAD[0], data=base64.b64encode(packed).decode())
        assert service.code(much) == "upload_limit"
        for encoding in ("gzip+base64", "zstd+base64"):
            bomb = changed(SINGLE, **coded(b'{"type":"x"}\n' * 10_000, encoding))
            assert service.code(bomb) == "upload_too_large"
            line = changed(SINGLE, **coded(b" " * 50_000, encoding))
            assert service.code(line) == "chunk_payload_json_invalid"


def test_the_window_of_zstd_is_limited(here: Path) -> None:
    wide = zstandard.ZstdCompressionParameters(window_log=21)
    writer = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    packed = writer.compress(COMPOST.data()) + writer.flush()
    told = {"encoding": "zstd+base64", "data": base64.b64encode(packed).decode()}
    with bed(here / "home", replace(SMALL, window_bytes=1 << 20)) as service:
        assert service.code(changed(SINGLE, **told)) == "chunk_payload_decode_failed"
    with bed(here / "home", replace(SMALL, window_bytes=1 << 21)) as service:
        assert results(service.result(changed(SINGLE, **told))) == [("imported", None)]


def test_what_two_have_staged_counts_together(here: Path) -> None:
    few = replace(SMALL, upload_bytes=5000)
    part = base64.b64encode(os.urandom(2000)).decode()
    with bed(here / "home", few) as service, bed(here / "home", few) as other:
        first = changed(UPLOAD[0], uploadId="1", data=part)
        assert service.one(first)["payload"]["phase"] == "staged"
        assert other.one(changed(first, chunkIndex=1))["payload"]["phase"] == "staged"
        assert service.code(changed(first, uploadId="2")) == "upload_limit"


def test_uploads_expire(service: Bed) -> None:
    service.ask(UPLOAD[0])
    [folder] = service.state.uploads.iterdir()
    then = time.time() - SMALL.upload_seconds - 60
    os.utime(folder, (then, then))
    service.service.work()
    assert list(service.state.uploads.iterdir()) == []
    assert service.one(UPLOAD[1])["payload"]["received"] == 1


# What is refused


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


def test_an_item_is_failed_if_one_of_its_sessions_is() -> None:
    told = [{"result": one, "reason": one} for one in ("imported", "skipped", "failed")]
    assert importing._item(0, told)["result"] == "failed"
    assert importing._item(0, told[:2])["result"] == "imported"
    assert importing._item(0, told[1:2])["result"] == "skipped"


def test_the_folder_of_packages_may_be_one(here: Path) -> None:
    package = write_snapshot(here / "package", [ROSES]).resolve()
    with bed(here / "home", below=(package,)) as service:
        found = service.result(batch("k", [{"package": str(package)}]))
    assert results(found) == [("imported", None)]


def test_a_run_with_a_long_name_is_unknown(service: Bed) -> None:
    for length, name in ((200, "r" * 200), (201, "unknown")):
        answer = service.one({"type": "nothing", "runId": "r" * length})
        assert answer["runId"] == name
