"""Session ids as people see and type them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codex_session_sync.errors import UsageError
from codex_session_sync.identify import match_id, short_id, shortened

A = "019cac00-0001-7000-8000-00000000000a"
B = "019cac00-0001-7000-8000-00000000000b"
C = "01a1fd25-10c9-7253-a7ef-c7821c2a9837"
KNOWN = [A, B, C]


def test_short_id_keeps_both_ends() -> None:
    assert short_id(A) == "019cac00…00000a"
    assert short_id(B) != short_id(A)
    assert short_id("") == ""


@pytest.mark.parametrize(
    "given_",
    [C, C[:6], C[:1] + C[1:], C[-4:], short_id(C), "01a1…", "…9837", "01a1...9837", "01a1…9837"],
)
def test_id_is_known_by_its_ends(given_: str) -> None:
    assert match_id(given_, KNOWN) == C


def test_whole_id_is_not_ambiguous() -> None:
    assert match_id(A, [A, A + "0", "0" + A]) == A


@pytest.mark.parametrize(
    ("given_", "message"),
    [("019cac00", "2 sessions"), ("01", "3 sessions"), ("0…", "3 sessions"), ("0", "3 sessions")],
)
def test_too_short_an_id_is_ambiguous(given_: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        match_id(given_, KNOWN)
    assert caught.value.code == "session_ambiguous"


@pytest.mark.parametrize(
    "given_", ["", "…", "...", "0002", "10c9", "7253…", "01a1…0", "x", "01A1FD25", C + "0", " " + C]
)
def test_unknown_id(given_: str) -> None:
    with pytest.raises(UsageError) as caught:
        match_id(given_, KNOWN)
    assert caught.value.code == "session_unknown"


def test_nothing_is_known_in_an_empty_package() -> None:
    with pytest.raises(UsageError):
        match_id(A, [])


ids = st.uuids().map(str)


@settings(max_examples=200)
@given(st.sets(ids, min_size=1, max_size=6), st.data())
def test_short_id_of_a_known_session_means_it(known: set[str], data: st.DataObject) -> None:
    wanted = data.draw(st.sampled_from(sorted(known)))
    if len({short_id(i) for i in known}) == len(known):
        assert match_id(short_id(wanted), known) == wanted


alike = st.tuples(st.text("0f", min_size=12, max_size=12), st.text("0f", min_size=12, max_size=12))
"""Ids of which many share beginning and end."""


@settings(max_examples=300)
@given(st.sets(alike.map(lambda t: f"019cac00-{t[0]}-{t[1]}"), min_size=1, max_size=12))
def test_a_shortened_id_means_one_of_those_shown(known: set[str]) -> None:
    found = shortened(known)
    assert found.keys() == known
    for session_id, short in found.items():
        assert match_id(short, known) == session_id
        assert short == session_id or len(short) < len(session_id)


def test_ids_that_differ_in_the_middle_alone_are_told_apart() -> None:
    one, two = "019cac00-0001-7000-8000-00000000000a", "019cac00-0001-7000-8000-90000000000a"
    assert shortened([one, C]) == {one: short_id(one), C: short_id(C)}
    found = shortened([one, two, C])
    assert found[one] != found[two]
    assert found[C] == short_id(C)


def test_what_is_ambiguous_is_named() -> None:
    titles = {A: "Climbing\nbeans", B: None}
    with pytest.raises(UsageError) as caught:
        match_id("019c", KNOWN, titles.get)
    assert f"{short_id(A)} “Climbing beans”, {short_id(B)}" in caught.value.message
    many = [f"019c{number:04x}-0000-7000-8000-000000000000" for number in range(9)]
    with pytest.raises(UsageError, match=r"and 4 more$"):
        match_id("019c", many)


@settings(max_examples=300)
@given(st.sets(st.text("01", min_size=1, max_size=4), max_size=6), st.text("01…", max_size=5))
def test_match_is_the_only_id_that_fits(known: set[str], typed: str) -> None:
    head, dots, tail = typed.partition("…")
    if dots:
        fitting = [i for i in known if i.startswith(head) and i.endswith(tail) and head + tail]
    else:
        fitting = [i for i in known if typed and (i.startswith(typed) or i.endswith(typed))]
    expected = [typed] if typed in known else fitting
    if len(expected) == 1:
        assert match_id(typed, known) == expected[0]
        return
    with pytest.raises(UsageError) as caught:
        match_id(typed, known)
    assert caught.value.code == ("session_ambiguous" if expected else "session_unknown")
