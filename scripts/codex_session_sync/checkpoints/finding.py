"""Finding checkpoints in a store: by a SHA or its beginning, by a name or a range of commits."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass

from ..errors import StoreError, UsageError
from ..store.documents import Entry, entries, path_of, read_document
from ..store.place import Store
from .listing import Listing, read_listing
from .manifest import Manifest, decoded
from .repository import Repository

_HEX = re.compile(r"[0-9a-f]{4,64}")

LOOK_BACK = 100
"""Among how many of the last checkpoints the one is looked for that a home was captured by last."""


@dataclass(frozen=True, slots=True)
class Found:
    """A checkpoint of the catalog, in force unless it was ``replaced`` by a later one."""

    entry: Entry
    replaced: bool = False

    @property
    def repository_id(self) -> str:
        """Which repository it is of."""
        return self.entry.id.partition("/")[0]

    @property
    def sha(self) -> str:
        """Which commit it is of."""
        return self.entry.id.partition("/")[2]

    def manifest(self, store: Store) -> Manifest:
        """What it says. Raises StoreError."""
        return decoded(read_document(store, self.entry), str(path_of(store, self.entry)))


@dataclass(frozen=True, slots=True)
class Chosen:
    """The checkpoints that were asked for; ``missing``: commits among them that have none."""

    found: tuple[Found, ...]
    missing: tuple[str, ...] = ()


def checkpoint_id(repository_id: str, sha: str) -> str:
    """What the catalog knows a checkpoint by."""
    return f"{repository_id}/{sha}"


def all_checkpoints(store: Store) -> list[Found]:
    """Every checkpoint, oldest first. Raises StoreError."""
    known = list(entries(store, "checkpoint"))
    last = {entry.id: entry for entry in known}
    return [Found(entry, replaced=last[entry.id] is not entry) for entry in known]


def in_force(store: Store) -> dict[str, Found]:
    """The checkpoints in force by their ids, oldest first. Raises StoreError."""
    return {found.entry.id: found for found in all_checkpoints(store) if not found.replaced}


def of_repository(store: Store, repository: Repository) -> list[Found]:
    """The checkpoints of a repository, or of commits that it has, replaced ones too."""
    every = all_checkpoints(store)
    others = {one.sha for one in every if one.repository_id != repository.id}
    here = repository.known(others)
    return [one for one in every if one.repository_id == repository.id or one.sha in here]


def choose(store: Store, told: str, repository: Repository | None) -> Chosen:
    """The checkpoints in force of what ``told`` names: a commit, or with ``..`` a range of them.

    Without a repository only SHAs and their beginnings are understood. Raises UsageError:
    ``checkpoint_missing``, ``commit_ambiguous``, ``commit_unknown``, ``repository_missing``;
    StoreError.
    """
    known = in_force(store)
    if ".." in told:
        if repository is None:
            raise UsageError(
                "repository_missing",
                f"which commits {told!r} are, only a repository tells",
                hint="go to the repository, or name it: `codex-session-sync AGAIN --repo DIR`",
            )
        shas = repository.between(told)
        found = [one for sha in shas if (one := _of(known, sha, repository)) is not None]
        if not found:
            raise _missing(told, "none of these commits has a checkpoint")
        there = {one.sha for one in found}
        return Chosen(tuple(found), tuple(sha for sha in shas if sha not in there))
    sha = repository.sha(told) if repository is not None else None
    sha = sha or _by_beginning(known, told)
    if sha is None:
        if repository is not None:
            raise repository.no_commit(told)
        raise _missing(told, "the store has no checkpoint of it")
    one = _of(known, sha, repository)
    if one is None:
        raise _none_of(known, sha, repository)
    return Chosen((one,))


def listing_of(store: Store, manifest: Manifest) -> Listing:
    """What the home held when a checkpoint was made. Raises StoreError."""
    return read_listing(store, manifest.listing)


def last_listing(store: Store, home: str | None, likely: str | None) -> tuple[str, Listing] | None:
    """The listing made last of a home, with its digest; None where none is found soon.

    ``likely`` is the digest of one that may be it. An older one, or none, costs bytes and time.
    """
    with suppress(StoreError):
        if likely is not None and (listing := read_listing(store, likely)).home == home:
            return likely, listing
    for found in all_checkpoints(store)[-LOOK_BACK:][::-1]:
        with suppress(StoreError):
            manifest = found.manifest(store)
            if manifest.home == home:
                return manifest.listing, read_listing(store, manifest.listing)
    return None


def _of(known: dict[str, Found], sha: str, repository: Repository | None) -> Found | None:
    """The checkpoint of a commit: that of the repository, else the last of any."""
    own = known.get(checkpoint_id(repository.id, sha)) if repository else None
    others = [one for one in known.values() if one.sha == sha]
    return own or (others[-1] if others else None)


def _by_beginning(known: dict[str, Found], told: str) -> str | None:
    """The commit with a checkpoint whose SHA begins so. Raises UsageError ``commit_ambiguous``."""
    if not _HEX.fullmatch(told.lower()):
        return None
    shas = sorted({one.sha for one in known.values() if one.sha.startswith(told.lower())})
    if len(shas) > 1:
        raise UsageError(
            "commit_ambiguous",
            f"{told!r} may mean {len(shas)} commits: {', '.join(sha[:12] for sha in shas[:5])}",
            hint="give more of the SHA",
        )
    return shas[0] if shas else None


def _none_of(known: dict[str, Found], sha: str, repository: Repository | None) -> UsageError:
    """``checkpoint_missing``, with the nearest commit before it that has one."""
    before = repository.before(sha, {one.sha for one in known.values()}) if repository else ()
    if not before:
        return _missing(
            sha[:12], "the store has no checkpoint of it, nor of a commit that led to it"
        )
    nearest, distance = before[0]
    steps = "the commit before it" if distance == 1 else f"{distance} commits earlier"
    return UsageError(
        "checkpoint_missing",
        f"the store has no checkpoint of {sha[:12]}; the nearest one before it is that of "
        f"{nearest[:12]}, {steps}",
        hint=f"`codex-session-sync checkpoint report --commit {nearest[:12]}` shows that one",
    )


def _missing(told: str, why: str) -> UsageError:
    return UsageError(
        "checkpoint_missing",
        f"{told[:40]}: {why}",
        hint="`codex-session-sync checkpoint list --all` shows which there are; "
        "`codex-session-sync checkpoint capture` makes that of a repository's present commit",
    )
