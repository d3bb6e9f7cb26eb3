"""The test bed itself: every kind has the shape its name says, and views tell sessions apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codexbed import (
    CURRENT_KINDS,
    LEGACY,
    LEGACY_KINDS,
    CodexHome,
    MadeSession,
    ModelServer,
    SessionView,
    changes,
    copy_home,
    doctor,
    function_call,
    make_all,
    make_legacy,
    records,
    require_codex,
    rollout_files,
    rows,
    tree_digest,
    view,
)
from codexbed.current_kinds import UNICODE_TEXT
from codexbed.view import dependents_first

Record = dict[str, Any]
Made = dict[str, MadeSession]


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


@pytest.fixture(scope="module")
def bed(
    server: ModelServer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[CodexHome, Made, dict[str, SessionView]]:
    require_codex()
    require_codex(LEGACY)
    root = tmp_path_factory.mktemp("bed")
    home = CodexHome(root / "home", root / "user", server).prepare()
    made = make_all(home)
    views = view(home, [session.session_id for session in made.values()])
    return home, made, views


@pytest.fixture(scope="module")
def home(bed: tuple[CodexHome, Made, dict[str, SessionView]]) -> CodexHome:
    return bed[0]


@pytest.fixture(scope="module")
def made(bed: tuple[CodexHome, Made, dict[str, SessionView]]) -> Made:
    return bed[1]


@pytest.fixture(scope="module")
def views(bed: tuple[CodexHome, Made, dict[str, SessionView]]) -> dict[str, SessionView]:
    return {session.kind: bed[2][session.session_id] for session in bed[1].values()}


def files_of(home: CodexHome, session: MadeSession) -> list[Path]:
    return [path for path in rollout_files(home.home) if session.session_id in path.name]


def records_of(home: CodexHome, session: MadeSession) -> list[Record]:
    return [record for path in files_of(home, session) for record in records(path)]


def meta_of(home: CodexHome, session: MadeSession) -> Record:
    meta: Record = records_of(home, session)[0]["payload"]
    return meta


def types_of(home: CodexHome, session: MadeSession) -> list[str]:
    found = records_of(home, session)
    return [record["payload"].get("type") or record["type"] for record in found]


def said(session_view: SessionView) -> list[str]:
    """Return what the user said, turn by turn."""
    return [
        part["text"]
        for turn in session_view.turns
        for item in turn["items"]
        if item["type"] == "userMessage"
        for part in item["content"]
    ]


def heard(session_view: SessionView) -> str:
    """Return the whole context of the next turn as one text."""
    return json.dumps(session_view.context, ensure_ascii=False)


def test_every_maker_made_its_kind(made: Made) -> None:
    assert CURRENT_KINDS.keys() | LEGACY_KINDS.keys() <= made.keys()
    assert len({session.session_id for session in made.values()}) == len(made)


def test_needs_are_sessions_of_the_home(made: Made) -> None:
    ids = {session.session_id for session in made.values()}
    assert {needed for session in made.values() for needed in session.needs} <= ids


def test_views_show_every_session_without_a_problem(
    made: Made, views: dict[str, SessionView]
) -> None:
    for kind, session in made.items():
        seen = views[kind]
        assert (kind, seen.problem, seen.listed) == (kind, None, True)
        assert (kind, seen.archived) == (kind, session.archived)
        assert (kind, seen.name) == (kind, session.name)
        assert seen.turns
        assert seen.context[-1]["content"][0]["text"] == "What do you see?"


@pytest.mark.parametrize("kind", sorted(CURRENT_KINDS.keys() - {"legacy_mode"}))
def test_current_kinds_are_paginated(home: CodexHome, made: Made, kind: str) -> None:
    assert meta_of(home, made[kind])["history_mode"] == "paginated"
    assert all("ordinal" in record for record in records_of(home, made[kind]))


@pytest.mark.parametrize("kind", [*sorted(LEGACY_KINDS), "legacy_mode"])
def test_legacy_kinds_have_no_ordinals(home: CodexHome, made: Made, kind: str) -> None:
    assert meta_of(home, made[kind]).get("history_mode", "legacy") == "legacy"
    assert not any("ordinal" in record for record in records_of(home, made[kind]))


@pytest.mark.parametrize(
    ("kind", "parent"),
    [
        ("fork", "fork_parent"),
        ("fork_middle", "fork_root"),
        ("fork_of_fork", "fork_middle"),
        ("fork_no_turn", "fork_no_turn_parent"),
        ("fork_midway", "fork_midway_parent"),
        ("fork_of_compacted", "fork_of_compacted_parent"),
        ("compressed_fork", "compressed_fork_base"),
    ],
)
def test_a_fork_names_a_base_that_goes_on(
    home: CodexHome, made: Made, kind: str, parent: str
) -> None:
    base = meta_of(home, made[kind])["history_base"]
    assert base["thread_id"] == made[parent].session_id
    last = records_of(home, made[parent])[-1]["ordinal"]
    if kind == "fork_no_turn":
        assert "task_started" not in types_of(home, made[kind])
        assert base["end_ordinal_exclusive"] == last + 1
    else:
        assert base["end_ordinal_exclusive"] <= last


def test_a_fork_shows_its_parents_turns_and_its_own(views: dict[str, SessionView]) -> None:
    assert said(views["fork"]) == ["fork_parent: one", "fork_parent: two", "fork: own turn"]
    assert said(views["fork_midway"]) == ["fork_midway_parent: one", "fork_midway: own turn"]
    assert said(views["fork_of_fork"]) == [
        "fork_root: one",
        "fork_middle: own turn",
        "fork_of_fork: own turn",
    ]
    assert "after the fork" not in heard(views["fork"])


@pytest.mark.parametrize(
    ("kind", "files"), [("reverted", 2), ("reverted_to_start", 2), ("reverted_twice", 3)]
)
def test_a_reverted_session_has_a_file_per_segment(
    home: CodexHome, made: Made, kind: str, files: int
) -> None:
    assert len(files_of(home, made[kind])) == files


def test_a_fork_of_a_reverted_session_is_based_on_a_segment(home: CodexHome, made: Made) -> None:
    segment = meta_of(home, made["fork_of_reverted"])["history_base"]["thread_id"]
    assert segment != made["fork_of_reverted_parent"].session_id
    newest = files_of(home, made["fork_of_reverted_parent"])[-1]
    assert newest.name.endswith(f"_{segment}.jsonl")


def test_what_was_reverted_is_gone(views: dict[str, SessionView]) -> None:
    assert said(views["reverted"]) == ["reverted: one", "reverted: another two"]
    assert said(views["reverted_to_start"]) == ["reverted_to_start: another one"]
    assert said(views["legacy_rolled_back"])[-1] == "legacy_rolled_back: another two"
    assert "reverted: three" not in heard(views["reverted"])


@pytest.mark.parametrize("kind", ["compacted", "fork_of_compacted_parent", "legacy_compacted"])
def test_a_compacted_session_has_the_record(home: CodexHome, made: Made, kind: str) -> None:
    assert "compacted" in types_of(home, made[kind])


def test_the_context_of_a_compacted_session_is_the_summary(views: dict[str, SessionView]) -> None:
    assert "SUMMARY: what was said so far" in heard(views["compacted"])
    assert "answer to: compacted: one" not in heard(views["compacted"])


def test_a_subagent_names_its_parent(home: CodexHome, made: Made) -> None:
    for kind in ("subagent", "subagent_forked", "legacy_subagent"):
        meta = meta_of(home, made[kind])
        parent = made[f"{kind}_parent"].session_id
        assert meta["source"]["subagent"]["thread_spawn"]["parent_thread_id"] == parent
    assert meta_of(home, made["subagent"])["parent_thread_id"] == made["subagent"].needs[0]
    edges = {row["child_thread_id"] for row in rows(home.home, "thread_spawn_edges")}
    assert made["subagent"].session_id in edges


def test_a_full_copy_carries_its_parents_meta(home: CodexHome, made: Made) -> None:
    copies = {
        "legacy_fork": "legacy_fork_parent",
        "legacy_mode_fork": "legacy_mode",
        "subagent_forked": "subagent_forked_parent",
    }
    for kind, parent in copies.items():
        second = records_of(home, made[kind])[1]
        assert second["type"] == "session_meta"
        assert second["payload"]["id"] == made[parent].session_id


def test_the_old_release_rolls_back_by_a_record(home: CodexHome, made: Made) -> None:
    assert "thread_rolled_back" in types_of(home, made["legacy_rolled_back"])


def test_carried_on_has_turns_of_both_releases(
    home: CodexHome, made: Made, views: dict[str, SessionView]
) -> None:
    assert meta_of(home, made["legacy_carried_on"])["cli_version"] == LEGACY
    assert "world_state" in types_of(home, made["legacy_carried_on"])
    texts = ["legacy_carried_on: one", "legacy_carried_on: two"]
    assert said(views["legacy_carried_on"]) == texts


@pytest.mark.parametrize("kind", ["with_tools", "legacy_with_tools"])
def test_a_tool_was_called(
    home: CodexHome, made: Made, views: dict[str, SessionView], kind: str
) -> None:
    assert {"function_call", "function_call_output"} <= set(types_of(home, made[kind]))
    assert "tool-output" in heard(views[kind])


def test_hard_text_survives(views: dict[str, SessionView]) -> None:
    assert said(views["unicode"])[0] == f"unicode: {UNICODE_TEXT}"


@pytest.mark.parametrize("kind", ["compressed", "compressed_fork_base"])
def test_only_the_compressed_file_is_left(home: CodexHome, made: Made, kind: str) -> None:
    assert [path.suffix for path in files_of(home, made[kind])] == [".zst"]


def test_working_directories(home: CodexHome, made: Made, views: dict[str, SessionView]) -> None:
    assert meta_of(home, made["other_cwd"])["cwd"] == str(home.elsewhere)
    assert meta_of(home, made["other_cwd_resumed"])["cwd"] == str(home.project)
    assert views["other_cwd_resumed"].cwd == str(home.elsewhere)


def test_looking_is_repeatable_and_changes_nothing(
    home: CodexHome, made: Made, views: dict[str, SessionView]
) -> None:
    before = tree_digest(home.home)
    ids = {session.session_id: kind for kind, session in made.items()}
    again = {ids[session_id]: seen for session_id, seen in view(home, list(ids)).items()}
    assert again == views
    assert changes(before, tree_digest(home.home)) == {}


def test_a_home_looks_the_same_at_another_place(
    home: CodexHome, made: Made, views: dict[str, SessionView], tmp_path: Path
) -> None:
    moved = copy_home(home, tmp_path / "moved")
    for kind in ("plain", "fork", "reverted", "legacy", "compressed_fork"):
        session_id = made[kind].session_id
        assert view(moved, [session_id])[session_id] == views[kind]


def test_a_lost_turn_is_seen(
    home: CodexHome, made: Made, views: dict[str, SessionView], tmp_path: Path
) -> None:
    damaged = copy_home(home, tmp_path / "home")
    [path] = files_of(damaged, made["several_turns"])
    # The projection is built anew from the file once its database is gone.
    for database in damaged.home.glob("thread_history_1.sqlite*"):
        database.unlink()
    lines = path.read_bytes().splitlines(keepends=True)
    starts = [n for n, line in enumerate(lines) if b'"type":"task_started"' in line]
    path.write_bytes(b"".join(lines[: starts[-1]]))
    session_id = made["several_turns"].session_id
    seen = view(damaged, [session_id])[session_id]
    assert len(seen.turns) == len(views["several_turns"].turns) - 1
    assert seen.context != views["several_turns"].context
    assert (seen.name, seen.preview) == (None, views["several_turns"].preview)


def test_a_missing_base_is_a_problem_not_a_crash(
    home: CodexHome, made: Made, tmp_path: Path
) -> None:
    damaged = copy_home(home, tmp_path / "home")
    for path in files_of(damaged, made["fork_parent"]):
        path.unlink()
    session_id = made["fork"].session_id
    assert view(damaged, [session_id])[session_id].problem is not None


def test_an_unknown_session_is_a_problem_not_a_crash(home: CodexHome) -> None:
    unknown = "01a1fdb5-1571-7503-8d1e-56bbc8c82d62"
    seen = view(home, [unknown])[unknown]
    assert not seen.listed
    assert seen.problem is not None


def test_forks_are_opened_before_their_parents(home: CodexHome, made: Made) -> None:
    kinds = ["fork_root", "fork_of_fork", "fork_middle", "plain"]
    ids = dependents_first(home.home, [made[kind].session_id for kind in kinds])
    order = [next(kind for kind in kinds if made[kind].session_id == found) for found in ids]
    assert order[:2] == ["fork_of_fork", "fork_middle"]


def test_the_old_release_can_be_asked_too(server: ModelServer, tmp_path: Path) -> None:
    require_codex(LEGACY)
    home = CodexHome(tmp_path / "home", tmp_path / "user", server, version=LEGACY).prepare()
    made = make_legacy(home, only=["legacy", "legacy_rolled_back"])
    ids = {session.session_id: kind for kind, session in made.items()}
    seen = {ids[session_id]: shown for session_id, shown in view(home, list(ids)).items()}
    assert said(seen["legacy"]) == ["legacy: one", "legacy: two"]
    assert said(seen["legacy_rolled_back"])[-1] == "legacy_rolled_back: another two"


def test_doctor_speaks_of_the_rollouts(home: CodexHome) -> None:
    parity = doctor(home)
    assert parity["id"] == "state.rollout_db_parity"
    assert parity["details"]["rollout DB stale rows"] == "0"


def test_a_script_answers_the_request_it_is_meant_for() -> None:
    def ask(text: str) -> dict[str, Any]:
        return {"input": [{"role": "user", "content": [{"type": "input_text", "text": text}]}]}

    server = ModelServer()
    server.script(function_call("tool", {}), when="second")
    assert server.answer(ask("first"))[0]["type"] == "message"
    assert server.answer(ask("the second"))[0]["type"] == "function_call"
    assert server.answer(ask("the second"))[0]["content"][0]["text"] == "answer to: the second"
    assert len(server.requests_with("second")) == 2
