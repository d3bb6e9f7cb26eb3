"""Which rollout files there are, and which of them make up a history."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builders import Session, dump, session_id
from codex_session_sync.codex import inventory
from codex_session_sync.codex.inventory import RolloutIndex, read_head, resolve, rollout_file
from codex_session_sync.errors import SessionError
from codex_session_sync.model import RolloutFile, Transcript
from codex_session_sync.transcript import first_link, scan
from rollouts import composed, file_name, parsed, put

ROOT, FORK, LEAF, OTHER = (session_id(number) for number in (1, 2, 3, 4))

Record = dict[str, Any]


def file(name: str, *, archived: bool = False) -> RolloutFile:
    """A rollout of which nothing but the name matters."""
    found = rollout_file(Path("/nowhere") / name, name, 1, 2, archived=archived)
    assert found is not None
    return found


def stamped(second: int, thread: str, segment: str | None = None) -> str:
    return file_name(thread, segment, f"2026-03-02T09-00-{second:02}")


# --- the index ----------------------------------------------------------------------------------


def test_file_knows_what_its_name_says() -> None:
    found = file(stamped(7, ROOT, FORK) + ".zst", archived=True)
    assert (found.thread_id, found.segment_id) == (ROOT, FORK)
    assert (found.stamp, found.compressed, found.archived) == ("2026-03-02T09-00-07", True, True)
    assert (found.size, found.mtime_ns) == (1, 2)
    assert rollout_file(Path("x"), "notes.jsonl", 1, 2, archived=False) is None


def test_index_finds_segments_and_threads() -> None:
    first, second, other = (
        file(stamped(0, ROOT)),
        file(stamped(1, ROOT, FORK)),
        file(stamped(2, OTHER)),
    )
    index = RolloutIndex([first, second, other])
    assert len(index) == 3
    assert list(index.threads()) == [ROOT, OTHER]
    assert [index.segment(i) for i in (ROOT, FORK, OTHER, LEAF)] == [first, second, other, None]
    assert index.tip(LEAF) is None
    assert index.tip(FORK) is None, "a segment is no thread"


@pytest.mark.parametrize("turned", [False, True])
def test_plain_file_wins_over_the_compressed_one(turned: bool) -> None:
    plain, packed = file(stamped(0, ROOT)), file(stamped(9, ROOT) + ".zst")
    index = RolloutIndex([packed, plain] if turned else [plain, packed])
    assert index.segment(ROOT) == index.tip(ROOT) == plain
    assert len(index) == 1


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_files_of_one_segment_the_newest_name_wins(turned: bool) -> None:
    older, newer = file(stamped(0, ROOT)), file(stamped(1, ROOT))
    index = RolloutIndex([newer, older] if turned else [older, newer])
    assert index.segment(ROOT) == index.tip(ROOT) == newer


def test_tip_is_the_newest_file() -> None:
    files = [file(stamped(second, ROOT, segment)) for second, segment in ((1, FORK), (2, LEAF))]
    index = RolloutIndex([file(stamped(0, ROOT)), *reversed(files)])
    assert index.tip(ROOT) == files[-1]


def test_tip_is_the_file_that_the_row_names() -> None:
    first, second = file(stamped(0, ROOT) + ".zst"), file(stamped(1, ROOT, FORK))
    index = RolloutIndex([first, second])
    assert index.tip(ROOT, first.name) == first
    assert index.tip(ROOT, first.name.removesuffix(".zst")) == first
    assert index.tip(ROOT, second.name) == second
    assert index.tip(ROOT, second.name + ".zst") == second
    assert index.tip(ROOT, stamped(5, ROOT)) == second, "a row may be out of date"
    assert index.tip(ROOT, file(stamped(0, OTHER)).name) == second


def test_two_segments_of_one_second_have_an_order() -> None:
    files = [file(stamped(0, ROOT, segment)) for segment in (FORK, LEAF)]
    assert RolloutIndex(files).tip(ROOT) == RolloutIndex(reversed(files)).tip(ROOT) == files[1]


# --- heads --------------------------------------------------------------------------------------


def problem(call: Callable[[], object]) -> SessionError:
    with pytest.raises(SessionError) as caught:
        call()
    return caught.value


def test_head_is_the_first_record(tmp_path: Path) -> None:
    session = Session(1).say("hello")
    for ending in ("", ".zst"):
        head = read_head(put(tmp_path, session.file_name + ending, session.data()))
        assert head == session.records()[0]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"garbage\n",
        b"\0\n" + Session(1).data(),
        b"garbage\n" + Session(1).data(),
        b"\xef\xbb\xbf" + Session(1).data(),
        dump(Session(1).records()[1:]),
        dump(Session(1).records()[:1])[:-2],
        dump([{**Session(1).records()[0], "type": "turn_context"}]),
        dump([{**Session(1).records()[0], "payload": {"cwd": "/"}}]),
        Session(2).data(),
        b"\xff\xff\xff\xff",
    ],
)
@pytest.mark.parametrize("ending", ["", ".zst"])
def test_file_without_its_head_is_invalid(tmp_path: Path, data: bytes, ending: str) -> None:
    found = put(tmp_path, Session(1).file_name + ending, data)
    for call in (lambda: read_head(found), lambda: scan(found, nothing)):
        error = problem(call)
        assert (error.code, error.session_id) == ("transcript_invalid", ROOT)


@pytest.mark.parametrize("ending", ["", ".zst"])
def test_blank_lines_may_stand_before_the_head(tmp_path: Path, ending: str) -> None:
    session = Session(1).say("hello")
    plain = put(tmp_path, session.file_name, session.data())
    folder = tmp_path / "blank"
    folder.mkdir()
    blank = put(folder, session.file_name + ending, b"\n \t\r\n" + session.data())
    assert read_head(blank) == session.records()[0]
    expected, found = scan(plain, nothing), scan(blank, nothing)
    assert (found.chain, found.facts) == (expected.chain, expected.facts)
    assert composed(found) == composed(expected)


def test_head_may_be_all_there_is_and_need_no_newline(tmp_path: Path) -> None:
    data = dump(Session(1).records()[:1]).rstrip()
    found = put(tmp_path, Session(1).file_name, data)
    transcript = scan(found, nothing)
    assert (len(transcript.chain), transcript.facts.torn) == (0, False)
    assert composed(transcript).count(b"\n") == 1


def nothing(segment: str) -> RolloutFile | None:
    return None


def noise(size: int) -> str:
    """Text that does not get much smaller, the same each time."""
    return random.Random(1).randbytes(size).hex()


@pytest.mark.parametrize(("place", "size"), [(0, 4), (5, 4), (200_000, 150_000)])
def test_damaged_compressed_file_is_invalid(tmp_path: Path, place: int, size: int) -> None:
    session = Session(1).say("hello", noise(1_000_000))
    found = put(tmp_path, session.file_name + ".zst", session.data())
    packed = bytearray(found.path.read_bytes())
    packed[place : place + size] = b"\xff" * size
    found.path.write_bytes(packed)
    error = problem(lambda: scan(found, nothing))
    assert error.code == "transcript_invalid"


def test_damage_is_told_by_the_first_link_too(tmp_path: Path) -> None:
    """Its first entry lies behind the first megabyte, and the damage between them."""
    meta, *rest = Session(1).say("hello").records()
    filler = {"timestamp": "t", "ordinal": 0, "type": "world_state", "payload": {}}
    filler["payload"] = {"noise": noise(1_500_000)}
    found = put(tmp_path, Session(1).file_name + ".zst", dump([meta, filler, *rest]))
    assert first_link(found, nothing) == scan(found, nothing).chain.link(1)
    packed = bytearray(found.path.read_bytes())
    packed[1_000_000:1_300_000] = bytes(300_000)
    found.path.write_bytes(packed)
    assert problem(lambda: first_link(found, nothing)).code == "transcript_invalid"


# --- histories ----------------------------------------------------------------------------------


def family() -> tuple[Session, Session, Session]:
    """A session, its fork, and a fork of that, each of which went on afterwards."""
    root = Session(1).say("one")
    middle = root.fork(2).say("two")
    leaf = middle.fork(3).say("three")
    return root.say("root goes on"), middle.say("middle goes on"), leaf


def index_of(folder: Path, *sessions: Session) -> RolloutIndex:
    return RolloutIndex(put(folder, one.file_name, one.data()) for one in sessions)


def of(index: RolloutIndex, thread: str) -> Transcript:
    tip = index.tip(thread)
    assert tip is not None
    return scan(tip, index.segment)


def said(transcript: Transcript) -> list[str]:
    """What users said, as the composed file has it."""
    return [
        record["payload"]["item"]["content"][0]["text"]
        for record in parsed(composed(transcript))
        if record["payload"].get("type") == "item_completed"
        and record["payload"]["item"]["type"] == "UserMessage"
    ]


def test_history_of_forks_is_followed_to_its_beginning(tmp_path: Path) -> None:
    index = index_of(tmp_path, *family())
    tip = index.tip(LEAF)
    assert tip is not None
    head, slices = resolve(tip, index.segment)
    assert head["payload"]["id"] == LEAF
    assert [part.file.thread_id for part in slices] == [ROOT, FORK, LEAF]
    assert [part.end and part.end.end_ordinal for part in slices] == [11, 20, None]
    assert said(of(index, LEAF)) == ["one", "two", "three"]
    assert said(of(index, FORK)) == ["one", "two", "middle goes on"]


def test_forks_of_packed_files(tmp_path: Path) -> None:
    files = [put(tmp_path, one.file_name + ".zst", one.data()) for one in family()]
    assert said(of(RolloutIndex(files), LEAF)) == ["one", "two", "three"]


@pytest.mark.parametrize("missing", [ROOT, FORK])
def test_missing_base(tmp_path: Path, missing: str) -> None:
    index = index_of(tmp_path, *(one for one in family() if one.id != missing))
    error = problem(lambda: of(index, LEAF))
    assert (error.code, error.session_id) == ("history_base_missing", LEAF)
    assert missing in error.message


def rewritten(session: Session, change: Callable[[Record], Record]) -> bytes:
    """The session's file with another ``history_base``."""
    head, *rest = session.records()
    base = change(head["payload"].get("history_base", {}))
    return dump([{**head, "payload": {**head["payload"], "history_base": base}}, *rest])


