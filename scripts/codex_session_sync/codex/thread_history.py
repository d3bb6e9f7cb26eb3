"""Codex's projection of transcripts: the turns that it shows, kept by segment id.

It says up to which byte a file was read. Of a file that was cut Codex keeps showing what is gone
and never sees what is appended, until the segment's rows are removed; then it reads anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .state_db import StateDb, open_for_reading, open_for_writing

KEY = "thread_id"
"""The column that holds the segment id, in every table that has it."""

TABLES = (
    "thread_history_projection_state",
    "thread_turns",
    "thread_items",
    "thread_realtime_items",
)


def projected(path: Path) -> frozenset[str]:
    """The segments of which there is a projection; none where there is no such database."""
    with open_for_reading(path) as database:
        if database is None:
            return frozenset()
        return frozenset(
            str(value) for table in _tables(database) for value in database.values(table, KEY)
        )


def forget(path: Path, segment_id: str) -> None:
    """Remove the projection of one segment. Raises HomeError ``database_busy``."""
    with open_for_writing(path) as database:
        if database is None:
            return
        tables = list(_tables(database))
        with database.transaction():
            for table in tables:
                database.delete(table, {KEY: segment_id})


def _tables(database: StateDb) -> Iterator[str]:
    """The tables of this release; one of another shape is left alone."""
    return (table for table in TABLES if KEY in database.columns(table))
