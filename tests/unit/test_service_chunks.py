"""Sessions that come to the import service in chunks: uploads, their limits and damage."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from codex_session_sync.service import decoding
from service_frames import Json, changed, chunks
from servicebed import SMALL, Bed, bed, transcripts
from unit.service_cases import (
    COMPOST,
    ROSES,
    SINGLE,
    UPLOAD,
    about,
    coded,
    make_here,
    make_service,
    results,
)

here = pytest.fixture(make_here)
service = pytest.fixture(make_service)


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
