"""The cache of scans: what it spares, and that nothing it has can make a scan find otherwise.

That a scan with it finds what one without it does is compared in every test (see conftest).
"""

from __future__ import annotations

import ast
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import Session, dump, write_snapshot
from codex_session_sync import scan_cache, scanning, transcript
from codex_session_sync.codex.rollout import parse_record
from codex_session_sync.foreseen import Foreseen
from codex_session_sync.model import Transcript
from codex_session_sync.scan_cache import VARIABLE, ScanCache
from codex_session_sync.scan_state import load
from codex_session_sync.transcript import scan
from workbench import call, codex_home, make_database

LONG = "word " * 6000
ASKS_NOBODY = b'"approval_policy":"never"'
ONE = Session(1).say("sow", LONG).say("water")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a cache that nothing else uses."""
    folder = tmp_path / "cache"
    monkeypatch.setenv(VARIABLE, str(folder))
    yield folder
    scan_cache.current().close()


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The lines that scans parse; the comparison of conftest is left out."""
    found: list[bytes] = []

    def noted(data: bytes) -> object:
        found.append(data)
        return parse_record(data)

    monkeypatch.setattr(scanning, "parse_record", noted)
    monkeypatch.setattr(transcript, "_known", transcript._known.__wrapped__)  # type: ignore[attr-defined]
    return found


def settle(*paths: Path) -> None:
    """Let the files be older than what may change again within a tick of the clock."""
    newest = max(path.stat().st_ctime_ns for path in paths)
    while time.time_ns() < newest + 2 * scan_cache.SETTLED_NS:
        time.sleep(0.005)


def snapshot(home: Path, session: Session) -> Path:
    """A home with this session."""
    home.mkdir()
    return write_snapshot(home, [session])


def scanned(home: Path) -> Transcript:
    """The session of a home, as a scan finds it some time after it was written."""
    rollouts = codex_home(home).rollouts()
    tip = rollouts.tip(ONE.id)
    assert tip is not None
    settle(tip.path)
    return scan(tip, rollouts.segment)


def file_of(home: Path) -> Path:
    [path] = home.rglob("rollout-*.jsonl")
    return path


