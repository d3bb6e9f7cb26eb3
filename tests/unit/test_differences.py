"""Name, archive state and branch of two sides: what follows the source, what stays as it is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codex_session_sync.lineage.differences import METADATA, merge_metadata

Values = dict[str, Any]
NOTHING: Values = {"name": None, "archived": False, "git_branch": None}


def told(local: object, incoming: object) -> Values:
    return {"local": local, "incoming": incoming}


@pytest.mark.parametrize("key", ["name", "git_branch"])
@pytest.mark.parametrize(
    ("base", "local", "incoming", "follows", "differs"),
    [
        ("a", "a", "a", False, False),
        ("a", "a", "b", True, False),  # changed there alone
        ("a", "b", "a", False, True),  # changed here alone
        ("a", "b", "b", False, False),  # changed on both sides to the same
        ("a", "b", "c", False, True),  # changed on both sides: the local value wins
        (None, None, "b", True, False),
        (None, "b", None, False, True),
        (None, "b", "c", False, True),
        ("a", "a", None, False, True),  # what the source has lost stays here
        ("a", None, "a", False, True),  # taken away here
        ("a", None, "b", False, True),
    ],
)
def test_texts_with_a_base(
    key: str, base: object, local: object, incoming: object, follows: bool, differs: bool
) -> None:
    merged = merge_metadata(
        {**NOTHING, key: base}, {**NOTHING, key: local}, {**NOTHING, key: incoming}
    )
    assert merged.follow == ({key: incoming} if follows else {})
    assert merged.differs == ({key: told(local, incoming)} if differs else {})


@pytest.mark.parametrize(
    ("base", "local", "incoming", "follows", "differs"),
    [
        (False, False, True, True, False),
        (True, True, False, True, False),
        (False, True, False, False, True),
        (True, False, True, False, True),
        (False, True, True, False, False),
        (None, False, True, False, True),  # without a base
        (None, True, False, False, True),
    ],
)
def test_the_archive(
    base: bool | None, local: bool, incoming: bool, follows: bool, differs: bool
) -> None:
    merged = merge_metadata(
        None if base is None else {**NOTHING, "archived": base},
        {**NOTHING, "archived": local},
        {**NOTHING, "archived": incoming},
    )
    assert merged.follow == ({"archived": incoming} if follows else {})
    assert merged.differs == ({"archived": told(local, incoming)} if differs else {})


@pytest.mark.parametrize("base", [None, {}], ids=["no sidecar", "a sidecar that tells nothing"])
def test_without_a_base_only_what_is_missing_follows(base: Values | None) -> None:
    incoming = {"name": "there", "archived": True, "git_branch": "main"}
    merged = merge_metadata(base, NOTHING, incoming)
    assert merged.follow == {"name": "there", "git_branch": "main"}
    assert merged.differs == {"archived": told(False, True)}
    local = {"name": "here", "archived": True, "git_branch": "mine"}
    merged = merge_metadata(base, local, incoming)
    assert merged.follow == {}
    assert merged.differs == {
        "name": told("here", "there"),
        "git_branch": told("mine", "main"),
    }


TEXT = st.none() | st.sampled_from(["", "a", "b", "root['x']"])
SIDE = st.fixed_dictionaries({"name": TEXT, "archived": st.booleans(), "git_branch": TEXT})


@settings(max_examples=400, deadline=None)
@given(st.none() | SIDE, SIDE, SIDE)
def test_every_key_is_told_once(base: Values | None, local: Values, incoming: Values) -> None:
    merged = merge_metadata(base, local, incoming)
    after = {**local, **merged.follow}
    assert set(merged.follow) <= set(METADATA)
    assert merged.differs == {
        key: told(after[key], incoming[key]) for key in METADATA if after[key] != incoming[key]
    }
    for key in METADATA:
        if base is not None and local[key] != base[key]:
            assert after[key] == local[key], "a local change is overwritten"
    again = merge_metadata(incoming, after, incoming)
    assert again.follow == {}, "the next sync changes something although nothing happened"
