"""No pair of sessions, however alike, is taken for a fast-forward that is none."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_session_sync.codex.convert import ModeConverter
from codex_session_sync.codex.inventory import rollout_file
from codex_session_sync.compose import Sink
from codex_session_sync.continuation import Continuation
from codex_session_sync.lineage.classify import Candidate, classify
from codex_session_sync.localize import Identity, Rewriter
from codex_session_sync.model import Transcript
from codex_session_sync.policy import Policy
from codex_session_sync.transcript import scan
from model.oracle import relate
from model.rollout_text import (
    Line,
    Record,
    Token,
    dump,
    file_name,
    head,
    numbered,
    opening,
    parse,
    session_id,
    settings,
    token_of,
    turn,
)

ONE, OTHER = session_id(1), session_id(2)

# Few texts and few times: equal texts at different times and different ones at equal times abound.
token: st.SearchStrategy[Token] = st.tuples(
    st.integers(0, 3), st.sampled_from(["user", "assistant"]), st.sampled_from(["yes", "no"])
)
lines: st.SearchStrategy[Line] = st.lists(token, max_size=6).map(tuple)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Line, Line]:
    """Two lines with the same beginning, of which the second may differ in one token's time."""
    shared: Line = draw(lines)
    one, other = shared + draw(lines), shared + draw(lines)
    retimed: bool = draw(st.booleans())
    if other and retimed:
        place: int = draw(st.integers(0, len(other) - 1))
        moment, role, text = other[place]
        other = (*other[:place], (moment + 1, role, text), *other[place + 1 :])
    return one, other


def data_of(session: str, line: Sequence[Token], *, legacy: bool, turns: bool) -> bytes:
    """A rollout's bytes; ``turns``: each entry with the records of a turn around it."""
    records = [head(session, 0, legacy=legacy)]
    for one in line:
        records += turn(session, [one], legacy=legacy) if turns else opening(one)
        records.append(settings(one[0]))
    return dump(records if legacy else numbered(records, 0))


def transcript(folder: Path, session: str, data: bytes) -> Transcript:
    path = folder / file_name(session)
    path.write_bytes(data)
    file = rollout_file(path, path.name, len(data), 0, archived=False)
    assert file is not None
    return scan(file, lambda segment: None)


def held(data: bytes) -> Line:
    """The tokens in a file's bytes."""
    return tuple(found for found in map(token_of, parse(data)) if found is not None)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return tmp_path_factory.mktemp("incoming"), tmp_path_factory.mktemp("local")


@given(
    pair=pairs(),
    modes=st.tuples(st.booleans(), st.booleans()),
    turns=st.tuples(st.booleans(), st.booleans()),
    ids=st.sampled_from([(ONE, ONE), (ONE, OTHER)]),
    cut=st.none() | st.integers(0, 2000),
)
def test_the_class_is_that_of_the_tokens(
    folders: tuple[Path, Path],
    pair: tuple[Line, Line],
    modes: tuple[bool, bool],
    turns: tuple[bool, bool],
    ids: tuple[str, str],
    cut: int | None,
) -> None:
    one = data_of(ids[0], pair[0], legacy=modes[0], turns=turns[0])
    other = data_of(ids[1], pair[1], legacy=modes[1], turns=turns[1])
    if cut is not None:
        # The local file is cut off anywhere behind its first record.
        first = other.index(b"\n") + 1
        other = other[: max(first, len(other) - cut)]
    incoming = transcript(folders[0], ids[0], one)
    local = transcript(folders[1], ids[1], other)
    decision = classify(incoming.chain, [Candidate(ids[1], local.chain, claimed=True)])
    expected = relate(held(one), held(other))
    assert (str(decision.classification), str(decision.relation)) == expected
    if expected[1] == "incoming_ahead":
        assert held(one)[: len(held(other))] == held(other)
        _goes_on(incoming, local, one, other)


def _goes_on(incoming: Transcript, local: Transcript, one: bytes, other: bytes) -> None:
    """What is appended makes the local file hold what the incoming one holds, in its own mode."""
    rewriter = Rewriter(incoming, Policy(), Identity(local.session_id))
    target = io.BytesIO()
    Continuation(rewriter, local, len(held(other))).write(Sink(target, None))
    whole = other + target.getvalue()
    assert held(whole) == held(one)
    if local.mode == "paginated":
        ordinals = [record["ordinal"] for record in parse(whole)]
        assert all(earlier < later for earlier, later in pairwise(ordinals))
    else:
        assert not any("ordinal" in record for record in parse(target.getvalue()))


@given(count=st.integers(0, 5), legacy=st.booleans(), cut=st.integers(0, 3000))
def test_what_is_cut_off_comes_back_once(
    folders: tuple[Path, Path], count: int, legacy: bool, cut: int
) -> None:
    """Of the records around the entries none is missing and none is there twice."""
    line = [(10 * n, "user", "yes") for n in range(count)]
    one = data_of(ONE, line, legacy=legacy, turns=True)
    other = one[: max(one.index(b"\n") + 1, len(one) - cut)]
    incoming, local = transcript(folders[0], ONE, one), transcript(folders[1], ONE, other)
    target = io.BytesIO()
    rewriter = Rewriter(incoming, Policy(), Identity(ONE))
    Continuation(rewriter, local, len(held(other))).write(Sink(target, None))
    assert [unnumbered(record) for record in parse(other + target.getvalue())] == [
        unnumbered(record) for record in parse(one)
    ]


def unnumbered(record: Record) -> Record:
    return {key: value for key, value in record.items() if key != "ordinal"}


@given(line=lines, legacy=st.booleans())
def test_there_and_back_is_the_same_session(
    folders: tuple[Path, Path], line: Line, legacy: bool
) -> None:
    data = data_of(ONE, line, legacy=legacy, turns=True)
    there = ModeConverter("paginated" if legacy else "legacy", ONE)
    records = [new for old in parse(data) for new in there.convert(old)]
    migrated = dump(numbered(records, 0) if legacy else records)
    one, other = transcript(folders[0], ONE, data), transcript(folders[1], ONE, migrated)
    assert one.mode != other.mode
    assert one.chain == other.chain
