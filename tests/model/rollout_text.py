"""Rollouts from lists of tokens and back, by rules of this folder's own.

Nothing here uses the code under test, so that what it writes and what it reads can be compared.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import zstandard

Record = dict[str, Any]

Token = tuple[int, str, str]
"""One entry: its time in milliseconds after the story's beginning, who speaks, and the text.

A text may name sessions. Of what was said it does not count which.
"""

Line = tuple[Token, ...]
"""A session's entries, oldest first."""

CWD = "/home/alice/garden"

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def session_id(number: int) -> str:
    """A stable id of the shape that Codex gives."""
    return str(uuid.UUID(int=(0x019CAC00_0000 + number) << 80 | 0x7 << 76 | 0x8 << 60 | number))


def stamp(milliseconds: int) -> str:
    """A record's time."""
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"2026-03-02T{hours:02}:{minutes:02}:{seconds:02}.{rest:03}Z"


def milliseconds(time: str) -> int:
    """The inverse of ``stamp``."""
    hours, minutes, seconds = time[11:-1].split(":")
    return (int(hours) * 60 + int(minutes)) * 60_000 + round(float(seconds) * 1000)


def file_name(session: str) -> str:
    """The base name of a session's file; sessions of one id share it."""
    return f"rollout-2026-03-02T09-00-00-{session}.jsonl"


def head(session: str, moment: int, *, legacy: bool, base: Record | None = None) -> Record:
    """The first record of a session; ``base`` is what a fork adds to it."""
    payload: Record = {
        "id": session,
        "timestamp": stamp(moment),
        "cwd": CWD,
        "originator": "codex_cli_rs",
        "cli_version": "0.118.0" if legacy else "0.169.0",
        "source": "cli",
        "model_provider": "openai",
    }
    if not legacy:
        payload |= {"session_id": session, "history_mode": "paginated"}
    return _record(moment, "session_meta", {**payload, **(base or {})})


def opening(token: Token) -> list[Record]:
    """The records of an entry that is no part of a turn."""
    return [_entry(token)]


def turn(session: str, tokens: Sequence[Token], *, legacy: bool) -> list[Record]:
    """The records of one turn: its settings, a question and answers with what is shown of them."""
    first, last = tokens[0][0], tokens[-1][0]
    name = str(uuid.uuid5(uuid.UUID(session), f"{first}"))
    found = [
        _record(first, "event_msg", {"type": "task_started", "turn_id": name}),
        settings(first, name),
    ]
    for token in tokens:
        found += [_entry(token), _shown(session, name, token, legacy=legacy)]
    found.append(_record(last, "event_msg", {"type": "task_complete", "turn_id": name}))
    return found


def settings(moment: int, name: str = "none") -> Record:
    """A record that says how a session goes on, and nothing of what is said in it."""
    context = {"turn_id": name, "cwd": CWD, "approval_policy": "on-request", "model": "gpt-5"}
    return _record(moment, "turn_context", context)


def numbered(records: Iterable[Record], first: int) -> list[Record]:
    """Paginated records with their ordinals."""
    return [
        {"timestamp": r["timestamp"], "ordinal": place, "type": r["type"], "payload": r["payload"]}
        for place, r in enumerate(records, first)
    ]


def dump(records: Iterable[Record]) -> bytes:
    """Records as lines."""
    return b"".join(
        json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in records
    )


def parse(data: bytes) -> list[Record]:
    """The records in lines of which some may be torn."""
    return [record for _, record in placed(data)]


def placed(data: bytes) -> Iterator[tuple[int, Record]]:
    """The records with the bytes at which their lines begin."""
    offset = 0
    for line in data.splitlines(keepends=True):
        record = _record_in(line)
        if record is not None:
            yield offset, record
        offset += len(line)


def token_of(record: Record) -> Token | None:
    """What an entry says; None for any other record."""
    if record["type"] != "response_item":
        return None
    payload = record["payload"]
    text = payload["content"][0]["text"]
    return said((milliseconds(record["timestamp"]), payload["role"], text))


def said(token: Token) -> Token:
    """A token with the sessions that it names left open."""
    moment, role, text = token
    return moment, role, _ID.sub("<id>", text)


def content(path: Path) -> bytes:
    """The bytes of a rollout, compressed or not."""
    data = path.read_bytes()
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return data


def _record_in(line: bytes) -> Record | None:
    try:
        record: Record = json.loads(line)
    except ValueError:
        return None
    return record


def _entry(token: Token) -> Record:
    moment, role, text = token
    kind = "output_text" if role == "assistant" else "input_text"
    payload = {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}
    return _record(moment, "response_item", payload)


def _shown(session: str, name: str, token: Token, *, legacy: bool) -> Record:
    moment, role, text = token
    user = role == "user"
    if legacy:
        kind = "user_message" if user else "agent_message"
        return _record(moment, "event_msg", {"type": kind, "message": text})
    item = {
        "type": "UserMessage" if user else "AgentMessage",
        "id": f"{role} {moment}",
        "content": [{"type": "text" if user else "Text", "text": text}],
    }
    payload = {"type": "item_completed", "thread_id": session, "turn_id": name, "item": item}
    return _record(moment, "event_msg", payload)


def _record(moment: int, kind: str, payload: Record) -> Record:
    return {"timestamp": stamp(moment), "type": kind, "payload": payload}
