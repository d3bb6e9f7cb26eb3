"""Damaged transcripts of real sessions: what can be saved is, the rest is refused by name."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import zstandard

from codexbed import (
    LEGACY,
    CodexHome,
    ModelServer,
    SessionView,
    copy_home,
    doctor,
    records,
    view,
)
from codexbed.making import talk
from real_codex.syncing import (
    Answer,
    Source,
    differences,
    file_of,
    fresh_home,
    listed,
    said,
    shared,
    sync,
)

MODES = ("paginated", "legacy")


@dataclass(frozen=True)
class Damage:
    """How a transcript is spoilt, what of it Codex can read, and what we say of that."""

    spoil: Callable[[bytes], bytes]
    intact: Callable[[bytes], bytes] = bytes
    warning: str | None = None


def whole(data: bytes) -> bytes:
    """The transcript up to the last record that ends."""
    return data[: data.rindex(b"\n") + 1]


def without_last(data: bytes) -> bytes:
    return whole(data[:-1])


def last_answer(data: bytes) -> tuple[int, int]:
    """Where the last answer's `response_item` begins and ends."""
    lines = data.splitlines(keepends=True)
    number = max(n for n, line in enumerate(lines) if b'"role":"assistant"' in line)
    start = sum(map(len, lines[:number]))
    return start, start + len(lines[number])


