"""What a session says, as people read it: the lines of a conversation, without its machinery."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from .codex.items import text_of
from .codex.messages import is_context
from .codex.rollout import COMPACTED
from .model import Json, Transcript
from .planned import SessionPlan
from .transcript import entries

SHOWN = 200
"""The most lines of a side that are shown; what comes between is counted."""
BEFORE = 4
"""How many of the last common lines are shown."""
WORDS = 400
"""How much of a line's text is shown."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was said or done: by whom, what, and when (ISO 8601).

    ``who``: ``user``, ``assistant``, ``tool`` (what it was asked), ``output`` or ``compacted``.
    """

    who: str
    text: str
    at: str


@dataclass(frozen=True, slots=True)
class Side:
    """What one side has after the common part; ``left_out`` counts lines after those shown."""

    lines: tuple[Line, ...] = ()
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The end of what two sessions share, and how each goes on; ``local`` is empty without one."""

    session_id: str
    common: tuple[Line, ...] = ()
    incoming: Side = field(default_factory=Side)
    local: Side = field(default_factory=Side)

    def to_json(self) -> Json:
        """As reports have it."""
        return asdict(self)


def excerpt(plan: SessionPlan, local: Transcript | None) -> Excerpt:
    """What would come in by a plan whose transcript is whole, and what is here beside it.

    Raises SessionError where a transcript cannot be read any more.
    """
    transcript = plan.transcript
    assert isinstance(transcript, Transcript)
    common = plan.decision.common_entries
    before = deque(_lines(islice(entries(transcript, 0), common)), BEFORE) if common else ()
    here = _side(local, common) if local is not None else Side()
    return Excerpt(transcript.session_id, tuple(before), _side(transcript, common), here)


def last_answer(transcript: Transcript, most: int = 40) -> str | None:
    """What was answered last, if it is among the last entries.

    Raises SessionError where the transcript cannot be read any more.
    """
    found = None
    for line in _lines(entries(transcript, max(0, len(transcript.chain) - most))):
        if line.who == "assistant":
            found = line.text
    return found


def _side(transcript: Transcript, first: int) -> Side:
    found = _lines(entries(transcript, first))
    shown = tuple(islice(found, SHOWN))
    return Side(shown, sum(1 for _ in found))


def _lines(records: Iterable[Json]) -> Iterator[Line]:
    for record in records:
        who, text = _said(record["type"], record["payload"])
        words = " ".join(text.split())
        if who and words:
            short = words if len(words) <= WORDS else words[: WORDS - 1] + "…"
            yield Line(who, short, str(record["timestamp"]))


def _said(kind: str, payload: Json) -> tuple[str, str]:
    """Who says what by an entry; nothing where it is machinery."""
    if kind == COMPACTED:
        return "compacted", str(payload.get("message") or "the conversation was compacted")
    match payload:
        case {"type": "message", "role": "user" | "assistant" as role, "content": list(parts)}:
            text = _told(parts)
            return ("", "") if role == "user" and is_context(text) else (str(role), text)
        case {"type": "function_call" | "custom_tool_call", "name": str(name)}:
            asked = payload.get("arguments") or payload.get("input") or ""
            return "tool", f"{name} {asked}"
        case {"type": "local_shell_call", "action": {"command": list(words)}}:
            return "tool", " ".join(map(str, words))
        case {"type": "web_search_call", "action": {"query": str(query)}}:
            return "tool", f"search {query}"
        case {"type": "function_call_output" | "custom_tool_call_output"}:
            output = payload.get("output")
            return "output", output if isinstance(output, str) else _told(_contents(output))
    return "", ""


def _contents(output: Any) -> list[Any]:
    match output:
        case {"content": str(text)}:
            return [{"text": text}]
        case {"content": list(parts)} | list(parts):
            return parts
    return []


def _told(parts: list[Any]) -> str:
    images = sum(isinstance(p, dict) and p.get("type") == "input_image" for p in parts)
    return " ".join([text_of(parts), *["[image]"] * images])
