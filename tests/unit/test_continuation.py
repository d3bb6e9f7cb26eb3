"""What is appended to a local copy: what it lacks, once, in its own form, and nothing else."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from builders import dump, session_id
from codex_session_sync.codex.convert import ModeConverter, Standing
from codex_session_sync.compose import Sink
from codex_session_sync.continuation import Continuation
from codex_session_sync.errors import SessionError
from codex_session_sync.lineage.fingerprint import common_entries
from codex_session_sync.localize import Identity
from codex_session_sync.model import Transcript
from rollouts import Record, file_name, parsed, put, read, rewriter

ONE, OTHER = session_id(1), session_id(2)
Step = tuple[Any, ...]


# -- sessions -----------------------------------------------------------------------------------


def entry(role: str, text: str) -> Record:
    kind = "output_text" if role == "assistant" else "input_text"
    payload = {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}
    return {"type": "response_item", "payload": payload}


def event(kind: str, **fields: Any) -> Record:
    return {"type": "event_msg", "payload": {"type": kind, **fields}}


def turn(number: int, answers: int = 1, *, preamble: bool = False) -> Iterator[Record]:
    """A turn of the user, as legacy sessions record it."""
    name = f"turn {number}"
    yield event("task_started", turn_id=name)
    if preamble:
        yield entry("user", f"<environment_context>{number}")
    yield {"type": "turn_context", "payload": {"turn_id": name, "cwd": "/home/alice/garden"}}
    yield entry("user", f"question {number}")
    yield event("user_message", message=f"question {number}")
    for answer in range(answers):
        yield event("agent_message", message=f"answer {number}.{answer}")
        yield entry("assistant", f"answer {number}.{answer}")
    yield event("task_complete", turn_id=name)


def compaction(number: int) -> Iterator[Record]:
    name = f"turn {number}"
    yield event("task_started", turn_id=name)
    yield {"type": "compacted", "payload": {"message": f"summary {number}"}}
    yield event("context_compacted")
    yield event("task_complete", turn_id=name)


def rolled_back(count: int) -> Record:
    return event("thread_rolled_back", num_turns=count)


def steps(found: Sequence[Step]) -> list[Record]:
    """The records of a session in which these things happened, one after another."""
    records: list[Record] = []
    for number, (kind, *rest) in enumerate(found):
        if kind == "turn":
            records += turn(number, *rest, preamble=number == 0)
        elif kind == "compaction":
            records += compaction(number)
        elif kind == "back":
            records.append(rolled_back(*rest))
        else:
            records += [entry(kind, f"{kind} {number}"), event("token_count", number=number)]
    return timed(records)


def timed(records: Iterable[Record]) -> list[Record]:
    """The records behind a head, one a second."""
    head = {"type": "session_meta", "payload": {"id": ONE, "cwd": "/home/alice/garden"}}
    return [
        {"timestamp": f"2026-03-02T09:{place // 60:02}:{place % 60:02}.000Z", **record}
        for place, record in enumerate([head, *records])
    ]


def migrated(legacy: Sequence[Record], session: str = ONE) -> list[Record]:
    """The records that stand, in the other mode, with ordinals."""
    converter, standing = ModeConverter("paginated", session), Standing()
    for record in legacy:
        standing.note(record)
    kept = (record for record, stands in zip(legacy, standing.flags, strict=True) if stands)
    new = [found for record in kept for found in converter.convert(record)]
    return [{**r, "ordinal": n} for n, r in enumerate([*new, *converter.finish()])]


def back_to_legacy(records: Sequence[Record]) -> list[Record]:
    converter = ModeConverter("legacy", ONE)
    return [found for record in records for found in converter.convert(record)]


FORMS: dict[str, Callable[[Sequence[Record]], list[Record]]] = {
    "legacy": list,
    "paginated": migrated,
    "legacy again": lambda records: back_to_legacy(migrated(records)),
}


def scanned(
    folder: Path, data: bytes, *, session: str = ONE, compressed: bool = False
) -> Transcript:
    folder.mkdir(exist_ok=True)
    name = file_name(session) + (".zst" if compressed else "")
    return read([put(folder, name, data)], session)


def continued(incoming: Transcript, local: Transcript) -> bytes:
    """What is written for a local copy whose entries the incoming session has all."""
    target = io.BytesIO()
    common = common_entries(incoming.chain, local.chain)
    assert common == len(local.chain)
    new = rewriter(incoming, identity=Identity(local.session_id))
    written = Continuation(new, local, common).write(Sink(target, None))
    assert written.size == len(target.getvalue())
    return target.getvalue()


# -- always -------------------------------------------------------------------------------------

step: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("turn"), st.integers(0, 2)),
    st.tuples(st.just("back"), st.integers(0, 3)),
    st.sampled_from([("compaction",), ("user",), ("assistant",)]),
)


@given(
    story=st.lists(step, min_size=1, max_size=7),
    forms=st.tuples(st.sampled_from(sorted(FORMS)), st.sampled_from(sorted(FORMS))),
    cut=st.integers(1, 60),
    torn=st.integers(0, 200),
    compressed=st.booleans(),
    other_id=st.booleans(),
)
def test_a_continued_copy_is_what_its_source_is(
    tmp_path_factory: pytest.TempPathFactory,
    story: list[Step],
    forms: tuple[str, str],
    cut: int,
    torn: int,
    compressed: bool,
    other_id: bool,
) -> None:
    legacy = steps(story)
    one = dump(FORMS[forms[0]](legacy))
    other = dump(FORMS[forms[1]](legacy[:cut]))
    other = other[: max(other.index(b"\n") + 1, len(other) - torn)]
    session = OTHER if other_id else ONE
    other = other.replace(ONE.encode(), session.encode())
    folder = tmp_path_factory.mktemp("pair")
    incoming = scanned(folder / "incoming", one)
    local = scanned(folder / "local", other, session=session, compressed=compressed)
    assume(common_entries(incoming.chain, local.chain) == len(local.chain))
    whole = other + continued(incoming, local)
    after = scanned(folder / "after", whole, session=session)
    assert after.chain == incoming.chain
    assert after.mode == local.mode
    if after.mode == "paginated":
        ordinals = [json.loads(line)["ordinal"] for line in whole.splitlines() if is_whole(line)]
        assert all(earlier < later for earlier, later in pairwise(ordinals))
    assert continued(incoming, after).strip() == b""


def is_whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


# -- one by one ---------------------------------------------------------------------------------

TWO_TURNS = [("turn", 1), ("turn", 1)]


def kinds(data: bytes) -> list[str]:
    """What the records are, in short."""
    return [
        found["payload"].get("type", found["type"])
        if found["type"] == "event_msg"
        else found["type"]
        for found in parsed(data)
    ]


def test_ordinals_go_on_and_the_rest_is_as_it_was(tmp_path: Path) -> None:
    there = [
        {**r, "ordinal": 10 * r["ordinal"]} for r in migrated(steps([*TWO_TURNS, ("turn", 1)]))
    ]
    here = migrated(steps(TWO_TURNS))
    incoming = scanned(tmp_path / "a", dump(there))
    added = parsed(continued(incoming, scanned(tmp_path / "b", dump(here))))
    assert [r["ordinal"] for r in added] == list(range(len(here), len(here) + len(added)))
    assert [{**r, "ordinal": 0} for r in added] == [{**r, "ordinal": 0} for r in there[len(here) :]]
    assert list(added[0]) == ["timestamp", "ordinal", "type", "payload"]


def test_a_copy_without_ordinals_begins_with_the_first(tmp_path: Path) -> None:
    head, *rest = migrated(steps(TWO_TURNS))
    del head["ordinal"]
    incoming = scanned(tmp_path / "a", dump([head, *rest]))
    local = scanned(tmp_path / "b", dump([head]))
    assert [r["ordinal"] for r in parsed(continued(incoming, local))] == list(range(len(rest)))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("end", [b"", b"\n", b'\n{"timestamp":"2026-', b'\n{"torn":1}\n'])
def test_a_last_line_is_ended_before_more_is_written(
    tmp_path: Path, end: bytes, compressed: bool
) -> None:
    whole = dump(steps(TWO_TURNS))
    begun = dump(steps(TWO_TURNS[:1])).removesuffix(b"\n")
    local = scanned(tmp_path / "b", begun + end, compressed=compressed)
    added = continued(scanned(tmp_path / "a", whole), local)
    assert added.startswith(b"\n") == (not end.endswith(b"\n"))
    assert (begun + b"\n" + added.lstrip(b"\n")) == whole


def test_what_the_copy_has_behind_its_last_entry_is_not_written_again(tmp_path: Path) -> None:
    records = steps(TWO_TURNS)
    ends = [n for n, r in enumerate(records) if r["payload"].get("type") == "task_complete"]
    for mode in (list, migrated):
        for end in range(ends[0] - 1, ends[0] + 3):
            incoming = scanned(tmp_path / "a", dump(records))
            local = scanned(tmp_path / "b", dump(mode(records[:end])))
            added = kinds(continued(incoming, local))
            wanted = kinds(dump(mode(records)))[end:]
            assert added == wanted


@pytest.mark.parametrize("form", sorted(FORMS))
def test_records_name_the_copy(tmp_path: Path, form: str) -> None:
    """Wherever they name the session itself, but for what the model saw."""
    usage = {"thread_id": ONE, "session_id": ONE}
    tools = {"dynamic_tools": {"thread_id": ONE}}
    seen = {"message": ONE, "replacement_history": [{**entry("user", "q"), "thread_id": ONE}]}
    told = {"latest_token_usage_record": usage, "resume_metadata": tools, "agent": session_id(3)}
    item = {"type": "CollabAgentToolCall", "sender_thread_id": ONE, "id": "c"}
    shown = event("item_completed", thread_id=ONE, turn_id="turn 0", item=item)
    compacted = {"type": "compacted", "payload": {**seen, **told}}
    begun = list(turn(0))
    records = FORMS[form](timed([*begun, shown, compacted]))
    local = dump(timed(begun)).replace(ONE.encode(), OTHER.encode())
    incoming = scanned(tmp_path / "a", dump(records))
    added = parsed(continued(incoming, scanned(tmp_path / "b", local, session=OTHER)))
    assert [r["payload"] for r in added][-1] == {
        **seen,
        "latest_token_usage_record": {"thread_id": OTHER, "session_id": OTHER},
        "resume_metadata": {"dynamic_tools": {"thread_id": OTHER}},
        "agent": session_id(3),
    }
    assert added[0]["payload"]["item"] == {**item, "sender_thread_id": OTHER}
    assert added[0]["payload"]["thread_id"] == OTHER


def test_a_head_is_not_written_again(tmp_path: Path) -> None:
    records = steps(TWO_TURNS)
    again = [*records[:-1], records[0], records[-1]]
    incoming = scanned(tmp_path / "a", dump(again))
    local = scanned(tmp_path / "b", dump(records[:3]))
    assert "session_meta" not in kinds(continued(incoming, local))


def test_a_conversion_knows_what_came_before(tmp_path: Path) -> None:
    """Items are numbered on, and stand in the turn that the common part has begun."""
    records = steps([("turn", 3)])
    answers = [n for n, r in enumerate(records) if r["payload"].get("role") == "assistant"]
    local = migrated(records[: answers[0] + 1])
    data = continued(scanned(tmp_path / "a", dump(records)), scanned(tmp_path / "b", dump(local)))
    assert [*local, *parsed(data)] == migrated(records)
    shown = [r["payload"] for r in parsed(data) if r["payload"].get("type") == "item_completed"]
    assert [s["item"]["id"] for s in shown] == ["item-3", "item-4"]
    assert {s["turn_id"] for s in shown} == {"turn 0"}


def test_turns_taken_back_are_written_to_a_legacy_copy_only(tmp_path: Path) -> None:
    """A legacy copy that lacks them gets them, and what took them back."""
    records = steps([("turn", 1), ("turn", 1), ("back", 1), ("turn", 1)])
    incoming = scanned(tmp_path / "a", dump(records))
    begun = steps([("turn", 1)])
    legacy = scanned(tmp_path / "b", dump(begun))
    assert parsed(continued(incoming, legacy)) == records[len(begun) :]
    paginated = scanned(tmp_path / "c", dump(migrated(begun)))
    data = continued(incoming, paginated)
    assert (b"question 1" in data, b"question 3" in data) == (False, True)
    assert "thread_rolled_back" not in kinds(data)


def test_turns_taken_back_that_the_copy_has_are_not_written_again(tmp_path: Path) -> None:
    story: list[Step] = [("turn", 1), ("turn", 1), ("back", 1)]
    records, begun = steps([*story, ("turn", 1)]), steps(story)
    local = scanned(tmp_path / "b", dump(begun))
    assert parsed(continued(scanned(tmp_path / "a", dump(records)), local)) == records[len(begun) :]


def test_a_rollback_does_not_take_what_only_the_copy_has_left(tmp_path: Path) -> None:
    """Between turns that go a compaction stays; a copy may have it without the rollback."""
    records = steps([("turn", 1), ("turn", 1), ("compaction",), ("back", 1), ("turn", 1)])
    stays = back_to_legacy(
        migrated(steps([("turn", 1), ("turn", 1), ("compaction",), ("back", 1)]))
    )
    incoming, local = scanned(tmp_path / "a", dump(records)), scanned(tmp_path / "b", dump(stays))
    data = continued(incoming, local)
    assert "thread_rolled_back" not in kinds(data)
    assert scanned(tmp_path / "c", dump(stays) + data).chain == incoming.chain


@pytest.mark.parametrize("form", ["legacy", "paginated"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("change", ["shorter", "other"])
def test_a_file_that_changed_since_is_refused(
    tmp_path: Path, form: str, compressed: bool, change: str
) -> None:
    records = FORMS[form](steps(TWO_TURNS))
    data = dump(records)
    incoming = scanned(tmp_path / "a", data, compressed=compressed)
    local = scanned(tmp_path / "b", dump(steps(TWO_TURNS[:1])))
    other = {"shorter": dump(records[:4]), "other": data.replace(b"answer 1.0", b"answer 9.9")}
    put(tmp_path / "a", incoming.file.name, other[change])
    with pytest.raises(SessionError) as refused:
        continued(incoming, local)
    assert refused.value.code == "package_changed"
