"""What a home holds of its sessions beside their records: rows, names, tools, spawn edges."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .. import validation
from ..codex.goals import read_goals
from ..codex.home import INSTALLATION_ID, SESSIONS, CodexHome
from ..codex.inventory import RolloutIndex
from ..codex.rollout import SESSION_ID, RolloutName, base_name
from ..codex.session_index import read_index, shown_name
from ..codex.state_db import open_for_reading
from ..errors import HomeError
from ..model import Notice, PackagedSession, RolloutFile, Row
from ..package.sessions import EDGES, edges_by_child, tools_by_thread
from ..regular import read_regular


@dataclass(frozen=True, slots=True)
class Gathered:
    """The sessions of a home by id, and where their records lie.

    Their rows are without nulls; ``columns`` are those that the table has.
    """

    home: CodexHome
    rollouts: RolloutIndex
    sessions: dict[str, PackagedSession]
    installation_id: str | None
    columns: tuple[str, ...] = ()
    notices: tuple[Notice, ...] = ()

    def take(self, session_id: str) -> PackagedSession:
        """A session, which is not held here any more: rows of many take much memory."""
        return self.sessions.pop(session_id)


def gather(home: CodexHome) -> Gathered:
    """All sessions of ``home`` that have a file. Raises HomeError.

    A row or tool that does not fit its schema is left out: whoever reads the package would refuse
    it.
    """
    rollouts = home.rollouts()
    with open_for_reading(home.state_db) as database:
        found = database.rows("threads") if database else ()
        rows = {str(row["id"]): _lean(row) for row in _fitting("thread_row", found)}
        columns = tuple(database.columns("threads")) if database else ()
        found = database.rows("thread_dynamic_tools") if database else ()
        tools = tools_by_thread(_fitting("dynamic_tool", found))
        edges = edges_by_child(database.rows(EDGES) if database else ())
    goals, notices = _goals(home)
    names = read_index(home.session_index)
    sessions = {}
    for thread in rollouts.threads():
        row = rows.pop(thread, None)
        tip = rollouts.tip(thread, base_name(row.get("rollout_path")) if row else None)
        assert tip is not None
        name = shown_name(row, names.get(thread))
        told = {**row, "rollout_path": _below_home(tip)} if row else None
        sessions[thread] = PackagedSession(
            thread,
            tip,
            tip.archived,
            told,
            name,
            tools.get(thread, ()),
            edges.get(thread),
            goals.get(thread),
        )
    return Gathered(home, rollouts, sessions, installation_id(home), columns, notices)


def _goals(home: CodexHome) -> tuple[dict[str, Row], tuple[Notice, ...]]:
    """The goals by session; no package fails for a goal."""
    try:
        return read_goals(home.goals_db), ()
    except HomeError as error:
        what = f"{error.message}; sessions are packed without their goals"
        return {}, (Notice("goals_unreadable", what),)


def _below_home(tip: RolloutFile) -> str:
    """Where a session's file lies, without telling where the home does."""
    name = tip.name.removesuffix(".zst")
    if tip.archived:
        return f"archived_sessions/{name}"
    rollout = RolloutName(tip.stamp, tip.thread_id, tip.segment_id, compressed=False)
    return "/".join((SESSIONS, *rollout.folder, name))


def _lean(row: Row) -> Row:
    """A row without nulls, its texts shared with other columns and rows that say the same."""
    return {
        column: sys.intern(value) if isinstance(value, str) else value
        for column, value in row.items()
        if value is not None
    }


def _fitting(schema: str, rows: Iterable[Row]) -> Iterator[Row]:
    return (row for row in rows if validation.fits(schema, row))


def installation_id(home: CodexHome) -> str | None:
    """The id that Codex gave to a home; None if it has none yet."""
    try:
        data = read_regular(home.path / INSTALLATION_ID, follow=True)
    except OSError:
        return None
    found = data.decode("ascii", "replace").strip()
    return found if SESSION_ID.fullmatch(found) else None
