"""The ledger of a lineage: its lines on disk, and what they tell of the line of one session."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..lineage.fingerprint import FINGERPRINT_VERSION, SEED
from ..model import Base, Chain, Json
from ..store.lines import read_lines_from
from ..store.place import Store
from .event import EVENT_FORMAT, MARK_DIGITS, SCHEMA


def ledger_path(store: Store, lineage_id: str) -> Path:
    """Where the ledger of a lineage lies."""
    return store.events / lineage_id[:2] / f"{lineage_id}.jsonl"


def read_ledger(store: Store, lineage_id: str, start: int = 0) -> Iterator[tuple[int, int, Json]]:
    """The lines of a ledger from a byte on, each with where it begins and ends.

    Lines with links of another fingerprint version are passed over. Raises StoreError
    ``store_damaged``, ``store_unreadable``.
    """
    for first, end, line in read_lines_from(ledger_path(store, lineage_id), SCHEMA, start):
        if line["fingerprint_version"] == FINGERPRINT_VERSION:
            yield first, end, line


@dataclass(frozen=True, slots=True)
class Strand:
    """The line of entries of one session, as far as a package has it.

    ``chain`` has the links of the entries behind ``base``, of all where there is none.
    """

    session_id: str
    chain: Chain
    base: Base | None = None

    @property
    def before(self) -> int:
        """How many entries come before those of the chain."""
        return self.base.entries if self.base else 0

    @property
    def entries(self) -> int:
        """How many entries the line has in all."""
        return self.before + len(self.chain)

    @property
    def head(self) -> str | None:
        """The link of its last entry."""
        return self.chain.head or (self.base.head if self.base else None)

    def link(self, number: int) -> str:
        """The link of an entry of the chain, in hex."""
        return self.chain.link(number - self.before)

    def link_before(self, number: int) -> bytes:
        """The link that an entry of the chain follows."""
        if number > self.before + 1:
            return bytes.fromhex(self.link(number - 1))
        return bytes.fromhex(self.base.head) if self.base else SEED

    def has(self, number: int, link: str) -> bool:
        """Whether the entry with this number is in the chain, and has a link that begins so."""
        return self.before < number <= self.entries and self.link(number).startswith(link)


@dataclass(slots=True)
class Known:
    """What the lines of a ledger tell of a strand, as seen by a version of the normaliser.

    All of the strand up to the entry ``upto`` has been observed; ``last`` is the last event there,
    ``seen`` how many there are behind the base, and ``orphaned`` how many of those an import
    appended that has not ended. ``older`` has the entries that an older version took for messages,
    with that version. ``based``: the entries before the chain were observed.
    """

    strand: Strand
    version: int
    confirmed: Collection[str]
    upto: int = field(init=False)
    last: str | None = None
    seen: int = 0
    orphaned: int = 0
    older: dict[int, int] = field(default_factory=dict)
    based: bool = field(init=False)
    _latest: int = 0
    """The number of the last entry that was counted."""

    def __post_init__(self) -> None:
        self.upto = self.strand.before
        self.based = self.strand.base is None

    @property
    def whole(self) -> bool:
        """Whether nothing of the strand is new."""
        return self.based and self.upto == self.strand.entries

    def note(self, line: Json) -> None:
        """Take in a line of the ledger. Of a line they come in its order."""
        number, marks = line["entry"], line["passed"]
        if line["format"] == EVENT_FORMAT:
            self._note_event(line, number)
            self._note_marks(line["normaliser"], number - len(marks), marks, line["parent"])
        else:
            first = number - len(marks) + 1
            self._note_marks(line["normaliser"], first, marks, line["after"])
            if marks and self.strand.has(number, marks[-1]):
                self._reach(line["normaliser"], number, line["after"])

    def _note_event(self, line: Json, number: int) -> None:
        link, withdrawn = line["event_id"], line["kind"] == "withdrawn"
        told = line["parent"] if withdrawn else link
        base = self.strand.base
        if base and number == base.entries and link == base.head:
            self._rest_on(told)
        if not self.strand.has(number, link):
            return
        if line["normaliser"] < self.version:
            if withdrawn:
                self.older.pop(number, None)
            else:
                self.older[number] = line["normaliser"]
            return
        if number > self._latest and not withdrawn:
            self._latest = number
            self.seen += 1
            self.orphaned += line["import_id"] not in self.confirmed
        self._reach(line["normaliser"], number, told)

    def _note_marks(self, version: int, first: int, marks: list[str], told: str | None) -> None:
        """Take in the marks of entries that are no events, the last event being ``told``."""
        end = first + len(marks)
        base, head = self.strand.base, self.strand.head

        def holds(number: int, link: str) -> bool:
            return first <= number < end and marks[number - first] == link[:MARK_DIGITS]

        if base and holds(base.entries, base.head):
            self._rest_on(told)
        if head and holds(self.strand.entries, head):
            self._reach(version, self.strand.entries, told)

    def _reach(self, version: int, number: int, told: str | None) -> None:
        if version >= self.version and number > self.upto:
            self.upto, self.last = number, told

    def _rest_on(self, told: str | None) -> None:
        self.based = True
        if self.upto == self.strand.before:
            self.last = told
