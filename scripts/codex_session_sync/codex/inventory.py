"""Which rollout files there are: an index by segment and by thread, and the chain of a history."""

from __future__ import annotations

import io
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import zstandard

from ..errors import PackageError, SessionError
from ..model import HistoryBase, Json, RolloutFile, Slice
from ..regular import BUFFER_BYTES, open_regular
from .rollout import META, Line, history_base, parse_name, parse_record, read_lines

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SegmentLookup = Callable[[str], RolloutFile | None]
"""Finds the rollout file of a segment id, None if there is none."""

MAX_HISTORY_DEPTH = 1000

_OWN_ID = frozenset({"id", "session_id"})
_OF_ONE = frozenset({*_OWN_ID, "timestamp"})
_OF_MANY = frozenset({"base_instructions", "git"})
"""What of a ``session_meta`` is of a single session, and what has texts of many."""


class RolloutIndex:
    """Rollout files by segment id and by thread id.

    Where one segment has several files, the plain one wins over the compressed, then the newest
    stamp, as Codex has it.
    """

    def __init__(self, files: Iterable[RolloutFile]) -> None:
        by_segment: dict[str, RolloutFile] = {}
        self._passed_over: list[RolloutFile] = []
        for file in files:
            known = by_segment.get(file.segment_id)
            if known is None or _precedence(file) > _precedence(known):
                by_segment[file.segment_id] = file
                self._passed_over += [known] if known else []
            else:
                self._passed_over.append(file)
        by_thread: dict[str, list[RolloutFile]] = defaultdict(list)
        for file in by_segment.values():
            by_thread[file.thread_id].append(file)
        self._by_segment: Mapping[str, RolloutFile] = by_segment
        self._by_thread: Mapping[str, list[RolloutFile]] = by_thread

    def __len__(self) -> int:
        return len(self._by_segment)

    def threads(self) -> Iterator[str]:
        """The ids of all threads, in the order of their files."""
        return iter(self._by_thread)

    def segment(self, segment_id: str) -> RolloutFile | None:
        """The file of a segment."""
        return self._by_segment.get(segment_id)

    def passed_over(self, thread_id: str) -> list[RolloutFile]:
        """The files of a thread in whose place another one of the same segment is taken."""
        return [file for file in self._passed_over if file.thread_id == thread_id]

    def files(self, thread_id: str) -> list[RolloutFile]:
        """The files of a thread, one for each segment, oldest first."""
        found = self._by_thread.get(thread_id, [])
        return sorted(found, key=lambda file: (file.stamp, file.segment_id))

    def tip(self, thread_id: str, base_name: str | None = None) -> RolloutFile | None:
        """The newest file of a thread: the one the database names, else the newest stamp.

        ``base_name`` is that of the row's ``rollout_path``, with or without ``.zst``.
        """
        files = self._by_thread.get(thread_id, [])
        if base_name is not None:
            wanted = base_name.removesuffix(".zst")
            for file in files:
                if file.name.removesuffix(".zst") == wanted:
                    return file
        return max(files, key=lambda file: (file.stamp, file.segment_id), default=None)


def rollout_file(
    path: Path, name: str, size: int, mtime_ns: int, *, archived: bool
) -> RolloutFile | None:
    """A RolloutFile for a base name; None if the name is no rollout's."""
    parts = parse_name(name)
    if parts is None:
        return None
    return RolloutFile(
        path,
        name,
        parts.thread_id,
        parts.segment_id,
        parts.stamp,
        parts.compressed,
        archived,
        size,
        mtime_ns,
    )


def open_rollout(file: RolloutFile) -> BinaryIO:
    """The (decompressed) bytes of a rollout, as a stream.

    Raises SessionError ``transcript_unreadable``: a link or a pipe is not followed or waited for;
    ``package_changed`` if another file is there than was listed. Reading raises PackageError
    ``package_unsafe`` where more comes out than may.
    """
    try:
        stream = open_regular(file.path)
    except OSError as error:
        raise _unreadable(file, error.strerror) from error
    status = os.fstat(stream.fileno())
    if file.identity not in {None, (status.st_dev, status.st_ino)}:
        stream.close()
        raise changed(file)
    if not file.compressed:
        return stream
    reader: Any = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(
        stream, read_across_frames=True, closefd=True
    )
    raw = reader if file.expands_to is None else _Bounded(reader, file)
    return io.BufferedReader(raw, BUFFER_BYTES)


