"""What in a transcript is an event, with which text, and what is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builders import Record, Session, write_snapshot
from eventing import counts, events, imported, renumbered, texts, write_records
from unit.event_sessions import BEANS, OLD, heads, own_environment, said, store_path

surroundings = pytest.fixture(own_environment, autouse=True)
store = pytest.fixture(store_path)


def message(role: str, *texts: str, **more: Any) -> Record:
    kind = "output_text" if role == "assistant" else "input_text"
    parts = [{"type": kind, "text": text} for text in texts]
    payload = {"type": "message", "role": role, "content": parts, **more}
    return {"type": "response_item", "payload": payload}


def with_entries(*entries: Record) -> list[Record]:
    """The first session with other entries at its end."""
    records = BEANS.records()
    last = records[-1]
    return renumbered([*records, *({**last, **entry} for entry in entries)])


NONE = [
    message("user", "<environment_context>\n  <cwd>/x</cwd>\n</environment_context>"),
    message("user", "# AGENTS.md instructions for /x\n\n<INSTRUCTIONS>\n…\n</INSTRUCTIONS>"),
    message("user", "<user_instructions>\nbe brief\n</user_instructions>"),
    message("user", "<turn_aborted>\n…\n</turn_aborted>"),
    message("user", '<subagent_notification>\n{"agent_path":"x"}\n</subagent_notification>'),
    message("user", "<environment_context>…</environment_context>", "<skill>\n…\n</skill>"),
    message("user", "  \n"),
    message("assistant", ""),
    message("developer", "Be brief."),
    message("user"),
    {"type": "response_item", "payload": {"type": "message", "role": "user", "content": "text"}},
    {"type": "response_item", "payload": {"type": "reasoning", "summary": []}},
    {"type": "compacted", "payload": {"message": "what was said"}},
]
SOME = [
    (message("user", "<b>bold</b>"), "<b>bold</b>", 0),
    (message("user", "one", "two"), "one\ntwo", 0),
    (message("user", "see <environment_context> there"), "see <environment_context> there", 0),
    (message("assistant", "<environment_context>…</environment_context>"), None, 0),
    (message("user", "\u2028\0\x1b[31m"), "\u2028\0\x1b[31m", 0),
]


def test_what_codex_put_among_it_is_none(store: Path, tmp_path: Path) -> None:
    records = with_entries(*NONE, *(record for record, _, _ in SOME))
    outcome = imported(store, write_records(tmp_path / "home", BEANS, records))
    found = texts(store, heads(outcome)[BEANS.id])[4:]
    assert found == [text or record["payload"]["content"][0]["text"] for record, text, _ in SOME]


def test_images_are_counted(store: Path, tmp_path: Path) -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    said_so = message("user", "<image name=[Image #1]>", "</image>", "what is this?")
    said_so["payload"]["content"].insert(1, image)
    alone = {**said_so, "payload": {**said_so["payload"], "content": [image]}}
    records = with_entries(said_so, alone)
    imported(store, write_records(tmp_path / "home", BEANS, records))
    found = events(store)[-2:]
    assert [(event["text"], event["images"]) for event in found] == [("what is this?", 1), ("", 1)]


def test_the_answer_to_a_compaction_is_none(store: Path, tmp_path: Path) -> None:
    summary = message("assistant", "They talked about beans.")
    compacted = {
        "type": "compacted",
        "payload": {"message": "Here is it:\nThey talked about beans."},
    }
    other = {"type": "compacted", "payload": {"message": "Something else"}}
    records = with_entries(summary, compacted, summary, other, message("user", "Go on"), compacted)
    outcome = imported(store, write_records(tmp_path / "home", BEANS, records))
    assert texts(store, heads(outcome)[BEANS.id])[4:] == ["They talked about beans.", "Go on"]


def test_turns_that_were_taken_back_are_none(store: Path, tmp_path: Path) -> None:
    records = OLD.records()
    undo = {**records[-1], "payload": {"type": "thread_rolled_back", "num_turns": 1}}
    again = replace(OLD, turns=(*OLD.turns, ("Or now?", "Yes."))).records()[len(records) :]
    home = write_records(tmp_path / "home", OLD, [*records, undo, *again])
    outcome = imported(store, home)
    assert texts(store, heads(outcome)[OLD.id]) == [
        *said("How do I prune roses?"),
        *("Or now?", "Yes."),
    ]


def test_a_first_entry_that_was_taken_back_leaves_its_lineage(store: Path, tmp_path: Path) -> None:
    """Beside a session of the lineage that it would have been of."""
    head, _, _, *turns = OLD.records()
    undo = {**turns[-1], "payload": {"type": "thread_rolled_back", "num_turns": 2}}
    again = replace(OLD, turns=(*OLD.turns, ("Or now?", "Yes."))).records()[3 + len(turns) :]
    home = write_records(tmp_path / "home", OLD, [head, *turns])
    other = replace(OLD, number=8)
    write_records(home, other, [other.records()[0], *turns, undo, *again])
    outcome = imported(store, home)
    assert counts(outcome)[2] == 0
    assert texts(store, heads(outcome)[other.id]) == ["Or now?", "Yes."]
    assert len({event["lineage_id"] for event in events(store)}) == 2
    assert all(line["passed"] or line["parent"] or line["entry"] == 1 for line in events(store))
    assert counts(imported(store, home))[0] == 0
    ledgers = {path.stem for path in (store / "events").rglob("*.jsonl")}
    assert ledgers == {event["lineage_id"] for event in events(store)}


def test_a_text_that_is_too_long_is_cut(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codex_session_sync.events.event.MAX_TEXT_BYTES", 10)
    imported(store, write_snapshot(tmp_path / "home", [Session(1).say("ääääääääää", "short")]))
    assert [(e["text"], e.get("cut")) for e in events(store)] == [("äääää", True), ("short", None)]


def test_a_key_may_be_escaped(store: Path, tmp_path: Path) -> None:
    home = write_snapshot(tmp_path / "home", [BEANS])
    path = home / BEANS.relative_path
    plain, escaped = (
        path.read_bytes().replace(b'"role"', key) for key in (b'"role"', b'"r\\u006fle"')
    )
    assert plain != escaped
    path.write_bytes(escaped)
    assert counts(imported(store, home))[0] == 2 * len(BEANS.turns)


def test_what_is_odd_in_a_transcript_is_told(store: Path, tmp_path: Path) -> None:
    home = write_snapshot(tmp_path / "home", [BEANS])
    with (home / BEANS.relative_path).open("ab") as stream:
        stream.write(b'{"torn')
    assert imported(store, home).envelope["warnings"] != []
