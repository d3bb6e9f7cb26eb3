"""``sync``: the main job, planned by default, done with ``--execute``."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from ..codex.capability import UNKNOWN, Readable, readable
from ..codex.client import find_codex
from ..codex.home import CodexHome
from ..errors import ExitCode, UsageError
from ..excerpt import excerpt
from ..governing import in_force, surroundings
from ..identify import match_id
from ..journal.log import Journal
from ..local import LocalSessions
from ..locks import home_lock
from ..model import Notice, Transcript
from ..package.sessions import Package
from ..places.rules import Rules
from ..places.standing import make_missing
from ..plan import NAME_ONE, make_plan
from ..planned import Action, Plan, Result
from ..policy import local_policy
from ..recovery import unfinished_notices
from ..report.envelope import Each, Report, Status
from ..report.progress import byte_progress
from ..skills.comparing import plan_skills, skill_json, skill_notices
from ..skills.installing import in_order
from ..sync import (
    Execution,
    counts,
    execute,
    is_idle,
    not_executed,
    reading_notices,
    session_json,
)
from ..terms import Terms
from ..trust import judged
from ..unpacking import with_transcripts
from ..verdict import Choices, Collision, Diverged
from .options import (
    Decorated,
    brevity_options,
    choice_options,
    common,
    completing,
    diff_skills_option,
    execute_option,
    home_of,
    opened,
    outcome_problems,
    package_argument,
    package_data,
    plan_notices,
    plan_problems,
    session_option,
    skill_problems,
)
from .placing import placing_options
from .verify import with_verification


def sync_options(function: Decorated) -> Decorated:
    """The options of a command that brings sessions in, but for what they are of."""
    for decorate in reversed(_OPTIONS):
        function = decorate(function)
    return function


_OPTIONS: tuple[Callable[[Decorated], Decorated], ...] = (
    choice_options,
    placing_options,
    click.option(
        "--create-dirs",
        is_flag=True,
        help="Make the directories of imported sessions that are missing.",
    ),
    execute_option,
    click.option(
        "--trust-package",
        is_flag=True,
        help="Keep what the package says of approval, sandbox, workspace roots and plugins.",
    ),
    click.option(
        "--with-skills",
        is_flag=True,
        help="Install the skills of the package that the home does not have. A skill acts.",
    ),
    click.option(
        "--replace-skills",
        is_flag=True,
        help="With --with-skills: also in the place of other skills of these names.",
    ),
    diff_skills_option,
    click.option(
        "--codex-bin",
        metavar="FILE",
        shell_complete=completing("files"),
        help="The installed Codex, to make a missing database. Default: codex on PATH.",
    ),
    click.option("--no-prime", is_flag=True, help="Never start the installed Codex."),
    click.option(
        "--verify",
        "asked",
        is_flag=True,
        help="Afterwards have the installed Codex list and open what was written, as verify does.",
    ),
    click.option(
        "--diff",
        "shown",
        multiple=True,
        metavar="ID",
        shell_complete=completing("packaged"),
        help="Show what of this session's conversation would come in; may be repeated.",
    ),
    brevity_options,
    common,
)


@click.command("sync")
@package_argument
@session_option
@sync_options
def command(
    pkg: Path,
    limits: tuple[str, ...],
    identities: tuple[Path, ...],
    sessions: tuple[str, ...],
    **options: Any,
) -> Report:
    """Bring the sessions of PKG into the home: new ones are imported, known ones skipped.

    What was added elsewhere is appended to the local session; one that went another way becomes a
    branch beside it. PKG is anything that inspect-package takes.

    Without --execute it only says what it would do.

    With --execute it writes transcripts, rows and names of what comes in, and one transaction
    in session-sync/ of the home; nothing that is there is written over.

    \b
    Examples:
      codex-session-sync sync incoming/
      codex-session-sync sync incoming/ --execute
      codex-session-sync sync carried.zip --session 01a1fd25…9837 --execute
      codex-session-sync sync carried.csync --summary
      codex-session-sync sync incoming/ --map-path /home/a=/Users/a --execute

    \b
    Next:
      codex-session-sync verify             have Codex list and open it
      codex-session-sync rollback --latest  what undoing it would do
    """
    return bring_in(lambda: opened(pkg, limits, identities), sessions, **options)


def bring_in(
    opening: Callable[[], AbstractContextManager[Package]],
    sessions: tuple[str, ...],
    *,
    on_diverged: Diverged,
    on_collision: Collision,
    given: Rules,
    create_dirs: bool,
    do_it: bool,
    trust_package: bool,
    with_skills: bool,
    replace_skills: bool,
    diff_skills: bool,
    codex_bin: str | None,
    no_prime: bool,
    asked: bool,
    shown: tuple[str, ...],
    codex_home: str | None,
    as_json: bool,
) -> Report:
    """What ``sync`` does with the package that ``opening`` opens; the others are its options.

    Raises what its command may end with.
    """
    del as_json
    if replace_skills and not with_skills:
        raise UsageError(
            "usage",
            "--replace-skills says how skills are installed, and none are",
            hint="`codex-session-sync AGAIN --with-skills`",
        )
    _check_asked(shown=bool(shown), asked=asked, no_prime=no_prime, do_it=do_it)
    codex = None if no_prime else find_codex(codex_bin, os.environ)
    home = home_of(codex_home)
    with ExitStack() as stack:
        package = stack.enter_context(opening())
        known = home.sync_dir.exists()
        if do_it and known:
            stack.enter_context(home_lock(home.sync_dir, "sync"))
        choices = Choices(on_diverged, on_collision)
        planning = _Planning(package, home, sessions, choices, given)
        plan, rules = planning.plan()
        skills = plan_skills(package.skills, home, install=with_skills, replace=replace_skills)
        policy = local_policy(home, trusted=trust_package)
        terms = Terms(policy, rules, skills=tuple(skills))
        if shown:
            return _compared(_chosen(plan, shown), package, home, terms)
        if not do_it:
            terms = replace(terms, reads=_readable(plan, home, codex))
            return _planned(judged(plan, home, policy), home, terms, diff_skills=diff_skills)
        plan, terms, done = _carried_out(planning, plan, terms, codex, stack, locked=known)
    report = _executed(plan, done, terms, create_dirs=create_dirs, diff_skills=diff_skills)
    return with_verification(report, home, done, codex) if asked else report


def _check_asked(*, shown: bool, asked: bool, no_prime: bool, do_it: bool) -> None:
    """Refuse options that take back what others ask for."""
    if shown and do_it:
        raise UsageError(
            "diff_only_shows",
            "--diff shows what would come in, --execute brings it in",
            hint="leave one of them out: `codex-session-sync sync PKG --execute` brings it in",
        )
    if asked and (no_prime or not do_it):
        raise UsageError(
            "usage",
            "--verify has Codex open what was written"
            + (", and --no-prime says never to start it" if no_prime else ", and nothing is"),
            hint="leave one of them out" if no_prime else "add --execute",
        )


def _carried_out(
    planning: _Planning,
    plan: Plan,
    terms: Terms,
    codex: Path | None,
    stack: ExitStack,
    *,
    locked: bool,
) -> tuple[Plan, Terms, Execution]:
    """Do what is planned; the plan and terms that were followed, and what came of it.

    A home's first sync is not ``locked`` yet: the lock makes its folder, so the plan came before.
    """
    package, home = planning.package, planning.home
    plan = _whole(plan, package)
    if not locked:
        if is_idle(plan, terms.skills):
            return plan, terms, not_executed(plan, terms.skills)
        stack.enter_context(home_lock(home.sync_dir, "sync"))
        if Journal(home.sync_dir).ids():
            plan, rules = planning.plan()
            plan, terms = _whole(plan, package), replace(terms, rules=rules)
    plan = judged(plan, home, terms.policy)
    terms = replace(terms, reads=_readable(plan, home, codex))
    with byte_progress("writing", package.summary()["bytes"]) as progress:
        done = execute(plan, home, terms, codex=codex, environ=os.environ, progress=progress)
    return plan, terms, done


def _readable(plan: Plan, home: CodexHome, codex: Path | None) -> Readable:
    """What the home's Codex can read, if there is something to write for it."""
    return UNKNOWN if is_idle(plan) else readable(home, codex, os.environ)


