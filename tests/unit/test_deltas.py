"""Packages of what the other side lacks: what is in them, and that they do what whole ones do.

A twin takes the whole package each time, and ends with the same sessions.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from builders import Record, Session, dump, session_id, write_snapshot
from exchanging import Side, bases, compressed, side, turn, with_rows
from workbench import Outcome, tree

BEANS = [Session(1, start=10, name="Beans")]
for text in ("When do I sow beans?", "And peas?", "And lettuce?", "And chard?", "And leek?"):
    BEANS.append(BEANS[-1].say(text))
"""The session after so many turns; two entries stand before the first, each turn has two."""
OLD = [Session(2, legacy=True, start=20)]
for text in ("An old question", "Another", "A third", "A fourth"):
    OLD.append(OLD[-1].say(text))
FORK = BEANS[2].fork(3).say("What if it is cold?")
CHILD = Session(4, start=40, meta={"parent_thread_id": BEANS[0].id}).say("Look that up")
ROSES = Session(5, start=50, name="Roses").say("How do I prune roses?")

Step = Callable[[Side], object]


def nothing(_: Side) -> None:
    """Nothing happens."""


def both(*steps: Step) -> Step:
    """One step after the other."""
    return lambda at: [step(at) for step in steps]


@dataclass(frozen=True)
class Case:
    """What one home has when the other takes a package of it, what then, and what a delta has.

    ``packed``: its sessions by number, and how many of their entries it leaves out. ``before``,
    ``there`` and ``here`` happen before the first package, then there, and where it was taken.
    """

    first: tuple[Session, ...]
    later: tuple[Session, ...]
    packed: dict[int, int]
    here: Step = nothing
    there: Step = nothing
    before: Step = nothing
    rows: bool = True


def put(session: Session, data: bytes) -> Step:
    """A session's file with other records than the builder's."""

    def do(at: Side) -> None:
        path = at.home / session.relative_path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return do


def end(session: Session, data: bytes) -> Step:
    """More bytes at the end of a session's file."""

    def do(at: Side) -> None:
        with at.file(session.id).open("ab") as stream:
            stream.write(data)

    return do


def cut(session: Session, size: int) -> Step:
    """So many bytes less at the end of a session's file."""

    def do(at: Side) -> None:
        path = at.file(session.id)
        path.write_bytes(path.read_bytes()[:-size])

    return do


def compress(session: Session) -> Step:
    return lambda at: compressed(at.file(session.id))


def said(session: Session, text: str, minute: int) -> Step:
    return lambda at: at.go_on(session.id, text, minute)


def forgotten(at: Side) -> None:
    """The sidecars are lost."""
    shutil.rmtree(at.home / "session-sync" / "sidecars")


def under_another_id(session: Session, new: str) -> Step:
    """A session gets another id, and nobody knows of it."""

    def do(at: Side) -> None:
        path = at.file(session.id)
        data = path.read_bytes().replace(session.id.encode(), new.encode())
        path.unlink()
        path.with_name(path.name.replace(session.id, new)).write_bytes(data)
        with closing(sqlite3.connect(at.home / "state_5.sqlite")) as database, database:
            database.execute("DELETE FROM threads WHERE id = ?", (session.id,))
        forgotten(at)

    return do


def took(*sessions: Session) -> Step:
    """A whole package from a third home, which goes on with the sessions of the first."""

    def do(at: Side) -> None:
        third = side(at.folder / "third", "c", sessions)
        Side(third.home, at.folder).packed("of-third")
        at.sync("of-third")

    return do


def events(minute: int, *payloads: tuple[str, Record]) -> bytes:
    """Records of a legacy session, a second apart."""
    return dump(
        {"timestamp": f"2026-03-02T{9 + minute // 60:02}:{minute % 60:02}:{n:02}.000Z"}
        | {"type": kind, "payload": payload}
        for n, (kind, payload) in enumerate(payloads, 1)
    )


def back(minute: int, turns: int) -> bytes:
    return events(minute, ("event_msg", {"type": "thread_rolled_back", "num_turns": turns}))


