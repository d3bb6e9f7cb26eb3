"""Failures at every step of extending and branching: one session is spared, the others go on."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from builders import Session
from codex_session_sync import commit, validation
from codex_session_sync.locks import codex_thread_lock
from crash.beds import LATER, MIXED, NEW, NO_SPACE, Bed, Twins, posix, strike
from crash.faults import POINTS, faulty, nth
from workbench import Outcome

EXTENDED = ("plain", "packed", "moved", "torn", "away")
APPENDED = ("plain", "moved", "torn")
MOVED = ("packed", "moved", "away")
STRUCK: dict[str, Sequence[str]] = {
    "lock": EXTENDED,
    "continue": EXTENDED,
    "stage": ("apart",),
    "place": ("packed", "apart", "away"),
    "name": MOVED,
    "extend": APPENDED,
    "set time": APPENDED,
    "move": MOVED,
    "row": ("apart",),
    "update": EXTENDED,
    "append": ("moved", "apart", "away"),
    "sidecar": tuple(LATER),
}
"""The steps, and whom of the package they concern."""


class Stroke(NamedTuple):
    """A failure at one step of one session of the package."""

    key: str
    name: str
    when: str

    @property
    def victim(self) -> Session:
        """The session."""
        return LATER[self.key]


ERRORS = [
    Stroke(key, name, when)
    for name, keys in STRUCK.items()
    for when in POINTS[name].times()
    if (name, when) not in (("lock", "after"), ("sidecar", "half"))  # what only a kill leaves
    for key in keys
]
INTERRUPTS = [
    one
    for one in ERRORS
    if one.when == ("half" if one._replace(when="half") in ERRORS else "after")
    and one.name != "lock"
]
RESULTS = {one.id: "fast_forwarded" for one in MIXED} | {
    LATER["apart"].id: "branched",
    NEW.id: "imported",
}


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Schemas are checked elsewhere, which is slow."""
    monkeypatch.setattr(validation, "check", lambda *_: None)


def about(victim: Session) -> tuple[str, ...]:
    """What is in the arguments of a step that concerns the victim, or the branch of it."""
    stamp = victim.file_name.removesuffix(f"-{victim.id}.jsonl")
    return (victim.id, stamp, f"{victim.name} (from")


def others(victim: Session) -> tuple[Session, ...]:
    return tuple(one for one in MIXED if one is not victim)


def struck(mixed: Bed, stroke: Stroke, error: BaseException) -> Outcome:
    """A sync in which a step fails, which it does."""
    with pytest.MonkeyPatch.context() as patched:
        hit = strike(patched, stroke.name, stroke.when, error, about(stroke.victim))
        outcome = mixed.sync()
    assert hit
    return outcome


@pytest.mark.parametrize("stroke", ERRORS, ids="-".join)
def test_one_session_fails_and_the_others_are_written(
    mixed: Bed, mixed_twins: Twins, stroke: Stroke
) -> None:
    victim = stroke.victim
    outcome = struck(mixed, stroke, NO_SPACE)
    assert (outcome.exit_code, outcome.codes) == (1, ["write_failed"])
    results = {one["session_id"]: one["result"] for one in outcome.sessions.values()}
    assert results == RESULTS | {victim.id: "failed"}
    assert mixed.state() == mixed_twins(others(victim))
    mixed.old_bytes_stand()
    mixed.completes(mixed_twins)


@pytest.mark.parametrize("stroke", INTERRUPTS, ids="-".join)
def test_an_interrupt_undoes_the_batch(
    mixed: Bed, mixed_twins: Twins, monkeypatch: pytest.MonkeyPatch, stroke: Stroke
) -> None:
    monkeypatch.setattr(commit, "BATCH_SESSIONS", 2)
    outcome = struck(mixed, stroke, KeyboardInterrupt())
    assert (outcome.exit_code, outcome.codes) == (130, ["interrupted"])
    written = MIXED[: MIXED.index(stroke.victim) // 2 * 2]
    assert mixed.confirmed() == written
    assert mixed.state() == mixed_twins(written)
    mixed.old_bytes_stand()
    mixed.completes(mixed_twins)


@posix
@pytest.mark.parametrize("key", EXTENDED)
def test_a_session_that_codex_has_open(mixed: Bed, mixed_twins: Twins, key: str) -> None:
    victim = LATER[key]
    with codex_thread_lock(mixed.home, victim.id):
        outcome = mixed.sync()
    assert (outcome.exit_code, outcome.codes) == (1, ["session_busy"])
    assert outcome.sessions[victim.id]["result"] == "refused"
    assert mixed.state() == mixed_twins(others(victim))
    mixed.completes(mixed_twins)


@pytest.mark.parametrize("key", APPENDED)
def test_a_session_that_goes_on_meanwhile(
    mixed: Bed, mixed_twins: Twins, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """What Codex added is never cut, and the rest of the batch is undone."""
    victim = LATER[key]
    path = next(mixed.home.rglob(f"rollout-*{victim.id}.jsonl"))
    mine = b'{"timestamp":"2026-04-01T09:00:00.000Z","type":"event_msg","payload":{}}\n'
    before = path.read_bytes()

    def meddle() -> None:
        [now] = mixed.home.rglob(path.name)
        with now.open("ab") as stream:
            stream.write(mine)
        raise NO_SPACE

    point = POINTS["sync"]
    with monkeypatch.context() as patched:
        patched.setattr(point.owner, point.name, faulty(point, "before", meddle, nth(1)))
        outcome = mixed.sync()
    assert (outcome.exit_code, outcome.codes) == (5, ["transaction_interrupted"])
    recovered = mixed.command("recover", "--execute")
    assert [one["code"] for one in recovered.envelope["warnings"]] == ["home_changed"]
    [now] = mixed.home.rglob(f"rollout-*{victim.id}.jsonl")
    assert now.read_bytes().startswith(before)
    assert now.read_bytes().endswith(mine)
    rest = {k: v for k, v in mixed.state().items() if victim.id not in k}
    wanted = {k: v for k, v in mixed_twins(()).items() if victim.id not in k}
    assert rest == wanted


UNDOING = [
    *[("undo extension", when) for when in ("before", "after")],
    *[("undo move", when) for when in ("before", "half", "after")],
    *[("cut", when) for when in ("before", "after")],
    *[("withdraw", when) for when in ("before", "after")],
    *[("delete row", when) for when in ("before", "after")],
]


@pytest.mark.parametrize(("name", "when"), UNDOING)
def test_an_undoing_that_fails_is_left_to_recover(
    mixed: Bed, mixed_twins: Twins, monkeypatch: pytest.MonkeyPatch, name: str, when: str
) -> None:
    broken = OSError(errno.EIO, "Input/output error")
    with monkeypatch.context() as patched:
        strike(patched, "sync", "before", NO_SPACE, 1)
        strike(patched, name, when, broken, 1)
        outcome = mixed.sync()
    assert (outcome.exit_code, outcome.codes) == (5, ["transaction_interrupted"])
    mixed.old_bytes_stand()
    recovered = mixed.command("recover", "--execute")
    assert (recovered.exit_code, recovered.envelope["warnings"]) == (0, [])
    assert mixed.state() == mixed_twins(())
    mixed.completes(mixed_twins)
