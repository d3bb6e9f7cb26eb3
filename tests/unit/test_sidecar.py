"""Sidecars: one mapping for each pair of sessions, checked when written and when read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import session_id
from codex_session_sync.errors import HomeError
from codex_session_sync.lineage.sidecar import (
    Mapping,
    fingerprint,
    mappings_of,
    read_sidecar,
    sidecar_path,
    with_mapping,
)
from codex_session_sync.model import Chain

LINEAGE = "0123456789abcdef" * 2
CHAIN = Chain(bytes(range(64)))


def mapping(origin: int, local: int, when: str = "2026-03-02T09:00:00.000Z") -> Mapping:
    return Mapping(
        session_id(origin),
        session_id(local),
        fingerprint(CHAIN, 100),
        fingerprint(Chain(), 0),
        {"unknown": {"name": f"from {origin}", "archived": False, "git_branch": None}},
        "20260302T090000000000Z-00000000",
        when,
    )


def local_ids(text: str, lineage: str, origin: str) -> list[str]:
    return [one.local_session_id for one in of_origin(text, origin, lineage)]


def of_origin(text: str, origin: str, lineage: str = LINEAGE) -> list[Mapping]:
    return [one for one in mappings_of(text, lineage) if one.origin_session_id == origin]


def test_a_fingerprint_names_the_last_link() -> None:
    assert fingerprint(CHAIN, 7) == {"entries": 2, "head": bytes(range(32, 64)).hex(), "size": 7}
    assert fingerprint(Chain(), 0) == {"entries": 0, "head": None, "size": 0}


def test_a_mapping_is_added_and_found(tmp_path: Path) -> None:
    text = with_mapping(None, LINEAGE, mapping(1, 2))
    assert local_ids(text, LINEAGE, session_id(1)) == [session_id(2)]
    assert local_ids(text, LINEAGE, session_id(2)) == []
    document = json.loads(text)
    assert document["lineage_id"] == LINEAGE
    assert document["mappings"] == [mapping(1, 2).to_json()]
    assert text.endswith("}\n")

    assert read_sidecar(tmp_path, LINEAGE) is None
    path = tmp_path / sidecar_path(LINEAGE)
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    assert read_sidecar(tmp_path, LINEAGE) == text


def test_the_last_mapping_of_a_pair_stands() -> None:
    later = mapping(1, 2, "2026-03-03T09:00:00.000Z")
    text = with_mapping(None, LINEAGE, mapping(1, 2))
    text = with_mapping(text, LINEAGE, mapping(3, 4))
    text = with_mapping(text, LINEAGE, later)
    assert of_origin(text, session_id(1)) == [later]
    assert of_origin(text, session_id(3)) == [mapping(3, 4)]
    assert len(json.loads(text)["mappings"]) == 2


def test_one_session_may_stand_here_more_than_once() -> None:
    """A branch beside the session that it parted from: both lines keep their mapping."""
    text = None
    for one in (mapping(1, 5), mapping(1, 2), mapping(4, 5)):
        text = with_mapping(text, LINEAGE, one)
    assert text is not None
    assert of_origin(text, session_id(1)) == [mapping(1, 2), mapping(1, 5)]
    assert of_origin(text, session_id(4)) == [mapping(4, 5)]
    moved = mapping(1, 5, "2026-03-03T09:00:00.000Z")
    text = with_mapping(text, LINEAGE, moved)
    assert of_origin(text, session_id(1)) == [mapping(1, 2), moved]
    assert of_origin(text, session_id(4)) == [mapping(4, 5)]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6))
def test_the_order_of_additions_does_not_show(pairs: list[tuple[int, int]]) -> None:
    def build(given: list[tuple[int, int]]) -> str:
        text = None
        for origin, local in given:
            text = with_mapping(text, LINEAGE, mapping(origin, local))
        assert text is not None
        return text

    assert build(pairs) == build(sorted(set(pairs)))
    for origin in {origin for origin, _ in pairs}:
        wanted = sorted({session_id(local) for one, local in pairs if one == origin})
        assert local_ids(build(pairs), LINEAGE, session_id(origin)) == wanted


def damaged() -> dict[str, str]:
    def changed(**more: Any) -> str:
        return json.dumps({**json.loads(with_mapping(None, LINEAGE, mapping(1, 2))), **more})

    def in_mapping(**more: Any) -> str:
        return changed(mappings=[{**mapping(1, 2).to_json(), **more}])

    return {
        "nothing": "",
        "torn": with_mapping(None, LINEAGE, mapping(1, 2))[:-20],
        "a list": "[]",
        "another schema": changed(schema="codex-session-sync/sidecar/2"),
        "another algorithm": changed(fingerprint_version=2),
        "no lineage": changed(lineage_id="x"),
        "more": changed(more=1),
        "no id": in_mapping(local_session_id="../../x"),
        "no head": in_mapping(incoming={"entries": 1, "head": "x", "size": 1}),
        "no metadata": in_mapping(metadata={"unknown": {}}),
        "no source": in_mapping(metadata={"x": {"archived": False}}),
        "metadata of a kind": in_mapping(metadata={"unknown": {"name": 5, "archived": False}}),
        "negative": in_mapping(incoming={"entries": -1, "head": None, "size": 1}),
    }


@pytest.mark.parametrize("text", damaged().values(), ids=damaged())
def test_a_damaged_sidecar_is_not_used(text: str) -> None:
    for use in (
        lambda: of_origin(text, session_id(1)),
        lambda: with_mapping(text, LINEAGE, mapping(3, 4)),
    ):
        with pytest.raises(HomeError) as caught:
            use()
        assert caught.value.code == "sidecar_invalid"
        assert LINEAGE in caught.value.message


def test_no_sidecar_is_written_that_does_not_fit() -> None:
    with pytest.raises(HomeError):
        with_mapping(None, "no lineage", mapping(1, 2))
