"""The report of ``pack`` as a person reads it at a terminal."""

from __future__ import annotations

from ..model import Json
from .parts import base, counted
from .screen import Screen
from .table import WANTED, Column, table


def paint(data: Json, out: Screen) -> None:
    """Print what was packed, why, how large it is, and where secrets are."""
    package = data["package"]
    if package is not None:
        _package(data, out)
    elif not data["sessions"]:
        out.print("The other side has all of it; nothing is written.")
    who, secret, where = Column("session"), Column("secret"), Column("where", gives=WANTED)
    for session in data["sessions"]:
        for found in session["secrets"]:
            sure = "" if found["confidence"] == "high" else "?"
            times = f" x {found['count']}" if found["count"] > 1 else ""
            who.add(out.short(session["session_id"]))
            secret.add(f"{found['kind']}{sure}{times}")
            where.add(place_text(found))
    if who.cells:
        table([who, secret, where], out)


def place_text(secret: Json) -> str:
    """Where a secret is, in words."""
    if secret["in"] != "record":
        return f"in the session's {secret['in'].replace('_', ' ')}"
    kind = f" ({secret['record']})" if secret["record"] else ""
    turn = f", message {secret['turn']}" if secret["turn"] else ""
    return f"in line {secret['line']}{kind}{turn} of {secret['file']}"


def _package(data: Json, out: Screen) -> None:
    from rich.filesize import decimal
    from rich.markup import escape

    package = data["package"]
    encrypted = ", encrypted" if package["encrypted"] else ""
    out.print(
        f"[bold]{escape(base(package['path']))}[/] · {package['kind']} in a "
        f"{package['container']}{encrypted} · "
        f"{counted(package['sessions'], 'session')} · "
        f"{decimal(package['size'])}",
        highlight=False,
    )
    who, title, age = Column("session"), Column("what it is", gives=WANTED), Column("age", drop=2)
    turns, size, why = Column("turns", right=True), Column("size", right=True), Column("", drop=1)
    age.right = True
    for session in data["sessions"]:
        who.add(out.short(session["session_id"]))
        title.add(session["title"] or "")
        age.add(out.age(session["updated_at"]))
        turns.add(str(session["turns"]))
        size.add(decimal(session["bytes"]))
        why.add(_why(session))
    table([who, title, age, turns, size, why], out)
    if data["known"]:
        out.print(f"{data['known']} more the other side has already", highlight=False)
    if package["sha256"]:
        out.print(f"SHA-256 {package['sha256']}", highlight=False)


def _why(session: Json) -> str:
    """What is special about a packed session."""
    if session["base_entries"]:
        return f"from entry {session['base_entries'] + 1} on"
    return "" if session["chosen"] else "needed by another"
