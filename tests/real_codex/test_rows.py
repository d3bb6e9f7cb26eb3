"""What a sync writes into a home: rows, column by column, and files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from codexbed import LEGACY, CodexHome, ModelServer, copy_home, records, rows, view
from real_codex.syncing import (
    FORMS,
    WITHOUT_ROWS,
    Case,
    Source,
    file_of,
    fresh_home,
    sync,
    told,
)

Row = dict[str, Any]

# A row that Codex took over from an old release lacks what the transcript tells of it; a session
# of several files becomes one; a name that only the index has is put into the row.
BETTER_THAN_THE_SOURCE = {"originator", "rollout_path", "name"}

# Without rows, what Codex notes when it happens is taken from the first and the last record's
# time, and what it keeps of the first message from the history that still stands.
APPROXIMATE = {"created_at", "updated_at", "recency_at", "archived_at"}
NOT_IN_A_TRANSCRIPT = {
    "archived",
    "archived_at",
    "created_at_ms",
    "recency_at_ms",
    "sandbox_policy",
    "updated_at_ms",
}
# In one file with its history, nothing tells that a fork has no message of its own.
FLATTENED = {("transfer by pack", "fork_no_turn"): {"title", "first_user_message"}}
FIRST_MESSAGE = {"title", "preview", "first_user_message"}


def threads(home: Path) -> dict[str, Row]:
    return {row["id"]: row for row in rows(home, "threads")}


def milliseconds(timestamp: str) -> int:
    return round(datetime.fromisoformat(timestamp).timestamp() * 1000)


def required_columns(home: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{home}/state_5.sqlite?mode=ro", uri=True)) as database:
        found = database.execute("PRAGMA table_info(threads)").fetchall()
    return [name for _, name, _, notnull, _, _ in found if notnull]


def assert_complete(home: Path, ids: list[str]) -> None:
    found, required = threads(home), required_columns(home)
    for session_id in ids:
        row = found[session_id]
        assert [column for column in required if row[column] is None] == []
        path = file_of(home, session_id)
        meta = records(path)[0]["payload"]
        assert row["rollout_path"] == str(path)
        assert row["archived"] == int(path.parent.name == "archived_sessions")
        assert row["source"]
        assert row["cwd"] == meta["cwd"]
        if "history_mode" in row:
            assert row["history_mode"] == meta.get("history_mode", "legacy")
            assert row["preview"]


def test_rows_are_complete(outcome: Case) -> None:
    assert_complete(outcome.home.home, outcome.found.imported)


def test_rows_say_what_they_said_at_the_source(outcome: Case, source: Source) -> None:
    given, written = threads(source.home.home), threads(outcome.home.home)
    kinds = source.kinds()
    for session_id in outcome.found.imported:
        seen = source.views[kinds[session_id]]
        excused = BETTER_THAN_THE_SOURCE | FLATTENED.get((outcome.form, kinds[session_id]), set())
        if outcome.form in WITHOUT_ROWS:
            excused |= NOT_IN_A_TRANSCRIPT | APPROXIMATE
            if told(seen, outcome.form) != seen:
                excused |= FIRST_MESSAGE
        differ = {
            column: (value, written[session_id][column])
            for column, value in given[session_id].items()
            if column not in excused and value != written[session_id][column]
        }
        # The model and the approval policy of both homes are the same here.
        assert (kinds[session_id], differ) == (kinds[session_id], {})
        for stem in ("created_at", "updated_at", "recency_at"):
            assert written[session_id][f"{stem}_ms"] // 1000 == written[session_id][stem]


def test_without_rows_the_records_tell_the_times(outcome: Case) -> None:
    if outcome.form not in WITHOUT_ROWS:
        return
    for session_id, row in threads(outcome.home.home).items():
        if session_id in outcome.found.imported:
            found = records(file_of(outcome.home.home, session_id))
            assert row["created_at_ms"] == milliseconds(found[0]["payload"]["timestamp"])
            assert row["updated_at_ms"] == milliseconds(found[-1]["timestamp"])
            assert row["recency_at_ms"] == row["updated_at_ms"]


def test_the_index_names_the_named(outcome: Case) -> None:
    lines = outcome.found.after.index.removeprefix(outcome.found.before.index).splitlines()
    named = {i for i, seen in outcome.found.views.items() if seen.name is not None}
    assert len(lines) == len(named)
    for session_id in named:
        assert any(session_id.encode() in line for line in lines)


def test_files_have_the_time_of_their_last_record(outcome: Case) -> None:
    for session_id in outcome.found.imported:
        path = file_of(outcome.home.home, session_id)
        last = milliseconds(records(path)[-1]["timestamp"])
        assert path.stat().st_mtime_ns == last * 1_000_000


def test_files_are_self_contained(outcome: Case) -> None:
    for session_id in outcome.found.imported:
        found = records(file_of(outcome.home.home, session_id))
        meta = found[0]["payload"]
        assert (found[0]["type"], meta["id"]) == ("session_meta", session_id)
        assert not meta.keys() & {"history_base", "forked_from_ordinal_exclusive"}
        if meta.get("history_mode") == "paginated":
            ordinals = [record["ordinal"] for record in found]
            assert ordinals == sorted(set(ordinals))
            named = {record["payload"].get("thread_id", session_id) for record in found}
            assert named == {session_id}


# -- dynamic tools ------------------------------------------------------------------------------

TOOL = {
    "name": "look_up",
    "description": "Looks something up",
    "input_schema": '{"type":"object","properties":{}}',
    "defer_loading": 0,
}


def add_tools(home: Path, session_id: str) -> list[Row]:
    added = [{"thread_id": session_id, "position": n, **TOOL, "name": f"look_up_{n}"} for n in "01"]
    with closing(sqlite3.connect(home / "state_5.sqlite")) as database, database:
        database.executemany(
            f"INSERT INTO thread_dynamic_tools ({', '.join(added[0])})"
            f" VALUES ({', '.join('?' * len(added[0]))})",
            [tuple(tool.values()) for tool in added],
        )
    return rows(home, "thread_dynamic_tools")


@pytest.mark.parametrize("form", ["database", "transfer", "native", "transfer by pack"])
@pytest.mark.parametrize("target", ["current", "legacy"])
def test_dynamic_tools_arrive(
    model: ModelServer, legacy_source: Source, tmp_path: Path, form: str, target: str
) -> None:
    changed = copy_home(legacy_source.home, tmp_path / "source")
    session_id = legacy_source.made["legacy"].session_id
    given = add_tools(changed.home, session_id)
    source = Source(changed, legacy_source.made, legacy_source.views)
    package = FORMS[form](source, tmp_path / "package")
    home = fresh_home(changed.user_home, tmp_path / "home", model)
    if target == "legacy":
        home = home.with_version(LEGACY)
        # Only a first session makes the old release believe its database.
        home.exec("own")
    assert sync(home, package).code == 0
    written = rows(home.home, "thread_dynamic_tools")
    assert [{key: row[key] for key in given[0]} for row in written] == given
    if target == "legacy":
        # The old release offers the tools of the table to the model.
        assert {tool["name"] for tool in given} <= set(view(home, [session_id])[session_id].tools)


def test_old_rows_fit_a_new_table(
    model: ModelServer, legacy_source: Source, tmp_path: Path
) -> None:
    package = FORMS["database"](legacy_source, tmp_path / "package")
    assert "preview" not in rows(package, "threads")[0]
    home: CodexHome = fresh_home(legacy_source.home.user_home, tmp_path / "home", model)
    assert sync(home, package).code == 0
    assert_complete(home.home, legacy_source.ids())
    given, written = threads(package), threads(home.home)
    for session_id, row in given.items():
        assert {
            column: (value, written[session_id][column])
            for column, value in row.items()
            if column != "rollout_path" and written[session_id][column] != value
        } == {}
