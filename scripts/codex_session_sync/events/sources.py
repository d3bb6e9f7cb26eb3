"""What is imported: packages at paths, in the store, or behind checkpoints, in the order in which
they build up."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..checkpoints.finding import choose, listing_of
from ..checkpoints.repository import Repository
from ..errors import UsageError
from ..store.documents import Entry, checked_package, entries
from ..store.opening import find_store
from ..store.place import Store

_DIGEST = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True, slots=True)
class Source:
    """A package to be imported, by what it is called; its digest, if that is known already."""

    path: Path
    name: str
    digest: str | None = None


def sources_of(
    given: str, store_path: Path, repository: Callable[[], Repository | None]
) -> list[Source]:
    """The packages that an argument means: what lies at a path, else a package of the store, told
    by the beginning of its digest, else those behind the checkpoints of a commit or a range.

    ``repository`` knows names of commits. Raises UsageError ``package_ambiguous`` and
    ``commit_ambiguous``, StoreError.
    """
    path = Path(given)
    store = None if path.exists() else find_store(store_path)
    if store is None:
        return [Source(path, path.absolute().name)]
    found = _packages(store, given) if _DIGEST.fullmatch(given) else []
    if not found:
        found = _behind(store, given, repository())
    return [_source(store, one) for one in found] or [Source(path, path.name)]


def _source(store: Store, entry: Entry) -> Source:
    return Source(checked_package(store, entry), entry.id[:12], entry.sha256)


def _behind(store: Store, told: str, repository: Repository | None) -> list[Entry]:
    """The packages that have the sessions of checkpoints; none where ``told`` names none."""
    try:
        chosen = choose(store, told, repository)
    except UsageError as error:
        if error.code == "commit_ambiguous":
            raise
        return []
    listings = [listing_of(store, found.manifest(store)) for found in chosen.found]
    needed = {
        link.package
        for listing in listings
        for listed in listing.sessions.values()
        for link in listed.chain
    }
    return [entry for entry in entries(store, "package") if entry.id in needed]


def _packages(store: Store, given: str) -> list[Entry]:
    """The package whose digest begins so, if there is one. Raises UsageError."""
    found = [one for one in entries(store, "package") if one.id.startswith(given)]
    if len(found) > 1:
        raise UsageError(
            "package_ambiguous",
            f"{given!r} may mean {len(found)} packages of the store: "
            f"{', '.join(one.id[:16] for one in found[:5])}",
            hint="give more of the digest",
        )
    return found
