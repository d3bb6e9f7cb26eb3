"""The skills of a package, as a person reads them at a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model import Json
from .parts import STYLES

if TYPE_CHECKING:
    from .screen import Screen

WHAT = {
    "new": "not in this home",
    "same": "installed as it is",
    "differs": "another one is installed",
    "unsafe": "cannot be installed",
}


def skills(found: list[Json], out: Screen, *, with_diff: bool) -> None:
    """What skills there are, how they differ from the home's, and what is done with them."""
    if not found:
        return
    out.print("\nskills of the package; a skill acts in every session:", highlight=False)
    for skill in found:
        _skill(skill, out, with_diff=with_diff)
    if all(skill["action"] in ("leave", "skip") for skill in found) and any(
        skill["state"] in ("new", "differs") for skill in found
    ):
        out.print("none is installed without --with-skills", highlight=False)


def _skill(skill: Json, out: Screen, *, with_diff: bool) -> None:
    from rich.markup import escape

    outcome = skill.get("result") or skill["action"]
    style = STYLES.get(outcome, "default")
    what = "" if outcome in ("installed", "replaced") else f"{WHAT[skill['state']]}; "
    many = "file" if skill["files"] == 1 else "files"
    digest = f", sha256 {skill['digest'][:12]}" if skill["digest"] else ""
    scripts = f", {n} of them programs" if (n := len(skill["scripts"])) else ""
    out.print(
        f"  {escape(skill['name'])}: {what}{skill['files']} {many}{scripts}, "
        f"{skill['size']:,} bytes{digest}; [{style}]{outcome}[/]",
        highlight=False,
        soft_wrap=True,
    )
    differs = skill.get("differences")
    if differs is None:
        return
    for word in ("added", "removed", "changed"):
        for path in differs[word]:
            out.print(f"    {word} {path}", markup=False, highlight=False, soft_wrap=True)
    if with_diff:
        out.print(differs["diff"], markup=False, highlight=False, soft_wrap=True, end="")
