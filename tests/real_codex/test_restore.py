"""Real homes after an accident: rebuilt, synced again, and shown as their twins are."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from codexbed import CodexHome, ModelServer, copy_home, require_codex, view
from real_codex.syncing import Answer, call, inspect, listed, sync

OURS = "session-sync"


@dataclass(frozen=True)
class Story:
    """A home last week and today, and the source of which packages come.

    Since last week one session went on there, one on both sides, and one was begun there.
    """

    there: CodexHome
    then: CodexHome
    today: CodexHome


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, model: ModelServer) -> Story:
    require_codex()
    root = tmp_path_factory.mktemp("restore")
    there = CodexHome(root / "there", root / "user", model).prepare()
    here = replace(there, home=root / "here").prepare()
    here.exec("Mine")
    one, two = there.exec("One"), there.exec("Two")
    assert sync(here, there.home).status == "ok"
    then = copy_home(here, root / "then")
    here.exec_resume(two, "Two, here")
    there.exec_resume(one, "One, more")
    there.exec_resume(two, "Two, there")
    there.exec("Three")
    done = sync(here, there.home)
    assert {s["result"] for s in done.sessions.values()} == {
        "fast_forwarded",
        "branched",
        "imported",
    }
    there.exec_resume(one, "One, next week")
    there.exec_resume(two, "Two, next week")
    there.exec("Four")
    return Story(there, then, here)


def put_back(home: Path, then: Path, *, ours: bool) -> None:
    """Put what this program keeps, or all else, back from a copy of the home."""
    for path in home.iterdir():
        if (path.name == OURS) is ours:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in then.iterdir():
        if (path.name == OURS) is ours:
            target = home / path.name
            shutil.copytree(path, target) if path.is_dir() else shutil.copy2(path, target)


def lose(*names: str) -> Callable[[Story, Path], None]:
    def harm(_: Story, home: Path) -> None:
        for name in names:
            shutil.rmtree(home / OURS / name)

    return harm


ACCIDENTS: dict[str, Callable[[Story, Path], None]] = {
    "sidecars lost": lose("sidecars"),
    "journal lost": lose("transactions"),
    "both lost": lose("sidecars", "transactions"),
    "ours of last week": lambda story, home: put_back(home, story.then.home, ours=True),
}


def known(answer: Answer) -> dict[str, dict[str, Any]]:
    """What the sessions of a package are to a home."""
    keys = ("local_session_id", "classification", "relation", "action", "reason", "entries")
    return {i: {key: one[key] for key in keys} for i, one in answer.sessions.items()}


def same_from_here_on(home: CodexHome, twin: CodexHome, story: Story) -> None:
    """The next package is to both the same, and Codex shows the same of both after it."""
    package = story.there.home
    assert known(inspect(home, package)) == known(inspect(twin, package))
    twin = copy_home(twin, home.home.with_name("twin"))
    assert sync(home, package).status == sync(twin, package).status == "ok"
    assert sync(home, package).status == "no_op"
    order = listed(twin)
    assert sorted(listed(home)) == sorted(order)
    assert view(home, order) == view(twin, order)


@pytest.mark.parametrize("accident", ACCIDENTS)
def test_what_we_keep_is_lost(story: Story, tmp_path: Path, accident: str) -> None:
    home = copy_home(story.today, tmp_path / "home")
    ACCIDENTS[accident](story, home.home)
    planned = call(home, "rebuild-sidecar")
    done = call(home, "rebuild-sidecar", "--execute")
    assert done.status == ("ok" if planned.status == "dry_run" else planned.status)
    assert call(home, "rebuild-sidecar").status == "no_op"
    same_from_here_on(home, story.today, story)


def test_the_home_of_last_week_is_put_back(story: Story, tmp_path: Path) -> None:
    """Under the journal and sidecars of today; the rebuild can be undone and done again."""
    home = copy_home(story.today, tmp_path / "home")
    then = copy_home(story.then, tmp_path / "then")
    put_back(home.home, then.home, ours=False)
    home = copy_home(home, tmp_path / "restored")
    assert call(home, "rebuild-sidecar", "--execute").status == "ok"
    assert call(home, "rollback", "--latest", "--execute").status == "ok"
    assert call(home, "rebuild-sidecar", "--execute").status == "ok"
    same_from_here_on(home, then, story)


def test_a_deleted_session_comes_again(story: Story, tmp_path: Path) -> None:
    """Codex deletes an imported session; its mapping is pruned; the next package brings it."""
    home = copy_home(story.today, tmp_path / "home")
    one = next(i for i, s in inspect(home, story.there.home).sessions.items() if s["turns"] == 3)
    with home.app_server() as app:
        app.request("thread/delete", {"threadId": one})
    pruned = call(home, "prune-invalid-mappings", "--execute")
    [change] = pruned.document["data"]["changes"]
    assert [m["reason"] for m in change["mappings"]] == ["session_gone"]
    assert call(home, "rebuild-sidecar").status == "no_op"
    done = sync(home, story.there.home)
    assert done.status == "ok"
    assert one in listed(home)
