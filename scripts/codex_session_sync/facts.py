"""What a transcript says of itself, gathered record by record."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from typing import Any

from .codex.items import text_of
from .model import Facts, Json


@dataclass(slots=True)
class Gathering:
    """Facts under construction; see model.Facts."""

    records: int = 0
    turns: int = 0
    unreadable: int = 0
    torn: bool = False
    first_user_message: str | None = None
    own_first_message: str | None = None
    last_user_message: str | None = None
    last_timestamp: str | None = None
    last_cwd: str | None = None
    model: str | None = None
    reasoning_effort: str | None = None
    tokens: int = 0
    last_ordinal: int | None = None
    numbered_end: bool = False

    def note_turn_context(self, payload: Json) -> None:
        """Take in what a turn begins with."""
        self.last_cwd = _text(payload.get("cwd")) or self.last_cwd
        self.model = _text(payload.get("model")) or self.model
        self.reasoning_effort = _text(payload.get("effort")) or self.reasoning_effort

    def note_event(self, kind: object, payload: Json, *, inherited: bool) -> None:
        """Take in an event of this kind; ``inherited``: of another session."""
        if kind == "item_completed":
            item = payload.get("item")
            if isinstance(item, dict) and item.get("type") == "UserMessage":
                parts = item.get("content")
                if isinstance(parts, list):
                    self._note_user(text_of(parts), inherited)
            return
        match kind, payload:
            case "token_count", {"info": {"total_token_usage": {"total_tokens": int(total)}}}:
                if not inherited and 0 <= total < 1 << 63:
                    self.tokens = int(total)
            case "user_message", {"message": str(text)}:
                self._note_user(text, inherited)
            case "thread_settings_applied", {"thread_settings": {"cwd": str(cwd)}} if cwd:
                self.last_cwd = cwd

    def _note_user(self, text: str, inherited: bool) -> None:
        self.turns += 1
        self.last_user_message = text
        if self.first_user_message is None:
            self.first_user_message = text
        if self.own_first_message is None and not inherited:
            self.own_first_message = text

    def values(self) -> tuple[Any, ...]:
        """Its fields, in their order."""
        return tuple(getattr(self, name) for name in FACTS)

    def freeze(self, meta: Json) -> Facts:
        """The facts of a session with this ``session_meta``; texts that are equal are one."""
        first = self.first_user_message
        return Facts(
            self.records,
            self.turns,
            self.unreadable,
            self.torn,
            first,
            first if self.own_first_message == first else self.own_first_message,
            first if self.last_user_message == first else self.last_user_message,
            _text(meta.get("timestamp")),
            self.last_timestamp,
            _shared(self.last_cwd or _text(meta.get("cwd"))),
            _shared(self.model),
            _shared(self.reasoning_effort),
            self.tokens,
            self.last_ordinal,
            self.numbered_end,
        )


FACTS = tuple(one.name for one in fields(Gathering))


def _shared(text: str | None) -> str | None:
    """The same text, once for all sessions that have it."""
    return text and sys.intern(text)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
