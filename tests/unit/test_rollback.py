"""Rolling back: to the byte where nothing changed since, and nobody's work lost where it did."""

from __future__ import annotations

from pathlib import Path

import pytest

from builders import Session
from rolling import Rolling, compress, make_rolling

DAY = 24 * 60
OWN = Session(1, start=10, name="Own").say("Was here before")
BEANS = Session(2, start=1 * DAY, name="Beans").say("How do beans climb?").say("And peas?")
ROSES = Session(3, start=2 * DAY).say("Which roses?")
OLD = Session(4, start=3 * DAY, name="Old", archived=True).say("Long ago")
PACKAGED = (BEANS, ROSES, OLD)


@pytest.fixture
def bed(tmp_path: Path) -> Rolling:
    return make_rolling(tmp_path, [OWN])


def test_an_import_is_undone_to_the_byte(bed: Rolling) -> None:
    before = bed.state()
    bed.sync(*PACKAGED)
    assert bed.state() != before
    bed.undo("--latest")
    assert bed.state() == before


def test_a_fast_forward_is_undone_to_the_byte(bed: Rolling) -> None:
    bed.sync(*PACKAGED)
    before = bed.state()
    transaction = bed.sync(BEANS.say("More"), ROSES, OLD)
    bed.undo(transaction)
    assert bed.state() == before


def test_a_branch_is_undone_to_the_byte(bed: Rolling) -> None:
    bed.sync(BEANS)
    bed.go_on(BEANS, "Mine")
    before = bed.state()
    transaction = bed.sync(BEANS.say("Theirs"))
    bed.undo(transaction)
    assert bed.state() == before


def test_a_continued_compressed_session_is_compressed_again(bed: Rolling) -> None:
    bed.sync(BEANS)
    compress(bed.path(BEANS))
    before = bed.state()
    transaction = bed.sync(BEANS.say("More"))
    assert bed.path(BEANS).suffix == ".jsonl"
    bed.undo(transaction)
    assert bed.state() == before
    bed.undo("--latest")
    assert bed.path(BEANS).suffix == ".jsonl"


def test_a_rollback_is_rolled_back(bed: Rolling) -> None:
    first = bed.sync(*PACKAGED)
    then = bed.state()
    second = bed.sync(BEANS.say("More"), ROSES.say("Red ones"))
    later = bed.state()
    back = bed.undo(second)
    assert bed.state() == then
    again = bed.undo(back)
    assert bed.state() == later
    bed.undo(again)
    assert bed.state() == then
    first_back = bed.undo(first)
    bed.undo(first_back)
    assert bed.state() == then
