"""``checkpoint list``: the commits of which there is a checkpoint."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ..checkpoints.finding import all_checkpoints, of_repository
from ..checkpoints.repository import find_repository
from ..errors import StoreError
from ..model import Notice
from ..report.envelope import Report
from ..store.opening import open_store
from ..store.place import locate_store
from .options import common, repo_option, store_option
from .telling import found_json

COMMAND = "checkpoint list"


@click.command("list")
@repo_option
@click.option("--all", "every", is_flag=True, help="Of all repositories.")
@store_option
@common
def command(
    repo: Path | None, every: bool, store: str | None, codex_home: str | None, as_json: bool
) -> Report:
    """List the commits of the repository that have a checkpoint, newest checkpoint first.

    Writes nothing.

    \b
    Examples:
      codex-session-sync checkpoint list
      codex-session-sync checkpoint list --all --store /srv/sessions

    \b
    Next:
      codex-session-sync checkpoint report --commit SHA  one of them
    """
    del as_json, codex_home
    opened = open_store(locate_store(store, os.environ))
    if every:
        found = all_checkpoints(opened)
    else:
        found = of_repository(opened, find_repository(repo or Path(), os.environ))
    told, notices = [], []
    for one in reversed(found):
        try:
            told.append(found_json(opened, one, sessions=False))
        except StoreError as error:
            notices.append(Notice(error.code, error.message))
    data = {"store": str(opened.path), "checkpoints": told}
    return Report(COMMAND, "ok", data, warnings=tuple(notices))
