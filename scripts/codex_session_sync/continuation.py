"""The part of a session that a local copy lacks, written so that it can be appended to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from .codex.convert import ModeConverter
from .codex.inventory import open_rollout
from .codex.rollout import META, dump_record, parse_record, read_lines, record_key
from .compose import Sink, Written, changed
from .lineage.fingerprint import is_entry
from .localize import Rewriter
from .model import Json, RolloutFile, Transcript


@dataclass(frozen=True, slots=True)
class Continuation:
    """What follows the first ``common`` entries of an incoming session, for a local copy of it."""

    rewriter: Rewriter
    local: Transcript
    common: int

    def write(self, sink: Sink) -> Written:
        """Write the missing records in the local history mode, ordinals going on.

        Raises SessionError ``package_changed`` if a file is not as it was scanned.
        """
        if not _ends_whole(self.local.file):
            sink.write(b"\n")
        for record in self._records():
            sink.write(dump_record(record))
        return Written(sink.size, sink.digest.hexdigest())

    def _records(self) -> Iterator[Json]:
        incoming, local = self.rewriter.transcript, self.local
        convert = None
        if incoming.mode != local.mode:
            first_item = local.facts.records + 1
            convert = ModeConverter(local.mode, local.session_id, first_item)
        ordinal = -1 if local.facts.last_ordinal is None else local.facts.last_ordinal
        for record in self._missing():
            settled = self.rewriter.settled(record)
            for written in convert.convert(settled) if convert else [settled]:
                if local.mode == "paginated":
                    ordinal += 1
                    yield _numbered(written, ordinal)
                else:
                    yield written

    def _missing(self) -> Iterator[Json]:
        """The records after the common entries, without those that the local copy has already."""
        known: frozenset[str] = self.local.tail
        for record in self._after_common():
            if is_entry(record):
                known = frozenset()
            elif record_key(record) in known or record["type"] == META:
                continue
            yield record

    def _after_common(self) -> Iterator[Json]:
        incoming = self.rewriter.transcript
        start = incoming.ends[self.common - 1] if self.common else 0
        place = 0
        for part in incoming.slices:
            if start < place + part.size:
                yield from _records_from(part.slice.file, max(0, start - place), part.size)
            place += part.size


def _records_from(file: RolloutFile, start: int, end: int) -> Iterator[Json]:
    """The records of a file's bytes from ``start`` to ``end``; both lie between lines."""
    with open_rollout(file) as stream:
        _skip(stream, start, file)
        for line in read_lines(stream, file.thread_id):
            if start + line.offset >= end:
                return
            record = parse_record(line.data)
            if record is not None:
                yield record


def _skip(stream: BinaryIO, size: int, file: RolloutFile) -> None:
    if stream.seekable() and not file.compressed:
        stream.seek(size)
        return
    while size:
        chunk = stream.read(min(size, 1 << 20))
        if not chunk:
            raise changed(file)
        size -= len(chunk)


def _numbered(record: Json, ordinal: int) -> Json:
    """The record with its ordinal where Codex writes it, after the time."""
    rest = {key: value for key, value in record.items() if key not in ("timestamp", "ordinal")}
    return {"timestamp": record["timestamp"], "ordinal": ordinal, **rest}


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
