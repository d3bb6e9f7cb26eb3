"""Rows that are kept by the thousands, in little memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..model import Row


class Sharing:
    """Makes rows that are kept by the thousands, in a third of the room that dicts take.

    Most columns are empty, or say the same in all rows: those are left out, a text that is in
    several places is kept once, and so are the names of columns.
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._columns: dict[tuple[str, ...], dict[str, int]] = {}

    def text(self, value: str) -> str:
        """The same text, once for all that have it."""
        return self._texts.setdefault(value, value)

    def row(self, row: Row) -> Row:
        """A row that says the same."""
        names = tuple(column for column, value in row.items() if value is not None)
        places = self._columns.get(names)
        if places is None:
            places = {self.text(name): place for place, name in enumerate(names)}
            self._columns[tuple(places)] = places
        values = (row[name] for name in names)
        return _Kept(places, tuple(self.text(v) if isinstance(v, str) else v for v in values))


class _Kept(Mapping[str, Any]):
    """A row as ``Sharing`` makes it: where each column is, and the values."""

    __slots__ = ("_places", "_values")

    def __init__(self, places: Mapping[str, int], values: tuple[Any, ...]) -> None:
        self._places = places
        self._values = values

    def __getitem__(self, column: str) -> Any:
        return self._values[self._places[column]]

    def get(self, column: str, default: Any = None) -> Any:
        """As of a dict; what most asks are for is not there."""
        place = self._places.get(column)
        return default if place is None else self._values[place]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        return repr(dict(self))
