"""Each operation: done, done again, undone, undone again, and between the hands of others."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import Session, session_id
from codex_session_sync import validation
from codex_session_sync.codex.client import prime
from codex_session_sync.codex.state_db import open_for_writing
from codex_session_sync.codex.thread_history import projected
from codex_session_sync.errors import HomeError
from codex_session_sync.journal.operations import (
    KINDS,
    AnyOperation,
    AppendText,
    CreateFile,
    CutFile,
    EditText,
    ExtendFile,
    ForgetProjection,
    MakeFolder,
    MoveFile,
    MoveFolder,
    PutDocument,
    PutRow,
    RemoveFolder,
    Site,
    from_json,
    to_json,
)
from codex_session_sync.journal.playback import apply_all, undo_all
from codex_session_sync.trees import digest_of
from codexbed import CURRENT, require_codex
from codexbed.install import cache_directory
from workbench import STATE_SCHEMA, insert, make_database, tree

DATA = b'{"type":"session_meta"}\n' * 20
SHA = hashlib.sha256(DATA).hexdigest()
FILE = "sessions/2026/03/02/rollout-x.jsonl"
LOCAL = "sessions/2026/03/02/rollout-y.jsonl"
ARCHIVED = "archived_sessions/rollout-y.jsonl"
START = b'{"type":"session_meta","id":"y"}\n' * 5
THEN, LATER = 1_700_000_000_000_000_000, 1_800_000_000_000_000_000
ROW = Session(1, start=10, name="Roses").say("How?").row("/home/me/.codex")
TOOL = {
    "thread_id": ROW["id"],
    "position": 0,
    "name": "water",
    "description": "waters",
    "input_schema": "{}",
    "defer_loading": 0,
    "namespace": None,
}
LINE = '{"id":"x","thread_name":"Für Elise"}\n'
LINE_SHA = hashlib.sha256(LINE.encode()).hexdigest()


@pytest.fixture(scope="session")
def real_schema(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The statements with which the real program made its database; it is not fetched for them
    alone, but on CI."""
    if not os.environ.get("CI") and not cache_directory().is_dir():
        pytest.skip(f"Codex {CURRENT} is not installed for tests")
    home = tmp_path_factory.mktemp("real")
    prime(require_codex(), home, os.environ)
    with closing(sqlite3.connect(home / "state_5.sqlite")) as connection:
        found = connection.execute(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
            " ORDER BY type = 'index', type = 'trigger'"
        )
        return ";\n".join(row[0] for row in found) + ";"


@pytest.fixture(params=["small", "real"])
def schema(request: pytest.FixtureRequest) -> str:
    if request.param == "small":
        return STATE_SCHEMA
    found: str = request.getfixturevalue("real_schema")
    return found


def make_site(root: Path, schema: str = STATE_SCHEMA) -> Iterator[Site]:
    home, staged = root / "home", root / "home/session-sync/transactions/t/staged"
    staged.mkdir(parents=True)
    (home / "sessions/2026/03/02").mkdir(parents=True)
    (staged / "0").write_bytes(DATA)
    (home / "session_index.jsonl").write_text("first\n")
    with open_for_writing(make_database(home, schema)) as database:
        assert database is not None
        yield Site(home, home / "session-sync", staged, database)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    yield from make_site(tmp_path)


def state(site: Site) -> Any:
    """The whole home: files, folders, rows; not what waits to be put in place."""
    files = tree(site.home, "state_5.sqlite", "state_5.sqlite-wal", "state_5.sqlite-shm")
    waiting = site.staged.relative_to(site.home).as_posix()
    assert site.database is not None
    return (
        # A document that is put back and a file that is cut have another time.
        {
            path: what if path in (FILE, LOCAL, ARCHIVED) else (*what[:2], what[-1])
            for path, what in files.items()
            if not path.startswith(waiting)
        },
        [dict(row) for row in site.database.rows("threads")],
        [dict(row) for row in site.database.rows("thread_dynamic_tools")],
    )


def database_do(site: Site, statement: str, *values: object) -> None:
    """What another program does to the database."""
    with closing(sqlite3.connect(site.home / "state_5.sqlite")) as connection, connection:
        connection.execute(statement, values)


def add_line(site: Site, path: str) -> None:
    with (site.home / path).open("a") as stream:
        stream.write("more\n")


