"""Checkpoints as reports tell them, and which one is meant."""

from __future__ import annotations

import os
import re
from dataclasses import asdict
from pathlib import Path

from ..checkpoints.finding import Chosen, Found, choose
from ..checkpoints.manifest import Manifest
from ..checkpoints.repository import Repository, find_repository
from ..errors import HomeError, UsageError
from ..model import Json
from ..store.documents import Entry
from ..store.place import Store

HEAD = "HEAD"

_SHA = re.compile(r"[0-9a-f]{1,64}")


def checkpoint_json(
    manifest: Manifest, entry: Entry, *, replaced: bool = False, sessions: bool = True
) -> Json:
    """A checkpoint as reports have it, with its sessions or without."""
    origin = asdict(manifest.origin)
    return {
        "checkpoint_id": entry.id,
        "captured_at": manifest.captured_at,
        "repository": {key: origin[key] for key in ("key", "name", "remote", "worktree")},
        "commit": {key: origin[key] for key in ("sha", "at", "message", "branch")}
        | {"subject": manifest.origin.subject},
        "home": manifest.home,
        "listing": manifest.listing,
        "listed": manifest.listed,
        "package": manifest.package,
        "package_bytes": manifest.package_bytes,
        "before": manifest.before,
        "file": entry.file,
        "replaced": replaced,
        "related": len(manifest.related),
        **(
            {"sessions": [asdict(one) | {"went_on": one.went_on} for one in manifest.sessions]}
            if sessions
            else {}
        ),
    }


def chosen(store: Store, told: str, repo: Path | None) -> tuple[Chosen, Repository | None]:
    """The checkpoints that a commit, or a range of them, means, and the repository, if there is
    one.

    Raises UsageError, StoreError.
    """
    repository = repository_if_any(repo, needed=told == HEAD)
    return choose(store, told, repository), repository


def repository_if_any(repo: Path | None, *, needed: bool) -> Repository | None:
    """The repository that was named, else that of the current folder; None where there is none.

    Raises UsageError ``repository_missing`` if one is ``needed`` or was named, HomeError.
    """
    try:
        return find_repository(repo or Path(), os.environ)
    except (UsageError, HomeError):
        if needed or repo is not None:
            raise
        return None


def commit_meant(told: str) -> str:
    """A SHA or its beginning as it is; the SHA of what is a name in the current repository.

    Raises UsageError: ``repository_missing``, ``commit_unknown``, ``repository_empty``; HomeError.
    """
    if _SHA.fullmatch(told.lower()):
        return told.lower()
    repository = find_repository(Path(), os.environ)
    sha = repository.sha(told)
    if sha is None:
        raise repository.no_commit(told)
    return sha


def found_json(store: Store, found: Found, *, sessions: bool = True) -> Json:
    """A checkpoint of the catalog as reports have it. Raises StoreError."""
    manifest = found.manifest(store)
    return checkpoint_json(manifest, found.entry, replaced=found.replaced, sessions=sessions)
