"""The documents of a store: each a file that never changes, in force from its catalog line on."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ..durable import TEMPORARY, safe_join, sync_file, sync_folder, temporary_folder, write_atomic
from ..errors import HomeError, StoreError
from ..model import Json
from ..moments import now
from ..regular import open_regular, read_regular
from .lines import append_lines, damaged, read_lines
from .place import Store, not_writable, unreadable

CATALOG_FORMAT = "codex-session-sync/store-catalog/1"

Kind = Literal["package", "listing", "checkpoint", "import"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the catalog: what a document is, since when, and where it lies.

    ``id`` is unique within a kind but for checkpoints, of which the last one is in force; ``at`` is
    in UTC; ``file`` is relative to the store, with ``/``.
    """

    kind: Kind
    id: str
    at: str
    file: str
    sha256: str


def entries(store: Store, kind: Kind | None = None) -> Iterator[Entry]:
    """The catalog, or its lines of one kind, oldest first. Raises as ``read_lines`` does."""
    for line in read_lines(store.catalog, "store_catalog"):
        if kind is None or line["kind"] == kind:
            yield entry_of(line)


def entry_of(line: Json) -> Entry:
    """A line of the catalog, which fits its schema."""
    return Entry(line["kind"], line["id"], line["at"], line["file"], line["sha256"])


def record(store: Store, kind: Kind, name: str, file: Path, sha256: str) -> Entry:
    """Put a document that is written, durably, in force. The gate must be held."""
    relative = file.relative_to(store.path).as_posix()
    entry = Entry(kind, name, now(), relative, sha256)
    append_lines(store.catalog, [{"format": CATALOG_FORMAT, **asdict(entry)}])
    return entry


def put_document(store: Store, kind: Kind, name: str, file: Path, data: bytes) -> Entry:
    """Write a small document and put it in force. The gate must be held.

    A file that is there already was left by a process that was killed before it was in force, and
    so were temporary ones. Raises StoreError ``store_not_writable``.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        for left in file.parent.glob(TEMPORARY):
            left.unlink()
        write_atomic(file, data)
        sync_folder(file.parent.parent)
    except OSError as error:
        raise not_writable(file, error) from error
    return record(store, kind, name, file, hashlib.sha256(data).hexdigest())


def read_document(store: Store, entry: Entry) -> bytes:
    """A document as it was written. Raises StoreError ``store_damaged``, ``store_unreadable``."""
    path = path_of(store, entry)
    try:
        data = read_regular(path)
    except FileNotFoundError as error:
        raise damaged(path, None, "is gone") from error
    except OSError as error:
        raise unreadable(path, error) from error
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise damaged(path, None, "is not as it was written")
    return data


def path_of(store: Store, entry: Entry) -> Path:
    """Where a document lies. Raises StoreError ``store_damaged`` if that is outside the store."""
    try:
        return safe_join(store.path, entry.file)
    except HomeError as error:
        raise damaged(store.catalog, None, f"names {entry.file!r}: {error.message}") from error


@contextmanager
def staging_folder(store: Store) -> Iterator[Path]:
    """A folder in the store for what is to be a document; what is left in it goes.

    The gate must be held: what killed processes left goes as well. Raises StoreError
    ``store_not_writable``.
    """
    folder = store.path / "staging"
    try:
        folder.mkdir(exist_ok=True)
        for left in folder.iterdir():
            shutil.rmtree(left)
    except OSError as error:
        raise not_writable(folder, error) from error
    with temporary_folder("", folder) as path:
        yield path


def put_package(store: Store, staged: Path) -> Entry:
    """Take a package into the store, under its SHA-256; one that is there already stays as it is.

    Where that is damaged or gone, this one takes its place. ``staged`` lies in a
    ``staging_folder``. The gate must be held. Raises StoreError ``store_not_writable``,
    ``store_damaged``.
    """
    with staged.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    known = package(store, digest)
    if known is not None and _is_whole(store, known):
        return known
    target = store.packages / digest[:2] / f"{digest}.csync"
    try:
        sync_file(staged)
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.chmod(0o444)
        staged.replace(target)
        for folder in (target.parent, store.packages, store.path):
            sync_folder(folder)
    except OSError as error:
        raise not_writable(target, error) from error
    return known or record(store, "package", digest, target, digest)


def _is_whole(store: Store, entry: Entry) -> bool:
    try:
        checked_package(store, entry)
    except StoreError:
        return False
    return True


def package(store: Store, digest: str) -> Entry | None:
    """The catalog's line of a package; None if the store does not have it."""
    return next((e for e in entries(store, "package") if e.id == digest), None)


def checked_package(store: Store, entry: Entry) -> Path:
    """A package whose bytes are as they were. Raises StoreError ``store_damaged``."""
    path = path_of(store, entry)
    try:
        with open_regular(path) as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise damaged(path, None, "is gone") from error
    except OSError as error:
        raise unreadable(path, error) from error
    if digest != entry.sha256:
        raise damaged(path, None, "is not as it was written")
    return path
