"""The two files as they are to be: what there was, what comes back, what stays, what goes."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ..codex.history import HISTORY, parse_entry
from ..codex.home import INDEX, CodexHome
from ..codex.session_index import index_line, parse_index_line
from ..codex.state_db import StateDb
from ..durable import safe_join
from ..model import Json, Row
from ..regular import open_if_any
from .conversations import Conversation, title_of
from .spool import Spool
from .survey import Said, Survey, prompt_key
from .timeline import standing, trimmed

LAST_MS = 253_402_300_799_000
"""The end of the year 9999; a row or a record may name a later time."""


@dataclass(frozen=True, slots=True)
class Before:
    """A file as it was read."""

    lines: int
    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Tally:
    """What becomes of lines: come back, change, stay, go with a reason, go for want of room."""

    restored: int = 0
    changed: int = 0
    kept: int = 0
    dropped: Mapping[str, int] | None = None
    trimmed: int = 0


@dataclass(frozen=True, slots=True)
class Draft:
    """A file as it is to be: the lines of ``spool`` in this order."""

    name: str
    spool: Spool
    order: Sequence[int]
    before: Before | None
    tally: Tally
    size: int
    sha256: str

    @property
    def action(self) -> str:
        """What is done with the file: ``create``, ``replace`` or ``none``."""
        if self.before is None:
            return "create" if self.order else "none"
        return "none" if self.before.sha256 == self.sha256 else "replace"

    def to_json(self, backup: str | None) -> Json:
        """What a report says of it."""
        return {
            "name": self.name,
            "action": self.action,
            "lines": len(self.order),
            "bytes": self.size,
            "lines_before": self.before and self.before.lines,
            "bytes_before": self.before and self.before.size,
            "restored": self.tally.restored,
            "changed": self.tally.changed,
            "kept": self.tally.kept,
            "dropped": dict(sorted((self.tally.dropped or {}).items())),
            "trimmed": self.tally.trimmed,
            "backup": backup,
        }


def draft_index(
    home: CodexHome, survey: Survey, said: Said, database: StateDb | None, spool: Spool
) -> Draft:
    """The list of names: lines of sessions that are not listed, then the listed ones by time.

    A session that is not listed keeps its last line unless the home has it no more. Raises
    HomeError.
    """
    old = _old_names(home, survey.index_size)
    listed = survey.selection.listed
    others = old.names.keys() - {one.session_id for one in listed}
    kept = [i for i in old.names if i in others and (old.names[i].new or i in survey.present)]
    order = [spool.add(old.names[i].data) for i in kept]
    placed, changed = _listed_lines(listed, said, database, spool, old.names)
    order += [placed[one.session_id] for one in listed]
    gone = len(others) - len(kept)
    tally = Tally(
        restored=sum(one.session_id not in old.names for one in listed),
        changed=changed,
        kept=len(kept),
        dropped=+(old.dropped + Counter({"gone": gone})),
    )
    return _draft(INDEX, spool, order, old.before, tally)


def draft_history(home: CodexHome, said: Said, limit: int | None) -> Draft:
    """The history: what it had, and what the transcripts have besides, within ``limit`` bytes.

    Takes the old lines into ``said``, which so serves one draft only. Raises HomeError.
    """
    dropped: Counter[str] = Counter()
    spool, lines = said.spool, said.lines
    derived = len(lines)

    def take(line: bytes, _: int) -> None:
        entry = parse_entry(line)
        if entry is None:
            dropped["unreadable"] += 1
            return
        spool.add(_whole(line))
        lines.add(entry.ts * 1000, prompt_key(entry), derived=False)

    before = _read_old(home, HISTORY, take)
    order = standing(lines)
    dropped["duplicate"] = len(lines) - derived - sum(not lines.derived[i] for i in order)
    gone = trimmed(order, spool.sizes, limit)
    order = order[gone:]
    restored = sum(lines.derived[i] for i in order)
    tally = Tally(restored=restored, kept=len(order) - restored, dropped=+dropped, trimmed=gone)
    return _draft(HISTORY, spool, order, before, tally)


@dataclass(frozen=True, slots=True)
class _OldName:
    """The last line of a session; ``new``: it came after the survey began."""

    name: str
    data: bytes
    new: bool


@dataclass(frozen=True, slots=True)
class _OldNames:
    """The old list by session id, in the order of its lines, and how many of these go."""

    names: Mapping[str, _OldName]
    dropped: Counter[str]
    before: Before | None


def _old_names(home: CodexHome, known_size: int) -> _OldNames:
    """The list of names as it is; lines beyond ``known_size`` are new. Raises HomeError."""
    names: dict[str, _OldName] = {}
    dropped: Counter[str] = Counter()

    def take(line: bytes, offset: int) -> None:
        entry = parse_index_line(line)
        if entry is None:
            dropped["unreadable"] += 1
            return
        session_id, name = entry
        dropped["superseded"] += names.pop(session_id, None) is not None
        names[session_id] = _OldName(name, _whole(line), offset >= known_size)

    before = _read_old(home, INDEX, take)
    return _OldNames(names, dropped, before)


def _listed_lines(
    listed: Sequence[Conversation],
    said: Said,
    database: StateDb | None,
    spool: Spool,
    old: Mapping[str, _OldName],
) -> tuple[dict[str, int], int]:
    """The number in the spool of each listed session's line; how many lines change."""
    times = {one.session_id: one.time_ms for one in listed}
    placed: dict[str, int] = {}
    changed = 0

    def put(session_id: str, row: Row | None) -> None:
        nonlocal changed
        known = old.get(session_id)
        if known is not None and known.new:
            placed[session_id] = spool.add(known.data)
            return
        first = said.first_messages.get(session_id)
        title = title_of(session_id, row, known.name if known else None, first)
        line = index_line(session_id, title, _stamp(times[session_id]))
        changed += known is not None and known.data != line
        placed[session_id] = spool.add(line)

    if database is not None:
        for row in database.rows("threads", list(times)):
            put(str(row["id"]), row)
    for session_id in times:
        if session_id not in placed:
            put(session_id, None)
    return placed, changed


def _whole(line: bytes) -> bytes:
    """A line with its newline, which the last one of a file may lack."""
    return line if line.endswith(b"\n") else line + b"\n"


def _read_old(home: CodexHome, name: str, take: Callable[[bytes, int], None]) -> Before | None:
    """Give each line of a file that is not blank, and its offset, to ``take``.

    Returns what the file was, None if it is not there.
    Raises HomeError: ``path_escapes_home`` if it is a link, ``not_a_file``.
    """
    digest, lines, size = hashlib.sha256(), 0, 0
    stream = open_if_any(safe_join(home.path, name))
    if stream is None:
        return None
    with stream:
        mtime_ns = os.fstat(stream.fileno()).st_mtime_ns
        for line in stream:
            if line.strip():
                take(line, size)
            digest.update(line)
            lines += 1
            size += len(line)
    return Before(lines, size, mtime_ns, digest.hexdigest())


def _draft(
    name: str, spool: Spool, order: Sequence[int], before: Before | None, tally: Tally
) -> Draft:
    digest, size = hashlib.sha256(), 0
    for line in spool.lines(order):
        digest.update(line)
        size += len(line)
    return Draft(name, spool, order, before, tally, size, digest.hexdigest())


def _stamp(time_ms: int) -> str:
    moment = datetime.fromtimestamp(min(max(time_ms, 0), LAST_MS) / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