def add_thread(site: Site, row: dict[str, Any]) -> None:
    with closing(sqlite3.connect(site.home / "state_5.sqlite")) as connection, connection:
        insert(connection, "threads", row)


def thread_of(site: Site) -> dict[str, Any]:
    assert site.database is not None
    return dict(next(iter(site.database.rows("threads", [str(ROW["id"])]))))


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


def _local(site: Site) -> Path:
    """A transcript that is here already."""
    path = site.home / LOCAL
    path.write_bytes(START)
    os.utime(path, ns=(THEN, THEN))
    return path


def _extension(site: Site) -> ExtendFile:
    _local(site)
    return ExtendFile(LOCAL, "0", len(START), THEN, len(DATA), SHA, LATER)


def _move(site: Site) -> MoveFile:
    _local(site)
    (site.home / "archived_sessions").mkdir()
    return MoveFile(LOCAL, ARCHIVED, len(START))


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
        _extension,
        lambda site: add_line(site, LOCAL),
        lambda site: add_line(site, LOCAL),
    ),
    "move_file": Case(
        _move,
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


def _kept(site: Site) -> Path:
    return site.staged.parent / "y.rest"


def _cut(site: Site) -> CutFile:
    path = _local(site)
    path.write_bytes(START + DATA)
    os.utime(path, ns=(LATER, LATER))
    kept = _kept(site).relative_to(site.home).as_posix()
    return CutFile(LOCAL, kept, len(START), len(DATA), SHA, LATER, THEN)


def _index(site: Site, text: str) -> tuple[str, int]:
    """An index with a text between two others; its tail's digest and its size."""
    (site.home / "session_index.jsonl").write_text(f"first\n{text}last\n")
    return hashlib.sha256(b"last\n").hexdigest(), len(f"first\n{text}last\n".encode())


def _removal(site: Site) -> EditText:
    tail, size = _index(site, LINE)
    return EditText("session_index.jsonl", 6, LINE, "", size, size - len(LINE.encode()), tail)


def _return(site: Site) -> EditText:
    tail, size = _index(site, "")
    return EditText("session_index.jsonl", 6, "", LINE, size, size + len(LINE.encode()), tail)


def _last_line(site: Site) -> EditText:
    (site.home / "session_index.jsonl").write_text(LINE)
    nothing = hashlib.sha256(b"").hexdigest()
    return EditText("session_index.jsonl", 0, LINE, "", len(LINE.encode()), None, nothing)


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
        _cut,
        lambda site: add_line(site, LOCAL),
        lambda site: add_line(site, LOCAL),
    ),
    "move_file, with its digest": Case(
        lambda site: replace(_move(site), sha256=hashlib.sha256(START).hexdigest()),
        lambda site: (site.home / ARCHIVED).write_bytes(START[::-1]),
        lambda site: (site.home / LOCAL).write_bytes(START[::-1]),
    ),
    "edit_text, removed": Case(_removal, _spoil_index, _spoil_index),
    "edit_text, put back": Case(_return, _spoil_index, _spoil_index),
    "edit_text, all of a file": Case(_last_line, _spoil_index, _spoil_index),
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


def run(change: Callable[[Site], None], operation: AnyOperation, site: Site) -> None:
    """One operation, in a database transaction where it needs one."""
    if not isinstance(operation, PutRow):
        return change(site)
    assert site.database is not None
    with site.database.transaction():
        return change(site)


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


# Folders


def test_a_folder(site: Site) -> None:
    before = state(site)
    operation = MakeFolder("sessions/2027")
    operation.undo(site)
    operation.apply(site)
    operation.apply(site)
    assert (site.home / "sessions/2027").is_dir()
    operation.undo(site)
    operation.undo(site)
    assert state(site) == before


def test_a_folder_that_others_use_stays(site: Site) -> None:
    operation = MakeFolder("sessions/2027")
    operation.apply(site)
    (site.home / "sessions/2027/notes").write_text("mine")
    changed = state(site)
    operation.undo(site)
    assert state(site) == changed


def test_a_file_in_the_place_of_a_folder_stays(site: Site) -> None:
    operation = MakeFolder("sessions/2027")
    (site.home / "sessions/2027").write_text("mine")
    changed = state(site)
    with pytest.raises(FileExistsError):
        operation.apply(site)
    operation.undo(site)
    assert state(site) == changed


