"""``rollback``: undoes a transaction, planned by default, done with ``--execute``."""

from __future__ import annotations

from contextlib import ExitStack

import click

from ..codex.home import CodexHome
from ..errors import ExitCode, UsageError
from ..journal.ledger import Ledger
from ..journal.log import Journal
from ..locks import home_lock
from ..model import Json
from ..planned import SKILL
from ..recovery import require_none_interrupted, unfinished_notices
from ..report.envelope import Problem, Report, Status
from ..report.progress import item_progress
from ..rollback.plan import ALREADY, RollbackPlan, newest, plan_rollback
from ..rollback.unwinding import Outcome, undoing_json, unwind
from .options import (
    brevity_options,
    common,
    completing,
    execute_option,
    home_of,
    sessions_option,
)


@click.command("rollback")
@click.argument(
    "transaction_id", metavar="[ID]", required=False, shell_complete=completing("transactions")
)
@click.option("--latest", is_flag=True, help="The newest transaction that changed something.")
@sessions_option("Only this session of the transaction; may be repeated.")
@execute_option
@brevity_options
@common
def command(
    transaction_id: str | None,
    latest: bool,
    sessions: tuple[str, ...],
    do_it: bool,
    codex_home: str | None,
    as_json: bool,
) -> Report:
    """Undo what a transaction did, also an older one; a rollback can be rolled back as well.

    Sessions that moved on since are kept. ID may be shortened as long as it is unique. Without
    --execute it only says what it would do.

    With --execute it writes what was there before, as a transaction of its own.

    \b
    Examples:
      codex-session-sync rollback --latest
      codex-session-sync rollback 20260302T0915 --execute
      codex-session-sync rollback 20260302T0915 --session 01a1fd25 --execute

    \b
    Next:
      codex-session-sync list-transactions  the rollback is listed as well
    """
    del as_json
    if (transaction_id is None) != latest:
        raise UsageError(
            "usage",
            "name one transaction: give its ID, or --latest",
            hint="`codex-session-sync list-transactions` shows them",
        )
    home = home_of(codex_home)
    journal = Journal(home.sync_dir)
    with ExitStack() as stack:
        if do_it and journal.ids():
            stack.enter_context(home_lock(home.sync_dir, "rollback"))
            require_none_interrupted(journal)
        ledger = Ledger(journal)
        wanted = newest(ledger) if transaction_id is None else journal.find(transaction_id)
        with ExitStack() as looking:
            plan = plan_rollback(
                home,
                ledger,
                wanted,
                sessions,
                lambda total: looking.enter_context(item_progress("looking", total)),
            )
        if not do_it:
            return _planned(plan, home)
        with item_progress("undoing", len(plan.undoable)) as progress:
            done = unwind(plan, home, ledger, progress)
    return _executed(plan, done.outcomes, done.transaction_id)


def _planned(plan: RollbackPlan, home: CodexHome) -> Report:
    idle = all(one.obstacle is not None and not one.asked_in_vain for one in plan.sessions)
    return Report(
        "rollback",
        "no_op" if idle else "dry_run",
        _data(plan, [undoing_json(one) for one in plan.sessions]),
        warnings=(*plan.notices, *unfinished_notices(Journal(home.sync_dir))),
        errors=_problems([Outcome(one, one.obstacle) for one in plan.sessions]),
    )


def _executed(
    plan: RollbackPlan, outcomes: tuple[Outcome, ...], transaction_id: str | None
) -> Report:
    problems = _problems(outcomes)
    found = [undoing_json(outcome.undoing, outcome) for outcome in outcomes]
    status: Status = "partial" if problems else "ok" if transaction_id is not None else "no_op"
    return Report(
        "rollback",
        status,
        _data(plan, found) | {"rollback_transaction_id": transaction_id},
        ExitCode.PARTIAL if problems else ExitCode.OK,
        plan.notices,
        problems,
    )


def _data(plan: RollbackPlan, found: list[Json]) -> Json:
    """The sessions, and the skills if there are any, of which an id is no session's."""
    skills = [{k: v for k, v in one.items() if k not in _IDS} for one in found if _is_skill(one)]
    data: Json = {
        "transaction_id": plan.transaction_id,
        "sessions": [one for one in found if not _is_skill(one)],
    }
    return data | ({"skills": skills} if skills else {})


_IDS = ("session_id", "local_session_id")


def _is_skill(undoing: Json) -> bool:
    return str(undoing["local_session_id"]).startswith(SKILL)


def _problems(outcomes: tuple[Outcome, ...] | list[Outcome]) -> tuple[Problem, ...]:
    """Why sessions are not undone although they ought to be."""
    return tuple(
        Problem(
            outcome.obstacle.code,
            outcome.obstacle.message,
            outcome.obstacle.hint,
            None if outcome.undoing.deed.of_skill else outcome.undoing.deed.session_id,
        )
        for outcome in outcomes
        if outcome.obstacle is not None and outcome.obstacle.code != ALREADY
    )
