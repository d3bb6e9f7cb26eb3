"""What a check of sidecars found, and what was adopted, as a person reads it at a terminal."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from ..identify import short_id
from ..model import Json
from .parts import STYLES

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 5
"""How many problems of one kind are printed; ``--json`` has all."""


def health(data: Json, out: Console) -> None:
    """The problems by kind, what mends them, and what was not looked at."""
    checked = data["checked"]
    out.print(
        f"{checked['mappings']} mappings in {checked['sidecars']} sidecars, "
        f"{checked['sessions']} sessions, {checked['rows']} rows, "
        f"{checked['transactions']} transactions",
        highlight=False,
    )
    if data["healthy"]:
        out.print("[green]healthy[/]")
    problems = sorted(data["problems"], key=lambda problem: str(problem["code"]))
    for code, group in groupby(problems, key=lambda problem: problem["code"]):
        found = list(group)
        out.print(f"\n[yellow]{code}[/] ({len(found)})", highlight=False)
        for problem in found[:SHOWN]:
            _line(f"  {_about(problem)}{problem['message']}", out)
        if len(found) > SHOWN:
            _line(f"  … and {len(found) - SHOWN} more", out)
        _line(f"  → {_remedy(found)}", out)
    for what in data["not_checked"]:
        out.print(f"\nNot checked: {what}.", markup=False, highlight=False)


def _about(problem: Json) -> str:
    if problem["session_id"]:
        return f"{short_id(problem['session_id'])}: "
    return f"{problem['path']}: " if problem["path"] else ""


def _remedy(found: list[Json]) -> str:
    """What mends problems of one kind."""
    remedy, command = found[0]["remedy"], found[0]["command"]
    return f"{remedy}: {command}" if command else str(remedy)


def _line(text: str, out: Console) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def adoption(data: Json, out: Console) -> None:
    """What is, or was, taken under lineage tracking."""
    from rich.markup import escape
    from rich.table import Table

    if not data["sessions"]:
        out.print(
            "The first-import tool brought no session that is here. --session and --all name "
            "others, PKG those of a package."
        )
        return
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    executed = any("result" in session for session in data["sessions"])
    outcome_title = "result" if executed else "action"
    for title in ("session", "local session", "what it is", "relation", outcome_title):
        wide = title == "what it is"
        table.add_column(
            title, no_wrap=True, overflow="ellipsis" if wide else "fold", ratio=1 if wide else None
        )
    for session in data["sessions"]:
        outcome = session.get("result") or session["action"]
        reason = f" ({session['reason']})" if session["reason"] else ""
        table.add_row(
            short_id(session["session_id"]),
            short_id(session["local_session_id"] or ""),
            escape(session["title"] or ""),
            session["relation"],
            f"[{STYLES.get(outcome, 'default')}]{outcome}[/]{reason}",
        )
    out.print(table)
    if data.get("transaction_id"):
        out.print(f"\ntransaction {data['transaction_id']}", highlight=False)
