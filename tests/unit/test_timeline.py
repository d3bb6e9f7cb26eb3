"""The order of a history, its doubles and its limit, on examples and on anything at all."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_session_sync.indexes.timeline import SAME_PROMPT_MS, Lines, standing, trimmed

Line = tuple[int, int, bool]
"""Time in milliseconds, what it says, whether it comes from a transcript."""


def lines_of(given: Sequence[Line]) -> Lines:
    lines = Lines()
    for time_ms, key, derived in given:
        lines.add(time_ms, key, derived=derived)
    return lines


def order(*given: Line) -> list[int]:
    return standing(lines_of(given))


def test_oldest_first_and_the_old_ones_first_at_the_same_time() -> None:
    assert order((3000, 1, True), (1000, 2, True), (2000, 3, False)) == [1, 2, 0]
    assert order((1000, 1, True), (1000, 2, False), (1000, 3, False)) == [1, 2, 0]


def test_the_same_in_the_same_second_is_there_once() -> None:
    assert order((1000, 1, True), (1900, 1, True), (2000, 1, True)) == [0, 2]
    assert order((1000, 1, False), (1000, 1, False)) == [0]
    assert order((1700, 1, True), (1000, 1, False)) == [1]
    assert order((1000, 1, True), (1000, 2, True)) == [0, 1]


def test_a_record_gives_way_to_the_line_that_was_typed_before() -> None:
    typed, recorded = (1000, 1, False), (1000 + SAME_PROMPT_MS, 1, True)
    assert order(recorded, typed) == [1]
    assert order((recorded[0] + 1, 1, True), typed) == [1, 0]


def test_one_record_gives_way_to_one_line() -> None:
    assert order((1000, 1, False), (9000, 1, True), (10_000, 1, True)) == [0, 2]
    assert order((1000, 1, False), (2000, 1, False), (9000, 1, True), (10_000, 1, True)) == [0, 1]
    # One that fits exactly goes first, so that the other is not lost.
    assert order((70_000, 1, True), (100_000, 1, True), (100_000, 1, False)) == [0, 2]


def test_lines_of_one_second_keep_the_order_of_the_transcripts() -> None:
    first, second = (1200, 1, True), (1700, 2, True)
    assert order(second, first) == [1, 0]
    # The same again, when one of them, or both, are in the history already.
    assert order(second, first, (1000, 2, False)) == [1, 2]
    assert order(second, first, (1000, 1, False), (1000, 2, False)) == [2, 3]


@pytest.mark.parametrize(
    ("sizes", "limit", "gone"),
    [
        ([], 10, 0),
        ([10, 10, 10], None, 0),
        ([10, 10, 10], 30, 0),
        ([10, 10, 10], 29, 1),
        ([10, 10, 10], 25, 1),
        ([10, 10, 10], 24, 2),
        ([10, 10, 10], 1, 2),
        ([10], 1, 0),
        ([1, 500], 100, 1),
        ([500, 1], 100, 1),
    ],
)
def test_a_history_over_its_limit_is_cut_to_four_fifths(
    sizes: list[int], limit: int | None, gone: int
) -> None:
    assert trimmed(range(len(sizes)), sizes, limit) == gone


some_lines = st.lists(
    st.tuples(st.integers(0, 400_000), st.integers(0, 2), st.booleans()).map(
        lambda line: line if line[2] else (line[0] // 1000 * 1000, line[1], False)
    ),
    max_size=25,
)


def said(given: Sequence[Line], derived: bool) -> Counter[int]:
    """How often each thing is said, by lines of one origin, at different seconds."""
    distinct = {(time // 1000, key) for time, key, origin in given if origin == derived}
    return Counter(key for _, key in distinct)


@given(some_lines)
def test_nothing_is_lost_and_nothing_said_twice(given: list[Line]) -> None:
    found = [given[i] for i in order(*given)]
    assert [line[0] // 1000 for line in found] == sorted(line[0] // 1000 for line in found)
    seconds = [(time // 1000, key) for time, key, _ in found]
    assert len(seconds) == len(set(seconds))
    old = {(time // 1000, key) for time, key, derived in given if not derived}
    assert old <= set(seconds)
    counts = Counter(key for _, key in seconds)
    before, recorded = said(given, derived=False), said(given, derived=True)
    for key, count in counts.items():
        assert max(before[key], recorded[key]) <= count <= before[key] + recorded[key]
    times = defaultdict(list)
    for time, key, _ in found:
        times[key].append(time)
    for time, key, derived in given:
        if derived:
            assert any(abs(time - other) <= SAME_PROMPT_MS for other in times[key])


def rebuilt(given: list[Line], limit: int | None) -> list[Line]:
    """The history that comes of these lines, as the lines that it has the next time."""
    found = order(*given)
    sizes = [10 + key for _, key, _ in given]
    kept = found[trimmed(found, sizes, limit) :]
    return [(given[i][0] // 1000 * 1000, given[i][1], False) for i in kept]


@given(some_lines)
def test_a_second_time_changes_nothing(given: list[Line]) -> None:
    derived = [line for line in given if line[2]]
    first = rebuilt(given, None)
    assert rebuilt([*derived, *first], None) == first


@given(some_lines, st.integers(0, 300))
def test_what_a_limit_cut_off_stays_off(given: list[Line], limit: int) -> None:
    derived = [line for line in given if line[2]]
    first = rebuilt(derived, limit)
    assert rebuilt([*derived, *first], limit) == first


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 500))
def test_what_is_trimmed_is_as_little_as_can_be(sizes: list[int], limit: int) -> None:
    gone = trimmed(range(len(sizes)), sizes, limit)
    left = sum(sizes[gone:])
    assert 0 <= gone <= max(0, len(sizes) - 1)
    if gone:
        assert sum(sizes) > limit
        assert left <= limit * 80 // 100 or gone == len(sizes) - 1
        assert left + sizes[gone - 1] > limit * 80 // 100
    else:
        assert sum(sizes) <= limit or len(sizes) <= 1
