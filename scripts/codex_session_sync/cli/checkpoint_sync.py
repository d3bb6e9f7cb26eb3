"""``checkpoint sync``: the sessions of a checkpoint into the home, by the ordinary sync."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from ..checkpoints.assembling import open_assembled
from ..checkpoints.finding import Found, listing_of
from ..checkpoints.listing import Listing
from ..checkpoints.manifest import Manifest
from ..errors import ExitCode, SessionError, UsageError
from ..identify import match_id
from ..package.sessions import Package
from ..report.envelope import Problem, Report
from ..report.progress import byte_progress
from ..store.documents import path_of
from ..store.opening import open_store
from ..store.place import Store, locate_store
from .options import repo_option, sessions_option, store_option
from .sync import bring_in, sync_options
from .telling import HEAD, checkpoint_json, chosen

COMMAND = "checkpoint sync"


@click.command("sync")
@click.argument("commit", default=HEAD)
@repo_option
@store_option
@sessions_option("Only this session of the home as it was then; may be repeated.")
@click.option(
    "--all", "every", is_flag=True, help="All sessions of the home, not only the repository's."
)
@sync_options
def command(
    commit: str,
    repo: Path | None,
    store: str | None,
    sessions: tuple[str, ...],
    every: bool,
    **options: Any,
) -> Report:
    """Bring the sessions behind a commit into the home, as they were then.

    COMMIT is a SHA, its beginning or, in a repository, any name of a commit; HEAD without it.
    Only the store is needed. New sessions are imported, known ones skipped or continued, as sync
    does. Without --execute it only says what it would do.

    With --execute it writes what sync writes.

    \b
    Examples:
      codex-session-sync checkpoint sync
      codex-session-sync checkpoint sync 3fa9c12 --execute
      codex-session-sync checkpoint sync 3fa9c12 --session 01a1fd25…9837 --execute

    \b
    Next:
      codex-session-sync checkpoint report --open  how to resume them
      codex-session-sync rollback --latest         what undoing it would do
    """
    if every and sessions:
        raise UsageError(
            "usage",
            "--all takes all sessions, --session some",
            hint="leave one of them out",
        )
    opened = open_store(locate_store(store, os.environ))
    found = _one(opened, commit, repo)
    manifest = found.manifest(opened)
    listing = listing_of(opened, manifest)
    wanted = _wanted(manifest, listing, sessions, every=every)
    source = _Source(opened, found, listing, wanted)
    report = bring_in(source.open, (), **options)
    told = checkpoint_json(manifest, found.entry, sessions=False)
    refused = tuple(Problem(e.code, e.message, e.hint, e.session_id) for e in source.refused)
    report = replace(
        report,
        command=COMMAND,
        data={**report.data, "checkpoint": told},
        errors=(*report.errors, *refused),
    )
    if not refused or "transaction_id" not in report.data:
        return report
    return replace(report, status="partial", exit_code=ExitCode.PARTIAL)


@dataclass(slots=True)
class _Source:
    """The package that is made of a checkpoint, each time that it is opened."""

    store: Store
    found: Found
    listing: Listing
    wanted: tuple[str, ...]
    refused: tuple[SessionError, ...] = field(default=())

    @contextmanager
    def open(self) -> Iterator[Package]:
        """The package. Raises StoreError."""
        place = path_of(self.store, self.found.entry)
        with ExitStack() as stack:
            with byte_progress("putting together", None) as progress:
                opening = open_assembled(self.store, self.listing, self.wanted, place, progress)
                package, made = stack.enter_context(opening)
            self.refused = made.refused
            # What they inherit from is there to be read, and not to be brought.
            asked = (one for one in package.sessions if one.session_id in self.wanted)
            yield replace(package, sessions=tuple(asked))


def _one(store: Store, told: str, repo: Path | None) -> Found:
    if ".." in told:
        raise UsageError(
            "usage",
            f"{told!r} is a range of commits, and one is to be brought",
            hint="`codex-session-sync checkpoint report --commit A..B` shows which there are",
        )
    found, _ = chosen(store, told, repo)
    return found.found[0]


def _wanted(
    manifest: Manifest, listing: Listing, sessions: tuple[str, ...], *, every: bool
) -> tuple[str, ...]:
    """The ids of the sessions to bring. Raises UsageError."""
    if every:
        found = tuple(listing.sessions)
    elif sessions:
        known = listing.sessions
        unknown = "`codex-session-sync checkpoint report --all` shows the sessions of a checkpoint"
        title = {i: one.name or one.title for i, one in known.items()}
        found = tuple(
            dict.fromkeys(match_id(one, known, title.get, unknown=unknown) for one in sessions)
        )
    else:
        found = tuple(one.session_id for one in manifest.related)
    if not found:
        raise UsageError(
            "checkpoint_empty",
            "no session of this checkpoint is of the repository",
            hint="`codex-session-sync AGAIN --all` takes all of them, --session one",
        )
    return found