@pytest.mark.parametrize("target", [ROOT, FORK, LEAF])
def test_history_that_goes_round_in_a_circle(tmp_path: Path, target: str) -> None:
    root, middle, leaf = family()

    def back(base: Record) -> Record:
        return {"thread_id": target, "end_ordinal_exclusive": 3, "end_byte_offset": 9}

    files = [
        put(tmp_path, root.file_name, rewritten(root, back)),
        put(tmp_path, middle.file_name, middle.data()),
        put(tmp_path, leaf.file_name, leaf.data()),
    ]
    error = problem(lambda: of(RolloutIndex(files), LEAF))
    assert (error.code, error.session_id) == ("transcript_invalid", LEAF)
    assert "refers to itself" in error.message


def test_history_of_many_files_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = [Session(1).say("1")]
    for number in range(2, 8):
        chain.append(chain[-1].fork(number).say(str(number)))
    index = index_of(tmp_path, *chain)
    monkeypatch.setattr(inventory, "MAX_HISTORY_DEPTH", 6)
    assert said(of(index, chain[-1].id)) == list("1234567")
    monkeypatch.setattr(inventory, "MAX_HISTORY_DEPTH", 5)
    assert problem(lambda: of(index, chain[-1].id)).code == "transcript_invalid"


def test_history_base_of_another_shape_is_invalid(tmp_path: Path) -> None:
    _, middle, _ = family()
    found = put(tmp_path, middle.file_name, rewritten(middle, lambda base: {"thread_id": ROOT}))
    assert problem(lambda: scan(found, nothing)).code == "transcript_invalid"


