"""From entries of a conversation to messages: what of it is an event. Nothing is read here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..codex.messages import is_summary_for, said
from ..codex.rollout import COMPACTED, RESPONSE_ITEM
from ..model import Json

NORMALISER = 1
"""The version of what this module does. Whatever makes another message, or none, of an entry is a
new version: what an earlier one observed stays, and is observed again."""


@dataclass(frozen=True, slots=True)
class Message:
    """What an event says, and how many images are with it."""

    kind: Literal["user_message", "agent_message"]
    text: str
    images: int = 0


@dataclass(frozen=True, slots=True)
class Normaliser:
    """A version, and what it makes of an entry and the one after it on its line, if there is.

    Entries whose lines cannot matter to it are not parsed for it.
    """

    version: int
    message: Callable[[Json, Json | None], Message | None]
    may_matter: Callable[[bytes], bool] = lambda _: True


def message_of(entry: Json, following: Json | None) -> Message | None:
    """The message that an entry is; None for one that is machinery.

    The answer that a compaction asked an agent for is no message: the entry after it has it.
    """
    if entry["type"] != RESPONSE_ITEM:
        return None
    found = said(entry["payload"])
    if found is None:
        return None
    if found.who == "user":
        return Message("user_message", found.text, found.images)
    if following is not None and _is_summary(found.text, following):
        return None
    return Message("agent_message", found.text, found.images)


def _is_summary(text: str, following: Json) -> bool:
    return following["type"] == COMPACTED and is_summary_for(text, following["payload"])


_MAY_MATTER = (b'"role"', b'"compacted"', b"\\u")


def may_matter(line: bytes) -> bool:
    """Whether an entry's line may be a message, or end one; the last: a key may be escaped."""
    return any(part in line for part in _MAY_MATTER)


CURRENT = Normaliser(NORMALISER, message_of, may_matter)
