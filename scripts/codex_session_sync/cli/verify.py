"""``verify``: what the installed Codex makes of the sessions that were synced."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from ..codex.client import find_codex
from ..codex.home import CodexHome
from ..errors import ExitCode, HomeError, SessionError
from ..identify import match_id
from ..journal.log import Journal
from ..local import LocalSessions
from ..recovery import unfinished_notices
from ..report.envelope import Problem, Report
from ..report.progress import item_progress
from ..verify import GOOD, Shown, Verdict, synced_sessions, to_json, verify
from .options import brevity_options, common, completing, home_of

COMMAND = "verify"


@click.command(COMMAND)
@click.option(
    "--session",
    "sessions",
    multiple=True,
    metavar="ID",
    shell_complete=completing("sessions"),
    help="Only this session of the home; may be repeated. Default: all that were synced.",
)
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
    bad = [one for one in found if one.verdict not in GOOD]
    counts = dict(sorted(Counter(str(one.verdict) for one in found).items()))
    return Report(
        COMMAND,
        "partial" if bad else "ok" if found else "no_op",
        {"sessions": [to_json(one) for one in found], "counts": counts},
        ExitCode.PARTIAL if bad else ExitCode.OK,
        unfinished_notices(Journal(home.sync_dir)),
        tuple(problem(one) for one in bad),
    )


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
            hint="install it, or name it: `codex-session-sync AGAIN --codex-bin FILE`",
        )
    found = []
    with item_progress("asking Codex", len(session_ids)) as progress:
        for one in verify(home, session_ids, codex, os.environ):
            found.append(one)
            progress(1)
    return found


def problem(shown: Shown) -> Problem:
    """What is wrong with a session in Codex's eyes."""
    error = _error(shown.verdict, shown.message or "")
    return Problem(error.code, error.message, error.hint, shown.session_id)


def _error(verdict: Verdict, message: str) -> SessionError:
    why = "`codex-session-sync explain ID` says why, and what to do"
    match verdict:
        case Verdict.NOT_LISTED:
            return SessionError("codex_not_listed", message, hint=why)
        case Verdict.NOT_OPENED:
            return SessionError("codex_not_opened", message, hint=why)
        case Verdict.BUSY:
            again = "close it in Codex, then run `codex-session-sync AGAIN`"
            return SessionError("codex_busy", message, hint=again)
        case Verdict.UNREADABLE:
            health = "`codex-session-sync sidecar-health` says what is wrong with it"
            return SessionError("codex_unreadable", message, hint=health)
    check = (
        "`codex-session-sync sidecar-health --deep` checks it; `codex-session-sync "
        "list-transactions` names the sync to roll back"
    )
    return SessionError("codex_differs", message, hint=check)
