"""In which order the sessions of a package are decided, and what they descend from."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codex_session_sync.lineage.fingerprint import PROVENANCE
from codex_session_sync.lineage.graph import ancestors_first, descent
from codex_session_sync.lineage.kinship import forked_from, kinship, origin_moment

Metas = dict[str, dict[str, Any]]


def fork(of: str | None) -> dict[str, Any]:
    return {"forked_from_id": of}


def agent(of: str, forked: str | None = None) -> dict[str, Any]:
    return {"parent_thread_id": of, "forked_from_id": forked}


FAMILY: Metas = {
    "parent": {},
    "fork": fork("parent"),
    "leaf": fork("fork"),
    "agent": agent("parent"),
    "agent of a fork": agent("fork", "leaf"),
    "stranger": {},
    "orphan": fork("of another package"),
}


def ordered(metas: Metas, order: list[str]) -> list[str]:
    found = ancestors_first(descent(metas), order)
    assert sorted(found) == sorted(metas)
    return found


def test_edges_lead_from_ancestors() -> None:
    assert sorted(descent(FAMILY).edges) == [
        ("fork", "agent of a fork"),
        ("fork", "leaf"),
        ("leaf", "agent of a fork"),
        ("parent", "agent"),
        ("parent", "fork"),
    ]
    assert set(descent(FAMILY)) == set(FAMILY)


@pytest.mark.parametrize("order", list(permutations(["parent", "fork", "leaf", "agent"])))
def test_no_session_comes_before_what_it_descends_from(order: tuple[str, ...]) -> None:
    metas = {i: FAMILY[i] for i in order}
    found = ordered(metas, list(order))
    for ancestor, session in descent(metas).edges:
        assert found.index(ancestor) < found.index(session)


def test_else_the_given_order_stands() -> None:
    alone: Metas = {name: {} for name in "badc"}
    for letters in permutations("abcd"):
        assert ordered(alone, list(letters)) == list(letters)
    order = ["stranger", "leaf", "orphan", "parent", "agent", "fork", "agent of a fork"]
    assert ordered(FAMILY, order) == [
        *("stranger", "orphan", "parent", "agent", "fork", "leaf", "agent of a fork")
    ]


def test_circles_come_to_an_end() -> None:
    circle: Metas = {
        "itself": fork("itself"),
        "a": fork("b"),
        "b": agent("c"),
        "c": fork("a"),
        "after": fork("b"),
        "before": {},
    }
    assert ordered(circle, ["after", "c", "itself", "a", "b", "before"]) == [
        *("c", "a", "b", "after", "itself", "before")
    ]


def test_what_claims_no_id_is_no_descent() -> None:
    odd: Metas = {"a": {"forked_from_id": 5, "parent_thread_id": ["b"]}, "b": fork(None)}
    assert list(descent(odd).edges) == []
    assert ordered(odd, ["b", "a"]) == ["b", "a"]
    assert ancestors_first(descent({}), []) == []


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_family(data: st.DataObject) -> None:
    names = [str(number) for number in range(data.draw(st.integers(1, 7)))]
    ancestor = st.none() | st.sampled_from(names)
    metas = {
        name: {"forked_from_id": data.draw(ancestor), "parent_thread_id": data.draw(ancestor)}
        for name in names
    }
    order = data.draw(st.permutations(names))
    found = ordered(metas, order)
    reaches = {name: _ancestors(metas, name) for name in names}
    for name in names:
        for other in reaches[name]:
            if name not in reaches[other]:
                assert found.index(other) < found.index(name)


def _ancestors(metas: Metas, name: str) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for ancestor in metas[waiting.pop()].values():
            if ancestor is not None and ancestor not in found:
                found.add(ancestor)
                waiting.append(ancestor)
    return found


# Copies of one session, and sessions beside it

NOTE = {PROVENANCE: {"origin_id": "a", "forked_from_id": None}}
NOTE_OF_FORK = {PROVENANCE: {"origin_id": "a", "forked_from_id": "parent"}}


def test_descent_is_that_before_our_own_branching() -> None:
    assert kinship({}) == (None, None)
    assert kinship(agent("x", "y")) == ("y", "x")
    branch = {"forked_from_id": "local", **NOTE}
    assert (forked_from(branch), kinship(branch)) == (None, (None, None))
    assert forked_from({"forked_from_id": "local", **NOTE_OF_FORK}) == "parent"
    assert forked_from({"forked_from_id": "local", PROVENANCE: "odd"}) == "local"


def test_forks_made_at_different_times_are_different_sessions() -> None:
    one, other = {**fork("p"), "timestamp": "1"}, {**fork("p"), "timestamp": "2"}
    assert origin_moment(one) != origin_moment(other)
    assert origin_moment(one) == origin_moment({**fork("renamed"), "timestamp": "1"})
    assert origin_moment({"timestamp": "1"}) is origin_moment({"timestamp": "2"}) is None
    assert origin_moment({"timestamp": "1", "forked_from_id": "local", **NOTE}) is None
    assert origin_moment(fork("p")) is not None
