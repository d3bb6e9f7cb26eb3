"""What a kill interrupted is undone, what was confirmed stands, what others changed is kept."""

from __future__ import annotations

import errno
import hashlib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from builders import Session, session_id
from codex_session_sync.codex import state_db
from codex_session_sync.codex.state_db import open_for_reading, open_for_writing
from codex_session_sync.errors import ExitCode, HomeError, InterruptedTransactionError
from codex_session_sync.journal import log
from codex_session_sync.journal.log import Journal, TransactionLog
from codex_session_sync.journal.operations import (
    AnyOperation,
    AppendText,
    CreateFile,
    MakeFolder,
    PutDocument,
    PutRow,
    Site,
)
from codex_session_sync.journal.playback import apply_all
from codex_session_sync.locks import codex_index_lock
from codex_session_sync.recovery import (
    RECENT,
    find_interrupted,
    recover,
    require_none_interrupted,
    unfinished_notices,
)
from workbench import add_rows, codex_home, make_database, tree

OLD = Session(1, start=10, name="Old").say("Was here before")
NEW = {number: Session(number, start=10 * number).say("New") for number in (2, 3)}
SKIPPED, REFUSED = session_id(8), session_id(9)


def planned(session: str, action: str = "import") -> dict[str, Any]:
    return {
        "session_id": session,
        "local_session_id": None,
        "classification": "new_lineage",
        "relation": "none",
        "action": action,
        "result": None,
    }


@dataclass
class Bed:
    """A used home with a transaction under way."""

    home: Path
    log: TransactionLog
    journal: Journal

    def operations(self, number: int) -> list[tuple[str, AnyOperation]]:
        """All that importing a session does, its file staged."""
        session = NEW[number]
        data, index = session.data(), self.home / "session_index.jsonl"
        (self.log.staged / str(number)).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        folder = f"archived_sessions_{number}"
        made: list[AnyOperation] = [
            MakeFolder(folder),
            CreateFile(f"{folder}/{session.file_name}", str(number), len(data), digest),
            PutRow("threads", None, session.row(str(self.home))),
            AppendText(index.name, index.stat().st_size, f'{{"id":"{session.id}"}}\n'),
            PutDocument(f"sidecars/{number}.json", None, "{}"),
        ]
        return [(session.id, operation) for operation in made]

    def intend(self, number: int) -> tuple[int, list[AnyOperation]]:
        pairs = self.operations(number)
        return self.log.intend(pairs), [operation for _, operation in pairs]

    def apply(self, operations: list[AnyOperation]) -> None:
        with open_for_writing(self.home / "state_5.sqlite") as database:
            site = Site(self.home, self.home / "session-sync", self.log.staged, database)
            apply_all(operations, site, [])

    def do(self, number: int) -> None:
        """A batch that was applied and not confirmed."""
        self.apply(self.intend(number)[1])

    def recover(self) -> list[str]:
        """Recover all there is; returns the codes of the notices."""
        home = codex_home(self.home)
        return [
            notice.code
            for found in find_interrupted(self.journal)
            for notice in recover(home, self.journal, found)
        ]

    def state(self) -> Any:
        """Files by content, and rows; not the journal."""
        files = tree(self.home, "session-sync/transactions", "state_5.sqlite")
        for suffix in ("-wal", "-shm"):
            files.pop(f"state_5.sqlite{suffix}", None)
        with open_for_reading(self.home / "state_5.sqlite") as database:
            assert database is not None
            found = [dict(row) for row in database.rows("threads")]
        return {path: what[-1] for path, what in files.items()}, found


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    home = tmp_path / "home"
    (home / "session-sync" / "sidecars").mkdir(parents=True)
    (home / "session_index.jsonl").write_text("first\n")
    add_rows(make_database(home), [OLD])
    journal = Journal(home / "session-sync")
    manifest: dict[str, Any] = {
        "kind": "sync",
        "status": "running",
        "program_version": "0",
        "created_at": "2026-03-02T09:00:00.000Z",
        "completed_at": None,
        "home": str(home),
        "package": None,
        "counts": {},
        "sessions": [
            planned(NEW[2].id),
            planned(NEW[3].id),
            planned(SKIPPED, "skip"),
            planned(REFUSED, "refuse"),
        ],
    }
    return Bed(home, journal.begin(manifest), journal)


def ended(bed: Bed) -> dict[str, Any]:
    """The manifest of the transaction, which must have ended."""
    require_none_interrupted(bed.journal)
    assert find_interrupted(bed.journal) == []
    assert not bed.log.staged.exists()
    return bed.journal.manifest(bed.log.transaction_id)


