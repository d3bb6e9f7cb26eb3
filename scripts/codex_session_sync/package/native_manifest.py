"""The manifest of a native package: what it says of a session, written and read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .. import validation
from ..errors import PackageError
from ..lineage.fingerprint import FINGERPRINT_VERSION, PROVENANCE
from ..model import Base, Chain, Facts, Json, Outline, PackagedSession, Row

FORMAT = "codex-session-sync/package/1"
SCHEMA = "native_manifest"

META = (
    *("id", "timestamp", "forked_from_id", "parent_thread_id", PROVENANCE),
    *("originator", "cli_version", "model_provider"),
)
"""What of ``session_meta`` comparing and reporting take."""

FACTS = (
    *("turns", "unreadable", "torn", "first_user_message"),
    *("first_timestamp", "last_timestamp", "last_cwd"),
)
WORDS = 200
"""How much of the first words is told; reports show less."""


def chain_part(session_id: str) -> str:
    """The name of the part that holds a session's links."""
    return f"chains/{session_id}"


def rollout_part(file_name: str) -> str:
    """The name of the part that holds a rollout, decompressed."""
    return f"rollouts/{file_name.removesuffix('.zst')}"


def tail_part(file_name: str, start: int, end: int) -> str:
    """The name of the part that holds the records from byte ``start`` to ``end`` of a rollout."""
    return f"tails/{start}-{end}/{file_name.removesuffix('.zst')}"


def session_entry(
    session: PackagedSession,
    outline: Outline,
    history: Sequence[str],
    size: int,
    spawn_edge: Row | None,
    base: Base | None = None,
) -> Json:
    """A session as the manifest has it.

    ``history`` names the parts that its transcript, or what of it follows ``base``, goes through,
    oldest first; ``size`` is that of the transcript. The path in its row is told from the home on.
    """
    facts = {key: value for key, value in asdict(outline.facts).items() if key in FACTS}
    words = facts["first_user_message"]
    edge = ("parent_thread_id", "status")
    return {
        "session_id": session.session_id,
        "history": list(history),
        "size": size,
        "history_mode": outline.mode,
        "entries": len(outline.chain),
        "head": outline.chain.head,
        **({"base": asdict(base)} if base else {}),
        "meta": {key: value for key in META if _fits(key, value := outline.meta.get(key))},
        "facts": {**facts, "first_user_message": words and " ".join(words.split())[:WORDS]},
        "archived": session.archived,
        "name": session.name,
        "row": dict(session.row) if session.row else None,
        "dynamic_tools": [dict(tool) for tool in session.dynamic_tools],
        "spawn_edge": {key: spawn_edge.get(key) for key in edge} if spawn_edge else None,
    }


def manifest(sessions: Sequence[Json], installation_id: str | None, program: str) -> Json:
    """The manifest of these sessions, its list of parts left out."""
    return {
        "format": FORMAT,
        "fingerprint_version": FINGERPRINT_VERSION,
        "program": program,
        "origin": {"installation_id": installation_id, "codex_version": _newest(sessions)},
        "sessions": list(sessions),
    }


def load_manifest(data: bytes) -> Json:
    """A manifest that fits its schema, rows and tools too.

    Raises PackageError: ``native_manifest_invalid``, ``thread_row_invalid``,
    ``dynamic_tool_invalid``.
    """
    document: Json = validation.load(SCHEMA, data, "the manifest", PackageError)
    for entry in document["sessions"]:
        what = f"session {entry['session_id']} of the manifest"
        if entry["row"] is not None:
            validation.check("thread_row", entry["row"], what, PackageError)
        for tool in entry["dynamic_tools"]:
            validation.check("dynamic_tool", tool, what, PackageError)
    return document


def outline_of(entry: Json, chain: Chain) -> Outline:
    """What comparing takes, from a session of the manifest and its links."""
    facts: dict[str, Any] = {key: entry["facts"].get(key) for key in FACTS}
    return Outline(entry["session_id"], entry["meta"], entry["history_mode"], chain, Facts(**facts))


def base_of(entry: Json) -> Base | None:
    """What a session of the manifest needs of the home; None if it is whole."""
    found = entry.get("base")
    return Base(**{key: found[key] for key in ("entries", "head", "first")}) if found else None


def _fits(key: str, value: object) -> bool:
    """Whether a value of ``session_meta`` is what the schema lets through."""
    return isinstance(value, dict if key == PROVENANCE else str)


def _newest(sessions: Sequence[Json]) -> str | None:
    """The release that began the newest session that tells one."""
    told = [s["meta"] for s in sessions if isinstance(s["meta"].get("cli_version"), str)]
    newest = max(told, key=lambda meta: str(meta.get("timestamp")), default=None)
    return newest["cli_version"] if newest else None
