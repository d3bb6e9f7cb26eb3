"""What the commands that change sidecars share: plan, show, execute."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from ..codex.home import CodexHome
from ..errors import ExitCode, SyncError
from ..journal.log import Journal
from ..locks import home_lock
from ..model import Json
from ..recovery import require_none_interrupted, unfinished_notices
from ..report.envelope import Problem, Report, Status
from ..sidecars.documents import Rewriting
from ..sidecars.rewriting import Failures, rewrite

Planning = Callable[[CodexHome], Rewriting]


def rewriting_report(command: str, home: CodexHome, planning: Planning, *, do_it: bool) -> Report:
    """Plan a change of sidecars and, if asked to, do it under the home's lock.

    Raises HomeError, InterruptedTransactionError.
    """
    with ExitStack() as stack:
        if do_it and home.sync_dir.exists():
            stack.enter_context(home_lock(home.sync_dir, command))
            require_none_interrupted(Journal(home.sync_dir))
        plan = planning(home)
        changes = [change.to_json() for change in plan.changes]
        if not do_it:
            notices = (*plan.notices, *unfinished_notices(Journal(home.sync_dir)))
            status: Status = "dry_run" if changes else "no_op"
            return Report(command, status, {"changes": changes}, warnings=notices)
        if changes and not home.sync_dir.exists():
            # The lock makes the folder of a home that has none, so the plan comes before it.
            stack.enter_context(home_lock(home.sync_dir, command))
        done = rewrite(home, command, plan.changes)
    problems = tuple(_problem(lineage, error) for lineage, error in done.failures.items())
    data = {"changes": _with_results(changes, done.failures), "transaction_id": done.transaction_id}
    return Report(
        command,
        "partial" if problems else "ok" if changes else "no_op",
        data,
        ExitCode.PARTIAL if problems else ExitCode.OK,
        plan.notices,
        problems,
    )


def _with_results(changes: list[Json], failures: Failures) -> list[Json]:
    return [
        {**change, "result": "failed" if change["lineage_id"] in failures else "written"}
        for change in changes
    ]


def _problem(lineage: str, error: SyncError) -> Problem:
    return Problem(error.code, f"the sidecar of lineage {lineage}: {error.message}", error.hint)
