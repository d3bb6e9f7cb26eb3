"""Sessions, homes and packages made by code, small and exact, for tests that need no Codex.

The shapes are those that the real program writes (tests/real_codex checks that it takes them).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

Record = dict[str, Any]

START = datetime(2026, 3, 2, 9, 0, 0, tzinfo=UTC)


def session_id(number: int) -> str:
    """A stable id of the shape that Codex gives (UUID version 7)."""
    return str(uuid.UUID(int=(0x019CAC00_0000 + number) << 80 | 0x7 << 76 | 0x8 << 60 | number))


@dataclass(frozen=True)
class Session:
    """A session as a value: continue it, fork it, then write it where it is needed.

    ``turns`` are (user text, agent text); ``start`` is the number of minutes after START.
    """

    number: int
    turns: tuple[tuple[str, str], ...] = ()
    legacy: bool = False
    cwd: str = "/home/alice/garden"
    start: int = 0
    name: str | None = None
    archived: bool = False
    forked_from: Session | None = field(default=None, repr=False)
    fork_turns: int = 0
    meta: Record = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The session's id."""
        return session_id(self.number)

    def say(self, user: str, agent: str | None = None) -> Session:
        """The session with one more turn."""
        return replace(self, turns=(*self.turns, (user, agent or f"answer to: {user}")))

    def fork(self, number: int) -> Session:
        """A fork by reference at the present end."""
        return Session(
            number,
            start=self.start + 60,
            cwd=self.cwd,
            forked_from=self,
            fork_turns=len(self.turns),
        )

    @property
    def created(self) -> datetime:
        """When the session was made."""
        return START + timedelta(minutes=self.start)

    @property
    def file_name(self) -> str:
        """The rollout's base name."""
        return f"rollout-{self.created:%Y-%m-%dT%H-%M-%S}-{self.id}.jsonl"

    @property
    def relative_path(self) -> str:
        """Where the rollout lies below a Codex home."""
        if self.archived:
            return f"archived_sessions/{self.file_name}"
        return f"sessions/{self.created:%Y/%m/%d}/{self.file_name}"

    def records(self) -> list[Record]:
        """The records of the session's own file."""
        found: list[Record] = [self._meta()]
        if self.forked_from is None:
            found += [self._item("developer", "Be brief."), self._environment()]
        for number, (user, agent) in enumerate(self.turns):
            found += self._turn(number, user, agent)
        first = self.first_ordinal
        for place, record in enumerate(found):
            moment = self.created + timedelta(milliseconds=250 * (first + place))
            record["timestamp"] = _stamp(moment)
            if not self.legacy:
                record["ordinal"] = first + place
        order = ("timestamp", "ordinal", "type", "payload")
        return [{key: record[key] for key in order if key in record} for record in found]

    @cached_property
    def first_ordinal(self) -> int:
        """The ordinal of the first record: where a fork takes up its parent's history."""
        base = self._base
        return 0 if base is None else base.first_ordinal + len(base.records())

    @cached_property
    def _base(self) -> Session | None:
        """What a fork continues, as it was then."""
        parent = self.forked_from
        return parent and replace(parent, turns=parent.turns[: self.fork_turns])

    def data(self) -> bytes:
        """The bytes of the session's own file."""
        return dump(self.records())

    def row(self, home: str = "/home/alice/.codex") -> Record:
        """The row of ``threads`` that a source database would have."""
        created = int(self.created.timestamp())
        updated = created + 60 * len(self.turns)
        first = self.turns[0][0] if self.turns else ""
        return {
            "id": self.id,
            "rollout_path": f"{home}/{self.relative_path}",
            "created_at": created,
            "updated_at": updated,
            "source": "cli",
            "model_provider": "openai",
            "cwd": self.cwd,
            "title": first,
            "sandbox_policy": '{"type":"read-only"}',
            "approval_mode": "on-request",
            "tokens_used": 15 * len(self.turns),
            "has_user_event": 0,
            "archived": int(self.archived),
            "archived_at": updated if self.archived else None,
            "git_sha": None,
            "git_branch": None,
            "git_origin_url": None,
            "cli_version": "0.169.0",
            "first_user_message": first,
            "preview": first,
            "history_mode": "legacy" if self.legacy else "paginated",
            "name": self.name,
        }

    def _meta(self) -> Record:
        payload: Record = {
            "session_id": self.id,
            "id": self.id,
            "timestamp": _stamp(self.created),
            "cwd": self.cwd,
            "originator": "codex_cli_rs",
            "cli_version": "0.118.0" if self.legacy else "0.169.0",
            "source": "cli",
            "model_provider": "openai",
        }
        if self.legacy:
            del payload["session_id"]
        else:
            payload["history_mode"] = "paginated"
        base = self._base
        if base is not None:
            end = self.first_ordinal
            payload |= {
                "forked_from_id": base.id,
                "forked_from_ordinal_exclusive": end,
                "history_base": {
                    "thread_id": base.id,
                    "end_ordinal_exclusive": end,
                    "end_byte_offset": len(base.data()),
                },
            }
        return {"type": "session_meta", "payload": {**payload, **self.meta}}

    def _environment(self) -> Record:
        text = (
            f"<environment_context>\n  <cwd>{self.cwd}</cwd>\n"
            "  <shell>bash</shell>\n</environment_context>"
        )
        return self._item("user", text)

    def _item(self, role: str, text: str) -> Record:
        kind = "output_text" if role == "assistant" else "input_text"
        content = [{"type": kind, "text": text}]
        return {
            "type": "response_item",
            "payload": {"type": "message", "role": role, "content": content},
        }

    def _turn(self, number: int, user: str, agent: str) -> list[Record]:
        turn = str(uuid.uuid5(uuid.UUID(self.id), f"turn {number}"))
        context = {
            "turn_id": turn,
            "cwd": self.cwd,
            "approval_policy": "on-request",
            "sandbox_policy": {"type": "read-only"},
            "model": "gpt-5",
            "summary": "auto",
        }
        started = {"type": "task_started", "turn_id": turn, "model_context_window": 258400}
        complete = {"type": "task_complete", "turn_id": turn, "last_agent_message": agent}
        return [
            {"type": "event_msg", "payload": started},
            {"type": "turn_context", "payload": context},
            self._item("user", user),
            self._shown(turn, "user", user),
            self._shown(turn, "agent", agent),
            self._item("assistant", agent),
            {"type": "event_msg", "payload": self._tokens(number)},
            {"type": "event_msg", "payload": complete},
        ]

    def _shown(self, turn: str, who: str, text: str) -> Record:
        if self.legacy:
            return {"type": "event_msg", "payload": {"type": f"{who}_message", "message": text}}
        item = {
            "type": "UserMessage" if who == "user" else "AgentMessage",
            "id": str(uuid.uuid5(uuid.UUID(turn), who)),
            "content": [{"type": "text" if who == "user" else "Text", "text": text}],
        }
        payload = {"type": "item_completed", "thread_id": self.id, "turn_id": turn, "item": item}
        return {"type": "event_msg", "payload": payload}

    def _tokens(self, number: int) -> Record:
        usage = {
            "input_tokens": 10 * (number + 1),
            "cached_input_tokens": 0,
            "output_tokens": 5 * (number + 1),
            "reasoning_output_tokens": 0,
            "total_tokens": 15 * (number + 1),
        }
        info = {
            "total_token_usage": usage,
            "last_token_usage": usage,
            "model_context_window": 258400,
        }
        return {"type": "token_count", "info": info, "rate_limits": None}


