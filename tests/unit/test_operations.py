"""Each operation: done, done again, undone, undone again, and between the hands of others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest

from codex_session_sync.errors import HomeError
from codex_session_sync.journal.operations import (
    KINDS,
    AnyOperation,
    AppendText,
    CreateFile,
    MoveFolder,
    PutDocument,
    PutRow,
    Site,
)
from codex_session_sync.trees import digest_of
from unit.operating import (
    ARCHIVED,
    DATA,
    FILE,
    LINE,
    LOCAL,
    ROW,
    SHA,
    START,
    TOOL,
    add_line,
    add_thread,
    cut,
    database_do,
    extension,
    insertion,
    last_line,
    move,
    removal,
    run,
    small_site,
    state,
    thread_of,
)

site = pytest.fixture(small_site)


@dataclass(frozen=True)
class Case:
    """An operation, and what another program may do before or after it."""

    make: Callable[[Site], AnyOperation]
    meddle: Callable[[Site], object]
    """After it was applied."""
    spoil: Callable[[Site], object]
    """Before it is applied."""


def _new_row(_: Site) -> PutRow:
    return PutRow("threads", None, ROW)


def _other_row(site: Site) -> PutRow:
    add_thread(site, {**ROW, "title": "as it was", "git_sha": "abc", "updated_at": 5})
    return PutRow("threads", thread_of(site), ROW)


def _tool(site: Site) -> PutRow:
    add_thread(site, ROW)
    return PutRow("thread_dynamic_tools", None, TOOL)


def _document(site: Site) -> PutDocument:
    (site.sync / "sidecars").mkdir()
    (site.sync / "sidecars/a.json").write_text("{}")
    return PutDocument("sidecars/a.json", "{}", '{"später": 1}')


def _new_document(site: Site) -> PutDocument:
    (site.sync / "sidecars").mkdir()
    return PutDocument("sidecars/a.json", None, "{}")


def _folder(site: Site) -> MoveFolder:
    folder = site.home / "skills" / "a"
    folder.mkdir(parents=True)
    (folder / "SKILL.md").write_text("a\n")
    return MoveFolder("skills/a", "skills/b", digest_of(folder))


def _set_title(site: Site) -> None:
    database_do(site, "UPDATE threads SET title = 'renamed' WHERE id = ?", ROW["id"])


CASES = {
    "create_file": Case(
        lambda _: CreateFile(FILE, "0", len(DATA), SHA),
        lambda site: (site.home / FILE).write_bytes(DATA + b"more"),
        lambda site: (site.home / FILE).write_bytes(b"somebody's"),
    ),
    "extend_file": Case(
        extension,
        lambda site: add_line(site, LOCAL),
        lambda site: add_line(site, LOCAL),
    ),
    "move_file": Case(
        move,
        lambda site: (site.home / LOCAL).write_bytes(b"somebody's"),
        lambda site: (site.home / ARCHIVED).write_bytes(b"somebody's"),
    ),
    "move_folder": Case(
        _folder,
        lambda site: add_line(site, "skills/b/SKILL.md"),
        lambda site: add_line(site, "skills/a/SKILL.md"),
    ),
    "append_text": Case(
        lambda _: AppendText("session_index.jsonl", 6, LINE),
        lambda site: add_line(site, "session_index.jsonl"),
        lambda site: add_line(site, "session_index.jsonl"),
    ),
    "append_text to no file": Case(
        lambda _: AppendText("history.jsonl", None, LINE),
        lambda site: add_line(site, "history.jsonl"),
        lambda site: (site.home / "history.jsonl").write_text("somebody's\n"),
    ),
    "put_row, new": Case(_new_row, _set_title, lambda site: add_thread(site, {**ROW, "title": ""})),
    "put_row, replaced": Case(_other_row, _set_title, _set_title),
    "put_row, of a tool": Case(
        _tool,
        lambda site: database_do(site, "UPDATE thread_dynamic_tools SET name = 'other'"),
        lambda site: database_do(
            site,
            "INSERT INTO thread_dynamic_tools VALUES (?, 0, 'n', 'd', '{}', 0, NULL)",
            ROW["id"],
        ),
    ),
    "put_document": Case(
        _document,
        lambda site: (site.sync / "sidecars/a.json").write_text("{} "),
        lambda site: (site.sync / "sidecars/a.json").unlink(),
    ),
    "put_document, new": Case(
        _new_document,
        lambda site: (site.sync / "sidecars/a.json").write_text("[]"),
        lambda site: (site.sync / "sidecars/a.json").write_bytes(b"\xff"),
    ),
}


def _spoil_index(site: Site) -> None:
    (site.home / "session_index.jsonl").write_text("somebody's\n")


def _row_goes(site: Site) -> PutRow:
    add_thread(site, ROW)
    return PutRow("threads", thread_of(site), None)


def _columns_go_back(site: Site) -> PutRow:
    add_thread(site, {**ROW, "git_sha": "abc"})
    key = {"id": ROW["id"]}
    return PutRow(
        "threads",
        {**key, "title": ROW["title"], "git_sha": "abc"},
        {**key, "title": "as it was", "git_sha": None},
    )


def _document_goes(site: Site) -> PutDocument:
    (site.sync / "sidecars").mkdir()
    (site.sync / "sidecars/a.json").write_text("{}")
    return PutDocument("sidecars/a.json", "{}", None)


CASES |= {
    "cut_file": Case(
        cut,
        lambda site: add_line(site, LOCAL),
        lambda site: add_line(site, LOCAL),
    ),
    "move_file, with its digest": Case(
        lambda site: replace(move(site), sha256=hashlib.sha256(START).hexdigest()),
        lambda site: (site.home / ARCHIVED).write_bytes(START[::-1]),
        lambda site: (site.home / LOCAL).write_bytes(START[::-1]),
    ),
    "edit_text, removed": Case(removal, _spoil_index, _spoil_index),
    "edit_text, put back": Case(insertion, _spoil_index, _spoil_index),
    "edit_text, all of a file": Case(last_line, _spoil_index, _spoil_index),
    "put_row, removed": Case(
        _row_goes, lambda site: add_thread(site, {**ROW, "title": "again"}), _set_title
    ),
    "put_row, some columns": Case(_columns_go_back, _set_title, _set_title),
    "put_document, removed": Case(
        _document_goes,
        lambda site: (site.sync / "sidecars/a.json").write_text("[]"),
        lambda site: (site.sync / "sidecars/a.json").write_text("[]"),
    ),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@each_case
def test_applied_and_undone_any_number_of_times(site: Site, case: Case) -> None:
    operation = case.make(site)
    before = state(site)
    run(operation.undo, operation, site)
    assert state(site) == before, "undone although it was not done"
    (site.staged / "0").write_bytes(DATA)

    run(operation.apply, operation, site)
    after = state(site)
    assert after != before
    run(operation.apply, operation, site)
    assert state(site) == after
    run(operation.undo, operation, site)
    assert state(site) == before
    run(operation.undo, operation, site)
    assert state(site) == before
    assert not (isinstance(operation, CreateFile) and (site.staged / "0").exists())


@each_case
def test_what_another_program_changed_since_is_kept(site: Site, case: Case) -> None:
    operation = case.make(site)
    run(operation.apply, operation, site)
    case.meddle(site)
    changed = state(site)
    with pytest.raises(HomeError) as caught:
        run(operation.undo, operation, site)
    assert caught.value.code == "home_changed"
    assert state(site) == changed


@each_case
def test_what_another_program_was_first_with_is_kept(site: Site, case: Case) -> None:
    operation = case.make(site)
    case.spoil(site)
    changed = state(site)
    with pytest.raises(HomeError) as caught:
        run(operation.apply, operation, site)
    assert caught.value.code == "home_changed"
    assert state(site) == changed


@each_case
def test_undoing_what_was_not_done_keeps_what_another_program_did(site: Site, case: Case) -> None:
    operation = case.make(site)
    case.spoil(site)
    changed = state(site)
    with suppress(HomeError):
        run(operation.undo, operation, site)
    assert state(site) == changed


def test_every_kind_is_tested() -> None:
    tested = {name.split(",")[0].split(" ")[0] for name in CASES}
    assert tested | {"make_folder", "remove_folder", "forget_projection"} == set(KINDS)
