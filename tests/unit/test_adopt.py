"""Adopting: sessions that came by other means follow their source, and nothing of them changes."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from builders import Session, session_id, write_snapshot
from codex_session_sync.journal.log import TransactionLog
from installing import install_here
from rolling import Rolling, make_rolling
from workbench import Outcome, add_rows, call, tree

DAY = 24 * 60
OWN = Session(1, start=10, name="Own").say("Was here before")
BEANS = Session(2, start=1 * DAY, name="Beans").say("How do beans climb?").say("And peas?")
ROSES = Session(3, start=2 * DAY).say("Which roses?")
OLD = Session(4, start=3 * DAY, archived=True).say("Long ago")
BROUGHT = (BEANS, ROSES, OLD)
LATER = 10_000_000


@pytest.fixture
def bed(tmp_path: Path) -> Rolling:
    return make_rolling(tmp_path, [OWN])


@pytest.fixture
def installed(bed: Rolling) -> Rolling:
    """A home with sessions that the first-import tool brought."""
    install_here(bed.root, bed.home, BROUGHT)
    return bed


def adopt(bed: Rolling, *arguments: str | Path) -> Outcome:
    """Adopt, executed; planning writes nothing, and of the home nothing but sidecars changes."""
    before, seen = tree(bed.home), without_sidecars(bed)
    planned = bed.call("adopt", *arguments)
    assert tree(bed.home) == before
    done = bed.call("adopt", *arguments, "--execute")
    told = [{k: v for k, v in one.items() if k != "result"} for one in done.sessions.values()]
    assert told == list(planned.sessions.values())
    assert without_sidecars(bed) == seen
    return done


def without_sidecars(bed: Rolling) -> dict[str, Any]:
    """All that can be seen of a home but sidecars: files with their times, rows."""
    return {path: what for path, what in bed.state().items() if "session-sync" not in path}


def mappings(bed: Rolling) -> Iterator[dict[str, Any]]:
    for path in sorted(bed.home.glob("session-sync/sidecars/*.json")):
        yield from json.loads(path.read_bytes())["mappings"]


def results(outcome: Outcome) -> dict[str, tuple[str, str | None]]:
    return {i: (one["result"], one["reason"]) for i, one in outcome.sessions.items()}


def later(bed: Rolling, *sessions: Session, source: str | None = None) -> Outcome:
    """Sync a package of sessions whose rows were changed after all that is here."""
    package = bed.package(*sessions)
    with_database(package, "UPDATE threads SET updated_at_ms = (updated_at + ?) * 1000", LATER)
    if source is not None:
        (package / "installation_id").write_text(source)
    return bed.call("sync", package, "--execute", "--no-prime")


def with_database(folder: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(folder / "state_5.sqlite")) as connection, connection:
        connection.execute(statement, values)


def local_name(bed: Rolling, session: Session) -> str | None:
    with closing(sqlite3.connect(bed.database)) as connection:
        query = "SELECT name FROM threads WHERE id = ?"
        [(name,)] = connection.execute(query, (session.id,))
    return name if name is None else str(name)


# -- what the first-import tool brought ---------------------------------------------------------


def test_what_the_first_tool_brought_is_adopted(installed: Rolling) -> None:
    done = adopt(installed)
    assert (done.exit_code, done.envelope["status"]) == (0, "ok")
    assert results(done) == {session.id: ("adopted", None) for session in BROUGHT}
    found = {m["local_session_id"]: m for m in mappings(installed)}
    assert set(found) == {session.id for session in BROUGHT}
    transaction = done.envelope["data"]["transaction_id"]
    for session in BROUGHT:
        mapping = found[session.id]
        assert mapping["origin_session_id"] == session.id
        assert mapping["incoming"] == mapping["local"]
        assert mapping["local"]["size"] == installed.path(session).stat().st_size
        assert mapping["transaction_id"] == transaction
        assert mapping["metadata"]["adopted"]["archived"] == session.archived
        assert mapping["metadata"]["adopted"]["name"] is None
    found = installed.call("sidecar-health", "--deep").envelope["data"]["problems"]
    assert {problem["code"] for problem in found} == {"row_incomplete"}, "adopting changes no row"
    [told] = installed.call("list-transactions").envelope["data"]["transactions"]
    assert (told["kind"], told["status"], told["counts"]) == ("adopt", "completed", {"adopted": 3})


def test_a_second_time_there_is_nothing_to_do(installed: Rolling) -> None:
    adopt(installed)
    before = tree(installed.home)
    done = installed.call("adopt", "--execute")
    assert done.envelope["status"] == "no_op"
    assert {one["reason"] for one in done.sessions.values()} == {"mapped_already"}
    unlocked = {k: v for k, v in tree(installed.home).items() if "lock" not in k}
    assert unlocked == {k: v for k, v in before.items() if "lock" not in k}


@pytest.mark.parametrize("source", [None, session_id(0xABC)])
def test_name_and_archive_follow_from_the_next_package_on(
    installed: Rolling, source: str | None
) -> None:
    adopt(installed)
    changed = (replace(BEANS, name="Pole beans"), replace(ROSES, archived=True), OLD)
    done = later(installed, *changed, source=source)
    found = done.sessions
    assert found[BEANS.id]["follows"] == {"name": "Pole beans"}
    assert found[ROSES.id]["follows"] == {"archived": True}
    assert found[OLD.id]["result"] == "skipped"
    assert local_name(installed, BEANS) == "Pole beans"
    assert "archived_sessions" in str(installed.path(ROSES))
    done = later(installed, *changed, source=source)
    assert done.envelope["status"] == "no_op"


def test_without_adopting_nothing_follows_a_session_without_new_entries(
    installed: Rolling,
) -> None:
    done = later(installed, replace(BEANS, name="Pole beans"), replace(ROSES, archived=True), OLD)
    assert done.envelope["status"] == "no_op"


def test_what_was_changed_here_since_the_install_stays(installed: Rolling) -> None:
    installed.do("UPDATE threads SET name = 'My beans' WHERE id = ?", BEANS.id)
    path = installed.path(OLD)
    home = installed.home / "sessions" / "2026" / "03" / "05"
    home.mkdir(parents=True, exist_ok=True)
    path.rename(home / path.name)
    adopt(installed)
    done = later(installed, replace(BEANS, name="Pole beans"), OLD)
    assert done.envelope["status"] == "no_op"
    assert local_name(installed, BEANS) == "My beans"
    assert "archived_sessions" not in str(installed.path(OLD))


def test_the_next_package_is_appended_as_after_a_sync(installed: Rolling) -> None:
    adopt(installed)
    done = later(installed, BEANS.say("And sweet peas?"), ROSES, OLD)
    assert done.sessions[BEANS.id]["result"] == "fast_forwarded"
    assert done.sessions[BEANS.id]["follows"] == {"name": "Beans"}
    assert done.sessions[ROSES.id]["result"] == "skipped"
    found = installed.call("sidecar-health", "--deep").envelope["data"]["problems"]
    assert {problem["code"] for problem in found} == {"row_incomplete"}, "adopting changes no row"


# -- which sessions -----------------------------------------------------------------------------


def test_without_a_journal_of_the_first_tool_there_is_nothing(bed: Rolling) -> None:
    done = bed.call("adopt", "--execute")
    assert (done.envelope["status"], done.envelope["data"]["sessions"]) == ("no_op", [])
    assert not (bed.home / "session-sync").exists()
    assert "brought no session" in call("adopt", "--codex-home", bed.home).out.decode()


def test_one_session_or_all_of_them(bed: Rolling) -> None:
    write_snapshot(bed.home, [BEANS, ROSES], index=False)
    assert results(adopt(bed, "--session", ROSES.id[-6:])) == {ROSES.id: ("adopted", None)}
    assert results(adopt(bed, "--all")) == {
        OWN.id: ("adopted", None),
        BEANS.id: ("adopted", None),
        ROSES.id: ("skipped", "mapped_already"),
    }


def test_a_name_that_was_here_is_the_base(bed: Rolling) -> None:
    adopt(bed, "--all")
    done = later(bed, replace(OWN, name="Renamed there"))
    assert done.sessions[OWN.id]["follows"] == {"name": "Renamed there"}


def test_a_branch_is_adopted_under_its_origin(bed: Rolling) -> None:
    bed.sync(BEANS)
    bed.go_on(BEANS, "mine")
    bed.sync(BEANS.say("theirs"))
    shutil.rmtree(bed.home / "session-sync")
    found = bed.call("adopt", "--all", "--execute").envelope["data"]["sessions"]
    [branch] = {one["local_session_id"] for one in found} - {OWN.id, BEANS.id}
    assert {one["session_id"] for one in found if one["local_session_id"] == branch} == {BEANS.id}


def test_wrong_choices_are_told(bed: Rolling) -> None:
    assert bed.call("adopt", "--all", "--session", OWN.id).codes == ["usage"]
    assert bed.call("adopt", "--session", "zzz").codes == ["session_unknown"]


def test_what_cannot_be_read_is_refused(bed: Rolling) -> None:
    write_snapshot(bed.home, [BEANS], index=False)
    bed.path(BEANS).write_bytes(b"nothing\n")
    done = adopt(bed, "--all")
    assert (done.exit_code, done.envelope["status"]) == (1, "partial")
    assert results(done) == {
        OWN.id: ("adopted", None),
        BEANS.id: ("refused", "local_transcript_unreadable"),
    }


def test_a_damaged_sidecar_is_not_written_over(bed: Rolling) -> None:
    bed.sync(BEANS)
    [path] = bed.home.glob("session-sync/sidecars/*")
    path.write_bytes(b"{")
    done = bed.call("adopt", "--session", BEANS.id, "--execute")
    assert results(done) == {BEANS.id: ("refused", "sidecar_invalid")}
    assert path.read_bytes() == b"{"


# -- a package ----------------------------------------------------------------------------------


def test_local_sessions_are_linked_with_those_of_a_package(bed: Rolling) -> None:
    behind, ahead, parted, taken = (Session(n, start=n * DAY).say("q") for n in (5, 6, 7, 8))
    there = [OWN, behind.say("more"), ahead, parted.say("there"), taken, ROSES]
    here = [behind, ahead.say("more"), parted.say("here"), replace(taken, start=99).say("other")]
    write_snapshot(bed.home, here, index=False)
    taken_path = bed.home / replace(taken, start=99).relative_path
    taken_path.write_bytes(taken_path.read_bytes().replace(b"Be brief.", b"Be long."))
    add_rows(bed.database, here)
    done = adopt(bed, bed.package(*there))
    assert (done.exit_code, done.envelope["status"]) == (1, "partial")
    assert results(done) == {
        OWN.id: ("adopted", None),
        behind.id: ("adopted", None),
        ahead.id: ("adopted", None),
        parted.id: ("refused", "diverged"),
        taken.id: ("refused", "id_collision"),
        ROSES.id: ("skipped", "not_here"),
    }
    relations = {i: one["relation"] for i, one in done.sessions.items()}
    assert relations[behind.id] == "incoming_ahead"
    assert relations[ahead.id] == "local_ahead"
    found = {m["origin_session_id"]: m for m in mappings(bed)}
    assert found[behind.id]["incoming"]["entries"] == 6
    assert found[behind.id]["local"]["entries"] == 4
    assert bed.call("sidecar-health", "--deep").envelope["data"]["healthy"]


def test_a_copy_under_another_id_is_linked_by_its_entries(bed: Rolling) -> None:
    copied = BEANS.data().replace(BEANS.id.encode(), session_id(77).encode())
    path = bed.home / BEANS.relative_path.replace(BEANS.id, session_id(77))
    path.parent.mkdir(parents=True)
    path.write_bytes(copied)
    done = adopt(bed, bed.package(BEANS))
    assert done.sessions[BEANS.id]["local_session_id"] == session_id(77)
    [mapping] = mappings(bed)
    assert (mapping["origin_session_id"], mapping["local_session_id"]) == (BEANS.id, session_id(77))


def test_the_package_tells_what_the_source_had(installed: Rolling) -> None:
    """So a name given here since is known as such, and one that the copy lost is brought later."""
    installed.do("UPDATE threads SET name = 'My roses' WHERE id = ?", ROSES.id)
    adopt(installed, installed.package(BEANS, replace(ROSES, name="Roses"), OLD))
    done = later(installed, BEANS, replace(ROSES, name="Red roses"), OLD)
    assert done.sessions[ROSES.id]["result"] == "skipped"
    assert local_name(installed, ROSES) == "My roses"
    assert done.sessions[BEANS.id]["follows"] == {"name": "Beans"}


# -- a transaction ------------------------------------------------------------------------------


def test_an_adoption_is_rolled_back_and_forth(installed: Rolling) -> None:
    before = installed.state()
    adopt(installed)
    after = installed.state()
    assert before != after
    rollback = installed.undo("--latest")
    assert installed.state() == before
    installed.undo(rollback)
    assert installed.state() == after
    found = installed.call("sidecar-health", "--deep").envelope["data"]["problems"]
    assert {problem["code"] for problem in found} == {"row_incomplete"}, "adopting changes no row"


def test_one_session_of_an_adoption_is_rolled_back(installed: Rolling) -> None:
    adopt(installed)
    installed.undo("--latest", "--session", BEANS.id)
    assert {m["local_session_id"] for m in mappings(installed)} == {ROSES.id, OLD.id}
    assert results(adopt(installed))[BEANS.id] == ("adopted", None)


def test_an_interrupted_adoption_is_recovered(installed: Rolling) -> None:
    """The sidecars are in place; that they are is not confirmed."""
    before = installed.state()
    with (
        patch.object(TransactionLog, "mark", side_effect=KeyboardInterrupt),
        patch("codex_session_sync.commit.undo_all", side_effect=KeyboardInterrupt),
    ):
        assert installed.call("adopt", "--execute").exit_code == 130
    assert installed.state() != before
    assert installed.call("adopt", "--execute").codes == ["transaction_interrupted"]
    assert installed.call("sidecar-health").envelope["data"]["problems"][0]["code"] == (
        "transaction_interrupted"
    )
    assert installed.call("recover", "--execute").exit_code == 0
    assert installed.state() == before
    assert results(adopt(installed))[BEANS.id] == ("adopted", None)


def test_the_database_is_of_no_concern_to_a_rollback(installed: Rolling) -> None:
    """Codex holds it, or it is no database at all: nothing of it is to be undone."""
    before = installed.state()
    adopt(installed)
    after = installed.state()
    with closing(sqlite3.connect(installed.database)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        back = installed.call("rollback", "--latest", "--execute")
        assert (back.exit_code, back.envelope["status"]) == (0, "ok"), back.envelope
        connection.rollback()
    assert installed.state() == before
    data = installed.database.read_bytes()
    installed.database.write_bytes(b"no database")
    forth = installed.call("rollback", "--latest", "--execute")
    assert (forth.exit_code, forth.envelope["status"]) == (0, "ok"), forth.envelope
    assert installed.database.read_bytes() == b"no database"
    installed.database.write_bytes(data)
    assert installed.state() == after
