"""Rolling back: to the byte where nothing changed since, and nobody's work lost where it did."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builders import Session, dump, session_id, write_snapshot, write_transfer
from codex_session_sync.codex.session_index import read_index
from rolling import Rolling, compress, make_rolling
from workbench import STATE_SCHEMA, Outcome, add_rows, call, rows, with_tools

DAY = 24 * 60
OWN = Session(1, start=10, name="Own").say("Was here before")
BEANS = Session(2, start=1 * DAY, name="Beans").say("How do beans climb?").say("And peas?")
ROSES = Session(3, start=2 * DAY).say("Which roses?")
OLD = Session(4, start=3 * DAY, name="Old", archived=True).say("Long ago")
PACKAGED = (BEANS, ROSES, OLD)


@pytest.fixture
def bed(tmp_path: Path) -> Rolling:
    return make_rolling(tmp_path, [OWN])


def test_an_import_is_undone_to_the_byte(bed: Rolling) -> None:
    before = bed.state()
    bed.sync(*PACKAGED)
    assert bed.state() != before
    bed.undo("--latest")
    assert bed.state() == before


def test_a_fast_forward_is_undone_to_the_byte(bed: Rolling) -> None:
    bed.sync(*PACKAGED)
    before = bed.state()
    transaction = bed.sync(BEANS.say("More"), ROSES, OLD)
    bed.undo(transaction)
    assert bed.state() == before


def test_a_branch_is_undone_to_the_byte(bed: Rolling) -> None:
    bed.sync(BEANS)
    bed.go_on(BEANS, "Mine")
    before = bed.state()
    transaction = bed.sync(BEANS.say("Theirs"))
    bed.undo(transaction)
    assert bed.state() == before


def test_a_continued_compressed_session_is_compressed_again(bed: Rolling) -> None:
    bed.sync(BEANS)
    compress(bed.path(BEANS))
    before = bed.state()
    transaction = bed.sync(BEANS.say("More"))
    assert bed.path(BEANS).suffix == ".jsonl"
    bed.undo(transaction)
    assert bed.state() == before
    bed.undo("--latest")
    assert bed.path(BEANS).suffix == ".jsonl"


def test_a_rollback_is_rolled_back(bed: Rolling) -> None:
    first = bed.sync(*PACKAGED)
    then = bed.state()
    second = bed.sync(BEANS.say("More"), ROSES.say("Red ones"))
    later = bed.state()
    bed.undo(bed.back_and_forth(second, then, later))
    assert bed.state() == then
    first_back = bed.undo(first)
    bed.undo(first_back)
    assert bed.state() == then


def test_a_name_that_came_alone_goes_back(bed: Rolling) -> None:
    """A sync that added no entries left no file that could be looked at."""

    def package(session: Session, moment: int) -> Path:
        folder = bed.package(session)
        with closing(sqlite3.connect(folder / "state_5.sqlite")) as database, database:
            database.execute("UPDATE threads SET updated_at_ms = ?", (moment,))
        return folder

    assert bed.call("sync", package(BEANS, 1), "--execute", "--no-prime").exit_code == 0
    before = bed.state()
    renamed = package(replace(BEANS, name="Vines"), 2)
    done = bed.call("sync", renamed, "--execute", "--no-prime")
    assert done.sessions[BEANS.id]["follows"] == {"name": "Vines"}
    assert bed.state() != before
    bed.undo("--latest")
    assert bed.state() == before


# Any transaction, and some of its sessions


def test_an_older_transaction_is_undone_beside_later_ones(bed: Rolling) -> None:
    """The later ones brought other sessions of the same lineage, folder, index and sidecar."""
    fork = replace(BEANS.fork(9), name="Fork").say("Another way?")
    bed.sync(BEANS)
    alone = bed.state()
    bed.undo("--latest")
    empty = bed.state()
    first = bed.sync(replace(ROSES, name="Roses"))
    second = bed.sync(BEANS)
    third = bed.sync(BEANS, fork)
    bed.undo(first)
    bed.undo(third)
    assert without_moment(bed) == without_moment(bed, alone)
    bed.undo(second)
    assert bed.state() == empty


def without_moment(bed: Rolling, state: dict[str, Any] | None = None) -> dict[str, Any]:
    """A state but for sidecars, which hold the time and transaction of a sync."""
    found = bed.state() if state is None else state
    return {path: what for path, what in found.items() if "sidecars/" not in path}


def test_the_first_of_two_on_one_sidecar_goes(bed: Rolling) -> None:
    fork = BEANS.fork(9).say("Another way?")
    first = bed.sync(BEANS)
    sidecar = next(bed.home.glob("session-sync/sidecars/*"))
    bed.sync(BEANS, fork)
    bed.undo(first)
    [mapping] = json.loads(sidecar.read_bytes())["mappings"]
    assert mapping["local_session_id"] == fork.id


def test_what_a_later_one_built_on_is_kept_and_named(bed: Rolling) -> None:
    first = bed.sync(*PACKAGED)
    second = bed.sync(BEANS.say("More"))
    done = bed.rollback(first)
    assert (done.exit_code, done.envelope["status"]) == (1, "partial")
    assert results(done) == {
        BEANS.id: ("kept", "advanced_since"),
        ROSES.id: ("undone", None),
        OLD.id: ("undone", None),
    }
    [error] = done.envelope["errors"]
    assert second in error["message"]
    assert second in error["hint"]
    bed.undo(second)
    again = bed.rollback(first)
    assert again.exit_code == 0
    assert results(again) == {
        BEANS.id: ("undone", None),
        ROSES.id: ("kept", "already_rolled_back"),
        OLD.id: ("kept", "already_rolled_back"),
    }
    nothing = bed.rollback(first)
    assert (nothing.exit_code, nothing.envelope["status"]) == (0, "no_op")
    assert nothing.envelope["data"]["rollback_transaction_id"] is None


def test_some_sessions_only(bed: Rolling) -> None:
    bed.sync(ROSES, OLD)
    wanted = bed.state()
    bed.undo("--latest")
    transaction = bed.sync(*PACKAGED)
    bed.undo(transaction, "--session", BEANS.id[-6:])
    assert without_moment(bed) == without_moment(bed, wanted)
    unknown = bed.call("rollback", transaction, "--session", "nothing")
    assert (unknown.exit_code, unknown.codes) == (2, ["session_unknown"])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [((), "usage"), (("x", "--latest"), "usage"), (("x",), "transaction_unknown")],
)
def test_one_transaction_must_be_named(bed: Rolling, arguments: tuple[str, ...], code: str) -> None:
    done = bed.call("rollback", *arguments)
    assert (done.exit_code, done.codes) == (2, [code])


def test_a_home_without_transactions(bed: Rolling) -> None:
    before = bed.state()
    for more in ((), ("--execute",)):
        done = bed.call("rollback", "--latest", *more)
        assert (done.exit_code, done.codes) == (2, ["transaction_unknown"])
    assert bed.state() == before
    assert not (bed.home / "session-sync").exists()


# Sessions that moved on


def _archived(bed: Rolling, session: Session) -> None:
    path = bed.path(session)
    (bed.home / "archived_sessions").mkdir(exist_ok=True)
    path.rename(bed.home / "archived_sessions" / path.name)


def _reverted(bed: Rolling, session: Session) -> None:
    path = bed.path(session)
    later = path.with_name(f"rollout-2026-04-01T00-00-00-{session.id}_{session_id(99)}.jsonl")
    later.write_bytes(path.read_bytes())
    bed.do("UPDATE threads SET rollout_path = ? WHERE id = ?", str(later), session.id)


def _forked(bed: Rolling, session: Session) -> None:
    write_snapshot(bed.home, [session.fork(99).say("My own way")], index=False)


def _index_name(bed: Rolling, session: Session) -> None:
    bed.do("UPDATE threads SET name = 'Mine' WHERE id = ?", session.id)
    with (bed.home / "session_index.jsonl").open("a") as stream:
        stream.write(json.dumps({"id": session.id, "thread_name": "Mine", "updated_at": ""}) + "\n")


MOVES: dict[str, Callable[[Rolling, Session], object]] = {
    "continued": lambda bed, session: bed.go_on(session),
    "torn": lambda bed, session: bed.path(session).write_bytes(
        bed.path(session).read_bytes() + b"{"
    ),
    "archived": _archived,
    "archived in its row": lambda bed, session: bed.do(
        "UPDATE threads SET archived = 1 WHERE id = ?", session.id
    ),
    "reverted": _reverted,
    "forked": _forked,
    "renamed": _index_name,
    "removed": lambda bed, session: bed.path(session).unlink(),
    "rewritten": lambda bed, session: bed.path(session).write_bytes(
        bed.path(session).read_bytes()[::-1]
    ),
    "cut": lambda bed, session: os.truncate(bed.path(session), 100),
}


@pytest.mark.parametrize("moved", MOVES)
@pytest.mark.parametrize("continued", [False, True], ids=["imported", "continued"])
def test_a_session_that_moved_on_is_kept(bed: Rolling, moved: str, continued: bool) -> None:
    """To the byte, with its row, its name and its mapping; the others are undone."""
    session = BEANS
    if continued:
        bed.sync(BEANS, ROSES)
        session = BEANS.say("More")
        transaction = bed.sync(session, ROSES.say("Red ones"))
    else:
        transaction = bed.sync(BEANS, ROSES)
    MOVES[moved](bed, session)
    before = bed.state()
    done = bed.rollback(transaction)
    assert done.exit_code == 1
    assert results(done) == {
        BEANS.id: ("kept", "advanced_since"),
        ROSES.id: ("undone", None),
    }
    after = bed.state()
    about = [path for path in before if BEANS.id in path or session_id(99) in path]
    assert {path: after[path] for path in about} == {path: before[path] for path in about}
    kept = [row for row in before["threads"] if row[0] != ROSES.id]
    assert [row for row in after["threads"] if row[0] != ROSES.id] == kept


def test_no_file_of_a_session_stays_behind(bed: Rolling) -> None:
    bed.sync(BEANS)
    path = bed.path(BEANS)
    later = path.with_name(f"rollout-2026-04-01T00-00-00-{BEANS.id}_{session_id(99)}.jsonl")
    later.write_bytes(path.read_bytes())
    assert results(bed.rollback("--latest")) == {BEANS.id: ("kept", "advanced_since")}


def test_what_opening_adds_goes_with_the_session(bed: Rolling) -> None:
    before = bed.state()
    bed.sync(BEANS)
    bed.do("UPDATE threads SET updated_at = updated_at + 60 WHERE id = ?", BEANS.id)
    with bed.path(BEANS).open("ab") as stream:
        stream.write(OPENED)
    opened = bed.state()
    back = bed.undo("--latest")
    assert bed.state() == before
    bed.undo(back)
    assert bed.state() == opened


OPENED = dump(
    [
        {
            "timestamp": "2026-11-21T14:00:00.000Z",
            "ordinal": 99,
            "type": "event_msg",
            "payload": {"type": "thread_settings_applied", "thread_settings": {}},
        }
    ]
)


def test_what_opening_adds_to_a_continued_session(bed: Rolling) -> None:
    """The end goes with it; times that Codex set since stay, other columns go back."""
    bed.sync(BEANS)
    before = bed.state()
    bed.sync(BEANS.say("More"))
    with bed.path(BEANS).open("ab") as stream:
        stream.write(OPENED)
    bed.do("UPDATE threads SET updated_at = updated_at + 60 WHERE id = ?", BEANS.id)
    row = [r for r in bed.state()["threads"] if r[0] == BEANS.id]
    bed.undo("--latest")
    after = bed.state()
    assert {k: v for k, v in after.items() if k != "threads"} == {
        k: v for k, v in before.items() if k != "threads"
    }
    [now], [then] = ([r for r in s["threads"] if r[0] == BEANS.id] for s in (after, before))
    assert now[COLUMNS.index("updated_at")] == row[0][COLUMNS.index("updated_at")]
    assert now[COLUMNS.index("tokens_used")] == then[COLUMNS.index("tokens_used")]


def test_what_opening_adds_after_a_rollback(bed: Rolling) -> None:
    """The end takes its place again, and gives it back."""
    bed.sync(BEANS)
    transaction = bed.sync(BEANS.say("More"))
    then = bed.state()
    back = bed.undo(transaction)
    with bed.path(BEANS).open("ab") as stream:
        stream.write(OPENED)
    opened = bed.state()
    again = bed.undo(back)
    assert bed.state() == then
    bed.undo(again)
    assert bed.state() == opened


COLUMNS = [
    line.split()[0] for line in STATE_SCHEMA.split("CREATE TABLE threads (")[1].splitlines()[1:]
]


def test_a_later_import_that_names_it_stays_whole(bed: Rolling) -> None:
    first = bed.sync(BEANS)
    fork = BEANS.fork(9).say("Another way?")
    bed.sync(BEANS, fork)
    done = bed.rollback(first)
    assert (done.exit_code, done.envelope["status"]) == (0, "ok")
    [warning] = done.envelope["warnings"]
    assert (warning["code"], warning["session_id"]) == ("descendants_stay", BEANS.id)
    assert fork.id in warning["message"]
    assert bed.path(fork).exists()


@pytest.mark.parametrize("more", [{"archived": True}, {"name": "Other"}])
def test_what_follows_the_source_goes_back(bed: Rolling, more: dict[str, Any]) -> None:
    bed.sync(BEANS)
    before = bed.state()
    bed.sync(replace(BEANS.say("More"), **more))
    assert bed.state() != before
    back = bed.undo("--latest")
    assert bed.state() == before
    bed.undo(back)
    bed.undo("--latest")
    assert bed.state() == before


def test_a_session_compressed_since(bed: Rolling) -> None:
    before = bed.state()
    first = bed.sync(BEANS)
    between = bed.state()
    second = bed.sync(BEANS.say("More"))
    compress(bed.path(BEANS))
    after = bed.state()
    back = bed.undo(second)
    assert bed.state() == between
    bed.undo(back)
    assert bed.state() == after
    bed.undo("--latest")
    compress(bed.path(BEANS))
    bed.undo(first)
    assert bed.state() == before


def test_an_index_torn_before_the_first_line_of_ours(bed: Rolling) -> None:
    index = bed.home / "session_index.jsonl"
    index.write_bytes(index.read_bytes() + b'{"id":"torn')
    before = bed.state()
    first = bed.sync(BEANS)
    second = bed.sync(OLD)
    bed.undo(second)
    bed.undo(first)
    assert bed.state() == before
    first = bed.sync(BEANS)
    bed.sync(OLD)
    bed.undo(first)
    assert read_index(index)[OLD.id] == "Old"


def test_a_database_that_is_gone(bed: Rolling) -> None:
    transaction = bed.sync(BEANS)
    bed.database.rename(bed.root / "elsewhere")
    for more in ((), ("--execute",)):
        done = bed.call("rollback", transaction, *more)
        assert (done.exit_code, done.codes) == (4, ["database_missing"])


def test_a_home_without_a_database(tmp_path: Path) -> None:
    bed = make_rolling(tmp_path, [OWN])
    bed.database.unlink()
    before = bed.state()
    bed.sync(*PACKAGED)
    bed.undo("--latest")
    assert bed.state() == before


def test_rows_that_codex_made_of_imported_files_go_as_well(tmp_path: Path) -> None:
    bed = make_rolling(tmp_path, [OWN])
    bed.database.rename(bed.root / "elsewhere")
    before = bed.state()
    bed.sync(ROSES)
    (bed.root / "elsewhere").rename(bed.database)
    own = bed.state()["threads"]
    add_rows(bed.database, [ROSES])
    back = bed.undo("--latest")
    assert bed.state()["threads"] == own
    assert bed.state() == {**before, "threads": own}
    bed.undo(back)
    assert len(bed.state()["threads"]) == 2


def test_dynamic_tools_go_and_come_again(bed: Rolling) -> None:
    package = write_transfer(bed.root / "transfer", [BEANS])
    with_tools(package, BEANS)
    before = bed.state()
    done = bed.call("sync", package, "--execute", "--no-prime")
    assert done.exit_code == 0
    then = bed.state()
    assert len(then["thread_dynamic_tools"]) == 2
    back = bed.undo("--latest")
    assert bed.state() == before
    bed.undo(back)
    assert bed.state() == then


def test_what_codex_keeps_with_a_row_keeps_the_session(bed: Rolling) -> None:
    bed.do(
        "CREATE TABLE thread_attachments (id TEXT PRIMARY KEY,"
        " thread_id TEXT REFERENCES threads(id) ON DELETE CASCADE)"
    )
    transaction = bed.sync(BEANS, ROSES)
    bed.do("INSERT INTO thread_attachments VALUES ('a', ?)", BEANS.id)
    done = bed.rollback(transaction)
    assert results(done) == {BEANS.id: ("kept", "advanced_since"), ROSES.id: ("undone", None)}
    assert "thread_attachments" in done.envelope["errors"][0]["message"]
    assert rows(bed.database, "thread_attachments") == [("a", BEANS.id)]


def test_an_interrupted_transaction_is_recovered_first(bed: Rolling) -> None:
    transaction = bed.sync(BEANS)
    path = bed.home / "session-sync" / "transactions" / transaction / "manifest.json"
    path.write_text(path.read_text().replace('"completed"', '"running"'))
    before = bed.state()
    done = bed.call("rollback", transaction, "--execute")
    assert (done.exit_code, done.codes) == (5, ["transaction_interrupted"])
    planned = bed.call("rollback", transaction)
    assert [one["code"] for one in planned.envelope["warnings"]] == ["transaction_unfinished"]
    assert bed.state() == before


def test_kept_bytes_that_are_gone(bed: Rolling) -> None:
    bed.sync(BEANS)
    back = bed.undo("--latest")
    [kept] = (bed.home / "session-sync" / "transactions" / back).glob("rollout-*")
    kept.unlink()
    before = bed.state()
    done = bed.rollback(back)
    assert results(done) == {BEANS.id: ("refused", "home_changed")}
    assert bed.state() == before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143)])
def test_a_rollback_that_is_stopped_is_taken_back(
    bed: Rolling, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    transaction = bed.sync(*PACKAGED)
    before = bed.state()

    def stop(*_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr("codex_session_sync.journal.playback.sync_all", stop)
        done = bed.call("rollback", transaction, "--execute")
    assert (done.exit_code, done.codes) in [(130, ["interrupted"]), (143, ["interrupted"])]
    monkeypatch.undo()
    assert bed.call("recover", "--execute").exit_code == 0
    assert bed.state() == before
    bed.undo(transaction)


@pytest.mark.skipif(sys.platform == "win32", reason="Codex locks by flock")
def test_an_open_session_is_refused_and_leaves_no_trace(bed: Rolling) -> None:
    import fcntl

    transaction = bed.sync(BEANS, ROSES)
    locks = bed.home / "thread-writer-locks"
    locks.mkdir()
    (locks / ".coordination.lock").touch()
    with (locks / f"{BEANS.id}.lock").open("ab") as codex:
        fcntl.flock(codex, fcntl.LOCK_EX)
        done = bed.call("rollback", transaction, "--execute")
    assert results(done) == {BEANS.id: ("refused", "session_busy"), ROSES.id: ("undone", None)}
    assert (done.exit_code, done.codes) == (1, ["session_busy"])
    (locks / f"{BEANS.id}.lock").unlink()
    assert bed.call("rollback", transaction, "--execute").exit_code == 0
    assert [path.name for path in locks.iterdir()] == [".coordination.lock"]


# What a person is told


def test_the_text_tells_what_is_kept_and_why(bed: Rolling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    transaction = bed.sync(BEANS, ROSES)
    bed.go_on(ROSES)
    said = call("rollback", transaction, "--codex-home", bed.home)
    text = said.out.decode()
    assert f"rolling back {transaction}" in text
    assert "goes out of the home" in text
    assert "advanced_since" in text
    assert "Add --execute" in text
    assert "it was continued here" in said.err
    bed.call("rollback", transaction, "--execute")
    shown = call("show-transaction", "--codex-home", bed.home, bed.journal.ids()[0])
    assert f"rolls back {transaction}" in shown.out.decode()


def test_a_transaction_tells_how_its_sessions_are_now(bed: Rolling) -> None:
    first = bed.sync(*PACKAGED)
    bed.go_on(ROSES)
    bed.undo(first, "--session", OLD.id)
    second = bed.sync(BEANS.say("More"))
    shown = bed.call("show-transaction", first).envelope["data"]["transaction"]
    now = {one["session_id"]: one["now"] for one in shown["sessions"]}
    assert {i: one["state"] for i, one in now.items()} == {
        BEANS.id: "moved_on",
        ROSES.id: "moved_on",
        OLD.id: "rolled_back",
    }
    assert second in now[BEANS.id]["message"]
    shown = bed.call("show-transaction", second).envelope["data"]["transaction"]
    [row] = [one for one in shown["operations"] if one["kind"] == "put_row"]
    assert row["changes"]["tokens_used"] == {"before": 30, "after": 45}
    assert [one["now"]["state"] for one in shown["sessions"]] == ["as_left"]


def results(done: Outcome) -> dict[str, tuple[str, str | None]]:
    return {i: (one["result"], one["reason"]) for i, one in done.sessions.items()}