def compaction(minute: int) -> bytes:
    began = {"type": "task_started", "turn_id": f"compaction {minute}"}
    return events(minute, ("event_msg", began), ("compacted", {"message": "It was about beans."}))


def reverted(session: Session, text: str) -> tuple[str, bytes]:
    """The second file of a session that was reverted to where it is: its name, and what it has."""
    made = session.fork(999).say(text)
    [head, *rest] = made.records()
    del head["payload"]["forked_from_id"], head["payload"]["forked_from_ordinal_exclusive"]
    segment = session_id(998)
    name = made.file_name.replace(made.id, f"{session.id}_{segment}")
    return name, dump([head, *rest]).replace(made.id.encode(), session.id.encode())


def put_reverted(session: Session, text: str) -> Step:
    name, data = reverted(session, text)
    return lambda at: (at.home / session.relative_path).with_name(name).write_bytes(data)


COPY = Session(6, legacy=True, start=60, meta={"forked_from_id": OLD[0].id})
"""A legacy fork: its head, then all of its parent's file."""


def copy_of(parent: Session, text: str) -> bytes:
    return dump(COPY.records()[:1]) + parent.data() + turn(COPY.id, text, 61, None)


ENTANGLED = OLD[2].data() + compaction(30) + back(31, 1)
"""Of a legacy session a compaction stays between turns that were taken back."""

