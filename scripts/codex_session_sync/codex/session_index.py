"""``session_index.jsonl``: names of sessions, to which Codex only appends."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import orjson

from ..model import Row
from ..regular import open_if_any
from .rollout import SESSION_ID


def read_names(lines: Iterable[bytes]) -> dict[str, str]:
    """The name of each session id; the last line of an id wins, bad lines are skipped."""
    return dict(entry for line in lines if (entry := parse_index_line(line)) is not None)


def parse_index_line(line: bytes) -> tuple[str, str] | None:
    """The session id and the name in a line; None for a bad one."""
    try:
        entry = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    match entry:
        case {"id": str(session_id), "thread_name": str(name)} if SESSION_ID.fullmatch(session_id):
            return session_id, name
    return None


def read_index(path: Path) -> dict[str, str]:
    """The names in an index file; empty if there is none. Raises HomeError ``not_a_file``."""
    stream = open_if_any(path)
    if stream is None:
        return {}
    with stream:
        return read_names(stream)


def index_text(path: Path) -> bytes | None:
    """An index file to the byte; None if there is none. Raises HomeError ``not_a_file``."""
    stream = open_if_any(path)
    if stream is None:
        return None
    with stream:
        return stream.read()


def shown_name(row: Row | None, index_name: str | None) -> str | None:
    """The name that a person gave the session; None where there is only a title.

    Some writers of ``session_index.jsonl`` repeat there the title, or how the first message begins,
    which is no name. But from 0.140 to 0.147 Codex makes the name of a legacy session its title.
    """
    if row is not None:
        if row.get("name"):
            return str(row["name"])
        first = row.get("first_user_message")
        if index_name in (first, first_line(first)):
            return None
        paginated = row.get("history_mode") == "paginated"
        if index_name == row.get("title") and (paginated or _begins(first, index_name)):
            return None
    return index_name or None


def _begins(first: object, title: str | None) -> bool:
    """Whether a title may be what the first message begins with; not known counts as yes."""
    return not isinstance(first, str) or not first or first.startswith(title or "")


def first_line(text: object) -> str | None:
    """The first line of a text that has anything in it, without the blanks around it."""
    if not isinstance(text, str):
        return None
    return next((line.strip() for line in text.splitlines() if line.strip()), None)


def index_line(session_id: str, name: str, updated_at: str) -> bytes:
    """One entry, with its newline; ``updated_at`` is an ISO 8601 time."""
    entry = {"id": session_id, "thread_name": name, "updated_at": updated_at}
    return orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)


def separator(path: Path) -> bytes:
    """What must be written before an appended entry: a newline if the last line is torn.

    A torn last line would swallow the next entry. Raises HomeError ``not_a_file``.
    """
    stream = open_if_any(path)
    if stream is None:
        return b""
    with stream:
        return b"" if _ends_whole(stream) else b"\n"


def _ends_whole(stream: BinaryIO) -> bool:
    if stream.seek(0, 2) == 0:
        return True
    stream.seek(-1, 2)
    return stream.read(1) == b"\n"
