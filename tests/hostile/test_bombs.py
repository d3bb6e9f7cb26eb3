"""Packages that are small and want much: memory and time stay bounded, limits hold at an edge."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from builders import dump
from codex_session_sync.codex import inventory, rollout
from codex_session_sync.codex.rollout import MAX_LINE_BYTES
from hostile.corpus import SNAPSHOT, SOUND, VICTIM, Parts, sound
from hostile.judging import EMPTY, Court, state
from hostile.layouts import files_of, write
from hostile.of_lines import chain_of_segments
from workbench import environment

PACKED = f"{VICTIM.file_name}.zst"
MiB = 1 << 20


@pytest.fixture
def court(tmp_path: Path) -> Court:
    return Court(tmp_path / "court")


def compressed(pieces: Iterable[bytes]) -> bytes:
    engine = zstandard.ZstdCompressor(level=1).compressobj()
    return b"".join([*(engine.compress(piece) for piece in pieces), engine.flush()])


def packed(pieces: Iterable[bytes]) -> Parts:
    """The victim's rollout compressed, these bytes behind its own."""
    parts = sound(VICTIM, SOUND)
    files = {SOUND.file_name: SOUND.data(), PACKED: compressed([VICTIM.data(), *pieces])}
    return replace(parts, rollouts=files)


def outcome(court: Court, parts: Parts, *options: str) -> tuple[int, list[str], str]:
    """What comes of a sync; where the package is refused, the home is as it was."""
    with (
        court.package(files_of(parts, SNAPSHOT), "directory") as package,
        court.home(EMPTY) as home,
    ):
        unchanged = state(home)
        done = court.run(home, "sync", package, "--execute", "--no-prime", "--json", *options)
        if done.exit_code == 3:
            assert state(home) == unchanged
        return done.exit_code, done.codes, json.dumps(done.envelope["errors"])


def test_a_compressed_transcript_that_is_a_bomb(court: Court) -> None:
    exit_code, codes, told = outcome(court, packed([b"\n" * (8 * MiB)] * 32))
    assert (exit_code, codes) == (3, ["package_unsafe"])
    assert "--limit ratio=N" in told
    assert PACKED in told


def test_it_is_read_where_the_limit_is_raised(court: Court) -> None:
    bomb = packed([b"\n" * (8 * MiB)] * 9)
    assert outcome(court, bomb)[0] == 3
    assert outcome(court, bomb, "--limit", "ratio=100000")[0] == 0
    assert outcome(court, bomb, "--limit", "ratio_from=1G")[0] == 0


def test_the_largest_size_holds_for_what_is_compressed_too(court: Court) -> None:
    parts = packed([b""])
    size = len(VICTIM.data())
    assert outcome(court, parts, "--limit", f"file_bytes={size - 1}")[1] == ["package_unsafe"]
    # The other files are as large as a database is.
    parts = replace(parts, database={})
    assert outcome(court, parts, "--limit", f"file_bytes={size}")[0] == 0


def test_a_line_at_its_limit_and_past_it(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "MAX_LINE_BYTES", 3 * MiB)
    for size, expected in ((3 * MiB - 1, 0), (4 * MiB, 1)):
        record = {"timestamp": "t", "type": "event_msg", "payload": {"a": ""}}
        record["payload"] = {"a": "x" * (size - len(dump([record])))}
        parts = sound(VICTIM, SOUND)
        files = {**parts.rollouts, VICTIM.file_name: VICTIM.data() + dump([record])}
        exit_code, codes, _ = outcome(court, replace(parts, rollouts=files))
        assert exit_code == expected, size
        assert codes == ["transcript_line_too_long"] * expected


def test_a_history_at_its_limit_and_past_it(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "MAX_HISTORY_DEPTH", 20)
    assert outcome(court, chain_of_segments(21)())[0] == 0
    assert outcome(court, chain_of_segments(22)())[1] == ["transcript_invalid"]


MEASURE = """
import sys
from codex_session_sync.cli.main import run
code = run(sys.argv[1:])
# Not ru_maxrss: that begins with what the parent held at the fork.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(code, status["VmHWM"].split()[0], file=sys.stderr)
"""


def _long_line(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b'{"timestamp":"t","type":"event_msg","payload":{"a":"')
        for _ in range(66):
            stream.write(b"x" * MiB)
        stream.write(b'"}}\n')


def _times(piece: bytes, total: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with path.open("ab") as stream:
            for _ in range(total // MiB):
                stream.write(piece * (MiB // len(piece)))

    return make


LARGE = {
    "a line of 66 MiB": (_long_line, 1, 250 * MiB),
    "200 MiB of empty lines": (_times(b"\n", 200 * MiB), 0, 90 * MiB),
    "2 MiB of lines of two bytes": (_times(b"x\n", 2 * MiB), 0, 90 * MiB),
    "100 MiB of NULs": (_times(bytes(MiB), 100 * MiB), 1, 250 * MiB),
    "60 MiB of brackets": (_times(b"[" * MiB, 60 * MiB), 0, 350 * MiB),
}
assert 66 * MiB > MAX_LINE_BYTES


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("what", LARGE)
def test_memory(what: str, tmp_path: Path) -> None:
    make, expected, most = LARGE[what]
    package = write(files_of(sound(VICTIM, SOUND), SNAPSHOT), "directory", tmp_path / "package")
    [path] = package.glob(f"sessions/**/{VICTIM.file_name}")
    make(path)
    (tmp_path / "home").mkdir()
    arguments = ["sync", package, "--execute", "--no-prime", "--json"]
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, arguments)],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    code, peak = map(int, run.stderr.split()[-2:])
    assert code == expected, run.stdout
    assert peak << 10 < most
