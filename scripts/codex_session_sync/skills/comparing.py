"""What the skills of a package are to this home, and what would be done with them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ..codex.home import CodexHome
from ..model import Json, Notice
from ..package.skills import FOLDER, PackagedSkill
from ..trees import Member, digest, member, members
from .differing import Differences, differences


class State(StrEnum):
    """A skill of the package beside the home's of that name."""

    NEW = "new"
    SAME = "same"
    DIFFERS = "differs"
    UNSAFE = "unsafe"


@dataclass(frozen=True, slots=True)
class SkillPlan:
    """One skill of a package: what it is here, and what is done with it.

    ``digest`` is that of the packaged files, None where they cannot be told; ``installed`` that of
    the home's. ``action``: install, replace, skip, refuse or leave.
    """

    skill: PackagedSkill
    state: State
    digest: str | None
    installed: str | None
    action: str
    reason: str | None = None
    message: str | None = None
    hint: str | None = None
    differs: Differences | None = None
    scripts: tuple[str, ...] = ()

    @property
    def writes(self) -> bool:
        """Whether executing it changes the home."""
        return self.action in ("install", "replace")


def plan_skills(
    skills: Sequence[PackagedSkill],
    home: CodexHome,
    *,
    install: bool = False,
    replace: bool = False,
) -> tuple[SkillPlan, ...]:
    """What each skill of a package is to the home; ``install`` and ``replace`` as the user chose.

    Reads the files of the package and of the home's skills of the same names. Raises PackageError.
    """
    here = _installed_names(home)
    return tuple(_planned(skill, home, here, install=install, replace=replace) for skill in skills)


def _planned(
    skill: PackagedSkill, home: CodexHome, here: dict[str, str], *, install: bool, replace: bool
) -> SkillPlan:
    if skill.fault is not None:
        return _unsafe(skill, None, skill.fault, install=install)
    found = _packaged(skill)
    own, scripts = digest(found), tuple(p for p in skill.files if _is_script(skill, p))
    place = home.path / FOLDER / skill.name
    other = here.get(skill.name.casefold())
    if (home.path / FOLDER).is_symlink() or place.is_symlink():
        return _unsafe(skill, own, "its place in the home is a link", install=install)
    if other is not None and other != skill.name:
        fault = f"the home has it under another letter case: {other!r}"
        return _unsafe(skill, own, fault, install=install)
    if other is None:
        action = "install" if install else "leave"
        return SkillPlan(skill, State.NEW, own, None, action, scripts=scripts)
    if not place.is_dir():
        return _unsafe(skill, own, "its place in the home is no folder", install=install)
    try:
        local = members(place)
    except OSError as error:
        fault = f"the home's cannot be read: {error.strerror or error}"
        return _unsafe(skill, own, fault, install=install)
    if digest(local) == own:
        return SkillPlan(skill, State.SAME, own, own, "skip", "equal", scripts=scripts)
    return _different(skill, found, local, place, install=install, replace=replace)


def _different(
    skill: PackagedSkill,
    found: Sequence[Member],
    local: Sequence[Member],
    place: Path,
    *,
    install: bool,
    replace: bool,
) -> SkillPlan:
    own, installed = digest(found), digest(local)
    told = differences(skill, found, place, local)
    scripts = tuple(p for p in skill.files if _is_script(skill, p))
    if not install or replace:
        action = "replace" if install else "leave"
        return SkillPlan(
            skill, State.DIFFERS, own, installed, action, differs=told, scripts=scripts
        )
    return SkillPlan(
        skill,
        State.DIFFERS,
        own,
        installed,
        "refuse",
        "skill_differs",
        f"the home has another skill {skill.name!r} ({told.summary})",
        "`codex-session-sync inspect-package PKG --diff-skills` shows the difference; "
        "--replace-skills puts the package's in its place and "
        "keeps the home's with the transaction",
        told,
        scripts,
    )


def _unsafe(skill: PackagedSkill, own: str | None, fault: str, *, install: bool) -> SkillPlan:
    return SkillPlan(
        skill,
        State.UNSAFE,
        own,
        None,
        "refuse" if install else "leave",
        "skill_unsafe" if install else None,
        f"skill {skill.name!r} cannot be installed: {fault}",
        "install it by hand if you know it and trust whoever made it",
    )


def _installed_names(home: CodexHome) -> dict[str, str]:
    """The names below the home's skills, by their folded form."""
    try:
        return {name.casefold(): name for name in os.listdir(home.path / FOLDER)}  # noqa: PTH208
    except OSError:
        return {}


def _packaged(skill: PackagedSkill) -> list[Member]:
    found = []
    for path, file in skill.files.items():
        with file.open() as stream:
            found.append(member(path, stream, file.size))
    return found


def _is_script(skill: PackagedSkill, path: str) -> bool:
    with skill.files[path].open() as stream:
        return stream.read(2) == b"#!"


def skill_json(plan: SkillPlan, result: str | None = None) -> Json:
    """One skill as reports show it; ``result`` only after execution."""
    document: Json = {
        "name": plan.skill.name,
        "files": len(plan.skill.files),
        "size": sum(file.size for file in plan.skill.files.values()),
        "digest": plan.digest,
        "state": plan.state,
        "installed_digest": plan.installed,
        "action": plan.action,
        "reason": plan.reason,
        "scripts": list(plan.scripts),
    }
    if plan.state is State.UNSAFE:
        document["fault"] = plan.message
    if plan.differs is not None:
        document["differences"] = plan.differs.to_json()
    if result is not None:
        document["result"] = result
    return document


def journaled(plan: SkillPlan, result: str | None) -> Json:
    """One skill as the journal keeps it."""
    return {
        "name": plan.skill.name,
        "digest": plan.digest,
        "action": plan.action,
        "reason": plan.reason,
        "result": result,
    }


def skill_notices(plans: Sequence[SkillPlan]) -> tuple[Notice, ...]:
    """That what is installed acts: one warning for all of it."""
    names = [plan.skill.name for plan in plans if plan.writes]
    if not names:
        return ()
    scripts = sum(len(plan.scripts) for plan in plans if plan.writes)
    return (
        Notice(
            "skills_act",
            f"{', '.join(names)}: a skill tells Codex what to do in every session, and may bring "
            f"programs ({scripts or 'no'} files here begin with #!); read it before you use it",
        ),
    )
