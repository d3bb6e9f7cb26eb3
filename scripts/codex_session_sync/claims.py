"""What records say beside the conversation: settings that act, instructions, tools.

Gathered while a transcript is scanned, so that a plan can tell what a sync would take away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import orjson

from .codex.rollout import COMPACTED, EVENT, META, SETTINGS_APPLIED, TURN_CONTEXT
from .model import Json
from .policy import ACTING_IN_META, ACTING_IN_TURN, SETTINGS_THAT_ACT

TOOLS_UPDATED = "dynamic_tools_updated"
TOOLS = "tools"
INSTRUCTIONS = "instructions"
MORE = "more"
"""The kind of claim that stands for all beyond the limit."""

MOST = 4096
"""How many different claims of a session are kept."""

LONGEST = 16 << 10
"""The longest claim that is kept, in bytes."""

WORDS = 80
NAMES = 20


def claims_of(record: Json) -> Iterator[Json]:
    """What one record says, each as a small record: ``type`` and ``payload``.

    The payload of a settings record is as in the record, without what does not act. That of other
    claims is a description, see ``described``.
    """
    payload = record["payload"]
    kind = record["type"]
    if kind == META:
        yield _claim(META, _of(payload, ACTING_IN_META))
    elif kind == TURN_CONTEXT:
        yield _claim(TURN_CONTEXT, _of(payload, ACTING_IN_TURN))
        yield from _instructions(payload)
    elif kind == TOOLS_UPDATED:
        yield from _tools(payload.get("tools"))
    elif kind == COMPACTED:
        match payload:
            case {"resume_metadata": {"dynamic_tools": {"tools": tools}}}:
                yield from _tools(tools)
    elif payload.get("type") == SETTINGS_APPLIED:
        settings = payload.get("thread_settings")
        if isinstance(settings, dict):
            acting = _of(settings, ("cwd", *SETTINGS_THAT_ACT))
            yield _claim(EVENT, {"type": SETTINGS_APPLIED, "thread_settings": acting})
            yield from _instructions(settings)


def note(found: dict[bytes, int], record: Json, end: int) -> None:
    """Add what a record says to what was found, with the byte at which it was said last."""
    kind = record["type"]
    if kind not in _TELLING:
        return
    if kind == EVENT and record["payload"].get("type") != SETTINGS_APPLIED:
        return
    for claim in claims_of(record):
        text = orjson.dumps(claim, option=orjson.OPT_SORT_KEYS)
        if len(text) > LONGEST or (text not in found and len(found) >= MOST):
            text = orjson.dumps({"type": MORE, "payload": {}})
        found[shared(text)] = end


@lru_cache(maxsize=MOST)
def shared(text: bytes) -> bytes:
    """The same bytes, once for all sessions that say the same, and no larger than they are.

    What orjson gives keeps the room that it was written in, some 4 KB.
    """
    return bytes(memoryview(text))


_TELLING = frozenset({META, TURN_CONTEXT, EVENT, COMPACTED, TOOLS_UPDATED})


def base_instructions(meta: Json) -> str | None:
    """The instructions that stand in the place of Codex's own, if the session has any."""
    match meta.get("base_instructions"):
        case {"text": str(text)} if text:
            return text
    return None


def described_text(text: str) -> Json:
    """A text by its digest, its length and its first words."""
    words = " ".join(text[: WORDS * 8].split())
    return {
        "sha256": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        "length": len(text),
        "words": words if len(words) <= WORDS else words[: WORDS - 1] + "…",
    }


def described_tools(tools: object) -> Json | None:
    """Tools by their digest and names; None if there are none."""
    if not isinstance(tools, list) or not tools:
        return None
    data = orjson.dumps(tools, option=orjson.OPT_SORT_KEYS)
    return {"sha256": hashlib.sha256(data).hexdigest(), "names": _names(tools)[:NAMES]}


def _names(tools: list[Any]) -> list[str]:
    """The names of tools, also of those in a namespace."""
    found: list[str] = []
    for tool in tools:
        if not isinstance(tool, dict):
            continue
        inner = tool.get("tools")
        if isinstance(inner, list):
            found += _names([one for one in inner if isinstance(one, dict) and "tools" not in one])
        elif isinstance(tool.get("name"), str):
            found.append(tool["name"][:64])
    return found


def _tools(tools: object) -> Iterator[Json]:
    described = described_tools(tools)
    if described is not None:
        yield _claim(TOOLS, described)


def _instructions(settings: Json) -> Iterator[Json]:
    mode = settings.get("collaboration_mode")
    inner = mode.get("settings") if isinstance(mode, dict) else None
    texts = [settings.get("developer_instructions")]
    texts.append(inner.get("developer_instructions") if isinstance(inner, dict) else None)
    for text in texts:
        if isinstance(text, str) and text:
            yield _claim(INSTRUCTIONS, described_text(text))


def _of(payload: Json, keys: tuple[str, ...]) -> Json:
    return {key: payload[key] for key in keys if key in payload}


def _claim(kind: str, payload: Json) -> Json:
    return {"type": kind, "payload": payload}
