"""Transactions on disk: written ahead, whole lines only, checked when they are read."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from builders import session_id
from codex_session_sync import validation
from codex_session_sync.errors import HomeError, UsageError
from codex_session_sync.journal import log as log_module
from codex_session_sync.journal.log import Journal, TransactionLog
from codex_session_sync.journal.operations import AnyOperation, AppendText, MakeFolder

ONE, TWO = session_id(1), session_id(2)
FIRST: list[tuple[str, AnyOperation]] = [
    (ONE, MakeFolder("sessions")),
    (TWO, AppendText("session_index.jsonl", None, '{"id":"ü"}\n')),
]
SECOND: list[tuple[str, AnyOperation]] = [(TWO, MakeFolder("archived_sessions"))]
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


def manifest(**more: object) -> dict[str, Any]:
    return {
        "kind": "sync",
        "status": "running",
        "program_version": "0",
        "created_at": "2026-03-02T09:00:00.000Z",
        "completed_at": None,
        "home": "/home/me/.codex",
        "package": None,
        "counts": {},
        "sessions": [],
        **more,
    }


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    (tmp_path / "session-sync").mkdir()
    return Journal(tmp_path / "session-sync")


def folder_of(log: TransactionLog) -> Path:
    return log.staged.parent


def lines_of(log: TransactionLog) -> bytes:
    path = folder_of(log) / "operations.jsonl"
    return path.read_bytes() if path.exists() else b""


def steps(journal: Journal, log: TransactionLog) -> list[str | None]:
    return [batch.step for batch in journal.batches(log.transaction_id)]


def test_a_transaction_from_beginning_to_end(journal: Journal) -> None:
    log = journal.begin(manifest())
    assert journal.interrupted() == [log.transaction_id]
    assert journal.batches(log.transaction_id) == []
    assert log.staged.is_dir()
    first = log.intend(FIRST)
    assert steps(journal, log) == ["begun"]
    assert log.undecided == {first}
    log.mark("done", first)
    second = log.intend(SECOND)
    log.mark("undone", second)
    assert log.undecided == set()

    one, two = journal.batches(log.transaction_id)
    assert (one.number, one.step, list(one.operations)) == (first, "done", FIRST)
    assert (two.number, two.step, list(two.operations)) == (second, "undone", SECOND)

    (log.staged / "0").write_bytes(b"left over")
    log.finish("completed", {"imported": 1}, [])
    assert not log.staged.exists()
    assert journal.interrupted() == []
    found = journal.manifest(log.transaction_id)
    assert (found["status"], found["counts"]) == ("completed", {"imported": 1})
    assert found["completed_at"] >= found["created_at"]
    assert [one.name for one in folder_of(log).iterdir() if one.name.endswith(".tmp")] == []


def test_the_end_is_written_last(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill before it leaves a transaction to recover, and no staged file for ever."""
    log = journal.begin(manifest())
    seen: list[bool] = []
    monkeypatch.setattr(log, "write_manifest", lambda: seen.append(log.staged.exists()))
    log.finish("completed", {}, [])
    assert seen == [False]


def test_transactions_are_listed_newest_first(journal: Journal) -> None:
    assert journal.ids() == []
    logs = [journal.begin(manifest()) for _ in range(5)]
    ids = [log.transaction_id for log in logs]
    assert len(set(ids)) == 5
    assert journal.ids() == ids[::-1]
    assert [one["transaction_id"] for one in journal.manifests()] == ids[::-1]


def test_a_transaction_is_found_by_its_beginning(journal: Journal) -> None:
    logs = [journal.begin(manifest()) for _ in range(2)]
    whole = logs[0].transaction_id
    assert journal.manifest(whole)["transaction_id"] == whole
    assert journal.manifest(whole[:-1])["transaction_id"] == whole
    for given in ("", "x", whole + "0", "../" + whole, whole[:8], "."):
        with pytest.raises(UsageError) as caught:
            journal.manifest(given)
        assert caught.value.code == "transaction_unknown"


def test_folders_and_files_that_are_no_transactions(journal: Journal, tmp_path: Path) -> None:
    log = journal.begin(manifest())
    stray = tmp_path / "session-sync" / "transactions"
    (stray / "20990101T000000000000Z-00000000" / "staged").mkdir(parents=True)
    (stray / "notes.txt").write_text("mine")
    assert journal.ids() == [log.transaction_id]
    with pytest.raises(UsageError):
        journal.manifest("20990101T000000000000Z-00000000")


# Written ahead


