"""Operations as the journal has them: no path leaves the home, and each is read as written."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_session_sync import validation
from codex_session_sync.errors import HomeError
from codex_session_sync.journal.operations import (
    AnyOperation,
    AppendText,
    CreateFile,
    ExtendFile,
    MakeFolder,
    MoveFile,
    PutDocument,
    PutRow,
    Site,
    from_json,
    to_json,
)
from unit.operating import DATA, LATER, LINE, SHA, THEN, small_site
from workbench import tree

site = pytest.fixture(small_site)


# Paths

ESCAPES = ["../outside", "/outside", "sessions/../../outside", "a\\..\\b", "C:/x", "", "a\0b"]


@pytest.mark.parametrize("path", [*ESCAPES, "link/x"])
def test_nothing_leaves_the_home(site: Site, path: str) -> None:
    outside = site.home.parent / "outside"
    outside.mkdir()
    (site.home / "link").symlink_to(outside)
    (site.sync / "link").symlink_to(outside)
    before = tree(site.home.parent)
    for operation in (
        MakeFolder(path),
        CreateFile(path, "0", len(DATA), SHA),
        ExtendFile(path, "0", 0, THEN, len(DATA), SHA, LATER),
        MoveFile(path, "sessions/x.jsonl", 6),
        MoveFile("session_index.jsonl", path, 6),
        AppendText(path, None, LINE),
        PutDocument(path, None, "{}"),
    ):
        for change in (operation.apply, operation.undo):
            with pytest.raises(HomeError) as caught:
                change(site)
            assert caught.value.code == "path_escapes_home"
    assert tree(site.home.parent) == before


# On disk

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBER = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.dictionaries(TEXT, st.none() | TEXT | NUMBER)
SIZE = st.integers(0, 2**53)

OPERATIONS = st.one_of(
    st.builds(MakeFolder, TEXT),
    st.builds(
        CreateFile,
        TEXT,
        st.integers(0, 10**6).map(str),
        SIZE,
        st.binary(min_size=32, max_size=32).map(bytes.hex),
    ),
    st.builds(
        ExtendFile,
        TEXT,
        st.integers(0, 10**6).map(str),
        SIZE,
        st.integers(-(2**63), 2**63 - 1),
        SIZE,
        st.binary(min_size=32, max_size=32).map(bytes.hex),
        st.integers(-(2**63), 2**63 - 1),
    ),
    st.builds(MoveFile, TEXT, TEXT, SIZE),
    st.builds(AppendText, TEXT, st.none() | SIZE, TEXT),
    st.builds(PutRow, st.sampled_from(["threads", "thread_dynamic_tools"]), st.none() | ROWS, ROWS),
    st.builds(PutDocument, TEXT, st.none() | TEXT, TEXT),
)


@given(OPERATIONS)
def test_an_operation_survives_the_journal(operation: AnyOperation) -> None:
    document = {"step": "intent", "batch": 1, "session_id": "s", "operation": to_json(operation)}
    data = orjson.dumps(document)
    read = validation.load("operation", data, "a line", HomeError)
    found = from_json(read["operation"])
    assert found == operation
    assert type(found) is type(operation)
    assert json.loads(data) == read


@pytest.mark.parametrize(
    "operation",
    [
        {"kind": "remove_file", "path": "x"},
        {"kind": "make_folder"},
        {"kind": "make_folder", "path": "x", "mode": 5},
        {"kind": "create_file", "path": "x", "staged": "../0", "size": 1, "sha256": SHA},
        {"kind": "create_file", "path": "x", "staged": "0", "size": -1, "sha256": SHA},
        {"kind": "create_file", "path": "x", "staged": "0", "size": 1, "sha256": SHA[1:]},
        {**to_json(ExtendFile("x", "0", 1, 2, 3, SHA, 4)), "staged": "../0"},
        {**to_json(ExtendFile("x", "0", 1, 2, 3, SHA, 4)), "size": -1},
        {**to_json(ExtendFile("x", "0", 1, 2, 3, SHA, 4)), "mtime_ns": None},
        {**to_json(ExtendFile("x", "0", 1, 2, 3, SHA, 4)), "sha256": "x"},
        {"kind": "move_file", "path": "x", "size": 1},
        {"kind": "move_file", "path": "x", "new_path": None, "size": 1},
        {"kind": "append_text", "path": "x", "size_before": -1, "text": "x"},
        {"kind": "put_row", "table": "other", "before": None, "after": {}},
        {"kind": "put_row", "table": "threads", "before": None, "after": {"x": [1]}},
        {"kind": "put_document", "path": "x", "before": None, "after": None},
    ],
)
def test_no_other_document_is_an_operation(operation: dict[str, Any]) -> None:
    line = {"step": "intent", "batch": 1, "session_id": "s", "operation": operation}
    with pytest.raises(HomeError) as caught:
        validation.check("operation", line, "a line", HomeError)
    assert caught.value.code == "operation_invalid"
