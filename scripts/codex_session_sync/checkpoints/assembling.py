"""Assembling: sessions of a listing, from the chains of packages that have them, as one package.

What comes out is a native package like any other, for the ordinary sync; its reader checks each
transcript against the links of its entries.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from .. import __version__
from ..codex.rollout import parse_name
from ..durable import temporary_folder
from ..errors import SessionError, StoreError
from ..lineage.fingerprint import FINGERPRINT_VERSION
from ..lineage.graph import ancestors_first, descent
from ..package.native import open_native
from ..package.native_manifest import Sessions, chain_part, manifest_head, rollout_part
from ..package.native_writer import NativeWriter
from ..package.sessions import Package
from ..store.place import Store
from .listing import Listed, Listing
from .stored import LIMITS, Held, Piece, Shelf, lost

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Assembled:
    """What an assembled package has: sessions by id, and why others are not in it."""

    sessions: tuple[str, ...]
    refused: tuple[SessionError, ...]


@contextmanager
def open_assembled(
    store: Store,
    listing: Listing,
    wanted: Collection[str],
    source: Path,
    progress: Progress | None = None,
) -> Iterator[tuple[Package, Assembled]]:
    """Sessions of a listing as an opened package, which is gone on leaving.

    ``source`` is what reports name as where it came from; ``progress`` is told of bytes of
    transcripts. Raises StoreError ``checkpoint_damaged`` where none of them is to be had.
    """
    with ExitStack() as stack:
        path = stack.enter_context(temporary_folder()) / "package"
        with path.open("x+b") as stream:
            made = assemble(store, listing, wanted, stream, progress)
        package = stack.enter_context(open_native(path, LIMITS))
        yield replace(package, tree=replace(package.tree, source=source)), made


def assemble(
    store: Store,
    listing: Listing,
    wanted: Collection[str],
    target: BinaryIO,
    progress: Progress | None = None,
) -> Assembled:
    """Write a native package with these sessions of a listing, and those that they descend from.

    ``target`` is an empty file. A session of which the store has lost something is left out. Raises
    StoreError ``checkpoint_damaged`` where none of those that are wanted is to be had.
    """
    with Shelf(store) as shelf:
        assembly = _Assembly(shelf, listing, target, progress)
        assembly.gather(wanted)
        assembly.write()
    made = tuple(assembly.written)
    refused = tuple(error for i, error in assembly.refused.items() if i in wanted)
    if not set(made) & set(wanted):
        first = refused[0] if refused else None
        raise StoreError(
            "checkpoint_damaged",
            first.message if first else "there is no session to bring",
            hint=first.hint if first else "`codex-session-sync checkpoint report` shows them",
        )
    return Assembled(made, refused)


@dataclass(slots=True)
class _Assembly:
    """A package on its way from the packages of a store."""

    shelf: Shelf
    listing: Listing
    target: BinaryIO
    progress: Progress | None
    written: list[str] = field(default_factory=list)
    refused: dict[str, SessionError] = field(default_factory=dict)
    _held: dict[str, Held] = field(default_factory=dict)
    _ways: dict[str, list[tuple[Piece, ...]]] = field(default_factory=dict)
    """By file the pieces that it can be put together from, what goes furthest first."""

    def gather(self, wanted: Collection[str]) -> None:
        """Find what there is of the sessions, and of those that they need."""
        pending = [i for i in wanted if i in self.listing.sessions]
        done = set(pending)
        while pending:
            session_id = pending.pop()
            listed = self.listing.sessions[session_id]
            try:
                held = self.shelf.held(listed)
            except SessionError as error:
                error.session_id = session_id
                self.refused[session_id] = error
                continue
            self._held[session_id] = held
            for file, pieces in held.files.items():
                ways = self._ways.setdefault(file, [])
                if pieces not in ways:
                    ways.append(pieces)
            for needed in _needs(listed, held):
                if needed in self.listing.sessions and needed not in done:
                    done.add(needed)
                    pending.append(needed)
        for ways in self._ways.values():
            ways.sort(key=lambda pieces: pieces[-1].end, reverse=True)

    def write(self) -> None:
        """Write the sessions, each after those that it descends from."""
        writer, sessions = NativeWriter(self.target), Sessions()
        metas = {i: held.entry["meta"] for i, held in self._held.items()}
        order = sorted(metas, key=lambda i: (_stamp(self.listing.sessions[i]), i))
        for session_id in ancestors_first(descent(metas), order):
            added: list[str] = []
            try:
                self._write_files(writer, session_id, added)
            except SessionError as error:
                writer.drop(added)
                error.session_id = session_id
                self.refused[session_id] = error
                continue
            held, listed = self._held[session_id], self.listing.sessions[session_id]
            if held.links:
                writer.add(chain_part(session_id), len(held.links), [held.links])
            history = [rollout_part(part.file) for part in listed.slices]
            entry = {key: value for key, value in held.entry.items() if key != "base"}
            row = entry["row"]
            sessions.add({**entry, "row": row and dict(row), "history": history})
            self.written.append(session_id)
        program = f"codex-session-sync {__version__}"
        head = manifest_head(sessions, self.listing.home, program)
        others = {self._held[i].fingerprint_version for i in self.written} - {FINGERPRINT_VERSION}
        if others:
            # Links of another version are not used: who reads the package computes all of them.
            head["fingerprint_version"] = min(others)
        writer.finish(head, sessions.pieces)

    def _write_files(self, writer: NativeWriter, session_id: str, added: list[str]) -> None:
        """Write the files of a session that are not there yet. Raises SessionError."""
        listed, held = self.listing.sessions[session_id], self._held[session_id]
        for part in listed.slices:
            name = rollout_part(part.file)
            if name not in writer.parts:
                self._write_file(writer, part.file, part.size)
                added.append(name)
            there = writer.parts[name]
            if there.size < part.size or (there.size == part.size and there.sha256 != part.sha256):
                raise lost(listed.chain[-1].package, f"{part.file} is not what it was")
        for file in held.files:
            parsed, name = parse_name(file), rollout_part(file)
            own = parsed is not None and parsed.thread_id == session_id
            if own and name not in writer.parts:
                self._write_file(writer, file, 0)
                added.append(name)

    def _write_file(self, writer: NativeWriter, file: str, least: int) -> None:
        """Write as much of a file as there is, ``least`` bytes at least. Raises SessionError."""
        problem: SessionError | None = None
        for pieces in self._ways.get(file, ()):
            size = pieces[-1].end
            if size < least:
                break
            try:
                writer.add(rollout_part(file), size, self._told(self.shelf.pieces(pieces)))
            except SessionError as error:
                problem = problem or error
            else:
                return
        raise problem or lost("", f"{file} is not whole")

    def _told(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            if self.progress:
                self.progress(len(piece))
            yield piece


def _needs(listed: Listed, held: Held) -> Iterator[str]:
    """The sessions that one inherits from, and the one that spawned it."""
    for part in listed.slices:
        parsed = parse_name(part.file)
        if parsed is not None:
            yield parsed.thread_id
    parent = held.entry["meta"].get("parent_thread_id")
    if isinstance(parent, str):
        yield parent


def _stamp(listed: Listed) -> str:
    parsed = parse_name(listed.slices[-1].file)
    return parsed.stamp if parsed else ""
