"""Fingerprints of sessions with lines that are no records, torn tails and cuts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fingerprint_by_spec as spec
from codex_session_sync.model import Chain
from properties.sessions import (
    Record,
    chain,
    is_entry,
    make_disk,
    records,
    scanned,
    session,
    several_entries,
)
from rollouts import composed, parsed

disk = pytest.fixture(make_disk, autouse=True, scope="module")

BLANK = st.sampled_from([b"\n", b"\r\n", b" \t\n", b"\0\0\n"])
GARBAGE = st.sampled_from(
    [
        b"garbage\n",
        b"{}\n",
        b'{"timestamp":"torn\n',
        b"\xff\xfe\n",
        b"[1]\r\n",
        b"null\n",
        b'"\0"\n',
    ]
)


@settings(max_examples=80)
@given(records, st.data())
def test_lines_that_are_no_records_are_counted_and_left_out(
    found: list[Record], data: st.DataObject
) -> None:
    intact = session(found)
    first, *rest = intact.splitlines(keepends=True)
    leading = data.draw(st.lists(st.sampled_from([b"\n", b" \t\r\n"]), max_size=2))
    damaged, garbage = [*leading, first], 0
    for line in [*rest, b""]:
        for bad in data.draw(st.lists(st.tuples(st.booleans(), BLANK, GARBAGE), max_size=2)):
            blank, empty, junk = bad
            damaged.append(empty if blank else junk)
            garbage += not blank
        damaged.append(line)
    whole, broken = scanned(intact), scanned(b"".join(damaged))
    assert broken.chain == whole.chain
    assert (broken.facts.unreadable, broken.facts.torn) == (garbage, False)
    assert composed(broken) == composed(whole)


@settings(max_examples=40)
@given(records)
def test_lines_may_end_in_carriage_return_and_newline(found: list[Record]) -> None:
    intact = session(found)
    windows = scanned(intact.replace(b"\n", b"\r\n"))
    assert windows.chain == chain(intact)
    assert (windows.facts.unreadable, windows.facts.torn) == (0, False)
    assert parsed(composed(windows)) == parsed(composed(scanned(intact)))


TAILS = {
    b"\0": True,
    b"\0" * 70: True,
    b'{"timestamp"': True,
    b"garbage": True,
    b"\xff": True,
    b"\n\0\0": True,
    b"": False,
    b"\n": False,
    b" ": False,
}


@settings(max_examples=60)
@given(records, st.sampled_from(sorted(TAILS)))
def test_a_torn_tail_is_taken_up_to_the_last_whole_record(found: list[Record], tail: bytes) -> None:
    intact = session(found)
    torn = scanned(intact + tail)
    assert torn.chain == chain(intact)
    assert (torn.facts.torn, torn.facts.unreadable) == (TAILS[tail], 0)
    assert composed(torn) == composed(scanned(intact))


@settings(max_examples=100)
@given(several_entries, st.data())
def test_a_session_cut_anywhere_is_its_own_beginning(
    found: list[Record], data: st.DataObject
) -> None:
    intact = session(found)
    start = intact.index(b"\n") + 1
    cut = data.draw(st.integers(start, len(intact)))
    begun = intact[:cut]
    part, whole = scanned(begun), scanned(intact)
    lines = begun.split(b"\n")
    complete = [json.loads(line) for line in lines[:-1]]
    last = spec.parse(lines[-1])
    expected = sum(map(is_entry, complete)) + (last is not None and is_entry(last))
    assert whole.chain.links[: expected * Chain.LINK_BYTES] == part.chain.links
    assert part.facts.torn is (last is None and lines[-1] != b"")
    assert part.facts.unreadable == 0
    rewritten_lines = composed(part)
    assert rewritten_lines.endswith(b"\n")
    assert scanned(rewritten_lines).chain == part.chain
