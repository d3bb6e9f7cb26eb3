"""What a check of sidecars found, and what was adopted, as a person reads it at a terminal."""

from __future__ import annotations

from itertools import groupby

from rich.text import Text

from ..model import Json
from .parts import LEFT_OUT, STYLES, counted
from .screen import Screen
from .table import WANTED, Column, table

SHOWN = 5
"""How many problems of one kind are printed; ``--json`` has all."""


def health(data: Json, out: Screen) -> None:
    """The problems by kind, what mends them, and what was not looked at."""
    checked = data["checked"]
    out.print(
        f"{counted(checked['mappings'], 'mapping')} in {counted(checked['sidecars'], 'sidecar')}, "
        f"{counted(checked['sessions'], 'session')}, {counted(checked['rows'], 'row')}, "
        f"{counted(checked['transactions'], 'transaction')}",
        highlight=False,
    )
    if data["healthy"]:
        out.print("[green]healthy[/]")
    problems = sorted(data["problems"], key=lambda problem: str(problem["code"]))
    for code, group in groupby(problems, key=lambda problem: problem["code"]):
        found = list(group)
        out.print(f"\n[yellow]{code}[/] ({len(found)})", highlight=False)
        for problem in found[:SHOWN]:
            _line(f"  {_about(problem, out)}{problem['message']}", out)
        if len(found) > SHOWN:
            _line(f"  … and {len(found) - SHOWN} more", out)
        _line(f"  → {_remedy(found)}", out)
    for what in data["not_checked"]:
        out.print()
        out.paragraph(Text(f"Not checked: {what}."))


def _about(problem: Json, out: Screen) -> str:
    if problem["session_id"]:
        return f"{out.short(problem['session_id'])}: "
    return f"{problem['path']}: " if problem["path"] else ""


def _remedy(found: list[Json]) -> str:
    """What mends problems of one kind."""
    remedy, command = found[0]["remedy"], found[0]["command"]
    return f"{remedy}: `{command}`" if command else str(remedy)


def _line(text: str, out: Screen) -> None:
    out.paragraph(Text(text), 4)


def adoption(data: Json, out: Screen) -> None:
    """What is, or was, taken under lineage tracking."""
    if data.get("left_out"):
        out.print(LEFT_OUT.format(data["left_out"]), highlight=False)
    elif not data["sessions"]:
        out.paragraph(
            Text(
                "The first-import tool brought no session that is here. --session and --all name "
                "others, PKG those of a package."
            )
        )
    if data["sessions"]:
        _adopted(data["sessions"], out)
    if data.get("transaction_id"):
        out.print(f"\ntransaction {data['transaction_id']}", highlight=False)


def _adopted(sessions: list[Json], out: Screen) -> None:
    executed = any("result" in session for session in sessions)
    who, here = Column("session"), Column("local session", drop=2)
    title, relation = Column("what it is", gives=WANTED), Column("relation", drop=1)
    outcome, aside = Column("result" if executed else "action"), Column("", drop=3)
    for session in sessions:
        done = session.get("result") or session["action"]
        who.add(out.short(session["session_id"]))
        here.add(out.short(session["local_session_id"]))
        title.add(session["title"] or "")
        relation.add(session["relation"])
        outcome.add(done, STYLES.get(done, ""))
        aside.add(session["reason"] or "")
    table([who, here, title, relation, outcome, aside], out)
