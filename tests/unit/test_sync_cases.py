"""Syncs of sessions that are easily taken for others, or that meet in one local session."""

from __future__ import annotations

import json
import shutil
import sqlite3
import uuid
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from builders import Session, dump, session_id, write_snapshot
from codex_session_sync import following
from codex_session_sync.lineage.differences import merge_metadata
from rolling import compress
from workbench import add_rows, call, make_database, tree

ONE = Session(1, name="n").say("one")
GOES_ON = ONE.say("two")
SEGMENT = session_id(0xFF)


@dataclass
class Machine:
    """A home that is also a package."""

    path: Path

    def put(self, *sessions: Session, moment: int | None = None) -> Machine:
        """Write sessions as Codex has them, in place of what there was of them."""
        write_snapshot(self.path, sessions)
        (self.path / "installation_id").write_text(
            str(uuid.uuid5(uuid.NAMESPACE_URL, str(self.path)))
        )
        database = self.path / "state_5.sqlite"
        if not database.exists():
            make_database(self.path, journal_mode="delete")
        ids = [(session.id,) for session in sessions]
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.executemany("DELETE FROM threads WHERE id = ?", ids)
        add_rows(database, sessions)
        if moment is not None:
            with closing(sqlite3.connect(database)) as connection, connection:
                connection.execute("UPDATE threads SET updated_at_ms = ?", (moment,))
        return self

    def row(self, session: str) -> dict[str, Any]:
        """A session's row."""
        with closing(sqlite3.connect(self.path / "state_5.sqlite")) as connection:
            connection.row_factory = sqlite3.Row
            found = connection.execute("SELECT * FROM threads WHERE id = ?", (session,)).fetchone()
            return dict(found)

    def takes(self, package: Machine, *options: str) -> dict[str, dict[str, Any]]:
        """Sync a package; a second time finds nothing to do and changes no byte."""
        command = ("sync", package.path, "--codex-home", self.path, "--no-prime", "--execute")
        found = call(*command, "--json", *options)
        before = tree(self.path)
        again = call(*command, "--json", *options)
        assert {one["result"] for one in again.sessions.values()} <= {"skipped", "refused"}
        assert tree(self.path) == before
        return found.sessions

    def revert(self, session: Session, turns: int, start: int, *says: str) -> None:
        """Take back all but the first turns, as Codex does: a further file, named by the row."""
        kept = replace(session, turns=session.turns[:turns])
        later = replace(kept.fork(session.number), start=start)
        for text in says:
            later = later.say(text)
        records = later.records()
        head = records[0]["payload"]
        head["history_base"]["thread_id"] = session.id
        for key in ("forked_from_id", "forked_from_ordinal_exclusive"):
            head.pop(key, None)
        path = self.path / later.relative_path
        path = path.with_name(path.name.replace(".jsonl", f"_{SEGMENT}.jsonl"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dump(records))
        with closing(sqlite3.connect(self.path / "state_5.sqlite")) as connection, connection:
            connection.execute(
                "UPDATE threads SET rollout_path = ? WHERE id = ?", (str(path), session.id)
            )


@pytest.fixture
def machines(tmp_path: Path) -> list[Machine]:
    """Three homes, the first one in use."""
    for name in "abc":
        (tmp_path / name).mkdir()
    found = [Machine(tmp_path / name) for name in "abc"]
    for machine in found:
        machine.put(Session(9, start=600).say("own"))
    return found


# -- a base that is another session's -----------------------------------------------------------


@pytest.mark.parametrize("here", [Session(1, start=60).say("elsewhere"), ONE.say("other")])
def test_a_fork_does_not_take_up_another_history(machines: list[Machine], here: Session) -> None:
    a, b, _ = machines
    fork = GOES_ON.fork(3).say("forked")
    b.put(here)
    a.put(fork)
    [one] = b.takes(a, "--session", fork.id).values()
    assert (one["result"], one["reason"]) == ("refused", "history_base_missing")
    a.put(GOES_ON)
    assert b.takes(a)[fork.id]["result"] == "imported"


def test_a_fork_takes_up_what_was_synced_before(machines: list[Machine]) -> None:
    a, b, _ = machines
    b.takes(a.put(GOES_ON))
    b.put(GOES_ON.say("went on here"))
    a.put(GOES_ON.fork(3).say("forked"))
    (a.path / GOES_ON.relative_path).unlink()
    assert b.takes(a)[session_id(3)]["result"] == "imported"


def test_a_fork_hangs_on_what_stands_for_its_parent(machines: list[Machine]) -> None:
    a, b, _ = machines
    b.put(ONE.say("other"))
    branch = b.takes(a.put(GOES_ON))[ONE.id]["local_session_id"]
    fork = GOES_ON.fork(3).say("forked")
    b.takes(a.put(fork), "--session", fork.id)
    head = json.loads((b.path / fork.relative_path).read_bytes().split(b"\n")[0])
    assert head["payload"]["forked_from_id"] == branch != ONE.id


# -- reverts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [-30, 30], ids=["the clock was set back", "later"])
@pytest.mark.parametrize("says", [(), ("instead",)], ids=["ended", "gone on"])
def test_what_codex_shows_counts(machines: list[Machine], start: int, says: tuple[str]) -> None:
    a, b, _ = machines
    b.put(GOES_ON).revert(GOES_ON, 1, start, *says)
    [stale] = [s for i, s in b.takes(a.put(GOES_ON)).items() if i == ONE.id]
    assert (stale["result"], stale["reason"]) == ("skipped", "taken_back")
    parted = b.takes(a.put(GOES_ON.say("three")))[ONE.id]
    assert parted["result"] == "branched"


def test_another_copy_does_not_bring_back_what_was_taken_back(machines: list[Machine]) -> None:
    a, b, _ = machines
    b.put(GOES_ON).revert(GOES_ON, 1, 30)
    found = b.takes(a.put(GOES_ON, replace(ONE.say("instead"), number=2)))
    assert found[ONE.id]["reason"] == "taken_back"
    assert (found[session_id(2)]["result"], found[session_id(2)]["local_session_id"]) == (
        "fast_forwarded",
        ONE.id,
    )


def test_a_revert_whose_older_file_is_damaged_is_left_alone(machines: list[Machine]) -> None:
    a, b, _ = machines
    later = ONE.say("two").say("three")
    b.put(later).revert(later, 0, 30)
    path = b.path / later.relative_path
    path.write_bytes(b"damaged\n" + path.read_bytes())
    assert b.takes(a.put(later))[ONE.id]["reason"] == "local_transcript_unreadable"


# -- names --------------------------------------------------------------------------------------


def test_a_home_that_left_a_name_does_not_undo_anothers(machines: list[Machine]) -> None:
    a, b, c = machines
    a.put(ONE, moment=1000)
    b.takes(a)
    c.put(replace(ONE, name="named on c", archived=True), moment=2000)
    assert b.takes(c)[ONE.id]["result"] == "skipped"  # c was never synced before: no base
    c.put(replace(ONE, name="renamed on c"), moment=3000)
    b.takes(c)
    a.put(GOES_ON, moment=4000)
    assert b.takes(a)[ONE.id]["result"] == "fast_forwarded"
    assert b.row(ONE.id)["name"] == "n"


def test_an_older_package_does_not_bring_an_older_name(machines: list[Machine]) -> None:
    a, b, c = machines
    b.takes(a.put(GOES_ON, moment=1000))
    shutil.copytree(a.path, c.path, dirs_exist_ok=True)
    a.put(replace(GOES_ON, name="new"), moment=2000)
    assert b.takes(a)[ONE.id]["follows"] == {"name": "new"}
    (b.path / ONE.relative_path).write_bytes(ONE.data())  # the local file has lost its end
    assert b.takes(c)[ONE.id]["result"] == "fast_forwarded"
    assert b.row(ONE.id)["name"] == "new"


def test_a_name_does_not_follow_to_a_session_that_can_be_read_no_more(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read again, since of equal sessions no more is kept than comparing takes."""
    a, b, _ = machines
    b.takes(a.put(GOES_ON, moment=1000))
    a.put(replace(GOES_ON, name="new"), moment=2000)

    def meanwhile(*arguments: Any) -> Any:
        (b.path / ONE.relative_path).write_bytes(b"damaged\n")
        return merge_metadata(*arguments)

    monkeypatch.setattr(following, "merge_metadata", meanwhile)
    row = b.row(ONE.id)
    found = b.takes(a)[ONE.id]
    assert (found["result"], found["reason"]) == ("refused", "local_transcript_unreadable")
    assert b.row(ONE.id) == row


def test_the_title_in_the_index_is_no_name(machines: list[Machine]) -> None:
    a, b, _ = machines
    b.put(replace(ONE, name=None))
    entry = {"id": ONE.id, "thread_name": "one", "updated_at": "2026-03-03T09:00:00.000Z"}
    (b.path / "session_index.jsonl").write_bytes(dump([entry]))
    assert b.takes(a.put(GOES_ON))[ONE.id]["follows"] == {"name": "n"}


@pytest.mark.parametrize("archived", [True, False])
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("copy_extends", [True, False])
def test_of_two_copies_one_brings_the_name(
    machines: list[Machine], copy_extends: bool, compressed: bool, archived: bool
) -> None:
    """Where the other one extends a compressed file, there is a plain one in its place by then."""
    a, b, _ = machines
    copy = replace(ONE, number=2)
    a.put(ONE, copy, moment=1000)
    b.put(ONE)
    b.takes(a)  # neither has a base here before
    a.put(GOES_ON, replace(GOES_ON, number=2), moment=2000)
    b.takes(a)
    third = GOES_ON.say("three")
    if compressed:
        compress(b.path / GOES_ON.relative_path)
    named = replace(GOES_ON, name="named", archived=archived)
    a.put(named, replace(third if copy_extends else GOES_ON, number=2, name="copy"), moment=3000)
    if archived:
        (a.path / GOES_ON.relative_path).unlink()
    found = b.takes(a)
    follows = {"name": "named"} | ({"archived": True} if archived else {})
    assert found[ONE.id]["follows"] == follows
    assert {one["result"] for one in found.values()} <= {"fast_forwarded", "skipped"}
    row = b.row(ONE.id)
    assert (row["name"], row["archived"]) == ("named", archived)
    [path] = b.path.glob(f"*sessions/**/{named.file_name}*")
    assert (path.parent.name == "archived_sessions") == archived
    assert path.suffix == (".zst" if compressed and not copy_extends else ".jsonl")
    assert row["rollout_path"].removesuffix(".zst") == str(path).removesuffix(".zst")
    kept = path.read_bytes()
    if path.suffix == ".zst":
        kept = zstandard.ZstdDecompressor().decompress(kept)
    assert kept.startswith(GOES_ON.data())
    assert (b"answer to: three" in kept) == copy_extends
