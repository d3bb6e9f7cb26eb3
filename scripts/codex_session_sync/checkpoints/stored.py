"""Packages of a store as pieces of files: what a chain of deltas has of a session."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass, field
from typing import BinaryIO, Self

from ..codex.rollout import parse_name
from ..errors import PackageError, SessionError, StoreError
from ..model import Chain, Json
from ..package.members import Limits
from ..package.native_format import Part, contents, locate_manifest, manifest_text, parts_of, verify
from ..package.native_manifest import base_of, chain_part, load_manifest
from ..regular import open_regular
from ..store.documents import Entry, entries, path_of
from ..store.place import Store
from .listing import Listed

ROLLOUTS, TAILS = "rollouts/", "tails/"

LIMITS = Limits(files=10**9, total_bytes=1 << 60, file_bytes=1 << 60, ratio=1 << 40)
"""For packages that this program made of a home of the user's own."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes ``start`` to ``end`` of a rollout, which a part of a package has behind ``skip``."""

    package: str
    part: str
    skip: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Held:
    """What the packages of a chain have of a session.

    ``entry`` is what the newest of them tells of it, ``links`` are those of its entries, in some
    ``fingerprint_version``, ``files`` the pieces of each rollout, without gaps from its beginning
    on.
    """

    entry: Json
    links: bytes
    files: Mapping[str, tuple[Piece, ...]]
    fingerprint_version: int


@dataclass(frozen=True, slots=True)
class StoredPackage:
    """A package that is open, its manifest read."""

    stream: BinaryIO
    parts: Mapping[str, Part]
    sessions: Mapping[str, Json]
    fingerprint_version: int

    def files_of(self, session_id: str) -> Iterator[str]:
        """The names of the parts with files of a session, those of its history first."""
        history = self.sessions[session_id]["history"]
        yield from history
        for name in self.parts:
            if name.startswith(ROLLOUTS) and name not in history and _thread(name) == session_id:
                yield name