@pytest.mark.parametrize("damage", [b"garbage\n", b""])
def test_damaged_base_is_invalid(tmp_path: Path, damage: bytes) -> None:
    root, middle, _ = family()
    files = [
        put(tmp_path, root.file_name, damage + root.data()[50:]),
        put(tmp_path, middle.file_name, middle.data()),
    ]
    assert problem(lambda: of(RolloutIndex(files), FORK)).code == "transcript_invalid"


# --- where a continued file ends ----------------------------------------------------------------


def test_base_that_ends_early(tmp_path: Path) -> None:
    root, middle, _ = family()
    lines = root.data().splitlines(keepends=True)
    for kept in (10, 8, 1):
        files = [
            put(tmp_path, root.file_name, b"".join(lines[:kept])),
            put(tmp_path, middle.file_name, middle.data()),
        ]
        error = problem(lambda found=files: of(RolloutIndex(found), FORK))  # type: ignore[misc]
        assert (error.code, error.session_id) == ("history_base_missing", FORK)
    put(tmp_path, root.file_name, b"".join(lines[:11]))
    assert said(of(RolloutIndex(files), FORK)) == ["one", "two", "middle goes on"]


def test_base_that_is_torn_behind_its_end_does_no_harm(tmp_path: Path) -> None:
    root, middle, _ = family()
    files = [
        put(tmp_path, root.file_name, root.data()[:-7]),
        put(tmp_path, middle.file_name, middle.data()),
    ]
    transcript = of(RolloutIndex(files), FORK)
    assert not transcript.facts.torn
    assert said(transcript) == ["one", "two", "middle goes on"]


