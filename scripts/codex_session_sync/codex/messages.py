"""What people and agents say in a conversation, told from what Codex itself puts among it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from ..model import Json
from .items import text_of

Who = Literal["user", "assistant"]

_TAGS = (
    *("environment_context", "user_instructions", "recommended_plugins", "skill"),
    *("user_shell_command", "turn_aborted", "subagent_notification", "hook_prompt"),
    *("goal_context", "codex_internal_context", r"external_[\w.-]+"),
)
"""What Codex puts around texts of its own that it gives to the model as a user's."""

_CONTEXT = re.compile(
    rf"\s*(?:<({'|'.join(_TAGS)})(?:\s[^>]*)?>.*</\1>\s*\Z|# AGENTS\.md instructions\b)",
    re.DOTALL | re.IGNORECASE,
)
_IMAGE_TAG = re.compile(r"\s*</?image(?:\s[^>]*)?>\s*", re.IGNORECASE)
"""A text that stands before or after an image, and is part of it."""


@dataclass(frozen=True, slots=True)
class Said:
    """A message: by whom, its text, and how many images are with it."""

    who: Who
    text: str
    images: int


def is_context(text: str) -> bool:
    """Whether a text of a user's message is one of Codex's own: instructions, environment."""
    return _CONTEXT.match(text) is not None


def said(payload: Json) -> Said | None:
    """The message that a ``response_item`` is, as Codex shows it; None where it is none.

    A message with a text of Codex's own in it is Codex's own as a whole, as Codex itself has it.
    """
    match payload:
        case {"type": "message", "role": "user", "content": list(parts)}:
            return _by_user(parts)
        case {"type": "message", "role": "assistant", "content": list(parts)}:
            text = text_of(parts)
            return Said("assistant", text, 0) if text.strip() else None
    return None


def _by_user(parts: list[Any]) -> Said | None:
    known = [part for part in parts if isinstance(part, dict)]
    texts = [part["text"] for part in known if isinstance(part.get("text"), str)]
    if any(map(is_context, texts)):
        return None
    images = sum(part.get("type") == "input_image" for part in known)
    if images:
        texts = [text for text in texts if not _IMAGE_TAG.fullmatch(text)]
    text = "\n".join(texts)
    return Said("user", text, images) if images or text.strip() else None


def is_summary_for(text: str, compacted: Json) -> bool:
    """Whether an agent's text is the summary that the ``compacted`` payload after it holds."""
    message = compacted.get("message")
    return (
        isinstance(message, str) and bool(text.strip()) and message.strip().endswith(text.strip())
    )
