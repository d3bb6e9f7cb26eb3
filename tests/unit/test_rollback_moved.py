"""Rolling back and recovering in a home that lies elsewhere than when it was synced."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from builders import Session
from rolling import Rolling, make_rolling

DAY = 24 * 60
OWN = Session(1, start=10, name="Own").say("Was here before")
BEANS = Session(2, start=1 * DAY, name="Beans").say("How do beans climb?").say("And peas?")
MORE = replace(BEANS.say("More"), archived=True)


@pytest.fixture
def bed(tmp_path: Path) -> Rolling:
    return make_rolling(tmp_path, [OWN])


def moved(bed: Rolling, *, repaired: bool) -> Rolling:
    """A copy of the home; ``repaired``: Codex's rows name the copied files."""
    there = Rolling(bed.root / "elsewhere")
    shutil.copytree(bed.home, there.home)
    if repaired:
        old, new = str(bed.home), str(there.home)
        there.do("UPDATE threads SET rollout_path = replace(rollout_path, ?, ?)", old, new)
    return there


def placed(bed: Rolling) -> list[str]:
    """The paths of the synced session's row, as in the home."""
    with closing(sqlite3.connect(bed.database)) as database:
        found = database.execute("SELECT rollout_path FROM threads WHERE id = ?", (BEANS.id,))
        return [Path(path).relative_to(bed.home).as_posix() for (path,) in found]


def interrupt(bed: Rolling, transaction: str) -> None:
    """Have a transaction look as if it was killed before its end."""
    folder = bed.home / "session-sync" / "transactions" / transaction
    manifest, operations = folder / "manifest.json", folder / "operations.jsonl"
    manifest.write_text(manifest.read_text().replace('"completed"', '"running"'))
    operations.write_bytes(b"".join(operations.read_bytes().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize("repaired", [True, False])
def test_a_row_names_the_file_of_the_home_as_it_is(bed: Rolling, repaired: bool) -> None:
    bed.sync(BEANS)
    transaction = bed.sync(MORE)
    there = moved(bed, repaired=repaired)
    back = there.undo(transaction)
    assert placed(there) == [BEANS.relative_path]
    again = there.undo(back)
    assert placed(there) == [f"archived_sessions/{there.path(BEANS).name}"]
    there.undo(again)
    assert placed(there) == [BEANS.relative_path]


def test_a_session_comes_back_to_where_the_home_is(bed: Rolling) -> None:
    back = bed.undo(bed.sync(BEANS))
    there = moved(bed, repaired=True)
    there.undo(back)
    assert placed(there) == [BEANS.relative_path]


def test_a_session_taken_out_with_a_row_of_the_old_place(bed: Rolling) -> None:
    transaction = bed.sync(BEANS)
    there = moved(bed, repaired=False)
    there.undo(there.undo(transaction))
    assert placed(there) == [BEANS.relative_path]


@pytest.mark.parametrize("repaired", [True, False])
def test_recovery_in_another_place(bed: Rolling, repaired: bool) -> None:
    bed.sync(BEANS)
    interrupt(bed, bed.sync(MORE))
    there = moved(bed, repaired=repaired)
    done = there.call("recover", "--execute")
    assert (done.exit_code, done.envelope["warnings"]) == (0, [])
    assert placed(there) == [BEANS.relative_path]


def test_a_home_under_another_name_has_not_moved(bed: Rolling) -> None:
    bed.sync(BEANS)
    before = bed.state()
    bed.sync(MORE)
    link = Rolling(bed.root / "linked")
    link.root.mkdir()
    link.home.symlink_to(bed.home)
    link.undo("--latest")
    assert bed.state() == before
