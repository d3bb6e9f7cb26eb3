"""What a session shows, as legacy events and as paginated items: each as the other.

The shapes are those of Codex 0.169; ``codex.convert`` says where they come from. None: Codex shows
nothing for it in the other mode.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from typing import Any
from urllib.parse import quote

from ..model import Json

IMAGE_EXTENSION = "image_gen.generation"


def text_of(parts: list[Any], kind: str | None = None) -> str:
    """What the parts of a message say, those of one kind or all, a line each."""
    found = (part for part in parts if isinstance(part, dict) and kind in (None, part.get("type")))
    return "\n".join(part["text"] for part in found if isinstance(part.get("text"), str))


# -- legacy events as items ---------------------------------------------------------------------


def user_item(event: Json) -> Json | None:
    """The item for a user's message; None for one without text."""
    text = event.get("message")
    if not isinstance(text, str):
        return None
    content: list[Json] = []
    if text.strip():
        elements = _objects(event.get("text_elements"))
        content.append({"type": "text", "text": text, "text_elements": elements})
    for kind, key in (("image", "image_url"), ("local_image", "path")):
        details = event.get(f"{kind}_details")
        details = details if isinstance(details, list) else []
        images = strings(event.get(f"{kind}s"))
        for image, detail in zip_longest(images, details[: len(images)]):
            content.append({"type": kind, key: image} | ({"detail": detail} if detail else {}))
    return {"type": "UserMessage", "content": content}


def _agent_item(event: Json) -> Json | None:
    text = event.get("message")
    if not isinstance(text, str):
        return None
    item: Json = {"type": "AgentMessage", "content": [{"type": "Text", "text": text}]}
    return item | _given(event, "phase", "memory_citation")


def _compaction_item(_: Json) -> Json:
    return {"type": "ContextCompaction"}


def _command_item(event: Json) -> Json | None:
    match event:
        case {
            "call_id": str(call),
            "turn_id": str(),
            "command": list(command),
            "cwd": str(cwd),
            "parsed_cmd": list(parsed),
            "status": str(status),
        }:
            item = {"type": "CommandExecution", "id": call, "command": command, "cwd": _uri(cwd)}
            item |= {"parsed_cmd": parsed, "source": event.get("source") or "agent"}
            item |= {"status": status} | _given(event, "process_id", "exit_code", "duration")
            return item | _filled(event, "aggregated_output")
    return None


def _patch_item(event: Json) -> Json | None:
    match event:
        case {"call_id": str(call), "changes": dict(changes), "status": str(status)}:
            item = {"type": "FileChange", "id": call, "changes": changes, "status": status}
            return item | _filled(event, "stdout", "stderr")
    return None


def _mcp_item(event: Json) -> Json | None:
    match event:
        case {
            "call_id": str(call),
            "invocation": {"server": str(server), "tool": str(tool), **invocation},
            "result": dict(result),
        }:
            item: Json = {"type": "McpToolCall", "id": call, "server": server, "tool": tool}
            item["arguments"] = invocation.get("arguments")
            item |= {
                new: event[old] for old, new in _MCP_KEYS.items() if event.get(old) is not None
            }
            return item | _mcp_result(result) | _given(event, "duration")
    return None


_MCP_KEYS = {"mcp_app_resource_uri": "mcpAppResourceUri", "plugin_id": "pluginId"}


def _mcp_result(result: Json) -> Json:
    match result:
        case {"Ok": {"isError": True} as answer}:
            return {"status": "failed", "result": answer}
        case {"Ok": dict(answer)}:
            return {"status": "completed", "result": answer}
    return {"status": "failed", "error": {"message": str(result.get("Err"))}}


def _search_item(event: Json) -> Json | None:
    match event:
        case {"call_id": str(call), "query": str(query), "action": dict(action)}:
            item: Json = {"type": "WebSearch", "id": call, "query": query, "action": action}
            return item | _given(event, "results")
    return None


def _image_item(event: Json) -> Json | None:
    match event:
        case {"call_id": str(call), "status": str(status), "result": str(result)}:
            item: Json = {"type": "Extension", "kind": IMAGE_EXTENSION, "id": call}
            item |= {"status": status, "revisedPrompt": event.get("revised_prompt")}
            item |= {"result": result, "transparentBackground": None, "failure": None}
            path = {"savedPath": event["saved_path"]} if event.get("saved_path") else {}
            return item | path | {"generationId": None}
    return None


def _dynamic_item(event: Json) -> Json | None:
    match event:
        case {"call_id": str(call), "tool": str(tool), "success": bool(success)}:
            item: Json = {"type": "DynamicToolCall", "id": call, "tool": tool, "success": success}
            item |= {"arguments": event.get("arguments")}
            item |= {"status": "completed" if success else "failed"}
            return item | _given(event, "namespace", "content_items", "error", "duration")
    return None


def _no_item(_: Json) -> None:
    return None


def _review_begun_item(event: Json) -> Json | None:
    hint = event.get("user_facing_hint") or "Review requested."
    item = {"type": "EnteredReviewMode", "target": event.get("target"), "user_facing_hint": hint}
    return item | _own_id(event)


def _review_ended_item(event: Json) -> Json | None:
    item = {"type": "ExitedReviewMode", "review_output": event.get("review_output")}
    return item | _own_id(event)


ITEM_OF: dict[str, Callable[[Json], Json | None]] = {
    "user_message": user_item,
    "agent_message": _agent_item,
    "context_compacted": _compaction_item,
    "exec_command_end": _command_item,
    "patch_apply_end": _patch_item,
    "mcp_tool_call_end": _mcp_item,
    "web_search_end": _search_item,
    "image_generation_end": _image_item,
    "dynamic_tool_call_response": _dynamic_item,
    "entered_review_mode": _review_begun_item,
    "exited_review_mode": _review_ended_item,
    "view_image_tool_call": _no_item,
}


