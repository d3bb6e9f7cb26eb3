"""``adopt``: takes sessions that came by other means under lineage tracking."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from ..codex.home import CodexHome
from ..errors import ExitCode, UsageError
from ..journal.log import Journal
from ..locks import home_lock
from ..model import Json
from ..package.sessions import Package
from ..recovery import require_none_interrupted, unfinished_notices
from ..report.envelope import Problem, Report, Status
from ..report.progress import byte_progress
from ..rollback.standing import obstacle_of
from ..sidecars.adopt import (
    Adopted,
    AdoptionPlan,
    execute,
    plan_local,
    plan_packaged,
)
from .options import (
    brevity_options,
    common,
    execute_option,
    home_of,
    opened,
    optional_package,
    sessions_option,
)


@click.command("adopt")
@optional_package
@sessions_option("Only this session, of the home or of the package; may be repeated.", "packaged")
@click.option("--all", "every", is_flag=True, help="Every session of the home, or of the package.")
@execute_option
@brevity_options
@common
def command(
    pkg: Path | None,
    limits: tuple[str, ...],
    identities: tuple[Path, ...],
    sessions: tuple[str, ...],
    every: bool,
    do_it: bool,
    codex_home: str | None,
    as_json: bool,
) -> Report:
    """Take sessions under lineage tracking that came by other means than sync, or were made here.

    Without PKG: those that the first-import tool brought, or the ones that --session or --all
    names. With PKG: local sessions that are sessions of that package by their conversation.
    Transcripts, rows and names stay as they are. Without --execute it only plans.

    With --execute it writes sidecars, as one transaction.

    \b
    Examples:
      codex-session-sync adopt
      codex-session-sync adopt --session 01a1fd25 --execute
      codex-session-sync adopt package/ --execute

    \b
    Next:
      codex-session-sync sidecar-health  check what is known now
    """
    del as_json
    if every and sessions:
        raise UsageError(
            "usage",
            "--all and --session exclude each other",
            hint="leave one out: `codex-session-sync adopt --all`, or --session ID",
        )
    home = home_of(codex_home)
    with ExitStack() as stack:
        package = None
        if pkg is not None:
            package = stack.enter_context(opened(pkg, limits, identities))
        known = home.sync_dir.exists()
        if do_it and known:
            stack.enter_context(home_lock(home.sync_dir, "adopt"))
            require_none_interrupted(Journal(home.sync_dir))
        plan = _plan(package, home, sessions, every=every)
        if not do_it:
            return _planned(plan, home)
        if plan.adopted and not known:
            # The first transaction of this home: the lock makes its folder.
            stack.enter_context(home_lock(home.sync_dir, "adopt"))
            if Journal(home.sync_dir).ids():
                plan = _plan(package, home, sessions, every=every)
        return _executed(plan, execute(plan, home) if plan.adopted else Adopted(None))


def _plan(
    package: Package | None, home: CodexHome, sessions: tuple[str, ...], *, every: bool
) -> AdoptionPlan:
    total: int | None = package.summary()["bytes"] if package is not None else None
    with byte_progress("reading", total) as progress:
        if package is not None:
            return plan_packaged(package, home, only=sessions, progress=progress)
        return plan_local(home, only=sessions, every=every, progress=progress)


def _planned(plan: AdoptionPlan, home: CodexHome) -> Report:
    idle = all(one.action == "skip" for one in plan.sessions)
    return Report(
        "adopt",
        "no_op" if idle else "dry_run",
        {"sessions": [one.to_json() for one in plan.sessions]},
        warnings=(*plan.notices, *unfinished_notices(Journal(home.sync_dir))),
        errors=tuple(_refusals(plan)),
    )


def _executed(plan: AdoptionPlan, done: Adopted) -> Report:
    sessions: list[Json] = []
    problems = _refusals(plan)
    for one in plan.sessions:
        result = _RESULTS[one.action]
        failure = done.failures.get(one.lineage or "")
        if one.action == "adopt" and failure is not None:
            result = "failed"
            why = obstacle_of(failure)
            problems.append(Problem(why.code, why.message, why.hint, one.origin_id))
        sessions.append({**one.to_json(), "result": result})
    idle = all(session["result"] == "skipped" for session in sessions)
    status: Status = "partial" if problems else "no_op" if idle else "ok"
    return Report(
        "adopt",
        status,
        {"sessions": sessions, "transaction_id": done.transaction_id},
        ExitCode.PARTIAL if problems else ExitCode.OK,
        plan.notices,
        tuple(problems),
    )


_RESULTS = {"adopt": "adopted", "skip": "skipped", "refuse": "refused"}


def _refusals(plan: AdoptionPlan) -> list[Problem]:
    return [
        Problem(one.obstacle.code, one.obstacle.message, one.obstacle.hint, one.origin_id)
        for one in plan.sessions
        if one.obstacle is not None and one.action == "refuse"
    ]
