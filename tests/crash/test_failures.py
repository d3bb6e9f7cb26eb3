"""Failures and kills at every step: a session is there as a whole or not at all.

The oracle is a twin: what a home looks like after the same sync of only those sessions that came
through, undisturbed.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from builders import Session, write_snapshot, write_transfer
from codex_session_sync import apply, staging
from codex_session_sync.codex.state_db import open_for_reading
from codex_session_sync.compose import compose
from codex_session_sync.journal.log import Journal
from crash.faults import POINTS, faulty, nth
from workbench import (
    Outcome,
    add_rows,
    call,
    environment,
    make_database,
    tree,
    with_tools,
)

DAY = 24 * 60
OLD = Session(1, start=10, name="Old").say("Was here before")
FIRST = Session(2, start=1 * DAY, name="First").say("One")
SECOND = Session(3, start=2 * DAY).say("Two").say("and more")
VICTIM = Session(4, start=3 * DAY, name="Victim").say("Three").say("and more")
LAST = Session(5, start=4 * DAY, name="Last", archived=True).say("Four")
PACKAGED = (FIRST, SECOND, VICTIM, LAST)
OTHERS = (FIRST, SECOND, LAST)

ABOUT_VICTIM = (VICTIM.id, "2026/03/05")
"""What is in the arguments of a step that concerns the victim."""

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


@dataclass
class Bed:
    """A used home, its index torn at the end, and a package."""

    root: Path

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def package(self) -> Path:
        return self.root / "package"

    @property
    def journal(self) -> Journal:
        return Journal(self.home / "session-sync")

    def sync(self, *sessions: Session) -> Outcome:
        """Sync the package, or some of it, in this process."""
        limits = [text for one in sessions for text in ("--session", one.id)]
        home = ("--codex-home", self.home)
        return call("sync", self.package, "--execute", "--no-prime", "--json", *limits, *home)

    def command(self, *arguments: str | Path) -> Outcome:
        """Another command on this home."""
        return call(*arguments, "--json", "--codex-home", self.home)

    def state(self) -> dict[str, Any]:
        """The home, without the journal and without what tells the time or place of the sync."""
        files = tree(self.home, "session-sync", "state_5.sqlite")
        found: dict[str, Any] = {
            path: what for path, what in files.items() if not path.startswith("state_5.sqlite-")
        }
        index = self.home / "session_index.jsonl"
        found[index.name] = sorted(index.read_bytes().split(b"\n"))
        for path in sorted(self.home.glob("session-sync/sidecars/*")):
            found[path.name] = [
                {**one, "transaction_id": "", "synced_at": ""}
                for one in json.loads(path.read_bytes())["mappings"]
            ]
        with open_for_reading(self.home / "state_5.sqlite") as database:
            assert database is not None
            for table in ("threads", "thread_dynamic_tools"):
                rows = [json.dumps(dict(row), sort_keys=True) for row in database.rows(table)]
                found[table] = [row.replace(str(self.home), "") for row in sorted(rows)]
        return found


def make_bed(root: Path) -> Bed:
    bed = Bed(root)
    root.mkdir(exist_ok=True)
    write_transfer(bed.package, PACKAGED)
    with_tools(bed.package, VICTIM)
    write_snapshot(bed.home, [OLD])
    os.utime(bed.home / OLD.relative_path, ns=(10**18, 10**18))
    index = bed.home / "session_index.jsonl"
    index.write_bytes(index.read_bytes() + b'{"id":"torn')
    add_rows(make_database(bed.home), [OLD])
    return bed


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return make_bed(tmp_path / "bed")


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the home looks like with some of the sessions; made once for each choice."""
    known: dict[tuple[int, ...], dict[str, Any]] = {}

    def twin(sessions: Iterable[Session]) -> dict[str, Any]:
        chosen = tuple(sessions)
        key = tuple(one.number for one in chosen)
        if key not in known:
            bed = make_bed(tmp_path_factory.mktemp("twin"))
            if chosen:
                assert bed.sync(*chosen).exit_code == 0
            known[key] = bed.state()
        return known[key]

    return twin


def steps(bed: Bed) -> list[str | None]:
    """How far the batches of the newest transaction came."""
    return [batch.step for batch in bed.journal.batches(bed.journal.ids()[0])]


