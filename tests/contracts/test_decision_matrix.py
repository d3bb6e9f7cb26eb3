"""``references/conflict-decision-matrix.md`` says what the code decides, row by row."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import pytest

from builders import Session, dump, write_snapshot
from codex_session_sync.codex.home import open_home
from codex_session_sync.errors import SessionError
from codex_session_sync.lineage.classify import CLASS_OF, Candidate, classify, relate
from codex_session_sync.model import (
    Action,
    Chain,
    Classification,
    Decision,
    Relation,
    SessionPlan,
)
from codex_session_sync.package.reader import open_package
from codex_session_sync.plan import decide, make_plan

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "references" / "conflict-decision-matrix.md"
SOURCE = ROOT / "scripts" / "codex_session_sync"

EMPTY = "∅"
NOTHING = "—"
ELSEWHERE = "elsewhere"
"""A home session that shares nothing with the package's, not even its beginning."""

AFTER_THE_PLAN = {"package_changed", "write_failed"}
"""Session errors that only writing can raise: such a session is failed, not refused."""

MOST = 4
"""Longest session in the check of all counts."""


def tables() -> list[list[list[str]]]:
    """The tables of the page, each a list of rows without its head."""
    found: list[list[list[str]]] = []
    inside = False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        if not inside:
            found.append([])
        elif not set(line) <= set("|- "):
            found[-1].append(cells)
        inside = True
    return found


MATRIX, EXAMPLES, CHOICES, REFUSALS = tables()


@dataclass(frozen=True)
class Row:
    """One row of the matrix, with its example."""

    case: str
    candidate: str
    common: str
    incoming_more: str
    local_more: str
    relation: str
    classification: str
    action: str
    reason: str
    package: str
    home: str
    entries: str

    def fits(self, candidate: str, common: int, incoming_more: bool, local_more: bool) -> bool:
        """Whether the row is about such a pair of sessions."""
        if self.candidate == "none" or candidate == "none":
            return self.candidate == candidate
        return (
            self.candidate in ("any", candidate)
            and self.common == ("≥ 1" if common else "0")
            and self.incoming_more == ("yes" if incoming_more else "no")
            and self.local_more == ("yes" if local_more else "no")
        )

    def agrees(self, decision: Decision) -> bool:
        """Whether the row says what was decided, and what is done about it."""
        verdict = decide(decision)
        return (self.relation, self.classification, self.action, self.reason) == (
            decision.relation,
            decision.classification,
            verdict.action,
            verdict.reason or NOTHING,
        )


ROWS = [Row(*cells, *more[1:]) for cells, more in zip(MATRIX, EXAMPLES, strict=True)]


def chain(entries: str) -> Chain:
    """A chain whose entries are letters: a common prefix of texts is one of chains."""
    links, last = b"", b""
    for entry in entries:
        last = hashlib.sha256(last + entry.encode()).digest()
        links += last
    return Chain(links)


def pairs() -> Iterator[tuple[str, str, int]]:
    """Every incoming and local session of up to MOST entries, and how many they have in common."""
    for common in range(MOST + 1):
        for more, local_more in product(range(MOST + 1 - common), repeat=2):
            base = "abcd"[:common]
            yield base + "vwxy"[:more], base + "VWXY"[:local_more], common


@pytest.mark.parametrize("candidate", ["none", "claimed", "unclaimed"])
def test_every_pair_has_one_row_and_it_is_right(candidate: str) -> None:
    used: set[str] = set()
    for incoming, local, common in pairs():
        known = [] if candidate == "none" else [("local", local, candidate == "claimed")]
        candidates = [Candidate(name, chain(text), claimed) for name, text, claimed in known]
        # The page: a candidate that is not claimed and has no entry in common counts as none.
        counted = "none" if candidate == "unclaimed" and not common else candidate
        more, local_more = len(incoming) > common, len(local) > common
        rows = [row for row in ROWS if row.fits(counted, common, more, local_more)]
        assert len(rows) == 1, (incoming, local, candidate)
        assert rows[0].agrees(classify(chain(incoming), candidates)), (rows[0], incoming, local)
        used.add(rows[0].case)
    expected = {
        "none": {"1"},
        "claimed": {row.case for row in ROWS[1:]},
        "unclaimed": {row.case for row in ROWS if row.candidate in ("none", "any")},
    }
    assert used == expected[candidate]


def test_relations_and_classes_are_those_of_the_matrix() -> None:
    for incoming, local, common in pairs():
        rows = [
            row
            for row in ROWS
            if row.fits("claimed", common, len(incoming) > common, len(local) > common)
        ]
        assert [row.relation for row in rows] == [relate(len(incoming), len(local), common)]
    assert {(row.relation, row.classification) for row in ROWS} == set(CLASS_OF.items())


def test_the_matrix_names_every_class_and_relation_and_no_action_of_another_version() -> None:
    assert {row.classification for row in ROWS} == set(Classification)
    assert {row.relation for row in ROWS} == set(Relation)
    assert {row.action for row in ROWS} == {Action.IMPORT, Action.SKIP, Action.REFUSE}
    numbers = [str(number + 1) for number in range(len(ROWS))]
    assert [row.case for row in ROWS] == [cells[0] for cells in EXAMPLES] == numbers