@pytest.mark.parametrize("large", [1 << 20, 100])
def test_a_file_is_parsed_once(
    tmp_path: Path, cache: Path, parsed: list[bytes], large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its state is so large that it is written and read part by part."""
    monkeypatch.setattr(scan_cache, "_PART_BYTES", large)
    home = snapshot(tmp_path / "home", ONE)
    first = scanned(home)
    assert len(parsed) == first.facts.records
    parsed.clear()
    assert scanned(home) == first
    assert parsed == []


def test_of_a_copy_that_went_on_only_the_rest_is_parsed(
    tmp_path: Path, cache: Path, parsed: list[bytes]
) -> None:
    known = scanned(snapshot(tmp_path / "one", ONE)).facts.records
    parsed.clear()
    found = scanned(snapshot(tmp_path / "two", ONE.say("weed")))
    assert found.facts.turns == 3
    assert len(parsed) == found.facts.records - known
    assert parsed[0] not in file_of(tmp_path / "one").read_bytes()


@pytest.mark.parametrize("place", [100, -100])
def test_a_copy_with_another_byte_is_read_anew(
    tmp_path: Path, cache: Path, parsed: list[bytes], place: int
) -> None:
    before = scanned(snapshot(tmp_path / "one", ONE))
    path = file_of(snapshot(tmp_path / "two", ONE))
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    parsed.clear()
    found = scanned(tmp_path / "two")
    assert found.slices[0].sha256 != before.slices[0].sha256
    assert len(parsed) >= before.facts.records


def test_a_change_that_keeps_size_and_time_is_seen(tmp_path: Path, cache: Path) -> None:
    home = snapshot(tmp_path / "home", ONE)
    before, path = scanned(home), file_of(home)
    status = path.stat()
    path.write_bytes(path.read_bytes().replace(b"water", b"later"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert scanned(home).chain != before.chain


def test_what_was_just_written_is_not_kept(
    tmp_path: Path, cache: Path, parsed: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_cache, "SETTLED_NS", 1 << 60)
    monkeypatch.setattr(f"{__name__}.settle", lambda *_: None)
    home = snapshot(tmp_path / "home", ONE)
    scanned(home)
    parsed.clear()
    assert scanned(home).facts.records == len(parsed)


def test_what_is_imported_is_known(tmp_path: Path, cache: Path, parsed: list[bytes]) -> None:
    """Nothing is parsed for a second sync: neither what came, nor what was made of it here."""
    package, home = snapshot(tmp_path / "package", ONE), tmp_path / "home"
    home.mkdir()
    make_database(home)
    path = file_of(package)
    path.write_bytes(path.read_bytes().replace(b'"approval_policy":"on-request"', ASKS_NOBODY))
    settle(path)
    command = ("sync", package, "--codex-home", home, "--execute", "--no-prime")
    assert call(*command).exit_code == 0
    parsed.clear()
    assert call(*command, "--json").envelope["status"] == "no_op"
    assert parsed == []
    assert path.read_bytes().count(ASKS_NOBODY) == 2
    assert ASKS_NOBODY not in file_of(home).read_bytes()


def test_a_session_that_cannot_be_foreseen_is_read(tmp_path: Path) -> None:
    found = scanned(snapshot(tmp_path / "home", replace(ONE, legacy=True)))
    assert Foreseen(found).state(found.file, found.size, found.slices[0].sha256) is None


def test_an_ordinal_that_is_made_up_at_the_end_is_read(tmp_path: Path, cache: Path) -> None:
    """What goes on from there must not have the same one."""
    package, home = snapshot(tmp_path / "package", ONE), tmp_path / "home"
    home.mkdir()
    make_database(home)
    path = file_of(package)
    records = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    last = next(one for one in reversed(records) if one["type"] == "turn_context")
    del last["ordinal"]
    with path.open("ab") as stream:
        stream.write(orjson.dumps(last) + b"\n")
    settle(path)
    done = call("sync", package, "--codex-home", home, "--execute", "--no-prime")
    assert done.exit_code == 0
    written = [orjson.loads(line)["ordinal"] for line in file_of(home).read_bytes().splitlines()]
    assert len(set(written)) == len(written)
    assert scanned(home).facts.last_ordinal == written[-1]


@pytest.mark.parametrize("how", ["off", "garbage", "folder", "unwritable", "locked"])
def test_without_a_cache_all_goes_on(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache"
    file = folder / "scans.sqlite3"
    monkeypatch.setenv(VARIABLE, "off" if how == "off" else str(folder))
    holder = None
    if how == "garbage":
        folder.mkdir()
        file.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 64)
    elif how == "folder":
        file.mkdir(parents=True)
    elif how == "unwritable":
        folder.write_text("a file where the folder should be")
    elif how == "locked":
        folder.mkdir()
        holder = sqlite3.connect(file)
        holder.execute("BEGIN EXCLUSIVE")
    home = snapshot(tmp_path / "home", ONE)
    try:
        assert scanned(home).facts.turns == 2
        assert scanned(home).facts.turns == 2
    finally:
        scan_cache.current().close()
        if holder is not None:
            holder.close()


def test_a_state_that_is_damaged_is_not_taken(tmp_path: Path, cache: Path) -> None:
    home = snapshot(tmp_path / "home", ONE)
    scanned(home)
    scan_cache.current().close()
    scan_cache._cache.cache_clear()
    with sqlite3.connect(cache / "scans.sqlite3") as database:
        [(state,)] = database.execute("SELECT state FROM scans").fetchall()
        changed = state.replace(b'"facts":[', b'"facts":[1')
        assert changed != state
        database.execute("UPDATE scans SET state = ?", (changed,))
    assert scanned(home).facts.turns == 2


@pytest.mark.parametrize(
    "damage", ["state = zeroblob(9)", "header = header - 1", "header = 2, state = x'5b5d'"]
)
@pytest.mark.parametrize("large", [1 << 20, 1])
def test_a_state_that_is_cut_off_is_not_taken(
    tmp_path: Path, cache: Path, damage: str, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_cache, "_PART_BYTES", large)
    home = snapshot(tmp_path / "home", ONE)
    before = scanned(home)
    scan_cache.current().close()
    scan_cache._cache.cache_clear()
    with sqlite3.connect(cache / "scans.sqlite3") as database:
        database.execute(f"UPDATE scans SET {damage}")
    assert scanned(home) == before


def test_a_file_that_breaks_while_it_is_read_is_done_without(tmp_path: Path, cache: Path) -> None:
    class Broken:
        def read(self, _: int) -> bytes:
            raise sqlite3.OperationalError("disk I/O error")

    broken: Any = Broken()
    tip = scanned(snapshot(tmp_path / "home", ONE)).slices[-1].slice
    assert load(scan_cache.Kept(broken, 2, b""), [tip], None) is None


def test_all_code_that_a_state_depends_on_is_part_of_its_key() -> None:
    """What the modules of a scan import is named; policy and roots only give names of keys."""
    root = Path(scan_cache.__file__).parent
    named = {root / name for name in scan_cache._DEPENDS_ON}
    for path in named - {root / "policy.py", root / "roots.py"}:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                folder = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
                found = [folder.with_suffix(".py")]
                if folder.is_dir():
                    found = [folder / f"{alias.name}.py" for alias in node.names]
                assert {*found} <= {*named, root / "scan_cache.py"}, path


def test_a_file_of_another_release_is_made_anew(tmp_path: Path, cache: Path) -> None:
    cache.mkdir()
    with sqlite3.connect(cache / "scans.sqlite3") as database:
        database.execute("CREATE TABLE scans (key BLOB PRIMARY KEY, other TEXT)")
        database.execute("PRAGMA user_version = 99")
    home = snapshot(tmp_path / "home", ONE)
    scanned(home)
    scan_cache.current().close()
    with sqlite3.connect(cache / "scans.sqlite3") as database:
        assert database.execute("SELECT count(*) FROM scans").fetchone() == (1,)


def test_what_was_not_used_for_longest_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_cache, "LIMIT_BYTES", 4000)
    kept = ScanCache(tmp_path / "scans.sqlite3")
    keys = [scan_cache.Key(bytes([number]) * 32, 0) for number in range(10)]
    for number, key in enumerate(keys):
        monkeypatch.setattr(time, "time", lambda number=number: 1000.0 + number)
        kept.keep(key, "name", number, [b"{}", bytes(598)])
    kept.close()
    again = ScanCache(tmp_path / "scans.sqlite3")
    assert [any(again.find(key)) for key in keys] == [False] * 5 + [True] * 5
    again.close()


@settings(max_examples=60)
@given(
    cuts=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    turns=st.integers(1, 6),
    paginated=st.booleans(),
    taken_back=st.integers(0, 3),
)
def test_reading_on_finds_what_reading_all_does(
    tmp_path_factory: pytest.TempPathFactory,
    cuts: list[int],
    turns: int,
    paginated: bool,
    taken_back: int,
) -> None:
    """A session that grows line by line, scanned now and then, each time as if it were new."""
    home = tmp_path_factory.mktemp("growing") / "home"
    session = replace(ONE, turns=(), legacy=not paginated)
    for number in range(turns):
        session = session.say(f"ask {number}", f"answer {number} {LONG}")
    path = file_of(snapshot(home, session))
    lines = path.read_bytes().splitlines(keepends=True)
    if not paginated and taken_back:
        event = {"type": "thread_rolled_back", "num_turns": taken_back}
        record = {"timestamp": "2026-11-20T10:00:00.000Z", "type": "event_msg", "payload": event}
        lines.insert(len(lines) * 3 // 4, dump([record]))
    for cut in sorted({*(min(1 + cut, len(lines)) for cut in cuts), len(lines)}):
        path.write_bytes(b"".join(lines[:cut]))
        scanned(home)
