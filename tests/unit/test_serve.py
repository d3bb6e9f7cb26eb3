"""``serve --stdio`` as a process: its streams, its exit codes, its memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from builders import Session, write_snapshot
from codex_session_sync.journal.log import Journal
from service_frames import bare_environment, batch, frame, item, line, serving
from servicebed import transcripts
from workbench import call_process

ROSES = Session(1, start=10).say("How do I prune roses?")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path


def served(place: Path, data: bytes, *options: str) -> subprocess.CompletedProcess[bytes]:
    words = [sys.executable, "-m", "codex_session_sync", "serve", "--stdio", "--no-prime"]
    return subprocess.run(
        [*words, *options],
        input=data,
        env=bare_environment(place),
        capture_output=True,
        timeout=60,
        check=False,
    )


def frames(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    """The types of all that stdout holds, which is frames and nothing else."""
    return [json.loads(one)["type"] for one in done.stdout.splitlines()]


def test_stdout_holds_frames_and_the_exit_code_tells(place: Path) -> None:
    done = served(place, line(batch("1", [item(ROSES)])), "--execute")
    assert (done.returncode, done.stderr) == (0, b"")
    assert frames(done) == ["import.result", "run.complete"]
    done = served(place, b"garbage\n", "--execute")
    assert (done.returncode, frames(done)) == (1, ["run.error"])
    done = served(place, b"", "--execute", "--json")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    done = served(place, line(batch("2", [item(ROSES)]))[:-1])
    assert (done.returncode, frames(done)) == (0, ["import.result", "run.complete"])


def test_a_home_that_is_not_there_is_told_by_a_frame(place: Path) -> None:
    for options, code, exit_code in (
        (("--codex-home", str(place / "nothing")), "home_missing", 4),
        (("--map-path", "x"), "path_map_invalid", 2),
        (("--codex-bin", str(place / "nothing")), "codex_bin_missing", 2),
    ):
        words = ["serve", "--stdio", *options]
        done = call_process(bare_environment(place), *words)
        if options[0] == "--map-path":
            assert done.exit_code == exit_code  # the options are read before there is a service
            continue
        assert done.exit_code == exit_code
        assert json.loads(done.out)["payload"]["code"] == code


def test_only_planning_leaves_no_trace(place: Path) -> None:
    done = served(place, line(batch("1", [item(ROSES)])))
    assert json.loads(done.stdout.splitlines()[0])["payload"]["planned"]
    assert list((place / "home").iterdir()) == []
    assert list((place / "tmp").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it(place: Path, sent: signal.Signals) -> None:
    big = [Session(n, start=10 * n).say("words " * 50_000) for n in range(1, 9)]
    with serving(place / "home", bare_environment(place)) as spoken:
        spoken.ask(frame("health.probe"))
        for number, one in enumerate(big):
            spoken.send(batch(str(number), [item(one)]))
        time.sleep(0.15)
        spoken.process.send_signal(sent)
        assert spoken.process.wait(20) == 128 + sent
        assert b"".join(spoken.errors) == b""
    assert Journal(place / "home" / "session-sync").interrupted() == []
    assert list((place / "home" / "session-sync" / "service" / "instances").iterdir()) == []


def test_nobody_hears_it(place: Path) -> None:
    with serving(place / "home", bare_environment(place)) as spoken:
        spoken.ask(frame("health.probe"))
    process = subprocess.Popen(
        [sys.executable, "-m", "codex_session_sync", "serve", "--stdio"],
        env=bare_environment(place),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stdin.write(line(frame("job.list", 1)))
    process.stdin.close()
    assert process.wait(20) == 141
    with process.stderr as stream:
        assert stream.read() == b""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is told by /proc")
def test_a_fast_program_waits_for_a_slow_service(place: Path) -> None:
    """Whatever is sent, what is read ahead is limited, and a probe is answered meanwhile."""
    one = Session(1, start=10).say("many words " * 25_000)
    request = line(batch("k", [item(one)]))
    sent = 0
    with serving(place / "home", bare_environment(place)) as spoken:

        def flood() -> None:
            nonlocal sent
            assert spoken.process.stdin is not None
            for number in range(60):
                data = request.replace(b'"k"', f'"{number}"'.encode())
                spoken.process.stdin.write(data)
                sent += len(data)
            spoken.process.stdin.write(line(frame("health.probe", 9)))
            spoken.process.stdin.flush()

        writer = threading.Thread(target=flood)
        writer.start()
        done = 0
        peak = 0
        while True:
            answer = spoken.next("import.result", "health.status")
            done += answer["type"] == "import.result"
            status = Path(f"/proc/{spoken.process.pid}/status").read_text()
            [told] = [one for one in status.splitlines() if one.startswith("VmHWM")]
            peak = max(peak, int(told.split()[1]) >> 10)
            # 32 MiB wait, one frame is in hand, a pipe and a buffer hold a little.
            assert sent < (done + 3) * len(request) + (34 << 20)
            if answer["type"] == "health.status":
                break
        writer.join()
        assert len(request) > 1_000_000
        assert answer["payload"]["waitingBytes"] <= 32 << 20
        assert answer["payload"]["waitingFrames"] > 5
        assert peak < 170, f"{peak} MB"
        spoken.kill()


def test_an_operator_gets_a_turn(place: Path) -> None:
    """A sync beside a service that always has something to do is not refused."""
    package = write_snapshot(place / "package", [Session(50, start=500).say("mine")])
    home = place / "home"
    with serving(home, bare_environment(place)) as spoken:
        spoken.ask(frame("health.probe"))
        many = [Session(n, start=n).say(f"{n}") for n in range(100, 180)]
        for number, one in enumerate(many):
            spoken.send(batch(str(number), [item(one)]))
        done = call_process(
            bare_environment(place), "sync", package, "--execute", "--no-prime", "--json"
        )
        assert (done.exit_code, done.envelope["status"]) == (0, "ok")
        heard = [spoken.next("import.result") for _ in many]
        assert all(one["payload"]["totals"]["imported"] == 1 for one in heard)
        spoken.close()
    assert len(transcripts(home)) == len(many) + 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names of any bytes")
def test_a_message_with_a_name_that_is_no_text(place: Path) -> None:
    home = os.fsencode(place) + b"/h\xff"
    serve = ["serve", "--stdio", "--codex-home", os.fsdecode(home)]
    words = [sys.executable, "-m", "codex_session_sync", *serve]
    done = subprocess.run(
        words, env=bare_environment(place), input=b"", capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (4, b"")
    assert json.loads(done.stdout)["payload"]["code"] == "home_missing"


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX")
def test_streams_that_are_closed(place: Path) -> None:
    """They are as if they were empty, and no file takes their place."""
    asked = place / "asked"
    asked.write_bytes(line(batch("1", [item(ROSES)])))
    program = f"exec {sys.executable} -m codex_session_sync"
    serve = f"{program} serve --stdio --execute --no-prime"
    for words, expected in (
        (f"{serve} <&-", 0),
        (f"{serve} <&- >&- 2>&-", 0),
        (f"{serve} >&- <{asked}", 0),
        (f"{program} serve --json >&- <&-", 0),
    ):
        done = subprocess.run(
            ["/bin/sh", "-c", words],
            env=bare_environment(place),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (expected, b"", b""), words
    assert len(transcripts(place / "home")) == 1
