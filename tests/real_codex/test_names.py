"""What Codex calls a session, and from where it has that."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from codexbed import LEGACY, CodexHome, ModelServer, copy_home, view
from codexbed.making import talk
from real_codex.syncing import FORMS, Source, fresh_home, shared, sync

# By release and history mode: what is named, and what Codex then shows. The old release writes a
# name into the index only; the new one also into the row, as the name of a paginated session and
# as the title of a legacy one. Of a legacy session, a title that is not its first message is shown.
SHOWN = {
    "old unnamed": None,
    "old named": "an old name",
    "old named as it begins": None,
    "old named by the new": "a new name",
    "old titled": "a title of its own",
    "old named and titled": "a title of its own",
    "mode unnamed": None,
    "mode named": "a name",
    "mode named as it begins": None,
    "mode titled": "a title of its own",
    "new unnamed": None,
    "new named": "a name",
    "new named as it begins": "new named as it begins: one",
    "new titled": None,
}

# A title is in the row only, a name in rows and index; the first-import tool writes the title
# into the index, where the old release has its names.
LOST: dict[str, dict[str, str | None]] = {
    "database": {},
    "files": {"old titled": None, "old named and titled": "an old name", "mode titled": None},
    "rollouts": dict.fromkeys(SHOWN),
    "transfer": {"old named": None},
    "native": {},
    "transfer by pack": {},
}


@pytest.fixture(scope="module")
def named(base: Path, model: ModelServer) -> tuple[CodexHome, dict[str, str]]:
    def make(folder: Path) -> dict[str, str]:
        new = CodexHome(folder / "home", folder / "user", model).prepare()
        old = new.with_version(LEGACY)
        ids = {}
        with old.app_server() as app:
            for case in SHOWN:
                if case.startswith("old"):
                    ids[case] = talk(old, app, case, "one")
            for case in ("old named", "old named and titled"):
                app.set_name(ids[case], "an old name")
            app.set_name(ids["old named as it begins"], "old named as it begins: one")
        with new.app_server() as app:
            for case in SHOWN:
                if case.startswith("new"):
                    ids[case] = talk(new, app, case, "one")
                elif case.startswith("mode"):
                    ids[case] = app.start(new.project, historyMode="legacy")
                    app.start_turn(ids[case], f"{case}: one")
            for mode in ("mode", "new"):
                app.set_name(ids[f"{mode} named"], "a name")
                app.set_name(ids[f"{mode} named as it begins"], f"{mode} named as it begins: one")
            app.set_name(ids["old named by the new"], "a new name")
        titled = [(ids[case],) for case in SHOWN if case.endswith("titled")]
        with closing(sqlite3.connect(new.home / "state_5.sqlite")) as database, database:
            update = "UPDATE threads SET title = 'a title of its own' WHERE id = ?"
            database.executemany(update, titled)
        return ids

    folder, ids = shared(base, "named", make)
    return CodexHome(folder / "home", folder / "user", model), ids


def shown(home: CodexHome, ids: dict[str, str]) -> dict[str, str | None]:
    seen = view(home, list(ids.values()))
    assert {view.problem for view in seen.values()} == {None}
    return {case: seen[session_id].name for case, session_id in ids.items()}


def test_the_source_shows_them_so(named: tuple[CodexHome, dict[str, str]]) -> None:
    home, ids = named
    assert shown(home, ids) == {case: SHOWN[case] for case in ids}


@pytest.mark.parametrize("form", FORMS)
def test_names_arrive(
    named: tuple[CodexHome, dict[str, str]], model: ModelServer, tmp_path: Path, form: str
) -> None:
    source, ids = named
    package = FORMS[form](Source(source, {}, {}), tmp_path / "package")
    home = fresh_home(source.user_home, tmp_path / "home", model)
    assert sync(home, package).status == "ok"
    assert shown(home, ids) == {**SHOWN, **LOST[form]}


TAILS = {
    "torn": b'{"id":"01a1fdc5-32f3-7c60-a211-e1e2',
    "garbage": b"\n\nnot json\n",
    "not_utf8": b"\xff\xfe",
    "nuls": bytes(40),
}


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS)
def test_a_damaged_index_is_appended_to(
    source: Source, used: Source, model: ModelServer, tmp_path: Path, tail: bytes
) -> None:
    """A torn last line would swallow the next entry."""
    home = copy_home(used.home, tmp_path / "home").prepare()
    index = home.home / "session_index.jsonl"
    before = index.read_bytes() + tail
    index.write_bytes(before)
    kinds = ["legacy_named", "named", "plain"]
    chosen = [option for i in source.ids(kinds) for option in ("--session", i)]
    assert sync(home, source.home.home, *chosen).status == "ok"
    after = index.read_bytes()
    assert after.startswith(before)
    # A line that is not whole is ended before the next one begins.
    appended = after[len(before) :].removeprefix(b"" if tail.endswith(b"\n") else b"\n")
    named_ids = {json.loads(line)["id"] for line in appended.splitlines()}
    assert named_ids == set(source.ids(["legacy_named", "named"]))
    seen = view(home, [*source.ids(kinds), *used.ids(kinds)])
    for one in (source, used):
        for kind in kinds:
            assert seen[one.made[kind].session_id].name == one.views[kind].name
