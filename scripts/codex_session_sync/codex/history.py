"""``history.jsonl``: the prompts that Codex's terminal interface recalls, and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

HISTORY = "history.jsonl"

KEPT_PERCENT = 80
"""To how much of the limit Codex cuts a history that is over it."""


@dataclass(frozen=True, slots=True)
class HistorySettings:
    """The ``[history]`` of a configuration: its limit in bytes, None without one; whether it is on.

    A limit of 0 is none.
    """

    max_bytes: int | None = None
    saved: bool = True


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One line: what was said in a session, and when, in seconds."""

    session_id: str
    ts: int
    text: str


def history_settings(config: Mapping[str, object]) -> HistorySettings:
    """The settings in a parsed ``config.toml``; what has another shape counts as not there."""
    table = config.get("history")
    if not isinstance(table, dict):
        return HistorySettings()
    limit = table.get("max_bytes")
    return HistorySettings(
        limit if type(limit) is int and limit > 0 else None, table.get("persistence") != "none"
    )


def parse_entry(line: bytes) -> HistoryEntry | None:
    """A line as Codex would read it; None if it is none."""
    try:
        entry = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    match entry:
        case {"session_id": str(session_id), "ts": int(ts), "text": str(text)} if (
            type(ts) is int and 0 <= ts < 1 << 40
        ):
            return HistoryEntry(session_id, ts, text)
    return None


def entry_line(entry: HistoryEntry) -> bytes:
    """An entry as a line, with its newline."""
    document = {"session_id": entry.session_id, "ts": entry.ts, "text": entry.text}
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
