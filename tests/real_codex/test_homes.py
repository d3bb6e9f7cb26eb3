"""Homes and packages out of the ordinary: no database, no Codex, another release, a base apart."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from archiving import KINDS, archive
from codexbed import (
    LEGACY,
    CodexHome,
    ModelServer,
    changes,
    doctor,
    rollout_files,
    rows,
    tree_digest,
    view,
)
from real_codex.syncing import (
    FORMS,
    Outcome,
    Source,
    call,
    differences,
    files_of,
    fresh_home,
    listed,
    outcome_of,
    plan,
    shared,
    sync,
    told,
)
from transfer_packup import install


def of_kinds(source: Source, target: Path, kinds: Collection[str]) -> Path:
    """A folder with the rollouts of some kinds."""
    target.mkdir()
    for session_id in source.ids(kinds):
        for path in files_of(source.home.home, session_id):
            shutil.copy2(path, target)
    return target


def assert_as_at_the_source(home: CodexHome, source: Source, kinds: Collection[str]) -> None:
    seen = view(home, source.ids(kinds))
    for kind in kinds:
        session_id = source.made[kind].session_id
        assert (kind, differences(source.views[kind], seen[session_id])) == (kind, {})


# -- the old release ----------------------------------------------------------------------------

# As with the current release: neither names nor the archive are in the rollouts, and the
# first-import tool writes titles where names should be.
CHANGED_BY_FORM: dict[str, dict[str, dict[str, Any]]] = {
    "database": {},
    "files": {},
    "rollouts": {"legacy_named": {"name": None}, "legacy_archived": {"archived": False}},
    "transfer": {"legacy_named": {"name": None}},
    "native": {},
    "transfer by pack": {},
}


@pytest.mark.parametrize(
    ("form", "place"), [*((form, "fresh") for form in FORMS), ("database", "used")]
)
def test_a_home_of_the_old_release(
    base: Path, model: ModelServer, legacy_source: Source, form: str, place: str
) -> None:
    def make(folder: Path) -> Outcome:
        user = legacy_source.home.user_home
        home = fresh_home(user, folder / "home", model, version=LEGACY)
        own = [home.exec("own: one")] if place == "used" else []
        return outcome_of(home, FORMS[form](legacy_source, folder / "package"), own)

    _, found = shared(base, f"legacy-{form}-into-{place}", make)
    assert (found.done.code, found.done.status, found.done.warnings) == (0, "ok", {})
    for kind, session in legacy_source.made.items():
        seen = told(legacy_source.views[kind], form)
        expected = replace(seen, **CHANGED_BY_FORM[form].get(kind, {}))
        assert (kind, differences(expected, found.views[session.session_id])) == (kind, {})
    assert found.before == found.after_plan
    assert (found.again.code, found.again.status) == (0, "no_op")
    assert found.after == found.after_again
    assert len(found.own) == (place == "used")
    for session_id in found.own:
        kept = [found.before.rows_of("threads", "id", [session_id])]
        assert [found.after.rows_of("threads", "id", [session_id])] == kept


# -- no database --------------------------------------------------------------------------------

# Without rows, Codex derives what it shows from the files when it starts: there are no names of
# its newer sessions.
DERIVED: dict[str, dict[str, Any]] = {
    "named": {"name": None},
    "unicode": {"name": None},
    "archived": {"name": None},
}


def test_without_codex_files_are_written_and_no_database(
    model: ModelServer, source: Source, tmp_path: Path
) -> None:
    package = FORMS["database"](source, tmp_path / "package")
    home = fresh_home(source.home.user_home, tmp_path / "home", model)
    answer = call(home, "sync", package, "--execute", "--no-prime")
    assert (answer.code, answer.status) == (0, "ok")
    assert answer.warnings == {"database_missing": {None}}
    assert list(home.home.rglob("*.sqlite*")) == []
    again = call(home, "sync", package, "--execute", "--no-prime")
    assert (again.status, again.warnings) == ("no_op", {})
    assert list(home.home.rglob("*.sqlite*")) == []
    # Now Codex starts for the first time, on a copy that is looked at.
    seen = view(home, source.ids())
    for kind, session in source.made.items():
        expected = replace(told(source.views[kind], "files"), **DERIVED.get(kind, {}))
        assert (kind, differences(expected, seen[session.session_id])) == (kind, {})
    with home.app_server() as app:
        listed_now = {thread["id"] for thread in app.list_threads()}
    assert listed_now == {i for i, one in seen.items() if not one.archived}
    assert doctor(home)["status"] == "ok"
    assert call(home, "sync", package, "--execute").status == "no_op"


def test_the_database_is_where_the_configuration_says(
    model: ModelServer, source: Source, tmp_path: Path
) -> None:
    home = fresh_home(source.home.user_home, tmp_path / "home", model)
    elsewhere = tmp_path / "databases"
    elsewhere.mkdir()
    config = home.home / "config.toml"
    config.write_text(f'sqlite_home = "{elsewhere}"\n{config.read_text()}')
    package = FORMS["database"](source, tmp_path / "package")
    assert sync(home, package).status == "ok"
    assert not (home.home / "state_5.sqlite").exists()
    assert {row["id"] for row in rows(elsewhere, "threads")} == set(source.ids())
    assert doctor(home)["status"] == "ok"
    with home.app_server() as app:
        names = {thread["id"]: thread["name"] for thread in app.list_threads()}
    assert names[source.made["named"].session_id] == "second name"


# -- bases --------------------------------------------------------------------------------------


def test_a_fork_needs_its_base(model: ModelServer, source: Source, tmp_path: Path) -> None:
    home = fresh_home(source.home.user_home, tmp_path / "home", model)
    forks = of_kinds(source, tmp_path / "forks", ["fork", "fork_of_fork", "plain"])
    first = sync(home, forks)
    assert (first.code, first.status) == (1, "partial")
    missing = set(source.ids(["fork", "fork_of_fork"]))
    assert first.refused() == dict.fromkeys(missing, "history_base_missing")
    assert first.errors == {"history_base_missing": missing}
    assert listed(home) == source.ids(["plain"])
    assert doctor(home)["status"] == "ok"

    bases = of_kinds(source, tmp_path / "bases", ["fork_parent", "fork_middle", "fork_root"])
    assert sync(home, bases).status == "ok"
    second = sync(home, forks)
    assert (second.code, second.status) == (0, "ok")
    assert {i for i, s in second.sessions.items() if s["result"] == "imported"} == missing
    assert_as_at_the_source(
        home, source, ["fork", "fork_of_fork", "fork_parent", "fork_middle", "fork_root"]
    )


def test_a_base_that_went_on_here_serves_as_well(
    model: ModelServer, source: Source, tmp_path: Path
) -> None:
    home = fresh_home(source.home.user_home, tmp_path / "home", model)
    parent = source.made["fork_no_turn_parent"].session_id
    assert sync(home, of_kinds(source, tmp_path / "base", ["fork_no_turn_parent"])).code == 0
    home.exec_resume(parent, "carried on here")
    assert sync(home, of_kinds(source, tmp_path / "fork", ["fork_no_turn"])).status == "ok"
    assert_as_at_the_source(home, source, ["fork_no_turn"])


def test_a_base_that_is_a_segment_is_looked_for_in_vain(
    model: ModelServer, source: Source, tmp_path: Path
) -> None:
    """A reverted session is written here as one file: its segments have no names any more."""
    home = fresh_home(source.home.user_home, tmp_path / "home", model)
    base = of_kinds(source, tmp_path / "base", ["fork_of_reverted_parent"])
    assert sync(home, base).status == "ok"
    fork = of_kinds(source, tmp_path / "fork", ["fork_of_reverted"])
    refused = dict.fromkeys(source.ids(["fork_of_reverted"]), "history_base_missing")
    assert sync(home, fork).refused() == refused


# -- archives -----------------------------------------------------------------------------------


DIRECTORIES = ("database", "files", "rollouts", "transfer")


@pytest.mark.parametrize(("form", "kind"), list(zip(DIRECTORIES, KINDS, strict=True)))
def test_an_archive_is_as_good_as_its_directory(
    model: ModelServer, source: Source, tmp_path: Path, form: str, kind: str
) -> None:
    package = FORMS[form](source, tmp_path / "package")
    packed = archive(package, tmp_path / f"carried.{kind}")
    before = tree_digest(tmp_path)
    home = fresh_home(source.home.user_home, tmp_path / "home", model)
    plans = [plan(home, path) for path in (package, packed)]
    assert plans[0].document["data"]["sessions"] == plans[1].document["data"]["sessions"]
    assert plans[0].refused() == plans[1].refused()
    assert plans[1].document["data"]["package"]["container"] == kind
    kinds = ["plain", "fork", "legacy_mode", "fork_midway"]
    chosen = [option for i in source.ids(kinds) for option in ("--session", i)]
    assert sync(home, packed, *chosen).status == "ok"
    assert_as_at_the_source(home, source, kinds)
    after = {k: v for k, v in tree_digest(tmp_path).items() if not k.startswith("home/")}
    assert changes(before, after) == {}


# -- what the first-import tool has installed ---------------------------------------------------


def test_what_the_first_import_tool_installed_is_known(
    model: ModelServer, source: Source, used: Source, tmp_path: Path
) -> None:
    """It writes every line anew, with other spacing and another working directory."""
    package = FORMS["transfer"](source, tmp_path / "package")
    home = replace(used.home, home=tmp_path / "home")
    shutil.copytree(used.home.home, home.home)
    moved = {str(source.home.user_home): "/home/somebody/else"}
    install(package, home.home, moved)
    assert b'{"timestamp": "' in files_of(home.home, source.ids(["plain"])[0])[0].read_bytes()
    before = tree_digest(home.home)
    answer = sync(home, package)
    reasons = {s["reason"] for s in answer.sessions.values()}
    assert reasons == {"equal", "history_base_missing", "transcript_missing"}
    assert answer.document["data"]["transaction_id"] is None
    assert changes(before, tree_digest(home.home, skip=["session-sync/lock"])) == {}
    assert len(rollout_files(home.home)) > len(rollout_files(used.home.home))
