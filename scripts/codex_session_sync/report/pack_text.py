"""The report of ``pack`` as a person reads it at a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..identify import short_id
from ..model import Json
from .parts import base

if TYPE_CHECKING:
    from rich.console import Console


def paint(data: Json, out: Console) -> None:
    """Print what was packed, why, how large it is, and where secrets are."""
    from rich.table import Table

    package = data["package"]
    if package is not None:
        _package(data, out)
    elif not data["sessions"]:
        out.print("The other side has all of it; nothing is written.")
    rows = [(session, secret) for session in data["sessions"] for secret in session["secrets"]]
    if rows:
        table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
        table.add_column("session", no_wrap=True)
        table.add_column("secret", no_wrap=True)
        table.add_column("where", ratio=1, overflow="fold")
        for session, secret in rows:
            sure = "" if secret["confidence"] == "high" else "?"
            times = f" x {secret['count']}" if secret["count"] > 1 else ""
            kind = f"{secret['kind']}{sure}{times}"
            table.add_row(short_id(session["session_id"]), kind, place_text(secret))
        out.print(table)


def place_text(secret: Json) -> str:
    """Where a secret is, in words."""
    if secret["in"] != "record":
        return f"in the session's {secret['in'].replace('_', ' ')}"
    kind = f" ({secret['record']})" if secret["record"] else ""
    turn = f", message {secret['turn']}" if secret["turn"] else ""
    return f"in line {secret['line']}{kind}{turn} of {secret['file']}"


def _package(data: Json, out: Console) -> None:
    from rich.filesize import decimal
    from rich.markup import escape
    from rich.table import Table

    package = data["package"]
    number = package["sessions"]
    encrypted = ", encrypted" if package["encrypted"] else ""
    out.print(
        f"[bold]{escape(base(package['path']))}[/] · {package['kind']} in a "
        f"{package['container']}{encrypted} · "
        f"{number} {'session' if number == 1 else 'sessions'} · "
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
            _why(session),
        )
    out.print(table)
    if data["known"]:
        out.print(f"{data['known']} more the other side has already", highlight=False)
    if package["sha256"]:
        out.print(f"SHA-256 {package['sha256']}", highlight=False)


def _why(session: Json) -> str:
    """What is special about a packed session."""
    if session["base_entries"]:
        return f"from entry {session['base_entries'] + 1} on"
    return "" if session["chosen"] else "needed by another"
