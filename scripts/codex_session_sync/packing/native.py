"""A native package from the sessions of a home: original files, chains, and a manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

import zstandard

from .. import __version__
from ..codex.inventory import changed, head_line, invalid, open_rollout
from ..model import (
    Base,
    Chain,
    Outline,
    PackagedSession,
    RolloutFile,
    ScannedSlice,
    Transcript,
)
from ..package.native_manifest import (
    Sessions,
    chain_part,
    manifest_head,
    rollout_part,
    session_entry,
    tail_part,
)
from ..package.native_writer import NativeWriter
from ..transcript import scan
from .gathering import Gathered
from .secrets import SecretScan

Progress = Callable[[int], None]

_CHUNK = 1 << 20

TITLE = 120
"""How much of a title reports show."""


class Elsewhere(Protocol):
    """What those have whom a package is for, so that it can be left out."""

    def base_of(self, transcript: Transcript) -> Base | None:
        """The longest beginning of a session that they surely have."""

    def has(self, session: PackagedSession, transcript: Transcript, home: str | None) -> bool:
        """Whether they have all of a session of ``home``, and what is told of it."""


@dataclass(frozen=True, slots=True)
class Packed:
    """One session as it went into a package: what reports tell of it.

    ``title`` is what it is best known by; ``base``: what of its entries the package leaves out.
    """

    session_id: str
    name: str | None
    title: str | None
    archived: bool
    entries: int
    turns: int
    last_timestamp: str | None
    size: int
    base: Base | None = None


def summary(
    session: PackagedSession, outline: Outline, size: int, base: Base | None = None
) -> Packed:
    """A session that was packed, without its records; ``size`` is that of those in the package."""
    facts = outline.facts
    known = session.name or (session.row or {}).get("title") or facts.first_user_message
    title = " ".join(str(known).split())[:TITLE] if known else None
    return Packed(
        session.session_id,
        session.name,
        title,
        session.archived,
        len(outline.chain),
        facts.turns,
        facts.last_timestamp,
        size,
        base,
    )


@dataclass(slots=True)
class NativePacker:
    """Packs sessions one by one into ``target``, an empty file; memory grows by their number.

    Of what the other side has by ``known`` only what it lacks goes in.
    """

    home: Gathered
    target: BinaryIO
    secrets: SecretScan
    progress: Progress | None = None
    known: Elsewhere | None = None
    _writer: NativeWriter = field(init=False)
    _sessions: Sessions = field(default_factory=Sessions)

    def __post_init__(self) -> None:
        self._writer = NativeWriter(self.target)

    def add(self, session: PackagedSession, *, chosen: bool = True) -> Packed | None:
        """Pack one session with its older files, and what it continues; None if it is left out.

        One that is not ``chosen``, but needed, is left out if the other side has any of it. Raises
        SessionError if it cannot be read; then nothing of it is in the package.
        """
        assert session.file is not None
        transcript = scan(session.file, self.home.rollouts.segment, self.progress)
        if self._is_known(session, transcript):
            return None
        base = self.known.base_of(transcript) if self.known else None
        if base and not chosen:
            return None
        added: list[str] = []
        try:
            if base:
                history, size = self._add_tail(transcript, base, added)
            else:
                history, size = self._add_files(session, transcript, added), transcript.size
            links = transcript.chain.links[base.entries * Chain.LINK_BYTES if base else 0 :]
            if links:
                name = chain_part(session.session_id)
                self._writer.add(name, len(links), [links])
                added.append(name)
        except BaseException:
            self._writer.drop(added)
            self.secrets.forget(added)
            raise
        self._sessions.add(session_entry(session, transcript, history, transcript.size, base))
        return summary(session, transcript, size, base)

    def finish(self) -> None:
        """Write what makes the file a package."""
        program = f"codex-session-sync {__version__}"
        sessions = self._sessions
        head = manifest_head(sessions, self.home.installation_id, program)
        self._writer.finish(head, sessions.pieces)

    def _is_known(self, session: PackagedSession, transcript: Transcript) -> bool:
        home = self.home.installation_id
        return self.known is not None and self.known.has(session, transcript, home)

    def _add_tail(
        self, transcript: Transcript, base: Base, added: list[str]
    ) -> tuple[list[str], int]:
        """Add what follows ``base``: the names of the parts it lies in, and its bytes."""
        place, end = 0, transcript.ends[base.entries - 1]
        parts = list(transcript.slices)
        while len(parts) > 1 and place + parts[0].size <= end:
            place += parts.pop(0).size
        oldest, *later = parts
        head = head_line(oldest.slice.file)
        if head is None:
            raise changed(oldest.slice.file)
        start = max(end - place, head.offset + len(head.data))
        name = tail_part(oldest.slice.file.name, start, oldest.size)
        if name not in self._writer.parts:
            size = len(head.data) + oldest.size - start
            self._writer.add(name, size, self._tail(oldest, head.data, start, name))
            added.append(name)
        for part in later:
            if rollout_part(part.slice.file.name) not in self._writer.parts:
                # Others' files are whole; what Codex adds to its own one meanwhile waits.
                is_tip = part is transcript.slices[-1]
                known = (part.size, part.sha256) if is_tip else _measured(part.slice.file)
                self._add(part.slice.file, *known, added)
        history = [name, *(rollout_part(part.slice.file.name) for part in later)]
        return history, oldest.size - start + sum(part.size for part in later)

    def _tail(self, part: ScannedSlice, head: bytes, start: int, name: str) -> Iterator[bytes]:
        """The head of a file and its bytes from ``start`` on, if all is as it was scanned."""
        file = part.slice.file
        yield from self.secrets.watch(file.thread_id, name, [head])
        digest = hashlib.sha256()
        place, line = 0, 1
        with ExitStack() as stack:
            look: Callable[[bytes], None] | None = None
            for piece in self._content(file, part.size):
                digest.update(piece)
                cut = min(max(0, start - place), len(piece))
                line += piece.count(b"\n", 0, cut)
                place += len(piece)
                if cut < len(piece):
                    if look is None:
                        watched = self.secrets.watched(file.thread_id, name, line)
                        look = stack.enter_context(watched)
                    look(piece[cut:])
                    yield piece[cut:]
        if digest.hexdigest() != part.sha256:
            raise changed(file)

    def _add_files(
        self, session: PackagedSession, transcript: Transcript, added: list[str]
    ) -> list[str]:
        """Add the files that are not in the package yet; their names go to ``added``.

        Returns the names of the parts that the session's history goes through.
        """
        tip = transcript.slices[-1]
        inherited = [part.slice.file for part in transcript.slices[:-1]]
        older = [f for f in self.home.rollouts.files(session.session_id) if f != tip.slice.file]
        for file in dict.fromkeys((*inherited, *older)):
            if rollout_part(file.name) not in self._writer.parts:
                self._add(file, *_measured(file), added)
        known = self._writer.parts.get(rollout_part(tip.slice.file.name))
        if known is None:
            self._add(tip.slice.file, tip.size, tip.sha256, added)
        elif known.sha256 != tip.sha256:
            raise changed(tip.slice.file)
        return [rollout_part(part.slice.file.name) for part in transcript.slices]

    def _add(self, file: RolloutFile, size: int, sha256: str, added: list[str]) -> None:
        name = rollout_part(file.name)
        pieces = self.secrets.watch(file.thread_id, name, self._content(file, size))
        part = self._writer.add(name, size, pieces)
        added.append(name)
        if part.sha256 != sha256:
            raise changed(file)

    def _content(self, file: RolloutFile, size: int) -> Iterator[bytes]:
        """The first ``size`` bytes; what Codex appended since they were counted waits."""
        with open_rollout(file) as source:
            while size:
                piece = source.read(min(size, _CHUNK))
                if not piece:
                    raise changed(file)
                size -= len(piece)
                if self.progress:
                    self.progress(len(piece))
                yield piece


def _measured(file: RolloutFile) -> tuple[int, str]:
    """Size and SHA-256 of a whole file, decompressed. Raises SessionError."""
    size = 0
    digest = hashlib.sha256()
    try:
        with open_rollout(file) as source:
            while piece := source.read(_CHUNK):
                size += len(piece)
                digest.update(piece)
    except zstandard.ZstdError as error:
        raise invalid(file, f"cannot be decompressed: {error}") from error
    return size, digest.hexdigest()
