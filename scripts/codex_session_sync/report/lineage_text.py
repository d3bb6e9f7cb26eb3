"""The report of ``lineage``: the document itself, or where it was written to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model import Json
from .parts import base

if TYPE_CHECKING:
    from .screen import Screen


def paint(data: Json, out: Screen) -> None:
    """Print the document as it is, or the name of its file."""
    from rich.markup import escape

    if data["path"] is None:
        out.out(data["document"], end="", highlight=False)
        return
    sessions = sum(node["kind"] == "session" for node in data["nodes"])
    out.print(
        f"[bold]{escape(base(data['path']))}[/] · "
        f"{'one session' if sessions == 1 else f'{sessions} sessions'}",
        highlight=False,
    )
