"""Failures at every step of an import: a session is there as a whole or not at all."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from builders import write_snapshot
from codex_session_sync import commit, staging
from codex_session_sync.compose import compose
from crash.beds import (
    FIRST,
    LAST,
    NO_SPACE,
    OTHERS,
    PACKAGED,
    SECOND,
    VICTIM,
    Bed,
    Twins,
    fail_all_rows,
    strike,
)
from crash.faults import POINTS, faulty, nth

ABOUT_VICTIM = (VICTIM.id, "2026/03/05")
"""What is in the arguments of a step that concerns the victim."""

OF_ONE_SESSION = [
    (name, when)
    for name in ("stage", "time", "folder", "place", "append", "sidecar")
    for when in POINTS[name].times()
    if (name, when) != ("sidecar", "half")  # only a kill leaves half of a whole document
]


# A session that fails


@pytest.mark.parametrize(("name", "when"), OF_ONE_SESSION)
def test_one_session_fails_and_the_others_are_imported(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, twins: Twins, name: str, when: str
) -> None:
    with monkeypatch.context() as patched:
        struck = strike(patched, name, when, NO_SPACE, ABOUT_VICTIM)
        outcome = bed.sync()
    assert struck
    assert (outcome.exit_code, outcome.envelope["status"]) == (1, "partial")
    (error,) = outcome.envelope["errors"]
    assert (error["code"], error["session_id"]) == ("write_failed", VICTIM.id)
    assert "No space left on device" in error["message"]
    results = {one["session_id"]: one["result"] for one in outcome.sessions.values()}
    assert results == {VICTIM.id: "failed"} | {one.id: "imported" for one in OTHERS}
    assert outcome.sessions[VICTIM.id]["local_session_id"] == VICTIM.id
    assert bed.state() == twins(OTHERS)

    (transaction,) = bed.command("list-transactions").envelope["data"]["transactions"]
    assert transaction["status"] == "partial"
    assert transaction["counts"] == {"failed": 1, "imported": 3}
    assert set(bed.steps()) <= {"done", "undone"}
    bed.completes(twins)


REFUSALS = {
    "constraint": "SELECT RAISE(ABORT, 'this database wants no such row')",
    "rollback": "SELECT RAISE(ROLLBACK, 'this database wants no such row')",
}


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("table", ["threads", "thread_dynamic_tools"])
def test_the_database_refuses_the_row_of_one_session(
    bed: Bed, twins: Twins, refusal: str, table: str
) -> None:
    key = "id" if table == "threads" else "thread_id"
    with closing(sqlite3.connect(bed.home / "state_5.sqlite")) as connection:
        connection.executescript(
            f"CREATE TRIGGER refuses BEFORE INSERT ON {table} WHEN NEW.{key} = '{VICTIM.id}'"
            f" BEGIN {REFUSALS[refusal]}; END"
        )
    outcome = bed.sync()
    assert (outcome.exit_code, outcome.codes) == (1, ["row_not_kept"])
    assert "wants no such row" in outcome.envelope["errors"][0]["message"]
    assert outcome.sessions[VICTIM.id]["result"] == "failed"
    assert bed.state() == twins(OTHERS)
    with closing(sqlite3.connect(bed.home / "state_5.sqlite")) as connection:
        connection.execute("DROP TRIGGER refuses")
    bed.completes(twins)


@pytest.mark.parametrize("tokens", ["-5", str(2**63)])
def test_a_transcript_with_numbers_that_no_row_holds(bed: Bed, tokens: str) -> None:
    """They are passed over: the row has the last count that can be one."""
    shutil.rmtree(bed.package)
    write_snapshot(bed.package, PACKAGED, index=False)
    path = bed.package / VICTIM.relative_path
    path.write_bytes(
        VICTIM.data().replace(b'"total_tokens":30', f'"total_tokens":{tokens}'.encode())
    )
    assert bed.sync(VICTIM).exit_code == 0
    with closing(sqlite3.connect(bed.home / "state_5.sqlite")) as connection:
        query = "SELECT tokens_used FROM threads WHERE id = ?"
        assert connection.execute(query, (VICTIM.id,)).fetchone() == (15,)


def test_the_database_fails_for_all(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, twins: Twins
) -> None:
    """Its failure is no single session's: it is met once, not once for each of them."""
    monkeypatch.setattr(commit, "BATCH_SESSIONS", 2)
    with monkeypatch.context() as patched:
        met = fail_all_rows(patched, bed)
        outcome = bed.sync()
    assert outcome.exit_code == 1
    assert outcome.codes == ["database_unreadable"] * len(PACKAGED)
    assert len(met) == 1
    assert bed.state() == twins(())
    assert bed.journal.manifest(bed.journal.ids()[0])["status"] == "failed"
    bed.completes(twins)


