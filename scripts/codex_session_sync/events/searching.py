"""Finding events by words and by what they belong to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..codex.prompts import milliseconds
from ..errors import UsageError
from ..identify import match_id
from ..model import Json
from .index import Index
from .tables import HIT, HIT_END, findable, readable

SNIPPET_WORDS = 24
BEGINNING = 200
"""How many characters are shown of an event that was found without words."""

_PIECE = re.compile(r'"([^"]*)("|\Z)|([^"\s]+)')
_MARK = re.compile(f"([{HIT}{HIT_END}])")


@dataclass(frozen=True, slots=True)
class Filters:
    """What events are limited to; each only where it is given.

    ``session`` and ``lineage`` are whole ids, ``commit`` is the beginning of one: the session began
    on it, or the event came between the checkpoint before and that of it. ``repos``: any of
    them is a part of the address of the session's repository, or what addresses of the same one
    have in common, or a directory that it works in. ``since`` and ``until`` are aware; the latter
    is no part of the span.
    """

    session: str | None = None
    lineage: str | None = None
    repos: tuple[str, ...] = ()
    commit: str | None = None
    kind: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """How many events were found, and the first of them as reports have them."""

    total: int
    events: list[Json]


def search(index: Index, words: str, filters: Filters, limit: int) -> Search:
    """The best matches first, of the same worth the newest; without words the newest events.

    Raises UsageError ``query_empty`` where there is neither a word nor a filter.
    """
    query = " ".join(terms(words))
    if not query and (words.strip() or filters == Filters()):
        raise UsageError(
            "query_empty",
            f"there is no word to look for in {words!r}"
            if words.strip()
            else "neither a word nor a filter was given",
            hint="give a word, or a filter: `codex-session-sync events search --since TIME`",
        )
    where, values = _conditions(filters)
    if query:
        source = "words JOIN events ON events.id = words.rowid"
        where, order = ["words MATCH :query", *where], "words.rank, time_ms DESC, events.id DESC"
        values["query"] = query
    else:
        source = "events"
        where, order = ["kind != 'withdrawn'", *where], "time_ms DESC, events.id DESC"
    matching = f"FROM {source} WHERE {' AND '.join(where)}"
    [(total,)] = index.rows(f"SELECT count(*) {matching}", values)
    rows = index.rows(
        "SELECT events.id, event_id, kind, time, events.lineage_id, entry, images, stretch "
        f"{matching} ORDER BY {order} LIMIT :limit",
        {**values, "limit": limit},
    )
    return Search(total, [_event(index, row, query) for row in rows.fetchall()])


def terms(words: str) -> Iterator[str]:
    """What a user typed as terms of the full-text index, all of which must be met.

    What stands in quotes is a phrase; a word that ends in ``*`` is the beginning of one. Nothing
    else has a meaning, and what has no letter or digit is nothing.
    """
    for quoted, _, word in _PIECE.findall(words):
        told = findable(quoted or word).replace('"', " ")
        if any(character.isalnum() for character in told):
            begins = "*" if word.endswith("*") else ""
            yield f'"{told}"{begins}'


def session_meant(index: Index, given: str) -> str:
    """The session that an id, which may be shortened, means.

    Raises UsageError ``session_unknown`` or ``session_ambiguous``.
    """
    rows = index.rows("SELECT session_id, coalesce(name, title) FROM sessions ORDER BY id")
    known: dict[str, str | None] = dict(rows.fetchall())
    unknown = "`codex-session-sync events report` tells which imports there are, and their sessions"
    return match_id(given, known, known.get, unknown=unknown)


def lineage_meant(index: Index, given: str) -> str:
    """The lineage that an id, or its beginning, means.

    Raises UsageError ``lineage_unknown`` or ``lineage_ambiguous``.
    """
    found = index.rows(
        "SELECT DISTINCT lineage_id FROM events WHERE substr(lineage_id, 1, length(?1)) = ?1 "
        "ORDER BY 1 LIMIT 6",
        (given,),
    ).fetchall()
    if len(found) == 1:
        return str(found[0][0])
    if not found or not given:
        raise UsageError(
            "lineage_unknown",
            f"there is no lineage {given!r} in this store",
            hint="`codex-session-sync events graph` shows the lineages",
        )
    raise UsageError(
        "lineage_ambiguous",
        f"{given!r} may mean several lineages: {', '.join(row[0][:16] for row in found[:5])}",
        hint="give more of the id, or one of these",
    )


def _conditions(filters: Filters) -> tuple[list[str], dict[str, Any]]:
    """The filters as conditions of a query, with their values."""
    values: dict[str, Any] = {
        "lineage": filters.lineage,
        "kind": filters.kind,
        "since": milliseconds(filters.since),
        "until": milliseconds(filters.until),
        "session": filters.session,
        "commit": filters.commit,
        **{f"repo{number}": repo for number, repo in enumerate(filters.repos)},
    }
    of_event = {
        "lineage": "events.lineage_id = :lineage",
        "kind": "kind = :kind",
        "since": "time_ms >= :since",
        "until": "time_ms < :until",
    }
    of_session = {
        "session": "session_id = :session",
        "commit": f"(substr(git_commit, 1, length(:commit)) = :commit OR {_FOR_COMMIT})",
    }
    where = [condition for name, condition in of_event.items() if values[name] is not None]
    told = [condition for name, condition in of_session.items() if values[name] is not None]
    if filters.repos:
        told.append(f"({' OR '.join(_of_repo(n) for n in range(len(filters.repos)))})")
    if told:
        joined = (
            "reach.session = sessions.id",
            "reach.stretch = events.stretch",
            "reach.entry >= events.entry",
        )
        conditions = " AND ".join((*joined, *told))
        where.append(f"EXISTS (SELECT 1 FROM reach, sessions WHERE {conditions})")  # noqa: S608
    return where, {name: value for name, value in values.items() if value is not None}


_FOR_COMMIT = """
EXISTS (
    SELECT 1 FROM commits WHERE commits.session_id = sessions.session_id
    AND substr(sha, 1, length(:commit)) = :commit
    AND events.entry > after_entry AND events.entry <= last_entry
    AND (commits.head = sessions.head OR NOT EXISTS (
        SELECT 1 FROM sessions AS exact
        WHERE exact.session_id = commits.session_id AND exact.head = commits.head
    ))
)
"""
"""Whether an event came for a commit. Where the session was imported as it was then, only that
line of it counts: others may have other entries of the same numbers."""


def _of_repo(number: int) -> str:
    """Whether a session is of the repository with this number among the filters."""
    name = f":repo{number}"
    return (
        f"instr(lower(repository), lower({name})) OR repository_key = {name} OR cwd = {name} "
        f"OR substr(cwd, 1, length({name}) + 1) IN ({name} || '/', {name} || char(92))"
    )


def _event(index: Index, row: Any, query: str) -> Json:
    """An event as reports have it."""
    number, event_id, kind, time, lineage_id, entry, images, stretch = row
    text, hits = _snippet(index, number, query)
    return {
        "event_id": event_id,
        "kind": kind,
        "time": time,
        "lineage_id": lineage_id,
        "entry": entry,
        "images": images,
        "snippet": text,
        "hits": hits,
        "sessions": sessions_of(index, stretch, entry),
    }


def sessions_of(index: Index, stretch: int, entry: int) -> list[Json]:
    """The sessions that an event is of, each as it was imported last, the oldest first."""
    rows = index.rows(
        "SELECT session_id, home, name, title, cwd, repository, branch, git_commit, "
        "max(sessions.id) FROM reach JOIN sessions ON sessions.id = reach.session "
        "WHERE stretch = ? AND entry >= ? GROUP BY session_id, home ORDER BY min(sessions.id)",
        (stretch, entry),
    )
    names = ("session_id", "home", "name", "title", "cwd", "repository", "branch", "commit")
    return [dict(zip(names, row, strict=False)) for row in rows]


def _snippet(index: Index, number: int, query: str) -> tuple[str, list[list[int]]]:
    """A part of an event's text, and where in it, in characters, the hits begin and end."""
    if query:
        [(marked,)] = index.rows(
            "SELECT snippet(words, 0, ?, ?, '…', ?) FROM words WHERE words MATCH ? AND rowid = ?",
            (HIT, HIT_END, SNIPPET_WORDS, query, number),
        )
    else:
        [(marked,)] = index.rows(
            "SELECT substr(text, 1, ?) FROM words WHERE rowid = ?", (BEGINNING, number)
        )
    found: list[str] = []
    hits: list[list[int]] = []
    length = 0
    for piece in _MARK.split(readable(marked)):
        if piece == HIT:
            hits.append([length, length])
        elif piece == HIT_END:
            hits[-1][1] = length
        else:
            found.append(piece)
            length += len(piece)
    return "".join(found), hits
