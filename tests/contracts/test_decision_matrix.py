"""``references/conflict-decision-matrix.md`` says what the code decides, row by row."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from builders import Session, dump, write_snapshot, write_transfer
from codex_session_sync.codex.home import open_home
from codex_session_sync.errors import SessionError
from codex_session_sync.lineage.classify import (
    CLASS_OF,
    Candidate,
    classify,
    heed_taken_back,
    relate,
)
from codex_session_sync.lineage.differences import merge_metadata
from codex_session_sync.lineage.fingerprint import links_of
from codex_session_sync.lineage.kinship import origin_moment
from codex_session_sync.model import Chain
from codex_session_sync.package.reader import open_package
from codex_session_sync.plan import make_plan
from codex_session_sync.planned import Action, Classification, Decision, Relation, SessionPlan
from codex_session_sync.verdict import Choices, decide
from workbench import call

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "references" / "conflict-decision-matrix.md"
SOURCE = ROOT / "scripts" / "codex_session_sync"

EMPTY = "∅"
NOTHING = "—"
ELSEWHERE = "elsewhere"
"""A home session that shares nothing with the package's, not even its beginning."""

CHOICES = [
    Choices(on_diverged, on_collision)
    for on_diverged in ("branch", "refuse")
    for on_collision in ("refuse", "import-as-new")
]

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


(KIN, MATRIX, EXAMPLES, TAKEN_BACK, AMONG, TOGETHER, STORIES, METADATA, REFUSALS, WRITING) = (
    tables()
)


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
    option: str
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

    def chosen(self, choices: Choices) -> bool:
        """Whether the row is about such choices."""
        by_class = {
            Classification.DIVERGED_LINEAGE: choices.on_diverged,
            Classification.ID_COLLISION_UNRELATED: choices.on_collision,
        }
        return self.option in ("any", by_class.get(Classification(self.classification)))

    @property
    def choices(self) -> Choices:
        """The choices that the row is about."""
        return next(choices for choices in CHOICES if self.chosen(choices))

    def agrees(self, decision: Decision) -> bool:
        """Whether the row says what was decided, and what is done about it."""
        verdict = decide(decision, self.choices)
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


@pytest.mark.parametrize("choices", CHOICES, ids=str)
@pytest.mark.parametrize("candidate", ["none", "claimed", "unclaimed"])
def test_every_pair_has_one_row_and_it_is_right(candidate: str, choices: Choices) -> None:
    used: set[str] = set()
    for incoming, local, common in pairs():
        known = [] if candidate == "none" else [("local", local, candidate == "claimed")]
        candidates = [Candidate(name, chain(text), claimed) for name, text, claimed in known]
        # The page: a candidate that is not claimed and has no entry in common counts as none.
        counted = "none" if candidate == "unclaimed" and not common else candidate
        more, local_more = len(incoming) > common, len(local) > common
        rows = [
            row
            for row in ROWS
            if row.chosen(choices) and row.fits(counted, common, more, local_more)
        ]
        assert len(rows) == 1, (incoming, local, candidate)
        assert rows[0].agrees(classify(chain(incoming), candidates)), (rows[0], incoming, local)
        used.add(rows[0].case)
    expected = {
        "none": {"1"},
        "claimed": {row.case for row in ROWS[1:]},
        "unclaimed": {row.case for row in ROWS if row.candidate in ("none", "any")},
    }
    assert used == expected[candidate] & {row.case for row in ROWS if row.chosen(choices)}


def test_relations_and_classes_are_those_of_the_matrix() -> None:
    for incoming, local, common in pairs():
        rows = [
            row
            for row in ROWS
            if row.fits("claimed", common, len(incoming) > common, len(local) > common)
        ]
        assert {row.relation for row in rows} == {relate(len(incoming), len(local), common)}
    assert {(row.relation, row.classification) for row in ROWS} == set(CLASS_OF.items())


def test_the_matrix_names_every_class_relation_and_action() -> None:
    assert {row.classification for row in ROWS} == set(Classification)
    assert {row.relation for row in ROWS} == set(Relation)
    assert {row.action for row in ROWS} == set(Action)
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


def planned(tmp_path: Path, choices: Choices = CHOICES[0]) -> list[SessionPlan]:
    """What a sync of ``package`` into ``home`` would do."""
    (tmp_path / "home").mkdir(exist_ok=True)
    with open_package(tmp_path / "package") as package:
        home = open_home(tmp_path / "home", {})
        return list(make_plan(package, home, choices=choices).sessions)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.case)
def test_an_example_comes_out_as_the_matrix_says(row: Row, tmp_path: Path) -> None:
    put(tmp_path / "package", row.package, told(row.package))
    if row.home != NOTHING:
        put(tmp_path / "home", row.home, told(row.home, local=True))
    [plan] = planned(tmp_path, row.choices)
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


@pytest.mark.parametrize("row", KIN, ids=" ".join)
def test_kin_are_those_that_the_page_says(row: list[str]) -> None:
    incoming, local, kin = row
    known = {
        "own beginning": {"timestamp": "2026-03-02T09:00:00.000Z"},
        "fork or subagent": {"timestamp": "2026-03-02T10:00:00.000Z", "forked_from_id": "x"},
    }
    time = {"at the same time": "10", "at another time": "11"}
    kind, _, made = local.partition(", made ")
    meta = dict(known[kind])
    if made:
        meta["timestamp"] = f"2026-03-02T{time[made]}:00:00.000Z"
    assert (origin_moment(known[incoming]) == origin_moment(meta)) == (kin == "yes")