def dump(records: Iterable[Record]) -> bytes:
    """Records as the lines of a rollout, in Codex's own spacing."""
    return b"".join(
        json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        for record in records
    )


def write_snapshot(home: Path, sessions: Sequence[Session], *, index: bool = True) -> Path:
    """A Codex home's files: rollouts in their folders, and the index of names; no database."""
    for session in sessions:
        path = home / session.relative_path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(session.data())
    named = [session for session in sessions if session.name]
    if index and named:
        (home / "session_index.jsonl").write_bytes(dump(_index_entry(s) for s in named))
    return home


def write_transfer(package: Path, sessions: Sequence[Session]) -> Path:
    """A package in the first-import tool's layout, format_version 1."""
    (package / "metadata").mkdir(parents=True)
    (package / "sessions").mkdir()
    manifest = {
        "format_version": 1,
        "package_kind": "session-skill-package",
        "minimum_working_set_only": True,
        "cwd_filter": sessions[0].cwd if sessions else None,
        "thread_ids": [session.id for session in sessions],
        "skills_included": [],
    }
    (package / "package_manifest.json").write_text(json.dumps(manifest, indent=2))
    metadata = package / "metadata"
    (metadata / "threads.jsonl").write_bytes(dump(session.row() for session in sessions))
    (metadata / "session_index.jsonl").write_bytes(dump(_index_entry(s) for s in sessions))
    (metadata / "thread_dynamic_tools.jsonl").write_bytes(b"")
    for session in sessions:
        (package / "sessions" / session.file_name).write_bytes(session.data())
    return package


def _index_entry(session: Session) -> Record:
    name = session.name or (session.turns[0][0] if session.turns else "")
    return {"id": session.id, "thread_name": name, "updated_at": _stamp(session.created)}


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
