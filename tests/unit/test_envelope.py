"""Reports as JSON: a list that is made as it is written has the bytes of one that is there."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from codex_session_sync.report.brief import only_changes, summary
from codex_session_sync.report.envelope import Each, Report, encoded, pieces
from codex_session_sync.report.parts import harmless

TEXTS = st.text(st.characters(exclude_categories=()), max_size=12)
"""With halves of characters, as paths that are no UTF-8 have them."""


def objects(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.text('abc \n"', max_size=4), values, max_size=4)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | objects(inner),
    max_leaves=8,
)


def report(data: dict[str, Any], *, compact: bool = False) -> Report:
    return Report("sync", "ok", data, compact=compact)


def later(found: list[dict[str, Any]]) -> Each:
    """A list of which each object is made anew when it is looked at."""
    return Each(range(len(found)), lambda place: dict(found[place]))


@given(st.lists(objects(VALUES), max_size=4), st.lists(objects(VALUES), max_size=4), st.booleans())
def test_the_bytes_are_those_of_a_list(
    one: list[dict[str, Any]], other: list[dict[str, Any]], compact: bool
) -> None:
    def data(first: Any, second: Any) -> dict[str, Any]:
        return {"before": 1, "sessions": first, "deep": [{"er": {"sessions": second}}], "x": "]"}

    told = encoded(report(data(later(one), later(other)), compact=compact))
    assert told == encoded(report(data(one, other), compact=compact))


def test_a_long_list_is_never_there_as_a_whole() -> None:
    made: list[int] = []

    def show(number: int) -> dict[str, Any]:
        made.append(number)
        return {"number": number}

    told = pieces(report({"sessions": Each(range(1000), show)}))
    sizes = [len(next(told)), len(next(told))]
    assert 0 < len(made) < 200
    sizes += map(len, told)
    assert made == list(range(1000))
    assert max(sizes) < sum(sizes) / 5


def test_a_shortened_report_is_that_of_a_list() -> None:
    found = [
        {
            "session_id": f"{number:08x}-0000-7000-8000-000000000000",
            "classification": "unchanged" if number % 3 else "new_lineage",
            "action": "skip" if number % 3 else "import",
            "reason": "equal" if number % 3 else None,
            "title": f"No. {number}",
            **({} if number % 3 else {"brings": {"entries": 1, "turns": 2, "bytes": number}}),
        }
        for number in range(50)
    ]
    there, made = report({"sessions": found}), report({"sessions": later(found)})
    assert encoded(only_changes(made)) == encoded(only_changes(there))
    assert len(orjson.loads(encoded(only_changes(made)))["data"]["sessions"]) == 17
    assert encoded(summary(made)) == encoded(summary(there))


@given(st.lists(objects(VALUES), max_size=3))
def test_what_a_terminal_shows_is_that_of_a_list(found: list[dict[str, Any]]) -> None:
    shown = harmless({"sessions": later(found)})
    assert list(shown["sessions"]) == harmless(found)
    assert len(shown["sessions"]) == len(found)
    assert [shown["sessions"][place] for place in range(len(found))] == list(shown["sessions"])
