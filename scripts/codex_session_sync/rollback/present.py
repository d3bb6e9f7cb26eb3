"""What the home holds now of sessions that transactions changed; read as far as it is asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..codex.goals import TABLE as GOALS
from ..codex.home import CodexHome
from ..codex.inventory import RolloutIndex, read_head
from ..codex.rollout import base_name, history_base
from ..codex.session_index import read_index
from ..codex.state_db import KEY, StateDb
from ..errors import SessionError
from ..lineage.kinship import kinship
from ..model import HistoryBase, RolloutFile, Row

TOOLS = "thread_dynamic_tools"
EDGES = "thread_spawn_edges"
BESIDE = (TOOLS, EDGES, GOALS)
"""The tables that hold something of a session beside its row."""


@dataclass(frozen=True, slots=True)
class Kinsman:
    """A rollout of the home, what history it continues, and which sessions it names as its own."""

    file: RolloutFile
    base: HistoryBase | None
    ancestors: frozenset[str]


class Present:
    """The present state of some sessions, by local id."""

    def __init__(self, home: CodexHome, database: StateDb | None, ids: Collection[str]) -> None:
        self.home = home
        self._database = database
        self._ids = tuple(ids)

    def read(self) -> None:
        """Read what all sessions share, so that its failure is none of a single session."""
        _ = self.own, self.rollouts, self.names, self._tables

    def tip(self, session_id: str) -> RolloutFile | None:
        """The newest file of a session: the one that its row names, else the newest stamp."""
        row = self.row(session_id) or {}
        return self.own.tip(session_id, base_name(row.get("rollout_path")))

    def row(self, session_id: str) -> Row | None:
        """The session's row of ``threads``."""
        return next(iter(self.rows_of("threads", session_id)), None)

    def rows_of(self, table: str, session_id: str) -> Sequence[Row]:
        """The session's rows of a table."""
        return self._tables[table].get(session_id, ())

    def row_of_key(self, table: str, key: Row) -> Row | None:
        """The row of a key, as an operation names it."""
        columns = KEY[table]
        rows = self.rows_of(table, str(key[columns[0]]))
        return next((row for row in rows if all(row[c] == key[c] for c in columns)), None)

    def columns(self, table: str) -> Collection[str]:
        """The columns that a table has; none without a database."""
        return self._database.columns(table) if self._database is not None else ()

    def noted_elsewhere(self, session_id: str) -> list[str]:
        """The other tables in which Codex keeps something that goes with the session's row."""
        if self._database is None:
            return []
        return [t for t in self._database.referring("threads", "id", session_id) if t not in BESIDE]

    @cached_property
    def own(self) -> RolloutIndex:
        """The rollouts of these sessions, by file name."""
        return self.home.rollouts(self._ids)

    @cached_property
    def rollouts(self) -> RolloutIndex:
        """Every rollout of the home, by file name."""
        return self.home.rollouts()

    @cached_property
    def names(self) -> Mapping[str, str]:
        """The name of each session in Codex's index."""
        return read_index(self.home.session_index)

    @cached_property
    def readers(self) -> Mapping[str, Sequence[Kinsman]]:
        """The rollouts that continue the history of a segment, by its id."""
        found: dict[str, list[Kinsman]] = defaultdict(list)
        for one in self._kinsmen:
            if one.base is not None:
                found[one.base.segment_id].append(one)
        return found

    @cached_property
    def descendants(self) -> Mapping[str, set[str]]:
        """The sessions that name one as theirs, by the id of that one."""
        found: dict[str, set[str]] = defaultdict(set)
        for one in self._kinsmen:
            for ancestor in one.ancestors:
                found[ancestor].add(one.file.thread_id)
        return found

    @cached_property
    def _kinsmen(self) -> tuple[Kinsman, ...]:
        """Every rollout that can be read, with what it rests on and comes from."""
        found = []
        for thread in self.rollouts.threads():
            for file in self.rollouts.files(thread):
                try:
                    payload = read_head(file)["payload"]
                    base = history_base(payload)
                except (SessionError, ValueError):
                    continue
                named = (*kinship(payload), payload.get("forked_from_id"))
                ancestors = frozenset(i for i in named if isinstance(i, str))
                found.append(Kinsman(file, base, ancestors - {thread}))
        return tuple(found)

    @cached_property
    def _tables(self) -> dict[str, dict[str, list[Row]]]:
        """The rows of the sessions by table and id."""
        found: dict[str, dict[str, list[Row]]] = {}
        for table in ("threads", *BESIDE):
            rows = found[table] = defaultdict(list)
            for row in self._database.rows(table, self._ids) if self._database else ():
                rows[str(row[KEY[table][0]])].append(row)
        return found
