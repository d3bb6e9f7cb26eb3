"""Hostile records behind the first, of every kind: values, numbers, times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from builders import Record
from hostile.corpus import (
    ESCAPES,
    INVALID,
    LEGACY,
    Docket,
    Json,
    added,
    each,
    edited,
    numbered,
    payloads,
    spliced,
    with_meta,
)

CASES = Docket()

# -- the other records ----------------------------------------------------------------------------

HOSTILE: dict[str, Any] = {
    "null": None,
    "true": True,
    "lists": [[1, {"a": 2}]],
    "objects": {"type": {"type": []}, "text": 7, "id": {}},
    "texts": ESCAPES,
    "empty texts": "",
    "large numbers": 2**64 - 1,
    "negative numbers": -(2**63),
    "fractions": 1e308,
}
MORE_RECORDS: list[Record] = [
    {
        "type": "compacted",
        "payload": {
            "message": "so far",
            "replacement_history": [
                {
                    "type": "message",
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "<environment_context><cwd>/x</cwd>"}
                    ],
                }
            ],
        },
    },
    {
        "type": "event_msg",
        "payload": {
            "type": "thread_settings_applied",
            "thread_settings": {
                "cwd": "/x",
                "approval_policy": "never",
                "permission_profile": {"type": "managed"},
                "runtime_workspace_roots": ["/"],
            },
        },
    },
    {"type": "event_msg", "payload": {"type": "thread_rolled_back", "num_turns": 1}},
    {"type": "world_state", "payload": {"state": {"a": 1}}},
]
RECORD_KINDS = (
    *("turn_context", "message", "item_completed", "token_count", "task_started", "task_complete"),
    *("compacted", "thread_settings_applied", "thread_rolled_back", "world_state"),
)


def _values(value: Any) -> Callable[[Json], Any]:
    """Every value of an object but its type is another."""
    return lambda payload: {k: v if k == "type" else value for k, v in payload.items()}


def _values_below(value: Any) -> Callable[[Json], Any]:
    """Every value one level down is another."""

    def change(payload: Json) -> Any:
        return {
            k: {j: value if j != "type" else w for j, w in v.items()}
            if isinstance(v, dict)
            else [value for _ in v]
            if isinstance(v, list)
            else v
            for k, v in payload.items()
        }

    return change


for what, hostile in HOSTILE.items():

    def _everywhere(records: list[Record], value: Any = hostile) -> list[Record]:
        found = added(*MORE_RECORDS)(records)
        for kind in RECORD_KINDS:
            found = payloads(kind, _values(value))(found)
        return found

    def _below(records: list[Record], value: Any = hostile) -> list[Record]:
        found = added(*MORE_RECORDS)(records)
        for kind in RECORD_KINDS:
            found = payloads(kind, _values_below(value))(found)
        return found

    CASES.taken(f"records: {what} for every value", edited(_everywhere))
    CASES.taken(f"records: {what} below every value", edited(_below))


def _legacy(records: list[Record]) -> list[Record]:
    """Legacy events of every kind, each with nothing right in it."""
    kinds = (
        *("user_message", "agent_message", "agent_reasoning", "agent_reasoning_raw_content"),
        *("exec_command_end", "patch_apply_end", "mcp_tool_call_end", "web_search_end"),
        *("image_generation_end", "dynamic_tool_call_response", "entered_review_mode"),
        *("exited_review_mode", "context_compacted", "collab_agent_spawn_end", "turn_aborted"),
        *("task_started", "task_complete", "thread_rolled_back", "token_count"),
    )
    more = []
    for kind in kinds:
        for value in HOSTILE.values():
            wrong = dict.fromkeys(("message", "text", "turn_id", "num_turns", "call_id"), value)
            payload = {"type": kind, **wrong, "command": value, "changes": value, "info": value}
            more.append({**records[-1], "type": "event_msg", "payload": payload})
    return [*records, *more]


CASES.taken("legacy: every event with nothing right in it", edited(_legacy, LEGACY))
for label, count in {"none": 0, "all": 10**18, "negative": -5, "a fraction": 1.5}.items():
    CASES.taken(
        f"legacy: takes back {label}",
        edited(
            lambda records, n=count: [  # type: ignore[misc]
                *records,
                {**records[-1], "payload": {"type": "thread_rolled_back", "num_turns": n}},
            ],
            LEGACY,
        ),
    )


def _seesaw(records: list[Record]) -> list[Record]:
    """8,000 turns, taken back one by one."""
    last = records[-1]
    turn = [
        {**last, "payload": {"type": "task_started", "turn_id": "t"}},
        {**last, "payload": {"type": "user_message", "message": "x"}},
    ]
    back = {**last, "payload": {"type": "thread_rolled_back", "num_turns": 1}}
    return [*records, *turn * 8_000, *[back] * 8_000]


CASES.taken("legacy: 8,000 turns taken back one by one", edited(_seesaw, LEGACY))

# -- numbers and times ----------------------------------------------------------------------------

for label, number in {
    "all alike": lambda _: 7,
    "falling": lambda place: 1000 - place,
    "of 2**63": lambda place: 2**63 + place,
    "up to 2**64": lambda place: 2**64 - 100 + place,
    "in great steps": lambda place: place * 10**16,
    "none": lambda _: None,
}.items():
    CASES.taken(f"ordinals: {label}", edited(numbered(number)))


def _without_last_ordinal(records: list[Record]) -> list[Record]:
    """The last record lacks its ordinal, the one before has the highest that there is."""
    *found, last = numbered(lambda place: 2**64 - 100 + place)(records)
    found[-1]["ordinal"] = 2**64 - 1
    return [*found, {k: v for k, v in last.items() if k != "ordinal"}]


CASES.refused("ordinals: none after the highest", edited(_without_last_ordinal), INVALID)

for label, moment in {
    "year 1": "0001-01-01T00:00:00+23:59",
    "year 9999": "9999-12-31T23:59:59.999999-23:59",
    "year 10000": "10000-01-01T00:00:00Z",
    "an offset of a day": "2026-03-02T09:00:00+23:59:59",
    "no zone": "2026-03-02T09:00:00",
    "a week": "2026-W10-1",
    "empty": "",
    "a number in text": "1e999",
    "NULs": "\0" * 50,
    "escapes": ESCAPES,
    "100,000 digits": "9" * 100_000,
    "leap second": "2026-06-30T23:59:60Z",
}.items():
    CASES.taken(f"time: {label}", edited(each(timestamp=moment)))
    CASES.taken(f"time of the session: {label}", edited(with_meta(timestamp=moment)))

for label, tokens in {"2**63": 2**63, "negative": -1, "a fraction": 1.5, "true": True}.items():
    usage = {"total_token_usage": {"total_tokens": tokens}}
    CASES.taken(
        f"tokens: {label}",
        edited(payloads("token_count", lambda p, u=usage: {**p, "info": u})),  # type: ignore[misc]
    )
CASES.taken("number: -0", spliced(b'"cached_input_tokens":0', b'"cached_input_tokens":-0'))
