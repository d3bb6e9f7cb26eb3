"""Manifests of imports: what each run read, added, saw again and refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import orjson

from .. import __version__, validation
from ..errors import StoreError, UsageError
from ..lineage.fingerprint import FINGERPRINT_VERSION
from ..model import Json
from ..store.documents import Entry, entries, put_document, read_document
from ..store.place import Store

FORMAT = "codex-session-sync/import/1"
SCHEMA = "import_manifest"


def make_manifest(
    import_id: str,
    started_at: str,
    normaliser: int,
    packages: list[Json],
    sessions: list[Json],
    lineages: list[Json],
) -> Json:
    """The manifest of a run; ``lineages`` tells how long their ledgers are at its end."""
    taken = [one for one in sessions if "refused" not in one]
    return {
        "format": FORMAT,
        "import_id": import_id,
        "program": f"codex-session-sync {__version__}",
        "normaliser": normaliser,
        "fingerprint_version": FINGERPRINT_VERSION,
        "started_at": started_at,
        "packages": packages,
        "counts": {
            "sessions": len(taken),
            "refused": len(sessions) - len(taken),
            **{key: sum(one[key] for one in taken) for key in ("added", "seen", "orphaned")},
        },
        "lineages": lineages,
        "sessions": sessions,
    }


def put_manifest(store: Store, manifest: Json) -> Entry:
    """Write a manifest and put it in force. The gate must be held. Raises StoreError."""
    name = manifest["import_id"]
    data = orjson.dumps(manifest, option=orjson.OPT_APPEND_NEWLINE)
    return put_document(store, "import", name, store.imports / f"{name}.json", data)


def read_manifest(store: Store, entry: Entry) -> Json:
    """The manifest of a catalog's line. Raises StoreError."""
    document: Json = validation.load(SCHEMA, read_document(store, entry), entry.file, StoreError)
    return document


def find_import(store: Store, given: str) -> Entry:
    """The import that an id, or its beginning, means.

    Raises UsageError ``import_unknown`` or ``import_ambiguous``, StoreError.
    """
    found = [entry for entry in entries(store, "import") if given and entry.id.startswith(given)]
    return _only(found, given)


def _only(found: Iterable[Entry], given: str) -> Entry:
    candidates: Iterator[Entry] = iter(found)
    first = next(candidates, None)
    if first is None:
        raise UsageError(
            "import_unknown",
            f"there is no import {given!r} in this store",
            hint="`codex-session-sync events report` lists the imports",
        )
    others = [first.id, *(entry.id for entry in candidates)]
    if len(others) > 1:
        raise UsageError(
            "import_ambiguous",
            f"{given!r} may mean {len(others)} imports: {', '.join(others[:5])}",
            hint="give more of the id, or one of these",
        )
    return first
