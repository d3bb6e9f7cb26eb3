"""``explain`` against what the real Codex lists and opens, for every kind and after accidents."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from codexbed import (
    AppServerError,
    CodexHome,
    ModelServer,
    changes,
    copy_home,
    records,
    tree_digest,
)
from real_codex.syncing import Source, file_of, fresh_home, sync
from workbench import call


def explained(home: CodexHome, session: str) -> Any:
    found = call("explain", session, "--codex-home", home.home, "--json")
    assert found.exit_code == 0, found.envelope
    return found.envelope["data"]


def codes(data: Any, *effects: str) -> set[str]:
    return {one["code"] for one in data["findings"] if one["effect"] in effects}


def asked(
    home: CodexHome, sessions: list[str], folder: Path, **how: Any
) -> dict[str, tuple[bool, bool]]:
    """Whether Codex lists each session, as its list comes by default, and opens it."""
    found = {}
    with copy_home(home, folder).app_server() as app:
        listed = {t["id"] for t in app._pages("thread/list", how)}
        for session in sessions:
            try:
                app.resume(session)
                opens = True
            except AppServerError as error:
                opens = "is archived" in str(error)
            found[session] = (session in listed, opens)
    return found


def test_every_kind(source: Source, tmp_path: Path) -> None:
    """The list and the refusals of Codex are foretold for all sessions where they were made."""
    ids = source.ids()
    kinds = source.kinds()
    seen = asked(source.home, ids, tmp_path / "copy")
    told = {}
    before = tree_digest(source.home.home)
    for session in ids:
        data = explained(source.home, session)
        told[session] = (data["listed"], data["opens"])
    wrong = {kinds[i]: (told[i], seen[i]) for i in ids if told[i] != seen[i]}
    assert wrong == {}
    assert changes(before, tree_digest(source.home.home)) == {}


@pytest.fixture
def synced(source: Source, model: ModelServer, tmp_path: Path) -> CodexHome:
    """A home into which one session was synced."""
    home = fresh_home(tmp_path / "user", tmp_path / "home", model)
    plain = source.made["plain"].session_id
    assert sync(home, source.home.home, "--session", plain).code == 0
    return home


def change_row(home: CodexHome, session: str, **values: Any) -> None:
    with closing(sqlite3.connect(home.home / "state_5.sqlite")) as database:
        for column, value in values.items():
            database.execute(f"UPDATE threads SET {column} = ? WHERE id = ?", (value, session))
        database.commit()


def _archived(home: CodexHome, session: str) -> None:
    with home.app_server() as app:
        app.archive(session)


def _misplaced(home: CodexHome, session: str) -> None:
    path = file_of(home.home, session)
    with closing(sqlite3.connect(home.home / "state_5.sqlite")) as database:
        database.execute("DELETE FROM threads WHERE id = ?", (session,))
        database.commit()
    path.rename(home.home / "sessions" / path.name)


def _gone(home: CodexHome, session: str) -> None:
    file_of(home.home, session).unlink()


def _moved(home: CodexHome, session: str) -> None:
    path = file_of(home.home, session)
    folder = home.home / "sessions" / "2020" / "01" / "01"
    folder.mkdir(parents=True)
    path.rename(folder / path.name)


def _without_preview(home: CodexHome, session: str) -> None:
    change_row(home, session, preview="")


def _other_mode(home: CodexHome, session: str) -> None:
    change_row(home, session, history_mode="legacy")


def _other_provider(home: CodexHome, session: str) -> None:
    path = file_of(home.home, session)
    head = records(path)[0]
    head["payload"]["model_provider"] = "elsewhere"
    rest = path.read_bytes().split(b"\n", 1)[1]
    path.write_bytes(orjson.dumps(head) + b"\n" + rest)
    change_row(home, session, model_provider="elsewhere")


def _no_head(home: CodexHome, session: str) -> None:
    path = file_of(home.home, session)
    path.write_bytes(path.read_bytes().split(b"\n", 1)[1])


def _no_ordinal(home: CodexHome, session: str) -> None:
    path = file_of(home.home, session)
    last = dict(records(path)[-1])
    del last["ordinal"]
    path.write_bytes(path.read_bytes() + orjson.dumps(last) + b"\n")


def _nothing(home: CodexHome, session: str) -> None:
    pass


ACCIDENTS: dict[str, tuple[Callable[[CodexHome, str], None], set[str]]] = {
    "nothing": (_nothing, set()),
    "archived": (_archived, {"session_archived"}),
    "file gone": (_gone, {"row_without_transcript"}),
    "file moved": (_moved, {"row_elsewhere"}),
    "preview": (_without_preview, {"row_incomplete"}),
    "mode": (_other_mode, set()),
    "provider": (_other_provider, {"provider_not_configured", "provider_hidden"}),
    "head": (_no_head, {"transcript_invalid"}),
    "ordinal": (_no_ordinal, {"ordinal_missing"}),
}


@pytest.mark.parametrize("name", ACCIDENTS)
def test_an_accident(synced: CodexHome, source: Source, tmp_path: Path, name: str) -> None:
    accident, expected = ACCIDENTS[name]
    session = source.made["plain"].session_id
    accident(synced, session)
    data = explained(synced, session)
    assert codes(data, "hides", "prevents") == expected
    assert ("history_mode_wrong" in codes(data, "note")) is (name == "mode")
    # Codex itself fills in what its database lacks, but not for a list of the database alone.
    how = {"useStateDbOnly": True} if name == "preview" else {}
    listed, opens = asked(synced, [session], tmp_path / "copy", **how)[session]
    # A row whose session cannot be opened may be in the list all the same.
    assert opens is data["opens"]
    assert listed is data["listed"] or not opens
    assert all(one["remedy"] for one in data["findings"])


def test_a_transcript_where_codex_does_not_look(
    synced: CodexHome, source: Source, tmp_path: Path
) -> None:
    session = source.made["plain"].session_id
    _misplaced(synced, session)
    data = explained(synced, session)
    assert codes(data, "hides") == {"transcript_misplaced"}
    listed, _ = asked(synced, [session], tmp_path / "copy")[session]
    assert not listed


def test_a_row_that_is_missing(synced: CodexHome, source: Source, tmp_path: Path) -> None:
    session = source.made["plain"].session_id
    with closing(sqlite3.connect(synced.home / "state_5.sqlite")) as database:
        database.execute("DELETE FROM threads WHERE id = ?", (session,))
        database.commit()
    data = explained(synced, session)
    assert codes(data, "note") >= {"row_missing"}
    assert (data["listed"], data["opens"]) == asked(synced, [session], tmp_path / "copy")[session]


def test_a_session_that_was_rolled_back(synced: CodexHome, source: Source) -> None:
    session = source.made["plain"].session_id
    options = ("--latest", "--execute", "--codex-home", synced.home, "--json")
    assert call("rollback", *options).exit_code == 0
    data = explained(synced, session)
    assert codes(data, "hides") == {"session_gone"}
    [cause] = data["findings"]
    command = cause["command"].split()[1:]
    again = call(*command, "--codex-home", synced.home, "--json")
    assert json.loads(again.out)["status"] == "ok"
    assert codes(explained(synced, session), "hides", "prevents") == set()


def test_a_session_that_is_open(synced: CodexHome, source: Source) -> None:
    session = source.made["plain"].session_id
    with synced.app_server() as app:
        app.resume(session)
        assert "session_busy" in codes(explained(synced, session), "note")
    assert "session_busy" not in codes(explained(synced, session), "note")


def test_nobody_knows_it(synced: CodexHome) -> None:
    found = call("explain", "ffffffff", "--codex-home", synced.home, "--json")
    assert (found.exit_code, found.codes) == (2, ["session_unknown"])


def test_the_directory(synced: CodexHome, source: Source) -> None:
    session = source.made["plain"].session_id
    data = explained(synced, session)
    assert codes(data, "note") == {"cwd_filters"}
    folder = Path(data["session"]["cwd"])
    moved = folder.with_name("away")
    folder.rename(moved)
    try:
        assert codes(explained(synced, session), "note") == {"cwd_missing"}
    finally:
        shutil.move(moved, folder)
