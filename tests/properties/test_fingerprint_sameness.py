"""What makes no difference to a fingerprint: places, ids, spacing, compression."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fingerprint_by_spec as spec
from codex_session_sync.lineage.fingerprint import MASKED_ID, lineage_id, mask_ids
from codex_session_sync.policy import Policy
from properties.sessions import (
    FORMER,
    FRESH,
    OWN,
    THREADS,
    Record,
    chain,
    is_entry,
    make_disk,
    messages,
    plain_record,
    records,
    scanned,
    session,
)
from rollouts import composed

disk = pytest.fixture(make_disk, autouse=True, scope="module")

Change = Callable[[Record], Record | None]


def rewritten(data: bytes, *changes: Change, indent: bool = True) -> bytes:
    """The lines parsed, changed and written in another spacing; None drops one."""
    lines = []
    for record in parsed_lines(data):
        changed: Record | None = record
        for change in changes:
            changed = None if changed is None else change(changed)
        if changed is not None:
            lines.append(json.dumps(changed, ensure_ascii=indent).encode() + b"\n")
    return b"".join(lines)


def parsed_lines(data: bytes) -> list[Record]:
    return [json.loads(line) for line in data.split(b"\n") if line]


def as_the_first_import_tool(record: Record) -> Record:
    """A record with its directories replaced, where that tool replaces them."""
    payload = record["payload"]
    if record["type"] in ("session_meta", "turn_context"):
        payload = {**payload, "cwd": "/somewhere/else"}
        if "sandbox_policy" in payload:
            payload["sandbox_policy"] = {"writable_roots": ["/somewhere/else"]}
    elif record["type"] == "response_item":
        payload = moved(payload)
    elif isinstance(payload.get("replacement_history"), list):
        payload = {
            **payload,
            "replacement_history": list(map(moved, payload["replacement_history"])),
        }
    return {**record, "payload": payload}


def moved(message: Any) -> Any:
    if not isinstance(message, dict) or message.get("role") != "user":
        return message
    content = [
        {**part, "text": re.sub("(?s)<cwd>.*?</cwd>", "<cwd>/else\n</cwd>", part["text"])}
        if part["text"].startswith("<environment_context>")
        else part
        for part in message["content"]
    ]
    return {**message, "content": content}


def without_settings(record: Record) -> Record | None:
    return None if record["payload"].get("type") == "thread_settings_applied" else record


def with_other_settings(record: Record) -> Record:
    if record["payload"].get("type") != "thread_settings_applied":
        return record
    return {**record, "payload": {"type": "thread_settings_applied", "thread_settings": {}}}


def with_other_meta(record: Record) -> Record:
    if record["type"] != "session_meta":
        return record
    more = {"base_instructions": {"text": OWN}, "originator": "x", "cli_version": "0.170.0"}
    return {**record, "payload": {**record["payload"], **more}}


LOCALISATIONS = [
    (as_the_first_import_tool,),
    (without_settings,),
    (with_other_settings, with_other_meta),
    (as_the_first_import_tool, without_settings, with_other_meta),
]


@settings(max_examples=80)
@given(records, st.sampled_from(LOCALISATIONS))
def test_bringing_a_session_to_another_place_changes_nothing(
    found: list[Record], changes: tuple[Change, ...]
) -> None:
    data = session(found)
    there = rewritten(data, *changes)
    assert chain(there) == chain(data)
    assert chain(composed(scanned(there))) == chain(data)


@settings(max_examples=60)
@given(records, st.booleans())
def test_our_own_localisation_changes_nothing(found: list[Record], trusted: bool) -> None:
    transcript = scanned(session(found))
    for approval in ("never", "untrusted"):
        written = composed(transcript, Policy(approval, trusted=trusted))
        assert chain(written) == transcript.chain


@settings(max_examples=60)
@given(records)
def test_another_id_changes_nothing(found: list[Record]) -> None:
    data = session(found)
    everywhere = data.replace(OWN.encode(), FRESH.encode())
    assert chain(everywhere, FRESH) == chain(data)
    same_lineage = lineage_id(chain(everywhere, FRESH), FRESH) == lineage_id(chain(data), OWN)
    assert same_lineage is any(map(is_entry, found))


@settings(max_examples=60)
@given(records)
def test_another_id_in_the_head_alone_changes_nothing(found: list[Record]) -> None:
    def renamed(record: Record) -> Record:
        if record["type"] == "session_meta":
            return {**record, "payload": {**record["payload"], "id": FRESH}}
        return record

    data = session(found)
    assert chain(rewritten(data, renamed), FRESH) == chain(data)


@settings(max_examples=60)
@given(messages, st.data())
def test_which_sessions_an_entry_names_changes_nothing(
    message: Record, data: st.DataObject
) -> None:
    def named(found: re.Match[str]) -> str:
        return data.draw(st.sampled_from([found[0], FORMER, FRESH, *THREADS]))

    content = [{**p, "text": spec.ID.sub(named, p["text"])} for p in message["content"]]
    one, other = (
        session([plain_record("response_item", **item)])
        for item in (message, {**message, "content": content})
    )
    assert chain(one) == chain(other)


PIECES = ("", "0", "f", "9abc", "0123456789ab", "-", "-1111-2222-3333-0123456789ab", "g", "A", OWN)


@settings(max_examples=1000)
@given(st.lists(st.sampled_from(PIECES) | st.text("0a-", max_size=13), max_size=9).map("".join))
def test_ids_are_found_where_a_search_for_whole_ids_finds_them(text: str) -> None:
    assert mask_ids(text.encode()) == spec.ID.sub(MASKED_ID.decode(), text).encode()


@settings(max_examples=60)
@given(records, st.booleans(), st.booleans())
def test_spacing_key_order_and_escapes_change_nothing(
    found: list[Record], spaced: bool, escaped: bool
) -> None:
    data = session(found)
    separators = ("  ,\t", " : ") if spaced else (",", ":")
    other = b"".join(
        b" " + json.dumps(turned(r), ensure_ascii=escaped, separators=separators).encode() + b"\r\n"
        for r in parsed_lines(data)
    )
    assert chain(other) == chain(data)


def turned(value: Any) -> Any:
    """The value with the keys of its objects in reverse order."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(item) for item in value] if isinstance(value, list) else value


@settings(max_examples=40)
@given(records)
def test_compression_changes_nothing(found: list[Record]) -> None:
    data = session(found)
    plain, packed = scanned(data), scanned(data, ending=".zst")
    assert packed.chain == plain.chain
    assert packed.facts == plain.facts
    assert [part.sha256 for part in packed.slices] == [part.sha256 for part in plain.slices]