# -- items as legacy events ---------------------------------------------------------------------


def _user_event(item: Json, _: object) -> Json:
    event: Json = {"type": "user_message", "message": "", "images": [], "local_images": []}
    elements: list[Json] = []
    details: dict[str, list[Any]] = {"image": [], "local_image": []}
    for part in _objects(item.get("content")):
        match part:
            case {"type": "text", "text": str(text)}:
                before = len(event["message"].encode())
                elements += [_moved(e, before) for e in _objects(part.get("text_elements"))]
                event["message"] += text
            case {"type": "image", "image_url": str(image)}:
                event["images"].append(image)
                details["image"].append(part.get("detail"))
            case {"type": "local_image", "path": str(path)}:
                event["local_images"].append(path)
                details["local_image"].append(part.get("detail"))
    told = {f"{kind}_details": _trimmed(found) for kind, found in details.items() if any(found)}
    return {**event, **told, "text_elements": elements}


def _moved(element: Json, offset: int) -> Json:
    """A text element whose place in the text is so much further on."""
    match element:
        case {"byte_range": {"start": int(start), "end": int(end)}}:
            return {**element, "byte_range": {"start": start + offset, "end": end + offset}}
    return element


def _trimmed(values: list[Any]) -> list[Any]:
    while values and values[-1] is None:
        values = values[:-1]
    return values


def _agent_event(item: Json, _: object) -> Json:
    texts = strings([part.get("text") for part in _objects(item.get("content"))])
    told = {"phase": item.get("phase"), "memory_citation": item.get("memory_citation")}
    return {"type": "agent_message", "message": "".join(texts), **told}


def _compaction_event(_: Json, __: object) -> Json:
    return {"type": "context_compacted"}


def _patch_event(item: Json, turn: object) -> Json | None:
    match item:
        case {"id": str(call), "changes": dict(changes), "status": str(status)}:
            event: Json = {"type": "patch_apply_end", "call_id": call, "turn_id": turn or ""}
            event |= {key: item.get(key) or "" for key in ("stdout", "stderr")}
            success = status == "completed"
            return event | {"success": success, "changes": changes, "status": status}
    return None


def _mcp_event(item: Json, turn: object) -> Json | None:
    match item:
        case {"result": dict(answer)}:
            result: Json = {"Ok": answer}
        case {"error": {"message": str(message)}}:
            result = {"Err": message}
        case _:
            return None
    event: Json = {"type": "mcp_tool_call_end", "call_id": item.get("id"), "turn_id": turn or ""}
    event |= {old: item[new] for old, new in _MCP_KEYS.items() if item.get(new) is not None}
    event["invocation"] = {key: item.get(key) for key in ("server", "tool", "arguments")}
    event["duration"] = item.get("duration") or {"secs": 0, "nanos": 0}
    return event | {"result": result}


def _search_event(item: Json, _: object) -> Json | None:
    match item:
        case {"id": str(call), "query": str(query), "action": dict(action)}:
            event: Json = {"type": "web_search_end", "call_id": call}
            return event | {"query": query, "action": action} | _given(item, "results")
    return None


def _image_event(item: Json, _: object) -> Json | None:
    if item.get("kind") != IMAGE_EXTENSION:
        return None
    event = {
        "type": "image_generation_end",
        "call_id": item.get("id"),
        "status": item.get("status"),
    }
    event |= {"revised_prompt": item.get("revisedPrompt"), "result": item.get("result") or ""}
    path = item.get("savedPath")
    return event | ({"saved_path": path} if path else {})


def _review_begun_event(item: Json, turn: object) -> Json:
    target = {key: item.get(key) for key in ("target", "user_facing_hint")}
    return {"type": "entered_review_mode", **target, "turn_id": turn, "item_id": item.get("id")}


def _review_ended_event(item: Json, turn: object) -> Json:
    names = {"turn_id": turn, "item_id": item.get("id")}
    return {"type": "exited_review_mode", **names, "review_output": item.get("review_output")}


EVENT_OF: dict[str, Callable[[Json, object], Json | None]] = {
    "UserMessage": _user_event,
    "AgentMessage": _agent_event,
    "ContextCompaction": _compaction_event,
    "FileChange": _patch_event,
    "McpToolCall": _mcp_event,
    "WebSearch": _search_event,
    "Extension": _image_event,
    "EnteredReviewMode": _review_begun_event,
    "ExitedReviewMode": _review_ended_event,
}


# -- values -------------------------------------------------------------------------------------


def _given(source: Json, *keys: str) -> Json:
    return {key: source[key] for key in keys if source.get(key) is not None}


def _filled(source: Json, *keys: str) -> Json:
    return {key: source[key] for key in keys if source.get(key)}


def _own_id(event: Json) -> Json:
    item_id = event.get("item_id")
    return {"id": item_id} if isinstance(item_id, str) else {}


_KEPT = "/[]^|~'()!@:&=+,;$"
"""What Codex does not escape in the path of a URI, beside letters and digits."""


def _uri(path: str) -> str:
    return f"file://{quote(path, safe=_KEPT)}" if path.startswith("/") else path


def strings(values: object) -> list[str]:
    """The texts in what should be a list of them."""
    return [v for v in values if isinstance(v, str)] if isinstance(values, list) else []


def _objects(values: object) -> list[Json]:
    return [v for v in values if isinstance(v, dict)] if isinstance(values, list) else []
