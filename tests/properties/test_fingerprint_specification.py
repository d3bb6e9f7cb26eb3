"""Fingerprints are those of the specification, and sessions agree up to where they part."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import fingerprint_by_spec as spec
from codex_session_sync.codex.rollout import parse_record
from codex_session_sync.lineage.fingerprint import common_entries, lineage_id
from codex_session_sync.model import Chain
from properties.sessions import (
    OWN,
    PARENT,
    Record,
    chain,
    compactions,
    dumped,
    entries,
    head,
    hex_links,
    is_entry,
    items,
    legacy_records,
    legacy_session,
    links,
    make_disk,
    plain_record,
    records,
    session,
    several_entries,
    texts,
    times,
)

disk = pytest.fixture(make_disk, autouse=True, scope="module")


# --- the specification --------------------------------------------------------------------------


@settings(max_examples=120)
@given(records, st.sampled_from([{}, {"forked_from_id": PARENT}]))
def test_paginated_sessions_have_the_links_of_the_specification(
    found: list[Record], meta: Record
) -> None:
    data = session(found, **meta)
    assert hex_links(chain(data)) == links(data)


@settings(max_examples=150)
@given(legacy_records)
def test_legacy_sessions_have_the_links_of_the_specification(found: list[Record]) -> None:
    data = legacy_session(found)
    assert hex_links(chain(data)) == links(data)
    expected = spec.fingerprint({OWN: data}, OWN).lineage_id
    assert lineage_id(chain(data), OWN) == expected


NUMBERS = st.from_regex(
    r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
)
TURN_RECORDS = [
    plain_record("response_item", role="user"),
    plain_record("response_item", role="user"),
    plain_record("response_item", role="developer"),
    plain_record("compacted", message="m"),
    plain_record("event_msg", type="task_started"),
    plain_record("event_msg", type="task_started"),
    plain_record("event_msg", type="user_message"),
    plain_record("event_msg", type="user_message"),
    plain_record("event_msg", type="thread_rolled_back", num_turns=1),
    plain_record("event_msg", type="thread_rolled_back", num_turns=2),
]


@settings(max_examples=400)
@given(st.lists(st.sampled_from(TURN_RECORDS), max_size=20))
def test_turns_are_taken_back_as_specified(found: list[Record]) -> None:
    data = legacy_session([{**r, "timestamp": str(n)} for n, r in enumerate(found)])
    assert hex_links(chain(data)) == links(data)


ODD_JSON = (
    NUMBERS
    | st.from_regex(r'"(\\u[dD][89a-fA-F][0-9]{2}|\\[a-z/"\\]|[ -!#-\[\]-~]){0,3}"', fullmatch=True)
    | st.sampled_from(["NaN", "Infinity", "-Infinity", "-", "01", "1.", ".1", "[1,]", "{,}", "'x'"])
    | st.integers(120, 130).map(lambda n: "[" * n + "]" * n)
)


@settings(max_examples=300)
@given(ODD_JSON)
def test_values_are_read_and_written_as_specified(text: str) -> None:
    line = f'{{"timestamp":"t","type":"response_item","payload":{{"x":{text},"y":"["}}}}'.encode()
    assert_same_reading(line)


@settings(max_examples=300)
@given(entries, st.data())
def test_mangled_lines_are_records_or_not_as_specified(record: Record, data: st.DataObject) -> None:
    line = bytearray(dumped(record).rstrip(b"\n"))
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.integers(0, len(line)))
        taken = data.draw(st.integers(0, 3))
        given_bytes = st.sampled_from([b"", b"\0", b"\r", b"\xff", b'"', b"{}", b"\\", b"9", b"\t"])
        line[place : place + taken] = data.draw(given_bytes)
    assert_same_reading(bytes(line))


@settings(max_examples=100)
@given(st.none() | st.booleans() | st.integers(-(2**64), 2**65) | st.floats() | texts)
def test_ordinals_are_judged_as_specified(ordinal: object) -> None:
    record = {"timestamp": "t", "type": "response_item", "payload": {}, "ordinal": ordinal}
    assert_same_reading(json.dumps(record).encode())


def assert_same_reading(line: bytes) -> None:
    assume(b"\n" not in line)
    expected = spec.parse(line)
    assert repr(parse_record(line)) == repr(expected)
    if expected is not None:
        data = dumped(head()) + line
        assert hex_links(chain(data)) == links(data)


# --- prefixes -----------------------------------------------------------------------------------


@settings(max_examples=60)
@given(records, st.data())
def test_a_beginning_of_a_session_has_a_beginning_of_its_chain(
    found: list[Record], data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, len(found)))
    whole, part = chain(session(found)), chain(session(found[:count]))
    assert len(part) == sum(map(is_entry, found[:count]))
    assert whole.links.startswith(part.links)
    assert common_entries(whole, part) == common_entries(part, whole) == len(part)


@settings(max_examples=60)
@given(several_entries, several_entries, several_entries)
def test_sessions_agree_up_to_where_they_part(
    shared: list[Record], one: list[Record], other: list[Record]
) -> None:
    a, b = session(shared + one), session(shared + other)
    common = common_entries(chain(a), chain(b))
    assert common == spec.common(links(a), links(b))
    assert common >= sum(map(is_entry, shared))


@settings(max_examples=60)
@given(several_entries, st.data())
def test_another_time_or_content_is_another_entry_and_all_after_it(
    found: list[Record], data: st.DataObject
) -> None:
    places = [place for place, record in enumerate(found) if is_entry(record)]
    number = data.draw(st.integers(0, len(places) - 1))
    record = found[places[number]]
    kind = {"response_item": items, "compacted": compactions}[record["type"]]
    change = data.draw(
        st.fixed_dictionaries({"timestamp": times}) | st.fixed_dictionaries({"payload": kind})
    )
    changed = {**record, **change}
    assume(spec.canonical_entry(changed) != spec.canonical_entry(record))
    before = chain(session(found))
    after = chain(session([*found[: places[number]], changed, *found[places[number] + 1 :]]))
    assert common_entries(before, after) == number
    assert not set(hex_links(before)[number:]) & set(hex_links(after)[number:])


@settings(max_examples=300)
@given(
    st.lists(st.integers(0, 3), max_size=40),
    st.lists(st.integers(0, 1), max_size=6),
    st.lists(st.integers(2, 3), max_size=6),
)
def test_bisection_finds_what_counting_finds(
    shared: list[int], one: list[int], other: list[int]
) -> None:
    a, b = chain_of(shared + one), chain_of(shared + other)
    naive = 0
    while naive < min(len(a), len(b)) and a.link(naive + 1) == b.link(naive + 1):
        naive += 1
    assert common_entries(a, b) == common_entries(b, a) == naive == len(shared)


def chain_of(words: list[int]) -> Chain:
    """The chain over entries of which only the digest is known."""
    return Chain(b"".join(spec.chained([bytes([word]) * 32 for word in words])))
