"""Directories and providers of a package as a person reads them at a terminal."""

from __future__ import annotations

from rich.text import Text

from ..model import Json
from .parts import counted
from .screen import Screen

EVIDENCE = {
    "same_git_commit": "has its commit",
    "same_git_remote": "same git remote",
    "same_place": "same place",
    "same_name": "same folder name",
}


def paint(data: Json, out: Screen) -> None:
    """The rules that sessions go by, what was made, and, if one is missing, the directories."""
    for rule in data["rules"]:
        if rule["sessions"]:
            number = counted(rule["sessions"], "session")
            out.paragraph(Text(f"{rule['from']} → {rule['to']} ({rule['origin']}): {number}"))
    for path in data.get("created_dirs", ()):
        out.paragraph(Text(f"made {path}"))
    directories = data.get("directories", ())
    if any(one["proposals"] for one in directories):
        _directories(directories, out)


def _directories(directories: list[Json], out: Screen) -> None:
    """Which directories are not here, and the options that would have others stand for them."""
    out.print("\nnot here, and what may stand for it:")
    for one in directories:
        if not one["proposals"]:
            continue
        out.paragraph(Text(f"  {one['path']} ({counted(one['sessions'], 'session')})"), 4)
        for proposal in one["proposals"]:
            because = ", ".join(EVIDENCE[kind] for kind in proposal["evidence"])
            option = f"`--map-path {_quoted(proposal['map'])}`"
            out.paragraph(Text(f"    {option} ({because})"), 6)


def _quoted(text: str) -> str:
    """A word as a shell takes it."""
    import shlex

    return shlex.quote(text)
