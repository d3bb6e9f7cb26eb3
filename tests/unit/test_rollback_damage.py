"""Rolling back where something of the home or of the journal cannot be read or was changed."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from builders import Session
from codex_session_sync.codex.state_db import StateDb
from codex_session_sync.errors import HomeError
from codex_session_sync.journal import log
from codex_session_sync.journal.operations import EditText, PutDocument, Site
from codex_session_sync.journal.playback import apply_all, undo_all
from rolling import Rolling, compress, make_rolling
from workbench import Outcome

DAY = 24 * 60
OWN = Session(1, start=10, name="Own").say("Was here before")
BEANS = Session(2, start=1 * DAY, name="Beans").say("How do beans climb?").say("And peas?")
ROSES = Session(3, start=2 * DAY).say("Which roses?")
OLD = Session(4, start=3 * DAY, name="Old", archived=True).say("Long ago")


@pytest.fixture
def bed(tmp_path: Path) -> Rolling:
    return make_rolling(tmp_path, [OWN])


def results(done: Outcome) -> dict[str, tuple[str, str | None]]:
    return {i: (one["result"], one["reason"]) for i, one in done.sessions.items()}


# Sessions that cannot be read


def _damaged(path: Path) -> None:
    compress(path)
    path.with_name(path.name + ".zst").write_bytes(b"garbage" * 30)


def _linked(path: Path) -> None:
    outside = path.parents[5] / "elsewhere.jsonl"
    path.rename(outside)
    path.symlink_to(outside)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


UNREADABLE: dict[str, tuple[Callable[[Path], None], str]] = {
    "damaged": (_damaged, "transcript_invalid"),
    "a link": (_linked, "path_escapes_home"),
    "a folder": (_folder, "write_failed"),
}


@pytest.mark.parametrize("how", UNREADABLE)
@pytest.mark.parametrize("continued", [False, True], ids=["imported", "continued"])
def test_one_that_cannot_be_read_does_not_stop_the_others(
    bed: Rolling, how: str, continued: bool
) -> None:
    transaction = bed.sync(BEANS, ROSES)
    if continued:
        transaction = bed.sync(BEANS.say("More"), ROSES.say("Red ones"))
    spoil, code = UNREADABLE[how]
    spoil(bed.path(BEANS))
    shown = bed.call("show-transaction", transaction)
    states = [one["now"]["state"] for one in shown.envelope["data"]["transaction"]["sessions"]]
    assert states == ["unclear", "as_left"]
    done = bed.rollback(transaction)
    assert done.exit_code == 1
    assert results(done) == {BEANS.id: ("refused", code), ROSES.id: ("undone", None)}


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{", b""])
def test_a_sidecar_that_is_none_is_foreseen(bed: Rolling, content: bytes) -> None:
    bed.sync(BEANS)
    transaction = bed.sync(BEANS.say("More"), ROSES)
    sidecar = _sidecar(bed, transaction)
    sidecar.write_bytes(content)
    done = bed.rollback(transaction)
    assert results(done) == {BEANS.id: ("refused", "sidecar_invalid"), ROSES.id: ("undone", None)}
    assert sidecar.read_bytes() == content


def test_a_sidecar_with_other_ends_of_lines(bed: Rolling) -> None:
    """It was changed since, so only the mapping goes back."""
    bed.sync(BEANS)
    transaction = bed.sync(BEANS.say("More"))
    sidecar = _sidecar(bed, transaction)
    sidecar.write_bytes(sidecar.read_bytes().replace(b"\n", b"\r\n"))
    bed.undo(transaction)


def _sidecar(bed: Rolling, transaction: str) -> Path:
    """The sidecar that a transaction wrote for a session."""
    [path] = [
        operation.path
        for batch in bed.journal.batches(transaction, ["put_document"])
        for session, operation in batch.operations
        if session == BEANS.id and isinstance(operation, PutDocument)
    ]
    return bed.home / "session-sync" / path


def test_a_database_that_may_not_be_written(bed: Rolling) -> None:
    """A transaction begins on it, so that every session by itself would fail."""
    uri = f"{bed.database.as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection,
        pytest.raises(HomeError) as raised,
    ):
        StateDb(connection, bed.database).require_writable()
    assert raised.value.code == "database_not_writable"


@pytest.mark.skipif(sys.platform == "win32", reason="Codex locks by flock")
def test_recovery_locks_a_session_once(bed: Rolling) -> None:
    """Also where two packaged sessions stand for it."""
    locks = bed.home / "thread-writer-locks"
    locks.mkdir()
    (locks / ".coordination.lock").touch()
    transaction = bed.sync(BEANS, ROSES)
    folder = bed.home / "session-sync" / "transactions" / transaction
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for session in manifest["sessions"]:
        session["local_session_id"] = BEANS.id
    (folder / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    operations = folder / "operations.jsonl"
    operations.write_bytes(b"".join(operations.read_bytes().splitlines(keepends=True)[:-1]))
    assert bed.call("recover", "--execute").exit_code == 0


# Files that come and go


def test_a_compressed_session_that_was_archived_comes_again(bed: Rolling) -> None:
    bed.sync(BEANS)
    compress(bed.path(BEANS))
    before = bed.state()
    back = bed.undo(bed.sync(replace(BEANS.say("More"), archived=True), ROSES))
    assert bed.path(BEANS).suffix == ".zst"
    again = bed.undo(back)
    assert bed.path(BEANS).parent.name == "archived_sessions"
    assert bed.path(BEANS).read_bytes() == BEANS.say("More").data()
    bed.undo(again)
    assert bed.state() == before


def test_edits_that_were_never_made_are_nothing_to_tell(tmp_path: Path) -> None:
    """Of three lines that a killed rollback was to put back or take out, none was or some were."""
    index = tmp_path / "session_index.jsonl"
    index.write_bytes(b"own\na\nb\nothers\n")
    site = Site(tmp_path, tmp_path, tmp_path, None)
    tails = [sha256(tail).hexdigest() for tail in (b"b\nothers\n", b"others\n", b"")]
    edits = [
        EditText(index.name, 4, "a\n", "", 15, 13, tails[0]),
        EditText(index.name, 4, "b\n", "", 13, 11, tails[1]),
        EditText(index.name, 11, "", "c\n", 11, 13, tails[2]),
    ]
    for made in range(4):
        apply_all(edits[:made], site, [])
        assert undo_all(edits, site) == []
        assert index.read_bytes() == b"own\na\nb\nothers\n"


def test_a_name_that_stays_is_told(bed: Rolling) -> None:
    index = bed.home / "session_index.jsonl"
    transaction = bed.sync(BEANS, OLD)
    lines = index.read_bytes().splitlines(keepends=True)
    respaced = [
        line.replace(b'":', b'": ') if BEANS.id.encode() in line else line for line in lines
    ]
    index.write_bytes(b"".join(respaced))
    done = bed.rollback(transaction)
    assert (done.exit_code, done.envelope["status"]) == (0, "ok")
    [warning] = done.envelope["warnings"]
    assert (warning["code"], warning["session_id"]) == ("name_stays", BEANS.id)
    assert len(index.read_bytes().splitlines()) == 2


# The journal


def test_order_is_that_of_execution_also_when_the_clock_is_set_back(
    bed: Rolling, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter(f"20261121T{hour}0000000000Z-0000000{hour[1]}" for hour in ("12", "11", "10"))
    monkeypatch.setattr(log, "new_id", lambda: next(moments))
    before = bed.state()
    first = bed.sync(BEANS)
    second = bed.sync(BEANS.say("More"))
    assert first == "20261121T120000000000Z-00000002"
    assert second == "20261121T120000000001Z-00000001"
    monkeypatch.undo()
    assert bed.call("rollback", "--latest").envelope["data"]["transaction_id"] == second
    assert results(bed.rollback(first)) == {BEANS.id: ("kept", "advanced_since")}
    bed.undo(second)
    bed.undo(first)
    assert bed.state() == before


@pytest.mark.parametrize("lines", [None, 0, 3, -1])
def test_a_list_of_operations_that_is_cut_off(bed: Rolling, lines: int | None) -> None:
    transaction = bed.sync(BEANS)
    path = bed.home / "session-sync" / "transactions" / transaction / "operations.jsonl"
    whole = path.read_bytes().splitlines(keepends=True)
    if lines is None:
        path.unlink()
    else:
        path.write_bytes(b"".join(whole[:lines]))
    for more in ((), ("--execute",)):
        done = bed.call("rollback", transaction, *more)
        assert (done.exit_code, done.codes) == (4, ["operation_invalid"])
        assert "backup" in done.envelope["errors"][0]["hint"]
    shown = bed.call("show-transaction", transaction)
    assert [one["code"] for one in shown.envelope["warnings"]] == ["operation_invalid"]


@pytest.mark.parametrize("content", [b'{"x":1}\n', b"\xff\n", None])
def test_damage_of_another_transaction(bed: Rolling, content: bytes | None) -> None:
    """Only what that one had made stays: the folders."""
    first = bed.sync(BEANS)
    other = bed.sync(ROSES)
    last = bed.sync(OLD)
    path = bed.home / "session-sync" / "transactions" / other / "operations.jsonl"
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    bed.undo(last)
    bed.undo(first)
    assert not (bed.home / BEANS.relative_path).parent.exists()
