"""Memory does not grow with a transcript: 200 MB are inspected and imported within 150 MB.

Nor much with their number: 10,000 sessions are looked at and brought in, from a package of any
kind, packed, their lists rebuilt, and their sidecars checked, rebuilt and written, within as much.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.transcripts import Corpus, empty_home
from builders import Session, dump

SCRIPTS = Path(__file__).parents[2] / "scripts"
TRANSCRIPT_BYTES = 200 << 20
LIMIT_KIB = 150 << 10
# The look for secrets works in threads; their share differs from run to run.
PACK_LIMIT_KIB = 170 << 10
SESSIONS = 10_000

# resource counts the largest child; one child a measuring process keeps the figures apart.
MEASURE = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, check=False)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({"peak": peak, "report": json.loads(done.stdout)}))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one long session: many turns of some kilobytes each."""
    folder = tmp_path_factory.mktemp("long")
    short = Session(1).say("How do I water?", "Slowly. " * 500)
    head, *turn = dump(short.records()).splitlines(keepends=True)
    with (folder / short.file_name).open("wb") as target:
        target.write(head)
        block = b"".join(turn)
        while target.tell() < TRANSCRIPT_BYTES:
            target.write(block * 64)
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="needs the POSIX resource module")
@pytest.mark.parametrize("command", [["inspect-package"], ["sync", "--execute", "--no-prime"]])
def test_a_long_transcript_in_little_memory(
    package: Path, command: list[str], tmp_path: Path
) -> None:
    report, peak = measured(*command, str(package), home=tmp_path)
    assert report["data"]["sessions"][0]["classification"] == "new_lineage"
    assert peak < LIMIT_KIB


@pytest.mark.skipif(sys.platform == "win32", reason="needs the POSIX resource module")
def test_what_is_said_in_a_long_transcript_in_little_memory(package: Path, tmp_path: Path) -> None:
    """Some 30,000 messages of one lineage, imported, and searched."""
    store = ("--store", str(tmp_path / "store"))
    report, peak = measured("events", "import", str(package), *store, home=tmp_path)
    added = report["data"]["counts"]["added"]
    assert added > 27_000
    assert peak < LIMIT_KIB
    report, peak = measured("events", "search", "slowly", *store, home=tmp_path)
    assert report["data"]["total"] == added // 2
    assert peak < LIMIT_KIB


@pytest.mark.skipif(sys.platform == "win32", reason="needs the POSIX resource module")
@pytest.mark.parametrize("form", ["native", "transfer-v1"])
def test_a_long_transcript_is_packed_in_little_memory(
    package: Path, form: str, tmp_path: Path
) -> None:
    home, new, out = tmp_path / "home", tmp_path / "new", tmp_path / "out"
    [rollout] = package.iterdir()
    folder = home / "sessions" / "2026" / "03" / "02"
    folder.mkdir(parents=True)
    os.link(rollout, folder / rollout.name)
    new.mkdir()
    _, peak = measured("pack", "-o", str(out), "--format", form, home=home)
    assert peak < LIMIT_KIB
    for command in (["inspect-package"], ["sync", "--execute", "--no-prime"]):
        report, peak = measured(*command, str(out), home=new)
        assert report["data"]["sessions"][0]["classification"] == "new_lineage"
        assert peak < LIMIT_KIB


@pytest.mark.skipif(sys.platform == "win32", reason="needs the POSIX resource module")
def test_the_lists_of_many_sessions_in_little_memory(many: Path) -> None:
    """Where they are lost, and where they are there already."""
    options = ["rebuild-index", "--max-threads", "0", "--execute"]
    for status in ("ok", "no_op"):
        report, peak = measured(*options, home=many)
        assert report["data"]["conversations"] == SESSIONS
        assert report["status"] == status
        assert [file["lines"] for file in report["data"]["files"]] == [SESSIONS, 5 * SESSIONS]
        assert peak < LIMIT_KIB