def test_a_folder_that_is_removed(site: Site) -> None:
    (site.home / "sessions/2027").mkdir()
    before = state(site)
    operation = RemoveFolder("sessions/2027")
    operation.undo(site)
    assert state(site) == before
    operation.apply(site)
    operation.apply(site)
    assert not (site.home / "sessions/2027").exists()
    operation.undo(site)
    assert state(site) == before
    (site.home / "sessions/2027/notes").write_text("mine")
    changed = state(site)
    operation.apply(site)
    assert state(site) == changed


# Files


def test_a_file_keeps_its_time(site: Site) -> None:
    os.utime(site.staged / "0", ns=(10**18, 10**18))
    CreateFile(FILE, "0", len(DATA), SHA).apply(site)
    assert (site.home / FILE).stat().st_mtime_ns == 10**18


@pytest.mark.parametrize("change", ["undo", "withdraw"])
def test_a_file_that_was_linked_and_not_yet_moved(site: Site, change: str) -> None:
    before = state(site)
    os.link(site.staged / "0", site.home / FILE)
    operation = CreateFile(FILE, "0", len(DATA), SHA)
    getattr(operation, change)(site)
    assert state(site) == before
    assert (site.staged / "0").exists() == (change == "withdraw")


def test_a_file_is_withdrawn_for_another_attempt(site: Site) -> None:
    before = state(site)
    operation = CreateFile(FILE, "0", len(DATA), SHA)
    operation.withdraw(site)
    operation.apply(site)
    assert not (site.staged / "0").exists()
    operation.withdraw(site)
    operation.withdraw(site)
    assert state(site) == before
    assert (site.staged / "0").read_bytes() == DATA
    operation.apply(site)
    assert (site.home / FILE).read_bytes() == DATA


def test_another_file_of_the_same_name_is_not_withdrawn(site: Site) -> None:
    (site.home / FILE).write_bytes(b"somebody's")
    operation = CreateFile(FILE, "0", len(DATA), SHA)
    operation.withdraw(site)
    assert (site.home / FILE).read_bytes() == b"somebody's"
    assert (site.staged / "0").read_bytes() == DATA


def test_a_file_of_equal_size_and_other_content_is_not_ours(site: Site) -> None:
    operation = CreateFile(FILE, "0", len(DATA), SHA)
    operation.apply(site)
    (site.home / FILE).write_bytes(DATA[::-1])
    with pytest.raises(HomeError):
        operation.undo(site)
    assert (site.home / FILE).read_bytes() == DATA[::-1]


# Transcripts that are cut


@pytest.mark.parametrize("appended", [0, 1, len(DATA) - 1, len(DATA)])
def test_a_cut_that_is_undone_in_part_is_undone(site: Site, appended: int) -> None:
    operation = _cut(site)
    before = state(site)
    operation.apply(site)
    assert (site.home / LOCAL).read_bytes() == START
    assert (site.home / LOCAL).stat().st_mtime_ns == THEN
    assert _kept(site).read_bytes() == DATA
    with (site.home / LOCAL).open("ab") as stream:
        stream.write(DATA[:appended])
    operation.undo(site)
    assert state(site) == before
    assert not _kept(site).exists()


@pytest.mark.parametrize("written", [0, 1, len(DATA) - 1, len(DATA)])
def test_an_end_that_is_kept_in_part(site: Site, written: int) -> None:
    operation = _cut(site)
    before = state(site)
    _kept(site).write_bytes(DATA[:written])
    operation.undo(site)
    assert state(site) == before
    _kept(site).write_bytes(DATA[:written])
    operation.apply(site)
    assert _kept(site).read_bytes() == DATA


def test_an_end_that_is_lost_is_told(site: Site) -> None:
    operation = _cut(site)
    operation.apply(site)
    _kept(site).unlink()
    for change in (operation.apply, operation.undo):
        with pytest.raises(HomeError) as caught:
            change(site)
        assert caught.value.code == "home_changed"


def test_another_end_of_equal_length_is_not_cut(site: Site) -> None:
    operation = _cut(site)
    (site.home / LOCAL).write_bytes(START + DATA[::-1])
    with pytest.raises(HomeError):
        operation.apply(site)
    assert (site.home / LOCAL).read_bytes() == START + DATA[::-1]
    assert not _kept(site).exists()


# Lines of the index


