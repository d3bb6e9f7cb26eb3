"""Adopted sessions in the real Codex: nothing of them changes, and they follow their source."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from codexbed import CodexHome, ModelServer, changes, rollout_files, rows, tree_digest, view
from installing import leave_journal
from real_codex.syncing import IDLE, call, file_of, fresh_home, sync
from transfer_packup import install, packup


@pytest.fixture
def source(base: Path, model: ModelServer, tmp_path: Path) -> CodexHome:
    """Where the sessions are from."""
    return CodexHome(tmp_path / "source", tmp_path / "user", model).prepare()


@pytest.fixture
def home(source: CodexHome, model: ModelServer, tmp_path: Path) -> CodexHome:
    """Another home, in use."""
    found = fresh_home(source.user_home, tmp_path / "home", model)
    found.exec("own: one")
    return found


def healthy(home: CodexHome) -> list[str]:
    """The codes of what a check finds."""
    data = call(home, "sidecar-health", "--deep").document["data"]
    return [problem["code"] for problem in data["problems"]]


def adopt(home: CodexHome, *options: str | Path) -> dict[str, str]:
    """Adopt, which changes nothing but our own folder; the result of each session."""
    before = tree_digest(home.home, skip=IDLE)
    answer = call(home, "adopt", *options, "--execute")
    changed = changes(before, tree_digest(home.home, skip=IDLE))
    assert {path.split("/")[0] for path in changed} <= {"session-sync"}
    return {i: session["result"] for i, session in answer.sessions.items()}


def test_what_the_first_tool_installed_follows_its_source(
    source: CodexHome, home: CodexHome, tmp_path: Path
) -> None:
    named, archived, continued = (source.exec(f"{word}: one") for word in ("a", "b", "c"))
    package = packup(source.home, tmp_path / "package")
    known = set(rollout_files(home.home))
    install(package, home.home)
    placed = [path.relative_to(home.home).as_posix() for path in rollout_files(home.home)]
    own = [path.relative_to(home.home).as_posix() for path in known]
    leave_journal(home.home, package, [path for path in placed if path not in own])
    assert set(healthy(home)) == {"session_untracked", "row_incomplete"}

    assert adopt(home) == dict.fromkeys((named, archived, continued), "adopted")
    assert healthy(home) == ["row_incomplete"] * 3
    with source.app_server() as app:
        app.set_name(named, "A name")
        app.archive(archived)
    source.exec_resume(continued, "c: two")
    answer = sync(home, packup(source.home, tmp_path / "later"))
    assert answer.sessions[named]["follows"] == {"name": "A name"}
    assert answer.sessions[archived]["follows"] == {"archived": True}
    assert answer.sessions[continued]["result"] == "fast_forwarded"
    # A fast-forward changes only what it must, and adds no columns to these rows.
    found = {row["id"]: row for row in rows(home.home, "threads")}
    assert found[named]["name"] == "A name"
    assert found[archived]["archived"]
    assert file_of(home.home, archived).parent.name == "archived_sessions"
    assert healthy(home) == ["row_incomplete"] * 3
    assert sync(home, packup(source.home, tmp_path / "again")).status == "no_op"


@pytest.mark.parametrize("adopted", [True, False])
def test_a_row_that_the_first_tool_wrote_is_mended(
    source: CodexHome, home: CodexHome, tmp_path: Path, adopted: bool
) -> None:
    """Codex neither lists nor opens the session until a sync brings it, that tool's file away."""
    session = source.exec("f: one")
    package = packup(source.home, tmp_path / "package")
    install(package, home.home)
    path = file_of(home.home, session)
    leave_journal(home.home, package, [path.relative_to(home.home).as_posix()])
    if adopted:
        assert adopt(home) == {session: "adopted"}
    shown = view(home, [session])[session]
    assert not shown.listed
    assert shown.problem is not None
    untracked = [] if adopted else ["session_untracked"]
    assert healthy(home) == ["row_incomplete", *untracked]

    path.unlink()
    answer = sync(home, package)
    assert answer.sessions[session]["result"] == "imported"
    shown = view(home, [session])[session]
    assert (shown.listed, shown.problem) == (True, None)
    assert shown.turns == view(source, [session])[session].turns
    assert healthy(home) == []
    home.exec_resume(session, "f: two")
    assert len(view(home, [session])[session].turns) == 2


def test_a_plain_copy_is_adopted_with_its_package_and_back(
    source: CodexHome, home: CodexHome, tmp_path: Path
) -> None:
    session = source.exec("d: one")
    path = file_of(source.home, session).relative_to(source.home)
    (home.home / path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source.home / path, home.home / path)
    assert view(home, [session])[session].listed
    with home.app_server() as app:
        app.set_name(session, "Named here")
    package = shutil.copytree(source.home, tmp_path / "package")
    assert adopt(home, package) == {session: "adopted"}
    with source.app_server() as app:
        app.set_name(session, "Named there")
    answer = sync(home, source.home)
    assert answer.sessions[session]["differs"]["name"]["local"] == "Named here"
    assert view(home, [session])[session].name == "Named here"

    back = call(home, "rollback", "--latest", "--execute")
    assert back.sessions[session]["result"] == "undone"
    assert not list(home.home.glob("session-sync/sidecars/*"))
    assert view(home, [session])[session].problem is None


def test_a_moved_home_is_mended_by_a_link(home: CodexHome, tmp_path: Path) -> None:
    session = home.exec("e: one")
    assert adopt(home, "--all")[session] == "adopted"
    moved = replace(home, home=tmp_path / "moved")
    home.home.rename(moved.home)
    assert set(healthy(moved)) == {"row_elsewhere"}
    home.home.symlink_to(moved.home)
    assert healthy(moved) == []
    moved.exec_resume(session, "e: two")
    assert len(view(moved, [session])[session].turns) == 2
