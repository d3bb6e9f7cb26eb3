"""The verdict on an incoming session, against the table and against counting by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codex_session_sync.lineage.classify import CLASS_OF, Candidate, classify, relate
from codex_session_sync.model import Chain
from codex_session_sync.planned import Classification, Decision, Relation

NEW = Classification.NEW_LINEAGE
UNCHANGED = Classification.UNCHANGED
FORWARD = Classification.FAST_FORWARD_IMPORT
DIVERGED = Classification.DIVERGED_LINEAGE
COLLISION = Classification.ID_COLLISION_UNRELATED


def chain(words: str) -> Chain:
    """A chain of which each letter is an entry."""
    links, last = b"", b"seed"
    for word in words:
        last = hashlib.sha256(last + word.encode()).digest()
        links += last
    return Chain(links)


def candidates(described: Sequence[str]) -> list[Candidate]:
    """Local sessions, each named by its place; a claimed one is marked with ``!``."""
    return [
        Candidate(str(place), chain(words.removesuffix("!")), claimed=words.endswith("!"))
        for place, words in enumerate(described)
    ]


def verdict(incoming: str, *local: str) -> Decision:
    return classify(chain(incoming), candidates(local))


# --- the table ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("incoming", "local", "relation", "classification", "common"),
    [
        ("abc", "abc", Relation.EQUAL, UNCHANGED, 3),
        ("ab", "abc", Relation.LOCAL_AHEAD, UNCHANGED, 2),
        ("abc", "ab", Relation.INCOMING_AHEAD, FORWARD, 2),
        ("abc", "abx", Relation.DIVERGED, DIVERGED, 2),
        ("abc", "abxy", Relation.DIVERGED, DIVERGED, 2),
        ("abcd", "abx", Relation.DIVERGED, DIVERGED, 2),
        ("abc", "xbc", Relation.UNRELATED, COLLISION, 0),
        ("abc", "bc", Relation.UNRELATED, COLLISION, 0),
        ("", "", Relation.EQUAL, UNCHANGED, 0),
        ("", "abc", Relation.LOCAL_AHEAD, UNCHANGED, 0),
        ("abc", "", Relation.INCOMING_AHEAD, FORWARD, 0),
    ],
)
@pytest.mark.parametrize("claimed", [False, True])
def test_one_candidate(
    incoming: str,
    local: str,
    relation: Relation,
    classification: Classification,
    common: int,
    claimed: bool,
) -> None:
    decision = verdict(incoming, local + "!" if claimed else local)
    if common or claimed:
        expected = Decision(classification, relation, "0", len(incoming), len(local), common)
    else:
        expected = Decision(NEW, Relation.NONE, None, len(incoming), None, 0)
    assert decision == expected


def test_no_candidate() -> None:
    assert verdict("abc") == Decision(NEW, Relation.NONE, None, 3, None, 0)
    assert verdict("") == Decision(NEW, Relation.NONE, None, 0, None, 0)


def test_every_relation_has_its_class() -> None:
    assert set(CLASS_OF) == set(Relation)
    assert set(CLASS_OF.values()) == set(Classification)


@pytest.mark.parametrize(
    ("incoming", "local", "chosen", "classification"),
    [
        ("abcd", ["ab", "abc"], "1", FORWARD),
        ("abcd", ["abc", "ab!"], "0", FORWARD),
        ("abc", ["abcd", "abc"], "1", UNCHANGED),
        ("abc", ["abcd!", "abc"], "1", UNCHANGED),
        ("abc", ["abx", "aby!"], "1", DIVERGED),
        ("abc", ["abx", "aby"], "0", DIVERGED),
        ("abc", ["xyz!", "ab"], "1", FORWARD),
        ("abc", ["!", "ab"], "1", FORWARD),
        ("abc", ["xyz!", "!"], "1", FORWARD),
        ("abc", ["abx!", "ab"], "1", FORWARD),
        ("abc", ["ab", "ab!"], "1", FORWARD),
        ("abc", ["abx", "uvw!"], "0", DIVERGED),
        ("abc", ["xyz!", "uvw!"], "0", COLLISION),
        ("abc", ["xyz", "!"], "1", FORWARD),
        ("abc", ["xyz", "uvw"], None, NEW),
    ],
)
def test_of_several_candidates_the_nearest_is_chosen(
    incoming: str, local: list[str], chosen: str | None, classification: Classification
) -> None:
    decision = verdict(incoming, *local)
    assert (decision.local_session_id, decision.classification) == (chosen, classification)


def test_candidates_are_looked_at_once() -> None:
    assert classify(chain("ab"), iter(candidates(["a", "ab"]))).local_session_id == "1"


# --- an independent verdict ---------------------------------------------------------------------


def by_hand(incoming: str, described: Sequence[str]) -> Decision:
    """The verdict from the words themselves."""
    local = [(words.removesuffix("!"), words.endswith("!")) for words in described]
    ranked = []
    for place, (words, claimed) in enumerate(local):
        common = next(
            (n for n, (a, b) in enumerate(zip(incoming, words, strict=False)) if a != b),
            min(len(incoming), len(words)),
        )
        if common > 0 or claimed:
            more = len(words) > common
            ranked.append((-common, words != incoming, more, not claimed, place))
    if not ranked:
        return Decision(NEW, Relation.NONE, None, len(incoming), None, 0)
    common, *_, place = min(ranked)
    words = local[place][0]
    if words == incoming:
        relation, classification = Relation.EQUAL, UNCHANGED
    elif words.startswith(incoming):
        relation, classification = Relation.LOCAL_AHEAD, UNCHANGED
    elif incoming.startswith(words):
        relation, classification = Relation.INCOMING_AHEAD, FORWARD
    elif common:
        relation, classification = Relation.DIVERGED, DIVERGED
    else:
        relation, classification = Relation.UNRELATED, COLLISION
    return Decision(classification, relation, str(place), len(incoming), len(words), -common)


WORDS = st.text("ab", max_size=5)
LOCAL = st.lists(st.builds(str.__add__, WORDS, st.sampled_from(["", "!"])), max_size=4)


@settings(max_examples=3000)
@given(WORDS, LOCAL)
def test_verdict_is_that_by_hand(incoming: str, local: list[str]) -> None:
    assert verdict(incoming, *local) == by_hand(incoming, local)


@settings(max_examples=1500)
@given(WORDS, LOCAL)
def test_fast_forward_loses_nothing(incoming: str, local: list[str]) -> None:
    """Where an append is planned, all that the local session has is in the incoming one."""
    decision = verdict(incoming, *local)
    if decision.classification is FORWARD:
        assert decision.local_session_id is not None
        chosen = local[int(decision.local_session_id)]
        words = chosen.removesuffix("!")
        assert incoming.startswith(words)
        assert len(words) == decision.common_entries == decision.local_entries
        assert len(words) < len(incoming)
        assert words or chosen.endswith("!")
        longer = [other.removesuffix("!") for other in local]
        assert incoming not in longer
        assert not any(len(words) < len(w) and incoming.startswith(w) for w in longer)


def test_every_short_pair() -> None:
    """All pairs of sessions of up to four entries, of which there are two kinds."""
    words = [""]
    for _ in range(4):
        words += [w + letter for w in words for letter in "ab" if len(w) < 4]
    sessions = sorted(set(words))
    assert len(sessions) == 31
    for incoming in sessions:
        for local in sessions:
            for claim in ("", "!"):
                assert verdict(incoming, local + claim) == by_hand(incoming, [local + claim])


@settings(max_examples=500)
@given(st.integers(0, 9), st.integers(0, 9), st.data())
def test_relation_of_counts(incoming: int, local: int, data: st.DataObject) -> None:
    common = data.draw(st.integers(0, min(incoming, local)))
    relation = relate(incoming, local, common)
    assert (relation is Relation.EQUAL) == (incoming == local == common)
    assert (relation is Relation.INCOMING_AHEAD) == (common == local < incoming)
    assert (relation is Relation.LOCAL_AHEAD) == (common == incoming < local)
    assert (relation is Relation.DIVERGED) == (0 < common < min(incoming, local))
    assert (relation is Relation.UNRELATED) == (0 == common < min(incoming, local))
