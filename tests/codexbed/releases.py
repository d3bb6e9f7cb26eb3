"""Releases of Codex from 0.118.0 on: which there are, and sessions that any of them can make."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from codexbed.app_server import AppServer
from codexbed.codex import CodexHome
from codexbed.making import Made, MadeSession, next_second
from codexbed.model_server import function_call
from codexbed.snapshot import STATE

RELEASES = (
    "0.118.0",
    "0.140.0",
    "0.144.0",
    "0.147.0",
    "0.150.0",
    "0.155.0",
    "0.160.0",
    "0.166.0",
    "0.169.0",
)
"""One of each shape of the database, oldest first, of those that write and read alike."""

FIRST_PAGINATED = (0, 150)
"""The first release that writes paginated sessions, and reverts them where it rolls back others."""


ATTEMPTS = 3

FIRST_WITH_COMMANDS = (0, 166)
"""The first release that shows the commands of a paginated session."""


def numbers(version: str) -> tuple[int, ...]:
    """The parts of a version, to be compared."""
    return tuple(int(part) for part in version.split("."))


def make_sessions(home: CodexHome) -> dict[str, MadeSession]:
    """Make a session of each kind that all releases know, with the home's own one, by kind."""
    made: Made = [MadeSession("exec_made", _exec_made(home))]
    with home.app_server() as app:
        for maker in (_plain, _named, _archived, _fork, _compacted, _with_tools, _taken_back):
            made += maker(home, app)
    return {session.kind: session for session in made}


def _exec_made(home: CodexHome) -> str:
    """Its row tells the first words. On a busy machine the oldest release may end before it has
    noted them in a new home, and takes the next words for them: then another one is made."""
    for _ in range(ATTEMPTS):
        session_id = home.exec("exec_made: one")
        home.exec_resume(session_id, "exec_made: two")
        with closing(sqlite3.connect(home.home / STATE)) as database:
            [told] = database.execute(
                "SELECT first_user_message FROM threads WHERE id = ?", (session_id,)
            ).fetchall()
        if told == ("exec_made: one",):
            return session_id
    raise AssertionError(f"{home.version} noted {told[0]!r} as first words")


def _talk(home: CodexHome, app: AppServer, kind: str, *texts: str, own_mode: bool = False) -> str:
    """A session with one turn per text, paginated where the release writes that.

    `own_mode`: as the app-server has it by itself, which at first is legacy.
    """
    paginated = numbers(home.version) >= FIRST_PAGINATED and not own_mode
    how = {"historyMode": "paginated"} if paginated else {}
    session_id = app.start(home.project, **how)
    for text in texts:
        app.start_turn(session_id, f"{kind}: {text}")
    return session_id


def _plain(home: CodexHome, app: AppServer) -> Made:
    return [
        MadeSession("one_turn", _talk(home, app, "one_turn", "one", own_mode=True)),
        MadeSession("three_turns", _talk(home, app, "three_turns", "one", "two", "three")),
    ]


def _named(home: CodexHome, app: AppServer) -> Made:
    session_id = _talk(home, app, "named", "one", own_mode=True)
    app.set_name(session_id, "the given name")
    return [MadeSession("named", session_id, "the given name")]


def _archived(home: CodexHome, app: AppServer) -> Made:
    session_id = _talk(home, app, "archived", "one", "two")
    app.archive(session_id)
    return [MadeSession("archived", session_id, archived=True)]


def _fork(home: CodexHome, app: AppServer) -> Made:
    parent = _talk(home, app, "fork_parent", "one", "two")
    child = app.fork(parent)
    app.start_turn(child, "fork: own turn")
    app.start_turn(parent, "fork_parent: after the fork")
    return [MadeSession("fork_parent", parent), MadeSession("fork", child, needs=(parent,))]


def _compacted(home: CodexHome, app: AppServer) -> Made:
    session_id = _talk(home, app, "compacted", "one")
    app.compact(session_id)
    app.start_turn(session_id, "compacted: two")
    return [MadeSession("compacted", session_id)]


def _with_tools(home: CodexHome, app: AppServer) -> Made:
    call = function_call("exec_command", {"cmd": "echo tool-output", "login": False})
    home.server.script(call, when="with_tools: one")
    return [MadeSession("with_tools", _talk(home, app, "with_tools", "one", "two"))]


def _taken_back(home: CodexHome, app: AppServer) -> Made:
    session_id = _talk(home, app, "taken_back", "one", "two", "three")
    if numbers(home.version) < FIRST_PAGINATED:
        app.rollback(session_id, 2)
    else:
        next_second()
        app.revert(session_id, app.turns(session_id)[1]["id"])
    app.start_turn(session_id, "taken_back: another two")
    return [MadeSession("taken_back", session_id)]