def torn_in_answer(data: bytes) -> bytes:
    start, end = last_answer(data)
    return data[: (start + end) // 2]


def not_utf8(data: bytes) -> bytes:
    start, end = last_answer(data)
    return data[:start] + data[start:end].replace(b"answer", b"\xff\xfe\xc3(", 1) + data[end:]


def without_answer(data: bytes) -> bytes:
    start, end = last_answer(data)
    return data[:start] + data[end:]


def between(data: bytes, inserted: bytes) -> bytes:
    """Insert bytes after the line that begins in the middle."""
    place = data.index(b"\n", len(data) // 2) + 1
    return data[:place] + inserted + data[place:]


GARBAGE = b'not json\n{"timestamp": \n[1, 2]\n{"payload": {}}\n\x00\x01\x02\n'

DAMAGES = {
    "torn": Damage(lambda data: data[:-20], without_last, "transcript_torn"),
    "torn_at_once": Damage(lambda data: data + b"{", bytes, "transcript_torn"),
    "torn_in_answer": Damage(torn_in_answer, lambda d: whole(torn_in_answer(d)), "transcript_torn"),
    "torn_with_nuls": Damage(lambda data: data[:-20] + bytes(300), without_last, "transcript_torn"),
    "nul_tail": Damage(lambda data: data + bytes(300), bytes, "transcript_torn"),
    "no_newline": Damage(lambda data: data[:-1]),
    "blank_lines": Damage(lambda data: between(data, b"\n  \n\r\n")),
    "crlf": Damage(lambda data: data.replace(b"\n", b"\r\n")),
    "garbage": Damage(lambda data: between(data, GARBAGE), bytes, "records_unreadable"),
    "not_utf8": Damage(not_utf8, without_answer, "records_unreadable"),
}


@dataclass(frozen=True)
class Saved:
    """A package of damaged sessions, synced, and a home that holds what is readable of them."""

    ids: dict[str, str]
    answer: Answer
    again: Answer
    seen: dict[str, SessionView]
    expected: dict[str, SessionView]
    parity: dict[str, object]


@pytest.fixture(scope="module")
def saved(base: Path, model: ModelServer) -> tuple[CodexHome, Saved]:
    """The home that the damaged sessions were imported into, and what was seen."""

    def make(folder: Path) -> Saved:
        user = folder / "user"
        source = CodexHome(folder / "source", user, model).prepare()
        ids = {}
        for mode, home in zip(MODES, (source, source.with_version(LEGACY)), strict=True):
            with home.app_server() as app:
                for damage in DAMAGES:
                    ids[f"{mode}-{damage}"] = talk(home, app, f"{mode}-{damage}", "one", "two")
        damaged, intact, target = (
            fresh_home(user, folder / name, model) for name in ("damaged", "intact", "target")
        )
        for kind, session_id in ids.items():
            path = file_of(source.home, session_id)
            done = DAMAGES[kind.partition("-")[2]]
            for home, change in ((damaged, done.spoil), (intact, done.intact)):
                copy = home.home / path.relative_to(source.home)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(change(path.read_bytes()))
        answer = sync(target, damaged.home)
        again = sync(target, damaged.home)
        seen, expected = (view(home, list(ids.values())) for home in (target, intact))
        return Saved(ids, answer, again, seen, expected, doctor(target))

    folder, found = shared(base, "damaged", make)
    return CodexHome(folder / "target", folder / "user", model), found


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("mode", MODES)
def test_what_is_whole_is_shown(saved: tuple[CodexHome, Saved], mode: str, damage: str) -> None:
    _, found = saved
    session_id = found.ids[f"{mode}-{damage}"]
    assert found.expected[session_id].problem is None
    assert differences(found.expected[session_id], found.seen[session_id]) == {}


def test_each_damage_is_told(saved: tuple[CodexHome, Saved]) -> None:
    _, found = saved
    expected: dict[str, set[str | None]] = {}
    for kind, session_id in found.ids.items():
        warning = DAMAGES[kind.partition("-")[2]].warning
        if warning is not None:
            expected.setdefault(warning, set()).add(session_id)
    assert found.answer.warnings == expected
    assert (found.answer.code, found.answer.status) == (0, "ok")
    assert (found.again.code, found.again.status) == (0, "no_op")
    assert found.parity["status"] == "ok"


def test_what_was_saved_is_carried_on(saved: tuple[CodexHome, Saved], tmp_path: Path) -> None:
    home, found = saved
    home = copy_home(home, tmp_path / "home").prepare()
    before = {i: len(file_of(home.home, i).read_bytes()) for i in found.ids.values()}
    with home.app_server() as app:
        for session_id in found.ids.values():
            app.resume(session_id)
            app.start_turn(session_id, "carried on")
    resumed = [found.ids[kind] for kind in ("paginated-torn", "legacy-torn", "paginated-not_utf8")]
    for session_id in resumed:
        home.exec_resume(session_id, "carried on again")
    seen = view(home, list(found.ids.values()))
    for kind, session_id in found.ids.items():
        expected = [*said(found.expected[session_id]), "carried on"]
        expected += ["carried on again"] if session_id in resumed else []
        assert said(seen[session_id]) == expected
        path = file_of(home.home, session_id)
        assert path.stat().st_size > before[session_id]
        # Nothing of the damage is left: every line is a record.
        assert all(isinstance(record, dict) for record in records(path))
        if kind.startswith("paginated"):
            assert all("ordinal" in record for record in records(path))


# -- nothing to be saved ------------------------------------------------------------------------


def with_other_id(data: bytes, session_id: str) -> bytes:
    head, newline, rest = data.partition(b"\n")
    other = session_id.replace(session_id[-6:], "000000")
    return head.replace(session_id.encode(), other.encode()) + newline + rest


UNREADABLE: dict[str, Callable[[bytes, str], bytes]] = {
    "empty": lambda data, _: b"",
    "bom": lambda data, _: b"\xef\xbb\xbf" + data,
    "no_meta": lambda data, _: data.partition(b"\n")[2],
    "other_id": with_other_id,
    "garbage_first": lambda data, _: b"not json\n" + data,
    "only_nuls": lambda data, _: bytes(len(data)),
    "torn_meta": lambda data, _: data[: data.index(b"\n") // 2],
    "meta_is_no_object": lambda data, _: b'{"timestamp":"","type":"session_meta","payload":1}\n',
}


def test_the_unreadable_is_refused_by_name(
    base: Path, model: ModelServer, source: Source, tmp_path: Path
) -> None:
    home = fresh_home(source.home.user_home, tmp_path / "home", model)
    package = tmp_path / "package" / "sessions"
    package.mkdir(parents=True)
    kinds = dict(
        zip(
            UNREADABLE,
            (
                "plain",
                "named",
                "fork_root",
                "legacy",
                "fork_parent",
                "compacted",
                "with_tools",
                "several_turns",
            ),
            strict=True,
        )
    )
    for damage, kind in kinds.items():
        path = file_of(source.home.home, source.made[kind].session_id)
        spoilt = UNREADABLE[damage](path.read_bytes(), source.made[kind].session_id)
        (package / path.name).write_bytes(spoilt)
    for kind in ("other_cwd", "subagent"):
        path = file_of(source.home.home, source.made[kind].session_id)
        (package / path.name).write_bytes(path.read_bytes())
    answer = sync(home, package.parent)
    assert (answer.code, answer.status) == (1, "partial")
    spoilt_ids = {source.made[kind].session_id for kind in kinds.values()}
    assert answer.refused() == dict.fromkeys(spoilt_ids, "transcript_invalid")
    assert answer.errors == {"transcript_invalid": spoilt_ids}
    whole_ids = source.ids(["other_cwd", "subagent"])
    assert sorted(listed(home)) == sorted(whole_ids)
    seen = view(home, whole_ids)
    for kind in ("other_cwd", "subagent"):
        assert differences(source.views[kind], seen[source.made[kind].session_id]) == {}


def test_a_blank_line_before_the_first_record(
    model: ModelServer, source: Source, tmp_path: Path
) -> None:
    home = fresh_home(source.home.user_home, tmp_path / "home", model)
    session_id = source.made["plain"].session_id
    path = file_of(source.home.home, session_id)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / path.name).write_bytes(b" \n\r\n" + path.read_bytes())
    assert sync(home, tmp_path / "package").status == "ok"
    assert differences(source.views["plain"], view(home, [session_id])[session_id]) == {}


def test_compressed_transcripts_that_are_damaged(
    base: Path, model: ModelServer, tmp_path: Path
) -> None:
    """Codex itself reads neither the cut nor the spoilt one."""
    source = CodexHome(tmp_path / "source", tmp_path / "user", model).prepare()
    # Long and hard to compress: a short one is a single block, of which a part is nothing.
    chance = random.Random(1)
    texts = ["".join(chr(0x4E00 + chance.randrange(20_000)) for _ in range(100_000)) for _ in "12"]
    with source.app_server() as app:
        cut = talk(source, app, "long", *texts)
        spoilt, joined = (talk(source, app, "short", "one", "two") for _ in range(2))
    paths = {session_id: file_of(source.home, session_id) for session_id in (cut, spoilt, joined)}
    packed = {i: zstandard.compress(path.read_bytes()) for i, path in paths.items()}
    plain = paths[joined].read_bytes()
    files = {
        cut: packed[cut][: len(packed[cut]) * 9 // 10],
        spoilt: bytes(4) + packed[spoilt][4:],
        joined: zstandard.compress(plain[:1000]) + zstandard.compress(plain[1000:]),
    }
    (tmp_path / "package").mkdir()
    for session_id, data in files.items():
        (tmp_path / "package" / f"{paths[session_id].name}.zst").write_bytes(data)
    home = fresh_home(tmp_path / "user", tmp_path / "home", model)
    answer = sync(home, tmp_path / "package")
    assert answer.refused() == {spoilt: "transcript_invalid"}
    assert answer.warnings == {"transcript_torn": {cut}}
    seen = view(home, [cut, joined])
    expected = view(source, [cut, joined])
    assert differences(expected[joined], seen[joined]) == {}
    assert said(seen[cut]) == said(expected[cut])[:1]


def test_a_damaged_base_costs_only_what_hangs_on_its_end(
    model: ModelServer, source: Source, tmp_path: Path
) -> None:
    """A fork needs its base up to where it forked, and no further."""
    home = fresh_home(source.home.user_home, tmp_path / "home", model)
    package = tmp_path / "package"
    package.mkdir()
    bases = {"fork_parent": "fork", "fork_no_turn_parent": "fork_no_turn"}
    for base, fork in bases.items():
        path = file_of(source.home.home, source.made[base].session_id)
        (package / path.name).write_bytes(path.read_bytes()[:-20])
        path = file_of(source.home.home, source.made[fork].session_id)
        (package / path.name).write_bytes(path.read_bytes())
    answer = sync(home, package)
    # `fork_parent` went on after the fork; `fork_no_turn` was made at the very end of its base.
    assert answer.refused() == {source.made["fork_no_turn"].session_id: "history_base_missing"}
    assert answer.warnings == {"transcript_torn": set(source.ids(bases))}
    fork = source.made["fork"].session_id
    assert differences(source.views["fork"], view(home, [fork])[fork]) == {}
