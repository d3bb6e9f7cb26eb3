"""Writing a resolved transcript as one self-contained rollout, in one streaming pass.

Bytes between the edits that the scan noted are copied as they are, without being parsed again. For
a Codex that does not read paginated sessions each record is parsed and put into the legacy form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from .codex.convert import ModeConverter
from .codex.inventory import changed, open_rollout, read_head
from .codex.rollout import (
    COMPACTED,
    EVENT,
    MAX_LINE_BYTES,
    META,
    RESPONSE_ITEM,
    dump_record,
    parse_record,
    read_lines,
)
from .foreseen import Foreseen
from .lineage.fingerprint import Buffer, Fingerprinter, is_entry
from .localize import Rewriter
from .model import EditKind, Json, RolloutFile, ScannedSlice

_CHUNK = 1 << 18
_MANY = 1 << 10
"""So many pieces are put together before they are written."""


@dataclass(frozen=True, slots=True)
class Written:
    """Size in bytes and SHA-256 of what was written."""

    size: int
    sha256: str


def compose(
    rewriter: Rewriter,
    target: BinaryIO,
    progress: Callable[[int], None] | None = None,
    look: Callable[[bytes], None] | None = None,
    foreseen: Foreseen | None = None,
) -> Written:
    """Write the rewriter's transcript to ``target``; ``look`` is shown what is written.

    ``foreseen`` is told of what is written otherwise than it was.

    Raises SessionError ``package_changed`` if the files are not as they were scanned.
    """
    transcript = rewriter.transcript
    sink = Sink(target, progress, look)
    tip = transcript.slices[-1].slice.file
    if rewriter.legacy_only:
        _Plain(rewriter, sink).write(rewriter.head(read_head(tip)))
    elif transcript.inherited or tip.compressed or rewriter.renamed:
        sink.write(dump_record(rewriter.head(read_head(tip))))
        for number, part in enumerate(transcript.slices):
            rewriter.enter(part.slice.file)
            _copy(part, rewriter, sink, foreseen, first=number == 0)
    else:
        # Most sessions: one plain file, which is opened once.
        [part] = transcript.slices
        with open_rollout(tip) as source:
            sink.write(dump_record(rewriter.head(read_head(tip, source))))
            source.seek(0)
            rewriter.enter(tip)
            _copy_from(source, part, rewriter, sink, foreseen, fills=False)
    return sink.written()


class Sink:
    """A target that counts and digests what is written to it, which goes there in large pieces."""

    def __init__(
        self,
        target: BinaryIO,
        progress: Callable[[int], None] | None,
        look: Callable[[bytes], None] | None = None,
    ) -> None:
        self._target = target
        self._progress = progress
        self._look = look
        self.size = 0
        """That of all that was to be written so far."""
        self._digest = hashlib.sha256()
        self._waiting: list[Buffer] = []
        self._put = 0

    def write(self, data: Buffer) -> None:
        """Write all of ``data``, at the latest with ``written``."""
        self._waiting.append(data)
        self.size += len(data)
        if self.size - self._put >= _CHUNK or len(self._waiting) == _MANY:
            self._put_all()

    def written(self) -> Written:
        """What was written, once all of it is."""
        self._put_all()
        return Written(self.size, self._digest.hexdigest())

    def _put_all(self) -> None:
        data = b"".join(self._waiting)
        self._waiting.clear()
        self._put = self.size
        self._target.write(data)
        self._digest.update(data)
        if self._look:
            self._look(data)
        if self._progress:
            self._progress(len(data))


def _copy(
    part: ScannedSlice, rewriter: Rewriter, sink: Sink, foreseen: Foreseen | None, *, first: bool
) -> None:
    """Copy one slice, edits applied, and check that it is the slice that was scanned."""
    fills = not first and EditKind.NUMBERED not in part.edits[2::3]
    if rewriter.renamed:
        _copy_renaming(part, rewriter, sink, fills=fills)
        return
    with open_rollout(part.slice.file) as source:
        _copy_from(source, part, rewriter, sink, foreseen, fills=fills)


def _copy_from(
    source: BinaryIO,
    part: ScannedSlice,
    rewriter: Rewriter,
    sink: Sink,
    foreseen: Foreseen | None,
    *,
    fills: bool,
) -> None:
    """As ``_copy``, from the open file; ``fills``: heads that are left out leave a record."""
    reading = _Reading(source, part)
    edits = part.edits
    place = 0
    for i in range(0, len(edits), 3):
        offset, length, kind = edits[i], edits[i + 1], edits[i + 2]
        for piece in reading.take(offset - place):
            sink.write(piece)
        place = offset + length
        if kind == EditKind.DROP and not (fills and length <= MAX_LINE_BYTES):
            for _ in reading.take(length):
                pass
            if foreseen:
                foreseen.dropped(offset, length, sink.size)
            continue
        line = b"".join(reading.take(length))
        if kind == EditKind.DROP:
            sink.write(_in_its_place(line))
            continue
        record, data = _rewritten(line, kind, rewriter, part.slice.file)
        if foreseen:
            foreseen.rewritten(place, sink.size, len(data), record)
        sink.write(data)
    for piece in reading.take(part.size - place):
        sink.write(piece)
    reading.check()


class _Reading:
    """The bytes of a slice, read and digested in large pieces, taken in others."""

    def __init__(self, source: BinaryIO, part: ScannedSlice) -> None:
        self._source = source
        self._part = part
        self._digest = hashlib.sha256()
        self._left = part.size
        self._piece = memoryview(b"")

    def take(self, length: int) -> Iterator[memoryview]:
        """The next bytes. Raises SessionError ``package_changed`` where there are none."""
        while length:
            if not self._piece:
                self._read()
            piece, self._piece = self._piece[:length], self._piece[length:]
            length -= len(piece)
            yield piece

    def check(self) -> None:
        """Raise SessionError ``package_changed`` unless all of it is what was scanned."""
        if self._left or self._digest.hexdigest() != self._part.sha256:
            raise changed(self._part.slice.file)

    def _read(self) -> None:
        chunk = self._source.read(min(self._left, _CHUNK))
        if not chunk:
            raise changed(self._part.slice.file)
        self._digest.update(chunk)
        self._left -= len(chunk)
        self._piece = memoryview(chunk)


def _copy_renaming(part: ScannedSlice, rewriter: Rewriter, sink: Sink, *, fills: bool) -> None:
    """As ``_copy``, for a session that gets another id: every line that names the old is parsed."""
    for line, kind in _lines(part):
        named = any(old in line for old in rewriter.renamed)
        if kind is None and not named:
            sink.write(line)
        elif kind != EditKind.DROP:
            sink.write(_rewritten(line, kind, rewriter, part.slice.file)[1])
        elif fills:
            sink.write(_in_its_place(line))


def _lines(part: ScannedSlice) -> Iterator[tuple[bytes, int | None]]:
    """The lines of a slice, each with its edit; at the end it is checked to be what was scanned."""
    digest = hashlib.sha256()
    kinds = dict(zip(part.edits[0::3], part.edits[2::3], strict=True))
    lengths = dict(zip(part.edits[0::3], part.edits[1::3], strict=True))
    dropped = 0
    with open_rollout(part.slice.file) as source:
        for line in read_lines(source, part.slice.file.thread_id):
            if line.offset >= part.size:
                break
            digest.update(line.data)
            kind = kinds.get(line.offset)
            if kind == EditKind.DROP:
                dropped = line.offset + lengths[line.offset]
            yield line.data, EditKind.DROP if line.offset < dropped else kind
    if digest.hexdigest() != part.sha256:
        raise changed(part.slice.file)


def _in_its_place(line: bytes) -> bytes:
    """What takes the ordinal of a head that is left out: a record that tells nothing.

    From 0.147 to 0.150 Codex shows no turns of a session whose ordinals have a gap.
    """
    record = parse_record(line)
    if record is None or record["type"] != META or "ordinal" not in record:
        return b""
    nothing = {"type": "token_count", "info": None, "rate_limits": None}
    return dump_record({**record, "type": EVENT, "payload": nothing})


class _Plain:
    """A transcript in the legacy form, for a Codex that does not read paginated sessions."""

    def __init__(self, rewriter: Rewriter, sink: Sink) -> None:
        transcript = rewriter.transcript
        self._rewriter = rewriter
        self._sink = sink
        self._legacy = transcript.mode == "legacy"
        self._converter = ModeConverter("legacy", rewriter.identity.session_id)
        self._written = Fingerprinter()

    def write(self, head: Json) -> None:
        """Write all of it. Raises SessionError unless the entries are those that were scanned."""
        self._put(head)
        transcript = self._rewriter.transcript
        for part in transcript.slices:
            for line, kind in _lines(part):
                if kind != EditKind.DROP:
                    self._line(line, kind, part.slice.file)
        if self._written.chain() != transcript.chain:
            raise changed(transcript.file)

    def _line(self, line: bytes, kind: int | None, file: RolloutFile) -> None:
        record = parse_record(line)
        if record is None:
            raise changed(file)
        kept = self._legacy and kind is None and record["type"] != COMPACTED
        if kept and not any(old in line for old in self._rewriter.renamed):
            self._sink.write(line)
            self._note(record)
        elif record["type"] == RESPONSE_ITEM:
            self._put(record)
        else:
            self._put(self._rewriter.settled(record))

    def _put(self, record: Json) -> None:
        for one in [record] if self._legacy else self._converter.convert(record):
            self._sink.write(dump_record(one))
            self._note(one)

    def _note(self, record: Json) -> None:
        if is_entry(record):
            self._written.add(record)
        elif record["type"] == EVENT:
            self._written.note_event(record["payload"])


def _rewritten(
    line: bytes, kind: int | None, rewriter: Rewriter, file: RolloutFile
) -> tuple[Json, bytes]:
    """What is written for a line: the record, and its bytes."""
    record = parse_record(line)
    if record is None:
        raise changed(file)
    if kind == EditKind.NUMBERED:
        record = rewriter.numbered(record)
    elif (
        record["type"] == RESPONSE_ITEM
        and line.endswith(b"\n")
        and not _unnumbered(record, rewriter)
    ):
        return record, line
    else:
        record = rewriter.record(record)
    return record, dump_record(record)


def _unnumbered(record: Json, rewriter: Rewriter) -> bool:
    return rewriter.transcript.mode == "paginated" and "ordinal" not in record
