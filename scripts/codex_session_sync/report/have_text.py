"""The report of ``have`` as a person, or a pipe, reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from ..model import Json
from .parts import base

if TYPE_CHECKING:
    from .screen import Screen


def paint(data: Json, out: Screen) -> None:
    """Print what was written, or, where there is no file, the document itself."""
    from rich.markup import escape

    if data["path"] is None:
        document = {key: value for key, value in data.items() if key != "path"}
        out.file.write(orjson.dumps(document).decode() + "\n")
        return
    sessions = sum(len(one["sessions"]) for one in data["lineages"])
    out.print(
        f"[bold]{escape(base(data['path']))}[/] · what this home has of "
        f"{'one session' if sessions == 1 else f'{sessions} sessions'}\n"
        "On the other side, `pack --have` with it packs only what is missing here.",
        highlight=False,
    )
