"""Imported sessions are worked with: carried on, forked, reverted, migrated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from codexbed import (
    CURRENT,
    LEGACY,
    AppServer,
    CodexHome,
    ModelServer,
    SessionView,
    copy_home,
    doctor,
    records,
    view,
)
from codexbed.making import next_second, talk
from real_codex.syncing import (
    FORMS,
    Source,
    differences,
    files_of,
    fresh_home,
    plan,
    said,
    sync,
)

BY_EXEC = ("fork", "reverted", "legacy", "compressed")
BY_APP = (
    "plain",
    "unicode",
    "several_turns",
    "fork_no_turn",
    "fork_of_fork",
    "fork_of_compacted",
    "fork_of_reverted",
    "compacted",
    "reverted_to_start",
    "subagent",
    "subagent_forked",
    "with_tools",
    "other_cwd",
    "legacy_fork",
    "legacy_rolled_back",
    "legacy_compacted",
    "legacy_carried_on",
    "legacy_mode_fork",
)


@pytest.fixture(scope="module")
def pair(
    model: ModelServer, source: Source, tmp_path_factory: pytest.TempPathFactory
) -> tuple[CodexHome, CodexHome]:
    """A copy of the source, and a home that all of its sessions were imported into."""
    root = tmp_path_factory.mktemp("pair")
    package = FORMS["database"](source, root / "package")
    target = fresh_home(source.home.user_home, root / "target", model)
    assert sync(target, package).status == "ok"
    return copy_home(source.home, root / "source").prepare(), target


@contextmanager
def copies(pair: tuple[CodexHome, CodexHome], folder: Path) -> Iterator[list[CodexHome]]:
    """Copies of both homes, to work with."""
    yield [copy_home(home, folder / home.home.name).prepare() for home in pair]


def timeless(seen: SessionView) -> SessionView:
    """A view without the times of its turns, which two runs of one turn do not share."""
    clocks = {"startedAt", "completedAt", "durationMs"}
    turns = [{k: v for k, v in turn.items() if k not in clocks} for turn in seen.turns]
    return replace(seen, turns=tuple(turns))


def same(homes: list[CodexHome], ids: list[str]) -> list[SessionView]:
    """Check that both homes show these sessions alike, and return what they show."""
    views = [view(home, ids) for home in homes]
    for session_id in ids:
        one, other = (timeless(seen[session_id]) for seen in views)
        assert differences(one, other) == {}
        assert one.problem is None
    return list(views[1].values())


def test_sessions_are_carried_on(
    pair: tuple[CodexHome, CodexHome], source: Source, tmp_path: Path
) -> None:
    ids = source.ids(BY_EXEC + BY_APP)
    with copies(pair, tmp_path) as homes:
        for home in homes:
            for kind in BY_EXEC:
                home.exec_resume(source.made[kind].session_id, f"{kind}: carried on")
            with home.app_server() as app:
                for kind in BY_APP:
                    app.resume(source.made[kind].session_id)
                    app.start_turn(source.made[kind].session_id, f"{kind}: carried on")
        for seen in same(homes, ids):
            assert said(seen)[-1].endswith(": carried on")
            assert len(said(seen)) > 1
        assert doctor(homes[1])["status"] == "ok"
        # The package has less now than the home, and takes nothing away.
        answer = plan(homes[1], source.home.home)
        assert answer.status == "no_op"
        ahead = {i for i, s in answer.sessions.items() if s["reason"] == "local_ahead"}
        assert ahead == set(ids)


def test_a_fork_does_not_mind_what_becomes_of_its_parent(
    pair: tuple[CodexHome, CodexHome], source: Source, tmp_path: Path
) -> None:
    parents = {"fork_parent": "fork", "fork_root": "fork_middle", "fork_middle": "fork_of_fork"}
    with copies(pair, tmp_path) as [_, home]:
        for parent in parents:
            home.exec_resume(source.made[parent].session_id, "carried on")
        seen = view(home, source.ids(["fork", "fork_of_fork"]))
        for kind in ("fork", "fork_of_fork"):
            assert differences(source.views[kind], seen[source.made[kind].session_id]) == {}
        for path in files_of(home.home, source.made["fork_parent"].session_id):
            path.unlink()
        assert view(home, source.ids(["fork"])) == {
            source.made["fork"].session_id: source.views["fork"]
        }


def test_forks_of_imported_sessions(
    pair: tuple[CodexHome, CodexHome], source: Source, tmp_path: Path
) -> None:
    kinds = ["several_turns", "fork", "fork_of_fork", "reverted", "compacted", "legacy_fork"]
    shown: list[dict[str, SessionView]] = []
    with copies(pair, tmp_path) as homes:
        for home in homes:
            with home.app_server() as app:
                forks = {kind: app.fork(source.made[kind].session_id) for kind in kinds}
                for kind, session_id in forks.items():
                    app.start_turn(session_id, f"{kind}: forked")
            seen = view(home, list(forks.values()), {i: f"<{kind}>" for kind, i in forks.items()})
            shown.append(
                {kind: replace(timeless(seen[i]), session_id=kind) for kind, i in forks.items()}
            )
    for kind in kinds:
        one, other = (views[kind] for views in shown)
        assert differences(one, other) == {}
        assert said(other) == [*said(source.views[kind]), f"{kind}: forked"]


def test_imported_sessions_are_reverted(
    pair: tuple[CodexHome, CodexHome], source: Source, tmp_path: Path
) -> None:
    kinds = ["several_turns", "fork", "fork_of_fork", "reverted_twice"]
    with copies(pair, tmp_path) as homes:
        next_second()
        for home in homes:
            with home.app_server() as app:
                for session_id in source.ids(kinds):
                    app.resume(session_id)
                    app.revert(session_id, app.turns(session_id)[1]["id"])
                    app.start_turn(session_id, "another two")
        seen = same(homes, [source.made[kind].session_id for kind in kinds])
        for kind, shown in zip(kinds, seen, strict=True):
            assert said(shown) == [said(source.views[kind])[0], "another two"]


def test_settings_of_the_last_turn_are_taken_up(model: ModelServer, tmp_path: Path) -> None:
    home = CodexHome(tmp_path / "source", tmp_path / "user", model).prepare()
    tool = {"name": "my_tool", "description": "It is mine", "inputSchema": {"type": "object"}}
    with home.app_server() as app:
        plain = talk(home, app, "plain", "one")
        other = app.start(home.project, model="first-model")
        app.start_turn(other, "one")
        app.start_turn(other, "two", model="other-model", effort="high")
        told = app.start(
            home.project,
            baseInstructions="Speak in rhymes.",
            developerInstructions="Be a pirate.",
            dynamicTools=[tool],
        )
        app.start_turn(told, "one")
    for form in ("database", "rollouts"):
        package = FORMS[form](Source(home, {}, {}), tmp_path / form)
        target = fresh_home(home.user_home, tmp_path / f"target-{form}", model)
        assert sync(target, package).status == "ok"
        seen = same([home, target], [plain, other, told])
        assert "Speak in rhymes." in json.dumps(seen[2].context)
        assert "my_tool" in seen[2].tools
        with target.app_server() as app:
            assert settings(app, plain) == ("mock-model", None)
            assert settings(app, other) == ("other-model", "high")


def settings(app: AppServer, session_id: str) -> tuple[str, str | None]:
    answer = app.resume(session_id)
    return answer["model"], answer["reasoningEffort"]


# -- migration ----------------------------------------------------------------------------------


def migrated(home: CodexHome, target: Path) -> CodexHome:
    """A copy of a home whose legacy sessions Codex has rewritten in place."""
    copied = copy_home(home, target).prepare()
    done = copied.run("migrate-rollouts", "--apply")
    assert done.returncode == 0, done.stderr
    return copied


def modes(home: CodexHome, source: Source) -> dict[str, str]:
    return {
        kind: records(files_of(home.home, session.session_id)[-1])[0]["payload"].get(
            "history_mode", "legacy"
        )
        for kind, session in source.made.items()
    }


def test_a_migrated_home_has_the_same_sessions(
    pair: tuple[CodexHome, CodexHome], source: Source, tmp_path: Path
) -> None:
    new = migrated(source.home, tmp_path / "migrated")
    assert "legacy" in modes(source.home, source).values()
    assert set(modes(new, source).values()) == {"paginated"}
    imported = pair[1]
    for package, home in ((new, imported), (new, source.home), (source.home, new)):
        answer = plan(home, package.home)
        assert (answer.code, answer.status) == (0, "no_op")
        assert {s["relation"] for s in answer.sessions.values()} == {"equal"}
    also_imported = migrated(imported, tmp_path / "also")
    assert plan(also_imported, source.home.home).status == "no_op"


def test_a_rollback_across_a_compaction_is_another_session_once_migrated(
    model: ModelServer, tmp_path: Path
) -> None:
    """There Codex itself shows other turns and another context after migrating."""
    old = CodexHome(tmp_path / "home", tmp_path / "user", model, version=LEGACY).prepare()
    with old.app_server() as app:
        across = talk(old, app, "across", "one")
        app.compact(across)
        app.start_turn(across, "across: two")
        app.rollback(across, 2)
        app.start_turn(across, "across: another one")
        behind = talk(old, app, "behind", "one", "two")
        app.compact(behind)
        app.start_turn(behind, "behind: three")
        app.rollback(behind, 1)
        app.start_turn(behind, "behind: another three")
        empty = talk(old, app, "empty", "one", "two")
        app.rollback(empty, 2)
    home = old.with_version(CURRENT)
    new = migrated(home, tmp_path / "migrated")
    relations = {i: s["relation"] for i, s in plan(home, new.home).sessions.items()}
    assert relations == {across: "diverged", behind: "equal", empty: "equal"}
    before, after = view(home, list(relations)), view(new, list(relations))
    assert differences(before[across], after[across]).keys() == {"turns", "context"}
    for session_id in (behind, empty):
        assert differences(before[session_id], after[session_id]) == {}
