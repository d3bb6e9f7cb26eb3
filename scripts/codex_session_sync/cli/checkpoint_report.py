"""``checkpoint report``: the chat behind a commit, and how to go on with it."""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict
from pathlib import Path

import click

from ..checkpoints.finding import listing_of
from ..checkpoints.listing import Listed
from ..errors import HomeError, SessionError
from ..local import LocalSessions
from ..model import Json
from ..report.envelope import Report
from ..store.opening import open_store
from ..store.place import locate_store
from .calling import PROGRAM
from .options import common, home_of, repo_option, store_option
from .telling import HEAD, checkpoint_json, chosen

COMMAND = "checkpoint report"

_SHOWN = ("session_id", "name", "title", "archived", "entries", "turns", "cwd", "last_at", "unread")


@click.command("report")
@click.option(
    "--commit",
    metavar="COMMIT",
    default=HEAD,
    help="A SHA or its beginning; in a repository any name of a commit, or a range A..B. "
    "Default: HEAD.",
)
@repo_option
@store_option
@click.option("--open", "opening", is_flag=True, help="Also how to go on with each session.")
@click.option("--all", "every", is_flag=True, help="Also the other sessions that the home held.")
@common
def command(
    commit: str,
    repo: Path | None,
    store: str | None,
    opening: bool,
    every: bool,
    codex_home: str | None,
    as_json: bool,
) -> Report:
    """Show the sessions behind a commit: what was said first and last, and what was new in them.

    Only the store is needed for a SHA; other names need the repository.

    Writes nothing.

    \b
    Examples:
      codex-session-sync checkpoint report
      codex-session-sync checkpoint report --commit 3fa9c12 --open
      codex-session-sync checkpoint report --commit v1.0..main

    \b
    Next:
      codex-session-sync checkpoint sync COMMIT  bring them into this home
    """
    del as_json
    opened = open_store(locate_store(store, os.environ))
    asked, _ = chosen(opened, commit, repo)
    told: list[Json] = []
    ways: list[Json] = []
    going_on = _GoingOn(codex_home, store) if opening else None
    for found in asked.found:
        manifest = found.manifest(opened)
        shown = checkpoint_json(manifest, found.entry)
        if every or going_on:
            listing = listing_of(opened, manifest)
            if every:
                shown["listed_sessions"] = [_told(one) for one in listing.sessions.values()]
            if going_on:
                behind = [one for one in manifest.related if one.went_on] or manifest.related
                listed = (listing.sessions.get(one.session_id) for one in behind)
                ways += [going_on.way(one, found.sha) for one in listed if one is not None]
        told.append(shown)
    data: Json = {"store": str(opened.path), "checkpoints": told, "missing": list(asked.missing)}
    if going_on:
        data["open"] = ways
    return Report(COMMAND, "ok", data)


class _GoingOn:
    """How to go on with sessions, by what the home has."""

    def __init__(self, codex_home: str | None, store: str | None) -> None:
        self._local = _sessions_of(codex_home)
        self._more = [
            word
            for name, given in (("--store", store), ("--codex-home", codex_home))
            if given
            for word in (name, given)
        ]

    def way(self, one: Listed, sha: str) -> Json:
        """The commands that open a session as it was at a commit, or as it has gone on here."""
        here = self._has(one)
        bring = [PROGRAM, "checkpoint", "sync", sha[:12], "--session", one.session_id]
        commands = [] if here else [shlex.join([*bring, "--execute", *self._more])]
        return {
            "session_id": one.session_id,
            "commit": sha,
            "here": here,
            "commands": [*commands, f"codex resume {one.session_id}"],
        }

    def _has(self, one: Listed) -> bool:
        """Whether the home has the session, as far as it went then."""
        local = self._local
        if local is None or local.tip(one.session_id) is None:
            return False
        try:
            chain = local.read(one.session_id).chain
        except SessionError:
            return False
        return not one.entries or chain.first(one.entries).head == one.head


def _sessions_of(codex_home: str | None) -> LocalSessions | None:
    """The sessions of the home, if there is one."""
    try:
        return LocalSessions(home_of(codex_home))
    except HomeError:
        return None


def _told(one: Listed) -> Json:
    found = asdict(one)
    return {key: found[key] for key in _SHOWN}