@pytest.mark.parametrize("make", [_removal, _return])
def test_what_others_append_to_the_index_stays(
    site: Site, make: Callable[[Site], EditText]
) -> None:
    operation = make(site)
    before = (site.home / "session_index.jsonl").read_text()
    add_line(site, "session_index.jsonl")
    operation.apply(site)
    after = (site.home / "session_index.jsonl").read_text()
    assert after in (f"first\n{LINE}last\nmore\n", "first\nlast\nmore\n")
    operation.apply(site)
    assert (site.home / "session_index.jsonl").read_text() == after
    operation.undo(site)
    operation.undo(site)
    assert (site.home / "session_index.jsonl").read_text() == f"{before}more\n"


def test_an_index_that_goes_unless_others_use_it(site: Site) -> None:
    operation = _last_line(site)
    index = site.home / "session_index.jsonl"
    index.chmod(0o600)
    add_line(site, index.name)
    operation.apply(site)
    assert index.read_text() == "more\n"
    assert index.stat().st_mode & 0o777 == 0o600


# What Codex worked out


HISTORY = """
CREATE TABLE thread_history_projection_state (thread_id TEXT PRIMARY KEY, place INTEGER);
CREATE TABLE thread_turns (thread_id TEXT, turn_id TEXT);
CREATE TABLE thread_items (item_id TEXT);
INSERT INTO thread_history_projection_state VALUES ('x', 1), ('y', 2);
INSERT INTO thread_turns VALUES ('x', '1'), ('x', '2'), ('y', '1');
INSERT INTO thread_items VALUES ('x');
"""


