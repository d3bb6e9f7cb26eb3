"""The benchmark measures what it says, and what it measures is like what sessions hold.

Nothing here is said of how long anything takes.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import zstandard

from bench import measuring
from bench.commands import program
from bench.growth import COUNTS, SIZES_MB
from bench.measuring import Beside, Series, Step
from bench.picture import draw
from bench.plainly import rewritten
from bench.run import GROUPS, RESULTS, merged
from bench.run import README as MEASURED
from bench.table import TITLES, points, readme, tables
from bench.transcripts import Corpus, GrowingHome, empty_home
from codex_session_sync.codex.inventory import rollout_file
from codex_session_sync.model import Transcript
from codex_session_sync.transcript import scan

SCRIPT = Path(__file__).parent / "run.py"
PLAINLY = Path(__file__).parent / "plainly.py"
LIMIT_MB = 400
MB = 1_000_000

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs wait4 and tar")


def scanned(path: Path) -> Transcript:
    file = rollout_file(path, path.name, path.stat().st_size, 0, archived=False)
    assert file is not None
    return scan(file, lambda _: None)


def step(name: str, code: str, *beside: Beside, goal: float | None = None) -> Step:
    return Step(name, (sys.executable, "-S", "-c", code), beside=beside, goal=goal)


def test_everything_is_measured(tmp_path: Path) -> None:
    out, folder = tmp_path / "out.json", tmp_path / "folder"
    folder.mkdir()

    def call(scale: str, *more: str) -> subprocess.CompletedProcess[str]:
        options = ["--scale", scale, "--out", str(out), "--folder", str(folder), *more]
        command = [sys.executable, str(SCRIPT), *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = call("0.002", "--runs", "1")
    assert done.returncode == 0, done.stderr
    document = json.loads(out.read_bytes())
    series = document["series"]
    assert list(dict.fromkeys(one["group"] for one in series)) == list(GROUPS) == list(TITLES)
    for one in series:
        assert one["rows"]
        for row in one["rows"]:
            assert 0 < row["peak_mb"] <= row["together_mb"] < LIMIT_MB
            assert all(beside["wall"]["median"] > 0 for beside in row["beside"])
    assert done.stdout == tables(document) + "\n"
    goals = [line for line in done.stdout.splitlines() if "not judged at this scale" in line]
    assert len(goals) == 13
    for curve, number in (("size", len(SIZES_MB)), ("sessions", len(COUNTS))):
        assert len(points(series, curve)) == number
    assert ET.fromstring(out.with_suffix(".svg").read_text()).tag.endswith("svg")
    assert str(tmp_path) not in json.dumps(document)
    assert list(folder.iterdir()) == []

    again = call("0.002", "--only", "startup", "--runs", "2")
    assert tables({"series": json.loads(out.read_bytes())["series"][:1]}) + "\n" == again.stdout
    assert json.loads(out.read_bytes())["series"][0]["runs"] == 10
    assert json.loads(out.read_bytes())["series"][1:] == series[1:]
    other = call("0.001")
    assert (other.returncode, "of another machine or scale" in other.stderr) == (2, True)


def test_the_readme_has_what_was_kept_last() -> None:
    last = max(RESULTS.glob("*.json"))
    document = json.loads(last.read_bytes())
    text = MEASURED.read_text()
    assert readme(text, document, last.stem) == text
    assert last.with_suffix(".svg").read_text() == draw(document["series"])
    assert merged(document["series"], []) == document["series"]
    assert document["scale"] == 1
    with pytest.raises(ValueError, match="no place"):
        readme("nothing", document, last.stem)


def test_ratios_and_goals_are_of_the_same_rounds() -> None:
    steps = (
        step("idle", "pass"),
        step("idle too", "pass", Beside("idle", 1000.0), goal=1000.0),
        step("slow", "import time; time.sleep(0.3)", Beside("idle", 0.001), goal=0.1),
    )
    series = Series("some", "name", steps, often=2)
    idle, too, slow = measuring.measure(series, 1, 1.0)["rows"]
    assert (idle["beside"], "met" in idle) == ([], False)
    assert (too["met"], too["beside"][0]["met"]) == (True, True)
    assert (slow["met"], slow["beside"][0]["met"]) == (False, False)
    wall = slow["wall_seconds"]
    assert 0.3 <= wall["min"] <= wall["median"] <= wall["max"]
    scaled = measuring.measure(series, 1, 0.5)
    assert (scaled["runs"], scaled["rows"][2]["met"]) == (2, None)


def test_memory_is_that_of_the_largest_and_of_all_together() -> None:
    hold = "import time; kept = b'x' * 100_000_000; time.sleep(1)"
    start = f"subprocess.Popen([sys.executable, '-S', '-c', {hold!r}])"
    twice = f"import subprocess, sys\nfor one in [{start} for _ in '12']: one.wait()"
    alone = measuring.run((sys.executable, "-S", "-c", hold))
    assert 100 * MB < alone["peak"] < 130 * MB
    several = measuring.run((sys.executable, "-S", "-c", twice))
    assert 100 * MB < several["peak"] < 130 * MB
    assert 200 * MB < several["together"] < 300 * MB


@pytest.mark.parametrize(
    ("command", "status", "message"),
    [
        (("no-such-program",), None, "does not start"),
        (("sh", "-c", "echo wrong >&2; exit 3"), None, "ended with 3: wrong"),
        (("echo", '{"status": "partial"}'), "ok", "said partial, not ok"),
    ],
)
def test_a_step_that_does_something_else_is_no_measurement(
    command: tuple[str, ...], status: str | None, message: str
) -> None:
    with pytest.raises(OSError, match=message):
        measuring.run(command, status)


def test_the_plain_way_brings_all_lines_and_rows(tmp_path: Path) -> None:
    source, target = tmp_path / "source", empty_home(tmp_path / "target")
    Corpus("some", 3, 30_000).make(source)
    subprocess.run([sys.executable, "-I", "-S", PLAINLY, source, target], check=True)
    paths = sorted(source.glob("sessions/**/*.jsonl"))
    assert len(paths) == 3
    for path in paths:
        here = target / path.relative_to(source)
        assert scanned(here).chain == scanned(path).chain
        assert list(rewritten(here, "/home/bob/garden")) == here.read_text().splitlines(True)
        assert here.read_bytes() != path.read_bytes()
    with closing(sqlite3.connect(target / "state_5.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM threads").fetchone() == (3,)


def test_a_home_that_goes_on_is_brought_turn_by_turn(tmp_path: Path) -> None:
    source, target = GrowingHome(tmp_path / "source", 100_000), tmp_path / "target"
    command = program("sync", source.home, "--execute", "--no-prime", home=empty_home(target))
    measuring.run(command, "ok")
    here = target / source.transcript.relative_to(source.home)
    for _ in range(2):
        before, old = source.transcript.read_bytes(), here.read_bytes()
        source.go_on()
        assert source.transcript.read_bytes().startswith(before)
        assert len(scanned(source.transcript).chain) > len(scanned(here).chain)
        measuring.run(command, "ok")
        assert here.read_bytes().startswith(old)
        assert scanned(here).chain == scanned(source.transcript).chain
        measuring.run(command, "no_op")


def test_transcripts_are_whole_and_compress_as_text_does(tmp_path: Path) -> None:
    size = Corpus("some", 2, 3_000_000).make(tmp_path)
    again = tmp_path / "again"
    assert Corpus("some", 2, 3_000_000).make(again) == size
    files = sorted(tmp_path.glob("sessions/**/*.jsonl"))
    data = [path.read_bytes() for path in files]
    assert data == [path.read_bytes() for path in sorted(again.glob("sessions/**/*.jsonl"))]
    assert (len(data), sum(map(len, data))) == (2, size)
    for path, content in zip(files, data, strict=True):
        transcript = scanned(path)
        assert (transcript.facts.unreadable, transcript.facts.torn) == (0, False)
        assert len(transcript.chain) > 1000
        ratio = len(zstandard.ZstdCompressor(level=3).compress(content)) / len(content)
        assert 0.15 < ratio < 0.35
