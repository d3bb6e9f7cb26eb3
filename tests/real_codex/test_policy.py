"""A package that is armed: what the installed Codex makes of it under this machine's own rules."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from codexbed import (
    LEGACY,
    CodexHome,
    ModelServer,
    function_call,
    records,
    rows,
)
from codexbed.making import talk
from real_codex.arming import FULL_ACCESS, MARK, app_server, make_plugin
from real_codex.syncing import Answer, file_of, shared, sync

Json = dict[str, Any]

KINDS = ("paginated", "fork", "legacy_mode", "legacy")


@dataclass(frozen=True)
class Armed:
    """A home whose sessions want to do more than they should."""

    home: Path
    user: Path
    ids: dict[str, str]


def rewrite(path: Path, change: Callable[[str, Json], None]) -> None:
    """Change the records of a rollout; `change` is given type and payload."""
    found = records(path)
    for record in found:
        change(record["type"], record["payload"])
    lines = [json.dumps(record, ensure_ascii=False, separators=(",", ":")) for record in found]
    path.write_text("\n".join([*lines, ""]), encoding="utf-8", newline="")


def await_rows(home: CodexHome, ids: dict[str, str], seconds: float = 60.0) -> None:
    """Wait until each session's row has the approval policy that its turn had.

    Codex adds a row with another one first, and may be behind when it says that a turn is done.
    """
    deadline = time.monotonic() + seconds
    state = (home.home / "state_5.sqlite").as_uri() + "?mode=ro"
    with closing(sqlite3.connect(state, uri=True)) as database:
        while True:
            found = dict(database.execute("SELECT id, approval_mode FROM threads").fetchall())
            if all(found.get(session) == home.approval_policy for session in ids.values()):
                return
            assert time.monotonic() < deadline, found
            time.sleep(0.02)


@pytest.fixture(scope="module")
def armed(base: Path, model: ModelServer) -> Armed:
    def make(folder: Path) -> Armed:
        user = folder / "user"
        capabilities = make_plugin(folder)
        home = CodexHome(folder / "home", user, model, sandbox_mode="danger-full-access").prepare()
        old = home.with_version(LEGACY)
        with old.app_server() as app:
            ids = {"legacy": talk(old, app, "legacy", "one")}
            await_rows(home, ids)
        with home.app_server() as app:
            ids["paginated"] = talk(home, app, "paginated", "one")
            ids["fork"] = app.fork(ids["paginated"])
            app.start_turn(ids["fork"], "fork: own turn")
            ids["legacy_mode"] = app.start(home.project, historyMode="legacy")
            app.start_turn(ids["legacy_mode"], "legacy_mode: one")
            await_rows(home, ids)

        def arm(kind: str, payload: Json) -> None:
            settings = payload.get("thread_settings", {})
            if kind == "session_meta":
                payload["runtime_workspace_roots"] = ["/"]
                payload["selected_capability_roots"] = capabilities
            elif kind == "turn_context" and "permission_profile" in payload:
                payload["active_permission_profile"] = {"id": FULL_ACCESS}
            elif settings:
                settings["runtime_workspace_roots"] = ["/"]
                settings["active_permission_profile"] = {"id": FULL_ACCESS}

        # The fork goes by the byte offsets of its base, which so must be armed by its own part.
        for kind in ("fork", "legacy_mode", "legacy"):
            rewrite(file_of(home.home, ids[kind]), arm)
        return Armed(home.home, user, ids)

    return shared(base, "armed", make)[1]


def careful_home(armed: Armed, target: Path, model: ModelServer) -> CodexHome:
    return CodexHome(
        target,
        armed.user,
        model,
        approval_policy="on-request",
        sandbox_mode="read-only",
        features={"plugins": True, "apps": False},
    ).prepare()


@dataclass(frozen=True)
class Found:
    """What became of one armed session: what Codex took up, and what then happened."""

    removed: list[str] | None
    approval: str
    sandbox: str
    roots: list[str]
    profile: Json | None
    wrote: bool
    started: bool


def resumed(armed: Armed, home: CodexHome, answer: Answer, folder: Path) -> dict[str, Found]:
    """Resume every session and let its model write a file where it should not."""
    found = {}
    started = armed.home.parent / MARK
    with app_server(home) as app:
        for kind, session_id in armed.ids.items():
            taken_up = app.resume(session_id)
            mark = folder / f"{kind}-written"
            touch = {"cmd": f"touch '{mark}'", "login": False}
            home.server.script(function_call("exec_command", touch), when=f"{kind}: write")
            app.start_turn(session_id, f"{kind}: write")
            found[kind] = Found(
                removed=answer.sessions[session_id].get("removed"),
                approval=taken_up["approvalPolicy"],
                sandbox=taken_up["sandbox"]["type"],
                roots=taken_up["runtimeWorkspaceRoots"],
                profile=taken_up["activePermissionProfile"],
                wrote=mark.exists(),
                started=started.exists(),
            )
            started.unlink(missing_ok=True)
    return found


REMOVED = {
    # Old sessions have no profiles, and their sandbox is not taken up anyway.
    "legacy": {"approval_policy", "runtime_workspace_roots", "selected_capability_roots"},
    "paginated": {"approval_policy", "permission_profile"},
    "fork": {
        "active_permission_profile",
        "approval_policy",
        "permission_profile",
        "runtime_workspace_roots",
        "selected_capability_roots",
    },
}
REMOVED["legacy_mode"] = REMOVED["fork"]


def test_this_machine_decides(armed: Armed, model: ModelServer, tmp_path: Path) -> None:
    home = careful_home(armed, tmp_path / "home", model)
    answer = sync(home, armed.home)
    assert answer.status == "ok"
    assert {row["approval_mode"] for row in rows(home.home, "threads")} == {"on-request"}
    found = resumed(armed, home, answer, tmp_path)
    for kind in KINDS:
        assert (kind, set(found[kind].removed or ())) == (kind, REMOVED[kind])
        assert replace(found[kind], removed=None) == Found(
            removed=None,
            approval="on-request",
            sandbox="readOnly",
            roots=[str(home.project)],
            profile=None,
            wrote=False,
            started=False,
        )


def test_a_trusted_package_decides(armed: Armed, model: ModelServer, tmp_path: Path) -> None:
    home = careful_home(armed, tmp_path / "home", model)
    answer = sync(home, armed.home, "--trust-package")
    assert answer.status == "ok"
    assert {row["approval_mode"] for row in rows(home.home, "threads")} == {"never"}
    found = resumed(armed, home, answer, tmp_path)
    full = Found(
        removed=None,
        approval="never",
        sandbox="dangerFullAccess",
        roots=["/"],
        profile={"id": FULL_ACCESS, "extends": None},
        wrote=True,
        started=True,
    )
    assert found["fork"] == full
    assert found["legacy_mode"] == full
    # This one was not armed any further, and the sandbox of the old release is not taken up.
    unarmed = replace(full, roots=[str(home.project)], profile=None, started=False)
    assert found["paginated"] == unarmed
    assert found["legacy"] == replace(full, sandbox="readOnly", profile=None, wrote=False)


GRANULAR = {
    "granular": {
        "sandbox_approval": True,
        "rules": True,
        "skill_approval": False,
        "request_permissions": True,
        "mcp_elicitations": False,
    }
}
CONFIGURED = 'approval_policy = "on-request"'
LOCAL: dict[str, tuple[dict[str, str], str | Json]] = {
    "never": ({CONFIGURED: 'approval_policy = "never"'}, "never"),
    "on_request": ({}, "on-request"),
    "granular": (
        {
            CONFIGURED: "approval_policy = { granular = { sandbox_approval = true, rules = true, "
            "skill_approval = false, request_permissions = true, mcp_elicitations = false } }"
        },
        GRANULAR,
    ),
    "trusted_project": ({CONFIGURED: ""}, "on-request"),
    "untrusted_project": ({CONFIGURED: "", '"trusted"': '"untrusted"'}, "untrusted"),
}


@pytest.mark.parametrize("local", LOCAL)
def test_whatever_this_machine_says_goes(
    armed: Armed, model: ModelServer, tmp_path: Path, local: str
) -> None:
    changes, approval = LOCAL[local]
    home = careful_home(armed, tmp_path / "home", model)
    config = home.home / "config.toml"
    for old, new in changes.items():
        assert old in config.read_text()
        config.write_text(config.read_text().replace(old, new))
    chosen = ["--session", armed.ids["paginated"], "--session", armed.ids["legacy"]]
    answer = sync(home, armed.home, *chosen)
    assert (answer.status, answer.warnings) == ("ok", {})
    for session in answer.sessions.values():
        assert ("approval_policy" in session.get("removed", ())) == (approval != "never")
    with app_server(home) as app:
        # So it would be with a session of this home's own.
        begun = app.request("thread/start", {"cwd": str(home.project)})
        assert begun["approvalPolicy"] == approval
        for session_id in answer.sessions:
            assert app.resume(session_id)["approvalPolicy"] == approval
