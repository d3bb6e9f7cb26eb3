"""A summary as a person reads it at a terminal."""

from __future__ import annotations

from rich.filesize import decimal
from rich.text import Text

from ..model import Json
from .parts import STYLES, counted
from .screen import Screen
from .sessions_text import header
from .table import WANTED, Column, table


def paint(data: Json, out: Screen, command: str) -> None:
    """Print the numbers of each kind, what comes, a few of each kind, and what is not done."""
    if data.get("package"):
        header(data["package"], out)
    if command == "rollback":
        out.print(f"rolling back [bold]{data['transaction_id']}[/]", highlight=False)
    for what, numbers in data["counts"].items():
        told = ", ".join(f"{number} {word}" for word, number in numbers.items())
        out.paragraph(Text(f"{what}: {told}"))
    brings = data.get("brings")
    if brings:
        out.print(
            f"comes: {counted(brings['entries'], 'entry', 'entries')} in "
            f"{counted(brings['turns'], 'turn')} of {counted(brings['sessions'], 'session')}, "
            f"{decimal(brings['bytes'])}",
            highlight=False,
        )
    if data.get("skills"):
        told = ", ".join(f"{number} {state}" for state, number in data["skills"].items())
        out.print(f"skills of the package: {told}", highlight=False)
    _named(data, out)
    done = data.get("rollback_transaction_id" if command == "rollback" else "transaction_id")
    if done:
        out.print(f"\ntransaction {done}", highlight=False)


def _named(data: Json, out: Screen) -> None:
    who, title, kind = Column("session"), Column("what it is", gives=WANTED), Column("")
    found = [(word, one) for word, some in data["examples"].items() for one in some]
    found += [(one["reason"] or "", one) for one in data["not_done"]]
    for word, one in found:
        who.add(out.short(one["session_id"]))
        title.add(one["title"] or "")
        kind.add(word, STYLES.get(word, "yellow"))
    if found:
        out.print("\nsome of them:", highlight=False)
        table([who, title, kind], out)
