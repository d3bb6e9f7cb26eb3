"""Opening a store, and making one."""

from __future__ import annotations

import uuid
from pathlib import Path

import orjson

from .. import validation
from ..durable import sync_folder, write_atomic
from ..errors import StoreError
from ..locks import HOLDER, LOCK
from ..regular import read_regular
from .gate import gate
from .place import FORMAT, HEAD, Store, not_writable, unreadable


def open_store(path: Path) -> Store:
    """A store that is there.

    Raises StoreError: ``store_missing``, ``store_unreadable``, ``store_invalid``,
    ``store_version_unsupported``.
    """
    try:
        data = read_regular(path / HEAD)
    except FileNotFoundError as error:
        raise StoreError(
            "store_missing",
            f"there is no store at {path}",
            hint="name another one with --store DIR; `codex-session-sync checkpoint capture` makes "
            "one",
        ) from error
    except OSError as error:
        raise unreadable(path / HEAD, error) from error
    document = validation.parse("store", data, str(path / HEAD), StoreError)
    told = document.get("format")
    if isinstance(told, str) and told != FORMAT and told.startswith("codex-session-sync/store/"):
        raise StoreError(
            "store_version_unsupported",
            f"the store at {path} has the format {told}; this program knows {FORMAT}",
            hint="use the release of codex-session-sync that made it, or a later one",
        )
    validation.check("store", document, str(path / HEAD), StoreError)
    return Store(path, document["store_id"])


def make_store(path: Path) -> Store:
    """The store at ``path``, made if there is none.

    Two that make it at once both get the one that came last to be read. Raises StoreError as
    ``open_store`` does, and ``store_not_empty``, ``store_not_writable``.
    """
    try:
        return open_store(path)
    except StoreError as error:
        if error.code != "store_missing":
            raise
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise not_writable(path, error) from error
    with gate(path, "making the store"):
        try:
            if not (path / HEAD).exists():
                _require_empty(path)
                head = {"format": FORMAT, "store_id": str(uuid.uuid4())}
                write_atomic(path / HEAD, orjson.dumps(head, option=orjson.OPT_APPEND_NEWLINE))
                sync_folder(path.parent)
        except OSError as error:
            raise not_writable(path, error) from error
    return open_store(path)


def _require_empty(path: Path) -> None:
    """Raises StoreError ``store_not_empty`` where something else lies in the folder."""
    others = {entry.name for entry in path.iterdir()} - {LOCK, f"{LOCK}.held", HOLDER}
    if others:
        raise StoreError(
            "store_not_empty",
            f"{path} is no store, and holds {min(others)}",
            hint="name an empty folder, or one that is not there yet, with --store DIR",
        )
