"""An import: packages read, their lines drafted beside the store, then added to it at once."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..durable import sync_all, sync_folder
from ..errors import SessionError
from ..model import Json, Notice
from ..moments import new_id, now
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
from .ledger import ledger_path, read_ledger
from .manifests import make_manifest, put_manifest
from .normalise import CURRENT, Normaliser
from .sources import Source
from .surveying import Desk, Progress, survey

COMMAND = "events import"

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
    run = _Run(path, sources, opener, normaliser, new_id(), now(), progress)
    with staging_errors(), tempfile.TemporaryFile() as stream:
        draft = run.draft(stream)
        store = make_store(path)
        with gate(store.path, COMMAND, wait):
            if _has_grown(store, draft.desk):
                # Somebody added to the same lineages meanwhile: what is new is less by that.
                draft = run.draft(stream)
            lineages = _append(store, draft)
            manifest = make_manifest(
                run.import_id,
                run.started_at,
                normaliser.version,
                draft.packages,
                draft.sessions,
                lineages,
            )
            put_manifest(store, manifest)
    desk = draft.desk
    return Imported(manifest, tuple(desk.notices), tuple(desk.refused))


@dataclass(frozen=True, slots=True)
class _Draft:
    """What an import is to add, and what its manifest is to say."""

    desk: Desk
    packages: list[Json]
    sessions: list[Json]


@dataclass(frozen=True, slots=True)
class _Run:
    """One import."""

    path: Path
    sources: list[Source]
    opener: Opener
    normaliser: Normaliser
    import_id: str
    started_at: str
    progress: Progress | None

    def draft(self, stream: BinaryIO) -> _Draft:
        """Read all packages; the lines that they bring are all that is in ``stream`` then."""
        stream.seek(0)
        stream.truncate()
        store = find_store(self.path)
        confirmed = {self.import_id, *_ended(store)}
        spool = Spool(stream)
        desk = Desk(store, spool, confirmed, self.normaliser, self.import_id, self.progress)
        found = _Draft(desk, [], [])
        for number, source in enumerate(self.sources):
            digest = source.digest or _digest(source.path)
            with self.opener(source.path) as package:
                found.sessions.extend(survey(package, number, digest, desk))
                found.packages.append(_told(package, source, digest))
                desk.notices += package.notices
        return found


def _ended(store: Store | None) -> Iterator[str]:
    """The imports that have a manifest."""
    if store is not None:
        yield from (entry.id for entry in entries(store, "import"))


def _has_grown(store: Store, desk: Desk) -> bool:
    """Whether the ledgers that lines were drafted for have more than was read of them."""
    return any(
        next(read_ledger(store, lineage, desk.ends[lineage]), None) is not None
        for lineage in desk.spool.lineages()
    )


def _append(store: Store, draft: _Draft) -> list[Json]:
    """Add what was drafted to the ledgers, durably; tells how long each one is by now."""
    spool = draft.desk.spool
    drafted = spool.lineages()
    ends = {
        one["lineage_id"]: draft.desk.ends[one["lineage_id"]]
        for one in draft.sessions
        if one.get("head")
    }
    paths = []
    for lineage in drafted:
        path = ledger_path(store, lineage)
        ends[lineage] = append_encoded(path, spool.lines(lineage))
        paths.append(path)
    try:
        sync_all(paths)
        for folder in (store.events, store.path):
            if folder.is_dir():
                sync_folder(folder)
    except OSError as error:
        raise not_writable(store.events, error) from error
    return [{"lineage_id": lineage, "end": end} for lineage, end in sorted(ends.items())]


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
    try:
        with open_regular(path, follow=True) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise unreadable("the package", error) from error
