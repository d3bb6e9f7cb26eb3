"""A home that met with an accident beside a twin that did not, and what packages are to both."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from builders import Session
from rolling import Rolling, make_rolling
from workbench import Outcome, call

DAY = 24 * 60

OWN = Session(1, start=10, name="Own").say("Was here before").say("And after")
BEANS = Session(2, start=1 * DAY, name="Beans").say("How do beans climb?").say("And peas?")
ROSES = Session(3, start=2 * DAY).say("Which roses?")
KEPT = Session(4, start=3 * DAY, name="Old").say("Long ago")
HERE = Session(5, start=4 * DAY).say("Mine under this id")
THERE = Session(5, start=5 * DAY).say("Theirs under this id")
LATER = Session(6, start=6 * DAY).say("Only this week")
FORK = replace(BEANS.fork(7), name="Fork").say("Another way?")
NEW = Session(8, start=7 * DAY).say("Never seen here")

SYNC_DIR = "session-sync"
CODEX = ("sessions", "archived_sessions", "state_5.sqlite", "session_index.jsonl")

COMPARED = ("local_session_id", "classification", "relation", "action", "reason", "entries")
MERGED = ("follows", "differs")


@dataclass
class Week:
    """A home a week ago and today, in which sessions of every kind were synced.

    Last week: imports, a fast-forward, a branch, one under another id. This week: a fast-forward,
    a new session, one that went on here, and a rollback.
    """

    bed: Rolling
    then: Path

    @property
    def home(self) -> Path:
        return self.bed.home


def make_week(root: Path) -> Week:
    bed = make_rolling(root, [OWN, HERE])
    bed.sync(BEANS, ROSES, KEPT)
    bed.go_on(ROSES, "My own way")
    bed.sync(BEANS.say("More"), ROSES.say("Their way"))
    bed.sync_as_new(THERE)
    then = root / "then"
    copy(bed.home, then)
    bed.sync(replace(BEANS, name="Vines").say("More").say("This week"), FORK)
    bed.sync(LATER)
    undone = bed.sync(ROSES.say("Their way").say("Regretted"))
    bed.undo(undone)
    bed.go_on(KEPT, "Went on here")
    return Week(bed, then)


def packages(bed: Rolling) -> dict[str, Path]:
    """The next packages, with sessions of every class among them."""
    beans = replace(BEANS, name="Vines").say("More").say("This week")
    return {
        "new": bed.package(NEW),
        "unchanged": bed.package(beans, LATER, KEPT),
        "behind": bed.package(BEANS, FORK),
        "ahead": bed.package(beans.say("Next week"), LATER.say("Next week")),
        "diverged": bed.package(BEANS.say("More").say("Else"), KEPT.say("Went on there")),
        "of a branch": bed.package(ROSES.say("Their way")),
        "another branch": bed.package(ROSES.say("Other")),
        "along a branch": bed.package(ROSES.say("Their way").say("Next week")),
        "another of this id": bed.package(THERE.say("Next week")),
        "one of its own": bed.package(OWN.say("Elsewhere")),
        "renamed": bed.package(replace(beans, name="Pole beans").say("Next week"), KEPT),
        "a fork alone": bed.package(BEANS.fork(10).say("Fourth way")),
        "forks": bed.package(replace(BEANS.say("More").fork(9)).say("Third way"), beans, FORK),
    }


def copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True)


def put_back(home: Path, then: Path, names: Iterable[str]) -> None:
    """Put parts of a home back from a copy of it."""
    for name in names:
        for path in home.glob(f"{name}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in then.glob(f"{name}*"):
            target = home / path.name
            shutil.copytree(path, target) if path.is_dir() else shutil.copy2(path, target)


def forget(home: Path, *names: str) -> None:
    """Lose parts of what this program keeps."""
    for name in names:
        shutil.rmtree(home / SYNC_DIR / name)


def seen(home: Path, package: Path, *, merged: bool = True) -> dict[str, dict[str, Any]]:
    """What the sessions of a package are to a home."""
    done = call("inspect-package", package, "--json", "--codex-home", home)
    keys = COMPARED + (MERGED if merged else ())
    return {i: {k: one.get(k) for k in keys} for i, one in done.sessions.items()}


def mend(home: Path, command: str = "rebuild-sidecar") -> Outcome:
    """Run a command, dry and then done; the dry run changes nothing and says the same."""
    planned = call(command, "--json", "--codex-home", home)
    assert planned.exit_code == 0, planned.envelope
    done = call(command, "--execute", "--json", "--codex-home", home)
    assert done.exit_code == 0, done.envelope
    told = [{k: v for k, v in c.items() if k != "result"} for c in changes(done)]
    assert told == changes(planned)
    again = call(command, "--execute", "--json", "--codex-home", home)
    assert again.envelope["status"] == "no_op", again.envelope
    return done


def changes(done: Outcome) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = done.envelope["data"]["changes"]
    return found


def codes(done: Outcome) -> set[str]:
    return {warning["code"] for warning in done.envelope["warnings"]}
