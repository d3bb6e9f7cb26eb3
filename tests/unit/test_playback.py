"""Several operations, played forward and backward, also when one of them fails."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from builders import session_id
from codex_session_sync.errors import HomeError
from codex_session_sync.journal.operations import (
    AnyOperation,
    AppendText,
    CreateFile,
    ExtendFile,
    MakeFolder,
    MoveFile,
    PutDocument,
    PutRow,
    Site,
)
from codex_session_sync.journal.playback import apply_all, undo_all
from unit.operating import (
    ARCHIVED,
    DATA,
    LATER,
    LINE,
    LOCAL,
    ROW,
    SHA,
    START,
    THEN,
    TOOL,
    add_line,
    database_do,
    small_site,
    state,
    transcript_here,
)

site = pytest.fixture(small_site)

LINE_SHA = hashlib.sha256(LINE.encode()).hexdigest()


def _all(site: Site) -> list[AnyOperation]:
    (site.sync / "sidecars").mkdir(exist_ok=True)
    (site.staged / "1").write_bytes(LINE.encode())
    transcript_here(site)
    other = {**ROW, "id": session_id(2)}
    return [
        MakeFolder("archived_sessions"),
        CreateFile("archived_sessions/rollout-x.jsonl", "0", len(DATA), SHA),
        ExtendFile(LOCAL, "1", len(START), THEN, len(LINE.encode()), LINE_SHA, LATER),
        MoveFile(LOCAL, ARCHIVED, len(START) + len(LINE.encode())),
        PutRow("threads", None, ROW),
        PutRow("threads", None, other),
        PutRow("thread_dynamic_tools", None, TOOL),
        AppendText("session_index.jsonl", 6, LINE),
        PutDocument("sidecars/a.json", None, "{}"),
    ]


def test_all_together(site: Site) -> None:
    operations = _all(site)
    before = state(site)
    done: list[AnyOperation] = []
    apply_all(operations, site, done)
    assert set(map(id, done)) == set(map(id, operations))
    assert undo_all(operations, site) == []
    after = state(site)
    assert after[1:] == before[1:]
    assert {path: what for path, what in after[0].items() if path != "session_index.jsonl"} == {
        path: what for path, what in before[0].items() if path != "session_index.jsonl"
    }
    assert (site.home / "session_index.jsonl").read_text() == "first\n"


class Stopped(BaseException):
    """Stands for a signal."""


@pytest.mark.parametrize("failing", range(9))
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), Stopped(), HomeError("x", "x")]
)
def test_what_was_done_before_a_failure_is_told(
    site: Site, monkeypatch: pytest.MonkeyPatch, failing: int, error: BaseException
) -> None:
    operations = _all(site)
    before = state(site)
    victim = operations[failing]
    real = type(victim).apply

    def apply(self: AnyOperation, where: Site) -> None:
        if self is not victim:
            real(self, where)  # type: ignore[arg-type]
            return
        if not isinstance(error, HomeError):  # which promises that nothing was changed
            real(self, where)  # type: ignore[arg-type]
        raise error

    monkeypatch.setattr(type(victim), "apply", apply)
    done: list[AnyOperation] = []
    with pytest.raises(type(error)):
        apply_all(operations, site, done)
    monkeypatch.undo()
    assert (victim in done) == (not isinstance(error, HomeError))
    assert undo_all(done, site, keep_staged=True) == []
    after = state(site)
    assert after[0].keys() == before[0].keys()
    assert after[1:] == before[1:]
    assert (site.home / "session_index.jsonl").read_text() == "first\n"
    assert (site.staged / "0").read_bytes() == DATA


@pytest.mark.parametrize("kept", ["file", "row", "line", "document"])
def test_what_must_be_kept_does_not_keep_the_rest(site: Site, kept: str) -> None:
    operations = _all(site)
    apply_all(operations, site, [])
    file = site.home / "archived_sessions/rollout-x.jsonl"
    match kept:
        case "file":
            file.write_bytes(DATA + b"a new turn")
        case "row":
            database_do(site, "UPDATE threads SET title = 'renamed' WHERE id = ?", session_id(2))
        case "line":
            add_line(site, "session_index.jsonl")
        case "document":
            (site.sync / "sidecars/a.json").write_text("[]")
    problems = undo_all(operations, site)
    assert [problem.code for problem in problems] == ["home_changed"]
    index = (site.home / "session_index.jsonl").read_text()
    assert index == ("first\n" + LINE + "more\n" if kept == "line" else "first\n")
    assert file.exists() == (kept == "file")
    assert len(state(site)[1]) == (kept == "row")
    assert (site.sync / "sidecars/a.json").exists() == (kept == "document")


@pytest.mark.parametrize("kind", ["documents", "moves"])
def test_many_are_synced_together_and_one_place_step_by_step(
    site: Site, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The syncs of a batch do not grow with it, save where it changes one place again."""
    (site.sync / "sidecars").mkdir()
    folder = site.home / "archived_sessions"
    folder.mkdir()
    names = [str(number) for number in range(30)]
    many: list[AnyOperation] = []
    for name in names:
        if kind == "documents":
            many.append(PutDocument(f"sidecars/{name}.json", None, name))
        else:
            (folder / name).write_bytes(b"x")
            many.append(MoveFile(f"archived_sessions/{name}", f"sessions/{name}", 1))
    more: list[AnyOperation] = [
        PutDocument("sidecars/0.json", "0", "again"),
        PutDocument("sidecars/1.json", "1", None),
    ]
    if kind == "moves":
        more = [MoveFile("sessions/0", "sessions/again", 1)]
    before = state(site)
    syncs: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        syncs.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    apply_all([*many, *more], site, [])
    assert len(syncs) < len(names)
    if kind == "documents":
        assert (site.sync / "sidecars/0.json").read_text() == "again"
        assert not (site.sync / "sidecars/1.json").exists()
        assert len(list((site.sync / "sidecars").iterdir())) == len(names) - 1
    else:
        assert not list(folder.iterdir())
        assert (site.home / "sessions/again").exists()
        assert not (site.home / "sessions/0").exists()
    assert undo_all([*many, *more], site) == []
    assert state(site) == before


def test_rows_without_a_database(site: Site) -> None:
    without = Site(site.home, site.sync, site.staged, None)
    with pytest.raises(HomeError) as caught:
        undo_all([PutRow("threads", None, ROW)], without)
    assert caught.value.code == "database_missing"


def test_all_is_synced_before_it_counts_as_done(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[Path] = set()
    monkeypatch.setattr("codex_session_sync.journal.playback.sync_all", synced.update)
    operations = _all(site)
    apply_all(operations, site, [])
    files = {
        site.home / "archived_sessions",
        site.home / "archived_sessions/rollout-x.jsonl",
        site.home / "session_index.jsonl",
        site.home / LOCAL,
        site.home / ARCHIVED,
    }
    assert synced == files
    synced.clear()
    undo_all(operations, site)
    gone = {site.home / "archived_sessions/rollout-x.jsonl", site.home / ARCHIVED}
    assert synced == files - gone
