"""What a store has of events, of one import, and of one event, as reports have it."""

from __future__ import annotations

from ..errors import UsageError
from ..model import Json
from ..store.lines import damaged, read_lines_from
from ..store.place import Store
from .event import SCHEMA
from .index import Index
from .ledger import ledger_path
from .manifests import find_import, read_manifest
from .searching import sessions_of

_IMPORT = ("import_id", "at", "normaliser", "sessions", "refused", "added", "seen", "orphaned")


def totals(index: Index) -> Json:
    """How much there is, and when the first and the last of it was said."""
    kinds = dict(index.rows("SELECT kind, count(*) FROM events GROUP BY kind").fetchall())
    [(first, last)] = index.rows(
        "SELECT (SELECT time FROM events WHERE time_ms NOT NULL ORDER BY time_ms LIMIT 1), "
        "(SELECT time FROM events WHERE time_ms NOT NULL ORDER BY time_ms DESC LIMIT 1)"
    )
    return {
        "imports": _count(index, "SELECT count(*) FROM imports"),
        "lineages": _count(index, "SELECT count(DISTINCT lineage_id) FROM events"),
        "sessions": _count(index, "SELECT count(DISTINCT session_id) FROM sessions"),
        "user_messages": kinds.get("user_message", 0),
        "agent_messages": kinds.get("agent_message", 0),
        "first_at": first,
        "last_at": last,
    }


def imports(index: Index) -> list[Json]:
    """The imports, newest first, each with its packages."""
    packages: dict[int, list[Json]] = {}
    for number, *told in index.rows(
        "SELECT import, kind, container, name, sha256, home FROM packages ORDER BY import, number"
    ):
        names = ("kind", "container", "name", "sha256", "home")
        packages.setdefault(number, []).append(dict(zip(names, told, strict=True)))
    columns = ", ".join(_IMPORT)
    return [
        {**dict(zip(_IMPORT, told, strict=True)), "packages": packages[number]}
        for number, *told in index.rows(f"SELECT id, {columns} FROM imports ORDER BY id DESC")  # noqa: S608
    ]


def one_import(store: Store, given: str) -> Json:
    """The manifest of an import that an id, or its beginning, means, but for what tells where.

    Raises UsageError ``import_unknown`` or ``import_ambiguous``, StoreError.
    """
    manifest = read_manifest(store, find_import(store, given))
    return {
        "import_id": manifest["import_id"],
        "at": manifest["started_at"],
        "program": manifest["program"],
        "normaliser": manifest["normaliser"],
        "packages": manifest["packages"],
        "counts": manifest["counts"],
        "sessions": sessions_told(manifest),
    }


def sessions_told(manifest: Json) -> list[Json]:
    """What a manifest says of its sessions, as reports have it."""
    return [
        {key: value for key, value in session.items() if key != "files"}
        for session in manifest["sessions"]
    ]


def one_event(store: Store, index: Index, given: str) -> Json:
    """The event that an id, or its beginning, means, whole, with where its record lies.

    Raises UsageError ``event_unknown`` or ``event_ambiguous``, StoreError.
    """
    found = index.rows(
        "SELECT event_id, lineage_id, place, stretch, entry FROM events "
        "WHERE substr(event_id, 1, length(?1)) = ?1 AND event_id >= ?1 LIMIT 6",
        (given,),
    ).fetchall()
    if not found or not given:
        raise UsageError(
            "event_unknown",
            f"there is no event and no import {given!r} in this store",
            hint="`codex-session-sync events search WORDS` finds events, `codex-session-sync "
            "events report` lists the imports",
        )
    if len(found) > 1:
        raise UsageError(
            "event_ambiguous",
            f"{given!r} may mean several events: {', '.join(row[0][:16] for row in found[:5])}",
            hint="give more of the id, or one of these",
        )
    [(event_id, lineage_id, place, stretch, entry)] = found
    path = ledger_path(store, lineage_id)
    line = next((line for *_, line in read_lines_from(path, SCHEMA, place)), None)
    if line is None or line.get("event_id") != event_id:
        raise damaged(path, place, f"is not that of event {event_id}")
    told = ("event_id", "lineage_id", "parent", "kind", "entry", "time", "text", "images", "raw")
    children = index.rows("SELECT event_id FROM events WHERE parent = ? ORDER BY id", (event_id,))
    return {
        **{key: line[key] for key in (*told, "normaliser", "import_id")},
        "children": [child for (child,) in children],
        "sessions": sessions_of(index, stretch, entry),
    }


def _count(index: Index, statement: str) -> int:
    [(number,)] = index.rows(statement)
    return int(number)
