"""``rebuild-index``: Codex's lists of names and of prompts, made anew."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import click

from ..codex.history import history_settings
from ..codex.home import CodexHome, read_config
from ..codex.state_db import open_for_reading
from ..indexes.drafting import Draft, draft_history, draft_index
from ..indexes.spool import Spool
from ..indexes.survey import Scope, Survey, read_said, survey
from ..indexes.writing import replace_all
from ..journal.log import Journal
from ..locks import codex_history_lock, codex_index_lock, home_lock
from ..model import Notice
from ..recovery import require_none_interrupted, unfinished_notices
from ..report.envelope import Report, Status
from ..report.progress import byte_progress
from .options import common, execute_option, home_of

COMMAND = "rebuild-index"
MAX_THREADS = 100

Only = Literal["session-index", "history", "both"]


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be rebuilt, and how."""

    only: Only
    scope: Scope
    limited: bool
    backup: bool


@click.command(COMMAND)
@click.option(
    "--only",
    type=click.Choice(["session-index", "history", "both"]),
    default="both",
    show_default=True,
    help="Which of the two files.",
)
@click.option(
    "--max-threads",
    type=click.IntRange(min=0),
    default=MAX_THREADS,
    show_default=True,
    metavar="N",
    help="The newest N conversations; 0: all of them.",
)
@click.option("--include-orphans", is_flag=True, help="Also sessions without a row.")
@click.option(
    "--ignore-history-max-bytes", is_flag=True, help="Keep all, whatever config.toml limits."
)
@click.option("--no-backup", is_flag=True, help="Do not keep the files that are replaced.")
@execute_option
@common
def command(
    only: Only,
    max_threads: int,
    include_orphans: bool,
    ignore_history_max_bytes: bool,
    no_backup: bool,
    do_it: bool,
    codex_home: str | None,
    as_json: bool,
) -> Report:
    """Rebuild Codex's session_index.jsonl and history.jsonl after they were lost.

    They are made from the database and the transcripts. What the old files hold that is nowhere
    else is kept.

    With --execute it writes the two files, and keeps the old ones beside them.

    \b
    Examples:
      codex-session-sync rebuild-index
      codex-session-sync rebuild-index --max-threads 0 --execute

    \b
    Next:
      codex-session-sync verify  have Codex list the sessions
    """
    del as_json
    home = home_of(codex_home)
    scope = Scope(max_threads, include_orphans)
    request = Request(only, scope, not ignore_history_max_bytes, not no_backup)
    if not do_it:
        return _rebuilt(home, request, write=False)
    if not home.sync_dir.exists():
        # The lock makes this folder; a home with nothing to do is to stay as it is.
        planned = _rebuilt(home, request, write=False)
        if planned.status == "no_op":
            return planned
    with home_lock(home.sync_dir, COMMAND):
        require_none_interrupted(Journal(home.sync_dir))
        return _rebuilt(home, request, write=True)


def _rebuilt(home: CodexHome, request: Request, *, write: bool) -> Report:
    """Read everything, make the drafts, and put them in place if ``write``."""
    settings = history_settings(read_config(home.path))
    history = request.only == "history" or (request.only == "both" and settings.saved)
    with ExitStack() as stack:
        database = stack.enter_context(open_for_reading(home.state_db))
        found = survey(home, database, request.scope)
        listed = found.selection.listed
        total = sum(file.size for one in listed for file in one.files)
        with byte_progress("reading", total) as progress:
            spool = stack.enter_context(Spool())
            said = read_said(listed, spool, history=history, progress=progress)
        if write:
            stack.enter_context(codex_index_lock(home.path))
            stack.enter_context(codex_history_lock(home.path))
        drafts = []
        if request.only != "history":
            names = stack.enter_context(Spool())
            drafts.append(draft_index(home, found, said, database, names))
        if history:
            limit = settings.max_bytes if request.limited else None
            drafts.append(draft_history(home, said, limit))
        notices = (*found.notices, *said.notices)
        if request.only == "both" and not history:
            notices += (_HISTORY_OFF,)
        return _finished(home, request, found, drafts, notices, write=write)


def _finished(
    home: CodexHome,
    request: Request,
    found: Survey,
    drafts: list[Draft],
    notices: tuple[Notice, ...],
    *,
    write: bool,
) -> Report:
    """Write the drafts that change something, if ``write``; the report in any case."""
    changing = [draft for draft in drafts if draft.action != "none"]
    backups = replace_all(home, changing, backup=request.backup) if write and changing else {}
    data = {
        "conversations": len(found.selection.listed),
        "skipped": dict(found.selection.skipped),
        "files": [draft.to_json(backups.get(draft.name)) for draft in drafts],
    }
    if not write:
        notices += unfinished_notices(Journal(home.sync_dir))
    status: Status = "no_op" if not changing else "ok" if write else "dry_run"
    return Report(COMMAND, status, data, warnings=notices)


_HISTORY_OFF = Notice(
    "history_off",
    "config.toml has Codex save no history, so history.jsonl is left as it is; --only history "
    "rebuilds it all the same",
)
