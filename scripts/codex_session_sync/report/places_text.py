"""Directories and providers of a package as a person reads them at a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model import Json

if TYPE_CHECKING:
    from rich.console import Console

EVIDENCE = {
    "same_git_commit": "has its commit",
    "same_git_remote": "same git remote",
    "same_place": "same place",
    "same_name": "same folder name",
}


def paint(data: Json, out: Console) -> None:
    """The rules that sessions go by, what was made, and, if one is missing, the directories."""
    for rule in data["rules"]:
        if rule["sessions"]:
            sessions = "1 session" if rule["sessions"] == 1 else f"{rule['sessions']} sessions"
            out.print(
                f"{rule['from']} → {rule['to']} ({rule['origin']}): {sessions}",
                markup=False,
                highlight=False,
            )
    for path in data.get("created_dirs", ()):
        out.print(f"made {path}", markup=False, highlight=False)
    directories = data.get("directories", ())
    if any(one["proposals"] for one in directories):
        _directories(directories, out)


def _directories(directories: list[Json], out: Console) -> None:
    """Which directories are not here, and what may stand for them."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("directory", "sessions", "not here; perhaps", "because"):
        table.add_column(title, justify="right" if title == "sessions" else "left", overflow="fold")
    for one in directories:
        for number, proposal in enumerate(one["proposals"]):
            first = number == 0
            table.add_row(
                escape(one["path"]) if first else "",
                str(one["sessions"]) if first else "",
                escape(f"--map-path {_quoted(proposal['map'])}"),
                ", ".join(EVIDENCE[kind] for kind in proposal["evidence"]),
            )
    out.print()
    out.print(table)


def _quoted(text: str) -> str:
    """A word as a shell takes it."""
    import shlex

    return shlex.quote(text)