def test_nothing_starts_over_an_interrupted_transaction(bed: Bed) -> None:
    with pytest.raises(InterruptedTransactionError) as caught:
        require_none_interrupted(bed.journal)
    assert caught.value.code == "transaction_interrupted"
    assert caught.value.exit_code == ExitCode.INTERRUPTED
    assert bed.log.transaction_id in caught.value.message
    bed.recover()
    require_none_interrupted(bed.journal)


def test_a_transaction_killed_before_its_first_batch(bed: Bed) -> None:
    before = bed.state()
    assert bed.recover() == []
    assert bed.state() == before
    manifest = ended(bed)
    assert manifest["status"] == "recovered"
    assert manifest["counts"] == {"failed": 2, "refused": 1, "skipped": 1}


def test_what_was_confirmed_stands_and_the_rest_is_undone(bed: Bed) -> None:
    number, operations = bed.intend(2)
    bed.apply(operations)
    bed.log.mark("done", number)
    standing = bed.state()
    bed.do(3)
    assert bed.state() != standing

    (found,) = find_interrupted(bed.journal)
    shown = found.to_json()
    assert (shown["sessions_kept"], shown["sessions_undone"]) == ([NEW[2].id], [NEW[3].id])
    assert bed.recover() == []
    assert bed.state() == standing
    manifest = ended(bed)
    results = {one["session_id"]: one["result"] for one in manifest["sessions"]}
    assert results == {
        NEW[2].id: "imported",
        NEW[3].id: "failed",
        SKIPPED: "skipped",
        REFUSED: "refused",
    }
    assert manifest["counts"] == {"failed": 1, "imported": 1, "refused": 1, "skipped": 1}
    steps = [batch.step for batch in bed.journal.batches(bed.log.transaction_id)]
    assert steps == ["done", "undone"]


@pytest.mark.parametrize("applied", range(6))
def test_a_batch_killed_between_two_operations(bed: Bed, applied: int) -> None:
    before = bed.state()
    _, operations = bed.intend(2)
    bed.apply(operations[:applied])
    assert (bed.state() == before) == (applied == 0)
    assert bed.recover() == []
    assert bed.state() == before
    assert ended(bed)["status"] == "recovered"


def test_a_batch_whose_intent_is_torn_was_not_begun(bed: Bed) -> None:
    """Then nothing of it happened, whatever the home looks like by now."""
    bed.intend(2)
    path = bed.log.staged.parent / "operations.jsonl"
    path.write_bytes(path.read_bytes()[:-10])
    index = bed.home / "session_index.jsonl"
    index.write_text("first\nsomebody's\n")
    before = bed.state()
    assert bed.recover() == []
    assert bed.state() == before
    ended(bed)


def test_an_undone_batch_is_not_undone_again(bed: Bed) -> None:
    number, operations = bed.intend(2)
    bed.log.mark("undone", number)
    target = bed.home / "archived_sessions_2"
    target.mkdir()
    assert isinstance(operations[1], CreateFile)
    (bed.home / operations[1].path).write_bytes(NEW[2].data())
    before = bed.state()
    assert bed.recover() == []
    assert bed.state() == before


def test_batches_are_undone_newest_first(bed: Bed) -> None:
    before = bed.state()
    bed.do(2)
    bed.do(3)
    assert bed.recover() == []
    assert bed.state() == before


def test_several_transactions(bed: Bed) -> None:
    before = bed.state()
    bed.do(2)
    first = {k: v for k, v in bed.log.manifest.items() if k != "transaction_id"}
    other = bed.journal.begin({**first, "sessions": []})
    assert len(find_interrupted(bed.journal)) == 2
    bed.recover()
    assert bed.state() == before
    assert bed.journal.manifest(other.transaction_id)["status"] == "recovered"
    ended(bed)


