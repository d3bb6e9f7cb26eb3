"""Fingerprints of sessions that inherit history, and of what is composed of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fingerprint_by_spec as spec
from codex_session_sync.model import RolloutFile
from properties.sessions import (
    STRANGER,
    THREADS,
    Disk,
    Record,
    dumped,
    entries,
    head,
    hex_links,
    is_entry,
    legacy_records,
    legacy_session,
    make_disk,
    others,
    record_of,
    scanned,
)
from rollouts import composed, file_name, parsed, put, read

disk = pytest.fixture(make_disk, autouse=True, scope="module")


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
