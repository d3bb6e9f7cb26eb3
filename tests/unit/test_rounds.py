"""Two homes exchange deltas for a while, and what comes of deltas that meet another home."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from builders import Session, dump, session_id, write_snapshot
from codex_session_sync.cli import sync as command
from codex_session_sync.codex.convert import ModeConverter
from codex_session_sync.planned import Plan
from codex_session_sync.unpacking import with_transcripts
from exchanging import Side, bases, compressed, side, with_rows
from rollouts import parsed
from workbench import Outcome, call

ONLY_A = Session(1, start=10, name="Beans").say("When do I sow beans?")
ONLY_B = Session(2, start=20).say("How do I prune roses?")
IN_TURNS = Session(3, start=30).say("What goes on the compost?")
BOTH = Session(4, start=40).say("How high may a hedge be?")
OLD = Session(5, legacy=True, start=50).say("An old question")
ROUNDS = 10
MANIFEST = 1_500
"""Bytes of a package beside what sessions add to it; of a session that is in it, beside records."""

Told = dict[str, tuple[str, str]]


def told(done: Outcome) -> Told:
    """The class and result of each session of a package."""
    return {i: (one["classification"], one["result"]) for i, one in done.sessions.items()}


NEW = ("new_lineage", "imported")
FORWARD = ("fast_forward_import", "fast_forwarded")
BRANCHED = ("diverged_lineage", "branched")


@dataclass
class Exchange:
    """One direction: what is said in ``source`` goes to ``target``."""

    source: Side
    target: Side
    said: int = 0
    """Bytes of records that are new at the source since the last time."""

    def go_on(self, session: str, text: str, minute: int) -> None:
        path = self.source.file(session)
        before = path.stat().st_size
        self.source.go_on(session, text, minute)
        self.said += path.stat().st_size - before

    def begin(self, session: Session) -> None:
        write_snapshot(self.source.home, [session], index=False)
        self.said += len(session.data())

    def run(self, expected: Told) -> Outcome:
        """Pack what the target lacks, and sync it: as expected, and no larger than needed."""
        packed = self.source.packed("news", "--have", self.target.have())
        if not expected:
            assert packed.envelope["status"] == "no_op", packed.out
            return packed
        size = packed.envelope["data"]["package"]["size"]
        assert size < self.said + MANIFEST * (1 + len(expected)), (size, self.said)
        self.said = 0
        done = self.target.sync("news")
        assert told(done) == expected
        again = self.source.packed("again", "--have", self.target.have())
        assert again.envelope["status"] == "no_op", again.out
        return done


def test_ten_rounds_in_both_directions(tmp_path: Path) -> None:
    a = side(tmp_path, "a", [ONLY_A, IN_TURNS, BOTH, OLD])
    b = side(tmp_path, "b", [ONLY_B])
    forth, back = Exchange(a, b), Exchange(b, a)
    first = (ONLY_A, IN_TURNS, BOTH, OLD)
    forth.said = sum(len(session.data()) for session in first)
    back.said = len(ONLY_B.data())
    forth.run({session.id: NEW for session in first})
    back.run({ONLY_B.id: NEW})
    branches: dict[Side, str] = {}
    for number in range(1, ROUNDS + 1):
        if number == 3:
            back.go_on(BOTH.id, "3 on b", 313)
        done = forth.run(said_on_a(forth, number))
        if number == 3:
            branches[b] = done.sessions[BOTH.id]["local_session_id"]
        done = back.run(said_on_b(back, number, branches))
        if number == 3:
            branches[a] = done.sessions[BOTH.id]["local_session_id"]
        if number == 8:
            assert done.sessions[branches[b]]["local_session_id"] == BOTH.id
    assert a.heads() == b.heads()
    assert len(a.heads()) == 5 + 1 + 2
    for of, branch in branches.items():
        assert branch in of.lines()


def said_on_a(forth: Exchange, number: int) -> Told:
    """What happens in a round, and what is to come of it."""
    minute = 100 * number
    expected = dict.fromkeys((ONLY_A.id, OLD.id), FORWARD)
    if number % 2:
        expected[IN_TURNS.id] = FORWARD
    if number >= 3:
        expected[BOTH.id] = BRANCHED if number == 3 else FORWARD
    for place, session in enumerate(expected):
        forth.go_on(session, f"{number} on a", minute + place)
    if number % 4 == 0:
        made = replace(ONLY_A.fork(20 + number), start=minute + 4).say("Of the fork")
        forth.begin(made)
        expected[made.id] = NEW
    return expected


def said_on_b(back: Exchange, number: int, branches: Mapping[Side, str]) -> Told:
    """As ``said_on_a``; the branch of the other side's line goes on as well."""
    minute = 100 * number + 10
    expected = {ONLY_B.id: FORWARD}
    if number % 2 == 0:
        expected[IN_TURNS.id] = FORWARD
    if number == 6:
        expected[BOTH.id] = FORWARD
    if number == 8:
        expected[branches[back.source]] = FORWARD
    for place, session in enumerate(expected):
        back.go_on(session, f"{number} on b", minute + place)
    if number == 3:
        expected[BOTH.id] = BRANCHED
    return expected


