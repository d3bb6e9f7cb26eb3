"""``sync``: the main job, planned by default, done with ``--execute``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import click

from ..codex.client import find_codex
from ..codex.home import CodexHome
from ..errors import ExitCode, UsageError
from ..journal.log import Journal
from ..locks import home_lock
from ..model import Action, Plan, Result
from ..package.members import parse_limits
from ..package.reader import open_package
from ..package.sessions import Package
from ..plan import make_plan
from ..policy import local_policy
from ..recovery import unfinished_notices
from ..report.envelope import Report, Status
from ..report.progress import byte_progress
from ..skills.comparing import SkillPlan, plan_skills, skill_json, skill_notices
from ..skills.installing import in_order
from ..sync import Execution, counts, execute, is_idle, not_executed, session_json
from ..trust import judged
from ..unpacking import with_transcripts
from ..verdict import Choices, Collision, Diverged
from .options import (
    choice_options,
    common,
    diff_skills_option,
    home_of,
    outcome_problems,
    package_argument,
    package_data,
    plan_notices,
    plan_problems,
    session_option,
    skill_problems,
)


@click.command("sync")
@package_argument
@session_option
@choice_options
@click.option("--execute", "do_it", is_flag=True, help="Do it. Without this, only plan.")
@click.option(
    "--trust-package",
    is_flag=True,
    help="Keep what the package says of approval, sandbox, workspace roots and plugins.",
)
@click.option(
    "--with-skills",
    is_flag=True,
    help="Install the skills of the package that the home does not have. A skill acts.",
)
@click.option(
    "--replace-skills",
    is_flag=True,
    help="With --with-skills: also in the place of other skills of these names.",
)
@diff_skills_option
@click.option(
    "--codex-bin",
    metavar="FILE",
    help="The installed Codex, to make a missing database. Default: codex on PATH.",
)
@click.option("--no-prime", is_flag=True, help="Never start the installed Codex.")
@common
def command(
    pkg: Path,
    limits: tuple[str, ...],
    sessions: tuple[str, ...],
    on_diverged: Diverged,
    on_collision: Collision,
    do_it: bool,
    trust_package: bool,
    with_skills: bool,
    replace_skills: bool,
    diff_skills: bool,
    codex_bin: str | None,
    no_prime: bool,
    codex_home: str | None,
    as_json: bool,
) -> Report:
    """Bring the sessions of PKG into the home: new ones are imported, known ones skipped.

    Without --execute it only says what it would do. What it writes is one transaction in the
    home's journal.

    \b
    Examples:
      codex-session-sync sync incoming/
      codex-session-sync sync incoming/ --execute
      codex-session-sync sync carried.zip --session 01a1fd25-10c9-7253-a7ef-c7821c2a9837 --execute
    """
    del as_json
    if replace_skills and not with_skills:
        raise UsageError(
            "usage",
            "--replace-skills says how skills are installed, and none are",
            hint="add --with-skills",
        )
    codex = None if no_prime else find_codex(codex_bin, os.environ)
    home = home_of(codex_home)
    with ExitStack() as stack:
        package = stack.enter_context(open_package(pkg, parse_limits(limits)))
        known = home.sync_dir.exists()
        if do_it and known:
            stack.enter_context(home_lock(home.sync_dir, "sync"))
        choices = Choices(on_diverged, on_collision)
        plan = _plan(package, home, sessions, choices)
        policy = local_policy(home, trusted=trust_package)
        skills = plan_skills(package.skills, home, install=with_skills, replace=replace_skills)
        if not do_it:
            return _planned(judged(plan, home, policy), skills, home, diff_skills=diff_skills)
        plan = _whole(plan, package)
        if not known and is_idle(plan, skills):
            return _executed(plan, not_executed(plan, skills), diff_skills=diff_skills)
        if not known:
            # The first sync of this home: the lock makes its folder, so the plan came before it.
            stack.enter_context(home_lock(home.sync_dir, "sync"))
            if Journal(home.sync_dir).ids():
                plan = _whole(_plan(package, home, sessions, choices), package)
        plan = judged(plan, home, policy)
        with byte_progress("writing", package.summary()["bytes"]) as progress:
            done = execute(
                plan,
                home,
                policy=policy,
                codex=codex,
                environ=os.environ,
                progress=progress,
                skills=skills,
            )
        return _executed(plan, done, diff_skills=diff_skills)


def _plan(package: Package, home: CodexHome, sessions: tuple[str, ...], choices: Choices) -> Plan:
    with byte_progress("reading", package.summary()["bytes"]) as progress:
        return make_plan(package, home, only=sessions, choices=choices, progress=progress)


def _whole(plan: Plan, package: Package) -> Plan:
    with byte_progress("verifying", package.summary()["bytes"]) as progress:
        return with_transcripts(plan, package, progress)


def _planned(
    plan: Plan, skills: Sequence[SkillPlan], home: CodexHome, *, diff_skills: bool
) -> Report:
    found = [session_json(session) for session in plan.sessions]
    idle = all(session.action is Action.SKIP for session in plan.sessions)
    idle = idle and all(skill.action in ("skip", "leave") for skill in skills)
    return Report(
        "sync",
        "no_op" if idle else "dry_run",
        package_data(plan, found, counts(found), [skill_json(skill) for skill in skills]),
        warnings=(
            *plan_notices(plan),
            *skill_notices(skills),
            *unfinished_notices(Journal(home.sync_dir)),
        ),
        errors=(*plan_problems(plan), *skill_problems(in_order(skills, ()))),
        diff_skills=diff_skills,
    )


def _executed(plan: Plan, done: Execution, *, diff_skills: bool) -> Report:
    found = [session_json(outcome.plan, outcome) for outcome in done.outcomes]
    results = {outcome.result for outcome in done.outcomes}
    problems = (*outcome_problems(done.outcomes), *skill_problems(done.skills))
    partial = bool(results & {Result.REFUSED, Result.FAILED} or problems)
    idle = results == {Result.SKIPPED} and done.transaction_id is None
    status: Status = "partial" if partial else "no_op" if idle else "ok"
    skills = [outcome.to_json() for outcome in done.skills]
    data = package_data(plan, found, counts(found), skills)
    return Report(
        "sync",
        status,
        data | {"transaction_id": done.transaction_id},
        ExitCode.PARTIAL if partial else ExitCode.OK,
        (*plan_notices(plan), *skill_notices([o.plan for o in done.skills]), *done.notices),
        problems,
        diff_skills,
    )