class _Bounded(io.RawIOBase):
    """A decompressing stream that is stopped where only a bomb gets to."""

    def __init__(self, source: BinaryIO, file: RolloutFile) -> None:
        super().__init__()
        self._source = source
        self._file = file
        self._given = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read once; 0 at the end. Raises PackageError."""
        with memoryview(buffer) as view:
            data = self._source.read(len(view))
            view[: len(data)] = data
        self._given += len(data)
        if self._given > (self._file.expands_to or 0):
            raise PackageError(
                "package_unsafe",
                f"{self._file.name} expands to more than {self._file.expands_to} bytes, out of "
                f"{self._file.size}",
                hint="if you trust its sender, `codex-session-sync AGAIN --limit ratio=N` or "
                "--limit file_bytes=N raises it",
            )
        return len(data)

    def close(self) -> None:
        """Close what is read as well."""
        self._source.close()
        super().close()


def read_head(file: RolloutFile, stream: BinaryIO | None = None) -> Json:
    """The first record of a rollout, which must be its ``session_meta``, with the id of the name.

    Blank lines before it are passed over, as Codex does. ``stream``: the file, if it is open
    already; more of it than the record may be read. Raises SessionError (``transcript_invalid``)
    if it is not.
    """
    line = head_line(file) if stream is None else _first_line(file, stream)
    record = parse_record(line.data) if line else None
    if record is None or record["type"] != META:
        raise invalid(file, "does not begin with a session_meta record")
    if record["payload"].get("id") != file.thread_id:
        raise invalid(file, "names another session in its session_meta than in its file name")
    _share(record["payload"])
    for key in _OWN_ID & record["payload"].keys():
        if record["payload"][key] == file.thread_id:
            record["payload"][key] = file.thread_id
    return record


def _share(meta: Json) -> None:
    """Keep texts of a ``session_meta`` once in memory that thousands of sessions have alike."""
    for key, value in meta.items():
        if type(value) is str:
            if key not in _OF_ONE:
                meta[key] = sys.intern(value)
        elif key in _OF_MANY and type(value) is dict:
            _share(value)


def head_line(file: RolloutFile) -> Line | None:
    """The first line that is not blank; None where there is none. Raises SessionError."""
    try:
        with open_rollout(file) as stream:
            return _first_line(file, stream)
    except zstandard.ZstdError as error:
        raise invalid(file, f"cannot be decompressed: {error}") from error


def _first_line(file: RolloutFile, stream: BinaryIO) -> Line | None:
    return next((line for line in read_lines(stream, file.thread_id) if line.data.strip()), None)


def resolve(
    tip: RolloutFile, lookup: SegmentLookup, oldest: RolloutFile | None = None
) -> tuple[Json, tuple[Slice, ...]]:
    """The head record of a session and the slices of its history, oldest first.

    Follows ``history_base`` from the newest file through ``lookup``, and what ``oldest`` continues
    no further. Raises SessionError:
    ``history_base_missing`` if a base is not to be had, ``transcript_invalid`` if one is damaged
    or the chain has no end.
    """
    head = read_head(tip)
    slices = [Slice(tip, None)]
    seen = {tip.segment_id}
    base = _base(tip, head) if tip != oldest else None
    limit = base.end_ordinal if base else 0
    while base is not None:
        file = lookup(base.segment_id)
        if file is None:
            raise SessionError(
                "history_base_missing",
                f"the history it continues (segment {base.segment_id}) is neither in the package "
                "nor in this home",
                hint="have it packed with the one it was forked from: `codex-session-sync pack -o "
                "FILE "
                "--session ID` where it was made",
                session_id=tip.thread_id,
            )
        if base.segment_id in seen or len(seen) > MAX_HISTORY_DEPTH:
            raise invalid(tip, "its history refers to itself")
        seen.add(base.segment_id)
        limit = min(limit, base.end_ordinal)
        slices.append(Slice(file, replace(base, end_ordinal=limit)))
        base = _base(file, read_head(file)) if file != oldest else None
    return head, tuple(reversed(slices))


def invalid(file: RolloutFile, what: str) -> SessionError:
    """The error for a rollout that cannot be used."""
    return SessionError(
        "transcript_invalid",
        f"{file.name} {what}",
        hint="have it packed again where it was made: `codex-session-sync pack -o FILE --session "
        "ID`; the "
        "other sessions are not affected",
        session_id=file.thread_id,
    )


def skip(stream: BinaryIO, size: int, file: RolloutFile) -> None:
    """Pass over so many bytes of a rollout just opened. Raises SessionError ``package_changed``."""
    if stream.seekable() and not file.compressed:
        stream.seek(size)
        return
    while size:
        chunk = stream.read(min(size, 1 << 20))
        if not chunk:
            raise changed(file)
        size -= len(chunk)


def changed(file: RolloutFile) -> SessionError:
    """The error for a rollout that is not as it was listed or scanned."""
    return SessionError(
        "package_changed",
        f"{file.name} changed while it was read",
        hint="let the program that writes it finish, then run `codex-session-sync AGAIN`",
        session_id=file.thread_id,
    )


def _unreadable(file: RolloutFile, why: str | None) -> SessionError:
    return SessionError(
        "transcript_unreadable",
        f"{file.name} cannot be read: {why}",
        hint="check what it is and who may read it; the other sessions are not affected",
        session_id=file.thread_id,
    )


def _base(file: RolloutFile, head: Json) -> HistoryBase | None:
    try:
        return history_base(head["payload"])
    except ValueError as error:
        raise invalid(file, str(error)) from error


def _precedence(file: RolloutFile) -> tuple[bool, str]:
    return not file.compressed, file.stamp