def test_a_package_that_changes_under_way(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = bed.package / "sessions" / VICTIM.file_name

    def change(*arguments: Any, **options: Any) -> Any:
        victim.write_bytes(VICTIM.data().replace(b"Three", b"Seven"))
        return compose(*arguments, **options)

    before = bed.state()
    monkeypatch.setattr(staging, "compose", change)
    outcome = bed.sync(VICTIM)
    assert (outcome.exit_code, outcome.codes) == (1, ["package_changed"])
    assert bed.state() == before


# Steps that concern all

OF_ALL = [
    (name, when)
    for name in ("sync staged", "intend", "journal", "rows", "sync")
    for when in POINTS[name].times()
    if (name, when) != ("intend", "after")  # its last step is to write and sync
]


@pytest.mark.parametrize(("name", "when"), OF_ALL)
def test_a_failure_that_passes(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, twins: Twins, name: str, when: str
) -> None:
    """What fails for a batch and then works for each of its sessions."""
    with monkeypatch.context() as patched:
        assert strike(patched, name, when, NO_SPACE, 1) == []
        outcome = bed.sync()
    assert (outcome.exit_code, outcome.envelope["errors"]) == (0, [])
    assert bed.state() == twins(PACKAGED)
    assert bed.steps()[-1] == "done"
    bed.completes(twins)


@pytest.mark.parametrize("when", ["before", "half"])
def test_a_journal_that_cannot_be_written_any_more(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, twins: Twins, when: str
) -> None:
    point = POINTS["journal"]

    def fail() -> None:
        raise NO_SPACE

    with monkeypatch.context() as patched:
        patched.setattr(point.owner, point.name, faulty(point, when, fail, lambda _: True))
        outcome = bed.sync()
    assert outcome.exit_code == 1
    assert outcome.codes == ["write_failed"] * len(PACKAGED)
    assert bed.state() == twins(())
    bed.completes(twins)


@pytest.mark.parametrize("number", [2, 3])
def test_a_batch_that_cannot_be_confirmed(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, twins: Twins, number: int
) -> None:
    """From its ``done`` on nothing can be journaled: undone in the home, and left to recover."""
    point = POINTS["journal"]
    passed = iter(range(1, 100))

    def fail() -> None:
        raise NO_SPACE

    monkeypatch.setattr(commit, "BATCH_SESSIONS", 2)
    with monkeypatch.context() as patched:
        strikes = lambda _: next(passed) >= number  # noqa: E731
        patched.setattr(point.owner, point.name, faulty(point, "before", fail, strikes))
        outcome = bed.sync()
    if number == 3:  # the second batch is not even begun
        assert (outcome.exit_code, len(outcome.codes)) == (1, 2)
        assert bed.state() == twins((FIRST, SECOND))
    else:
        assert (outcome.exit_code, outcome.codes) == (5, ["transaction_interrupted"])
        assert "No space left on device" in outcome.envelope["errors"][0]["message"]
        assert bed.state() == twins(())
        assert bed.sync().exit_code == 5
        assert bed.command("recover", "--execute").exit_code == 0
    bed.completes(twins)


@pytest.mark.parametrize("name", ["finish", "discard"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_end_that_cannot_be_written(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, twins: Twins, name: str, when: str
) -> None:
    with monkeypatch.context() as patched:
        strike(patched, name, when, NO_SPACE, 1)
        outcome = bed.sync()
    assert (outcome.exit_code, outcome.codes) == (5, ["transaction_interrupted"])
    assert bed.state() == twins(PACKAGED)
    if (name, when) != ("finish", "after"):  # then it is ended all the same
        assert bed.sync().exit_code == 5
        recovered = bed.command("recover", "--execute")
        (found,) = recovered.envelope["data"]["transactions"]
        assert found["sessions_kept"] == sorted(one.id for one in PACKAGED)
        assert found["sessions_undone"] == []
    bed.completes(twins)


def test_a_beginning_that_cannot_be_written(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, twins: Twins
) -> None:
    with monkeypatch.context() as patched:
        strike(patched, "begin", "before", NO_SPACE, 1)
        outcome = bed.sync()
    assert (outcome.exit_code, outcome.codes) == (4, ["home_not_writable"])
    assert bed.state() == twins(())
    assert bed.journal.ids() == []
    bed.completes(twins)


@pytest.mark.parametrize("name", ["withdraw", "undo folder", "delete row"])
def test_an_undoing_that_fails_is_left_to_recover(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, twins: Twins, name: str
) -> None:
    with monkeypatch.context() as patched:
        strike(patched, "sync", "before", NO_SPACE, 1)
        strike(patched, name, "before", OSError(errno.EIO, "Input/output error"), 2)
        outcome = bed.sync()
    assert (outcome.exit_code, outcome.codes) == (5, ["transaction_interrupted"])
    assert "Input/output error" in outcome.envelope["errors"][0]["message"]
    assert bed.state() != twins(())
    assert bed.steps() == ["begun"]
    assert bed.sync().exit_code == 5
    assert bed.command("recover", "--execute").exit_code == 0
    assert bed.state() == twins(())
    bed.completes(twins)


def test_another_program_at_work_while_undoing(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, twins: Twins
) -> None:
    """Its line in the index stays; the batch is ended by recover, which says so."""
    point = POINTS["sidecar"]
    index = bed.home / "session_index.jsonl"

    def meddle() -> None:
        with index.open("a") as stream:
            stream.write('{"id":"mine"}\n')
        raise NO_SPACE

    with monkeypatch.context() as patched:
        patched.setattr(point.owner, point.name, faulty(point, "before", meddle, nth(1)))
        outcome = bed.sync(LAST)
    assert (outcome.exit_code, outcome.codes) == (5, ["transaction_interrupted"])
    recovered = bed.command("recover", "--execute")
    assert recovered.exit_code == 0
    assert [one["code"] for one in recovered.envelope["warnings"]] == ["home_changed"]
    assert '{"id":"mine"}' in index.read_text().splitlines()
    found, wanted = bed.state(), twins(())
    assert {k: v for k, v in found.items() if k != index.name} == {
        k: v for k, v in wanted.items() if k != index.name
    }
    assert bed.sync().exit_code == 0


# Being stopped


@pytest.mark.parametrize(
    ("name", "when"), [*OF_ONE_SESSION, ("row", "before"), ("row", "after"), ("mark", "before")]
)
def test_an_interrupt_undoes_the_batch(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, twins: Twins, name: str, when: str
) -> None:
    monkeypatch.setattr(commit, "BATCH_SESSIONS", 2)
    with monkeypatch.context() as patched:
        strike(patched, name, when, KeyboardInterrupt(), 2 if name == "mark" else ABOUT_VICTIM)
        outcome = bed.sync()
    assert (outcome.exit_code, outcome.codes) == (130, ["interrupted"])
    assert bed.state() == twins((FIRST, SECOND))
    manifest = bed.journal.manifest(bed.journal.ids()[0])
    assert manifest["status"] == "partial"
    assert manifest["counts"] == {"failed": 2, "imported": 2}
    assert set(bed.steps()) <= {"done", "undone"}
    bed.completes(twins)


def test_an_interrupt_while_undoing(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, twins: Twins
) -> None:
    with monkeypatch.context() as patched:
        strike(patched, "sync", "before", KeyboardInterrupt(), 1)
        strike(patched, "withdraw", "before", KeyboardInterrupt(), 2)
        outcome = bed.sync()
    assert outcome.exit_code == 130
    assert bed.journal.interrupted() == bed.journal.ids()
    assert bed.sync().exit_code == 5
    assert bed.command("recover", "--execute").exit_code == 0
    assert bed.state() == twins(())
    bed.completes(twins)
