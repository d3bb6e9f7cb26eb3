"""What a new package can rest on: the beginnings of sessions that a store surely has."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import zstandard

from ..codex.inventory import open_rollout
from ..errors import SessionError
from ..model import Base, PackagedSession, RolloutFile, ScannedSlice, Transcript
from .listing import Held, Link, Listed
from .stored import Shelf

LONGEST = 32
"""Of how many packages a session is put together at most; then it goes in whole again."""

_CHUNK = 1 << 20


def told_digest(session: PackagedSession) -> str:
    """The SHA-256, in hex, of what is known of a session beside its records."""
    told = {
        "row": dict(session.row) if session.row else None,
        "name": session.name,
        "archived": session.archived,
        "dynamic_tools": [dict(tool) for tool in session.dynamic_tools],
        "spawn_edge": dict(session.spawn_edge) if session.spawn_edge else None,
        "goal": dict(session.goal) if session.goal else None,
    }
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()


def slices_of(transcript: Transcript) -> tuple[Held, ...]:
    """The files of a history, and how far it goes through each."""
    return tuple(
        Held(part.slice.file.name.removesuffix(".zst"), part.size, part.sha256)
        for part in transcript.slices
    )


@dataclass(slots=True)
class Resting:
    """Tells the packer what need not go into a package, and afterwards what each session rests on.

    ``listed``: the sessions as they were found last, of which the store has the packages. Nothing
    is rested on that is not, byte for byte, in them and in the files of the home.
    """

    shelf: Shelf
    listed: Mapping[str, Listed]
    chains: dict[str, tuple[Link, ...]] = field(default_factory=dict)
    """By session the packages that what was packed of it last goes on from."""
    scanned: dict[str, Transcript] = field(default_factory=dict)
    """The sessions that were looked at last; who has used one takes it away."""
    _same: dict[tuple[Path, int, str], bool] = field(default_factory=dict)

    def has(self, session: PackagedSession, transcript: Transcript, home: str | None) -> bool:
        """Whether the store has all of a session, and all that is told of it."""
        del home
        self.scanned[session.session_id] = transcript
        known = self.listed.get(session.session_id)
        return (
            known is not None
            and known.told == told_digest(session)
            and known.slices == slices_of(transcript)
        )

    def base_of(self, transcript: Transcript) -> Base | None:
        """The longest beginning of a session that the store surely has."""
        session_id = transcript.session_id
        self.chains[session_id] = ()
        best, found = 0, None
        if not all(_begins_with_record(part.slice.file) for part in transcript.slices):
            return None
        for known in self._candidates(transcript):
            entries = self._shared_entries(transcript, known)
            if entries > best and self._has_links(transcript, known, entries):
                best, found = entries, known
        if found is None:
            return None
        of = None if found.session_id == session_id else found.session_id
        self.chains[session_id] = tuple(Link(link.package, link.of or of) for link in found.chain)
        return Base(best, transcript.chain.link(best), transcript.chain.link(1))

    def _candidates(self, transcript: Transcript) -> list[Listed]:
        """The session as it was found last, and those whose records it inherits."""
        inherited = [part.slice.file.thread_id for part in reversed(transcript.slices)]
        ids = dict.fromkeys((transcript.session_id, *inherited))
        found = [self.listed[i] for i in ids if i in self.listed]
        return [one for one in found if len(one.chain) < LONGEST]

    def _shared_entries(self, transcript: Transcript, known: Listed) -> int:
        """How many first entries lie in bytes that are the same as those of a listed session."""
        place = 0
        for part, held in zip(transcript.slices, known.slices, strict=False):
            if part.slice.file.name.removesuffix(".zst") != held.file:
                break
            if (part.size, part.sha256) == (held.size, held.sha256):
                place += part.size
                continue
            if self._begins_as(part, held):
                place += min(part.size, held.size)
            break
        count = min(bisect_right(transcript.ends, place), len(transcript.chain))
        while count and count in transcript.entangled:
            count -= 1
        return count

    def _has_links(self, transcript: Transcript, known: Listed, entries: int) -> bool:
        """Whether what the store has of a listed session is sound, and has these first entries."""
        held = self.shelf.sound(known)
        links = transcript.chain.first(entries).links
        return held is not None and held.links.startswith(links)

    def _begins_as(self, part: ScannedSlice, held: Held) -> bool:
        """Whether a file begins with all that the store has of it."""
        key = (part.slice.file.path, held.size, held.sha256)
        if key not in self._same:
            self._same[key] = _digest(part.slice.file, held.size) == held.sha256
        return self._same[key]


def _begins_with_record(file: RolloutFile) -> bool:
    """Whether nothing, such as a blank line, stands before the first record of a file.

    Only of such files a tail tells how long that record is.
    """
    try:
        with open_rollout(file) as stream:
            return stream.read(1) == b"{"
    except (OSError, SessionError, zstandard.ZstdError):
        return False


def _digest(file: RolloutFile, size: int) -> str | None:
    """The SHA-256 of the first bytes of a file; None if there are fewer, or it is unreadable."""
    digest = hashlib.sha256()
    try:
        with open_rollout(file) as stream:
            while size:
                data = stream.read(min(size, _CHUNK))
                if not data:
                    return None
                digest.update(data)
                size -= len(data)
    except (OSError, SessionError, zstandard.ZstdError):
        return None
    return digest.hexdigest()
