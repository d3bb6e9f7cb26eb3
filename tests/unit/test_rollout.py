"""Names, lines and records of rollout files."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from codex_session_sync.codex import rollout
from codex_session_sync.codex.rollout import (
    MAX_DEPTH,
    Line,
    RolloutName,
    dump_record,
    format_name,
    history_base,
    history_mode,
    parse_name,
    parse_record,
    parse_time,
    read_lines,
)
from codex_session_sync.errors import SessionError
from codex_session_sync.model import HistoryBase

A = "019cac00-0001-7000-8000-00000000000a"
B = "019cac00-0002-7000-8000-00000000000b"
STAMP = "2026-03-02T09-00-00"

RECORD = {"timestamp": "t", "type": "event_msg", "payload": {"type": "x"}}


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (f"rollout-{STAMP}-{A}.jsonl", RolloutName(STAMP, A, A, compressed=False)),
        (f"rollout-{STAMP}-{A}.jsonl.zst", RolloutName(STAMP, A, A, compressed=True)),
        (f"rollout-{STAMP}-{A}_{B}.jsonl", RolloutName(STAMP, A, B, compressed=False)),
        (f"rollout-{STAMP}-{A}_{B}.jsonl.zst", RolloutName(STAMP, A, B, compressed=True)),
    ],
)
def test_parts_of_a_name(name: str, expected: RolloutName) -> None:
    assert parse_name(name) == expected


@pytest.mark.parametrize(
    "name",
    [
        "",
        f"{STAMP}-{A}.jsonl",
        f"rollout-{A}.jsonl",
        f"rollout-{STAMP}-{A}",
        f"rollout-{STAMP}-{A}.json",
        f"rollout-{STAMP}-{A}.jsonl.gz",
        f"rollout-{STAMP}-{A}.jsonl.zst.tmp",
        f"rollout-{STAMP}-{A}.jsonl\n",
        f"rollout-{STAMP}-{A.upper()}.jsonl",
        f"rollout-{STAMP}-{A[:-1]}.jsonl",
        f"rollout-{STAMP}-{A}_.jsonl",
        f"rollout-{STAMP}-{A}_{B}_{B}.jsonl",
        f"rollout-2026-3-2T09-00-00-{A}.jsonl",
        f"x/rollout-{STAMP}-{A}.jsonl",
        f"../rollout-{STAMP}-{A}.jsonl",
    ],
)
def test_other_names_are_no_rollouts(name: str) -> None:
    assert parse_name(name) is None


def test_formatted_name_is_read_back() -> None:
    name = parse_name(format_name(STAMP, A))
    assert name == RolloutName(STAMP, A, A, compressed=False)
    assert name.folder == ("2026", "03", "02")


# --- times --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-02T09:00:00.250Z", datetime(2026, 3, 2, 9, 0, 0, 250_000, UTC)),
        ("2026-03-02T09:00:00", datetime(2026, 3, 2, 9, tzinfo=UTC)),
        ("2026-03-02T09:00:00+02:00", datetime(2026, 3, 2, 7, tzinfo=UTC)),
        ("2026-03-02T09:00:00.123456789Z", datetime(2026, 3, 2, 9, 0, 0, 123_456, UTC)),
        ("yesterday", None),
        ("", None),
        (None, None),
        (1_772_442_000, None),
    ],
)
def test_times(text: object, expected: datetime | None) -> None:
    assert parse_time(text) == expected


def test_zones() -> None:
    zone = timezone(timedelta(hours=2))
    assert parse_time("2026-03-02T09:00:00+02:00") == datetime(2026, 3, 2, 9, tzinfo=zone)


# --- lines --------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1 << 20])
def test_lines_have_their_offsets_whatever_is_read_at_once(
    monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(rollout, "_CHUNK", chunk)
    data = b"one\n\ntwo\r\n\n three"
    lines = list(read_lines(io.BytesIO(data), A))
    assert lines == [
        Line(0, b"one\n"),
        Line(4, b"\n"),
        Line(5, b"two\r\n"),
        Line(10, b"\n"),
        Line(11, b" three"),
    ]
    assert [line.ended for line in lines] == [True, True, True, True, False]
    assert b"".join(line.data for line in lines) == data


def test_empty_file_has_no_lines() -> None:
    assert list(read_lines(io.BytesIO(), A)) == []
    assert list(read_lines(io.BytesIO(b"a\n"), A)) == [Line(0, b"a\n")]


def test_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "_CHUNK", 4)
    monkeypatch.setattr(rollout, "MAX_LINE_BYTES", 10)
    assert len(list(read_lines(io.BytesIO(b"x" * 9 + b"\n" + b"x" * 9), A))) == 2
    lines = read_lines(io.BytesIO(b"ab\n" + b"x" * 40), A)
    assert next(lines) == Line(0, b"ab\n")
    with pytest.raises(SessionError) as caught:
        next(lines)
    assert (caught.value.code, caught.value.session_id) == ("transcript_line_too_long", A)
    assert "byte 3" in caught.value.message


# --- records ------------------------------------------------------------------------------------


def line(**changes: Any) -> bytes:
    record = {**RECORD, **changes}
    return json.dumps({k: v for k, v in record.items() if v is not ...}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\0\0",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        line()[:-1],
        line() + b"\0",
        line() + b" {}",
        b"\xef\xbb\xbf" + line(),
        line(timestamp=...),
        line(timestamp=None),
        line(timestamp=1),
        line(type=...),
        line(type=["response_item"]),
        line(payload=...),
        line(payload=None),
        line(payload=[]),
        line(payload="x"),
        line(ordinal=True),
        line(ordinal=-1),
        line(ordinal=1.0),
        line(ordinal="1"),
        line(ordinal=2**64),
        line(payload={"x": "?"}).replace(b"?", b"\xff"),
        line(payload={"x": "?"}).replace(b"?", rb"\ud800"),
        line(payload={"x": "?"}).replace(b'"?"', b"NaN"),
    ],
)
def test_what_is_no_record(data: bytes) -> None:
    assert parse_record(data) is None


@pytest.mark.parametrize(
    "data",
    [
        line(),
        line() + b"\r\n",
        b" \t" + line() + b" ",
        line(ordinal=0),
        line(ordinal=None),
        line(ordinal=2**64 - 1),
        line(timestamp=""),
        line(more=[{"anything": 1}]),
        line(type="of a later release"),
    ],
)
def test_what_is_a_record(data: bytes) -> None:
    record = parse_record(data)
    assert record == json.loads(data)


@pytest.mark.parametrize("where", ["in the payload", "beside it", "among many", "in a list"])
@pytest.mark.parametrize("said", ["", "so long a line is looked at otherwise " * 100])
@pytest.mark.parametrize(("opening", "inner", "closing"), [("[", "", "]"), ('{"a":', "1", "}")])
def test_depth_is_that_which_codex_reads(
    opening: str, inner: str, closing: str, said: str, where: str
) -> None:
    def nested(levels: int) -> bytes:
        value = opening * levels + inner + closing * levels
        payload, beside = f'"said":"{said}","x":{value}', "1"
        if where == "beside it":
            payload, beside = f'"said":"{said}"', f"[{value}]"
        elif where == "among many":
            payload = "".join(f'"{n}":{n},' for n in range(100)) + payload
        elif where == "in a list":
            value = opening * (levels - 1) + inner + closing * (levels - 1)
            payload = f'"said":["{said}",{value},1]'
        record = f'{{"timestamp":"t","type":"x","beside":{beside},"payload":{{{payload}}}}}'
        return record.encode()

    assert MAX_DEPTH == 127
    assert parse_record(nested(125)) is not None
    for levels in (126, 253, 900, 5000):
        assert parse_record(nested(levels)) is None


def test_many_brackets_are_not_deep() -> None:
    record = parse_record(line(payload={"text": "[{" * 400, "list": [[]] * 400}))
    assert record is not None
    assert len(record["payload"]["list"]) == 400


def test_dumped_record_is_one_line_and_read_back() -> None:
    record = {**RECORD, "payload": {"b": "é\n", "a": [1, 2.5, None]}}
    data = dump_record(record)
    assert data.count(b"\n") == 1
    assert data.endswith(b"\n")
    assert parse_record(data) == record
    assert list(parse_record(data) or ()) == list(record)


# --- heads --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("meta", "mode"),
    [
        ({"history_mode": "paginated"}, "paginated"),
        ({"history_mode": "legacy"}, "legacy"),
        ({"history_mode": "of a later release"}, "legacy"),
        ({"history_mode": None}, "legacy"),
        ({}, "legacy"),
    ],
)
def test_history_mode(meta: dict[str, Any], mode: str) -> None:
    assert history_mode(meta) == mode


BASE = {"thread_id": A, "end_ordinal_exclusive": 3, "end_byte_offset": 40}


def test_history_base() -> None:
    assert history_base({}) is None
    assert history_base({"history_base": None}) is None
    assert history_base({"history_base": {**BASE, "more": 1}}) == HistoryBase(A, 3, 40)


@pytest.mark.parametrize(
    "base",
    [
        {},
        "x",
        [BASE],
        {**BASE, "thread_id": "../x"},
        {**BASE, "thread_id": None},
        {**BASE, "end_ordinal_exclusive": -1},
        {**BASE, "end_ordinal_exclusive": "3"},
        {**BASE, "end_byte_offset": -1},
        {**BASE, "end_byte_offset": 1.5},
        {k: v for k, v in BASE.items() if k != "end_byte_offset"},
    ],
)
def test_history_base_of_another_shape_cannot_be_followed(base: object) -> None:
    with pytest.raises(ValueError, match="unknown shape"):
        history_base({"history_base": base})