def test_a_long_journal_is_not_read_for_each_command(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only of the newest it is asked whether they ended; a transaction is found by its name."""
    head = {k: v for k, v in bed.log.manifest.items() if k != "transaction_id"}
    bed.log.finish("completed", {}, [])
    for _ in range(2 * RECENT):
        bed.journal.begin(head).finish("completed", {}, [])
    running = bed.journal.begin(head)
    read: list[str] = []
    real = log._glance

    def glance(folder: Path) -> Any:
        read.append(folder.name)
        return real(folder)

    monkeypatch.setattr(log, "_glance", glance)
    with pytest.raises(InterruptedTransactionError):
        require_none_interrupted(bed.journal)
    [notice] = unfinished_notices(bed.journal)
    assert running.transaction_id in notice.message
    assert len(read) == 2 * RECENT

    def listed(_: object) -> Any:
        raise AssertionError("all transactions are listed")

    oldest = bed.log.transaction_id
    monkeypatch.setattr(Journal, "newest", listed)
    assert bed.journal.manifest(oldest)["transaction_id"] == oldest
    assert list(bed.journal.lines(oldest)) == []


def test_recovery_finds_what_was_interrupted_long_ago(bed: Bed) -> None:
    head = {k: v for k, v in bed.log.manifest.items() if k != "transaction_id"}
    for _ in range(RECENT):
        bed.journal.begin(head).finish("completed", {}, [])
    require_none_interrupted(bed.journal)
    [found] = find_interrupted(bed.journal)
    assert found.transaction_id == bed.log.transaction_id


# What another program did in the meantime


def _continue_file(bed: Bed) -> None:
    path = bed.home / f"archived_sessions_2/{NEW[2].file_name}"
    path.write_bytes(NEW[2].data() + b'{"a new":"turn"}\n')


def _continue_index(bed: Bed) -> None:
    with (bed.home / "session_index.jsonl").open("a") as stream:
        stream.write("somebody's\n")


def _rename(bed: Bed) -> None:
    with closing(sqlite3.connect(bed.home / "state_5.sqlite")) as connection, connection:
        connection.execute("UPDATE threads SET title = 'mine' WHERE id = ?", (NEW[2].id,))


def _edit_sidecar(bed: Bed) -> None:
    (bed.home / "session-sync/sidecars/2.json").write_text("[]")


@pytest.mark.parametrize("meddle", [_continue_file, _continue_index, _rename, _edit_sidecar])
def test_what_moved_on_is_kept_and_told(bed: Bed, meddle: Callable[[Bed], None]) -> None:
    before, rows = bed.state()
    bed.do(2)
    meddle(bed)
    files, _ = bed.state()
    assert bed.recover() == ["home_changed"]
    after, rows_after = bed.state()
    kept = {path for path in after if after[path] != before.get(path)}
    assert all(after[path] == files[path] for path in kept)
    wanted: dict[Callable[[Bed], None], set[str]] = {
        _continue_file: {"archived_sessions_2", f"archived_sessions_2/{NEW[2].file_name}"},
        _continue_index: {"session_index.jsonl"},
        _rename: set(),
        _edit_sidecar: {"session-sync/sidecars/2.json"},
    }
    assert kept == wanted[meddle]
    assert len(rows_after) == len(rows) + (meddle is _rename)
    ended(bed)
    assert bed.recover() == []


# Trouble while recovering


def test_a_recovery_that_fails_can_be_repeated(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    before = bed.state()
    bed.do(2)
    real = CreateFile.undo

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(CreateFile, "undo", fails)
    with pytest.raises(InterruptedTransactionError) as caught:
        bed.recover()
    assert "Input/output error" in caught.value.message
    assert len(find_interrupted(bed.journal)) == 1
    monkeypatch.setattr(CreateFile, "undo", real)
    assert bed.recover() == []
    assert bed.state() == before


def test_an_end_that_cannot_be_written(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    before = bed.state()
    bed.do(2)

    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(TransactionLog, "write_manifest", fails)
    with pytest.raises(InterruptedTransactionError):
        bed.recover()
    monkeypatch.undo()
    assert bed.recover() == []
    assert bed.state() == before
    ended(bed)


def test_a_busy_database_is_left_for_the_next_time(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_db, "BUSY_TIMEOUT_S", 0.05)
    before = bed.state()
    bed.do(2)
    with closing(sqlite3.connect(bed.home / "state_5.sqlite", isolation_level=None)) as codex:
        codex.execute("BEGIN IMMEDIATE")
        with pytest.raises(HomeError) as caught:
            bed.recover()
        assert caught.value.code == "database_busy"
        codex.rollback()
    assert bed.recover() == []
    assert bed.state() == before


def test_a_database_that_is_gone(bed: Bed) -> None:
    bed.do(2)
    database = bed.home / "state_5.sqlite"
    database.rename(bed.home / "elsewhere")
    with pytest.raises(HomeError) as caught:
        bed.recover()
    assert caught.value.code == "database_missing"
    (bed.home / "elsewhere").rename(database)
    assert bed.recover() == []


def test_the_index_is_locked_as_codex_locks_it(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[Path] = []

    def locked(home: Path) -> Any:
        held.append(home)
        return codex_index_lock(home)

    monkeypatch.setattr("codex_session_sync.recovery.codex_index_lock", locked)
    bed.do(2)
    bed.recover()
    assert held == [bed.home]
