"""Goals: what Codex works on by itself as long as they are active.

One that travels is at rest, so that resuming its session asks no model. Measured with 0.169.0: of
all states only ``active`` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from .. import validation
from ..errors import HomeError
from ..model import Row
from .state_db import open_for_reading, open_for_writing

TABLE = "thread_goals"
KEY = "thread_id"
PAUSED, COMPLETE = "paused", "complete"

NEEDED = ("goal_id", "objective", "status")
COLUMNS = (
    *NEEDED,
    *("token_budget", "tokens_used", "time_used_seconds", "created_at_ms", "updated_at_ms"),
)
"""What of a goal travels."""


def read_goals(path: Path) -> dict[str, Row]:
    """The goals in the database at ``path`` by session, at rest; none where there is none.

    Rows of another shape than is known are left out. Raises HomeError.
    """
    with open_for_reading(path) as database:
        return goals_of(database.rows(TABLE)) if database is not None else {}


def goals_of(rows: Iterable[Row]) -> dict[str, Row]:
    """The goals in these rows by session, at rest; those of another shape are left out."""
    return {
        str(row[KEY]): at_rest(row)
        for row in rows
        if KEY in row and validation.fits("thread_goal", at_rest(row))
    }


def obstacles(path: Path, goals: Mapping[str, Row]) -> dict[str, str]:
    """Why goals, by the session that they are for, cannot be added to the database at ``path``."""
    try:
        with open_for_reading(path) as database:
            columns = database.columns(TABLE) if database is not None else {}
            rows = database.rows(TABLE, list(goals)) if database is not None and columns else ()
            there = {str(row.get(KEY)) for row in rows}
        unfit = {i for i, goal in goals.items() if not fits_table(columns, goal)}
        if goals.keys() - there - unfit:
            _require_writable(path)
    except HomeError as error:
        return dict.fromkeys(goals, error.message)
    why = "goals have another shape there" if columns else f"this home has no {path.name}"
    return {**dict.fromkeys(there, "it has a goal here already"), **dict.fromkeys(unfit, why)}


def _require_writable(path: Path) -> None:
    with open_for_writing(path) as database:
        if database is not None:
            database.require_writable()


def at_rest(goal: Row) -> Row:
    """What travels of a goal: paused, unless it is complete."""
    status = COMPLETE if goal.get("status") == COMPLETE else PAUSED
    return {**{column: goal[column] for column in COLUMNS if column in goal}, "status": status}


def fits_table(columns: Mapping[str, bool], goal: Row) -> bool:
    """Whether a table with these columns (as state_db has them) can hold a goal."""
    given = {KEY, *(column for column, value in goal.items() if value is not None)}
    needed = {column for column, required in columns.items() if required}
    return {KEY, *NEEDED} <= columns.keys() and needed <= given


def goal_row(columns: Mapping[str, bool], session_id: str, goal: Row) -> Row:
    """The row of a session's goal in a table that it fits; never an active one."""
    kept = {c: v for c, v in at_rest(goal).items() if c in columns and v is not None}
    return {KEY: session_id, **kept}
