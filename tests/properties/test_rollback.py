"""Random syncs and rollbacks in random order: each session goes back to what it was, all of it.

The model is a memory: what each session was before each transaction that changed it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from builders import Session
from rolling import Rolling, compress, make_rolling

DAY = 24 * 60
OWN = Session(1, start=10, name="Own").say("Was here before")
SESSIONS = 5
STEPS = 60
WORDS = ("yes", "no", "why?", "go on")


@dataclass
class Story:
    """A home, the source's sessions, and what every transaction found."""

    bed: Rolling
    rng: random.Random
    source: dict[int, Session] = field(default_factory=dict)
    found: dict[tuple[str, str], Any] = field(default_factory=dict)
    """What a session was before a transaction, by transaction and local id."""
    log: list[str] = field(default_factory=list)

    def step(self) -> None:
        choice = self.rng.random()
        if choice < 0.45:
            self.sync()
        elif choice < 0.95:
            self.rollback()
        else:
            self.compress()

    def sync(self) -> None:
        """The source went on, renamed, archived, or went another way; some of it comes here."""
        for number in range(10, 10 + SESSIONS):
            self.source[number] = self._changed(self.source.get(number), number)
        chosen = self.rng.sample(sorted(self.source), self.rng.randint(1, SESSIONS))
        before = self.sessions()
        done = self.bed.call(
            "sync", self.bed.package(*(self.source[n] for n in chosen)), "--execute", "--no-prime"
        )
        assert done.exit_code == 0, done.envelope
        transaction = done.envelope["data"]["transaction_id"]
        self.log.append(f"sync {transaction} {chosen}")
        for one in done.sessions.values() if transaction else ():
            if one["result"] != "skipped":
                local = one["local_session_id"]
                self.found[transaction, local] = before.get(local)

    def rollback(self, transaction: str | None = None) -> None:
        """Roll back a transaction, some of its sessions only, if it is to be any."""
        known = self.bed.journal.ids()
        if not known:
            return
        chosen = transaction or self.rng.choice(known[:8])
        locals_ = sorted(local for one, local in self.found if one == chosen)
        only = [] if transaction or self.rng.random() < 0.6 else locals_[:1]
        before = self.sessions()
        limits = [text for local in only for text in ("--session", local)]
        done = self.bed.call("rollback", chosen, *limits, "--execute")
        written = done.envelope["data"]["rollback_transaction_id"]
        self.log.append(f"rollback {chosen} {only} {written}")
        expected = dict(before)
        for one in done.sessions.values():
            local = one["local_session_id"]
            if one["result"] == "undone":
                expected.pop(local, None)
                if self.found[chosen, local] is not None:
                    expected[local] = self.found[chosen, local]
                self.found[written, local] = before.get(local)
            else:
                assert one["reason"] in ("advanced_since", "already_rolled_back"), done.envelope
        assert self.sessions() == expected

    def compress(self) -> None:
        """Codex compresses an old session that nothing rests on."""
        plain = sorted(self.bed.home.glob("sessions/2026/03/0[34]/*.jsonl"))
        if plain:
            compress(plain[0])

    def sessions(self) -> dict[str, Any]:
        """Each session's file and row, by id."""
        state = self.bed.state()
        found: dict[str, Any] = {}
        for path, what in state.items():
            if "rollout-" in path:
                local = path.split(".")[0][-36:]
                found[local] = [(path, what)]
        for table in ("threads", "thread_dynamic_tools"):
            for row in state[table]:
                found.setdefault(row[0], []).append(row)
        return found

    def _changed(self, session: Session | None, number: int) -> Session:
        if session is None:
            return Session(number, start=number * 300).say("First")
        choice = self.rng.random()
        if choice < 0.5:
            return session.say(self.rng.choice(WORDS))
        if choice < 0.6:
            return replace(session, turns=session.turns[:-1] or session.turns).say("other way")
        if choice < 0.75:
            return replace(session.say("named"), name=self.rng.choice(WORDS))
        if choice < 0.85:
            return replace(session.say("put away"), archived=not session.archived)
        return session


def run(folder: Path, seed: int, steps: int) -> None:
    story = Story(make_rolling(folder, [OWN]), random.Random(seed))
    before = story.bed.state()
    try:
        for _ in range(steps):
            story.step()
        kinds = {m["transaction_id"]: m["kind"] for m in story.bed.journal.manifests()}
        for transaction, kind in kinds.items():
            if kind == "sync":
                story.rollback(transaction)
        assert story.bed.state() == before
    except AssertionError as error:
        raise AssertionError("\n".join([f"seed {seed}", *story.log, str(error)])) from error


@pytest.mark.parametrize("seed", range(6))
def test_a_story_ends_where_it_began(tmp_path: Path, seed: int) -> None:
    run(tmp_path, seed, STEPS)


def test_a_hundred_steps_end_where_they_began(tmp_path: Path) -> None:
    run(tmp_path, 2026, 100)
