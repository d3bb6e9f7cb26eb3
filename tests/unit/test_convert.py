"""Records in the other history mode, both ways, whatever is missing in them or wrong.

That this is what Codex writes and shows is for tests/real_codex/test_convert.py.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import session_id
from codex_session_sync.codex.convert import ModeConverter, Standing

Json = dict[str, Any]

SESSION = session_id(1)
TIME = "2026-03-02T09:00:00.123Z"
MILLISECONDS = 1772442000123


def event(kind: str, **fields: Any) -> Json:
    return {"timestamp": TIME, "type": "event_msg", "payload": {"type": kind, **fields}}


def shown(item: Json, turn: str = "t") -> Json:
    fields = {"thread_id": SESSION, "turn_id": turn, "item": item}
    return event("item_completed", **fields, completed_at_ms=MILLISECONDS)


def record(kind: str, **payload: Any) -> Json:
    return {"timestamp": TIME, "type": kind, "payload": payload}


def to_paginated(*legacy: Json) -> list[Json]:
    """What becomes of the records of a turn that has begun."""
    converter = ModeConverter("paginated", SESSION)
    assert converter.convert(event("task_started", turn_id="t"))
    return [new for old in legacy for new in converter.convert(old)]


def to_legacy(*paginated: Json) -> list[Json]:
    converter = ModeConverter("legacy", SESSION)
    found = [new for old in paginated for new in converter.convert(old)]
    assert converter.finish() == []
    return found


DURATION = {"secs": 1, "nanos": 5}
SEARCH = {"type": "search", "query": "rain"}
COMMAND = {"command": ["ls"], "parsed_cmd": [], "status": "completed"}
CHANGES = {"/a": {"type": "add", "content": "x"}}
TARGET = {"target": {"type": "uncommittedChanges"}, "user_facing_hint": "h"}
ELEMENT = {"byte_range": {"start": 0, "end": 1}, "placeholder": "p"}

BOTH_WAYS: dict[str, tuple[Json, Json]] = {
    "user": (
        event("user_message", message="m", images=[], local_images=[], text_elements=[ELEMENT]),
        {
            "type": "UserMessage",
            "content": [{"type": "text", "text": "m", "text_elements": [ELEMENT]}],
            "id": "item-1",
        },
    ),
    "user with images": (
        event(
            "user_message",
            message="",
            images=["http://a", "http://b"],
            local_images=["/c"],
            image_details=[None, "low"],
            local_image_details=["high"],
            text_elements=[],
        ),
        {
            "type": "UserMessage",
            "content": [
                {"type": "image", "image_url": "http://a"},
                {"type": "image", "image_url": "http://b", "detail": "low"},
                {"type": "local_image", "path": "/c", "detail": "high"},
            ],
            "id": "item-1",
        },
    ),
    "agent": (
        event("agent_message", message="m", phase="final_answer", memory_citation=None),
        {
            "type": "AgentMessage",
            "content": [{"type": "Text", "text": "m"}],
            "phase": "final_answer",
            "id": "item-1",
        },
    ),
    "compaction": (event("context_compacted"), {"type": "ContextCompaction", "id": "item-1"}),
    "patch": (
        event(
            "patch_apply_end",
            call_id="c",
            turn_id="t",
            stdout="",
            stderr="bad",
            success=False,
            changes=CHANGES,
            status="failed",
        ),
        {"type": "FileChange", "id": "c", "changes": CHANGES, "status": "failed", "stderr": "bad"},
    ),
    "tool": (
        event(
            "mcp_tool_call_end",
            call_id="c",
            turn_id="t",
            plugin_id="p",
            invocation={"server": "s", "tool": "u", "arguments": None},
            duration=DURATION,
            result={"Ok": {"content": []}},
        ),
        {
            "type": "McpToolCall",
            "id": "c",
            "server": "s",
            "tool": "u",
            "arguments": None,
            "pluginId": "p",
            "status": "completed",
            "result": {"content": []},
            "duration": DURATION,
        },
    ),
    "failed tool": (
        event(
            "mcp_tool_call_end",
            call_id="c",
            turn_id="t",
            invocation={"server": "s", "tool": "u", "arguments": {"a": 1}},
            duration=DURATION,
            result={"Err": "boom"},
        ),
        {
            "type": "McpToolCall",
            "id": "c",
            "server": "s",
            "tool": "u",
            "arguments": {"a": 1},
            "status": "failed",
            "error": {"message": "boom"},
            "duration": DURATION,
        },
    ),
    "search": (
        event("web_search_end", call_id="c", query="q", action=SEARCH),
        {"type": "WebSearch", "id": "c", "query": "q", "action": SEARCH},
    ),
    "picture": (
        event(
            "image_generation_end",
            call_id="c",
            status="completed",
            revised_prompt=None,
            result="AA",
            saved_path="/a b",
        ),
        {
            "type": "Extension",
            "kind": "image_gen.generation",
            "id": "c",
            "status": "completed",
            "revisedPrompt": None,
            "result": "AA",
            "transparentBackground": None,
            "failure": None,
            "savedPath": "/a b",
            "generationId": None,
        },
    ),
    "review": (
        event("entered_review_mode", **TARGET, turn_id="t", item_id="i"),
        {"type": "EnteredReviewMode", **TARGET, "id": "i"},
    ),
    "end of a review": (
        event("exited_review_mode", turn_id="t", item_id="i", review_output={"findings": []}),
        {"type": "ExitedReviewMode", "review_output": {"findings": []}, "id": "i"},
    ),
}
ONE_WAY: dict[str, tuple[Json, Json]] = {
    "command": (
        event(
            "exec_command_end",
            **COMMAND,
            call_id="c",
            turn_id="t",
            cwd="/a b",
            stdout="x",
            aggregated_output="x",
            exit_code=0,
            duration=DURATION,
        ),
        {
            "type": "CommandExecution",
            "id": "c",
            **COMMAND,
            "cwd": "file:///a%20b",
            "source": "agent",
            "aggregated_output": "x",
            "exit_code": 0,
            "duration": DURATION,
        },
    ),
    "command elsewhere": (
        event("exec_command_end", **COMMAND, call_id="c", turn_id="t", cwd="C:\\x", source="user"),
        {"type": "CommandExecution", "id": "c", **COMMAND, "cwd": "C:\\x", "source": "user"},
    ),
    "tool of the client": (
        event("dynamic_tool_call_response", call_id="c", turn_id="t", tool="u", success=False),
        {
            "type": "DynamicToolCall",
            "id": "c",
            "tool": "u",
            "success": False,
            "arguments": None,
            "status": "failed",
        },
    ),
    "tool that answers with a failure": (
        event(
            "mcp_tool_call_end",
            call_id="c",
            invocation={"server": "s", "tool": "u"},
            result={"Ok": {"isError": True}},
        ),
        {
            "type": "McpToolCall",
            "id": "c",
            "server": "s",
            "tool": "u",
            "arguments": None,
            "status": "failed",
            "result": {"isError": True},
        },
    ),
    "review without a name": (
        event("entered_review_mode", target=None),
        {
            "type": "EnteredReviewMode",
            "target": None,
            "user_facing_hint": "Review requested.",
            "id": "item-1",
        },
    ),
}


@pytest.mark.parametrize("case", [*BOTH_WAYS, *ONE_WAY])
def test_an_event_becomes_an_item(case: str) -> None:
    legacy, item = (BOTH_WAYS | ONE_WAY)[case]
    assert to_paginated(legacy) == [shown(item)]


@pytest.mark.parametrize("case", BOTH_WAYS)
def test_an_item_becomes_an_event(case: str) -> None:
    legacy, item = BOTH_WAYS[case]
    assert to_legacy({**shown(item), "ordinal": 7}) == [legacy]


@pytest.mark.parametrize(
    "kind", ["CommandExecution", "DynamicToolCall", "ImageView", "Plan", "New"]
)
def test_an_item_without_an_event_stays(kind: str) -> None:
    item = shown({"type": kind, "id": "i"})
    assert to_legacy({**item, "ordinal": 7}) == [item]
    assert to_paginated(item) == [item]


def test_texts_of_one_message_are_joined() -> None:
    """The places of their elements are counted in bytes."""
    parts: list[Json] = [{"type": "text", "text": "sié"}, {"type": "mention", "name": "m"}]
    parts.append({"type": "text", "text": "!", "text_elements": [ELEMENT, {"placeholder": "q"}]})
    [found] = to_legacy(shown({"type": "UserMessage", "content": parts}))
    assert found["payload"]["message"] == "sié!"
    moved = {"byte_range": {"start": 4, "end": 5}, "placeholder": "p"}
    assert found["payload"]["text_elements"] == [moved, {"placeholder": "q"}]


def thought(number: int, summary: list[str], raw: list[str]) -> Json:
    item = {"type": "Reasoning", "summary_text": summary, "raw_content": raw}
    return shown({**item, "id": f"item-{number}"})


def test_reasoning_is_one_item_that_grows() -> None:
    say = event("agent_message", message="m", phase=None, memory_citation=None)
    legacy = [
        event("agent_reasoning", text="a"),
        record("response_item", type="reasoning"),
        event("agent_reasoning_raw_content", text="b"),
        event("agent_reasoning", text="c"),
        say,
        event("agent_reasoning", text="d"),
    ]
    paginated = to_paginated(*legacy)
    assert [p for p in paginated if p["type"] == "event_msg" and p != paginated[4]] == [
        thought(1, ["a"], []),
        thought(1, ["a"], ["b"]),
        thought(1, ["a", "c"], ["b"]),
        thought(3, ["d"], []),
    ]
    assert to_legacy(*paginated) == legacy


def test_heads() -> None:
    legacy = record("session_meta", id=SESSION, cwd="/x")
    converter = ModeConverter("paginated", SESSION)
    head = {"session_id": SESSION, "id": SESSION, "cwd": "/x", "history_mode": "paginated"}
    assert converter.convert(legacy) == [record("session_meta", **head)]
    # The head of what a legacy fork was copied from.
    assert converter.convert(record("session_meta", id=session_id(2))) == []
    base = {"history_base": {"thread_id": SESSION}, "forked_from_ordinal_exclusive": 3}
    paginated = {**record("session_meta", **head, **base), "ordinal": 3}
    assert to_legacy(paginated) == [
        record("session_meta", session_id=SESSION, id=SESSION, cwd="/x")
    ]


@pytest.mark.parametrize(
    "kind", ["response_item", "compacted", "turn_context", "world_state", "new"]
)
def test_other_records_stay(kind: str) -> None:
    other = record(kind, type="task_started", turn_id="of another")
    assert to_legacy({**other, "ordinal": 7}) == [other]
    assert to_paginated(other, event("context_compacted"))[1]["payload"]["turn_id"] == "t"


@pytest.mark.parametrize(
    "left_out",
    [
        event("thread_rolled_back", num_turns=1),
        event("collab_waiting_end"),
        event("dynamic_tool_call_request"),
        event("view_image_tool_call", call_id="c", path="/a"),
        event("agent_message", message=""),
        event("agent_reasoning", text=""),
        event("task_started"),
        event("task_complete", turn_id=None),
    ],
    ids=lambda found: str(found["payload"]["type"]),
)
def test_what_a_migration_leaves_out(left_out: Json) -> None:
    assert to_paginated(left_out) == []


def outlined(records: list[Json]) -> list[tuple[str, str]]:
    return [(r["payload"]["type"], r["payload"]["turn_id"]) for r in records]


def test_turns_that_nobody_began() -> None:
    say, ask = event("agent_message", message="a"), event("user_message", message="q")
    converter = ModeConverter("paginated", SESSION)
    given_ = [record("session_meta"), say, ask, ask, event("task_started", turn_id="t"), ask, ask]
    given_ += [
        event("turn_aborted"),
        event("exec_command_end", **COMMAND, call_id="c", turn_id="t"),
    ]
    given_[-1]["payload"]["cwd"] = "/x"
    given_.append(ask)
    found = [new for old in given_ for new in converter.convert(old)][1:] + converter.finish()
    assert outlined(found) == [
        ("task_started", "rollout-1"),
        ("item_completed", "rollout-1"),
        ("item_completed", "rollout-1"),
        ("task_complete", "rollout-1"),
        ("task_started", "rollout-3"),
        ("item_completed", "rollout-3"),
        ("task_complete", "rollout-3"),
        ("task_started", "t"),
        ("item_completed", "t"),
        ("item_completed", "t"),
        ("turn_aborted", "t"),
        ("item_completed", "t"),
        ("task_started", "rollout-9"),
        ("item_completed", "rollout-9"),
        ("task_complete", "rollout-9"),
    ]
    assert converter.finish() == []


def test_times() -> None:
    """To the millisecond, though no float holds it; nothing is made up where there is none."""
    for milliseconds in range(1000):
        time = f"2026-03-02T09:00:00.{milliseconds:03}Z"
        [found] = to_paginated({**event("context_compacted"), "timestamp": time})
        assert found["payload"]["completed_at_ms"] == 1772442000000 + milliseconds
    [found] = to_paginated({**event("context_compacted"), "timestamp": "then"})
    assert found["payload"]["completed_at_ms"] == 0


# -- what is odd --------------------------------------------------------------------------------

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to all that is in a value."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, found in inner:
        yield (*path, key)
        yield from places(found, (*path, key))


def spoiled(value: Any, path: tuple[Any, ...], put: Any, *, remove: bool) -> Any:
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    if remove:
        del inner[path[-1]]
    else:
        inner[path[-1]] = put
    return value


ALL = [pair for cases in (BOTH_WAYS, ONE_WAY) for pair in cases.values()]
EVENTS = [
    *(legacy for legacy, _ in ALL),
    *(shown(item) for _, item in ALL),
    shown({"type": "Reasoning", "id": "i", "summary_text": ["a"], "raw_content": ["b"]}),
    *(event(kind, text="a") for kind in ("agent_reasoning", "agent_reasoning_raw_content")),
    *(event(kind, turn_id="u") for kind in ("task_started", "task_complete", "turn_aborted")),
    event("thread_rolled_back", num_turns=1),
]


@given(data=st.data(), found=st.sampled_from(EVENTS), put=values, remove=st.booleans())
def test_nothing_odd_raises(data: st.DataObject, found: Json, put: Any, remove: bool) -> None:
    """Records have a payload with whatever in it; what comes out are records again."""
    path = data.draw(st.sampled_from(list(places(found["payload"]))))
    payload = spoiled(found["payload"], path, put, remove=remove)
    odd, whole = {**found, "payload": payload}, event("agent_message", message="m")
    for convert in (to_paginated, to_legacy):
        for new in convert(odd, whole, odd):
            assert new.keys() == odd.keys()
            assert isinstance(new["payload"], dict)
    standing = Standing()
    for one in (whole, odd, odd):
        standing.note(one)
    assert len(standing.flags) == 3
