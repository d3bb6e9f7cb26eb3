"""Stories: random steps over two or three homes, each sync of them judged by the oracle."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from pathlib import Path
from typing import Any

from codex_session_sync.codex.home import CodexHome
from codex_session_sync.package.reader import open_package
from codex_session_sync.packing.gathering import gather
from codex_session_sync.packing.holdings import holdings
from codex_session_sync.packing.known import load_known
from codex_session_sync.packing.pack import Manner, pack
from codex_session_sync.packing.secrets import SecretScan
from codex_session_sync.packing.selection import Filters, select
from codex_session_sync.plan import make_plan
from codex_session_sync.planned import Action, Plan, SessionPlan
from codex_session_sync.policy import Policy
from codex_session_sync.sync import execute
from codex_session_sync.terms import Terms
from codex_session_sync.unpacking import with_transcripts
from codex_session_sync.verdict import Choices, Collision
from model.homes import Held, Home, new_id
from model.oracle import (
    COLLISION,
    DIVERGED,
    FORWARD,
    NEW,
    common,
    doubles,
    expected,
    frontier,
    in_order,
)
from model.rollout_text import Line, content, file_name

TEXTS = ("yes", "no", "go on", "why?")
QUIET_ROUNDS = 8
TOLD = {
    NEW: Action.IMPORT,
    FORWARD: Action.FAST_FORWARD,
    DIVERGED: Action.BRANCH,
}
"""The action for a class; all others are skipped, and a collision as the user wants it."""

Step = tuple[str, int, int, int]
"""What happens, and three numbers that say where and how."""

WEIGHTS = {
    "begin": 5,
    "go_on": 14,
    "fork": 4,
    "sync": 16,
    "resettle": 2,
    "archive": 1,
    "compress": 2,
    "migrate": 3,
    "reidentify": 2,
    "copy": 2,
    "truncate": 4,
    "retime": 2,
    "collide": 1,
    "forget": 3,
}


def make_steps(rng: random.Random, count: int) -> list[Step]:
    """A random story; it begins with two sessions so that there is something to tell."""
    names, weights = list(WEIGHTS), list(WEIGHTS.values())
    chosen = ["begin", "go_on", *rng.choices(names, weights, k=count - 2)]
    return [
        (name, rng.randrange(1000), rng.randrange(1000), rng.randrange(1000)) for name in chosen
    ]


@dataclass
class Story:
    """The homes of one story, and how often each class was met."""

    folder: Path
    homes: list[Home]
    seen: dict[str, int] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    _count: int = 0
    _collided: set[str] = field(default_factory=set)

    def run(self, steps: Sequence[Step]) -> None:
        """Do all steps, then exchange until quiet. Raises AssertionError."""
        for name, a, b, c in steps:
            self._step(name, a, b, c)
        self.exchange()

    def exchange(self) -> None:
        """Sync every home into every other until nothing is written any more."""
        for number in range(QUIET_ROUNDS):
            wrote = [
                self.sync(one, other, "import-as-new", rest=number % 2 == 0)
                for one, other in permutations(self.homes, 2)
            ]
            if not any(wrote):
                break
        else:
            raise AssertionError("the homes do not come to rest")
        held = [frontier(home.held) for home in self.homes]
        assert all(lines == held[0] for lines in held), held

    # -- steps ----------------------------------------------------------------------------------

    def _step(self, name: str, a: int, b: int, c: int) -> None:
        home = self.homes[a % len(self.homes)]
        if name == "begin":
            self._begin(home, new_id(self._number()), legacy=b % 2 == 0)
        elif name == "sync":
            other = self.homes[(a + 1 + b % (len(self.homes) - 1)) % len(self.homes)]
            self.sync(home, other, "refuse" if c % 3 else "import-as-new", rest=c // 3 % 2 == 0)
        elif name == "forget":
            self._forget(home, b)
        elif name == "collide":
            self._collide(home, b, legacy=c % 2 == 0)
        elif home.held:
            session = sorted(home.held)[b % len(home.held)]
            self._with_session(name, home, session, c)

    def _with_session(self, name: str, home: Home, session: str, c: int) -> None:
        self.log.append(f"{name} {self._name(home)} {session[-4:]} {c}")
        steps: dict[str, Callable[[], None]] = {
            "go_on": lambda: self._go_on(home, session, c),
            "fork": lambda: self._fork(home, session, c),
            "resettle": lambda: home.resettle(session, home.clock),
            "archive": lambda: home.archive(session),
            "compress": lambda: home.compress(session),
        }
        if name in steps:
            steps[name]()
            return
        if name == "reidentify":
            home.reidentify(session, new_id(self._number()))
        elif name == "copy":
            home.copy(session, new_id(self._number()))
        elif session in home.referred():
            return
        elif name == "migrate":
            home.migrate(session)
        elif name == "truncate":
            # An empty session begins every one of its id: it is not to meet two of them.
            if session not in self._collided:
                home.truncate(session, c % 13, c // 13 % 3 * 20)
        else:
            home.retime(session, 1 + c % 4, 1 + c % 2)

    def _begin(self, home: Home, session: str, *, legacy: bool) -> None:
        number = self._number()
        first = (number, "user", f"This is session {number}.")
        home.begin(session, number, first, legacy=legacy)
        self.log.append(f"begin {self._name(home)} {session[-4:]} legacy={legacy}")

    def _fork(self, home: Home, session: str, c: int) -> None:
        number = self._number()
        fork = new_id(number)
        home.fork(session, fork, number, number)
        if c % 3:
            self._go_on(home, fork, c)

    def _go_on(self, home: Home, session: str, c: int) -> None:
        """Add a turn; homes may say the same at the same time, and at another one."""
        home.clock += 1000 * (1 + c % 2)
        text = TEXTS[c // 2 % len(TEXTS)]
        if not home.held[session].line:
            text = f"Once more from the beginning, {self._number()}."
        elif c // 8 % 3 == 0:
            text = f"{text} {file_name(self._related(home, session, c // 24))}"
        question, answer = (home.clock, "user", text), (home.clock + 100, "assistant", f"{text}!")
        home.go_on(session, [question, answer])

    def _related(self, home: Home, session: str, c: int) -> str:
        """The session itself, a copy or branch of it in any home, or one that it comes from."""
        strand = home.held[session].strand
        copies = {i for one in self.homes for i, held in one.held.items() if held.strand == strand}
        known = sorted(copies | home.ancestors(session))
        return known[c % len(known)]

    def _forget(self, home: Home, b: int) -> None:
        """Lose a sidecar, or all of them."""
        self.log.append(f"forget {self._name(home)} {b}")
        folder = home.sync_dir / "sidecars"
        known = sorted(folder.glob("*.json"))
        if b % 2:
            shutil.rmtree(folder, ignore_errors=True)
        elif known:
            known[b % len(known)].unlink()

    def _collide(self, home: Home, b: int, *, legacy: bool) -> None:
        """Begin a session under the id of another one elsewhere."""
        everywhere = [pair for other in self.homes for pair in other.held.items()]
        empty = {session for session, held in everywhere if not held.line}
        others = sorted({session for session, _ in everywhere} - home.held.keys() - empty)
        if others:
            session = others[b % len(others)]
            self._collided.add(session)
            self._begin(home, session, legacy=legacy)

    def _number(self) -> int:
        self._count += 1
        return self._count

    def _name(self, home: Home) -> str:
        return "ABC"[self.homes.index(home)]

    # -- a sync ---------------------------------------------------------------------------------

    def sync(
        self, source: Home, target: Home, on_collision: Collision, *, rest: bool = False
    ) -> bool:
        """Sync a whole home into another, judged; whether anything was written.

        ``rest``: it is packed, without what the other has.
        """
        if not source.held:
            return False
        self.log.append(f"sync {self._name(source)}>{self._name(target)} {on_collision} {rest=}")
        before = {session: content(path) for session, path in target.files().items()}
        choices = Choices(on_collision=on_collision)
        home = CodexHome(target.path, target.path)
        target.sync_dir.mkdir(exist_ok=True)
        with open_package(self._packed(source, home) if rest else source.path) as package:
            plan = make_plan(package, home, choices=choices)
            plan = with_transcripts(plan, package)
            held, unfinished, places = self._judged(plan, source, target, choices)
            done = execute(plan, home, Terms(Policy()), codex=None, environ={})
        refused = {one.plan.session.session_id for one in done.outcomes if one.result in REFUSED}
        assert refused == {p.session.session_id for p in plan.sessions} - places.keys(), [
            (one.code, one.message) for one in done.outcomes if one.code
        ]
        lines = target.lines()
        assert lines == {session: one.line for session, one in held.items()}
        self._nothing_lost(source, target, lines, places)
        written = {
            plan.target.session_id: plan.action for plan in plan.sessions if plan.target is not None
        }
        self._only_appended(before, target, written)
        # What was the beginning of another session before may become that of more.
        stumps = {one for one, _ in doubles(target.held)}
        stumps |= {places[one] for one, _ in doubles(source.held) if one in places}
        assert all(one in stumps for one, _ in doubles(held))
        target.held = held
        if written and not unfinished:
            self._quiet(source, home, choices)
        return bool(written) or unfinished

    def _packed(self, source: Home, target: CodexHome) -> Path:
        """A package of all that the target lacks, by what it says that it has."""
        out, have = self.folder / "rest.csync", self.folder / "have.json"
        out.unlink(missing_ok=True)
        document, notices = holdings(target)
        assert not notices
        have.write_text(json.dumps(document))
        # So that what is known is compared as well, and not left out.
        known = replace(load_known(have), copies={})
        found = gather(CodexHome(source.path, source.path))
        selection = select(found, Filters(archived=True))
        done = pack(found, selection, out, Manner(known=known), SecretScan(None))
        assert not done.failed
        assert not done.known
        return out

    def _judged(
        self, plan: Plan, source: Home, target: Home, choices: Choices
    ) -> tuple[dict[str, Held], bool, dict[str, str]]:
        """Check the plan; what the target holds afterwards, whether the package has more, and
        where each session that is not refused then is."""
        plans = {one.session.session_id: one for one in plan.sessions}
        assert plans.keys() == source.held.keys()
        incoming = {session: source.held[session] for session in plans}
        ancestors = {session: source.ancestors(session) for session in plans}
        met = dict(target.held)
        imported: dict[str, Held] = {}
        extended: set[str] = set()
        collided: list[Held] = []
        places: dict[str, str] = {}
        for session in in_order(incoming, target.held, ancestors):
            one, held = plans[session], incoming[session]
            wanted = expected(session, held, met)
            decision = one.decision
            match = decision.local_session_id
            found = (str(decision.classification), str(decision.relation))
            verdict = wanted.get(match or "", NEW)
            assert found == verdict, (session, found, wanted, held, met)
            assert (match is None) == (not wanted), (session, wanted)
            self.seen[found[1]] = self.seen.get(found[1], 0) + 1
            action = TOLD.get(verdict, Action.SKIP)
            if verdict == COLLISION:
                action = Action.REFUSE if choices.on_collision == "refuse" else Action.IMPORT
            if action is Action.FAST_FORWARD and match in extended:
                action = Action.REFUSE
            assert one.action is action, (session, one.action, action, one.reason)
            place = self._place(one, match, met.keys() | imported.keys())
            if place is None:
                collided += [held] if verdict == COLLISION else []
                continue
            places[session] = place
            if action is Action.FAST_FORWARD:
                extended.add(place)
                met[place] = Held(met[place].strand if met[place].line else held.strand, held.line)
            elif action is not Action.SKIP:
                (imported if place == session else met)[place] = held
                extended |= {place} - {session}
        # A refused session may find a copy of it here next time, if that came with it.
        unfinished = any(one.reason == "extended_already" for one in plan.sessions) or any(
            one.strand == other.strand and common(one.line, other.line)
            for one in collided
            for other in (met | imported).values()
        )
        return met | imported, unfinished, places

    def _place(self, plan: SessionPlan, match: str | None, taken: set[str]) -> str | None:
        """The local id where a session is after the sync; None if it is refused."""
        if plan.action is Action.REFUSE:
            return None
        if plan.action is Action.SKIP:
            return match
        assert plan.target is not None
        place = plan.target.session_id
        assert (place == match) == (plan.action is Action.FAST_FORWARD)
        assert plan.action is Action.FAST_FORWARD or place not in taken, (plan.action, place)
        return place

    def _nothing_lost(
        self, source: Home, target: Home, lines: dict[str, Line], places: dict[str, str]
    ) -> None:
        for session, one in target.held.items():
            assert lines[session][: len(one.line)] == one.line
        for session, place in places.items():
            line = source.held[session].line
            assert lines[place][: len(line)] == line

    def _only_appended(
        self, before: dict[str, bytes], target: Home, written: dict[str, Any]
    ) -> None:
        files = target.files()
        for session, old in before.items():
            new = content(files[session])
            assert new.startswith(old) if session in written else new == old

    def _quiet(self, source: Home, home: CodexHome, choices: Choices) -> None:
        """A second sync has nothing to write."""
        with open_package(source.path) as package:
            plan = make_plan(package, home, choices=choices)
        actions = {one.action for one in plan.sessions}
        assert actions <= {Action.SKIP, Action.REFUSE}, actions
        for one in plan.sessions:
            if one.action is Action.REFUSE:
                assert one.reason == "id_collision"


REFUSED = ("refused", "failed")


def tell(folder: Path, steps: Sequence[Step], homes: int) -> Story:
    """Run a story in a folder of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    made = [Home(folder / name / "home") for name in "abc"[:homes]]
    for home in made:
        (home.path / "sessions").mkdir(parents=True)
    story = Story(folder, made)
    try:
        story.run(steps)
    except AssertionError as error:
        error.add_note("\n".join(story.log))
        raise
    return story


def shortened(folder: Path, steps: list[Step], homes: int) -> list[Step]:
    """The story without the steps that its failure does not need."""
    size = len(steps) // 2
    while size:
        start = 0
        while start < len(steps):
            fewer = steps[:start] + steps[start + size :]
            if _fails(folder, fewer, homes):
                steps = fewer
            else:
                start += size
        size //= 2
    return steps


def _fails(folder: Path, steps: Sequence[Step], homes: int) -> bool:
    try:
        tell(folder, steps, homes)
    except Exception:
        return True
    return False
