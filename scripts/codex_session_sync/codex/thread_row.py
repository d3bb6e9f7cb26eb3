"""The row of ``threads`` for an imported session: the target's columns, the package's values.

What the package does not say is derived from the transcript as Codex itself derives it when it
takes up a rollout without a row.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from ..model import Facts, HistoryMode, Json, Outline, Row, Transcript
from .rollout import parse_time

DEFAULT_PROVIDER = "openai"
"""What Codex takes where a session names none."""

LOCAL_REFERENCES = ("thread_section_id", "section_position", "section_entered_at_ms", "project_id")
"""Columns that refer to things of the source machine only."""

Value = str | int | float | None


@dataclass(frozen=True, slots=True)
class Placed:
    """A session as it stands here.

    That is its id, absolute rollout path, whether it is archived, the name that Codex shows,
    directory, provider, and the history mode of the file.
    """

    session_id: str
    path: str
    archived: bool
    name: str | None
    cwd: str | None
    provider: str
    mode: HistoryMode


def thread_row(
    columns: Collection[str],
    transcript: Transcript,
    source: Row | None,
    placed: Placed,
    approval_policy: str | None,
) -> Row:
    """A complete row for a table with these ``columns`` (codex.fitting says which tables fit).

    ``source`` is the package's row, ``approval_policy`` takes the place of its own unless None.
    """
    derived = _derived(transcript)
    given = {k: v for k, v in (source or {}).items() if v is not None}
    row: dict[str, Value] = {**derived, **given}
    for column in ("preview", "first_user_message", "title"):
        row[column] = given.get(column) or derived[column]
    if "preview" not in columns:
        row |= _instead_of_preview(row, transcript.facts)
    row |= dict.fromkeys(LOCAL_REFERENCES)
    row |= {
        "id": placed.session_id,
        "rollout_path": placed.path,
        "history_mode": placed.mode,
        "archived": int(placed.archived),
        "archived_at": (row.get("archived_at") or row["updated_at"]) if placed.archived else None,
        "name": placed.name,
        "model_provider": placed.provider,
    }
    if placed.cwd:
        row["cwd"] = placed.cwd
    if approval_policy is not None:
        row["approval_mode"] = approval_policy
    return {c: row.get(c) for c in columns if row.get(c) is not None or c in _NULLABLE_KEPT}


_NULLABLE_KEPT = frozenset({*LOCAL_REFERENCES, "archived_at", "name"})


def provider_of(transcript: Outline, source: Row | None) -> str:
    """The provider of a session at its source, by its row, else as Codex derives it."""
    given = (source or {}).get("model_provider")
    return _text(given) or _text(transcript.meta.get("model_provider")) or DEFAULT_PROVIDER


def advanced_row(
    known: Row, transcript: Transcript, source: Row | None, *, path: str, follow: Mapping[str, Any]
) -> Row:
    """The local row after its session was continued by ``transcript``: times and counters go on.

    ``follow`` holds what of name, archive state and branch follows the source.
    """
    given = {**_derived(transcript), **{k: v for k, v in (source or {}).items() if v is not None}}
    row = dict(known)
    for column in _ADVANCING:
        if column in row and isinstance(given.get(column), int):
            row[column] = max(int(row[column] or 0), int(given[column] or 0))
    if row.get("rollout_path") != path:
        row["rollout_path"] = path
    if follow.get("name") and "name" in row:
        row["name"] = follow["name"]
    if follow.get("git_branch") and "git_branch" in row:
        row["git_branch"] = follow["git_branch"]
    if "archived" in follow:
        row["archived"] = int(follow["archived"])
        row["archived_at"] = row["updated_at"] if follow["archived"] else None
    return row


_ADVANCING = (
    "updated_at",
    "updated_at_ms",
    "recency_at",
    "recency_at_ms",
    "tokens_used",
)


@dataclass(frozen=True, slots=True)
class GitInfo:
    """The repository's URL, the branch and the commit that a session began on, where known."""

    repository: str | None
    branch: str | None
    commit: str | None


def git_of(meta: Json, row: Row | None) -> GitInfo:
    """What a session began on: by its transcript, and by its row where that says nothing.

    A client may set a row's branch later on.
    """
    git, row = meta.get("git"), row or {}
    git = git if isinstance(git, dict) else {}

    def told(key: str, column: str) -> str | None:
        return _text(git.get(key)) or _text(row.get(column))

    return GitInfo(
        told("repository_url", "git_origin_url"),
        told("branch", "git_branch"),
        told("commit_hash", "git_sha"),
    )


def _instead_of_preview(row: Row, facts: Facts) -> Row:
    """What takes the place of a fork's preview, which need not be its own first words."""
    own = facts.own_first_message or ""
    if not facts.first_user_message or row["first_user_message"] != own:
        return {}
    return {key: row["preview"] for key in ("first_user_message", "title") if row[key] == own}


def _derived(transcript: Transcript) -> dict[str, Value]:
    meta, facts = transcript.meta, transcript.facts
    git = git_of(meta, None)
    created = _milliseconds(facts.first_timestamp)
    updated = _milliseconds(facts.last_timestamp) or created
    # Codex shows a fork by where it begins and titles it by what was first said in it alone.
    first, preview = facts.own_first_message or "", facts.first_user_message
    return {
        "created_at": created // 1000,
        "updated_at": updated // 1000,
        "created_at_ms": created,
        "updated_at_ms": updated,
        "recency_at": updated // 1000,
        "recency_at_ms": updated,
        "source": _source(meta.get("source")),
        "thread_source": _text(meta.get("thread_source")),
        "originator": _text(meta.get("originator")),
        "cwd": facts.last_cwd or "",
        "title": first,
        "preview": _text(preview) or _text(meta.get("id")),
        "first_user_message": first,
        "sandbox_policy": '{"type":"read-only"}',
        "approval_mode": "on-request",
        "tokens_used": facts.tokens,
        "model": facts.model,
        "reasoning_effort": facts.reasoning_effort,
        "cli_version": _text(meta.get("cli_version")) or "",
        "agent_nickname": _text(meta.get("agent_nickname")),
        "agent_role": _text(meta.get("agent_role")),
        "agent_path": _text(meta.get("agent_path")),
        "memory_mode": _text(meta.get("memory_mode")) or "enabled",
        "git_sha": git.commit,
        "git_branch": git.branch,
        "git_origin_url": git.repository,
        "has_user_event": 0,
        "is_pinned": 0,
    }


def _source(value: Any) -> str:
    if isinstance(value, str) and value:
        return value
    return orjson.dumps(value).decode() if value else "cli"


def _milliseconds(timestamp: str | None) -> int:
    moment: datetime | None = parse_time(timestamp)
    return int(moment.timestamp() * 1000) if moment else 0


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
