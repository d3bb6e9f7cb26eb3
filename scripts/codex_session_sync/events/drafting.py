"""The lines that an import is to add, written beside the store first: nothing there is touched."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

import orjson

from ..codex.inventory import changed
from ..codex.rollout import parse_record
from ..lineage.fingerprint import follows, lineage_of_link
from ..model import Json, RolloutFile, Transcript
from ..transcript import Placed, lines_of_entries
from .event import MARK_DIGITS, Event, Raw, Rest, cut_text
from .ledger import Known, Strand
from .normalise import Message, Normaliser

MOST_PASSED = 4096
"""How many entries one line passes."""


@dataclass(slots=True)
class Spool:
    """Lines that wait in a file, by lineage."""

    stream: BinaryIO
    _ranges: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    _end: int = 0

    def add(self, lineage_id: str, line: Json) -> None:
        """Add a line."""
        data = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        self.stream.seek(self._end)
        self.stream.write(data)
        ranges, start = self._ranges[lineage_id], self._end
        self._end += len(data)
        if ranges and ranges[-1][1] == start:
            start, _ = ranges.pop()
        ranges.append((start, self._end))

    def lineages(self) -> list[str]:
        """The lineages that have lines."""
        return sorted(self._ranges)

    def lines(self, lineage_id: str) -> Iterator[bytes]:
        """The lines of a lineage, in their order. Nothing is added meanwhile."""
        for start, end in self._ranges.get(lineage_id, ()):
            self.stream.seek(start)
            left = end - start
            while left:
                line = self.stream.readline()
                left -= len(line)
                yield line

    def documents(self, lineage_id: str) -> Iterator[Json]:
        """As ``lines``, parsed."""
        return map(orjson.loads, self.lines(lineage_id))


@dataclass(frozen=True, slots=True)
class Origin:
    """What records are read from: the digest of the package where it is a file, and the members'
    names by the places that they lie at."""

    package: str | None
    members: Mapping[str, str]

    def name(self, file: RolloutFile) -> str:
        """The member that a file is."""
        return self.members.get(str(file.path), file.name)

    def raw(self, placed: Placed) -> Raw:
        """Where the record of an entry lies."""
        data, file = placed.line.data, placed.part.slice.file
        of: Literal["package", "file"] = "package" if self.package else "file"
        return Raw(
            of,
            self.package or placed.part.sha256,
            self.name(file),
            placed.line.offset,
            len(data),
            hashlib.sha256(data).hexdigest(),
        )


@dataclass(slots=True)
class Drafting:
    """Makes the lines that a strand lacks in the ledger, as one version of the normaliser does."""

    strand: Strand
    transcript: Transcript
    known: Known
    normaliser: Normaliser
    origin: Origin
    lineage_id: str
    import_id: str
    added: int = 0
    """How many events were new, or observed anew."""
    last: str | None = None
    """The last event of the strand so far."""
    _passed: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[Json]:
        """The lines that are to be added, in their order.

        Raises SessionError where a file cannot be read any more, or is not what was read before.
        """
        self.last = self.known.last
        for placed, record, following in _pairs(self._entries()):
            yield from self._observed(placed, record, following)
            if len(self._passed) == MOST_PASSED:
                yield self._rest(self._number(placed))
        if self._passed:
            yield self._rest(self.strand.entries)

    def _entries(self) -> Iterator[tuple[Placed, Json | None]]:
        first = self.known.upto - self.strand.before
        for placed in lines_of_entries(self.transcript, first):
            data = placed.line.data
            wanted = self.normaliser.may_matter(data) or self._number(placed) in self.known.older
            yield placed, parse_record(data) if wanted else None

    def _number(self, placed: Placed) -> int:
        return self.strand.before + placed.place + 1

    def _observed(
        self, placed: Placed, record: Json | None, following: Json | None
    ) -> Iterator[Json]:
        number = self._number(placed)
        link, before = self.strand.link(number), self.known.older.get(number)
        message = self.normaliser.message(record, following) if record else None
        if record is None or (message is None and before is None):
            self._passed.append(link[:MARK_DIGITS])
            return
        if not follows(bytes.fromhex(link), self.strand.link_before(number), record):
            raise changed(placed.part.slice.file)
        yield self._event(placed, message, link, before, str(record["timestamp"])).to_json()
        self._passed.clear()
        self.added += 1
        if message is not None:
            self.last = link

    def _event(
        self, placed: Placed, message: Message | None, link: str, before: int | None, time: str
    ) -> Event:
        text, cut = cut_text(message.text) if message else ("", False)
        return Event(
            event_id=link,
            normaliser=self.normaliser.version,
            lineage_id=self.lineage_id,
            parent=self.last,
            kind=message.kind if message else "withdrawn",
            entry=self._number(placed),
            time=time,
            text=text,
            images=message.images if message else 0,
            passed=tuple(self._passed),
            raw=self.origin.raw(placed),
            import_id=self.import_id,
            reobserves=before,
            cut=cut,
        )

    def _rest(self, number: int) -> Json:
        rest = Rest(
            self.normaliser.version,
            self.lineage_id,
            self.last,
            number,
            tuple(self._passed),
            self.import_id,
        )
        self._passed.clear()
        return rest.to_json()


def lineage_of(strand: Strand) -> str | None:
    """The lineage of a strand; None for one without entries."""
    if strand.base:
        return lineage_of_link(strand.base.first)
    return lineage_of_link(strand.chain.link(1)) if strand.chain.links else None


def _pairs(
    entries: Iterable[tuple[Placed, Json | None]],
) -> Iterator[tuple[Placed, Json | None, Json | None]]:
    """Each entry with the record of the next one."""
    waiting: tuple[Placed, Json | None] | None = None
    for placed, record in entries:
        if waiting is not None:
            yield *waiting, record
        waiting = (placed, record)
    if waiting is not None:
        yield *waiting, None