@pytest.mark.parametrize("row", TAKEN_BACK, ids=" ".join)
def test_what_was_taken_back_here_counts_as_the_page_says(row: list[str]) -> None:
    local, gone, incoming, relation, action, reason = row
    once = set(links_of(chain("ab" + gone).links)) - set(links_of(chain("ab").links))
    decision = classify(chain(incoming), [Candidate("local", chain(local), claimed=True)])
    heeded = heed_taken_back(decision, chain(incoming), set() if gone == NOTHING else once)
    verdict = decide(heeded, CHOICES[0])
    assert (heeded.relation, verdict.action, verdict.reason or NOTHING) == (
        relation,
        action,
        reason,
    )
    assert heeded.classification == CLASS_OF[heeded.relation]
    counts = ("incoming_entries", "local_entries", "common_entries", "local_session_id")
    assert all(getattr(heeded, key) == getattr(decision, key) for key in counts)


def sessions(text: str) -> list[Session]:
    """The sessions of an example: ``X: one two; Y: one``."""
    found = []
    for part in [] if text == NOTHING else text.split(";"):
        letter, _, words = part.strip().partition(":")
        session = replace(told(words.strip(), local=True), number="XYZ".index(letter) + 1)
        found.append(session)
    return found


@pytest.mark.parametrize("row", TOGETHER, ids=lambda row: f"{row[0]} into {row[1]}")
def test_several_sessions_come_out_as_the_page_says(row: list[str], tmp_path: Path) -> None:
    package, home, said = row
    write_snapshot(tmp_path / "package", sessions(package))
    write_snapshot(tmp_path / "home", sessions(home))
    letters = {
        session.id: letter
        for session, letter in zip(sessions("X: a; Y: a; Z: a"), "XYZ", strict=True)
    }
    done = {
        letters[p.session.session_id]: f"{p.action} {p.reason or ''}".strip()
        for p in planned(tmp_path)
    }
    assert done == dict(part.replace("`", "").strip().split(" ", 1) for part in said.split(","))


@pytest.mark.parametrize("lost", [False, True], ids=["", "sidecars lost"])
@pytest.mark.parametrize("row", STORIES, ids=lambda row: f"{row[0]} meets {row[1]}")
def test_packages_come_one_after_another_as_the_page_says(
    row: list[str], lost: bool, tmp_path: Path
) -> None:
    home, packages, options, said = row
    write_snapshot(tmp_path / "home", sessions(home)).mkdir(exist_ok=True)
    for number, package in enumerate(packages.split("→")):
        write_snapshot(tmp_path / str(number), sessions(package.strip()))
    done = []
    for number, _ in enumerate(packages.split("→")):
        if lost:
            for path in tmp_path.glob("home/session-sync/sidecars/*"):
                path.unlink()
        [one] = synced(tmp_path / str(number), tmp_path / "home", *options.split())
        done.append(f"{one['action']} {one['reason'] or ''}".strip())
    assert done == [step.replace("`", "").strip() for step in said.split("→")]


def synced(package: Path, home: Path, *options: str) -> list[dict[str, Any]]:
    """The sessions of an executed sync's report."""
    where = ("--codex-home", home, "--no-prime", "--execute", "--json")
    found = call("sync", package, *where, *options).envelope["data"]["sessions"]
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("row", METADATA, ids=" ".join)
def test_metadata_is_merged_as_the_page_says(row: list[str]) -> None:
    base, here, there, after, differs = row

    def side(name: str) -> dict[str, Any]:
        return {"name": None if name == NOTHING else name, "archived": False, "git_branch": None}

    merge = merge_metadata(None if base == "never" else side(base), side(here), side(there))
    assert (merge.follow.get("name") or here) == after
    expected = {"name": {"local": side(after)["name"], "incoming": side(there)["name"]}}
    assert merge.differs == (expected if differs == "yes" else {})


def test_the_example_of_a_conflict_of_names(tmp_path: Path) -> None:
    home, first, second = (tmp_path / name for name in ("home", "first", "second"))
    session = replace(told("one"), name="Beans")
    home.mkdir()
    synced(write_transfer(first, [session]), home)
    entry = {"id": session.id, "thread_name": "My beans", "updated_at": "2026-03-03T09:00:00.000Z"}
    with (home / "session_index.jsonl").open("ab") as stream:
        stream.write(dump([entry]))
    later = replace(session.say("two"), name="Pole beans", archived=True)
    [one] = synced(write_transfer(second, [later]), home)
    assert one["result"] == "fast_forwarded"
    assert (home / later.relative_path).is_file()
    [told_of] = re.findall(r"```json\n(.*?)\n```", PAGE.read_text(encoding="utf-8"))
    assert one["differs"] == json.loads(told_of)


@pytest.mark.parametrize("row", AMONG, ids=lambda row: f"{row[0]} among {row[1]}")
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


NO_PLANS = ("cli", "checkpoints")
"""What is not of the plan: calling it, and making the package that it is of."""


def test_the_reasons_before_a_comparison_are_those_of_the_code() -> None:
    planning = (path for path in SOURCE.rglob("*.py") if path.parent.name not in NO_PLANS)
    raised = session_errors(planning)
    while_writing = {code for code, *_ in WRITING}
    assert raised >= while_writing
    assert {code for code, _ in REFUSALS} == raised - while_writing


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
