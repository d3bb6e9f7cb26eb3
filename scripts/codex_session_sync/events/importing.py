"""An import: packages read, their lines drafted beside the store, then added to it at once."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import orjson

from ..durable import sync_all, sync_folder
from ..errors import SessionError
from ..journal.log import now
from ..model import Json, Notice
from ..package.members import unreadable
from ..package.sessions import Package
from ..package.staging import staging_errors
from ..regular import open_regular
from ..store.documents import entries
from ..store.gate import WAIT_SECONDS, gate
from ..store.lines import append_encoded
from ..store.opening import find_store, make_store
from ..store.place import Store, not_writable
from .drafting import Spool
from .event import EVENT_FORMAT
from .ledger import ledger_path, read_ledger
from .manifests import make_manifest, new_import_id, put_manifest
from .normalise import CURRENT, Normaliser
from .sources import Source
from .surveying import Desk, Progress, survey

COMMAND = "events import"

_CHUNK = 1 << 20

Opener = Callable[[Path], AbstractContextManager[Package]]


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did: its manifest, in force, and what is to be told of it."""

    manifest: Json
    notices: tuple[Notice, ...]
    refused: tuple[tuple[str, SessionError], ...]


def import_events(
    path: Path,
    sources: list[Source],
    opener: Opener,
    *,
    normaliser: Normaliser = CURRENT,
    progress: Progress | None = None,
    wait: float = WAIT_SECONDS,
) -> Imported:
    """Bring the events of packages, in their order, into the store at ``path``, made if need be.

    All that can be refused is refused before the store is touched. What a killed run leaves is
    valid: lines that the next one sees, without a manifest that tells of them. Raises PackageError
    where a package cannot be used as a whole, StoreError, UsageError.
    """
    import_id, started_at = new_import_id(), now()
    packages: list[Json] = []
    sessions: list[Json] = []
    with staging_errors(), tempfile.TemporaryFile() as stream:
        store = find_store(path)
        confirmed = {import_id, *_ended(store)}
        desk = Desk(store, Spool(stream), confirmed, normaliser, import_id, progress)
        notices: list[Notice] = []
        for number, source in enumerate(sources):
            digest = source.digest or _digest(source.path)
            with opener(source.path) as package:
                sessions += survey(package, number, digest, desk)
                packages.append(_told(package, source, digest))
                notices += package.notices
        store = make_store(path)
        with gate(store.path, COMMAND, wait):
            lineages = _append(store, desk, sessions)
            manifest = make_manifest(
                import_id, started_at, normaliser.version, packages, sessions, lineages
            )
            put_manifest(store, manifest)
    return Imported(manifest, (*notices, *desk.notices), tuple(desk.refused))


def _ended(store: Store | None) -> Iterator[str]:
    """The imports that have a manifest."""
    if store is not None:
        yield from (entry.id for entry in entries(store, "import"))


def _append(store: Store, desk: Desk, sessions: list[Json]) -> list[Json]:
    """Add what was drafted to the ledgers, durably; tells how long each one is by now."""
    drafted = set(desk.spool.lineages())
    told = {one["lineage_id"] for one in sessions if one.get("head")}
    ends: dict[str, int] = {}
    paths = []
    for lineage in sorted(drafted | told):
        ends[lineage] = desk.ends[lineage]
        if lineage in drafted:
            path = ledger_path(store, lineage)
            ends[lineage] = append_encoded(path, _new_lines(store, desk, lineage))
            paths.append(path)
    try:
        sync_all(paths)
        if store.events.is_dir():
            sync_folder(store.events)
        sync_folder(store.path)
    except OSError as error:
        raise not_writable(store.events, error) from error
    return [{"lineage_id": lineage, "end": end} for lineage, end in ends.items()]


def _new_lines(store: Store, desk: Desk, lineage: str) -> Iterator[bytes]:
    """The drafted lines of a lineage, but for events that another import added meanwhile."""
    since = {
        (line["event_id"], line["normaliser"])
        for _, _, line in read_ledger(store, lineage, desk.ends[lineage])
        if line["format"] == EVENT_FORMAT
    }
    if not since:
        yield from desk.spool.lines(lineage)
        return
    for data in desk.spool.lines(lineage):
        line = orjson.loads(data)
        if (line.get("event_id"), line["normaliser"]) not in since:
            yield data


def _told(package: Package, source: Source, digest: str | None) -> Json:
    """What a manifest says of a package."""
    return {
        "kind": package.kind,
        "container": package.tree.container,
        "name": source.name,
        "sha256": digest,
        "home": package.source_home,
        "sessions": len(package.sessions),
    }


def _digest(path: Path) -> str | None:
    """The SHA-256 of a package that is a file; None for a directory, or what is not there."""
    if not path.is_file():
        return None
    digest = hashlib.sha256()
    try:
        with open_regular(path, follow=True) as stream:
            while piece := stream.read(_CHUNK):
                digest.update(piece)
    except OSError as error:
        raise unreadable("the package", error) from error
    return digest.hexdigest()
