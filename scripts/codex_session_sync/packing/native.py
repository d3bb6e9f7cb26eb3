"""A native package from the sessions of a home: original files, chains, and a manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import zstandard

from .. import __version__
from ..codex.inventory import invalid, open_rollout
from ..compose import changed
from ..model import Outline, PackagedSession, RolloutFile, Transcript
from ..package.native_manifest import (
    Sessions,
    chain_part,
    first_words,
    manifest_head,
    rollout_part,
    session_entry,
)
from ..package.native_writer import NativeWriter
from ..transcript import scan
from .gathering import Gathered
from .secrets import SecretScan

Progress = Callable[[int], None]

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Packed:
    """One session as it went into a package: what reports tell of it."""

    session: PackagedSession
    entries: int
    turns: int
    first_words: str | None
    last_timestamp: str | None
    size: int


def summary(session: PackagedSession, outline: Outline, size: int) -> Packed:
    """A session that was packed, without its records; ``size`` is that of its history."""
    facts = outline.facts
    words = first_words(facts.first_user_message)
    return Packed(session, len(outline.chain), facts.turns, words, facts.last_timestamp, size)


@dataclass(slots=True)
class NativePacker:
    """Packs sessions one by one into ``target``, an empty file; memory grows by their number."""

    home: Gathered
    target: BinaryIO
    secrets: SecretScan
    progress: Progress | None = None
    _writer: NativeWriter = field(init=False)
    _sessions: Sessions = field(default_factory=Sessions)

    def __post_init__(self) -> None:
        self._writer = NativeWriter(self.target)

    def add(self, session: PackagedSession) -> Packed:
        """Pack one session with its older files, and what it continues.

        Raises SessionError if it cannot be read; then nothing of it is in the package.
        """
        assert session.file is not None
        transcript = scan(session.file, self.home.rollouts.segment, self.progress)
        added: list[str] = []
        try:
            self._add_files(session, transcript, added)
            if transcript.chain.links:
                name = chain_part(session.session_id)
                links = transcript.chain.links
                self._writer.add(name, len(links), [links])
                added.append(name)
        except BaseException:
            self._writer.drop(added)
            self.secrets.forget(added)
            raise
        history = [rollout_part(part.slice.file.name) for part in transcript.slices]
        self._sessions.add(session_entry(session, transcript, history, transcript.size))
        return summary(session, transcript, transcript.size)

    def finish(self) -> None:
        """Write what makes the file a package."""
        program = f"codex-session-sync {__version__}"
        sessions = self._sessions
        head = manifest_head(sessions, self.home.installation_id, program)
        self._writer.finish(head, sessions.pieces)

    def _add_files(
        self, session: PackagedSession, transcript: Transcript, added: list[str]
    ) -> None:
        """Add the files that are not in the package yet; their names go to ``added``."""
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
