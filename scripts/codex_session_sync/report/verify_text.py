"""The report of ``verify`` as a person reads it at a terminal."""

from __future__ import annotations

from ..model import Json
from .parts import STYLES
from .screen import Screen
from .table import Column, table


def paint(data: Json, out: Screen) -> None:
    """Print what Codex makes of the sessions: those that are as they should be only counted."""
    sessions = data["sessions"]
    if not sum(data["counts"].values()):
        out.print("No session of this home was synced.")
        return
    same, archived = (data["counts"].get(verdict, 0) for verdict in ("same", "archived"))
    out.print(
        f"Codex lists and opens {same} of {sum(data['counts'].values())}, and shows what the "
        "transcripts have.",
        highlight=False,
    )
    if archived:
        out.print(f"{archived} more it lists as archived, and does not show until taken out.")
    who, verdict = Column("session"), Column("verdict")
    for session in sessions:
        if session["verdict"] not in ("same", "archived"):
            who.add(out.short(session["session_id"]))
            verdict.add(session["verdict"], STYLES.get(session["verdict"], ""))
    if who.cells:
        table([who, verdict], out)
