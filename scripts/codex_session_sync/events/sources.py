"""What is imported: packages at paths, or in the store, in the order in which they build up."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..store.documents import Entry, checked_package, entries
from ..store.opening import find_store

_DIGEST = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True, slots=True)
class Source:
    """A package to be imported, by what it is called; its digest, if that is known already."""

    path: Path
    name: str
    digest: str | None = None


def sources_of(given: str, store_path: Path) -> list[Source]:
    """The packages that an argument means: what lies at a path, else a package of the store, told
    by the beginning of its digest.

    Raises UsageError ``package_ambiguous``, StoreError.
    """
    path = Path(given)
    store = None if path.exists() or not _DIGEST.fullmatch(given) else find_store(store_path)
    if store is None:
        return [Source(path, path.absolute().name)]
    found: list[Entry] = [one for one in entries(store, "package") if one.id.startswith(given)]
    if len(found) > 1:
        raise UsageError(
            "package_ambiguous",
            f"{given!r} may mean {len(found)} packages of the store: "
            f"{', '.join(one.id[:16] for one in found[:5])}",
            hint="give more of the digest",
        )
    if not found:
        return [Source(path, path.name)]
    [entry] = found
    return [Source(checked_package(store, entry), f"{entry.id[:12]}", entry.sha256)]
