"""The report of ``rebuild-index`` as a person reads it at a terminal."""

from __future__ import annotations

from rich.text import Text

from ..model import Json
from .parts import counted
from .screen import Screen
from .table import Column, table

_SKIPPED = {
    "archived": "archived",
    "over_limit": "over the limit",
    "without_row": "without a row",
    "unreadable": "not readable",
}


def paint(data: Json, out: Screen) -> None:
    """Print what is listed, what becomes of each file's lines, and how to go back."""
    number = data["conversations"]
    left_out = [f"{count} {_SKIPPED[reason]}" for reason, count in data["skipped"].items()]
    listed = counted(number, "conversation")
    aside = f", not listed: {', '.join(left_out)}" if left_out else ""
    out.print(f"[bold]{listed}[/]{aside}", highlight=False)
    names = ("action", "lines", "restored", "changed", "kept", "dropped", "trimmed")
    shown = [Column("file"), Column("action"), *(Column(n, right=True) for n in names[1:])]
    for place, column in enumerate(shown[3:]):
        column.drop = 5 - place
    for file in data["files"]:
        cells = {**file, "dropped": sum(file["dropped"].values())}
        for column in shown:
            column.add(str(cells["name" if column.title == "file" else column.title]))
    table(shown, out)
    for file in data["files"]:
        if file["dropped"]:
            why = ", ".join(f"{count} {reason}" for reason, count in file["dropped"].items())
            out.paragraph(Text(f"dropped from {file['name']}: {why}"))
        if file["backup"]:
            out.paragraph(Text(f"the old {file['name']} is now {file['backup']}"))
    if any(file["backup"] for file in data["files"]):
        out.print("To go back, close Codex and rename it as it was.", highlight=False)