@pytest.mark.skipif(sys.platform == "win32", reason="needs the POSIX resource module")
def test_many_sessions_are_packed_in_little_memory(tmp_path: Path) -> None:
    """With rows as Codex has them and the model's instructions in each first record."""
    home, out = tmp_path / "home", tmp_path / "out"
    Corpus("many", SESSIONS, 1).make(home)
    report, peak = measured("pack", "-o", str(out), home=home)
    assert report["data"]["package"]["sessions"] == SESSIONS
    assert peak < PACK_LIMIT_KIB


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with thousands of sessions and no lists of them, nor a database."""
    home = tmp_path_factory.mktemp("many")
    text = "How do I prune roses so that they grow back? " * 3
    model = Session(1)
    for number in range(5):
        model = model.say(f"{number}: {text}")
    data = model.data()
    for number in range(SESSIONS):
        session = Session(number, start=number)
        path = home / session.relative_path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.replace(model.id.encode(), session.id.encode()))
    return home


FEW, MORE, MANY = 300, 1300, 2300
"""Their differences tell what each session more costs."""

SIDECARS = {
    "adopt": ("adopt", "--all", "--execute"),
    "sidecar-health": ("sidecar-health", "--deep"),
    "rebuild-sidecar": ("rebuild-sidecar", "--execute"),
}


def make_lineages(home: Path, count: int) -> Path:
    """A home with sessions that begin differently, so that each has a sidecar of its own."""
    model = Session(1).say("How do I prune roses so that they grow back?")
    data = model.data()
    for number in range(count):
        session = Session(number, start=number)
        path = home / session.relative_path
        path.parent.mkdir(parents=True, exist_ok=True)
        named = data.replace(model.id.encode(), session.id.encode())
        path.write_bytes(named.replace(b"Be brief.", b"Be brief %05d." % number))
    return home


@pytest.mark.skipif(sys.platform == "win32", reason="needs the POSIX resource module")
def test_the_sidecars_of_many_sessions_in_little_memory(tmp_path: Path) -> None:
    """What 10,000 would take, by what each of a thousand more takes."""
    peaks: dict[str, list[int]] = {name: [] for name in SIDECARS}
    for count in (FEW, MORE):
        home = make_lineages(tmp_path / str(count), count)
        for name, arguments in SIDECARS.items():
            if name == "rebuild-sidecar":
                shutil.rmtree(home / "session-sync" / "sidecars")
            report, peak = measured(*arguments, home=home)
            assert report["status"] == "ok"
            peaks[name].append(peak)
        assert len(list((home / "session-sync" / "sidecars").iterdir())) == count
    require_little(peaks, MORE)


KINDS = {
    "snapshot": (),
    "native": ("pack",),
    "transfer-v1": ("pack", "--format", "transfer-v1"),
}
"""What makes a package of each kind of a home; a snapshot is the home itself."""

BROUGHT_IN = {
    "inspect-package": ("inspect-package",),
    "sync": ("sync", "--execute", "--no-prime"),
    "sync again": ("sync", "--execute", "--no-prime"),
    "inspect-package again": ("inspect-package",),
    "in short": ("sync", "--execute", "--no-prime", "--summary"),
}


@pytest.mark.skipif(sys.platform == "win32", reason="needs the POSIX resource module")
@pytest.mark.parametrize("kind", KINDS)
def test_many_sessions_are_brought_in_in_little_memory(kind: str, tmp_path: Path) -> None:
    """As many as above, with rows as Codex has them, by what each of two thousand more takes."""
    peaks: dict[str, list[int]] = {name: [] for name in BROUGHT_IN}
    for count in (FEW, MANY):
        source, target = tmp_path / f"from {count}", empty_home(tmp_path / f"to {count}")
        Corpus("many", count, 1).make(source)
        package = source
        if KINDS[kind]:
            package = tmp_path / f"{count}.tar.zst"
            measured(*KINDS[kind], "-o", str(package), home=source)
        for name, arguments in BROUGHT_IN.items():
            report, peak = measured(*arguments, str(package), home=target)
            [(classification, found)] = report["data"]["counts"]["classification"].items()
            new = name in ("inspect-package", "sync")
            assert (classification, found) == ("new_lineage" if new else "unchanged", count)
            peaks[name].append(peak)
    require_little(peaks, MANY)


def require_little(peaks: dict[str, list[int]], most: int) -> None:
    """10,000 sessions would take no more than the limit, by what ``FEW`` and ``most`` take."""
    for name, (few, more) in peaks.items():
        each = max(0, more - few) / (most - FEW)
        assert more + each * (SESSIONS - most) < LIMIT_KIB, name


def measured(*arguments: str, home: Path) -> tuple[dict[str, Any], int]:
    """The report of a command that is done without an error, and its peak memory in KiB."""
    called = [sys.executable, "-m", "codex_session_sync", *arguments]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *called, "--codex-home", str(home), "--json"],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        stdout=subprocess.PIPE,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["report"]["exit_code"] == 0
    return found["report"], found["peak"]
