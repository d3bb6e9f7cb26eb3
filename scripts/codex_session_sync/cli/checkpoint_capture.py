"""``checkpoint capture``: what the home holds at a commit, into the store."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ..checkpoints.capture import Captured, capture
from ..checkpoints.repository import find_repository
from ..errors import ExitCode
from ..model import Json, Notice
from ..packing.secrets import SecretScan
from ..report.envelope import Problem, Report
from ..report.progress import byte_progress
from ..store.gate import WAIT_SECONDS, gate
from ..store.opening import make_store
from ..store.place import Store, locate_store
from . import secrets_told
from .options import Seconds, common, home_of, repo_option, store_option
from .telling import checkpoint_json

COMMAND = "checkpoint capture"


@click.command("capture")
@repo_option
@click.option("--commit", metavar="COMMIT", default="HEAD", help="Another commit than HEAD.")
@store_option
@click.option(
    "--force", is_flag=True, help="Also where there is a checkpoint of it; that one is kept."
)
@click.option(
    "--wait",
    metavar="SECONDS",
    type=Seconds(min=0),
    default=WAIT_SECONDS,
    show_default=True,
    help="How long to wait for other writers of the store.",
)
@common
def command(
    repo: Path | None,
    commit: str,
    store: str | None,
    force: bool,
    wait: float,
    codex_home: str | None,
    as_json: bool,
) -> Report:
    """Keep what the home holds now as the checkpoint of the repository's commit.

    What changed since the last checkpoint is packed; the first one has all. Home and repository
    are only read.

    Writes to the store and nothing else.

    \b
    Examples:
      codex-session-sync checkpoint capture
      codex-session-sync checkpoint capture --repo ~/garden --store /srv/sessions

    \b
    Next:
      codex-session-sync checkpoint report        the chat behind the commit
      codex-session-sync checkpoint install-hook  do this at each commit
    """
    del as_json
    home = home_of(codex_home)
    repository = find_repository(repo or Path(), os.environ)
    wanted = repository.commit(commit)
    opened = make_store(locate_store(store, os.environ))
    unseen: list[Notice] = []

    def scan_for_secrets() -> SecretScan:
        scan, notices = secrets_told.scan_for(may_lack=True)
        unseen.extend(notices)
        return scan

    with gate(opened.path, COMMAND, wait), byte_progress("packing", None) as progress:
        done = capture(
            opened, home, repository, wanted, scan_for_secrets, force=force, progress=progress
        )
    failed = tuple(Problem(e.code, e.message, e.hint, e.session_id) for e in done.failed)
    return Report(
        COMMAND,
        "partial" if failed else "ok",
        _data(opened, done),
        ExitCode.PARTIAL if failed else ExitCode.OK,
        (
            *done.notices,
            *unseen,
            *secrets_told.suspected(done.secrets),
            *secrets_told.allowed(done.secrets),
        ),
        failed,
    )


def _data(store: Store, done: Captured) -> Json:
    return {
        "store": str(store.path),
        "checkpoint": checkpoint_json(done.manifest, done.entry),
        "packed": len(done.packed),
        "replaced": done.replaced,
    }
