"""What the makers of sessions share: the result, the registers, and the ways to talk."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from codexbed.app_server import AppServer
from codexbed.codex import CodexHome
from codexbed.install import LEGACY
from codexbed.model_server import function_call


@dataclass(frozen=True)
class MadeSession:
    """One session in a home; `needs` are the sessions its files refer to."""

    kind: str
    session_id: str
    name: str | None = None
    archived: bool = False
    needs: tuple[str, ...] = ()


Made = list[MadeSession]
Maker = Callable[[CodexHome, AppServer], Made]
CURRENT_KINDS: dict[str, Maker] = {}
LEGACY_KINDS: dict[str, Maker] = {}
SLOW_KINDS: set[str] = set()


def current(maker: Maker) -> Maker:
    """Register a maker that needs the current release."""
    CURRENT_KINDS[maker.__name__] = maker
    return maker


def legacy_release(maker: Maker) -> Maker:
    """Register a maker that needs the old release."""
    LEGACY_KINDS[maker.__name__] = maker
    return maker


def slow(maker: Maker) -> Maker:
    """Mark a maker that mostly waits, so that others may run meanwhile."""
    SLOW_KINDS.add(maker.__name__)
    return maker


def next_second() -> None:
    """Wait, so that the next file gets a later time in its name.

    Codex takes the file with the newest name for a session; among equals it may take an old one.
    """
    time.sleep(1.05)


def talk(home: CodexHome, app: AppServer, kind: str, *texts: str, cwd: Path | None = None) -> str:
    """Start a session, run one turn per text, and return its id."""
    session_id = app.start(cwd or home.project)
    for text in texts:
        app.start_turn(session_id, f"{kind}: {text}")
    return session_id


def spawn(home: CodexHome, app: AppServer, kind: str, **arguments: bool) -> Made:
    """Let the model of a new session spawn an agent; return both sessions."""
    task = f"{kind}: the task of the child"
    old = home.version == LEGACY
    namespace = None if old else "multi_agent_v1"
    call = function_call("spawn_agent", {"message": task, **arguments}, namespace)
    home.server.script(call, when=f"{kind}_parent: one")
    before = len(app.notifications)
    parent = talk(home, app, f"{kind}_parent", "one")
    child = _child_of(app, parent, before)
    app.start_turn(parent, f"{kind}_parent: two")
    return [
        MadeSession(f"{kind}_parent", parent),
        MadeSession(kind, child, needs=(parent,)),
    ]


def _child_of(app: AppServer, parent: str, since: int) -> str:
    for note in app.notifications[since:]:
        item = note.get("params", {}).get("item") or {}
        if note["method"] == "item/completed" and item.get("senderThreadId") == parent:
            child = str(item["receiverThreadIds"][0])
            app.wait_for("turn/completed", since=since, threadId=child)
            return child
    raise AssertionError("the model's spawn_agent call made no session")