@dataclass(frozen=True, slots=True)
class _Planning:
    """What a plan is made of; the first sync of a home may make it twice."""

    package: Package
    home: CodexHome
    sessions: tuple[str, ...]
    choices: Choices
    given: Rules

    def plan(self) -> tuple[Plan, Rules]:
        """The plan, and the rules in force."""
        rules = in_force(self.given, self.package, self.home)
        with byte_progress("reading", self.package.summary()["bytes"]) as progress:
            plan = make_plan(
                self.package,
                self.home,
                only=self.sessions,
                choices=self.choices,
                surroundings=surroundings(rules, self.home),
                progress=progress,
            )
        return plan, rules


def _whole(plan: Plan, package: Package) -> Plan:
    with byte_progress("verifying", package.summary()["bytes"]) as progress:
        return with_transcripts(plan, package, progress)


def _chosen(plan: Plan, shown: Collection[str]) -> Plan:
    """The plan for the sessions whose conversation is to be shown."""
    known = {one.session.session_id: one for one in plan.sessions}
    wanted = {match_id(given, known, unknown=NAME_ONE) for given in shown}
    return replace(plan, sessions=tuple(one for i, one in known.items() if i in wanted))


def _compared(plan: Plan, package: Package, home: CodexHome, terms: Terms) -> Report:
    """The plan with excerpts of the conversations; nothing is written."""
    report = _planned(plan, home, terms, diff_skills=False)
    with byte_progress("reading", package.summary()["bytes"]) as progress:
        plan = with_transcripts(plan, package, progress, tuple(Action))
    local = LocalSessions(home)
    excerpts = []
    for one in plan.sessions:
        if isinstance(one.transcript, Transcript):
            here = one.decision.local_session_id
            known = here is not None and local.tip(here) is not None
            excerpts.append(excerpt(one, local.transcript(str(here)) if known else None).to_json())
    return replace(report, data={**report.data, "diff": excerpts})


