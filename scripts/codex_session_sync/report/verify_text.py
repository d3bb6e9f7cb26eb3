"""The report of ``verify`` as a person reads it at a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..identify import short_id
from ..model import Json

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {"same": "green", "busy": "yellow"}


def paint(data: Json, out: Console) -> None:
    """Print what Codex makes of the sessions: those that are as they should be only counted."""
    from rich.table import Table

    sessions = data["sessions"]
    if not sessions:
        out.print("No session of this home was synced.")
        return
    same, archived = (data["counts"].get(verdict, 0) for verdict in ("same", "archived"))
    out.print(
        f"Codex lists and opens {same} of {len(sessions)}, and shows what the transcripts have.",
        highlight=False,
    )
    if archived:
        out.print(f"{archived} more it lists as archived, and does not show until taken out.")
    table = Table(box=None, pad_edge=False, show_header=False)
    for session in sessions:
        verdict = session["verdict"]
        if verdict not in ("same", "archived"):
            style = _STYLES.get(verdict, "red")
            table.add_row(short_id(session["session_id"]), f"[{style}]{verdict}[/]")
    if table.row_count:
        out.print(table)
