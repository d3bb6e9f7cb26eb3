"""Two machines that send each other only what the other one lacks, with the real Codex."""

from __future__ import annotations

from pathlib import Path

import pytest

from codexbed import LEGACY, ModelServer, view
from codexbed.making import next_second
from real_codex.machines import (
    BRANCHED,
    EQUAL,
    FORWARD,
    NEW,
    Machine,
    Told,
    local_id,
    told,
    two_machines,
)
from real_codex.syncing import Answer, call, listed, pack, said, sync

SOME_BYTES = 14_000
"""More than a turn of a session adds; most of it are the instructions in its head."""


@pytest.fixture
def machines(base: Path, model: ModelServer, tmp_path: Path) -> tuple[Machine, Machine]:
    """Two machines, fresh."""
    del base
    return two_machines(tmp_path, model)


def news(source: Machine, target: Machine) -> tuple[Answer, Answer | None]:
    """What one machine packs for another by what that has, and what comes of it there."""
    have, out = (source.home.home.parent / name for name in ("have.json", "news"))
    have.unlink(missing_ok=True)
    out.unlink(missing_ok=True)
    assert call(target.home, "have", "-o", have).code == 0
    packed = pack(source.home, out, "--have", str(have))
    assert (packed.code, packed.errors) == (0, {})
    if packed.status == "no_op":
        return packed, None
    done = sync(target.home, out)
    assert done.code == 0, done.document["errors"]
    return packed, done


def takes(target: Machine, source: Machine, expected: dict[str, Told]) -> Answer:
    """News of these sessions and no others come in; parts of those that are here, not the whole."""
    packed, done = news(source, target)
    assert done is not None
    assert told(done) == expected
    for session, found in packed.sessions.items():
        part = found["base_entries"] > 0
        assert part == (session not in expected or expected[session] != NEW)
    if NEW not in expected.values():
        assert packed.document["data"]["package"]["size"] < SOME_BYTES * (1 + len(expected))
    return done


def test_ten_rounds(machines: tuple[Machine, Machine]) -> None:
    a, b = machines
    one, old, kept = a.new("one", "two"), a.home.with_version(LEGACY).exec("old"), a.new("kept")
    takes(b, a, {one: NEW, old: NEW, kept: NEW})
    b.go_on(one, "three on b")
    takes(a, b, {one: FORWARD})
    fork = a_fork(a, one)
    a.go_on(old, "old on a")
    packed, done = news(a, b)
    assert done is not None
    assert told(done) == {fork: NEW, old: FORWARD}
    assert all(found["base_entries"] for found in packed.sessions.values())
    b.go_on(fork, "fork on b")
    b.go_on(old, "old on b")
    takes(a, b, {fork: FORWARD, old: FORWARD})
    # Both go on: each gets the other's line beside its own.
    a.go_on(kept, "kept on a")
    b.go_on(kept, "kept on b")
    there = local_id(takes(b, a, {kept: BRANCHED}), kept)
    here = local_id(takes(a, b, {kept: BRANCHED}), kept)
    a.go_on(kept, "more on a")
    assert local_id(takes(b, a, {kept: FORWARD}), kept) == there
    b.go_on(there, "the branch on b")
    assert local_id(takes(a, b, {there: FORWARD}), there) == kept
    next_second()
    with a.home.app_server() as app:
        app.resume(one)
        app.set_name(one, "named on a")
        app.archive(fork)
    done = takes(b, a, dict.fromkeys((one, fork), ("unchanged", "fast_forwarded")))
    assert done.sessions[one]["follows"] == {"name": "named on a"}
    assert done.sessions[fork]["follows"] == {"archived": True}
    b.go_on(one, "four on b")
    takes(a, b, {one: FORWARD})
    for source, target in ((a, b), (b, a)):
        assert news(source, target)[1] is None

    both = {
        one: ["one", "two", "three on b", "four on b"],
        old: ["old", "old on a", "old on b"],
        fork: ["one", "two", "three on b", "forked on a", "fork on b"],
    }
    of_a = ["kept", "kept on a", "more on a", "the branch on b"]
    of_b = ["kept", "kept on b"]
    shown = ((a, {kept: of_a, here: of_b}), (b, {kept: of_b, there: of_a}))
    for machine, lines in shown:
        seen = machine.shows({**both, **lines})
        assert (seen[one].name, seen[fork].archived) == ("named on a", True)
        assert set(listed(machine.home)) == {one, old, *lines}
        assert call(machine.home, "sidecar-health", "--deep").document["data"]["healthy"]


def a_fork(of: Machine, session: str) -> str:
    """A fork with a turn of its own."""
    with of.home.app_server() as app:
        app.resume(session)
        fork = app.fork(session)
        app.start_turn(fork, "forked on a")
    return fork


def test_a_session_that_was_reverted(machines: tuple[Machine, Machine]) -> None:
    """Its other way becomes a branch, to which its later files go; what it left stays here."""
    a, b = machines
    one = a.new("first", "second", "third")
    takes(b, a, {one: NEW})
    with a.home.app_server() as app:
        app.resume(one)
        app.revert(one, app.turns(one)[1]["id"])
        app.start_turn(one, "second again")
    branch = local_id(takes(b, a, {one: BRANCHED}), one)
    a.go_on(one, "third again")
    assert local_id(takes(b, a, {one: FORWARD}), one) == branch
    b.go_on(branch, "fourth on b")
    # What was taken back there is not known to be there; it does not come back.
    packed, done = news(b, a)
    assert done is not None
    assert told(done) == {branch: FORWARD, one: EQUAL}
    assert done.sessions[one]["reason"] == "taken_back"
    assert all(found["base_entries"] for found in packed.sessions.values())
    anew = ["first", "second again", "third again", "fourth on b"]
    assert said(view(a.home, [one])[one]) == anew
    b.shows({one: ["first", "second", "third"], branch: anew})


def test_a_legacy_session_that_was_migrated_is_sent_whole(
    machines: tuple[Machine, Machine],
) -> None:
    a, b = machines
    old = a.home.with_version(LEGACY).exec("old")
    takes(b, a, {old: NEW})
    done = b.home.run("migrate-rollouts", "--apply")
    assert done.returncode == 0, done.stderr
    packed, nothing = news(a, b)
    assert (packed.status, nothing) == ("no_op", None)
    a.go_on(old, "old on a")
    packed, answer = news(a, b)
    assert answer is not None
    assert told(answer) == {old: FORWARD}
    assert packed.sessions[old]["base_entries"] == 0
    b.go_on(old, "old on b")
    _, answer = news(b, a)
    assert answer is not None
    assert told(answer) == {old: FORWARD}
    for machine in machines:
        machine.shows({old: ["old", "old on a", "old on b"]})