def _planned(plan: Plan, home: CodexHome, terms: Terms, *, diff_skills: bool) -> Report:
    skills, reads = terms.skills, terms.reads
    found = Each(plan.sessions, lambda one: session_json(one, None, reads))
    skills_found = [skill_json(one) for one in skills]
    idle = all(session.action is Action.SKIP for session in plan.sessions)
    idle = idle and all(skill.action in ("skip", "leave") for skill in skills)
    return Report(
        "sync",
        "no_op" if idle else "dry_run",
        package_data(plan, found, counts(plan.sessions), terms.rules, skills_found)
        | {"home": reads.as_json()},
        warnings=(
            *plan_notices(plan),
            *skill_notices(skills),
            *reading_notices(plan, reads),
            *unfinished_notices(Journal(home.sync_dir)),
        ),
        errors=(*plan_problems(plan), *skill_problems(in_order(skills, ()))),
        diff_skills=diff_skills,
    )


def _executed(
    plan: Plan, done: Execution, terms: Terms, *, create_dirs: bool, diff_skills: bool
) -> Report:
    reads = terms.reads
    found = Each(done.outcomes, lambda one: session_json(one.plan, one, reads))
    numbers = counts([one.plan for one in done.outcomes], done.outcomes)
    results = {outcome.result for outcome in done.outcomes}
    problems = (*outcome_problems(done.outcomes), *skill_problems(done.skills))
    partial = bool(results & {Result.REFUSED, Result.FAILED} or problems)
    idle = results == {Result.SKIPPED} and done.transaction_id is None
    status: Status = "partial" if partial else "no_op" if idle else "ok"
    skills = [outcome.to_json() for outcome in done.skills]
    data = package_data(plan, found, numbers, terms.rules, skills)
    notices = [*plan_notices(plan), *skill_notices([o.plan for o in done.skills]), *done.notices]
    if create_dirs:
        data["created_dirs"], notices = _with_directories(done, notices)
    return Report(
        "sync",
        status,
        data | {"transaction_id": done.transaction_id, "home": reads.as_json()},
        ExitCode.PARTIAL if partial else ExitCode.OK,
        (*notices, *reading_notices(plan, reads)),
        problems,
        diff_skills,
    )


def _with_directories(done: Execution, notices: list[Notice]) -> tuple[list[str], list[Notice]]:
    """Make the missing directories of what was imported: those made, and what is to be told."""
    new = [o.plan for o in done.outcomes if o.result in (Result.IMPORTED, Result.BRANCHED)]
    made, failed = make_missing(one.cwd for one in new if one.cwd is not None)
    there = {one.session.session_id for one in new if one.cwd in made}
    kept = [n for n in notices if n.code != "cwd_missing" or n.session_id not in there]
    return made, [
        *kept,
        *(
            Notice("cwd_not_created", f"the directory {path} cannot be made: {why}")
            for path, why in failed.items()
        ),
    ]