def test_torn_end_of_a_base_is_not_that_of_the_session(tmp_path: Path) -> None:
    transcript = forked(tmp_path, [HEAD, entry("a", 1), b'{"torn'], 2, 10_000)
    assert (times(transcript), transcript.facts.torn) == (["a"], False)


def forked(folder: Path, lines: list[bytes], ordinal: int, offset: int) -> Transcript:
    """A fork without records of its own at a place in a file of these lines."""
    head = Session(2).records()[0]
    base = {
        "thread_id": ROOT,
        "end_ordinal_exclusive": ordinal,
        "end_byte_offset": offset,
    }
    own = dump([{**head, "payload": {**head["payload"], "history_base": base}}])
    files = [
        put(folder, Session(1).file_name, b"".join(lines)),
        put(folder, Session(2).file_name, own),
    ]
    return of(RolloutIndex(files), FORK)


def entry(text: str, ordinal: int | None) -> bytes:
    record: Record = {"timestamp": text, "type": "response_item", "payload": {"text": text}}
    return dump([record if ordinal is None else {**record, "ordinal": ordinal}])


def times(transcript: Transcript) -> list[str]:
    """The entries that a composed file has, told by their timestamps."""
    found = parsed(composed(transcript))
    return [record["timestamp"] for record in found if record["type"] == "response_item"]


HEAD = dump(Session(1).records()[:1])


def test_ordinals_may_have_gaps_where_the_history_ends(tmp_path: Path) -> None:
    lines = [HEAD, entry("a", 1), entry("b", 7)]
    assert times(forked(tmp_path, lines, 5, 10_000)) == ["a"]
    assert times(forked(tmp_path, lines, 8, 10_000)) == ["a", "b"]
    assert times(forked(tmp_path, lines, 9, len(b"".join(lines)))) == ["a", "b"]
    assert problem(lambda: forked(tmp_path, lines, 9, 10_000)).code == "history_base_missing"


def test_reading_stops_at_the_first_record_beyond_the_end(tmp_path: Path) -> None:
    lines = [HEAD, entry("a", 1), entry("b", 5), entry("c", 2)]
    assert times(forked(tmp_path, lines, 3, 10_000)) == ["a"]


def test_lines_without_ordinal_end_at_the_offset(tmp_path: Path) -> None:
    lines = [HEAD, entry("a", None), entry("b", None), b"garbage\n", entry("c", None)]
    for kept, expected in ((2, ["a"]), (3, ["a", "b"]), (4, ["a", "b"]), (5, ["a", "b", "c"])):
        transcript = forked(tmp_path, lines, 9, len(b"".join(lines[:kept])))
        assert times(transcript) == expected
        assert transcript.facts.unreadable == (kept > 3)
        assert first_link(
            transcript.slices[-1].slice.file,
            RolloutIndex(part.slice.file for part in transcript.slices).segment,
        ) == transcript.chain.link(1)


def test_first_link_is_not_taken_from_behind_the_end(tmp_path: Path) -> None:
    lines = [HEAD, entry("behind", 5)]
    transcript = forked(tmp_path, lines, 3, 10_000)
    tip = transcript.slices[-1].slice.file
    index = RolloutIndex(part.slice.file for part in transcript.slices)
    assert len(transcript.chain) == 0
    assert first_link(tip, index.segment) is None
    put(tmp_path, tip.name, tip.path.read_bytes() + entry("own", 6))
    assert first_link(tip, index.segment) == scan(tip, index.segment).chain.link(1)


def test_the_shortest_cut_on_the_way_counts(tmp_path: Path) -> None:
    """A fork of a fork at a place that lies in the history of both."""
    root, middle, leaf = family()

    def earlier(base: Record) -> Record:
        return {**base, "end_ordinal_exclusive": 3, "end_byte_offset": 0}

    files = [
        put(tmp_path, root.file_name, root.data()),
        put(tmp_path, middle.file_name, middle.data()),
        put(tmp_path, leaf.file_name, rewritten(leaf, earlier)),
    ]
    transcript = of(RolloutIndex(files), LEAF)
    assert said(transcript) == ["three"]
    assert [part.size > 0 for part in transcript.slices] == [True, False, True]
    assert transcript.chain.link(2) == of(RolloutIndex(files), ROOT).chain.link(2)
