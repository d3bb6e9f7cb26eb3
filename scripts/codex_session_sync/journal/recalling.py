"""What the journal remembers of the machines that packages came from.

A sync writes into its manifest which home its package was from and the rules in force, so a
rollback takes them back with all else.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson

from ..model import Json
from ..regular import NotAFileError, read_regular
from .log import MANIFEST, TRANSACTIONS, Journal

_STANDING = ("completed", "partial", "recovered")
_DONE = frozenset({"imported", "fast_forwarded", "branched"})


def remembered_rules(sync_dir: Path, source_home: str) -> Json | None:
    """The rules of the newest transaction with a package of this origin of which something stands.

    Manifests are read newest first and no further than that one; of those that are neither of this
    origin nor rollbacks nothing is parsed.
    """
    undone: dict[str, list[Json]] = {}
    for manifest in _of_interest(sync_dir, source_home):
        transaction_id = str(manifest.get("transaction_id"))
        effective = _effective(manifest, undone.get(transaction_id, ()))
        if manifest.get("kind") == "rollback":
            undone.setdefault(str(manifest.get("rolls_back")), []).extend(effective)
        elif effective and manifest.get("source_home") == source_home:
            rules = manifest.get("rules")
            return rules if isinstance(rules, dict) else None
    return None


def _of_interest(sync_dir: Path, source_home: str) -> Iterator[Json]:
    marks = [b'"source_home": ' + orjson.dumps(source_home), b'"kind": "rollback"']
    for transaction_id in Journal(sync_dir).newest():
        try:
            data = read_regular(sync_dir / TRANSACTIONS / transaction_id / MANIFEST)
            manifest = orjson.loads(data) if any(mark in data for mark in marks) else None
        except (orjson.JSONDecodeError, NotAFileError):
            continue
        if isinstance(manifest, dict):
            yield manifest


def _effective(manifest: Json, undone: tuple[Json, ...] | list[Json]) -> list[Json]:
    """The sessions of a transaction that it changed and that no later rollback undid."""
    gone = {session.get("session_id") for session in undone}
    done = _DONE if manifest.get("kind") != "rollback" else {"undone"}
    return [
        session
        for session in manifest.get("sessions", ())
        if manifest.get("status") in _STANDING
        and session.get("result") in done
        and session.get("session_id") not in gone
    ]
