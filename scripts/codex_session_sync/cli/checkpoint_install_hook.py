"""``checkpoint install-hook``: a checkpoint at each commit of a repository."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from ..checkpoints.hook import Program, block, install
from ..checkpoints.repository import find_repository
from ..codex.home import locate_home
from ..model import Notice
from ..report.envelope import Report
from ..store.opening import make_store
from ..store.place import locate_store
from .options import common, repo_option, store_option

COMMAND = "checkpoint install-hook"

WAIT_SECONDS = 600
"""How long a capture in the background waits for others."""


@click.command("install-hook")
@repo_option
@store_option
@common
def command(repo: Path | None, store: str | None, codex_home: str | None, as_json: bool) -> Report:
    """Make a checkpoint after each commit, in the background, by a hook of git.

    What is in the repository's post-commit hook stays. A commit neither waits for it nor fails with
    it; what it does goes to checkpoint.log in the store's logs/.

    Writes the hook, and the store if there is none.

    \b
    Examples:
      codex-session-sync checkpoint install-hook
      codex-session-sync checkpoint install-hook --repo ~/garden --store /srv/all

    \b
    Next:
      codex-session-sync checkpoint capture      the first checkpoint now
      codex-session-sync checkpoint remove-hook  take it out again
    """
    del as_json
    repository = find_repository(repo or Path(), os.environ)
    opened = make_store(locate_store(store, os.environ))
    opened.logs.mkdir(exist_ok=True)
    arguments = ["checkpoint", "capture", "--store", str(opened.path), "--wait", str(WAIT_SECONDS)]
    if codex_home is not None:
        arguments += ["--codex-home", str(locate_home(codex_home, os.environ).absolute())]
    done = install(repository, block(_itself(), arguments, opened.logs))
    notices = []
    if repository.hooks_are_shared():
        message = f"git is set to look for hooks in {done.path.parent}; others may use them too"
        notices.append(Notice("hooks_shared", message))
    return Report(
        COMMAND,
        "no_op" if done.result == "unchanged" else "ok",
        {
            "hook": str(done.path),
            "result": done.result,
            "kept": done.kept,
            "store": str(opened.path),
            "log": str(opened.logs / "checkpoint.log"),
        },
        warnings=tuple(notices),
    )


def _itself() -> Program:
    """How this program was started, for another process to start it so."""
    script = Path(sys.argv[0]).absolute()
    if script.name == "codex-session-sync" and script.is_file():
        return Program((sys.executable, str(script)))
    path = os.environ.get("PYTHONPATH")
    variables = {"PYTHONPATH": path} if path else {}
    return Program((sys.executable, "-m", "codex_session_sync"), variables)
