"""Sessions of any kind as strategies, their files really written, scanned and fingerprinted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st

import fingerprint_by_spec as spec
from codex_session_sync.model import Chain, Transcript
from rollouts import file_name, put, read

Record = dict[str, Any]

OWN, PARENT, FORMER, FRESH, STRANGER = (
    f"019cac00-000{n}-7000-8000-00000000000{n}" for n in range(5)
)
THREADS = [f"019cac00-0010-7000-8000-{n:012}" for n in range(8)]

SPECIAL = (
    "",
    OWN,
    f"«{PARENT}»{STRANGER}",
    "<environment_context>\n <cwd>/a/\\b</cwd><cwd>é</cwd>\n</environment_context>",
    "<environment_context><cwd>open",
    "see <environment_context><cwd>/kept</cwd>",
    '{"x":[1e16,{"',
    "\x00\x1f\x7f\u2028\ufeff\uffff\U0001f980",
)
texts = st.sampled_from(SPECIAL) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
messages = st.builds(
    lambda role, parts, more: {
        "type": "message",
        "role": role,
        "content": [{"type": "input_text", "text": text} for text in parts],
        **more,
    },
    st.sampled_from(["user", "assistant", "developer"]),
    st.lists(texts, min_size=1, max_size=2),
    st.just({}) | st.fixed_dictionaries({"create_time": st.floats(0, 2e9)}),
)
items = messages | st.dictionaries(texts, values, max_size=3)
compactions = st.fixed_dictionaries(
    {"message": texts},
    optional={
        "replacement_history": st.none() | st.lists(messages | values, max_size=2),
        "window_number": st.integers(0, 9),
    },
)
times = st.builds("2026-03-02T09:00:{:02}.{:03}Z".format, st.integers(0, 59), st.integers(0, 999))
RECORD_ORDER = ("timestamp", "ordinal", "type", "payload")


def record_of(kind: str, payload: st.SearchStrategy[Any]) -> st.SearchStrategy[Record]:
    """Records of one kind."""
    return st.fixed_dictionaries({"timestamp": times, "type": st.just(kind), "payload": payload})


entries = record_of("response_item", items) | record_of("compacted", compactions)
settings_events = st.fixed_dictionaries(
    {
        "type": st.just("thread_settings_applied"),
        "thread_id": st.just(OWN),
        "thread_settings": st.fixed_dictionaries(
            {"cwd": texts, "approval_policy": st.sampled_from(["never", "on-request"])}
        ),
    }
)
turn_contexts = st.fixed_dictionaries(
    {
        "cwd": texts,
        "approval_policy": st.sampled_from(["never", "on-request"]),
        "sandbox_policy": st.fixed_dictionaries({"writable_roots": st.lists(texts, max_size=2)}),
    }
)
others = (
    record_of("event_msg", settings_events)
    | record_of("event_msg", st.fixed_dictionaries({"type": st.just("token_count"), "x": values}))
    | record_of("turn_context", turn_contexts)
    | record_of("world_state", st.fixed_dictionaries({"state": values}))
)
turn_events = record_of(
    "event_msg",
    st.sampled_from([{"type": "task_started"}, {"type": "user_message", "message": "m"}])
    | st.fixed_dictionaries(
        {
            "type": st.just("thread_rolled_back"),
            "num_turns": st.integers(-1, 4) | st.sampled_from([None, True, 1.0, "1"]),
        }
    ),
)
records = st.lists(entries | entries | others, max_size=9)
legacy_records = st.lists(entries | entries | others | turn_events | turn_events, max_size=16)
several_entries = st.lists(entries | entries | others, min_size=1, max_size=8).filter(
    lambda found: any(map(is_entry, found))
)


def is_entry(record: Record) -> bool:
    """Whether a record is one of those that fingerprints are made of."""
    return record["type"] in ("response_item", "compacted")


def head(session_id: str = OWN, *, paginated: bool = True, **meta: Any) -> Record:
    """The first record of a session."""
    payload = {"id": session_id, "timestamp": "2026-03-02T09:00:00.000Z", "cwd": "/home/alice"}
    if paginated:
        payload["history_mode"] = "paginated"
    return {
        "timestamp": "2026-03-02T09:00:00.000Z",
        "type": "session_meta",
        "payload": {**payload, **meta},
    }


def numbered(found: list[Record], start: int = 0) -> list[Record]:
    """The records with ordinals."""
    numbered = [{**record, "ordinal": start + n} for n, record in enumerate(found)]
    return [{key: record[key] for key in RECORD_ORDER} for record in numbered]


def dumped(record: Record) -> bytes:
    """A record as a line."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def session(found: list[Record], **meta: Any) -> bytes:
    """A paginated session of one file."""
    return b"".join(map(dumped, numbered([head(**meta), *found])))


def legacy_session(found: list[Record]) -> bytes:
    """A session of one file, without ordinals."""
    return b"".join(map(dumped, [head(paginated=False), *found]))


class Disk:
    """Where the files of all examples are, each example's in folders of their own."""

    root: ClassVar[Path]
    _numbers = count()

    @classmethod
    def folder(cls) -> Path:
        path = cls.root / str(next(cls._numbers))
        path.mkdir()
        return path


def make_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder for the examples of a module."""
    Disk.root = tmp_path_factory.mktemp("sessions")
    yield
    shutil.rmtree(Disk.root)


def scanned(data: bytes, session_id: str = OWN, *, ending: str = "") -> Transcript:
    """The session that is in one file."""
    return read([put(Disk.folder(), file_name(session_id) + ending, data)], session_id)


def chain(data: bytes, session_id: str = OWN) -> Chain:
    """The chain of the session that is in one file."""
    return scanned(data, session_id).chain


def links(data: bytes, session_id: str = OWN) -> list[str]:
    """The links by the specification."""
    return spec.fingerprint({session_id: data}, session_id).links


def hex_links(found: Chain) -> list[str]:
    """The links of a chain."""
    return [found.link(n + 1) for n in range(len(found))]


def plain_record(kind: str, **payload: Any) -> Record:
    """A record of a kind with this payload."""
    return {"timestamp": "", "type": kind, "payload": payload}