def test_nothing_is_intended_before_it_is_on_disk(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = journal.begin(manifest())
    synced: list[bytes] = []

    def sync(descriptor: int) -> None:
        del descriptor
        synced.append(lines_of(log))

    folders: list[Path] = []
    monkeypatch.setattr(log_module, "sync_descriptor", sync)
    monkeypatch.setattr(log_module, "sync_folder", folders.append)
    log.intend(FIRST)
    log.mark("done", 1)
    log.intend(SECOND)
    assert [found.count(b"\n") for found in synced] == [3, 4, 6]
    assert folders == [folder_of(log)]


def test_the_way_to_a_new_journal_is_synced(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: set[Path] = set()
    monkeypatch.setattr(log_module, "sync_folder", folders.add)
    journal.begin(manifest())
    sync_dir = tmp_path / "session-sync"
    assert folders == {sync_dir / "transactions", sync_dir, tmp_path}


@pytest.mark.parametrize("what", ["staged", "manifest"])
def test_a_transaction_that_cannot_begin_leaves_nothing(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise NO_SPACE

    if what == "staged":
        monkeypatch.setattr(Path, "mkdir", fails)
    else:
        monkeypatch.setattr(log_module, "write_atomic", fails)
    with pytest.raises(HomeError) as caught:
        journal.begin(manifest())
    assert caught.value.code == "home_not_writable"
    assert "No space left" in caught.value.message
    monkeypatch.undo()
    assert journal.ids() == []
    assert list((tmp_path / "session-sync").glob("transactions/*")) == []


# Torn and failed writes


class Full(FileIO):
    """A file on a disk that takes ``room`` more bytes, in small portions."""

    room = 0

    def write(self, data: Any) -> int:
        if type(self).room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        part = bytes(data)[: min(7, type(self).room)]
        type(self).room -= len(part)
        return super().write(part)


def _on_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def opened(self: Path, mode: str = "r", *arguments: Any, **more: Any) -> Any:
        if self.name == "operations.jsonl" and mode.startswith("a"):
            return Full(self, mode)
        return real(self, mode, *arguments, **more)

    monkeypatch.setattr(Path, "open", opened)


@pytest.mark.parametrize("room", [0, 1, 40, 200])
def test_a_full_disk_leaves_no_part_of_a_batch(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    log = journal.begin(manifest())
    log.mark("done", log.intend(FIRST))
    before = lines_of(log)
    Full.room = room
    _on_a_full_disk(monkeypatch)
    with pytest.raises(OSError, match="No space left"):
        log.intend(FIRST)
    assert lines_of(log) == before
    assert log.undecided == set()
    monkeypatch.undo()
    log.mark("done", log.intend(SECOND))
    assert steps(journal, log) == ["done", "done"]


def test_portions_make_a_whole(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    log = journal.begin(manifest())
    Full.room = 10**6
    _on_a_full_disk(monkeypatch)
    log.intend(FIRST)
    assert [list(one.operations) for one in journal.batches(log.transaction_id)] == [FIRST]


def test_a_failed_sync_takes_the_lines_back(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = journal.begin(manifest())
    log.intend(FIRST)
    before = lines_of(log)

    def fails(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(log_module, "sync_descriptor", fails)
    with pytest.raises(KeyboardInterrupt):
        log.mark("done", 1)
    assert lines_of(log) == before
    assert log.undecided == {1}
    assert steps(journal, log) == ["begun"]


def test_every_torn_ending_is_read_and_written_on(journal: Journal) -> None:
    """A kill may leave any beginning of what was being written."""
    log = journal.begin(manifest())
    log.mark("done", log.intend(FIRST))
    whole = lines_of(log)
    log.intend(SECOND)
    added = lines_of(log)[len(whole) :]
    path = folder_of(log) / "operations.jsonl"
    for cut in range(len(added) + 1):
        path.write_bytes(whole + added[:cut])
        found = journal.batches(log.transaction_id)
        assert (found[0].step, list(found[0].operations)) == ("done", FIRST)
        lines = added[:cut].count(b"\n")
        assert [one.step for one in found[1:]] == {0: [], 1: [None], 2: ["begun"]}[lines]

        log = journal.reopen(log.transaction_id)
        log.mark("undone", 2)
        found = journal.batches(log.transaction_id)
        assert [one.step for one in found] == ["done", "undone"][: 1 + bool(lines)]
        assert path.read_bytes().startswith(whole)


@pytest.mark.parametrize("size", [10, 1 << 16, (1 << 16) + 1, 200_000])
def test_a_long_torn_line_is_cut(journal: Journal, size: int) -> None:
    log = journal.begin(manifest())
    log.intend(FIRST)
    whole = lines_of(log)
    with (folder_of(log) / "operations.jsonl").open("ab") as stream:
        stream.write(b"x" * size)
    log.mark("done", 1)
    assert lines_of(log) == whole + b'{"step":"done","batch":1}\n'
    (folder_of(log) / "operations.jsonl").write_bytes(b"x" * size)
    log.mark("done", 1)
    assert lines_of(log) == b'{"step":"done","batch":1}\n'


# What is read is checked


@pytest.mark.parametrize(
    "line",
    [
        b"no json\n",
        b"\n",
        b"[]\n",
        b'{"step":"done"}\n',
        b'{"step":"finished","batch":1}\n',
        b'{"step":"done","batch":0}\n',
        b'{"step":"intent","batch":1,"session_id":"x","operation":{"kind":"rm","path":"/"}}\n',
        b'{"step":"done","batch":1,"more":1}\n',
    ],
)
def test_a_damaged_line_is_named(journal: Journal, line: bytes) -> None:
    log = journal.begin(manifest())
    log.intend(FIRST)
    path = folder_of(log) / "operations.jsonl"
    path.write_bytes(line + path.read_bytes())
    with pytest.raises(HomeError) as caught:
        journal.batches(log.transaction_id)
    assert caught.value.code == "operation_invalid"
    assert "line 1" in caught.value.message


DAMAGED: dict[str, Callable[[dict[str, Any]], object]] = {
    "schema": lambda m: m.update(schema="codex-session-sync/transaction/2"),
    "id": lambda m: m.update(transaction_id="x"),
    "kind": lambda m: m.update(kind="other"),
    "status": lambda m: m.update(status="done"),
    "no status": lambda m: m.pop("status"),
    "counts": lambda m: m.update(counts={"imported": -1}),
    "sessions": lambda m: m.update(sessions=[{"session_id": "x"}]),
    "more": lambda m: m.update(more=1),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_manifest_is_checked(journal: Journal, damage: Callable[[Any], object]) -> None:
    log = journal.begin(manifest())
    path = folder_of(log) / "manifest.json"
    document = json.loads(path.read_bytes())
    validation.check("transaction", document, "it", HomeError)
    damage(document)
    path.write_text(json.dumps(document))
    for read in (
        lambda: journal.manifest(log.transaction_id),
        lambda: list(journal.manifests()),
        journal.interrupted,  # as it has not ended
    ):
        with pytest.raises(HomeError) as caught:
            read()
        assert caught.value.code == "transaction_invalid"
        assert str(path) in caught.value.message


def test_only_what_has_not_ended_is_read_to_the_end(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = {"completed", "partial", "failed", "recovered"}
    for status in ended:
        journal.begin(manifest()).finish(status, {}, [])
    running = journal.begin(manifest())
    checked: list[str] = []

    def load(_: str, data: bytes, *__: object) -> Any:
        document = json.loads(data)
        checked.append(document["transaction_id"])
        return document

    monkeypatch.setattr(validation, "load", load)
    assert journal.interrupted() == [running.transaction_id]
    assert checked == [running.transaction_id]
    schema = Path(validation.__file__).parent / "schemas" / "transaction.schema.json"
    known = set(json.loads(schema.read_bytes())["properties"]["status"]["enum"])
    assert known == ended | {"running"}


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"null"])
def test_a_manifest_that_is_none(journal: Journal, data: bytes) -> None:
    log = journal.begin(manifest())
    (folder_of(log) / "manifest.json").write_bytes(data)
    with pytest.raises(HomeError) as caught:
        journal.interrupted()
    assert caught.value.code == "transaction_invalid"


def test_no_manifest_is_written_that_does_not_fit(journal: Journal) -> None:
    log = journal.begin(manifest())
    before = (folder_of(log) / "manifest.json").read_bytes()
    with pytest.raises(HomeError):
        log.finish("well", {}, [])
    assert (folder_of(log) / "manifest.json").read_bytes() == before
    with pytest.raises(HomeError):
        journal.begin(manifest(kind="other"))


def test_a_journal_survives_a_copy_without_empty_folders(journal: Journal) -> None:
    log = journal.begin(manifest())
    log.intend(FIRST)
    shutil.rmtree(log.staged)
    assert journal.interrupted() == [log.transaction_id]
    journal.reopen(log.transaction_id).finish("recovered", {}, [])
    assert journal.interrupted() == []
