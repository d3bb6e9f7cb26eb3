"""Where the home is and where it was: rows name transcripts by absolute paths, which move with it.

A path below a place where the home was means the same file in the home as it is now. Codex writes
to the file that a row names, so a path left as it was might be another home's file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ..model import Row
from .operations import AnyOperation, PutRow

PATH = "rollout_path"
"""The column that holds the absolute path of a transcript."""


@dataclass(frozen=True, slots=True)
class Places:
    """The home's place now, and those where transactions found it before, the innermost first."""

    home: Path
    former: tuple[Path, ...] = ()

    def row(self, row: Row | None) -> Row | None:
        """A row as it reads in the home as it is now."""
        path = row.get(PATH) if row is not None else None
        if row is None or not isinstance(path, str) or Path(path).is_relative_to(self.home):
            return row
        for place in self.former:
            if Path(path).is_relative_to(place):
                return {**row, PATH: str(self.home / Path(path).relative_to(place))}
        return row

    def operation(self, operation: AnyOperation) -> AnyOperation:
        """An operation as it reads in the home as it is now."""
        if not self.former or not isinstance(operation, PutRow):
            return operation
        before, after = self.row(operation.before), self.row(operation.after)
        return replace(operation, before=before, after=after)


def places(home: Path, known: Iterable[str]) -> Places:
    """The places of a home, given those that its transactions name; another name is no other."""
    others = {Path(place) for place in known if Path(place).is_absolute()}
    former = [place for place in others if not _same(place, home)]
    return Places(home, tuple(sorted(former, key=lambda place: -len(place.parts))))


def _same(place: Path, home: Path) -> bool:
    try:
        return place.samefile(home)
    except OSError:
        return place == home