def test_what_the_other_side_has_more_of_costs_little(tmp_path: Path) -> None:
    """It began there, and nothing tells there how much of it is here."""
    a, b = side(tmp_path, "a"), side(tmp_path, "b", [ONLY_B])
    b.packed("first")
    a.sync("first")
    for number in range(5):
        b.go_on(ONLY_B.id, f"{number} on b", 100 + number)
        packed = a.packed("news", "--have", b.have())
        assert bases(packed) == {2: [3, 1, 3, 1, 1][number]}
        assert told(b.sync("news")) == {ONLY_B.id: ("unchanged", "skipped")}


def test_a_session_of_megabytes_that_grew_by_a_turn(tmp_path: Path) -> None:
    large = ONLY_A
    for number in range(60):
        noise = " ".join(f"{(number * 7919 + n) ** 3 % 1_000_003:x}" for n in range(8_000))
        large = large.say(noise, "Quite so.")
    a, b = side(tmp_path, "a", [large]), side(tmp_path, "b")
    whole = a.packed("first").envelope["data"]["package"]["size"]
    assert (len(large.data()) > 4_000_000, whole > 1_000_000) == (True, True)
    b.sync("first")
    a.go_on(large.id, "And now?", 900)
    news = a.packed("news", "--have", b.have()).envelope["data"]
    assert news["package"]["size"] < 4_000
    assert news["sessions"][0]["bytes"] < 4_000
    assert told(b.sync("news")) == {large.id: FORWARD}
    assert b.lines() == a.lines()


# The base is not here


def packages(tmp_path: Path) -> tuple[Side, Side]:
    """Two homes; ``first`` is whole, ``news`` goes on after it and has a session of its own."""
    a, b = side(tmp_path, "a", [ONLY_A, IN_TURNS, OLD]), side(tmp_path, "b")
    a.packed("first")
    b.sync("first")
    have = b.have()
    for session in (ONLY_A, IN_TURNS, OLD):
        a.go_on(session.id, "Later", 90)
    write_snapshot(a.home, [ONLY_A.fork(9).say("Of a fork"), BOTH], index=False)
    a.packed("news", "--have", have)
    return a, b


FORK = session_id(9)
LATER = {ONLY_A.id, IN_TURNS.id, OLD.id, FORK}
REFUSED = ("new_lineage", "refused")


def require_refused(home: Side, sessions: set[str]) -> None:
    """The package is taken but for these sessions, which are told of by more than an id."""
    seen = call("inspect-package", home.folder / "news", "--codex-home", home.home, "--json")
    done = home.sync("news", code=1)
    assert done.envelope["status"] == "partial"
    for outcome in (seen, done):
        reasons = {i for i, s in outcome.sessions.items() if s["reason"] == "prerequisite_missing"}
        assert reasons == sessions
        assert {e["session_id"] for e in outcome.envelope["errors"]} == sessions
        for session in sessions:
            found = outcome.sessions[session]
            assert (found["turns"], found["relation"], found["action"]) == (2, "none", "refuse")
            assert found["entries"] == {"incoming": 6, "local": None, "common": 0}
            assert found["title"]
    assert done.sessions[BOTH.id]["result"] == "imported"
    named = done.sessions[ONLY_A.id]
    assert (named["name"], named["title"]) == ("Beans", "Beans")


def test_a_fresh_home(tmp_path: Path) -> None:
    a, _ = packages(tmp_path)
    fresh = side(tmp_path, "c")
    require_refused(fresh, LATER)
    assert set(fresh.lines()) == {BOTH.id}
    # What came before completes it.
    fresh.sync("first")
    done = fresh.sync("news")
    assert told(done) == {
        **dict.fromkeys(LATER - {FORK}, FORWARD),
        FORK: NEW,
        BOTH.id: ("unchanged", "skipped"),
    }
    assert fresh.heads() == a.heads()


def test_a_home_that_was_rolled_back(tmp_path: Path) -> None:
    a, b = packages(tmp_path)
    done = call("rollback", "--latest", "--execute", "--codex-home", b.home, "--json")
    assert done.exit_code == 0
    require_refused(b, LATER)
    a.packed("news", "--have", b.have())
    b.sync("news")
    assert b.heads() == a.heads()