CASES: dict[str, Case] = {
    "a turn": Case((BEANS[2],), (BEANS[3],), {1: 6}),
    "turns": Case((BEANS[1], ROSES), (BEANS[5], ROSES), {1: 4}),
    "a new session": Case((BEANS[2],), (BEANS[2], ROSES), {5: 0}),
    "the first turn": Case((BEANS[0],), (BEANS[1],), {1: 2}),
    "a fork at the end": Case((BEANS[2],), (BEANS[2], FORK), {3: 6}),
    "a fork of before": Case((BEANS[4],), (BEANS[4], FORK), {3: 3}),
    "a fork of after": Case((BEANS[1],), (BEANS[3], FORK), {1: 4, 3: 4}),
    "a fork without a turn": Case((BEANS[2],), (BEANS[2], BEANS[2].fork(3)), {3: 6}),
    "a fork goes on": Case((BEANS[2], FORK), (BEANS[2], FORK.say("And hot?")), {3: 8}),
    "a fork and its parent go on": Case(
        (BEANS[2], FORK), (BEANS[3], FORK.say("And hot?")), {1: 6, 3: 8}
    ),
    "forks of forks": Case(
        (BEANS[1],),
        (BEANS[3], FORK, FORK.fork(7).say("And if it snows?"), FORK.fork(8).say("And hail?")),
        {1: 4, 3: 4, 7: 4, 8: 4},
    ),
    "a fork of a known fork": Case(
        (BEANS[2], FORK), (BEANS[2], FORK, FORK.fork(7).say("And if it snows?")), {7: 8}
    ),
    "a subagent": Case((BEANS[2],), (BEANS[2], CHILD), {4: 0}),
    "a subagent and its parent": Case((ROSES,), (BEANS[2], CHILD, ROSES), {1: 0, 4: 0}),
    "a subagent goes on": Case((BEANS[2], CHILD), (BEANS[3], CHILD.say("More")), {1: 6, 4: 4}),
    "a legacy turn": Case((OLD[2],), (OLD[3],), {2: 6}),
    "a legacy copy": Case(
        (OLD[2],), (OLD[2],), {6: 6}, there=put(COPY, copy_of(OLD[2], "Of the copy"))
    ),
    "a legacy copy of after": Case(
        (OLD[1],), (OLD[3],), {2: 4, 6: 4}, there=put(COPY, copy_of(OLD[3], "Of the copy"))
    ),
    "a legacy rollback": Case(
        (OLD[3],),
        (OLD[3],),
        {2: 1},
        there=end(OLD[3], back(30, 2) + turn(OLD[0].id, "Instead", 31, None)),
    ),
    "a legacy rollback of all": Case(
        (OLD[3],),
        (OLD[3],),
        {2: 1},
        there=end(OLD[3], back(30, 3) + turn(OLD[0].id, "Instead", 31, None)),
    ),
    "a legacy rollback of what is new": Case(
        (OLD[2],),
        (OLD[4],),
        {2: 6},
        there=end(OLD[4], back(30, 1) + turn(OLD[0].id, "Instead", 31, None)),
    ),
    "after a legacy rollback": Case(
        (OLD[3],),
        (OLD[3],),
        {2: 6},
        before=end(OLD[3], back(30, 1)),
        there=end(OLD[3], back(30, 1) + turn(OLD[0].id, "Instead", 31, None)),
    ),
    "a legacy compaction": Case((OLD[2],), (OLD[2],), {2: 6}, there=end(OLD[2], compaction(30))),
    "after a legacy compaction": Case(
        (OLD[2],),
        (OLD[2],),
        {2: 7},
        before=end(OLD[2], compaction(30)),
        there=end(OLD[2], compaction(30) + turn(OLD[0].id, "And now", 31, None)),
    ),
    "a compaction between turns taken back": Case(
        (OLD[2],),
        (OLD[2],),
        {2: 4},
        before=put(OLD[2], ENTANGLED),
        there=put(OLD[2], ENTANGLED + turn(OLD[0].id, "And now", 32, None)),
    ),
    "a compaction": Case(
        (BEANS[2],),
        (BEANS[2],),
        {1: 6},
        there=end(
            BEANS[2],
            compaction(30).replace(b'"type":"event', b'"ordinal":80,"type":"event')
            + dump(
                [
                    {
                        "timestamp": "2026-03-02T09:31:00.000Z",
                        "ordinal": 99,
                        "type": "compacted",
                        "payload": {"message": "It was about beans.", "replacement_history": []},
                    }
                ]
            ),
        ),
    ),
    "reverted": Case(
        (BEANS[4],), (BEANS[4],), {1: 7}, there=put_reverted(BEANS[3], "Or in May?"), rows=False
    ),
    "a reverted one goes on": Case(
        (BEANS[3],),
        (BEANS[3],),
        {1: 10},
        before=put_reverted(BEANS[3], "Or in May?"),
        there=lambda at: _append_to_newest(at, BEANS[0].id),
        rows=False,
    ),
    "compressed there": Case((BEANS[2],), (BEANS[3],), {1: 6}, there=compress(BEANS[0])),
    "compressed here": Case((BEANS[2],), (BEANS[3], FORK), {1: 6, 3: 6}, here=compress(BEANS[0])),
    "compressed everywhere": Case(
        (BEANS[2],), (BEANS[3], FORK), {1: 6, 3: 6}, here=compress(BEANS[0]), there=compress(FORK)
    ),
    "torn there": Case((BEANS[2],), (BEANS[3],), {1: 6}, there=end(BEANS[0], b'{"timestamp":"20')),
    "torn inside of the last answer there": Case(
        (BEANS[2],), (BEANS[3],), {1: 6}, there=cut(BEANS[0], 700)
    ),
    "torn here": Case((BEANS[2],), (BEANS[3], FORK), {1: 5, 3: 5}, here=cut(BEANS[0], 700)),
    "torn behind the last answer here": Case(
        (BEANS[2],), (BEANS[3], FORK), {1: 6, 3: 6}, here=cut(BEANS[0], 40)
    ),
    "no newline here": Case((BEANS[2],), (BEANS[3], FORK), {1: 6, 3: 6}, here=cut(BEANS[0], 1)),
    "damage in the new part": Case(
        (BEANS[2],),
        (BEANS[2],),
        {1: 6},
        there=both(
            end(BEANS[0], b"\0\0no record\r\n\n"),
            end(BEANS[0], turn(BEANS[0].id, "After the damage", 40, 99)),
        ),
    ),
    "blank lines before the head": Case(
        (BEANS[2],),
        (BEANS[3],),
        {1: 6, 3: 6},
        there=both(
            put(BEANS[0], b"\n\n" + BEANS[3].data()),
            put(FORK, b"\n" + FORK.data()),
        ),
    ),
    "without entries": Case(
        (ROSES,), (ROSES,), {9: 0}, there=put(Session(9), dump(Session(9).records()[:1]))
    ),
    "it went on here": Case(
        (BEANS[2], ROSES), (BEANS[3], ROSES), {1: 6}, here=said(BEANS[0], "On this side", 70)
    ),
    "a fork of one that went on here": Case(
        (BEANS[2],), (BEANS[2], FORK), {3: 6}, here=said(BEANS[0], "On this side", 70)
    ),
    "the branch here has it": Case(
        (BEANS[2],),
        (BEANS[5],),
        {1: 10},
        here=both(said(BEANS[0], "On this side", 70), took(BEANS[4])),
    ),
    "the branch here has it and nobody knows": Case(
        (BEANS[2],),
        (BEANS[5],),
        {1: 10},
        here=both(said(BEANS[0], "On this side", 70), took(BEANS[4]), forgotten),
    ),
    "another id here": Case(
        (BEANS[2],), (BEANS[3],), {1: 6}, here=under_another_id(BEANS[0], session_id(77))
    ),
    "a new name there": Case((BEANS[2],), (replace(BEANS[2], name="Pole beans"),), {1: 6}),
    "archived there": Case((BEANS[2],), (replace(BEANS[2], archived=True),), {1: 6}),
    "the sidecars are lost": Case((BEANS[2], ROSES), (BEANS[3], ROSES), {1: 6}, here=forgotten),
}


