"""Writing a resolved transcript as one self-contained rollout, in one streaming pass.

Bytes between the edits that the scan noted are copied as they are, without being parsed again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from .codex.inventory import changed, open_rollout, read_head
from .codex.rollout import RESPONSE_ITEM, dump_record, parse_record, read_lines
from .localize import Rewriter
from .model import EditKind, Json, RolloutFile, ScannedSlice

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Written:
    """Size in bytes and SHA-256 of what was written."""

    size: int
    sha256: str


def compose(
    rewriter: Rewriter, target: BinaryIO, progress: Callable[[int], None] | None = None
) -> Written:
    """Write the rewriter's transcript to ``target``.

    Raises SessionError ``package_changed`` if the files are not as they were scanned.
    """
    transcript = rewriter.transcript
    sink = Sink(target, progress)
    tip = transcript.slices[-1].slice.file
    sink.write(dump_record(rewriter.head(read_head(tip))))
    for part in transcript.slices:
        _copy(part, rewriter, sink)
    return Written(sink.size, sink.digest.hexdigest())


class Sink:
    """A target that counts and digests what is written to it."""

    def __init__(self, target: BinaryIO, progress: Callable[[int], None] | None) -> None:
        self._target = target
        self._progress = progress
        self.size = 0
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Write all of ``data``."""
        self._target.write(data)
        self.digest.update(data)
        self.size += len(data)
        if self._progress:
            self._progress(len(data))


def _copy(part: ScannedSlice, rewriter: Rewriter, sink: Sink) -> None:
    """Copy one slice, edits applied, and check that it is the slice that was scanned."""
    if rewriter.renamed:
        _copy_renaming(part, rewriter, sink)
        return
    digest = hashlib.sha256()
    edits = part.edits
    with open_rollout(part.slice.file) as source:
        place = 0
        for i in range(0, len(edits), 3):
            offset, length, kind = edits[i], edits[i + 1], edits[i + 2]
            _copy_raw(source, offset - place, digest.update, sink, part.slice.file)
            place = offset + length
            if kind == EditKind.DROP:
                _copy_raw(source, length, digest.update, None, part.slice.file)
                continue
            line = _read_exactly(source, length, part.slice.file)
            digest.update(line)
            sink.write(_rewritten(line, kind, rewriter, part.slice.file))
        _copy_raw(source, part.size - place, digest.update, sink, part.slice.file)
    if digest.hexdigest() != part.sha256:
        raise changed(part.slice.file)


def _copy_renaming(part: ScannedSlice, rewriter: Rewriter, sink: Sink) -> None:
    """As ``_copy``, for a session that gets another id: every line that names the old is parsed."""
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
            if line.offset < dropped:
                continue
            named = any(old in line.data for old in rewriter.renamed)
            if kind is None and not named:
                sink.write(line.data)
            else:
                sink.write(_rewritten(line.data, kind, rewriter, part.slice.file))
    if digest.hexdigest() != part.sha256:
        raise changed(part.slice.file)


def _copy_raw(
    source: BinaryIO,
    length: int,
    digest: Callable[[bytes], None],
    sink: Sink | None,
    file: RolloutFile,
) -> None:
    """Copy so many bytes, or read them alone where there is no sink."""
    while length:
        chunk = source.read(min(length, _CHUNK))
        if not chunk:
            raise changed(file)
        digest(chunk)
        if sink is not None:
            sink.write(chunk)
        length -= len(chunk)


def _read_exactly(source: BinaryIO, length: int, file: RolloutFile) -> bytes:
    data = b""
    while len(data) < length:
        chunk = source.read(length - len(data))
        if not chunk:
            raise changed(file)
        data += chunk
    return data


def _rewritten(line: bytes, kind: int | None, rewriter: Rewriter, file: RolloutFile) -> bytes:
    record = parse_record(line)
    if record is None:
        raise changed(file)
    if kind == EditKind.NUMBERED:
        return dump_record(rewriter.numbered(record))
    if (
        record["type"] == RESPONSE_ITEM
        and line.endswith(b"\n")
        and not _unnumbered(record, rewriter)
    ):
        return line
    return dump_record(rewriter.record(record))


def _unnumbered(record: Json, rewriter: Rewriter) -> bool:
    return rewriter.transcript.mode == "paginated" and "ordinal" not in record
