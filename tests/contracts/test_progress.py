"""Progress at a real terminal: shown if the work is slow, gone afterwards, and nowhere else."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from workbench import environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX")

WORK = """
import sys, time
from codex_session_sync.report import progress
progress.DELAY_S = 0.1
with progress.{kind}("working", {total}) as advance:
    for done in range(100):
        {call}
        time.sleep(0.01)
print("done")
"""
KINDS = {
    "item_progress": WORK.format(kind="item_progress", total=100, call="advance(1)"),
    "byte_progress": WORK.format(kind="byte_progress", total=200 << 20, call="advance(2 << 20)"),
    "reading_progress": WORK.replace(", {total}", "").format(
        kind="reading_progress", call="advance(done << 21, 200 << 20)"
    ),
}
IN_THREADS = """
import threading, time
from codex_session_sync.report import progress
progress.DELAY_S = 0.0
with progress.byte_progress("working", 200 << 20) as advance:
    def work():
        for _ in range(50):
            advance(2 << 20)
            time.sleep(0.01)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print("done")
"""
HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"


@dataclass
class Seen:
    """What a terminal was given, and how the process ended."""

    output: bytes = b""
    status: int = 0


@contextmanager
def terminal(program: str, variables: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    process, master = pty.fork()
    if process == 0:
        os.execve(sys.executable, [sys.executable, "-c", program], dict(variables))
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    try:
        yield process, master
    finally:
        os.close(master)


def watched(program: str, variables: Mapping[str, str], stop: int | None = None) -> Seen:
    """Run a program at a terminal; ``stop`` is sent once the bar is there."""
    seen = Seen()
    with terminal(program, variables) as (process, master):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if not select.select([master], [], [], 1)[0]:
                continue
            try:
                found = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            if not found:
                break
            seen.output += found
            if stop and b"working" in seen.output:
                os.kill(process, stop)
                stop = None
        _, seen.status = os.waitpid(process, 0)
    return seen


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    return environment(tmp_path) | {"TERM": "xterm-256color", "COLUMNS": "80"}


@pytest.mark.parametrize(("kind", "rate"), [*zip(KINDS, (b"/s", b"MB/s", b"MB/s"), strict=True)])
def test_slow_work_is_shown_with_rate_and_rest(
    variables: dict[str, str], kind: str, rate: bytes
) -> None:
    seen = watched(KINDS[kind], variables)
    assert seen.status == 0
    assert b"working" in seen.output
    assert rate in seen.output
    assert b"0:00:0" in seen.output
    left = seen.output.rsplit(SHOW, 1)
    assert len(left) == 2, "the cursor stays hidden"
    assert HIDE not in left[1]
    assert b"working" not in left[1]
    assert b"done" in left[1]


def test_several_threads_have_one_bar(variables: dict[str, str]) -> None:
    seen = watched(IN_THREADS, variables)
    assert seen.status == 0
    assert b"working" in seen.output
    assert (seen.output.count(HIDE), seen.output.count(SHOW)) == (1, 1)
    assert seen.output.rsplit(SHOW, 1)[1].split(b"\x1b[2K")[-1].strip() == b"done"


@pytest.mark.parametrize("number", [signal.SIGINT])
def test_ctrl_c_leaves_no_half_line(variables: dict[str, str], number: int) -> None:
    quiet = KINDS["item_progress"].replace(
        "import sys, time", "import sys, time\nsys.excepthook = lambda *_: print('stopped')"
    )
    # Long enough for a busy machine to stop it in time.
    seen = watched(quiet.replace("range(100)", "range(10_000)"), variables, stop=number)
    assert seen.status != 0
    _, after = seen.output.rsplit(SHOW, 1)
    assert HIDE not in after
    assert b"working" not in after
    assert b"done" not in after
    assert after.split(b"\x1b[2K")[-1].strip() == b"stopped"


@pytest.mark.parametrize("more", [{"TERM": "dumb"}, {"TERM": "unknown"}, {"CI": "true"}])
def test_where_nobody_can_see_it_nothing_is_shown(
    variables: dict[str, str], more: dict[str, str]
) -> None:
    seen = watched(KINDS["item_progress"], variables | more)
    assert seen.output.strip() == b"done"


def test_no_colour_where_none_is_wanted(variables: dict[str, str]) -> None:
    coloured = watched(KINDS["item_progress"], variables)
    plain = watched(KINDS["item_progress"], variables | {"NO_COLOR": "1"})
    assert b"\x1b[38;5;" in coloured.output
    assert b"working" in plain.output
    assert b"\x1b[38;5;" not in plain.output
    assert b"\x1b[3" not in plain.output


def test_fast_work_is_not_shown(variables: dict[str, str]) -> None:
    fast = KINDS["item_progress"].replace("0.01", "0").replace("DELAY_S = 0.1", "DELAY_S = 60")
    assert watched(fast, variables).output.strip() == b"done"
