"""``checkpoint remove-hook``: no checkpoints by themselves any more."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ..checkpoints.hook import remove
from ..checkpoints.repository import find_repository
from ..report.envelope import Report
from .options import common, repo_option

COMMAND = "checkpoint remove-hook"


@click.command("remove-hook")
@repo_option
@common
def command(repo: Path | None, codex_home: str | None, as_json: bool) -> Report:
    """Take out of the repository's post-commit hook what install-hook put in.

    Writes the hook, or deletes it if it had nothing else; the store stays.

    \b
    Examples:
      codex-session-sync checkpoint remove-hook
      codex-session-sync checkpoint remove-hook --repo ~/garden

    \b
    Next:
      codex-session-sync checkpoint list  the checkpoints that there are
    """
    del as_json, codex_home
    done = remove(find_repository(repo or Path(), os.environ))
    return Report(
        COMMAND,
        "no_op" if done.result == "unchanged" else "ok",
        {"hook": str(done.path), "result": done.result, "kept": done.kept},
    )