def test_the_projection_of_one_segment_is_forgotten(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "thread_history_1.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(HISTORY)
    assert projected(path) == {"x", "y"}
    at = replace(site, history_db=path)
    for change in (ForgetProjection("x").apply, ForgetProjection("x").undo):
        change(at)
        with closing(sqlite3.connect(path)) as connection:
            turns = connection.execute("SELECT * FROM thread_turns").fetchall()
            items = connection.execute("SELECT * FROM thread_items").fetchall()
        assert (turns, items) == ([("y", "1")], [("x",)])
    assert projected(path) == {"y"}


def test_a_projection_that_is_not_there(site: Site, tmp_path: Path) -> None:
    for path in (None, tmp_path / "nothing.sqlite"):
        ForgetProjection("x").apply(replace(site, history_db=path))
    assert projected(tmp_path / "nothing.sqlite") == frozenset()
    assert not (tmp_path / "nothing.sqlite").exists()


def test_a_projection_that_is_locked(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codex_session_sync.codex.state_db.BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "thread_history_1.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(HISTORY)
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(HomeError) as caught:
            ForgetProjection("x").apply(replace(site, history_db=path))
    assert caught.value.code == "database_busy"


# Transcripts that are extended


def test_an_extended_file_is_what_it_was_and_more(site: Site) -> None:
    operation = _extension(site)
    target = site.home / LOCAL
    number = target.stat().st_ino
    operation.apply(site)
    assert target.read_bytes() == START + DATA
    assert target.stat().st_mtime_ns == LATER
    assert target.stat().st_ino == number, "the file is the same one"
    assert (site.staged / "0").read_bytes() == DATA, "it waits for another attempt"
    operation.undo(site)
    assert target.read_bytes() == START
    assert target.stat().st_mtime_ns == THEN
    assert target.stat().st_ino == number


TORN = [0, 1, len(DATA) // 2, len(DATA) - 1, len(DATA)]


@pytest.mark.parametrize("chunk", [7, 1 << 20])
@pytest.mark.parametrize("written", TORN)
@pytest.mark.parametrize("waiting", [True, False], ids=["staged", "staged no more"])
def test_a_torn_extension_is_undone_or_done_again(
    site: Site, monkeypatch: pytest.MonkeyPatch, written: int, waiting: bool, chunk: int
) -> None:
    monkeypatch.setattr("codex_session_sync.journal.files._CHUNK", chunk)
    operation = _extension(site)
    target = site.home / LOCAL
    before = state(site)
    with target.open("ab") as stream:
        stream.write(DATA[:written])
    if waiting:
        operation.apply(site)
        assert target.read_bytes() == START + DATA
        os.truncate(target, len(START) + written)
    else:
        (site.staged / "0").unlink()
    if waiting or written in (0, len(DATA)):
        operation.undo(site)
        assert state(site) == before
    else:  # what is there cannot be told from another program's
        with pytest.raises(HomeError):
            operation.undo(site)
        assert target.read_bytes() == START + DATA[:written]


@pytest.mark.parametrize("change", ["apply", "undo"])
@pytest.mark.parametrize(
    "found",
    [
        START + DATA[:50] + b"x",
        START + b"x" * len(DATA),
        START + DATA + b"x",
        START + DATA[1:],
        START[:-1],
        b"",
        None,
    ],
    ids=["after a part", "as long", "after all", "shifted", "shorter", "empty", "gone"],
)
def test_a_transcript_that_went_on_elsewise_is_left(
    site: Site, change: str, found: bytes | None
) -> None:
    operation = _extension(site)
    target = site.home / LOCAL
    if found is None:
        target.unlink()
    else:
        target.write_bytes(found)
    changed = state(site)
    with pytest.raises(HomeError) as caught:
        getattr(operation, change)(site)
    assert caught.value.code == "home_changed"
    assert state(site) == changed


def test_a_full_disk_while_extending(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    operation = _extension(site)
    before = state(site)

    def fill(source: Any, stream: Any, _: int) -> None:
        stream.write(source.read(30))
        raise OSError(errno.ENOSPC, "No space left on device")

    done: list[AnyOperation] = []
    with monkeypatch.context() as patched:
        patched.setattr("shutil.copyfileobj", fill)
        with pytest.raises(OSError, match="No space"):
            apply_all([operation], site, done)
    assert (site.home / LOCAL).read_bytes() == START + DATA[:30]
    assert undo_all(done, site, keep_staged=True) == []
    assert state(site) == before
    operation.apply(site)
    assert (site.home / LOCAL).read_bytes() == START + DATA


# Files that are moved


def test_a_moved_file_is_the_same_one(site: Site) -> None:
    operation = _move(site)
    number = (site.home / LOCAL).stat().st_ino
    operation.apply(site)
    moved = (site.home / ARCHIVED).stat()
    assert (moved.st_ino, moved.st_mtime_ns) == (number, THEN)
    assert not (site.home / LOCAL).exists()


@pytest.mark.parametrize("change", ["apply", "undo"])
def test_a_move_that_was_cut_short(site: Site, change: str) -> None:
    """Linked under the new name, and not yet gone from the old one."""
    operation = _move(site)
    os.link(site.home / LOCAL, site.home / ARCHIVED)
    getattr(operation, change)(site)
    wanted, other = (ARCHIVED, LOCAL) if change == "apply" else (LOCAL, ARCHIVED)
    assert (site.home / wanted).read_bytes() == START
    assert not (site.home / other).exists()


def test_a_file_that_is_gone_is_not_moved(site: Site) -> None:
    operation = _move(site)
    (site.home / LOCAL).unlink()
    changed = state(site)
    with pytest.raises(HomeError) as caught:
        operation.apply(site)
    assert caught.value.code == "home_changed"
    assert state(site) == changed


def test_a_file_is_never_without_a_name(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new name is durable, with the folders on the way to it, while the old one is there."""
    operation = _move(site)
    synced: list[tuple[Path, bool, bool]] = []

    def sync(folder: Path) -> None:
        synced.append((folder, (site.home / LOCAL).exists(), (site.home / ARCHIVED).exists()))

    monkeypatch.setattr("codex_session_sync.journal.files.sync_folder", sync)
    old, new = (site.home / LOCAL).parent, (site.home / ARCHIVED).parent
    operation.apply(site)
    assert synced == [(new, True, True), (site.home, True, True), (old, False, True)]
    synced.clear()
    operation.undo(site)
    way = [old, *(one for one in old.parents if one.is_relative_to(site.home))]
    assert synced == [*((one, True, True) for one in way), (new, True, False)]


# Appended text


@pytest.mark.parametrize("written", range(len(LINE.encode()) + 1))
@pytest.mark.parametrize("there", [True, False], ids=["after a line", "in a new file"])
def test_a_torn_append_is_undone(site: Site, written: int, there: bool) -> None:
    target = site.home / "session_index.jsonl"
    if not there:
        target.unlink()
    before = state(site)
    operation = AppendText(target.name, 6 if there else None, LINE)
    with target.open("ab") as stream:
        stream.write(LINE.encode()[:written])
    operation.undo(site)
    files, expected = state(site)[0], before[0]
    assert files.keys() == expected.keys()
    if there:
        assert target.read_bytes() == b"first\n"


def test_appends_to_one_file_are_undone_backwards(site: Site) -> None:
    before = state(site)
    first = AppendText("session_index.jsonl", 6, "\nä\n")
    second = AppendText("session_index.jsonl", 6 + len("\nä\n".encode()), "b\n")
    apply_all([first, second], site, [])
    assert (site.home / "session_index.jsonl").read_text() == "first\n\nä\nb\n"
    assert undo_all([first, second], site) == []
    assert (site.home / "session_index.jsonl").read_text() == "first\n"
    assert state(site)[1:] == before[1:]


def test_a_shorter_file_is_not_ours_to_cut(site: Site) -> None:
    operation = AppendText("session_index.jsonl", 6, LINE)
    operation.apply(site)
    (site.home / "session_index.jsonl").write_text("rew")
    operation.undo(site)
    assert (site.home / "session_index.jsonl").read_text() == "rew"


# Rows


@pytest.fixture
def real_site(tmp_path: Path, schema: str) -> Iterator[Site]:
    yield from make_site(tmp_path, schema)


def test_rows_under_the_triggers_of_codex(real_site: Site) -> None:
    """Triggers fill in times that are 0, and times in ms that seem to have been forgotten."""
    site = real_site
    empty = state(site)
    untimed = {**ROW, "recency_at": 0, "recency_at_ms": 0, "updated_at_ms": 7}
    new = PutRow("threads", None, untimed)
    run(new.apply, new, site)
    assert thread_of(site)["recency_at_ms"] == 0
    before = state(site)
    later = PutRow("threads", thread_of(site), {**untimed, "updated_at": ROW["updated_at"] + 60})
    run(later.apply, later, site)
    assert thread_of(site)["updated_at_ms"] == 7
    run(later.apply, later, site)
    run(later.undo, later, site)
    assert state(site) == before
    run(new.undo, new, site)
    assert state(site) == empty


def test_a_row_that_is_not_kept_as_written(site: Site) -> None:
    before = state(site)
    operation = PutRow("threads", None, {**ROW, "tokens_used": "15"})
    with pytest.raises(HomeError) as caught:
        run(operation.apply, operation, site)
    assert caught.value.code == "row_not_kept"
    assert "tokens_used" in caught.value.message
    assert state(site) == before


@pytest.mark.parametrize(
    "value", [True, 2**63, -(2**63) - 1, float("inf"), float("nan"), b"bytes", [1]], ids=repr
)
def test_a_row_that_the_journal_or_the_database_cannot_hold(value: Any) -> None:
    for before, after in ((None, {**ROW, "title": value}), ({**ROW, "title": value}, ROW)):
        with pytest.raises(HomeError) as caught:
            PutRow("threads", before, after)
        assert caught.value.code == "row_not_kept"
        assert "title" in caught.value.message


def test_a_row_keeps_columns_that_the_change_does_not_name(site: Site) -> None:
    add_thread(site, {**ROW, "git_sha": "abc"})
    change = PutRow("threads", thread_of(site), {"id": ROW["id"], "title": "new"})
    run(change.apply, change, site)
    assert (thread_of(site)["title"], thread_of(site)["git_sha"]) == ("new", "abc")


def test_a_row_of_a_thread_is_undone_with_its_tools(site: Site) -> None:
    before = state(site)
    operations = [PutRow("threads", None, ROW), PutRow("thread_dynamic_tools", None, TOOL)]
    apply_all(operations, site, [])
    assert len(state(site)[2]) == 1
    assert undo_all(operations, site) == []
    assert state(site) == before


def test_a_tool_needs_its_thread(site: Site) -> None:
    operation = PutRow("thread_dynamic_tools", None, TOOL)
    with pytest.raises(HomeError) as caught:
        run(operation.apply, operation, site)
    assert caught.value.code == "row_not_kept"
    assert "FOREIGN KEY" in caught.value.message


# Several operations, played forward and backward


def _all(site: Site) -> list[AnyOperation]:
    (site.sync / "sidecars").mkdir(exist_ok=True)
    (site.staged / "1").write_bytes(LINE.encode())
    _local(site)
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


# Paths


ESCAPES = ["../outside", "/outside", "sessions/../../outside", "a\\..\\b", "C:/x", "", "a\0b"]


@pytest.mark.parametrize("path", [*ESCAPES, "link/x"])
def test_nothing_leaves_the_home(site: Site, path: str) -> None:
    outside = site.home.parent / "outside"
    outside.mkdir()
    (site.home / "link").symlink_to(outside)
    (site.sync / "link").symlink_to(outside)
    before = tree(site.home.parent)
    for operation in (
        MakeFolder(path),
        CreateFile(path, "0", len(DATA), SHA),
        ExtendFile(path, "0", 0, THEN, len(DATA), SHA, LATER),
        MoveFile(path, "sessions/x.jsonl", 6),
        MoveFile("session_index.jsonl", path, 6),
        AppendText(path, None, LINE),
        PutDocument(path, None, "{}"),
    ):
        for change in (operation.apply, operation.undo):
            with pytest.raises(HomeError) as caught:
                change(site)
            assert caught.value.code == "path_escapes_home"
    assert tree(site.home.parent) == before


# On disk

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBER = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.dictionaries(TEXT, st.none() | TEXT | NUMBER)
SIZE = st.integers(0, 2**53)

OPERATIONS = st.one_of(
    st.builds(MakeFolder, TEXT),
    st.builds(
        CreateFile,
        TEXT,
        st.integers(0, 10**6).map(str),
        SIZE,
        st.binary(min_size=32, max_size=32).map(bytes.hex),
    ),
    st.builds(
        ExtendFile,
        TEXT,
        st.integers(0, 10**6).map(str),
        SIZE,
        st.integers(-(2**63), 2**63 - 1),
        SIZE,
        st.binary(min_size=32, max_size=32).map(bytes.hex),
        st.integers(-(2**63), 2**63 - 1),
    ),
    st.builds(MoveFile, TEXT, TEXT, SIZE),
    st.builds(AppendText, TEXT, st.none() | SIZE, TEXT),
    st.builds(PutRow, st.sampled_from(["threads", "thread_dynamic_tools"]), st.none() | ROWS, ROWS),
    st.builds(PutDocument, TEXT, st.none() | TEXT, TEXT),
)


@given(OPERATIONS)
def test_an_operation_survives_the_journal(operation: AnyOperation) -> None:
    document = {"step": "intent", "batch": 1, "session_id": "s", "operation": to_json(operation)}
    data = orjson.dumps(document)
    read = validation.load("operation", data, "a line", HomeError)
    found = from_json(read["operation"])
    assert found == operation
    assert type(found) is type(operation)
    assert json.loads(data) == read


@pytest.mark.parametrize(
    "operation",
    [
        {"kind": "remove_file", "path": "x"},
        {"kind": "make_folder"},
        {"kind": "make_folder", "path": "x", "mode": 5},
        {"kind": "create_file", "path": "x", "staged": "../0", "size": 1, "sha256": SHA},
        {"kind": "create_file", "path": "x", "staged": "0", "size": -1, "sha256": SHA},
        {"kind": "create_file", "path": "x", "staged": "0", "size": 1, "sha256": SHA[1:]},
        {**to_json(ExtendFile("x", "0", 1, 2, 3, SHA, 4)), "staged": "../0"},
        {**to_json(ExtendFile("x", "0", 1, 2, 3, SHA, 4)), "size": -1},
        {**to_json(ExtendFile("x", "0", 1, 2, 3, SHA, 4)), "mtime_ns": None},
        {**to_json(ExtendFile("x", "0", 1, 2, 3, SHA, 4)), "sha256": "x"},
        {"kind": "move_file", "path": "x", "size": 1},
        {"kind": "move_file", "path": "x", "new_path": None, "size": 1},
        {"kind": "append_text", "path": "x", "size_before": -1, "text": "x"},
        {"kind": "put_row", "table": "other", "before": None, "after": {}},
        {"kind": "put_row", "table": "threads", "before": None, "after": {"x": [1]}},
        {"kind": "put_document", "path": "x", "before": None, "after": None},
    ],
)
def test_no_other_document_is_an_operation(operation: dict[str, Any]) -> None:
    line = {"step": "intent", "batch": 1, "session_id": "s", "operation": operation}
    with pytest.raises(HomeError) as caught:
        validation.check("operation", line, "a line", HomeError)
    assert caught.value.code == "operation_invalid"
