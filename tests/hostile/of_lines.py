"""Hostile lines of a rollout, its first record, and what it says it continues."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from builders import dump, session_id
from hostile.corpus import (
    ESCAPES,
    INVALID,
    SOUND,
    VICTIM,
    Docket,
    Parts,
    edited,
    nested,
    payloads,
    sound,
    spliced,
    table,
    with_base,
    with_data,
    with_meta,
)

CASES = Docket()

# -- lines ----------------------------------------------------------------------------------------

UNREADABLE, TORN = "records_unreadable", "transcript_torn"


def _after_head(line: bytes) -> Callable[[], Parts]:
    """A line behind the first one."""

    def build() -> Parts:
        head, _, rest = VICTIM.data().partition(b"\n")
        return with_data(head + b"\n" + line + b"\n" + rest)

    return build


for label, line in {
    "garbage": b"\xff\xfe\x00garbage",
    "an array": b"[1,2,3]",
    "a number": b"12345",
    "a string": b'"text"',
    "null": b"null",
    "an empty object": b"{}",
    "JSON 10,000 deep": b"[" * 10_000 + b"]" * 10_000,
    "objects 10,000 deep": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "a record 128 deep": dump(
        [{"timestamp": "t", "type": "event_msg", "payload": {"a": nested(126)}}]
    ).strip(),
    "a lone surrogate": b'{"timestamp":"2026","type":"event_msg","payload":{"a":"\\ud800"}}',
    "1e999": b'{"timestamp":"2026","type":"event_msg","payload":{"a":1e999}}',
    "NaN": b'{"timestamp":"2026","type":"event_msg","payload":{"a":NaN}}',
    "a thousand digits": b'{"timestamp":"2026","type":"event_msg","payload":' + b"9" * 1000 + b"}",
    "a negative ordinal": b'{"timestamp":"t","ordinal":-1,"type":"event_msg","payload":{}}',
    "a fractional ordinal": b'{"timestamp":"t","ordinal":1.5,"type":"event_msg","payload":{}}',
    "a true ordinal": b'{"timestamp":"t","ordinal":true,"type":"event_msg","payload":{}}',
    "an ordinal of 2**64": b'{"timestamp":"t","ordinal":18446744073709551616,'
    b'"type":"event_msg","payload":{}}',
    "a string payload": b'{"timestamp":"t","type":"event_msg","payload":"x"}',
    "a numeric type": b'{"timestamp":"t","type":7,"payload":{}}',
    "a numeric time": b'{"timestamp":7,"type":"event_msg","payload":{}}',
    "overlong UTF-8": b'{"timestamp":"t","type":"event_msg","payload":{"a":"\xc0\xaf"}}',
    "surrogates in UTF-8": b'{"timestamp":"t","type":"event_msg","payload":{"a":"\xed\xa0\x80"}}',
}.items():
    CASES.taken(f"line: {label}", _after_head(line), UNREADABLE)

for label, line in {
    "NULs": bytes(5000),
    "blanks": b" \t \r",
    "100,000 empty lines": b"\n" * 100_000,
    "doubled keys": b'{"timestamp":"a","timestamp":"b","type":"event_msg","type":"x",'
    b'"payload":1,"payload":{"a":1,"a":2}}',
    "a number of 400 digits": b'{"timestamp":"t","type":"event_msg","payload":{"a":0.'
    + b"1" * 400
    + b"}}",
    "an unknown type": b'{"timestamp":"t","type":"../../etc/passwd","payload":{"a":"x"}}',
    "a record 127 deep": dump(
        [{"timestamp": "t", "type": "event_msg", "payload": {"a": nested(125)}}]
    ).strip(),
}.items():
    CASES.taken(f"line: {label}", _after_head(line))

CASES.taken("line: CRLF at every end", spliced(b"\n", b"\r\n"))
CASES.taken("end: torn", lambda: with_data(VICTIM.data()[:-20]), TORN)
CASES.taken("end: NULs", lambda: with_data(VICTIM.data() + bytes(4096)), TORN)
CASES.taken(
    "end: 100,000 records in one line", lambda: with_data(VICTIM.data() + b"{}" * 100_000), TORN
)
CASES.refused("file: empty", lambda: with_data(b""), INVALID)
CASES.refused("file: NULs", lambda: with_data(bytes(100_000)), INVALID)
CASES.refused("file: UTF-8 BOM", lambda: with_data(b"\xef\xbb\xbf" + VICTIM.data()), INVALID)
CASES.refused("file: UTF-16", lambda: with_data(VICTIM.data().decode().encode("utf-16")), INVALID)
CASES.refused("file: no newline", lambda: with_data(VICTIM.data().replace(b"\n", b"")), INVALID)
CASES.refused(
    "file: a SQLite database", lambda: with_data(b"SQLite format 3\0" + bytes(4080)), INVALID
)

# -- the first record -----------------------------------------------------------------------------

for label, value in {
    "a path": "../../../../etc/passwd",
    "an absolute path": "/tmp/owned",
    "SQL": "'; DROP TABLE threads; --",
    "another session": SOUND.id,
    "upper case": VICTIM.id.upper(),
    "a newline at its end": VICTIM.id + "\n",
    "a number": 7,
    "nothing": None,
    "a list": [VICTIM.id],
}.items():
    CASES.refused(f"id: {label}", edited(with_meta(id=value)), INVALID)

CASES.refused("meta: missing", edited(lambda records: records[1:]), INVALID)
CASES.refused("meta: second", edited(lambda r: [r[1], r[0], *r[2:]]), INVALID)
CASES.taken("meta: ten of them", edited(lambda records: [*records[:1] * 10, *records[1:]]))
CASES.taken(
    "meta: no more than the id", edited(payloads("session_meta", lambda p: {"id": p["id"]}))
)

for label, base in table(
    {
        "itself": {},
        "a path": {"thread_id": "../../etc/passwd"},
        "negative places": {"end_ordinal_exclusive": -1, "end_byte_offset": -1},
        "places that are text": {"end_ordinal_exclusive": "3"},
        "an object for an id": {"thread_id": {"a": 1}},
    }
):
    CASES.refused(f"history_base: {label}", edited(with_base(**base)), INVALID)

for label, base in table(
    {
        "nowhere": {"thread_id": session_id(77)},
        "the middle of nowhere": {"thread_id": session_id(77), "end_ordinal_exclusive": 2**63},
        "beyond the end": {
            "thread_id": SOUND.id,
            "end_ordinal_exclusive": 2**64 - 1,
            "end_byte_offset": 2**64 - 1,
        },
    }
):
    CASES.refused(f"history_base: {label}", edited(with_base(**base)), "history_base_missing")

CASES.refused("history_base: a list", edited(with_meta(history_base=[])), INVALID)
CASES.taken(
    "history_base: nothing of it", edited(with_base(thread_id=SOUND.id, end_ordinal_exclusive=0))
)


def _circle() -> Parts:
    """Two sessions that continue each other, and a third that continues them."""
    ids = [VICTIM.id, session_id(4), session_id(5)]
    ring = {ids[0]: ids[1], ids[1]: ids[0], ids[2]: ids[0]}
    files = {}
    for number, other in enumerate(ring.values()):
        one = replace(VICTIM, number=(1, 4, 5)[number])
        records = with_base(thread_id=other)(one.records())
        files[one.file_name] = dump(records)
    parts = sound(SOUND)
    return replace(parts, rollouts={**parts.rollouts, **files})


CASES.refused("history_base: a circle", _circle, INVALID)


def chain_of_segments(count: int) -> Callable[[], Parts]:
    """A session in so many files, each of which continues the one before it at its beginning."""

    def build() -> Parts:
        parts = sound(SOUND)
        files = dict(parts.rollouts)
        base = None
        for number in range(count):
            segment = session_id(1000 + number)
            edit = with_base(thread_id=base, end_ordinal_exclusive=0, end_byte_offset=0)
            records = VICTIM.records()[:1]
            stamp = f"2026-03-02T{10 + number // 3600}-{number // 60 % 60:02}-{number % 60:02}"
            name = f"rollout-{stamp}-{VICTIM.id}_{segment}.jsonl"
            files[name] = dump(edit(records) if base else records)
            base = segment
        return replace(parts, rollouts=files)

    return build


CASES.refused("history_base: 1,100 in a chain", chain_of_segments(1100), INVALID)
CASES.taken("history_base: 900 in a chain", chain_of_segments(900))

META_TEXTS = ("timestamp", "cwd", "originator", "cli_version", "source", "model_provider")
for label, meta in table(
    {
        "forked from itself": {"forked_from_id": VICTIM.id},
        "forked from a path": {"forked_from_id": "../../x"},
        "forked from an object": {"forked_from_id": {"a": []}},
        "its own parent": {"parent_thread_id": VICTIM.id, "session_id": VICTIM.id},
        "a source of objects": {"source": {"subagent": {"thread_spawn": [nested(100)]}}},
        "a list for every text": {key: [[]] for key in META_TEXTS},
        "numbers for every text": dict.fromkeys(META_TEXTS, 2**63),
        "null for every text": dict.fromkeys(META_TEXTS),
        "escapes for every text": dict.fromkeys(
            ("cwd", "originator", "cli_version", "source", "model_provider", "agent_nickname"),
            ESCAPES,
        ),
        "git that is a list": {"git": [1]},
        "git of objects": {"git": {"commit_hash": {}, "branch": [], "repository_url": 5}},
        "roots that are a text": {"runtime_workspace_roots": "/", "selected_capability_roots": 7},
        "a note that is a list": {"session_sync": []},
        "a note of objects": {"session_sync": {"origin_id": {}, "forked_from_id": [1]}},
        "a note of a path": {"session_sync": {"origin_id": "../../../x", "forked_from_id": "/etc"}},
        "a note of escapes": {"session_sync": {"origin_id": ESCAPES, "forked_from_id": ESCAPES}},
        "an unknown history mode": {"history_mode": "../legacy"},
        "a history mode that is a list": {"history_mode": ["paginated"]},
    }
):
    CASES.taken(f"meta: {label}", edited(with_meta(**meta)))


def _descent() -> Parts:
    """Sessions that claim to descend from each other, in a circle."""
    parts = sound(SOUND)
    files = dict(parts.rollouts)
    numbers = list(range(40, 60))
    for number, parent in zip(numbers, numbers[1:] + numbers[:1], strict=True):
        one = replace(VICTIM, number=number)
        meta = {"forked_from_id": session_id(parent), "parent_thread_id": session_id(parent)}
        files[one.file_name] = dump(with_meta(**meta)(one.records()))
    return replace(parts, rollouts=files)


CASES.taken("meta: descent in a circle", _descent)
