"""Whether rows can be written into a database as it is: of a known release, or of a newer one.

A newer database is written by its own columns where their meaning is known or need not be. What its
columns do not tell, such as checks and triggers, is tried with a row that is taken back.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress

from ..errors import HomeError
from ..model import Row
from .state_db import Column, StateDb

TABLE = "threads"

TEXTS = frozenset(
    {
        *("id", "rollout_path", "source", "model_provider", "cwd", "title", "sandbox_policy"),
        *("approval_mode", "git_sha", "git_branch", "git_origin_url", "cli_version"),
        *("first_user_message", "agent_nickname", "agent_role", "memory_mode", "model"),
        *("reasoning_effort", "agent_path", "thread_source", "preview", "history_mode", "name"),
        *("thread_section_id", "project_id", "originator", "creator_user_id"),
        *("creator_account_id", "attached_thread_parent_id"),
    }
)
NUMBERS = frozenset(
    {
        *("created_at", "updated_at", "tokens_used", "has_user_event", "archived", "archived_at"),
        *("created_at_ms", "updated_at_ms", "recency_at", "recency_at_ms", "is_pinned"),
        *("section_position", "section_entered_at_ms", "daybreak_enabled"),
    }
)
"""The columns of all releases that were measured, by what they hold."""

ESSENTIAL = ("id", "rollout_path", "created_at", "updated_at", "title", "cwd", "archived")
"""Columns of every release, without which a row tells Codex nothing."""


def require_fitting(database: StateDb, rows: Sequence[Row]) -> None:
    """Raise HomeError ``database_too_new`` if rows cannot be written; nothing is changed.

    ``rows`` are what packages tell of the sessions that get a new row, empty where they tell
    nothing; another machine of the same newer release can give what is not known here.
    """
    columns = database.described(TABLE)
    problem = _misfit(columns, rows)
    if problem is not None:
        raise _too_new(problem)
    if rows:
        _try(database, columns, rows[0])


def _misfit(columns: Sequence[Column], rows: Sequence[Row]) -> str | None:
    """What keeps rows from being written; None if nothing does."""
    found = {column.name: column for column in columns}
    missing = [name for name in ESSENTIAL if name not in found]
    if missing:
        return f"has no {', '.join(missing)}"
    if [column.name for column in columns if column.key] != ["id"]:
        return "is not told apart by id alone"
    for column in columns:
        if column.name not in TEXTS | NUMBERS:
            if column.needed and any(row.get(column.name) is None for row in rows):
                return f"needs a value for {column.name}, whose meaning is not known"
        elif (column.name in TEXTS) != (column.affinity == "TEXT"):
            return f"has another type for {column.name} ({column.type or 'none'})"
    return None


def _try(database: StateDb, columns: Sequence[Column], given: Row) -> None:
    row = _row({column.name: column for column in columns}, given)
    try:
        kept = _kept(database, row)
    except HomeError as error:
        if error.code != "row_not_kept":
            raise
        raise _too_new(f"does not take a row: {error.message}") from error
    altered = [name for name, value in row.items() if kept.get(name) != value]
    if altered:
        raise _too_new(f"changes what is written to {', '.join(altered)}")


class _TakenBack(Exception):  # noqa: N818
    """Ends the trial."""


def _kept(database: StateDb, row: Row) -> Row:
    """What the database makes of a row, in a transaction that is taken back."""
    found: list[Row] = []
    with suppress(_TakenBack), database.transaction():
        database.insert(TABLE, row)
        found += database.rows(TABLE, [str(row["id"])])
        raise _TakenBack
    return found[0] if found else {}


def _row(columns: Mapping[str, Column], given: Row) -> Row:
    """A row like that of an imported session, under an id that no session has."""
    values: dict[str, str | int | float | None] = {
        "id": str(uuid.uuid4()),
        "rollout_path": "/",
        "source": "cli",
        "sandbox_policy": '{"type":"read-only"}',
        "approval_mode": "on-request",
        "memory_mode": "enabled",
        "history_mode": "legacy",
        "thread_source": "user",
    }
    needed = [name for name, column in columns.items() if column.needed]
    values |= {name: "-" if name in TEXTS else 1 for name in needed if name not in values}
    values |= {name: given[name] for name in needed if name not in TEXTS | NUMBERS}
    values |= dict.fromkeys(("created_at", "updated_at"), 1) | {"archived": 0}
    return {name: value for name, value in values.items() if name in columns}


def _too_new(problem: str) -> HomeError:
    return HomeError(
        "database_too_new",
        f"the table {TABLE} of the home's database is of no known release, and it {problem}",
        hint="nothing was written; update codex-session-sync, or use a home of an older Codex: "
        "`codex-session-sync AGAIN --codex-home DIR`",
    )
