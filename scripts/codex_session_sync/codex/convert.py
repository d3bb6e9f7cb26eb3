"""Records of one history mode rewritten in the other.

Both directions follow what Codex 0.169 does: ``codex migrate-rollouts`` for legacy to paginated,
and the same turns recorded in both modes for the way back. Only ``event_msg`` records that show
items, and the head, differ between the modes; what the model sees is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..model import HistoryMode, Json
from .rollout import EVENT, META, TURN_CONTEXT, parse_time

PAGINATED_ONLY = ("history_mode", "history_base", "forked_from_ordinal_exclusive")


class ModeConverter:
    """Rewrites the records of one session, in order, for a file of another history mode.

    ``first_item`` numbers the items that a legacy record does not name; it must be past those that
    the target file has already.
    """

    def __init__(self, target: HistoryMode, session_id: str, first_item: int = 1) -> None:
        self._target = target
        self._session_id = session_id
        self._item = first_item
        self._turn: str | None = None

    def convert(self, record: Json) -> list[Json]:
        """The records that stand for ``record``; none for what the target mode does not show.

        Ordinals are the caller's to set.
        """
        payload = record["payload"]
        if record["type"] in (TURN_CONTEXT, EVENT) and isinstance(payload.get("turn_id"), str):
            self._turn = payload["turn_id"]
        if self._target == "legacy":
            record = {key: value for key, value in record.items() if key != "ordinal"}
        if record["type"] == META:
            return [{**record, "payload": self._meta(payload)}]
        if record["type"] != EVENT:
            return [record]
        if self._target == "legacy":
            shown = _to_legacy(payload)
        else:
            shown = self._to_paginated(payload, record["timestamp"])
        return [{**record, "payload": item} for item in shown]

    def _meta(self, payload: Json) -> Json:
        if self._target == "legacy":
            return {key: value for key, value in payload.items() if key not in PAGINATED_ONLY}
        return {"session_id": self._session_id, **payload, "history_mode": "paginated"}

    def _to_paginated(self, payload: Json, timestamp: str) -> list[Json]:
        item = _ITEM_OF.get(str(payload.get("type")))
        if item is None:
            return [payload]
        number, self._item = self._item, self._item + 1
        moment = parse_time(timestamp)
        return [
            {
                "type": "item_completed",
                "thread_id": self._session_id,
                "turn_id": self._turn or "",
                "item": {**item(payload), "id": f"item-{number}"},
                "completed_at_ms": int(moment.timestamp() * 1000) if moment else 0,
            }
        ]


def _user_item(event: Json) -> Json:
    text = {"type": "text", "text": event.get("message") or ""}
    content: list[Json] = [{**text, "text_elements": event.get("text_elements") or []}]
    content += [{"type": "image", "image_url": url} for url in event.get("images") or []]
    content += [{"type": "local_image", "path": path} for path in event.get("local_images") or []]
    return {"type": "UserMessage", "content": content}


def _agent_item(event: Json) -> Json:
    item: Json = {
        "type": "AgentMessage",
        "content": [{"type": "Text", "text": event.get("message") or ""}],
    }
    return item | {key: event[key] for key in ("phase", "memory_citation") if event.get(key)}


def _reasoning_item(event: Json) -> Json:
    return {"type": "Reasoning", "summary_text": [event.get("text") or ""], "raw_content": []}


def _compaction_item(_: Json) -> Json:
    return {"type": "ContextCompaction"}


_ITEM_OF: dict[str, Callable[[Json], Json]] = {
    "user_message": _user_item,
    "agent_message": _agent_item,
    "agent_reasoning": _reasoning_item,
    "context_compacted": _compaction_item,
}


def _to_legacy(payload: Json) -> list[Json]:
    """The legacy events for an event: what it shows, or itself if it shows no item."""
    if payload.get("type") != "item_completed":
        return [payload]
    item = payload.get("item")
    events = _EVENTS_OF.get(str(item.get("type"))) if isinstance(item, dict) else None
    return events(item) if events is not None and isinstance(item, dict) else []


def _user_events(item: Json) -> list[Json]:
    parts = _parts(item)
    event = {
        "type": "user_message",
        "message": "\n".join(_texts(parts)),
        "images": [part["image_url"] for part in parts if "image_url" in part],
        "local_images": [part["path"] for part in parts if part.get("type") == "local_image"],
        "text_elements": [e for part in parts for e in part.get("text_elements") or []],
    }
    return [event]


def _agent_events(item: Json) -> list[Json]:
    told = {"phase": item.get("phase"), "memory_citation": item.get("memory_citation")}
    return [{"type": "agent_message", "message": "".join(_texts(_parts(item))), **told}]


def _reasoning_events(item: Json) -> list[Json]:
    texts = item.get("summary_text")
    texts = texts if isinstance(texts, list) else []
    return [{"type": "agent_reasoning", "text": text} for text in texts]


def _compaction_events(_: Json) -> list[Json]:
    return [{"type": "context_compacted"}]


_EVENTS_OF: dict[str, Callable[[Json], list[Json]]] = {
    "UserMessage": _user_events,
    "AgentMessage": _agent_events,
    "Reasoning": _reasoning_events,
    "ContextCompaction": _compaction_events,
}


def _parts(item: Json) -> list[Json]:
    content: Any = item.get("content")
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def _texts(parts: list[Json]) -> list[str]:
    return [part["text"] for part in parts if isinstance(part.get("text"), str)]
