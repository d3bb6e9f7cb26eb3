"""``verify``: what the installed Codex makes of the sessions that were synced."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from ..codex.client import find_codex
from ..codex.home import CodexHome
from ..errors import ExitCode, HomeError, SessionError
from ..identify import match_id
from ..journal.log import Journal
from ..local import LocalSessions
from ..model import Json
from ..planned import RESULT_OF
from ..recovery import unfinished_notices
from ..report.envelope import Problem, Report
from ..report.progress import item_progress
from ..sync import Execution
from ..verify import GOOD, Shown, Verdict, synced_sessions, to_json, verify
from .options import brevity_options, common, completing, home_of, sessions_option

COMMAND = "verify"

_AFTERWARDS = "what was synced stays; once Codex works, `codex-session-sync verify` asks it"


@click.command(COMMAND)
@sessions_option("Only this session of the home; may be repeated. Default: all that were synced.")
@click.option(
    "--codex-bin",
    metavar="FILE",
    shell_complete=completing("files"),
    help="The installed Codex. Default: codex on PATH.",
)
@brevity_options
@common
def command(
    sessions: tuple[str, ...], codex_bin: str | None, codex_home: str | None, as_json: bool
) -> Report:
    """Ask the installed Codex to list and open sessions, and compare what it shows.

    Each session is opened as in Codex itself; no turn is run and no model is asked.

    Writes nothing itself; Codex, which it starts, may write to its databases.

    \b
    Examples:
      codex-session-sync verify
      codex-session-sync verify --session 01a1fd25 --codex-bin /opt/codex

    \b
    Next:
      codex-session-sync explain ID  why it does not show a session
    """
    del as_json
    home = home_of(codex_home)
    local = LocalSessions(home)
    known = list(local.rollouts.threads())
    wanted = (
        [match_id(i, known, local.title) for i in sessions] if sessions else synced_sessions(home)
    )
    found = checked(home, wanted, find_codex(codex_bin, os.environ))
    bad = tuple(problem(one) for one in found if one.verdict not in GOOD)
    return Report(
        COMMAND,
        "partial" if bad else "ok" if found else "no_op",
        _data(found),
        ExitCode.PARTIAL if bad else ExitCode.OK,
        unfinished_notices(Journal(home.sync_dir)),
        bad,
    )


def with_verification(
    report: Report, home: CodexHome, done: Execution, codex: Path | None
) -> Report:
    """The report of a sync with what Codex makes of what it wrote, as ``verify`` has it.

    What was written stays in any case. A session that is not as it should be, or no Codex that
    answers, makes the report ``partial``; in the latter case there is no verdict.
    """
    written = [
        outcome.local_session_id
        for outcome in done.outcomes
        if outcome.result in RESULT_OF.values() and outcome.local_session_id is not None
    ]
    verdicts: Json | None = None
    try:
        found = checked(home, written, codex)
    except HomeError as error:
        bad: tuple[Problem, ...] = (Problem(error.code, error.message, _AFTERWARDS),)
    else:
        verdicts = _data(found)
        bad = tuple(problem(one, done.transaction_id) for one in found if one.verdict not in GOOD)
    report = replace(report, data={**report.data, "verify": verdicts})
    if not bad:
        return report
    return replace(
        report, status="partial", exit_code=ExitCode.PARTIAL, errors=(*report.errors, *bad)
    )


def _data(found: Sequence[Shown]) -> Json:
    counts = dict(sorted(Counter(str(one.verdict) for one in found).items()))
    return {"sessions": [to_json(one) for one in found], "counts": counts}


def checked(home: CodexHome, session_ids: Sequence[str], codex: Path | None) -> list[Shown]:
    """What Codex makes of sessions, with progress.

    Raises HomeError: ``codex_missing``, ``codex_failed``.
    """
    if not session_ids:
        return []
    if codex is None:
        raise HomeError(
            "codex_missing",
            "there is no Codex to ask",
            hint="install it, then run `codex-session-sync verify`; or name it: "
            "`codex-session-sync verify --codex-bin FILE`",
        )
    found = []
    with item_progress("asking Codex", len(session_ids)) as progress:
        for one in verify(home, session_ids, codex, os.environ):
            found.append(one)
            progress(1)
    return found


def problem(shown: Shown, transaction_id: str | None = None) -> Problem:
    """What is wrong with a session in Codex's eyes; a transaction that just wrote it is named."""
    error = _error(shown)
    hint = error.hint or ""
    if transaction_id is not None and shown.verdict is not Verdict.BUSY:
        hint += f"; `codex-session-sync rollback {transaction_id} --execute` takes the sync back"
    return Problem(error.code, error.message, hint, shown.session_id)


def _error(shown: Shown) -> SessionError:
    message = shown.message or ""
    why = "`codex-session-sync explain ID` says why, and what to do"
    match shown.verdict:
        case Verdict.NOT_LISTED:
            return SessionError("codex_not_listed", message, hint=why)
        case Verdict.NOT_OPENED:
            return SessionError("codex_not_opened", message, hint=why)
        case Verdict.BUSY:
            again = f"`codex-session-sync verify --session {shown.session_id}`"
            return SessionError("codex_busy", message, hint=f"close it in Codex, then {again}")
        case Verdict.UNREADABLE:
            health = "`codex-session-sync sidecar-health` says what is wrong with it"
            return SessionError("codex_unreadable", message, hint=health)
    check = "`codex-session-sync sidecar-health --deep` checks it"
    return SessionError("codex_differs", message, hint=check)
