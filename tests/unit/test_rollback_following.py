"""Rolling back what followed the source beside the conversation, and two sessions on one."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builders import Session, session_id
from rolling import Rolling, make_rolling

DAY = 24 * 60
OWN = Session(1, start=10, name="Own").say("Was here before")
BEANS = Session(2, start=1 * DAY, name="Beans").say("How do beans climb?").say("And peas?")
ROSES = Session(3, start=1 * DAY + 60).say("Which roses?")


@pytest.fixture
def bed(tmp_path: Path) -> Rolling:
    return make_rolling(tmp_path, [OWN])


def source(bed: Rolling, moment: int, *sessions: Session, branch: str | None = None) -> Path:
    """The package of a home that was seen before, at a later moment."""
    made = bed.package(*sessions)
    with closing(sqlite3.connect(made / "state_5.sqlite")) as database, database:
        database.execute(
            "UPDATE threads SET updated_at_ms = ?, git_branch = ?",
            (1772500000000 + moment * 1000, branch),
        )
    folder = bed.root / "source"
    shutil.rmtree(folder, ignore_errors=True)
    return made.rename(folder)


def synced(bed: Rolling, package: Path) -> str:
    done = bed.call("sync", package, "--execute", "--no-prime")
    assert done.exit_code == 0, done.envelope
    return str(done.envelope["data"]["transaction_id"])


@pytest.mark.parametrize("more", [{"name": "Other"}, {"archived": True}, {}], ids=str)
def test_what_followed_alone_goes_back_and_comes_again(bed: Rolling, more: dict[str, Any]) -> None:
    """Name, archive state, or the branch alone."""
    first = synced(bed, source(bed, 1, BEANS, ROSES, branch="a"))
    before = bed.state()
    second = synced(bed, source(bed, 2, replace(BEANS, **more), ROSES, branch="b"))
    after = bed.state()
    bed.undo(bed.back_and_forth(second, before, after))
    bed.undo(first)
    assert len(bed.state()["threads"]) == 1


def test_the_file_that_its_row_names_is_the_session(bed: Rolling) -> None:
    """Beside it lies one with a newer stamp, which Codex passes over."""
    bed.sync(BEANS)
    path = bed.path(BEANS)
    later = path.with_name(f"rollout-2026-04-01T00-00-00-{BEANS.id}_{session_id(99)}.jsonl")
    later.write_bytes(replace(BEANS, turns=BEANS.turns[:1]).data())
    before = bed.state()
    bed.sync(BEANS.say("More"))
    bed.undo("--latest")
    assert bed.state() == before


# Two packaged sessions that stand for one here


@pytest.mark.parametrize("first", [True, False], ids=["its own first", "the other first"])
@pytest.mark.parametrize("more", [{"name": "Other"}, {"archived": True}, {}], ids=str)
def test_two_on_one_session_go_together(bed: Rolling, more: dict[str, Any], first: bool) -> None:
    """One continues it, the other only brings name, archive state or branch; Codex locks it."""
    locks = bed.home / "thread-writer-locks"
    locks.mkdir()
    (locks / ".coordination.lock").touch()
    synced(bed, source(bed, 1, BEANS, ROSES, branch="a"))
    before = bed.state()
    package = source(bed, 2, replace(BEANS, **more), branch="b")
    longer = BEANS.say("More")
    other = replace(longer, number=9 if first else 0)
    path = package / other.relative_path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(longer.data().replace(BEANS.id.encode(), other.id.encode()))
    transaction = synced(bed, package)
    after = bed.state()
    assert bed.path(BEANS).read_bytes() == longer.data()
    back = bed.undo(transaction, "--session", other.id)
    assert bed.state() == before
    again = bed.undo(back)
    assert bed.state() == after
    bed.undo(again)
    assert bed.state() == before
    bed.undo(bed.journal.ids()[0])
    bed.go_on(longer)
    done = bed.rollback(transaction)
    assert {one["reason"] for one in done.sessions.values()} == {"advanced_since"}
