"""The report of ``pack`` as a person reads it at a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..identify import short_id
from ..model import Json
from .parts import base

if TYPE_CHECKING:
    from rich.console import Console


def paint(data: Json, out: Console) -> None:
    """Print what was packed, why, and how large it is."""
    from rich.filesize import decimal
    from rich.markup import escape
    from rich.table import Table

    package = data["package"]
    number = package["sessions"]
    out.print(
        f"[bold]{escape(base(package['path']))}[/] · {package['kind']} in a "
        f"{package['container']} · {number} {'session' if number == 1 else 'sessions'} · "
        f"{decimal(package['size'])}",
        highlight=False,
    )
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    table.add_column("session", no_wrap=True)
    table.add_column("what it is", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("turns", justify="right")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for session in data["sessions"]:
        table.add_row(
            short_id(session["session_id"]),
            escape(session["title"] or ""),
            str(session["turns"]),
            decimal(session["bytes"]),
            "" if session["chosen"] else "needed by another",
        )
    out.print(table)
    if package["sha256"]:
        out.print(f"SHA-256 {package['sha256']}", highlight=False)
