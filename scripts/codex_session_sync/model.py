"""The values that cross the stages as far as the plan: package, transcript, fingerprint.

Everything here is frozen and free of behaviour that reads files, clocks or the environment.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

Json = dict[str, Any]
"""A parsed JSON object."""

Row = Mapping[str, str | int | float | None]
"""One database row: column name to SQLite value."""

HistoryMode = Literal["legacy", "paginated"]


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning with a stable code; ``session_id`` where it concerns one session."""

    code: str
    message: str
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class RolloutFile:
    """One rollout file on disk: a segment of a thread.

    ``name`` is the rollout's base name; ``path`` may differ from it where an archive was unpacked.
    ``segment_id`` equals ``thread_id`` except for the later files of a reverted thread; ``stamp``
    is the local time in the file name; ``size`` is in bytes as stored, compressed or not.
    ``identity`` is the device and inode that must be found at ``path``, ``expands_to`` how many
    bytes may come out of a compressed file: both only of files that are not to be trusted.
    """

    path: Path
    name: str
    thread_id: str
    segment_id: str
    stamp: str
    compressed: bool
    archived: bool
    size: int
    mtime_ns: int
    identity: tuple[int, int] | None = field(default=None, compare=False)
    expands_to: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class HistoryBase:
    """Where an inherited history ends: before this ordinal, at this byte of the base file."""

    segment_id: str
    end_ordinal: int
    end_offset: int


@dataclass(frozen=True, slots=True)
class Slice:
    """The part of one rollout file that belongs to a transcript; ``end`` None: all of it.

    ``limit``: no line that begins at this byte or later.
    """

    file: RolloutFile
    end: HistoryBase | None
    limit: int | None = None


class EditKind(IntEnum):
    """Why a line is not copied byte for byte when a transcript is written."""

    RECORD = 1
    """Settings, metadata, or a record that names another thread: parse, rewrite, dump."""
    DROP = 2
    """Unreadable, torn, or superseded: left out."""
    NUMBERED = 3
    """As RECORD, its ordinal going on from that of the one before it."""


@dataclass(frozen=True, slots=True)
class ScannedSlice:
    """What one pass over a slice found.

    ``size`` and ``sha256`` cover the (decompressed) bytes of the slice up to the last whole record;
    ``edits`` holds triples (offset, length, EditKind) of the lines that are not copied as they are;
    a DROP may be of several lines.
    """

    slice: Slice
    size: int
    sha256: str
    edits: array[int]


@dataclass(frozen=True, slots=True)
class Chain:
    """A fingerprint: the concatenated 32-byte links of a session's entries, oldest first."""

    links: bytes = b""

    LINK_BYTES = 32

    def __len__(self) -> int:
        return len(self.links) // self.LINK_BYTES

    def link(self, count: int) -> str:
        """Hex link after the first ``count`` entries (1 or more)."""
        return self.links[(count - 1) * self.LINK_BYTES : count * self.LINK_BYTES].hex()

    def first(self, count: int) -> Chain:
        """The chain of the first ``count`` entries."""
        return Chain(self.links[: count * self.LINK_BYTES])

    @property
    def head(self) -> str | None:
        """Hex link of the last entry; None for a session without entries."""
        return self.link(len(self)) if self.links else None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a transcript says about itself, as far as rows, names and reports need it.

    Times are ISO 8601 texts as recorded. ``own_first_message`` and ``tokens``, the last total that
    Codex counted, leave out what a fork has from another session.
    """

    records: int = 0
    turns: int = 0
    unreadable: int = 0
    torn: bool = False
    first_user_message: str | None = None
    own_first_message: str | None = None
    last_user_message: str | None = None
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    last_cwd: str | None = None
    model: str | None = None
    reasoning_effort: str | None = None
    tokens: int = 0
    last_ordinal: int | None = None
    numbered_end: bool = False
    """Whether the last record has an ordinal."""


@dataclass(frozen=True, slots=True)
class Outline:
    """What comparing a session takes, without its records.

    A package may tell it of itself; then ``meta`` and ``facts`` hold what reports need and no more.
    """

    session_id: str
    meta: Json
    mode: HistoryMode
    chain: Chain
    facts: Facts


@dataclass(frozen=True, slots=True)
class Mark:
    """What a scan had found right behind one of the entries of a paginated session's newest file,
    so that what lies before it need not be parsed again.

    ``entries`` counts that entry, too, ``head`` is the place of the file's first record, ``facts``
    are the values of a ``facts.Gathering``, ``claims`` as in ``Transcript``.
    """

    entries: int
    head: int
    facts: tuple[Any, ...]
    claims: Mapping[bytes, int]


@dataclass(frozen=True, slots=True)
class Transcript(Outline):
    """A session's whole history, inherited parts resolved, fingerprinted in one pass."""

    slices: tuple[ScannedSlice, ...]
    ends: array[int]
    """For each entry the byte at which it ends, counted over all slices."""
    tail: frozenset[str]
    """Keys (see codex.rollout.record_key) of the records after the last entry."""
    taken_back: frozenset[bytes]
    """The links of entries that records of the transcript take back."""
    entangled: frozenset[int]
    """Counts of first entries that no beginning of the records has alone: others that stood
    between them are taken back only later."""
    numbered_from: int = 0
    """The ordinal of the first NUMBERED record."""
    claims: Mapping[bytes, int] = field(default_factory=dict)
    """What its records say of settings and tools (see claims), each with the byte, counted over all
    slices, at which it is said last."""
    mark: Mark | None = field(default=None, repr=False)

    @property
    def file(self) -> RolloutFile:
        """The newest of the session's files."""
        return self.slices[-1].slice.file

    @property
    def size(self) -> int:
        """The bytes of the whole history, inherited parts included."""
        return sum(part.size for part in self.slices)

    @property
    def inherited(self) -> bool:
        """Whether part of the history lies in other files."""
        return len(self.slices) > 1


@dataclass(frozen=True, slots=True)
class Base:
    """Entries that a package does not have of a session, because the home that it is for has them.

    ``head`` is the link of the last of them, ``first`` that of the first, both in hex.
    """

    entries: int
    head: str
    first: str


@dataclass(frozen=True, slots=True)
class Tail:
    """What a package tells of a session of which it has only what follows ``base``.

    The chain of ``outline`` has the links after those of ``base``, ``files`` the records: the
    oldest first, what they continue left out.
    """

    outline: Outline
    base: Base
    files: tuple[RolloutFile, ...]


@dataclass(frozen=True, slots=True)
class Continued(Outline):
    """The outline of a whole session, of which a package has the tail.

    The entries before it are the first ones of ``held``, a session of the home.
    """

    tail: Tail
    held: Transcript


@dataclass(frozen=True, slots=True)
class PackagedSession:
    """One session as a package carries it, before its transcript is read.

    ``file`` is the newest segment, None when the package names the session but lacks the file.
    ``spawn_edge`` has the parent and status of a spawned session, ``goal`` what it was working on.
    ``size`` is that of the records that the package has of it, where it tells.
    """

    session_id: str
    file: RolloutFile | None
    archived: bool
    row: Row | None = None
    name: str | None = None
    dynamic_tools: tuple[Row, ...] = ()
    spawn_edge: Row | None = None
    goal: Row | None = None
    size: int = 0