def _append_to_newest(at: Side, session: str) -> None:
    newest = max(at.home.rglob(f"rollout-*{session}*.jsonl"))
    newest.write_bytes(newest.read_bytes() + turn(session, "And then?", 90, 500))


def rewritten(at: Side, case: Case) -> None:
    """The home that sends has the later sessions now."""
    for session in case.first:
        (at.home / session.relative_path).unlink()
    write_snapshot(at.home, case.later)
    with_rows(at.home / "state_5.sqlite", case.later if case.rows else (), 1_900_000_000_000)


def outcome_of(done: Outcome) -> dict[str, Any]:
    """What became of the sessions that a package brought something of."""
    keys = ("classification", "relation", "action", "result", "entries", "local_session_id")
    return {
        i: {key: one[key] for key in keys}
        for i, one in done.sessions.items()
        if one["result"] != "skipped"
    }


@pytest.mark.parametrize("name", CASES)
def test_a_twin_that_gets_the_whole_package(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    there = side(tmp_path / "there", "a", case.first, rows=case.rows)
    case.before(there)
    one, two = (side(tmp_path / twin, "b") for twin in ("delta", "whole"))
    for here in (one, two):
        Side(there.home, here.folder).packed("first")
        here.sync("first")
        case.here(here)
    assert one.lines() == two.lines()
    rewritten(there, case)
    case.there(there)
    have = one.have()
    packed = Side(there.home, one.folder).packed("news", "--have", have)
    assert bases(packed) == case.packed
    Side(there.home, two.folder).packed("news")
    assert outcome_of(one.sync("news")) == outcome_of(two.sync("news"))
    assert one.lines() == two.lines()
    before = tree(one.home)
    assert one.sync("news").envelope["status"] == "no_op"
    assert tree(one.home) == before
    again = Side(there.home, one.folder).packed("again", "--have", one.have())
    assert again.envelope["data"] == {"package": None, "sessions": [], "known": len(there.lines())}


@pytest.mark.parametrize("session", [FORK, CHILD])
def test_what_another_needs_and_is_here_in_part_is_left_out(
    tmp_path: Path, session: Session
) -> None:
    there, here = side(tmp_path, "a", [BEANS[1]]), side(tmp_path, "b")
    there.packed("first")
    here.sync("first")
    write_snapshot(there.home, [BEANS[3], session])
    chosen = ("--session", session.id)
    packed = there.packed("news", *chosen, "--have", here.have())
    assert bases(packed) == {session.number: 4 if session is FORK else 0}
    assert packed.envelope["data"]["known"] == 1
    assert {one["result"] for one in here.sync("news").sessions.values()} == {"imported"}
    assert here.lines()[session.id][2] == there.lines()[session.id][2]
    assert len(here.lines()[BEANS[0].id][3][0]) == len(BEANS[1].records()) - 1
    # To a home without any of it, all comes along.
    assert set(bases(there.packed("all", *chosen))) == {1, session.number}
