"""What Codex itself shows of sessions: lists, turns, and the context of the next turn."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from codexbed.app_server import AppServer, AppServerError, Json
from codexbed.codex import CodexHome, first_record, rollout_files
from codexbed.install import LEGACY
from codexbed.model_server import ModelServer, last_user_text
from codexbed.snapshot import copy_home

PROBE = "What do you see?"

# Ids and clocks of the machinery; what was said, by whom and in which order stays.
_VOLATILE = frozenset(
    {
        "id",
        "rootTurnId",
        "clientId",
        "startedAtMs",
        "completedAtMs",
        "processId",
        "internal_chat_message_metadata_passthrough",
    }
)
_CALL_KEYS = frozenset({"call_id", "callId"})
# Transcripts name the skills folder of the home they were made in, which may be another one.
_OTHER_HOME = re.compile(r"/[^\s`()\"]*(?=/skills/\.system)")
_DATE = re.compile(r"<current_date>[^<]*</current_date>")


@dataclass(frozen=True)
class SessionView:
    """One session as Codex shows it; `problem` says what Codex refused to do with it."""

    session_id: str
    listed: bool
    name: str | None
    archived: bool
    preview: str | None
    cwd: str | None
    turns: tuple[Json, ...]
    context: tuple[Json, ...]
    instructions: str
    tools: tuple[str, ...]
    problem: str | None = None


def view(
    home: CodexHome,
    ids: Sequence[str],
    mask: Mapping[str, str] | None = None,
) -> dict[str, SessionView]:
    """Return what Codex shows of each session, looking at a copy of the home.

    `mask` maps texts, such as other session ids or project folders, to what stands for them in
    the views; homes are `<home>` without being asked. Forks are opened before their parents,
    because opening a parent can repair what a fork shows.
    """
    with tempfile.TemporaryDirectory(prefix="view-") as folder, ModelServer() as server:
        copied = replace(copy_home(home, Path(folder) / "home"), server=server).prepare()
        masks = {str(copied.home): "<home>", str(home.home): "<home>", **(mask or {})}
        views = _Looker(copied, masks).look(dependents_first(copied.home, ids))
    return {session_id: views[session_id] for session_id in ids}


def dependents_first(home: Path, ids: Sequence[str]) -> list[str]:
    """Return the ids so that no session comes after one its files are based on."""
    base_of: dict[str, str | None] = {}
    newest: dict[str, str] = {}
    for path in rollout_files(home):
        segment = path.name.split(".")[0][-36:]
        meta = first_record(path).get("payload") or {}
        base_of[segment] = (meta.get("history_base") or {}).get("thread_id")
        newest[str(meta.get("id"))] = segment

    def depth(session_id: str) -> int:
        chain: list[str] = []
        segment: str | None = newest.get(session_id)
        while segment is not None and segment not in chain:
            chain.append(segment)
            segment = base_of.get(segment)
        return len(chain)

    return sorted(ids, key=depth, reverse=True)


def doctor(home: CodexHome) -> Json:
    """Return `checks["state.rollout_db_parity"]` of `codex doctor --json`."""
    # It asks the network for a newer release; a proxy that is not there keeps it on this machine.
    done = home.run("doctor", "--json", env={"HTTPS_PROXY": "http://127.0.0.1:9"})
    checks = json.loads(done.stdout)["checks"]
    parity: Json = checks["state.rollout_db_parity"]
    return parity


class _Looker:
    def __init__(self, home: CodexHome, mask: dict[str, str]) -> None:
        self._home = home
        self._mask = mask

    def look(self, ids: Sequence[str]) -> dict[str, SessionView]:
        views: dict[str, SessionView] = {}
        with self._home.app_server() as app:
            listed = {
                archived: {thread["id"]: thread for thread in app.list_threads(archived)}
                for archived in (False, True)
            }
            for session_id in ids:
                archived = session_id in listed[True]
                thread = listed[archived].get(session_id)
                views[session_id] = self._session(app, session_id, thread, archived)
        return views

    def _session(
        self, app: AppServer, session_id: str, thread: Json | None, archived: bool
    ) -> SessionView:
        turns: list[Json] = []
        request: Json = {}
        problem = None
        shown = thread or {}
        try:
            if archived:
                app.unarchive(session_id)
            resumed = app.resume(session_id)
            shown = thread or resumed["thread"]
            turns = self._turns(app, session_id)
            request = self._probe(app, session_id)
        except AppServerError as error:
            problem = str(error)
        return SessionView(
            session_id=session_id,
            listed=thread is not None,
            name=shown.get("name"),
            archived=archived,
            preview=shown.get("preview"),
            cwd=self._text(shown["cwd"]) if shown.get("cwd") else None,
            turns=tuple(self._shown(turns, session_id)),
            context=tuple(self._shown(request.get("input") or [], session_id)),
            instructions=self._text(request.get("instructions") or ""),
            tools=tuple(sorted(_tool_names(request.get("tools") or []))),
            problem=self._text(problem) if problem else None,
        )

    def _turns(self, app: AppServer, session_id: str) -> list[Json]:
        if self._home.version == LEGACY:
            found: list[Json] = app.read_thread(session_id, include_turns=True)["turns"]
            return found
        return app.turns(session_id)

    def _probe(self, app: AppServer, session_id: str) -> Json:
        server = self._home.server
        seen = len(server.requests)
        app.start_turn(session_id, PROBE)
        return next(body for body in server.requests[seen:] if last_user_text(body) == PROBE)

    def _shown(self, values: list[Json], session_id: str) -> list[Json]:
        calls: dict[str, str] = {}
        mask = {**self._mask, session_id: "<this session>"}
        return [_normalised(value, mask, calls) for value in values]

    def _text(self, text: str) -> str:
        return _masked(text, self._mask)


def _normalised(value: Any, mask: Mapping[str, str], calls: dict[str, str]) -> Any:
    if isinstance(value, str):
        return _masked(value, mask)
    if isinstance(value, list):
        return [_normalised(item, mask, calls) for item in value]
    if not isinstance(value, dict):
        return value
    shown: Json = {}
    for key, item in value.items():
        if key in _CALL_KEYS:
            shown[key] = calls.setdefault(item, f"call {len(calls) + 1}")
        elif key not in _VOLATILE:
            shown[key] = _normalised(item, mask, calls)
    return shown


def _masked(text: str, mask: Mapping[str, str]) -> str:
    for found, label in mask.items():
        text = text.replace(found, label)
    text = _OTHER_HOME.sub("<home>", text)
    return _DATE.sub("<current_date>today</current_date>", text)


def _tool_names(tools: Sequence[Json], prefix: str = "") -> list[str]:
    names: list[str] = []
    for tool in tools:
        name = prefix + str(tool.get("name") or tool.get("type"))
        names += _tool_names(tool["tools"], f"{name}.") if "tools" in tool else [name]
    return names
