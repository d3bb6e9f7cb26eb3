"""The list of names: read with its faults, appended to whatever its end is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codex_session_sync.codex.session_index import (
    index_line,
    read_index,
    read_names,
    separator,
    shown_name,
)

A = "019cac00-0001-7000-8000-00000000000a"
B = "019cac00-0002-7000-8000-00000000000b"
TIME = "2026-03-02T09:00:00Z"


def test_last_line_of_an_id_counts() -> None:
    lines = [index_line(A, "one", TIME), index_line(B, "other", TIME), index_line(A, "two", TIME)]
    assert read_names(lines) == {A: "two", B: "other"}


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\n",
        b"garbage\n",
        b'{"id":"' + A.encode(),
        b"[]\n",
        b"null\n",
        b'"text"\n',
        b"\xff\xfe\n",
        b"{}\n",
        json.dumps({"id": A}).encode(),
        json.dumps({"id": A, "thread_name": None}).encode(),
        json.dumps({"id": A, "thread_name": 7}).encode(),
        json.dumps({"id": 7, "thread_name": "x"}).encode(),
        json.dumps({"id": "../" + A, "thread_name": "x"}).encode(),
        json.dumps({"id": A.upper(), "thread_name": "x"}).encode(),
        json.dumps({"id": A, "thread_name": "\ud800"}).encode(),
    ],
)
def test_bad_lines_are_passed_over(bad: bytes) -> None:
    good = index_line(A, "good", TIME)
    assert read_names([bad]) == {}
    assert read_names([good, bad, index_line(B, "b", TIME)]) == {A: "good", B: "b"}


def test_other_keys_and_their_lack_do_no_harm() -> None:
    assert read_names([json.dumps({"thread_name": "n", "more": 1, "id": A}).encode()]) == {A: "n"}


def test_line_is_as_codex_writes_it() -> None:
    line = index_line(A, 'a "name"\n', TIME)
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    entry = json.loads(line)
    assert list(entry.items()) == [("id", A), ("thread_name", 'a "name"\n'), ("updated_at", TIME)]


def test_file_that_is_not_there(tmp_path: Path) -> None:
    assert read_index(tmp_path / "none") == {}
    assert separator(tmp_path / "none") == b""


@pytest.mark.parametrize(
    ("end", "expected"),
    [(b"", b""), (b"\n", b""), (b"x\n", b""), (b"x", b"\n"), (b'{"id"', b"\n"), (b"\0", b"\n")],
)
def test_separator_ends_a_torn_line(tmp_path: Path, end: bytes, expected: bytes) -> None:
    path = tmp_path / "session_index.jsonl"
    path.write_bytes(end)
    assert separator(path) == expected
    assert path.read_bytes() == end


names = st.dictionaries(
    st.sampled_from([A, B]), st.text(st.characters(exclude_categories=["Cs"])), max_size=2
)


@settings(max_examples=60)
@given(before=names, after=names, cut=st.integers(0, 40))
def test_appended_names_are_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    before: dict[str, str],
    after: dict[str, str],
    cut: int,
) -> None:
    path = tmp_path_factory.getbasetemp() / "appended.jsonl"
    whole = b"".join(index_line(i, name, TIME) for i, name in before.items())
    path.write_bytes(whole[: max(0, len(whole) - cut)])
    survived = read_index(path)
    for session_id, name in after.items():
        end = separator(path)
        with path.open("ab") as stream:
            stream.write(end + index_line(session_id, name, TIME))
    assert survived.items() <= before.items()
    assert read_index(path) == survived | after


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"title": "given", "first_user_message": "said first"}, "given"),
        ({"title": "given", "first_user_message": "said first", "name": None}, "given"),
        ({"title": "given", "first_user_message": "given, and more"}, None),
        ({"title": "given", "first_user_message": ""}, None),
        ({"title": "given", "first_user_message": "said", "history_mode": "paginated"}, None),
        ({"title": "said first", "first_user_message": "said first"}, "given"),
    ],
)
def test_a_title_that_is_no_beginning_is_a_name_of_a_legacy_session(
    row: dict[str, str | None], name: str | None
) -> None:
    assert shown_name(row, "given") == name
