"""``inspect-package``: what is in a package, and what a sync would do with it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ..codex.capability import UNKNOWN, readable
from ..governing import in_force, surroundings
from ..journal.log import Journal
from ..places.rules import Rules
from ..plan import make_plan
from ..policy import local_policy
from ..recovery import unfinished_notices
from ..report.envelope import Each, Report
from ..report.progress import byte_progress
from ..skills.comparing import plan_skills, skill_json
from ..sync import counts, is_idle, reading_notices, session_json
from ..trust import judged
from ..verdict import Choices, Collision, Diverged
from .options import (
    brevity_options,
    choice_options,
    common,
    diff_skills_option,
    home_of,
    opened,
    package_argument,
    package_data,
    plan_notices,
    plan_problems,
    session_option,
)
from .placing import directories_data, placing_options


@click.command("inspect-package")
@package_argument
@session_option
@choice_options
@placing_options
@diff_skills_option
@brevity_options
@common
def command(
    pkg: Path,
    limits: tuple[str, ...],
    identities: tuple[Path, ...],
    sessions: tuple[str, ...],
    on_diverged: Diverged,
    on_collision: Collision,
    given: Rules,
    diff_skills: bool,
    codex_home: str | None,
    as_json: bool,
) -> Report:
    """Tell what is in PKG and what a sync would do.

    PKG is a package that `pack` made or the first-import tool (a directory, or in a tar, tar.gz,
    tar.zst or zip file), a Codex home or a copy of one, or a folder of rollouts.

    Writes nothing.

    \b
    Examples:
      codex-session-sync inspect-package incoming/
      codex-session-sync inspect-package carried.tar.zst --json
      codex-session-sync inspect-package copy-of-another-home/ --summary

    \b
    Next:
      codex-session-sync sync PKG --execute  bring it in
      codex-session-sync sync PKG --diff ID  what of a session would come in
    """
    del as_json
    home = home_of(codex_home)
    with opened(pkg, limits, identities) as package:
        total = sum(file.size for file in package.tree.files.values())
        with byte_progress("reading", total) as progress:
            rules = in_force(given, package, home)
            plan = make_plan(
                package,
                home,
                only=sessions,
                choices=Choices(on_diverged, on_collision),
                surroundings=surroundings(rules, home),
                progress=progress,
            )
        plan = judged(plan, home, local_policy(home, trusted=False))
        reads = UNKNOWN if is_idle(plan) else readable(home, None, os.environ)
        found = Each(plan.sessions, lambda one: session_json(one, None, reads))
        skills = [skill_json(s) for s in plan_skills(package.skills, home)]
    more = {"directories": directories_data(plan, rules, home), "home": reads.as_json()}
    return Report(
        "inspect-package",
        "ok",
        package_data(plan, found, counts(plan.sessions), rules, skills) | more,
        warnings=(
            *plan_notices(plan),
            *reading_notices(plan, reads),
            *unfinished_notices(Journal(home.sync_dir)),
        ),
        errors=plan_problems(plan),
        diff_skills=diff_skills,
    )
