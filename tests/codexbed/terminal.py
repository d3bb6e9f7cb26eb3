"""A person at Codex's terminal interface, who types prompts and leaves."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Sequence
from functools import partial

from codexbed.codex import CodexHome, records, rollout_files
from codexbed.install import codex_binary

STEP_SECONDS = 20.0
_START_SECONDS = 3.0
_TYPED_SECONDS = 0.6
_QUESTIONS = {
    b"\x1b[6n": b"\x1b[1;1R",
    b"\x1b[c": b"\x1b[?62;c",
    b"\x1b]10;?": b"\x1b]10;rgb:ffff/ffff/ffff\x1b\\",
    b"\x1b]11;?": b"\x1b]11;rgb:0000/0000/0000\x1b\\",
}
"""What Codex asks a terminal, and what it is told."""


def type_prompts(home: CodexHome, texts: Sequence[str]) -> None:
    """Start the interface, send each text when the turn before it has ended, and leave.

    Without its server in the background, which would outlive it.
    """
    command = [str(codex_binary(home.version)), "--no-daemon"]
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(home.project)
        os.execve(command[0], command, {**home.env(), "TERM": "xterm-256color"})
    try:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        _look(terminal, _START_SECONDS)
        for number, text in enumerate(texts, 1):
            os.write(terminal, text.encode())
            # Enter that comes too soon after other keys counts as pasted.
            _look(terminal, _TYPED_SECONDS)
            os.write(terminal, b"\r")
            _wait(terminal, partial(_ended, home, number))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(terminal)


def _ended(home: CodexHome, turns: int) -> bool:
    """Whether so many turns have ended in the home."""
    found = [record for path in rollout_files(home.home) for record in records(path)]
    ended = [one for one in found if one["payload"].get("type") == "task_complete"]
    return len(ended) >= turns


def _wait(terminal: int, done: Callable[[], bool]) -> None:
    """Look on until something is done. Raises TimeoutError."""
    deadline = time.monotonic() + STEP_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError("the turn has not ended")
        _look(terminal, 0.2)


def _look(terminal: int, seconds: float) -> None:
    """Take in what is shown for some time, and answer what is asked."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            shown = os.read(terminal, 1 << 16)
            for question, answer in _QUESTIONS.items():
                if question in shown:
                    os.write(terminal, answer)
