"""Which sessions go into a package: those that were chosen, and those that they need."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from ..codex.inventory import read_head, resolve
from ..errors import SessionError, UsageError
from ..identify import match_id
from ..lineage.graph import ancestors_first, descent, with_needed
from ..lineage.kinship import DESCENT
from ..model import Json, PackagedSession
from .gathering import Gathered


@dataclass(frozen=True, slots=True)
class Filters:
    """What the user wants: sessions that fit all of these.

    ``ids`` may be shortened, and name archived sessions too. ``cwds`` are directories with all
    below them. ``since`` is the time of the last activity. ``archived``: archived ones as well.
    """

    ids: tuple[str, ...] = ()
    cwds: tuple[str, ...] = ()
    since: datetime | None = None
    archived: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """The sessions to pack by id, ancestors first; ``chosen`` are those that fit the filters."""

    ids: tuple[str, ...]
    chosen: frozenset[str]


def select(home: Gathered, filters: Filters) -> Selection:
    """The sessions that fit, with those whose records they continue and those that spawned them.

    Raises UsageError: ``session_unknown``, ``session_ambiguous``, ``selection_empty``.
    """
    known = list(home.sessions)

    def title(session_id: str) -> str | None:
        session = home.sessions[session_id]
        return session.name or str((session.row or {}).get("title") or "")

    wanted = {match_id(given, known, title) for given in filters.ids}
    chosen = [s.session_id for s in home.sessions.values() if _fits(s, filters, wanted)]
    if not chosen:
        raise UsageError(
            "selection_empty",
            "no session of this home is to be packed",
            hint="archived ones need --archived: `codex-session-sync AGAIN --archived`; see "
            "--session, --cwd "
            "and --since",
        )
    return with_ancestors(home, chosen)


def with_ancestors(home: Gathered, chosen: Collection[str]) -> Selection:
    """These sessions, with those whose records they continue and those that spawned them."""
    needed = with_needed(chosen, lambda i: _needs(home, i))
    metas = {i: _descent(home.sessions[i]) for i in needed}
    order = ancestors_first(descent(metas), sorted(needed, key=lambda i: _begun(home, i)))
    return Selection(tuple(order), frozenset(chosen))


def _fits(session: PackagedSession, filters: Filters, wanted: Collection[str]) -> bool:
    if filters.ids and session.session_id not in wanted:
        return False
    if session.archived and not filters.archived and not filters.ids:
        return False
    if filters.since is not None and _last_active(session) < filters.since:
        return False
    return not filters.cwds or _lies_in(_directory(session), filters.cwds)


def _last_active(session: PackagedSession) -> datetime:
    """By the row, else by the file's time, which Codex takes for it."""
    assert session.file is not None
    updated = session.row.get("updated_at") if session.row else None
    moment = float(updated) if updated else session.file.mtime_ns / 1e9
    return datetime.fromtimestamp(moment, UTC)


def _directory(session: PackagedSession) -> str:
    row = session.row
    return str((row or {}).get("cwd") or _meta(session).get("cwd") or "")


def _lies_in(directory: str, folders: Collection[str]) -> bool:
    """Whether a directory, of this machine or another, is one of the folders or below one."""
    path = _plain(directory)
    for given in folders:
        for folder in {_plain(given), _plain(os.path.abspath(given))}:  # noqa: PTH100 - text
            if path == folder or path.startswith(f"{folder}/"):
                return True
    return False


def _plain(path: str) -> str:
    return path.replace("\\", "/").rstrip("/")


def _needs(home: Gathered, session_id: str) -> Iterator[str]:
    """The sessions of this home without which one is not whole."""
    session = home.sessions[session_id]
    assert session.file is not None
    try:
        head, slices = resolve(session.file, home.rollouts.segment)
    except SessionError:
        return
    for part in slices:
        yield part.file.thread_id
    parent = head["payload"].get("parent_thread_id")
    if parent in home.sessions:
        yield str(parent)


def _meta(session: PackagedSession) -> Json:
    """The ``session_meta`` of a session; empty where it cannot be read."""
    assert session.file is not None
    try:
        meta: Json = read_head(session.file)["payload"]
    except SessionError:
        return {}
    return meta


def _descent(session: PackagedSession) -> Json:
    """What of the ``session_meta`` tells descent; the rest may be long, and is not kept."""
    return {key: value for key, value in _meta(session).items() if key in DESCENT}


def _begun(home: Gathered, session_id: str) -> tuple[str, str]:
    file = home.sessions[session_id].file
    assert file is not None
    return file.stamp, session_id
