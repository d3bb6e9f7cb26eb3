"""The part of a session that a local copy lacks, written so that it can be appended to it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from .codex.convert import ModeConverter, Standing
from .codex.inventory import changed, open_rollout, skip
from .codex.rollout import (
    EVENT,
    META,
    ROLLED_BACK,
    dump_record,
    parse_record,
    read_lines,
    record_key,
    with_ordinal,
)
from .compose import Sink, Written
from .lineage.fingerprint import SEED, canonical_entry, is_entry
from .localize import Rewriter
from .model import Json, RolloutFile, Transcript


@dataclass(frozen=True, slots=True)
class Continuation:
    """What follows the first ``common`` entries of an incoming session, for a local copy of it.

    ``common`` are all entries that the local copy has: with what is written behind it, its chain
    is that of the incoming session.
    """

    rewriter: Rewriter
    local: Transcript
    common: int

    def write(self, sink: Sink) -> Written:
        """Write the missing records in the local history mode, ordinals going on.

        Raises SessionError ``package_changed`` if a file is not as it was scanned.
        """
        if not _ends_whole(self.local.file):
            sink.write(b"\n")
        for record in self._numbered():
            sink.write(dump_record(record))
        return sink.written()

    @property
    def _incoming(self) -> Transcript:
        return self.rewriter.transcript

    @property
    def _same_mode(self) -> bool:
        return self._incoming.mode == self.local.mode

    @property
    def _start(self) -> int:
        """The byte, counted over all slices, at which the last common entry ends."""
        return self._incoming.ends[self.common - 1] if self.common else 0

    def _numbered(self) -> Iterator[Json]:
        records = self._as_they_are() if self._same_mode else self._converted()
        if self.local.mode == "legacy":
            yield from records
            return
        last = self.local.facts.last_ordinal
        for ordinal, record in enumerate(records, 0 if last is None else last + 1):
            yield with_ordinal(record, ordinal, self._incoming.session_id)

    def _as_they_are(self) -> Iterator[Json]:
        for record, missing in self._marked():
            if missing:
                yield self.rewriter.settled(record)

    def _converted(self) -> Iterator[Json]:
        converter = ModeConverter(self.local.mode, self.local.session_id)
        missing = False
        for record, missing in self._marked():
            if missing:
                yield from converter.convert(self.rewriter.settled(record))
            else:
                converter.convert(record)
        if missing:
            yield from converter.finish()

    def _marked(self) -> Iterator[tuple[Json, bool]]:
        """The records that matter, each with whether it is to be written.

        Checked to be those that were scanned. To convert some, all are needed.
        """
        standing, first, keep_all = self._standing()
        whole = standing is not None or not self._same_mode
        chain = _Link(self._incoming, self.common)
        known: frozenset[str] = self.local.tail
        for place, (begin, record) in enumerate(self._history(0 if whole else self._start)):
            stands = standing is None or bool(standing.flags[place])
            if begin < self._start or place < first or not (stands or keep_all):
                if stands:
                    yield record, False
                continue
            if is_entry(record):
                known = frozenset()
                if stands:
                    chain.add(record)
            yield record, record_key(record) not in known and record["type"] != META
        chain.check()

    def _standing(self) -> tuple[Standing | None, int, bool]:
        """Which records stand, None if all do; where the missing ones begin; whether to keep all.

        A legacy copy gets what was taken back as well, so that it is what its source is, unless
        that would take something from what it has.
        """
        after = (record for _, record in self._history(self._start))
        if self._incoming.mode == "paginated" or (
            self._same_mode and not any(map(_takes_back, after))
        ):
            return None, 0, True
        standing, first = Standing(), 0
        for place, (begin, record) in enumerate(self._history(0)):
            standing.note(record)
            # With a rollback the copy has what it took back, and all before.
            shared = _takes_back(record) and record_key(record) in self.local.tail
            if begin < self._start or shared:
                first = place + 1
        within = all(taken >= first for place, taken in standing.reaches if place >= first)
        return standing, first, self._same_mode and within

    def _history(self, start: int) -> Iterator[tuple[int, Json]]:
        """The incoming records from byte ``start`` on, each with the byte at which it begins."""
        place = 0
        for part in self._incoming.slices:
            if start < place + part.size:
                skipped = max(0, start - place)
                for offset, record in _records(part.slice.file, skipped, part.size):
                    yield place + offset, record
            place += part.size


class _Link:
    """The link after the common entries, taken further entry by entry."""

    def __init__(self, incoming: Transcript, common: int) -> None:
        self._incoming = incoming
        self._link = bytes.fromhex(incoming.chain.link(common)) if common else SEED

    def add(self, record: Json) -> None:
        digest = hashlib.sha256(canonical_entry(record)).digest()
        self._link = hashlib.sha256(self._link + digest).digest()

    def check(self) -> None:
        """Raise SessionError unless it has become the incoming session's last one."""
        if self._link.hex() != (self._incoming.chain.head or SEED.hex()):
            raise changed(self._incoming.file)


def _takes_back(record: Json) -> bool:
    return bool(record["type"] == EVENT and record["payload"].get("type") == ROLLED_BACK)


def _records(file: RolloutFile, start: int, end: int) -> Iterator[tuple[int, Json]]:
    """The records of a file's bytes from ``start`` to ``end``, which lie between lines."""
    with open_rollout(file) as stream:
        skip(stream, start, file)
        for line in read_lines(stream, file.thread_id):
            if start + line.offset >= end:
                return
            record = parse_record(line.data)
            if record is not None:
                yield start + line.offset, record


def _ends_whole(file: RolloutFile) -> bool:
    """Whether the file's last line is ended, so that an appended one begins on its own."""
    if file.compressed:
        last = b"\n"
        with open_rollout(file) as stream:
            while chunk := stream.read(1 << 20):
                last = chunk[-1:]
        return last == b"\n"
    with open_rollout(file) as stream:
        if stream.seek(0, 2) == 0:
            return True
        stream.seek(-1, 2)
        return stream.read(1) == b"\n"
