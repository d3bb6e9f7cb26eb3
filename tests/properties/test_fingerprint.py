"""What holds for the fingerprint of any session, its files really written, scanned, composed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import fingerprint_by_spec as spec
from codex_session_sync.codex.rollout import parse_record
from codex_session_sync.lineage.fingerprint import MASKED_ID, common_entries, lineage_id, mask_ids
from codex_session_sync.model import Chain, RolloutFile, Transcript
from codex_session_sync.policy import Policy
from rollouts import composed, file_name, parsed, put, read

Record = dict[str, Any]

OWN, PARENT, FORMER, FRESH, STRANGER = (
    f"019cac00-000{n}-7000-8000-00000000000{n}" for n in range(5)
)
THREADS = [f"019cac00-0010-7000-8000-{n:012}" for n in range(8)]

# --- sessions -----------------------------------------------------------------------------------

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
    return record["type"] in ("response_item", "compacted")


def head(session_id: str = OWN, *, paginated: bool = True, **meta: Any) -> Record:
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
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def session(found: list[Record], **meta: Any) -> bytes:
    """A paginated session of one file."""
    return b"".join(map(dumped, numbered([head(**meta), *found])))


def legacy_session(found: list[Record]) -> bytes:
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


@pytest.fixture(autouse=True, scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    Disk.root = tmp_path_factory.mktemp("sessions")
    yield
    shutil.rmtree(Disk.root)


def scanned(data: bytes, session_id: str = OWN, *, ending: str = "") -> Transcript:
    """The session that is in one file."""
    return read([put(Disk.folder(), file_name(session_id) + ending, data)], session_id)


def chain(data: bytes, session_id: str = OWN) -> Chain:
    return scanned(data, session_id).chain


def links(data: bytes, session_id: str = OWN) -> list[str]:
    """The links by the specification."""
    return spec.fingerprint({session_id: data}, session_id).links


def hex_links(found: Chain) -> list[str]:
    return [found.link(n + 1) for n in range(len(found))]


# --- the specification --------------------------------------------------------------------------


@settings(max_examples=120)
@given(records, st.sampled_from([{}, {"forked_from_id": PARENT}]))
def test_paginated_sessions_have_the_links_of_the_specification(
    found: list[Record], meta: Record
) -> None:
    data = session(found, **meta)
    assert hex_links(chain(data)) == links(data)


@settings(max_examples=150)
@given(legacy_records)
def test_legacy_sessions_have_the_links_of_the_specification(found: list[Record]) -> None:
    data = legacy_session(found)
    assert hex_links(chain(data)) == links(data)
    expected = spec.fingerprint({OWN: data}, OWN).lineage_id
    assert lineage_id(chain(data), OWN) == expected


NUMBERS = st.from_regex(
    r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
)


def plain_record(kind: str, **payload: Any) -> Record:
    return {"timestamp": "", "type": kind, "payload": payload}


TURN_RECORDS = [
    plain_record("response_item", role="user"),
    plain_record("response_item", role="user"),
    plain_record("response_item", role="developer"),
    plain_record("compacted", message="m"),
    plain_record("event_msg", type="task_started"),
    plain_record("event_msg", type="task_started"),
    plain_record("event_msg", type="user_message"),
    plain_record("event_msg", type="user_message"),
    plain_record("event_msg", type="thread_rolled_back", num_turns=1),
    plain_record("event_msg", type="thread_rolled_back", num_turns=2),
]


@settings(max_examples=400)
@given(st.lists(st.sampled_from(TURN_RECORDS), max_size=20))
def test_turns_are_taken_back_as_specified(found: list[Record]) -> None:
    data = legacy_session([{**r, "timestamp": str(n)} for n, r in enumerate(found)])
    assert hex_links(chain(data)) == links(data)


ODD_JSON = (
    NUMBERS
    | st.from_regex(r'"(\\u[dD][89a-fA-F][0-9]{2}|\\[a-z/"\\]|[ -!#-\[\]-~]){0,3}"', fullmatch=True)
    | st.sampled_from(["NaN", "Infinity", "-Infinity", "-", "01", "1.", ".1", "[1,]", "{,}", "'x'"])
    | st.integers(120, 130).map(lambda n: "[" * n + "]" * n)
)


@settings(max_examples=300)
@given(ODD_JSON)
def test_values_are_read_and_written_as_specified(text: str) -> None:
    line = f'{{"timestamp":"t","type":"response_item","payload":{{"x":{text},"y":"["}}}}'.encode()
    assert_same_reading(line)


@settings(max_examples=300)
@given(entries, st.data())
def test_mangled_lines_are_records_or_not_as_specified(record: Record, data: st.DataObject) -> None:
    line = bytearray(dumped(record).rstrip(b"\n"))
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.integers(0, len(line)))
        taken = data.draw(st.integers(0, 3))
        given_bytes = st.sampled_from([b"", b"\0", b"\r", b"\xff", b'"', b"{}", b"\\", b"9", b"\t"])
        line[place : place + taken] = data.draw(given_bytes)
    assert_same_reading(bytes(line))


@settings(max_examples=100)
@given(st.none() | st.booleans() | st.integers(-(2**64), 2**65) | st.floats() | texts)
def test_ordinals_are_judged_as_specified(ordinal: object) -> None:
    record = {"timestamp": "t", "type": "response_item", "payload": {}, "ordinal": ordinal}
    assert_same_reading(json.dumps(record).encode())


def assert_same_reading(line: bytes) -> None:
    assume(b"\n" not in line)
    expected = spec.parse(line)
    assert repr(parse_record(line)) == repr(expected)
    if expected is not None:
        data = dumped(head()) + line
        assert hex_links(chain(data)) == links(data)


# --- prefixes -----------------------------------------------------------------------------------


@settings(max_examples=60)
@given(records, st.data())
def test_a_beginning_of_a_session_has_a_beginning_of_its_chain(
    found: list[Record], data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, len(found)))
    whole, part = chain(session(found)), chain(session(found[:count]))
    assert len(part) == sum(map(is_entry, found[:count]))
    assert whole.links.startswith(part.links)
    assert common_entries(whole, part) == common_entries(part, whole) == len(part)


@settings(max_examples=60)
@given(several_entries, several_entries, several_entries)
def test_sessions_agree_up_to_where_they_part(
    shared: list[Record], one: list[Record], other: list[Record]
) -> None:
    a, b = session(shared + one), session(shared + other)
    common = common_entries(chain(a), chain(b))
    assert common == spec.common(links(a), links(b))
    assert common >= sum(map(is_entry, shared))


@settings(max_examples=60)
@given(several_entries, st.data())
def test_another_time_or_content_is_another_entry_and_all_after_it(
    found: list[Record], data: st.DataObject
) -> None:
    places = [place for place, record in enumerate(found) if is_entry(record)]
    number = data.draw(st.integers(0, len(places) - 1))
    record = found[places[number]]
    kind = {"response_item": items, "compacted": compactions}[record["type"]]
    change = data.draw(
        st.fixed_dictionaries({"timestamp": times}) | st.fixed_dictionaries({"payload": kind})
    )
    changed = {**record, **change}
    assume(spec.canonical_entry(changed) != spec.canonical_entry(record))
    before = chain(session(found))
    after = chain(session([*found[: places[number]], changed, *found[places[number] + 1 :]]))
    assert common_entries(before, after) == number
    assert not set(hex_links(before)[number:]) & set(hex_links(after)[number:])


@settings(max_examples=300)
@given(
    st.lists(st.integers(0, 3), max_size=40),
    st.lists(st.integers(0, 1), max_size=6),
    st.lists(st.integers(2, 3), max_size=6),
)
def test_bisection_finds_what_counting_finds(
    shared: list[int], one: list[int], other: list[int]
) -> None:
    a, b = chain_of(shared + one), chain_of(shared + other)
    naive = 0
    while naive < min(len(a), len(b)) and a.link(naive + 1) == b.link(naive + 1):
        naive += 1
    assert common_entries(a, b) == common_entries(b, a) == naive == len(shared)


def chain_of(words: list[int]) -> Chain:
    """The chain over entries of which only the digest is known."""
    return Chain(b"".join(spec.chained([bytes([word]) * 32 for word in words])))


# --- what makes no difference -------------------------------------------------------------------

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


# --- inherited history --------------------------------------------------------------------------


@dataclass
class Segment:
    """A rollout file of a family: its lines, and the line of another file that it continues."""

    thread: str
    segment: str
    base: Segment | None = field(default=None, repr=False)
    kept: int = 0
    lines: list[bytes] = field(default_factory=list)
    next_ordinal: int = 0

    @property
    def data(self) -> bytes:
        return b"".join(self.lines)

    def begin(self, forked_from: str | None) -> None:
        """Write the head, with the reference to what is continued."""
        meta: Record = {} if forked_from is None else {"forked_from_id": forked_from}
        if self.base is not None:
            end = 1 + max(o for o in map(ordinal_of, self.base.lines[: self.kept]) if o is not None)
            offset = len(b"".join(self.base.lines[: self.kept]))
            meta["history_base"] = {
                "thread_id": self.base.segment,
                "end_ordinal_exclusive": end,
                "end_byte_offset": offset,
            }
            meta["forked_from_ordinal_exclusive"] = end
            self.next_ordinal = end
        self.add(head(self.thread, **meta))

    def add(self, record: Record, *, with_ordinal: bool = True) -> None:
        if with_ordinal:
            record = {**record, "ordinal": self.next_ordinal}
            self.next_ordinal += 1
        self.lines.append(dumped(record))


def ordinal_of(line: bytes) -> int | None:
    record = spec.parse(line.rstrip(b"\n"))
    return None if record is None else record.get("ordinal")


JUNK = (b"\n", b"{torn\n", b"\0\0\n", b"[]\r\n")


@st.composite
def families(draw: st.DrawFn) -> list[Segment]:
    """A session, and up to three that fork it or go back in it, some lines without ordinals."""
    found = [Segment(THREADS[0], THREADS[0])]
    found[0].begin(None)
    tips = {THREADS[0]: found[0]}
    fill(draw, found[0])
    for number in range(1, draw(st.integers(2, 4))):
        base = draw(st.sampled_from(found))
        revert = tips[base.thread] is base and draw(st.booleans())
        thread = base.thread if revert else THREADS[number]
        kept = draw(st.integers(1, len(base.lines)))
        segment = Segment(thread, THREADS[number], base, kept)
        segment.begin(None if revert else base.thread)
        fill(draw, segment)
        tips[thread] = segment
        found.append(segment)
    for segment in found:
        fill(draw, segment)
    return found


def fill(draw: st.DrawFn, segment: Segment) -> None:
    """Add some lines."""
    naming = st.sampled_from([segment.thread, STRANGER])
    named = record_of(
        "event_msg", st.fixed_dictionaries({"type": st.just("item_completed"), "thread_id": naming})
    )
    listed = record_of(
        "compacted",
        st.fixed_dictionaries(
            {
                "message": st.just("m"),
                "replacement_history": st.lists(
                    st.fixed_dictionaries({"thread_id": naming}), max_size=1
                ),
                "latest": st.fixed_dictionaries({"thread_id": naming}),
            }
        ),
    )
    for record in draw(st.lists(entries | entries | others | named | listed, max_size=3)):
        segment.add(record, with_ordinal=draw(st.integers(0, 5)) > 0)
        if draw(st.integers(0, 7)) == 0:
            segment.lines.append(draw(st.sampled_from(JUNK)))


def written(family: list[Segment], packed: set[int]) -> list[RolloutFile]:
    """The files of a family, these of them compressed."""
    folder = Disk.folder()
    return [
        put(
            folder,
            file_name(one.thread, one.segment, f"2026-03-02T09-00-{number:02}")
            + (".zst" if number in packed else ""),
            one.data,
        )
        for number, one in enumerate(family)
    ]


@settings(max_examples=120)
@given(families(), st.sets(st.integers(0, 3)))
def test_copying_inherited_history_in_front_changes_nothing(
    family: list[Segment], packed: set[int]
) -> None:
    files = {segment.segment: segment.data for segment in family}
    tips = {segment.thread: segment.segment for segment in family}
    found = written(family, packed)
    for thread, tip in tips.items():
        transcript = read(found, thread)
        assert hex_links(transcript.chain) == spec.fingerprint(files, tip).links
        flat = composed(transcript)
        assert composed(transcript) == flat
        again = scanned(flat, thread)
        assert again.chain == transcript.chain
        assert (again.inherited, again.facts.unreadable) == (False, 0)
        assert composed(again) == flat
        assert_self_contained(flat, thread, spec.resolved(files, tip))


def assert_self_contained(flat: bytes, thread: str, resolved: list[Record]) -> None:
    """One head, whole ordinals, entries as they were, no ancestor named where records are."""
    found = parsed(flat)
    metas = [record["payload"] for record in found if record["type"] == "session_meta"]
    assert [meta["id"] for meta in metas] == [thread]
    assert not {"history_base", "forked_from_ordinal_exclusive"} & metas[0].keys()
    assert all(isinstance(record.get("ordinal"), int) for record in found)
    assert [seen(r) for r in found if is_entry(r)] == [seen(r) for r in resolved if is_entry(r)]
    named = [record["payload"] for record in found if record["type"] == "event_msg"]
    ids = {payload["thread_id"] for payload in named if payload["type"] == "item_completed"}
    assert ids <= {thread, STRANGER}


def seen(record: Record) -> Record:
    """What the model sees of an entry."""
    payload = record["payload"]
    if record["type"] == "compacted":
        payload = {k: payload.get(k) for k in ("message", "replacement_history")}
    return {"timestamp": record["timestamp"], "payload": payload}


@settings(max_examples=50)
@given(legacy_records)
def test_composing_a_legacy_session_changes_nothing(found: list[Record]) -> None:
    transcript = scanned(legacy_session(found))
    flat = composed(transcript)
    assert composed(transcript) == flat
    again = scanned(flat)
    assert again.chain == transcript.chain
    assert composed(again) == flat
    assert all("ordinal" not in record for record in parsed(flat))


# --- damage -------------------------------------------------------------------------------------

BLANK = st.sampled_from([b"\n", b"\r\n", b" \t\n", b"\0\0\n"])
GARBAGE = st.sampled_from(
    [
        b"garbage\n",
        b"{}\n",
        b'{"timestamp":"torn\n',
        b"\xff\xfe\n",
        b"[1]\r\n",
        b"null\n",
        b'"\0"\n',
    ]
)


@settings(max_examples=80)
@given(records, st.data())
def test_lines_that_are_no_records_are_counted_and_left_out(
    found: list[Record], data: st.DataObject
) -> None:
    intact = session(found)
    first, *rest = intact.splitlines(keepends=True)
    leading = data.draw(st.lists(st.sampled_from([b"\n", b" \t\r\n"]), max_size=2))
    damaged, garbage = [*leading, first], 0
    for line in [*rest, b""]:
        for bad in data.draw(st.lists(st.tuples(st.booleans(), BLANK, GARBAGE), max_size=2)):
            blank, empty, junk = bad
            damaged.append(empty if blank else junk)
            garbage += not blank
        damaged.append(line)
    whole, broken = scanned(intact), scanned(b"".join(damaged))
    assert broken.chain == whole.chain
    assert (broken.facts.unreadable, broken.facts.torn) == (garbage, False)
    assert composed(broken) == composed(whole)


@settings(max_examples=40)
@given(records)
def test_lines_may_end_in_carriage_return_and_newline(found: list[Record]) -> None:
    intact = session(found)
    windows = scanned(intact.replace(b"\n", b"\r\n"))
    assert windows.chain == chain(intact)
    assert (windows.facts.unreadable, windows.facts.torn) == (0, False)
    assert parsed(composed(windows)) == parsed(composed(scanned(intact)))


TAILS = {
    b"\0": True,
    b"\0" * 70: True,
    b'{"timestamp"': True,
    b"garbage": True,
    b"\xff": True,
    b"\n\0\0": True,
    b"": False,
    b"\n": False,
    b" ": False,
}


@settings(max_examples=60)
@given(records, st.sampled_from(sorted(TAILS)))
def test_a_torn_tail_is_taken_up_to_the_last_whole_record(found: list[Record], tail: bytes) -> None:
    intact = session(found)
    torn = scanned(intact + tail)
    assert torn.chain == chain(intact)
    assert (torn.facts.torn, torn.facts.unreadable) == (TAILS[tail], 0)
    assert composed(torn) == composed(scanned(intact))


@settings(max_examples=100)
@given(several_entries, st.data())
def test_a_session_cut_anywhere_is_its_own_beginning(
    found: list[Record], data: st.DataObject
) -> None:
    intact = session(found)
    start = intact.index(b"\n") + 1
    cut = data.draw(st.integers(start, len(intact)))
    begun = intact[:cut]
    part, whole = scanned(begun), scanned(intact)
    lines = begun.split(b"\n")
    complete = [json.loads(line) for line in lines[:-1]]
    last = spec.parse(lines[-1])
    expected = sum(map(is_entry, complete)) + (last is not None and is_entry(last))
    assert whole.chain.links[: expected * Chain.LINK_BYTES] == part.chain.links
    assert part.facts.torn is (last is None and lines[-1] != b"")
    assert part.facts.unreadable == 0
    rewritten_lines = composed(part)
    assert rewritten_lines.endswith(b"\n")
    assert scanned(rewritten_lines).chain == part.chain