def completes(bed: Bed, twins: Any) -> None:
    """The same sync, undisturbed, brings what is missing and nothing else."""
    assert bed.command("recover").envelope["status"] == "no_op"
    transactions = bed.home / "session-sync" / "transactions"
    assert [one for one in bed.journal.ids() if (transactions / one / "staged").exists()] == []
    assert bed.sync().exit_code == 0
    assert bed.state() == twins(PACKAGED)


def strike(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    when: str,
    error: BaseException,
    number: int | None = None,
) -> list[str]:
    """Have a step raise: where it is about the victim, or at its passage of a number.

    Returned is what each strike was about.
    """
    point = POINTS[name]
    struck: list[str] = []
    counted = nth(number) if number is not None else None

    def strikes(about: str) -> bool:
        hit = counted(about) if counted else any(text in about for text in ABOUT_VICTIM)
        if hit:
            struck.append(about)
        return hit

    def fail() -> None:
        raise error

    monkeypatch.setattr(point.owner, point.name, faulty(point, when, fail, strikes))
    return struck


OF_ONE_SESSION = [
    (name, when)
    for name in ("stage", "time", "folder", "place", "append", "sidecar")
    for when in POINTS[name].times()
    if (name, when) != ("sidecar", "half")  # only a kill leaves half of a whole document
]


# A session that fails


@pytest.mark.parametrize(("name", "when"), OF_ONE_SESSION)
def test_one_session_fails_and_the_others_are_imported(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, twins: Any, name: str, when: str
) -> None:
    with monkeypatch.context() as patched:
        struck = strike(patched, name, when, NO_SPACE)
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
    assert set(steps(bed)) <= {"done", "undone"}
    completes(bed, twins)


