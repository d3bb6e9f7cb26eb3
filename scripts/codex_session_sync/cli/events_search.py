"""``events search``: what was said, by words and by what it belongs to."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Literal

import click

from ..events.index import Index
from ..events.searching import Filters, Search, lineage_meant, search, session_meant
from ..places.git import Git, repository_key
from ..report.envelope import Report
from .options import common, moment, store_option
from .storing import asked, store_of
from .telling import commit_meant

COMMAND = "events search"


@click.command("search")
@click.argument("words", nargs=-1)
@click.option("--session", metavar="ID", help="Only what was said in this session.")
@click.option(
    "--repo",
    metavar="REPO",
    help="Only sessions of this repository: a part of its address, or a directory.",
)
@click.option("--commit", metavar="COMMIT", help="Only what was said for this commit.")
@click.option("--since", metavar="TIME", callback=moment, help="Only what was said since then.")
@click.option("--until", metavar="TIME", callback=moment, help="Only what was said before then.")
@click.option("--kind", type=click.Choice(["user", "agent"]), help="Only what these said.")
@click.option("--lineage", metavar="ID", help="Only this lineage.")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1, 10_000),
    default=20,
    show_default=True,
    help="How many events are shown.",
)
@store_option
@common
def command(
    words: tuple[str, ...],
    session: str | None,
    repo: str | None,
    commit: str | None,
    since: datetime | None,
    until: datetime | None,
    kind: Literal["user", "agent"] | None,
    lineage: str | None,
    limit: int,
    store: str | None,
    codex_home: str | None,
    as_json: bool,
) -> Report:
    """Find what was said in the sessions of the store, the best matches first.

    All WORDS must be in a message. Words in quotes, which the shell must leave to this program, are
    a phrase; a word that ends in an asterisk is the beginning of one. A filter without words shows
    the newest messages.

    Writes nothing but the index, which is brought up to date.

    \b
    Examples:
      codex-session-sync events search prune roses
      codex-session-sync events search '"heavy frost"' --since 2026-03-01
      codex-session-sync events search --commit HEAD~2 --json

    \b
    Next:
      codex-session-sync events report ID  one message, and where its record lies
    """
    del as_json, codex_home
    here = store_of(store)

    def question(index: Index) -> Search:
        filters = Filters(
            session=session_meant(index, session) if session is not None else None,
            lineage=lineage_meant(index, lineage) if lineage is not None else None,
            repos=_repos(repo) if repo else (),
            commit=commit_meant(commit) if commit else None,
            kind=f"{kind}_message" if kind else None,
            since=since,
            until=until,
        )
        return search(index, " ".join(words), filters, limit)

    found, notices = asked(here, question)
    data = {"store": str(here.path), "total": found.total, "events": found.events}
    return Report(COMMAND, "ok" if found.total else "no_op", data, warnings=tuple(notices))


def _repos(given: str) -> tuple[str, ...]:
    """What a repository may be known by: as given, and, of a folder here, what git tells of it."""
    if not Path(given).is_dir():
        return (given, repository_key(given))
    git, folder = Git(os.environ), os.path.abspath(given)  # noqa: PTH100 - links stay as named
    return tuple(dict.fromkeys((folder, git.top(folder) or folder, *git.remotes(folder))))
