"""What a check of sidecars found, as a person reads it at a terminal."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from ..identify import short_id
from ..model import Json

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
        _line(f"\nNot checked: {what}.", out)


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
