"""Which sessions are listed, what they are called, and what a rollout says of its user."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builders import Record, Session, dump
from codex_session_sync.codex.history import (
    HistoryEntry,
    HistorySettings,
    entry_line,
    history_settings,
    parse_entry,
)
from codex_session_sync.codex.prompts import TAIL_BYTES, last_time_ms, read_prompts
from codex_session_sync.codex.session_index import first_line
from codex_session_sync.errors import SessionError
from codex_session_sync.indexes.conversations import (
    Conversation,
    choose,
    row_facts,
    title_of,
)
from codex_session_sync.indexes.spool import Spool
from rollouts import put

ID = Session(1).id

# Titles


@pytest.mark.parametrize(
    ("row", "index_name", "rollout", "title"),
    [
        ({"name": "Named", "title": "t"}, "other", "m", "Named"),
        ({"name": None, "title": "t"}, "Named by the old release", "m", "Named by the old release"),
        ({"name": "", "title": "A\ntitle"}, None, "m", "A\ntitle"),
        ({"name": "", "title": "A\ntitle"}, "A\ntitle", "m", "A\ntitle"),
        ({"title": "t", "first_user_message": "First\nSecond"}, "First", "m", "t"),
        ({"title": "t", "first_user_message": "First\nSecond"}, "First\nSecond", "m", "t"),
        ({"title": " ", "first_user_message": "\n First \nSecond"}, None, "m", "First"),
        (
            {"title": "", "first_user_message": ""},
            None,
            "\n\n From the rollout\nmore",
            "From the rollout",
        ),
        ({"title": "", "first_user_message": ""}, None, None, ID),
        ({"title": "", "first_user_message": ""}, ID, "said", "said"),
        (None, None, "One\nTwo", "One"),
        (None, "One", "One\nTwo", "One"),
        (None, "Kept", "One", "Kept"),
        (None, None, None, ID),
        (None, None, " \n", ID),
        ({}, None, None, ID),
    ],
)
def test_titles(row: Any, index_name: str | None, rollout: str | None, title: str) -> None:
    assert title_of(ID, row, index_name, rollout) == title


def test_first_line_of_what_is_no_text() -> None:
    assert first_line(None) is None
    assert first_line(7) is None


# Choosing


def conversations(*times: int) -> list[Conversation]:
    return [Conversation(str(number), time, ()) for number, time in enumerate(times)]


@pytest.mark.parametrize(
    ("limit", "listed", "skipped"),
    [
        (0, ["1", "0", "2"], {"archived": 2}),
        (5, ["1", "0", "2"], {"archived": 2}),
        (2, ["0", "2"], {"archived": 2, "over_limit": 1}),
        (1, ["2"], {"archived": 2, "over_limit": 2}),
    ],
)
def test_the_last_active_ones_are_listed(
    limit: int, listed: list[str], skipped: dict[str, int]
) -> None:
    found = choose(conversations(20, 10, 30), limit, {"archived": 2})
    assert [one.session_id for one in found.listed] == listed
    assert found.skipped == skipped


@pytest.mark.parametrize(
    ("columns", "time_ms"),
    [
        ({"updated_at": 7, "updated_at_ms": 7123}, 7123),
        ({"updated_at": 7, "updated_at_ms": None}, 7000),
        ({"updated_at": 7, "updated_at_ms": 0}, 7000),
        ({"updated_at": 7}, 7000),
        ({}, 0),
    ],
)
def test_the_time_of_a_row(columns: Any, time_ms: int) -> None:
    assert row_facts({"id": ID, **columns}).time_ms == time_ms


def test_a_row_names_its_rollout_wherever_it_was() -> None:
    for path in ("/old/home/sessions/rollout-x.jsonl", "C:\\old\\sessions\\rollout-x.jsonl"):
        assert row_facts({"id": ID, "rollout_path": path}).base_name == "rollout-x.jsonl"
    assert row_facts({"id": ID, "rollout_path": ""}).base_name is None


# Prompts


def said(folder: Path, records: Sequence[Record], session: Session) -> list[tuple[str, bool]]:
    file = put(folder, session.file_name, dump(records))
    return [(prompt.text, prompt.inherited) for prompt in read_prompts(file)]


@pytest.mark.parametrize("legacy", [True, False])
def test_each_prompt_once(tmp_path: Path, legacy: bool) -> None:
    session = Session(1, legacy=legacy).say("One\nmore of it").say("Two")
    records = session.records()
    assert said(tmp_path, records, session) == [("One\nmore of it", False), ("Two", False)]
    only_model = [one for one in records if one["type"] != "event_msg"]
    assert said(tmp_path, only_model, session) == [("One\nmore of it", False), ("Two", False)]


def test_what_codex_wrote_among_the_users_messages_is_no_prompt(tmp_path: Path) -> None:
    texts = [
        "<environment_context>\n  <cwd>/x</cwd>\n</environment_context>",
        "# AGENTS.md instructions for /x\n\nBe brief.",
        "<user_instructions>\nBe brief.\n</user_instructions>\n",
        "<b>This</b> is said by a person",
        "  ",
    ]
    session = Session(1)
    content = [[{"type": "input_text", "text": text}] for text in texts]
    messages = [{"type": "message", "role": "user", "content": parts} for parts in content]
    messages.append({"type": "message", "role": "assistant", "content": content[3]})
    at = {"timestamp": "2026-03-02T09:00:00Z", "type": "response_item"}
    records = [session.records()[0], *({**at, "payload": message} for message in messages)]
    assert said(tmp_path, records, session) == [(texts[3], False)]


def test_images_and_unknown_shapes_say_nothing(tmp_path: Path) -> None:
    session = Session(1)
    contents: list[Any] = [
        [{"type": "image", "url": "data:"}],
        [
            {"type": "text", "text": "look"},
            {"type": "image", "url": "x"},
            {"type": "text", "text": "there"},
        ],
        [7],
        "text",
    ]
    at = {"timestamp": "2026-03-02T09:00:00Z", "type": "event_msg"}
    events = [
        {
            **at,
            "payload": {"type": "item_completed", "item": {"type": "UserMessage", "content": one}},
        }
        for one in contents
    ]
    events += [
        {**at, "payload": {"type": "user_message", "message": 7}},
        {**at, "timestamp": "yesterday", "payload": {"type": "user_message", "message": "when?"}},
    ]
    assert said(tmp_path, [session.records()[0], *events], session) == [("look\nthere", False)]


def turn(moment_ms: int, text: str) -> list[Record]:
    """A turn with an id of that time."""
    head = f"{moment_ms:012x}"
    started = {"type": "task_started", "turn_id": f"{head[:8]}-{head[8:]}-7000-8000-000000000000"}
    return [
        {"timestamp": "2026-03-02T12:00:00Z", "type": "event_msg", "payload": payload}
        for payload in (started, {"type": "user_message", "message": text})
    ]


def test_turns_older_than_the_session_are_inherited(tmp_path: Path) -> None:
    session = Session(1)
    made = int(session.id[:8] + session.id[9:13], 16)
    meta, own = session.records()[0], replace(session, meta={"timestamp": "2026-03-09T09:00:00Z"})
    records = [meta, *turn(made - 1, "the parent's"), *turn(made, "its own")]
    assert said(tmp_path, records, session) == [("the parent's", True), ("its own", False)]
    # The later file of a reverted session is newer than the session.
    records[0] = own.records()[0]
    assert said(tmp_path, records, session)[1] == ("its own", False)


def test_a_session_of_a_new_id_is_as_old_as_it_says(tmp_path: Path) -> None:
    branch = "5d0f3b0c-7a55-5c0e-9d3a-6f1f0f7c2a11"
    session = Session(1)
    meta = session.records()[0]
    meta["payload"]["id"] = branch
    made = int(session.created.timestamp() * 1000)
    name = session.file_name.replace(session.id, branch)
    data = dump([meta, *turn(made - 1, "before"), *turn(made, "after")])
    found = [(one.text, one.inherited) for one in read_prompts(put(tmp_path, name, data))]
    assert found == [("before", True), ("after", False)]


def test_damage_costs_only_what_is_damaged(tmp_path: Path) -> None:
    session = Session(1).say("One").say("Two")
    head, *rest = session.data().splitlines(keepends=True)
    data = b"\n" + head + b"\xff user_message\n" + b"".join(rest) + b'{"user_message'
    found = [one.text for one in read_prompts(put(tmp_path, session.file_name, data))]
    assert found == ["One", "Two"]
    for bad in (b"", b"no record\n", head.replace(session.id.encode(), Session(2).id.encode())):
        file = put(tmp_path, session.file_name, bad)
        with pytest.raises(SessionError):
            list(read_prompts(file))


@pytest.mark.parametrize("suffix", ["", ".zst"])
def test_progress_comes_to_the_size_of_the_file(tmp_path: Path, suffix: str) -> None:
    session = Session(1).say("One")
    file = put(tmp_path, session.file_name + suffix, session.data())
    told: list[int] = []
    list(read_prompts(file, told.append))
    assert sum(told) == file.size


# Times


@pytest.mark.parametrize("suffix", ["", ".zst"])
@pytest.mark.parametrize(
    "tail",
    [b"", b"\n\n", bytes(50), b'{"timestamp":"2030', b"x" * (TAIL_BYTES + 1), b"\n" * TAIL_BYTES],
)
def test_the_time_of_the_last_record(tmp_path: Path, suffix: str, tail: bytes) -> None:
    session = Session(1).say("One", "long " * TAIL_BYTES)
    file = put(tmp_path, session.file_name + suffix, session.data() + tail)
    last = session.records()[-1]["timestamp"]
    assert last == "2026-03-02T09:00:02.500Z"
    assert last_time_ms(file) == int(session.created.timestamp() * 1000) + 2500


def test_the_time_of_a_file_whose_records_have_none(tmp_path: Path) -> None:
    path = tmp_path / Session(1).file_name
    path.write_bytes(b'{"timestamp":"never","type":"x","payload":{}}\n')
    os.utime(path, ns=(0, 1_700_000_000_123_000_000))
    file = replace(put(tmp_path, path.name, path.read_bytes()), mtime_ns=1_700_000_000_123_000_000)
    assert last_time_ms(file) == 1_700_000_000_123


# Lines and settings


def test_a_line_of_the_history_is_as_codex_writes_it() -> None:
    entry = HistoryEntry(ID, 1_700_000_000, 'a "text"\nof two lines')
    line = entry_line(entry)
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert list(json.loads(line)) == ["session_id", "ts", "text"]
    assert parse_entry(line) == entry


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"garbage",
        b"[]",
        b'{"session_id":"x","ts":1}',
        b'{"session_id":"x","ts":true,"text":"t"}',
        b'{"session_id":"x","ts":1.5,"text":"t"}',
        b'{"session_id":"x","ts":-1,"text":"t"}',
        b'{"session_id":"x","ts":99999999999999999,"text":"t"}',
        b'{"session_id":7,"ts":1,"text":"t"}',
        b'{"session_id":"x","ts":1,"text":null}',
    ],
)
def test_what_is_no_line_of_the_history(line: bytes) -> None:
    assert parse_entry(line) is None


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        ({}, HistorySettings()),
        ({"history": "on"}, HistorySettings()),
        ({"history": {"max_bytes": 10}}, HistorySettings(10)),
        ({"history": {"max_bytes": 0}}, HistorySettings()),
        ({"history": {"max_bytes": True}}, HistorySettings()),
        ({"history": {"max_bytes": "10"}}, HistorySettings()),
        ({"history": {"persistence": "none"}}, HistorySettings(None, saved=False)),
        ({"history": {"persistence": "save-all", "max_bytes": 5}}, HistorySettings(5)),
    ],
)
def test_settings(config: dict[str, object], settings: HistorySettings) -> None:
    assert history_settings(config) == settings


def test_lines_wait_in_any_number_and_order() -> None:
    with Spool() as spool:
        numbers = [spool.add(b"%d\n" % number) for number in range(300)]
        assert numbers == list(range(300))
        assert list(spool.lines([299, 0, 7])) == [b"299\n", b"0\n", b"7\n"]
        assert spool.add(b"more\n") == 300
        assert list(spool.lines([300, 299])) == [b"more\n", b"299\n"]
        assert spool.sizes[300] == 5