REFUSALS = {
    "constraint": "SELECT RAISE(ABORT, 'this database wants no such row')",
    "rollback": "SELECT RAISE(ROLLBACK, 'this database wants no such row')",
}


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("table", ["threads", "thread_dynamic_tools"])
def test_the_database_refuses_the_row_of_one_session(
    bed: Bed, twins: Any, refusal: str, table: str
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
    completes(bed, twins)


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


def test_the_database_fails_for_all(bed: Bed, monkeypatch: pytest.MonkeyPatch, twins: Any) -> None:
    """Its failure is no single session's: it is met once, not once for each of them."""
    real = sqlite3.connect
    met: list[str] = []

    class Failing(sqlite3.Connection):
        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
            if statement.startswith("INSERT"):
                met.append(statement)
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(statement, *values)

    monkeypatch.setattr(apply, "BATCH_SESSIONS", 2)
    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", partial(real, factory=Failing))
        outcome = bed.sync()
    assert outcome.exit_code == 1
    assert outcome.codes == ["database_unreadable"] * len(PACKAGED)
    assert len(met) == 1
    assert bed.state() == twins(())
    assert bed.journal.manifest(bed.journal.ids()[0])["status"] == "failed"
    completes(bed, twins)


def test_a_package_that_changes_under_way(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = bed.package / "sessions" / VICTIM.file_name

    def change(*arguments: Any) -> Any:
        victim.write_bytes(VICTIM.data().replace(b"Three", b"Seven"))
        return compose(*arguments)

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
    bed: Bed, monkeypatch: pytest.MonkeyPatch, twins: Any, name: str, when: str
) -> None:
    """What fails for a batch and then works for each of its sessions."""
    with monkeypatch.context() as patched:
        assert strike(patched, name, when, NO_SPACE, number=1) == []
        outcome = bed.sync()
    assert (outcome.exit_code, outcome.envelope["errors"]) == (0, [])
    assert bed.state() == twins(PACKAGED)
    assert steps(bed)[-1] == "done"
    completes(bed, twins)


@pytest.mark.parametrize("when", ["before", "half"])
def test_a_journal_that_cannot_be_written_any_more(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, twins: Any, when: str
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
    completes(bed, twins)


@pytest.mark.parametrize("number", [2, 3])
def test_a_batch_that_cannot_be_confirmed(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, twins: Any, number: int
) -> None:
    """From its ``done`` on nothing can be journaled: undone in the home, and left to recover."""
    point = POINTS["journal"]
    passed = iter(range(1, 100))

    def fail() -> None:
        raise NO_SPACE

    monkeypatch.setattr(apply, "BATCH_SESSIONS", 2)
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
    completes(bed, twins)


@pytest.mark.parametrize("name", ["finish", "discard"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_end_that_cannot_be_written(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, twins: Any, name: str, when: str
) -> None:
    with monkeypatch.context() as patched:
        strike(patched, name, when, NO_SPACE, number=1)
        outcome = bed.sync()
    assert (outcome.exit_code, outcome.codes) == (5, ["transaction_interrupted"])
    assert bed.state() == twins(PACKAGED)
    if (name, when) != ("finish", "after"):  # then it is ended all the same
        assert bed.sync().exit_code == 5
        recovered = bed.command("recover", "--execute")
        (found,) = recovered.envelope["data"]["transactions"]
        assert found["sessions_kept"] == sorted(one.id for one in PACKAGED)
        assert found["sessions_undone"] == []
    completes(bed, twins)


def test_a_beginning_that_cannot_be_written(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, twins: Any
) -> None:
    with monkeypatch.context() as patched:
        strike(patched, "begin", "before", NO_SPACE, number=1)
        outcome = bed.sync()
    assert (outcome.exit_code, outcome.codes) == (4, ["home_not_writable"])
    assert bed.state() == twins(())
    assert bed.journal.ids() == []
    completes(bed, twins)


@pytest.mark.parametrize("name", ["withdraw", "undo folder", "delete row"])
def test_an_undoing_that_fails_is_left_to_recover(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, twins: Any, name: str
) -> None:
    with monkeypatch.context() as patched:
        strike(patched, "sync", "before", NO_SPACE, number=1)
        strike(patched, name, "before", OSError(errno.EIO, "Input/output error"), number=2)
        outcome = bed.sync()
    assert (outcome.exit_code, outcome.codes) == (5, ["transaction_interrupted"])
    assert "Input/output error" in outcome.envelope["errors"][0]["message"]
    assert bed.state() != twins(())
    assert steps(bed) == ["begun"]
    assert bed.sync().exit_code == 5
    assert bed.command("recover", "--execute").exit_code == 0
    assert bed.state() == twins(())
    completes(bed, twins)


def test_another_program_at_work_while_undoing(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, twins: Any
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
    bed: Bed, monkeypatch: pytest.MonkeyPatch, twins: Any, name: str, when: str
) -> None:
    monkeypatch.setattr(apply, "BATCH_SESSIONS", 2)
    with monkeypatch.context() as patched:
        strike(patched, name, when, KeyboardInterrupt(), number=2 if name == "mark" else None)
        outcome = bed.sync()
    assert (outcome.exit_code, outcome.codes) == (130, ["interrupted"])
    assert bed.state() == twins((FIRST, SECOND))
    manifest = bed.journal.manifest(bed.journal.ids()[0])
    assert manifest["status"] == "partial"
    assert manifest["counts"] == {"failed": 2, "imported": 2}
    assert set(steps(bed)) <= {"done", "undone"}
    completes(bed, twins)


def test_an_interrupt_while_undoing(bed: Bed, monkeypatch: pytest.MonkeyPatch, twins: Any) -> None:
    with monkeypatch.context() as patched:
        strike(patched, "sync", "before", KeyboardInterrupt(), number=1)
        strike(patched, "withdraw", "before", KeyboardInterrupt(), number=2)
        outcome = bed.sync()
    assert outcome.exit_code == 130
    assert bed.journal.interrupted() == bed.journal.ids()
    assert bed.sync().exit_code == 5
    assert bed.command("recover", "--execute").exit_code == 0
    assert bed.state() == twins(())
    completes(bed, twins)


# Being killed

posix = pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")


@dataclass
class Driver:
    """Processes with a fault; in them two sessions make a batch."""

    process: subprocess.Popen[str]

    def run(self, bed: Bed, fault: tuple[str, str, int], sent: str, *more: str | Path) -> int:
        """The exit code of the command line, or the signal that ended it, negated."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        arguments = (*fault, sent, *map(str, more), "--json", "--codex-home", str(bed.home))
        self.process.stdin.write(json.dumps(arguments) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def sync(self, bed: Bed, fault: tuple[str, str, int], sent: str = "SIGKILL") -> int:
        """A sync of the whole package."""
        return self.run(bed, fault, sent, "sync", bed.package, "--execute", "--no-prime")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("faults.py"))],
        env=environment(tmp_path_factory.mktemp("driver")),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Driver(process)
        assert process.stdin is not None
        process.stdin.close()


# (point, when, passage) and the sessions that are there once it is recovered. The first passages
# of a step belong to the first batch with FIRST and SECOND, the later ones to VICTIM and LAST.
NONE, HALF, ALL = (), (FIRST, SECOND), PACKAGED
KILLS = [
    *[("begin", when, 1, NONE) for when in POINTS["begin"].times()],
    *[("manifest", when, 1, NONE) for when in POINTS["manifest"].times()],
    *[("stage", when, 2, NONE) for when in POINTS["stage"].times()],
    *[("time", when, 3, HALF) for when in POINTS["time"].times()],
    *[("sync staged", when, 2, HALF) for when in POINTS["sync staged"].times()],
    *[("intend", when, 2, HALF) for when in POINTS["intend"].times()],
    *[("journal", when, 1, NONE) for when in POINTS["journal"].times()],
    *[("folder", when, 3, HALF) for when in POINTS["folder"].times()],
    *[("place", when, 1, NONE) for when in POINTS["place"].times()],
    *[("place", when, 4, HALF) for when in POINTS["place"].times()],
    *[("row", when, 3, HALF) for when in POINTS["row"].times()],
    *[("rows", when, 1, NONE) for when in POINTS["rows"].times()],
    *[("append", when, 2, HALF) for when in POINTS["append"].times()],
    *[("append", when, 3, HALF) for when in POINTS["append"].times()],
    *[("sidecar", when, 4, HALF) for when in POINTS["sidecar"].times()],
    *[("sync", when, 2, HALF) for when in POINTS["sync"].times()],
    *[("mark", when, 1, NONE if when == "before" else HALF) for when in POINTS["mark"].times()],
    *[("journal", "half", 4, HALF)],
    *[("finish", when, 1, ALL) for when in POINTS["finish"].times()],
    *[("discard", when, 1, ALL) for when in POINTS["discard"].times()],
    *[("manifest", when, 2, ALL) for when in POINTS["manifest"].times()],
]


@posix
@pytest.mark.parametrize(("name", "when", "number", "there"), KILLS)
def test_a_kill_is_recovered(
    bed: Bed,
    driver: Driver,
    twins: Any,
    name: str,
    when: str,
    number: int,
    there: tuple[Session, ...],
) -> None:
    assert driver.sync(bed, (name, when, number)) == -signal.SIGKILL
    ids = bed.journal.ids()
    if bed.journal.interrupted():
        assert bed.sync().exit_code == 5
        planned = bed.command("recover")
        assert planned.envelope["status"] == "dry_run"
        (found,) = planned.envelope["data"]["transactions"]
        assert found["sessions_kept"] == sorted(one.id for one in there)
        recovered = bed.command("recover", "--execute")
        assert (recovered.exit_code, recovered.envelope["warnings"]) == (0, [])
        manifest = bed.journal.manifest(ids[0])
        assert manifest["status"] == "recovered"
        done = [one["session_id"] for one in manifest["sessions"] if one["result"] == "imported"]
        assert done == [one.id for one in there]
    else:
        assert not ids or bed.journal.manifest(ids[0])["status"] == "completed"
    assert bed.state() == twins(there)
    assert list(bed.home.glob("session-sync/sidecars/.*")) == []
    completes(bed, twins)


RECOVERY_KILLS = [
    (name, when)
    for name in ("undo all", "undo file", "delete row", "undo folder", "mark", "sweep", "finish")
    for when in ("before", "after")
]


@posix
@pytest.mark.parametrize(("name", "when"), RECOVERY_KILLS)
def test_a_killed_recovery_is_recovered(
    bed: Bed, driver: Driver, twins: Any, name: str, when: str
) -> None:
    assert driver.sync(bed, ("sync", "after", 1)) == -signal.SIGKILL
    killed = driver.run(bed, (name, when, 1), "SIGKILL", "recover", "--execute")
    assert killed == -signal.SIGKILL
    if (name, when) != ("finish", "after"):
        assert bed.sync().exit_code == 5
        assert bed.command("recover", "--execute").exit_code == 0
    assert bed.state() == twins(NONE)
    completes(bed, twins)


@posix
@pytest.mark.parametrize(
    ("sent", "exit_code"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGHUP", 129)]
)
def test_a_signal_undoes_the_batch(
    bed: Bed, driver: Driver, twins: Any, sent: str, exit_code: int
) -> None:
    assert driver.sync(bed, ("place", "after", 4), sent) == exit_code
    assert bed.journal.interrupted() == []
    assert bed.state() == twins(HALF)
    completes(bed, twins)
