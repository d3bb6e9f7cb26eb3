"""Events of every kind of session: what Codex shows, the same in every form, and once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from codexbed import CodexHome, SessionView, copy_home
from eventing import lines, told
from real_codex.syncing import FORMS, Answer, Source, call, fresh_home, shared, sync

Json = dict[str, Any]


def imported(home: CodexHome, package: Path, store: Path) -> Answer:
    """``events import`` of a package into a store."""
    return call(home, "events", "import", package, "--store", store)


@pytest.fixture(scope="module")
def reference(base: Path, source: Source) -> tuple[Path, dict[str, Json]]:
    """A store with the events of the source, and what the import said of each session."""

    def make(folder: Path) -> dict[str, Json]:
        answer = imported(source.home, source.home.home, folder / "store")
        assert (answer.code, answer.status) == (0, "ok")
        return answer.sessions

    folder, sessions = shared(base, "events", make)
    return folder / "store", sessions


def on_line(store: Path, sessions: Mapping[str, Json], session_id: str) -> list[tuple[str, str]]:
    """Who said what in a session, by its events."""
    known = {line["event_id"]: line for line in lines(store) if "event_id" in line}
    found, head = [], sessions[session_id]["head_event"]
    while head is not None:
        found.append((known[head]["kind"], known[head]["text"]))
        head = known[head]["parent"]
    return found[::-1]


def shown(seen: SessionView) -> list[tuple[str, str]]:
    """Who said what in a session, as Codex shows it."""
    found = []
    for turn in seen.turns:
        for item in turn["items"]:
            if item["type"] == "userMessage":
                text = "\n".join(part["text"] for part in item["content"] if "text" in part)
                found.append(("user_message", text))
            elif item["type"] == "agentMessage":
                found.append(("agent_message", item["text"]))
    return found


def test_events_are_what_codex_shows(
    source: Source, reference: tuple[Path, dict[str, Json]]
) -> None:
    store, sessions = reference
    assert set(sessions) == set(source.ids())
    differing = {}
    for kind, made in source.made.items():
        here, there = on_line(store, sessions, made.session_id), shown(source.views[kind])
        if here != there:
            differing[kind] = (here, there)
    # An agent that is given its parent's history has it as its own; Codex does not show it there.
    [(given, *own), there] = differing.pop("subagent_forked")
    assert (given, own) == (("user_message", "subagent_forked_parent: one"), there)
    assert differing == {}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_events(
    form: str, source: Source, reference: tuple[Path, dict[str, Json]], tmp_path: Path
) -> None:
    store, sessions = reference
    package = FORMS[form](source, tmp_path / "package")
    answer = imported(source.home, package, tmp_path / "store")
    refused = {i for i, found in answer.sessions.items() if "refused" in found}
    if not refused:
        assert told(tmp_path / "store") == told(store)
    else:
        assert form == "transfer"
    heads = {i: s["head_event"] for i, s in answer.sessions.items() if i not in refused}
    assert heads == {i: sessions[i]["head_event"] for i in heads}
    shutil.copytree(store, tmp_path / "copy")
    again = imported(source.home, package, tmp_path / "copy")
    assert again.document["data"]["counts"]["added"] == 0
    assert lines(tmp_path / "copy") == lines(store)


def test_a_migration_and_a_sync_make_no_new_events(
    source: Source, reference: tuple[Path, dict[str, Json]], tmp_path: Path
) -> None:
    """But for what a migration writes anew: compactions after turns that were taken back."""
    store = Path(shutil.copytree(reference[0], tmp_path / "store"))
    migrated = copy_home(source.home, tmp_path / "migrated")
    done = migrated.run("migrate-rollouts", "--apply")
    assert done.returncode == 0, done.stderr
    answer = imported(source.home, migrated.home, store)
    assert answer.code == 0
    modes = {one["history_mode"] for one in answer.sessions.values()}
    assert modes == {"paginated"}
    assert answer.document["data"]["counts"]["added"] == 0
    target = fresh_home(source.home.user_home, tmp_path / "synced", source.home.server)
    assert sync(target, source.home.home).code == 0
    assert imported(target, target.home, store).document["data"]["counts"]["added"] == 0
    assert json.dumps(lines(store)) == json.dumps(lines(reference[0]))
