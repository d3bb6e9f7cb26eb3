"""Repositories, stores and captures, as tests about checkpoints need them."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import package_by_spec as spec
from codex_session_sync.checkpoints.assembling import Assembled, assemble
from codex_session_sync.checkpoints.capture import Captured, capture
from codex_session_sync.checkpoints.finding import all_checkpoints, listing_of
from codex_session_sync.checkpoints.manifest import Manifest
from codex_session_sync.checkpoints.repository import Repository, find_repository
from codex_session_sync.errors import SessionError
from codex_session_sync.packing.gathering import gather
from codex_session_sync.packing.native import NativePacker
from codex_session_sync.packing.secrets import SecretScan
from codex_session_sync.packing.selection import with_ancestors
from codex_session_sync.store.gate import gate
from codex_session_sync.store.opening import make_store
from codex_session_sync.store.place import Store
from workbench import codex_home

Json = dict[str, Any]

IDENTITY = {
    "GIT_AUTHOR_NAME": "Alice",
    "GIT_AUTHOR_EMAIL": "alice@example.com",
    "GIT_COMMITTER_NAME": "Alice",
    "GIT_COMMITTER_EMAIL": "alice@example.com",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
}
PATH = "/usr/local/bin:/usr/bin:/bin"


def git(folder: Path, *arguments: str, check: bool = True, **variables: str) -> str:
    """What git says in a folder."""
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env={"PATH": PATH, "HOME": str(folder), **IDENTITY, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout.strip()


def new_repo(path: Path, *options: str) -> Path:
    """A repository without a commit."""
    path.mkdir(parents=True, exist_ok=True)
    git(path, "init", "-q", "-b", "main", *options)
    return path


def commit(repo: Path, message: str = "A change", **variables: str) -> str:
    """One more commit; its SHA."""
    git(repo, "commit", "-q", "--allow-empty", "-m", message, check=True, **variables)
    return git(repo, "rev-parse", "HEAD")


@dataclass(frozen=True)
class Place:
    """A home, a repository and a store below one folder."""

    root: Path

    @property
    def home(self) -> Path:
        """The Codex home."""
        return self.root / "home"

    @property
    def repo(self) -> Path:
        """The repository."""
        return self.root / "repo"

    def repository(self, folder: Path | None = None) -> Repository:
        """The repository, or another one, as the program knows it."""
        return find_repository(folder or self.repo, {"PATH": PATH, "HOME": str(self.root)})

    @property
    def store(self) -> Store:
        """The store, made if need be."""
        return make_store(self.root / "store")

    def capture(self, folder: Path | None = None, *, force: bool = False) -> Captured:
        """A checkpoint of the present commit."""
        repository, store = self.repository(folder), self.store
        with gate(store.path, "test"):
            return capture(
                store,
                codex_home(self.home),
                repository,
                repository.commit(),
                lambda: SecretScan(None),
                force=force,
            )

    def commit_and_capture(self) -> Captured:
        """A new commit and its checkpoint."""
        commit(self.repo)
        return self.capture()

    def assembled(
        self, manifest: Manifest, wanted: Collection[str] | None = None
    ) -> tuple[Assembled, dict[str, Json], dict[str, bytes]]:
        """What is put together of a checkpoint's sessions: what it tells, by id, and the parts."""
        listing = listing_of(self.store, manifest)
        target = io.BytesIO()
        made = assemble(self.store, listing, list(wanted or listing.sessions), target)
        document, parts = spec.read(target.getvalue())
        return made, {one["session_id"]: one for one in document["sessions"]}, parts

    def packed_whole(self) -> tuple[dict[str, Json], dict[str, bytes]]:
        """The home as a whole native package has it; what cannot be read is left out."""
        return whole(self.home)

    def manifests(self) -> list[Manifest]:
        """Those of all checkpoints, oldest first."""
        store = self.store
        return [found.manifest(store) for found in all_checkpoints(store)]


def whole(home: Path) -> tuple[dict[str, Json], dict[str, bytes]]:
    """The sessions of a home by id, as a whole native package tells of them, and its parts."""
    gathered, target = gather(codex_home(home)), io.BytesIO()
    packer = NativePacker(gathered, target, SecretScan(None))
    for session_id in with_ancestors(gathered, list(gathered.sessions)).ids:
        try:
            packer.add(gathered.sessions[session_id])
        except SessionError:
            continue
    packer.finish()
    document, parts = spec.read(target.getvalue())
    return {one["session_id"]: one for one in document["sessions"]}, parts


def of_session(entry: Json, parts: Mapping[str, bytes]) -> tuple[Json, list[bytes], bytes]:
    """What a package has of a session: what it tells, its files, its links."""
    chain = parts.get(f"chains/{entry['session_id']}", b"")
    return entry, [parts[name] for name in entry["history"]], chain
