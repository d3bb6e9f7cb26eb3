"""Reading many sessions at once: the same as one by one, whatever befalls the processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from builders import Session, write_snapshot
from codex_session_sync import parallel, reading, scanning, transcript
from codex_session_sync.errors import PackageError, SessionError
from codex_session_sync.model import RolloutFile
from codex_session_sync.reading import scan_all
from codex_session_sync.scan_cache import VARIABLE
from codex_session_sync.transcript import scan
from workbench import codex_home, environment, make_database

SESSIONS = [Session(number).say(f"one {number}").say("two " * 50 * number) for number in range(9)]


@pytest.fixture
def tips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[RolloutFile]:
    """Nine sessions, a fork and one that is garbage; nothing is kept of them."""
    monkeypatch.setenv(VARIABLE, "off")
    monkeypatch.setattr(reading, "WORTHWHILE_BYTES", 0)
    monkeypatch.setattr(parallel, "CHUNK_BYTES", 6000)
    monkeypatch.setattr(parallel, "_processors", lambda: 2)
    sessions = [*SESSIONS, SESSIONS[3].fork(20).say("apart"), Session(21)]
    home = write_snapshot(tmp_path, sessions)
    [garbage] = home.rglob(f"*{sessions[-1].id}.jsonl")
    garbage.write_bytes(b"no record\n")
    rollouts = codex_home(home).rollouts()
    found = [rollouts.tip(session.id) for session in sessions]
    assert all(found)
    return [tip for tip in found if tip]


def lookup(tips: list[RolloutFile], segment: str) -> RolloutFile | None:
    return next((tip for tip in tips if tip.segment_id == segment), None)


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are copies of this one, with what tests have put in place of something."""
    if sys.platform != "linux":
        pytest.skip("processes are copied on Linux alone")
    monkeypatch.setattr(parallel, "_context", lambda: multiprocessing.get_context("fork"))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_it_is_what_one_by_one_gives(
    tips: list[RolloutFile], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if method == "fork" and sys.platform != "linux":
        pytest.skip("processes are copied on Linux alone")
    context = multiprocessing.get_context(method)
    monkeypatch.setattr(parallel, "_context", lambda: context)
    # A process that is not a copy of this one has no other number than the program's own.
    monkeypatch.setattr(scanning, "MARKED_ENTRIES", 256)
    told: list[int] = []
    *found, last = scan_all(tips, lambda i: lookup(tips, i), told.append)
    assert found == [scan(tip, lambda i: lookup(tips, i)) for tip in tips[:-1]]
    assert isinstance(last, SessionError)
    assert (last.code, last.session_id) == ("transcript_invalid", tips[-1].thread_id)
    assert sum(told) >= sum(tip.size for tip in tips[:-1])


@pytest.mark.usefixtures("copied")
def test_what_is_unsafe_ends_it(tips: list[RolloutFile], monkeypatch: pytest.MonkeyPatch) -> None:
    def unsafe(*_: object) -> None:
        raise PackageError("package_unsafe", "too much", hint="less")

    monkeypatch.setattr(parallel, "read", unsafe)
    with pytest.raises(PackageError) as caught:
        scan_all(tips[:4], lambda i: lookup(tips, i))
    assert (caught.value.code, caught.value.hint) == ("package_unsafe", "less")
    assert not multiprocessing.active_children()


@pytest.mark.usefixtures("copied")
def test_a_process_that_dies_is_made_up_for(
    tips: list[RolloutFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = os.getpid()
    real = transcript.read

    def dying(*arguments: object) -> object:
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(parallel, "read", dying)
    found = scan_all(tips[:5], lambda i: lookup(tips, i))
    assert found == [scan(tip, lambda i: lookup(tips, i)) for tip in tips[:5]]


@pytest.mark.parametrize("error", [OSError("no room"), NotImplementedError("no sem_open")])
def test_without_processes_they_are_read_here(
    tips: list[RolloutFile], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refused(*_: object) -> None:
        raise error

    monkeypatch.setattr(parallel, "ProcessPoolExecutor", refused)
    found = scan_all(tips[:5], lambda i: lookup(tips, i))
    assert found == [scan(tip, lambda i: lookup(tips, i)) for tip in tips[:5]]


PROGRAM = """
import sys, time
from codex_session_sync import parallel, reading
from codex_session_sync.cli.main import run

def read(*_):
    print("begun", flush=True)
    time.sleep(600)

parallel.read, reading.WORTHWHILE_BYTES, parallel.CHUNK_BYTES = read, 0, 0
parallel._processors = lambda: 2
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_of_one_that_is_ended(tmp_path: Path, how: signal.Signals) -> None:
    write_snapshot(tmp_path / "package", [replace(one, start=1) for one in SESSIONS[1:3]])
    variables = environment(tmp_path)
    (tmp_path / "home" / "session-sync").mkdir(parents=True)
    make_database(tmp_path / "home")
    command = [sys.executable, "-c", PROGRAM, "sync", str(tmp_path / "package"), "--execute"]
    with subprocess.Popen(
        [*command, "--no-prime"],
        env={**variables, VARIABLE: "off"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        assert len(group(process.pid)) == 3
        process.send_signal(how)
        process.wait(10)
    since = time.monotonic()
    while group(process.pid):
        assert time.monotonic() - since < 10, "a process was left behind"
        time.sleep(0.02)


def group(leader: int) -> list[int]:
    """The processes of a session of the system, but for those that have ended."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(entry.name))
    return found
