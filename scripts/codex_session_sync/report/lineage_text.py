"""The report of ``lineage``: the document itself, or where it was written to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from ..model import Json
from .parts import base

if TYPE_CHECKING:
    from .screen import Screen


def paint(data: Json, out: Screen) -> None:
    """Print the document as it is, or the name of its file."""
    from rich.markup import escape

    if data["path"] is None:
        for line in data["document"].splitlines():
            shown = Text(line)
            if data["format"] == "text":
                shown.truncate(out.width, overflow="ellipsis")
            out.print(shown, soft_wrap=True)
        return
    sessions = sum(node["kind"] == "session" for node in data["nodes"])
    out.print(
        f"[bold]{escape(base(data['path']))}[/] · "
        f"{'one session' if sessions == 1 else f'{sessions} sessions'}",
        highlight=False,
    )