def migrated(at: Side, session: Session) -> None:
    """A legacy session is rewritten in place as a paginated one, as Codex does it."""
    path = at.file(session.id)
    convert = ModeConverter("paginated", session.id)
    found = [new for old in parsed(path.read_bytes()) for new in convert.convert(old)]
    path.write_bytes(dump({**record, "ordinal": n} for n, record in enumerate(found)))


def test_a_home_that_was_migrated(tmp_path: Path) -> None:
    a, b = packages(tmp_path)
    migrated(b, OLD)
    require_refused(b, {OLD.id})
    # What it says now is heeded: the session comes whole, and is extended.
    assert bases(a.packed("news", "--have", b.have())) == {5: 0}
    assert told(b.sync("news")) == {OLD.id: FORWARD}
    assert b.heads() == a.heads()
    again = a.packed("news", "--have", b.have())
    assert again.envelope["status"] == "no_op"


def test_one_session_was_deleted(tmp_path: Path) -> None:
    _, b = packages(tmp_path)
    b.file(IN_TURNS.id).unlink()
    require_refused(b, {IN_TURNS.id})


# Meanwhile


def compress(path: Path) -> None:
    compressed(path)


def remove(path: Path) -> None:
    path.unlink()


def rewrite(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"When do I sow beans?", b"When do I sow peas??"))


def shorten(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b'{"timestamp":"2026-')


@pytest.mark.parametrize("change", [compress, remove, rewrite, shorten])
def test_the_local_beginning_changes_after_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    _, b = packages(tmp_path)

    def change_first(plan: Plan, *more: object) -> Plan:
        change(b.file(ONLY_A.id))
        return with_transcripts(plan, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(command, "with_transcripts", change_first)
    done = b.sync("news", code=1)
    refused = {i for i, one in done.sessions.items() if one["reason"] == "home_changed"}
    assert refused == {ONLY_A.id, FORK}
    assert {told(done)[i] for i in (IN_TURNS.id, OLD.id)} == {FORWARD}
    monkeypatch.undo()
    if change is compress:
        results = told(b.sync("news"))
        assert (results[ONLY_A.id], results[FORK]) == (FORWARD, NEW)


@pytest.mark.parametrize("change", [compress, remove, rewrite, shorten, append])
def test_the_local_beginning_changes_after_it_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    _, b = packages(tmp_path)

    def change_last(plan: Plan, *more: object) -> Plan:
        found = with_transcripts(plan, *more)  # type: ignore[arg-type]
        change(b.file(ONLY_A.id))
        return found

    monkeypatch.setattr(command, "with_transcripts", change_last)
    done = b.sync("news", code=1)
    results = told(done)
    # A fork does not mind where its parent lies, and what follows behind its part of it.
    fine = change in (compress, append)
    assert results[FORK][1] == ("imported" if fine else "failed")
    # What is appended to a file does not rest on what is said in it.
    assert results[ONLY_A.id][1] == ("fast_forwarded" if change is rewrite else "failed")
    assert {results[i] for i in (IN_TURNS.id, OLD.id)} == {FORWARD}
    monkeypatch.undo()
    files = {path.name for path in b.home.rglob("rollout-*")}
    assert any(FORK in name for name in files) == fine


@pytest.mark.parametrize("archived", [True, False])
def test_a_session_of_the_same_sync_moves_the_beginning_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archived: bool
) -> None:
    """The parent is archived, or written anew as a plain file, in an earlier batch."""
    monkeypatch.setattr("codex_session_sync.commit.BATCH_SESSIONS", 1)
    a, b = side(tmp_path, "a", [ONLY_A]), side(tmp_path, "b")
    a.packed("first")
    b.sync("first")
    have = b.have()
    if not archived:
        compressed(b.file(ONLY_A.id))
    later = replace(ONLY_A.say("Later"), archived=archived)
    fork = later.fork(9).say("Of a fork")
    (a.home / ONLY_A.relative_path).unlink()
    write_snapshot(a.home, [later, fork])
    with_rows(a.home / "state_5.sqlite", [later, fork], 1_900_000_000_000)
    assert bases(a.packed("news", "--have", have)) == {1: 4, 9: 4}
    assert told(b.sync("news")) == {ONLY_A.id: FORWARD, fork.id: NEW}
    assert b.file(ONLY_A.id).suffix == ".jsonl"
    assert (b.file(ONLY_A.id).parent.name == "archived_sessions") == archived
    assert b.heads() == a.heads()
