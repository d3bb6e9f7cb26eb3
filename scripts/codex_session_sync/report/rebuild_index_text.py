"""The report of ``rebuild-index`` as a person reads it at a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model import Json

if TYPE_CHECKING:
    from rich.console import Console

_SKIPPED = {
    "archived": "archived",
    "over_limit": "over the limit",
    "without_row": "without a row",
    "unreadable": "not readable",
}


def paint(data: Json, out: Console) -> None:
    """Print what is listed, what becomes of each file's lines, and how to go back."""
    from rich.table import Table

    number = data["conversations"]
    left_out = [f"{count} {_SKIPPED[reason]}" for reason, count in data["skipped"].items()]
    listed = f"{number} {'conversation' if number == 1 else 'conversations'}"
    aside = f", not listed: {', '.join(left_out)}" if left_out else ""
    out.print(f"[bold]{listed}[/]{aside}", highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = ("action", "lines", "restored", "changed", "kept", "dropped", "trimmed")
    table.add_column("file", no_wrap=True)
    for title in columns:
        table.add_column(title, justify="left" if title == "action" else "right")
    for file in data["files"]:
        cells = {**file, "dropped": sum(file["dropped"].values())}
        table.add_row(file["name"], *(str(cells[column]) for column in columns))
    out.print(table)
    for file in data["files"]:
        if file["dropped"]:
            why = ", ".join(f"{count} {reason}" for reason, count in file["dropped"].items())
            out.print(f"dropped from {file['name']}: {why}", highlight=False)
        if file["backup"]:
            out.print(f"the old {file['name']} is now {file['backup']}", highlight=False)
    if any(file["backup"] for file in data["files"]):
        out.print("To go back, close Codex and rename it as it was.", highlight=False)
