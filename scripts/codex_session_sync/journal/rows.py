"""Operations on the rows of Codex's databases."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..codex.state_db import KEY, StateDb
from ..codex.thread_history import forget
from ..errors import HomeError
from ..model import Row
from .site import Site, unexpected


@dataclass(frozen=True, slots=True)
class PutRow:
    """A database row made, changed or removed; None: there is none of this key.

    Of a changed row both sides may state only the columns that change, and the key.
    """

    table: str
    before: Row | None
    after: Row | None
    kind: ClassVar[str] = "put_row"

    def __post_init__(self) -> None:
        for row in (self.before, self.after):
            for column, value in (row or {}).items():
                if not _storable(value):
                    raise self._not_kept(f"cannot be {_shown(value)} in {column}")

    @property
    def key(self) -> Row:
        """The columns that name the row."""
        row = self.after if self.after is not None else self.before
        assert row is not None
        return {column: row[column] for column in KEY[self.table]}

    def apply(self, site: Site) -> None:
        self._replace(site, self.before, self.after)

    def undo(self, site: Site) -> None:
        self._replace(site, self.after, self.before)

    def touched(self, site: Site) -> Path | None:
        return None

    def _replace(self, site: Site, expected: Row | None, wanted: Row | None) -> None:
        database = site.database
        if database is None:
            raise unexpected(self.table, "has lost its database")
        key = self.key
        present = site.as_now(self._present(database, key))
        if _agrees(present, wanted):
            return
        if not _agrees(present, expected):
            raise unexpected(f"{self.table} {key}", "changed since the plan was made")
        if wanted is None:
            database.delete(self.table, key)
            return
        if present is None:
            database.insert(self.table, wanted)
        else:
            database.update(self.table, key, wanted)
        if not _agrees(self._present(database, key), wanted):
            # Codex's triggers fill in times, once: after a change, not after its repetition.
            database.update(self.table, key, wanted)
            kept = self._present(database, key) or {}
            altered = [column for column, value in wanted.items() if kept.get(column) != value]
            if altered:
                raise self._not_kept(f"is not kept by the database in {', '.join(altered)}")

    def _not_kept(self, how: str) -> HomeError:
        return HomeError(
            "row_not_kept",
            f"a row of {self.table} {how}",
            hint="what the package says of this session does not fit Codex's columns; report it",
        )

    def _present(self, database: StateDb, key: Row) -> Row | None:
        return database.row(self.table, key)


@dataclass(frozen=True, slots=True)
class ForgetProjection:
    """What Codex has worked out of a segment's turns, removed so that it works it out anew.

    Derived, so it needs no way back: undone it is removed as well, since the file changes again.
    """

    segment_id: str
    kind: ClassVar[str] = "forget_projection"

    def apply(self, site: Site) -> None:
        if site.history_db is not None:
            forget(site.history_db, self.segment_id)

    def undo(self, site: Site) -> None:
        self.apply(site)

    def touched(self, site: Site) -> Path | None:
        del site
        return None


def _agrees(present: Row | None, wanted: Row | None) -> bool:
    """Whether a row is the wanted one in all columns that the wanted one states."""
    if present is None or wanted is None:
        return present is wanted
    return all(present.get(column) == value for column, value in wanted.items())


def _storable(value: object) -> bool:
    """Whether the journal and the database both hold a value as it is."""
    match value:
        case None | str():
            return True
        case bool():
            return False
        case int():
            return -(2**63) <= value < 2**63
        case float():
            return math.isfinite(value)
    return False


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
