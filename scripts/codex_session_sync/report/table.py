"""Tables that fit the terminal: what matters least gives way first, and nothing is broken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich.text import Text

from .screen import Screen, cut

GAP = 2
WANTED = 28
"""The width that what a session is known by should have."""
LEAST = 4
"""How narrow a column may become before lines are cut off at the terminal's edge."""


@dataclass(slots=True)
class Column:
    """A column and its cells.

    ``drop``: 0 if it is always shown, else the larger, the sooner it is left out. ``gives``: it may
    be made as narrow as this before others are left out for it, and narrower after that; 0 if it
    gives way last. ``middle``: of what is too long the middle goes.
    """

    title: str
    cells: list[tuple[str, str]] = field(default_factory=list)
    """Text and style of each."""
    right: bool = False
    drop: int = 0
    gives: int = 0
    middle: bool = False
    _widest: int = 0

    def add(self, text: str, style: str = "") -> None:
        """Add a cell."""
        cell = Text(text)
        self.cells.append((cell.plain, style))
        self._widest = max(self._widest, cell.cell_len)

    @property
    def width(self) -> int:
        """The room that it takes if it gets all it wants."""
        return max(Text(self.title).cell_len, self._widest)


def table(columns: Sequence[Column], out: Screen) -> None:
    """Print columns that have something to say, as many of them as there is room for."""
    told = [one for one in columns if not one.drop or any(text for text, _ in one.cells)]
    shown = fitted(told, out.width)
    if any(one.title for one, _ in shown):
        _print([Text(one.title, "bold") for one, _ in shown], shown, out)
    for cells in zip(*(one.cells for one, _ in shown), strict=True):
        _print([Text(*cell) for cell in cells], shown, out)


def fitted(columns: Iterable[Column], width: int) -> list[tuple[Column, int]]:
    """The columns that fit into a line, and the width of each."""
    shown = list(columns)
    while _taken(min(one.width, one.gives or one.width) for one in shown) > width:
        droppable = [one for one in shown if one.drop]
        if not droppable:
            break
        shown.remove(max(droppable, key=lambda one: one.drop))
    sizes = [one.width for one in shown]
    for wanted in (True, False):
        for place, one in enumerate(shown):
            least = one.gives if wanted else 2 * LEAST
            if one.gives:
                sizes[place] -= min(max(_taken(sizes) - width, 0), max(sizes[place] - least, 0))
    while _taken(sizes) > width and max(sizes) > LEAST:
        sizes[sizes.index(max(sizes))] -= 1
    return list(zip(shown, sizes, strict=True))


def _taken(sizes: Iterable[int]) -> int:
    """How many cells columns of these sizes take, with what is between them."""
    return sum(size + GAP for size in sizes) - GAP


def _print(cells: Iterable[Text], shown: Sequence[tuple[Column, int]], out: Screen) -> None:
    line = Text()
    for cell, (column, size) in zip(cells, shown, strict=True):
        fitting = cut(cell, size, middle=column.middle)
        blank = " " * (size - fitting.cell_len)
        line = Text.assemble(line, blank if column.right else "", fitting)
        line.append(("" if column.right else blank) + " " * GAP)
    line.rstrip()
    out.print(line, highlight=False, no_wrap=True, overflow="crop")
