"""Sessions made by the old release, one maker per kind."""

from __future__ import annotations

from codexbed.app_server import AppServer
from codexbed.codex import CodexHome
from codexbed.making import Made, MadeSession, legacy_release, spawn, talk
from codexbed.model_server import function_call


@legacy_release
def legacy(home: CodexHome, app: AppServer) -> Made:
    """Two turns by the old release."""
    return [MadeSession("legacy", talk(home, app, "legacy", "one", "two"))]


@legacy_release
def legacy_named(home: CodexHome, app: AppServer) -> Made:
    """Named by the old release."""
    session_id = talk(home, app, "legacy_named", "one")
    app.set_name(session_id, "legacy name")
    return [MadeSession("legacy_named", session_id, "legacy name")]


@legacy_release
def legacy_archived(home: CodexHome, app: AppServer) -> Made:
    """Archived by the old release."""
    session_id = talk(home, app, "legacy_archived", "one")
    app.archive(session_id)
    return [MadeSession("legacy_archived", session_id, archived=True)]


@legacy_release
def legacy_fork(home: CodexHome, app: AppServer) -> Made:
    """A full-copy fork, and its parent, each with a turn after the split."""
    parent = talk(home, app, "legacy_fork_parent", "one")
    child = app.fork(parent)
    app.start_turn(child, "legacy_fork: own turn")
    app.start_turn(parent, "legacy_fork_parent: after the fork")
    return [
        MadeSession("legacy_fork_parent", parent),
        MadeSession("legacy_fork", child),
    ]


@legacy_release
def legacy_rolled_back(home: CodexHome, app: AppServer) -> Made:
    """Three turns, the last two rolled back, then another one."""
    session_id = talk(home, app, "legacy_rolled_back", "one", "two", "three")
    app.rollback(session_id, 2)
    app.start_turn(session_id, "legacy_rolled_back: another two")
    return [MadeSession("legacy_rolled_back", session_id)]


@legacy_release
def legacy_compacted(home: CodexHome, app: AppServer) -> Made:
    """A turn, a compaction, a turn by the old release."""
    session_id = talk(home, app, "legacy_compacted", "one")
    app.compact(session_id)
    app.start_turn(session_id, "legacy_compacted: two")
    return [MadeSession("legacy_compacted", session_id)]


@legacy_release
def legacy_with_tools(home: CodexHome, app: AppServer) -> Made:
    """The model runs a shell command once, under the old release."""
    call = function_call("exec_command", {"cmd": "echo tool-output", "login": False})
    home.server.script(call, when="legacy_with_tools: one")
    texts = ("one", "two")
    return [MadeSession("legacy_with_tools", talk(home, app, "legacy_with_tools", *texts))]


@legacy_release
def legacy_subagent(home: CodexHome, app: AppServer) -> Made:
    """A parent whose model spawns an agent, under the old release."""
    return spawn(home, app, "legacy_subagent")


@legacy_release
def legacy_carried_on(home: CodexHome, app: AppServer) -> Made:
    """Begun by the old release; `make_all` lets the current one carry on."""
    return [MadeSession("legacy_carried_on", talk(home, app, "legacy_carried_on", "one"))]
