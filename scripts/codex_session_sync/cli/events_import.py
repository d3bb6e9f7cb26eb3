"""``events import``: what was said in the sessions of a package, as events of a store."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ..errors import ExitCode
from ..events.importing import COMMAND, import_events
from ..events.reporting import sessions_told
from ..events.sources import Source, sources_of
from ..report.envelope import Problem, Report, Status
from ..report.progress import byte_progress
from ..store.place import locate_store
from .options import common, home_of, opened, optional_package, store_option
from .telling import repository_if_any


@click.command("import")
@optional_package
@store_option
@common
def command(
    pkg: Path | None,
    limits: tuple[str, ...],
    identities: tuple[Path, ...],
    store: str | None,
    codex_home: str | None,
    as_json: bool,
) -> Report:
    """Keep what people and agents said in the sessions of PKG as events in the store.

    PKG is a package of any kind, a Codex home, or of the store a checkpoint (a SHA, its beginning,
    in a repository any name of a commit or a range) or the beginning of a package's SHA-256;
    without it, this Codex home. What the store has already, from whichever package, is seen again
    and not added.

    Writes to the store, which is made if there is none, and nowhere else.

    \b
    Examples:
      codex-session-sync events import
      codex-session-sync events import carried.tar.zst
      codex-session-sync events import HEAD
      codex-session-sync events import archived-home/ --store /srv/store --json

    \b
    Next:
      codex-session-sync events search WORDS  find what was said
      codex-session-sync events report        what was imported
    """
    del as_json
    path = locate_store(store, os.environ)
    if pkg is None:
        home = home_of(codex_home).path
        sources = [Source(home, home.name)]
    else:
        sources = sources_of(str(pkg), path, lambda: repository_if_any(None, needed=False))
    with byte_progress("reading", None) as progress:
        done = import_events(
            path, sources, lambda found: opened(found, limits, identities), progress=progress
        )
    manifest = done.manifest
    refused = tuple(
        Problem(error.code, error.message, error.hint, session_id)
        for session_id, error in done.refused
    )
    status: Status = "partial" if refused else "ok" if manifest["counts"]["added"] else "no_op"
    return Report(
        COMMAND,
        status,
        {
            "store": str(path),
            "import_id": manifest["import_id"],
            "packages": manifest["packages"],
            "counts": manifest["counts"],
            "sessions": sessions_told(manifest),
        },
        ExitCode.PARTIAL if refused else ExitCode.OK,
        done.notices,
        refused,
    )