@dataclass(slots=True)
class Shelf:
    """The packages of a store, opened as they are needed; closed on leaving."""

    store: Store
    _known: dict[str, Entry] = field(default_factory=dict)
    _open: dict[str, StoredPackage | SessionError] = field(default_factory=dict)
    _sound: dict[tuple[str, str], bool] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self._known = {entry.id: entry for entry in entries(self.store, "package")}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def entry(self, digest: str) -> Entry | None:
        """The catalog's line of a package."""
        return self._known.get(digest)

    def add(self, entry: Entry) -> None:
        """Have a package that came into the store since."""
        self._known[entry.id] = entry
        self._open.pop(entry.id, None)

    def package(self, digest: str) -> StoredPackage:
        """A package by its digest. Raises SessionError ``checkpoint_damaged``."""
        found = self._open.get(digest)
        if found is None:
            try:
                found = self._opened(digest)
            except SessionError as error:
                found = error
            self._open[digest] = found
        if isinstance(found, SessionError):
            # Who catches it notes which session it is about.
            raise copy(found)
        return found

    def held(self, listed: Listed) -> Held:
        """What there is of a session. Raises SessionError ``checkpoint_damaged``."""
        files: dict[str, tuple[Piece, ...]] = {}
        links, entry = b"", {}
        for link in listed.chain:
            package, session_id = self.package(link.package), link.of or listed.session_id
            if session_id not in package.sessions:
                raise lost(link.package, f"it has nothing of the session {session_id}")
            entry = package.sessions[session_id]
            for name in package.files_of(session_id):
                _add(files, link.package, package.parts[name])
            links = self._links(link.package, entry, links)
        if len(links) != listed.entries * Chain.LINK_BYTES or entry["head"] != listed.head:
            raise lost(listed.chain[-1].package, "it has other entries than its listing says")
        return Held(entry, links, files, self.package(listed.chain[-1].package).fingerprint_version)

    def pieces(self, chosen: tuple[Piece, ...]) -> Iterator[bytes]:
        """The bytes of a rollout. Raises SessionError ``checkpoint_damaged``."""
        for piece in chosen:
            package = self.package(piece.package)
            skip, left = piece.skip, piece.end - piece.start
            try:
                for data in contents(package.stream, package.parts[piece.part], LIMITS):
                    taken = data[skip : skip + left]
                    skip, left = max(0, skip - len(data)), left - len(taken)
                    yield taken
            except PackageError as error:
                raise lost(piece.package, error.message) from error

    def sound(self, listed: Listed) -> Held | None:
        """What there is of a session, if all of it is as it was written."""
        try:
            held = self.held(listed)
            for pieces in held.files.values():
                for piece in pieces:
                    self._verify(piece.package, piece.part)
        except SessionError:
            return None
        return held

    def _verify(self, digest: str, part: str) -> None:
        key, package = (digest, part), self.package(digest)
        if key not in self._sound:
            try:
                verify(package.stream, package.parts[part])
            except PackageError as error:
                raise lost(digest, error.message) from error
            self._sound[key] = True

    def _links(self, digest: str, entry: Json, before: bytes) -> bytes:
        """The links of a session, whose first ones, as far as its entry leaves out, come before."""
        package, base = self.package(digest), base_of(entry)
        left_out = base.entries * Chain.LINK_BYTES if base else 0
        if base is not None and before[:left_out][-Chain.LINK_BYTES :].hex() != base.head:
            raise lost(digest, "what it continues is not in the packages before it")
        part = package.parts.get(chain_part(entry["session_id"]))
        try:
            own = b"".join(contents(package.stream, part, LIMITS)) if part else b""
        except PackageError as error:
            raise lost(digest, error.message) from error
        return before[:left_out] + own

    def _opened(self, digest: str) -> StoredPackage:
        entry = self._known.get(digest)
        if entry is None:
            raise lost(digest, "the catalog does not have it")
        try:
            stream = self._stack.enter_context(open_regular(path_of(self.store, entry)))
            where = locate_manifest(stream)
            document = load_manifest(lambda: manifest_text(stream, where, LIMITS))
            parts = parts_of(document["parts"], where, LIMITS)
        except OSError as error:
            raise lost(digest, str(error.strerror or error)) from error
        except (PackageError, StoreError) as error:
            raise lost(digest, error.message) from error
        sessions = {one["session_id"]: one for one in document["sessions"]}
        return StoredPackage(stream, parts, sessions, document["fingerprint_version"])


def lost(digest: str, why: str) -> SessionError:
    """``checkpoint_damaged``: a package that has part of a session cannot be used."""
    return SessionError(
        "checkpoint_damaged",
        f"the package {digest[:12]} of the store, which has part of it, cannot be used: {why}",
        hint="restore that file from a backup of the store; what the home still has, the next "
        "`codex-session-sync checkpoint capture` takes whole",
    )


def _add(files: dict[str, tuple[Piece, ...]], digest: str, part: Part) -> None:
    """Take in what a part has of a rollout. Raises SessionError."""
    file = part.name.rsplit("/", 1)[-1]
    if part.name.startswith(ROLLOUTS):
        files[file] = (Piece(digest, part.name, 0, 0, part.size),)
        return
    start, end = map(int, part.name.split("/")[1].split("-"))
    known, head = files.get(file, ()), part.size - (end - start)
    if start == head:
        # The record that the file begins with, and all that follows it.
        files[file] = (Piece(digest, part.name, 0, 0, end),)
        return
    if not known or known[-1].end < start:
        raise lost(digest, f"what comes before byte {start} of {file} is not there")
    if known[-1].end >= end:
        # A base ends in the file only where what there was of it is still its beginning.
        return
    kept = [
        Piece(one.package, one.part, one.skip, one.start, min(one.end, start))
        for one in known
        if one.start < start
    ]
    files[file] = (*kept, Piece(digest, part.name, head, start, end))


def _thread(part: str) -> str | None:
    parsed = parse_name(part.rsplit("/", 1)[-1])
    return parsed.thread_id if parsed else None
