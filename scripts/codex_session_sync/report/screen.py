"""The console that reports are painted on, with what they need of the outside world."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ..codex.rollout import parse_time
from ..identify import short_id, shortened
from .envelope import Each

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PIECE = re.compile(r"(?:→ )?`[^`]*`\S*|(?:→ )?\d+ \S+|\S+")
"""What is not broken: commands, numbers with what they count, words."""

_UNITS = (
    (60, 1, "s"),
    (3600, 60, "min"),
    (86400, 3600, "h"),
    (14 * 86400, 86400, "d"),
    (60 * 86400, 7 * 86400, "wk"),
    (730 * 86400, 30 * 86400, "mo"),
)
"""Up to how many seconds an age is told in a unit, the seconds of one, its name."""
_YEAR = 365 * 86400


class Screen(Console):
    """A console that knows the moment, the user's home, and which ids are shown on it."""

    def __init__(self, moment: datetime, user_home: str | None, **options: Any) -> None:
        super().__init__(**options)
        self._moment, self._user_home = moment, user_home
        self._shortened: dict[str, str] = {}

    def about(self, *documents: Any) -> None:
        """Have the ids in these documents told apart when they are shortened."""
        self._shortened = shortened({*self._shortened, *_ids(documents)})

    def short(self, session_id: str | None) -> str:
        """An id, shortened so that no other id that is shown is meant by it."""
        return self._shortened.get(session_id or "") or short_id(session_id or "")

    def age(self, then: str | None) -> str:
        """How long ago a moment was, in a few characters; "" where that is not known."""
        moment = parse_time(then)
        if moment is None:
            return ""
        seconds = int((self._moment - moment).total_seconds())
        if seconds < 1:
            return "now" if seconds > -86400 else ""
        for limit, unit, name in _UNITS:
            if seconds < limit:
                return f"{seconds // unit} {name}"
        return f"{seconds // _YEAR} y"

    def folder(self, path: str | None) -> str:
        """A directory by its last parts; ``~`` stands for the user's home."""
        if not path:
            return ""
        parts = path.replace("\\", "/").rstrip("/").split("/")
        home = (self._user_home or "").replace("\\", "/").rstrip("/").split("/")
        if self._user_home and parts[: len(home)] == home:
            parts = ["~", *parts[len(home) :]]
        return "/".join(parts) if len(parts) <= 3 else "…/" + "/".join(parts[-2:])

    def paragraph(self, text: Text, indent: int = 2) -> None:
        """Print a text, broken between words only; what stands in backticks is never broken.

        ``indent``: by how much the lines after the first are moved.
        """
        line, lead = Text(), ""
        plain = text.plain
        for found in _PIECE.finditer(plain):
            word = text[found.start() : found.end()]
            if line and line.cell_len + 1 + word.cell_len > self.width:
                self._line(line)
                lead = " " * indent
                line = Text(lead)
            elif len(line.plain) > len(lead):
                line.append(" ")
            elif not lead:
                line.append(" " * (len(plain) - len(plain.lstrip())))
            line.append_text(word)
        self._line(line)

    def _line(self, line: Text) -> None:
        self.print(line, highlight=False, soft_wrap=True)


def _ids(value: Any) -> Iterator[str]:
    match value:
        case str() if _ID.fullmatch(value):
            yield value
        case dict():
            for item in value.values():
                yield from _ids(item)
        case list() | tuple() | Each():
            for item in value:
                yield from _ids(item)


def cut(text: Text, width: int, *, middle: bool = False) -> Text:
    """A text of at most so many cells, what is left out told by ``…``; its end, or its middle."""
    if text.cell_len <= width:
        return text
    room = width - 1
    tail = room // 2 if middle else 0
    return Text.assemble(_head(text, room - tail), "…", _tail(text, tail), style=text.style)


def _head(text: Text, width: int) -> Text:
    taken = 0
    for place, character in enumerate(text.plain):
        taken += cell_len(character)
        if taken > width:
            return text[:place]
    return text


def _tail(text: Text, width: int) -> Text:
    taken = 0
    for place in range(len(text.plain) - 1, -1, -1):
        taken += cell_len(text.plain[place])
        if taken > width:
            return text[place + 1 :]
    return text