def told(words: str, *, local: bool = False) -> Session:
    """The session whose turns are the words of an example."""
    start = 60 if local and words == ELSEWHERE else 0
    session = Session(1, start=start)
    for word in [] if words == EMPTY else words.split():
        session = session.say(word)
    return session


def put(home: Path, words: str, session: Session) -> None:
    """Write an example's session into a home; without entries it has its first record only."""
    write_snapshot(home, [session])
    if words == EMPTY:
        (home / session.relative_path).write_bytes(dump(session.records()[:1]))


def planned(tmp_path: Path) -> list[SessionPlan]:
    """What a sync of ``package`` into ``home`` would do."""
    (tmp_path / "home").mkdir(exist_ok=True)
    with open_package(tmp_path / "package") as package:
        return list(make_plan(package, open_home(tmp_path / "home", {})).sessions)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.case)
def test_an_example_comes_out_as_the_matrix_says(row: Row, tmp_path: Path) -> None:
    put(tmp_path / "package", row.package, told(row.package))
    if row.home != NOTHING:
        put(tmp_path / "home", row.home, told(row.home, local=True))
    [plan] = planned(tmp_path)
    decision = plan.decision
    assert row.agrees(decision)
    assert (plan.action, plan.reason or NOTHING) == (row.action, row.reason)
    counts = (decision.incoming_entries, decision.local_entries, decision.common_entries)
    assert ", ".join(NOTHING if n is None else str(n) for n in counts) == row.entries


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.candidate == "any"], ids=lambda row: row.case
)
def test_an_example_comes_out_so_under_another_id(row: Row, tmp_path: Path) -> None:
    put(tmp_path / "package", row.package, told(row.package))
    put(tmp_path / "home", row.home, replace(told(row.home), number=2))
    [plan] = planned(tmp_path)
    assert row.agrees(plan.decision)


def test_a_fork_is_not_its_parent(tmp_path: Path) -> None:
    parent = told("one two")
    write_snapshot(tmp_path / "home", [parent])
    write_snapshot(tmp_path / "package", [parent.fork(2).say("three")])
    [plan] = planned(tmp_path)
    assert plan.decision.classification is Classification.NEW_LINEAGE
    assert plan.decision.local_session_id is None


def test_a_session_that_the_package_holds_itself_is_no_candidate(tmp_path: Path) -> None:
    one, other = told("one"), replace(told("one two"), number=2)
    write_snapshot(tmp_path / "home", [other])
    write_snapshot(tmp_path / "package", [one, other])
    classes = {p.session.session_id: p.decision.classification for p in planned(tmp_path)}
    assert classes == {
        one.id: Classification.NEW_LINEAGE,
        other.id: Classification.UNCHANGED,
    }


@pytest.mark.parametrize("row", CHOICES, ids=lambda row: f"{row[0]} among {row[1]}")
def test_the_candidate_is_the_one_that_the_page_says(row: list[str]) -> None:
    incoming, among, chosen, classification = row
    texts = [text.strip().strip("`") for text in among.split(",")]
    candidates = [
        Candidate(str(place), chain(text.rstrip("!")), text.endswith("!"))
        for place, text in enumerate(texts, 1)
    ]
    decision = classify(chain(incoming), candidates)
    assert (decision.local_session_id or NOTHING) == chosen
    assert decision.classification == classification


def session_errors(paths: Iterable[Path]) -> set[str]:
    """The codes of all SessionErrors that the modules raise."""
    calls = (
        node
        for path in paths
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == SessionError.__name__
    )
    return {
        call.args[0].value
        for call in calls
        if isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
    }


def test_the_reasons_before_a_comparison_are_those_of_the_code() -> None:
    raised = session_errors(SOURCE.rglob("*.py"))
    assert raised >= AFTER_THE_PLAN
    assert {code for code, _ in REFUSALS} == raised - AFTER_THE_PLAN


def refused(tmp_path: Path) -> tuple[str | None, Classification, Relation]:
    [plan] = planned(tmp_path)
    assert plan.action is Action.REFUSE
    return plan.reason, plan.decision.classification, plan.decision.relation


def test_what_cannot_be_read_is_refused_as_new(tmp_path: Path) -> None:
    session = told("one")
    fork = write_snapshot(tmp_path / "package", [session.fork(2).say("two")])
    as_new = (Classification.NEW_LINEAGE, Relation.NONE)
    assert refused(tmp_path) == ("history_base_missing", *as_new)
    [file] = fork.rglob("rollout-*")
    file.write_bytes(b"{}\n")
    assert refused(tmp_path) == ("transcript_invalid", *as_new)


def test_nothing_is_decided_over_a_local_session_that_cannot_be_read(tmp_path: Path) -> None:
    session = told("one")
    write_snapshot(tmp_path / "package", [session])
    write_snapshot(tmp_path / "home", [session])
    (tmp_path / "home" / session.relative_path).write_bytes(b"{}\n")
    assert refused(tmp_path)[0] == "local_transcript_unreadable"
