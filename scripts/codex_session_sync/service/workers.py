"""A worker: a program that is started, spoken to over its stdin and stdout, and ended."""

from __future__ import annotations

import io
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

LOG_BYTES = 8 << 20
"""Of what a worker says on stderr the last so many bytes are kept, and as many before them."""

END_S = 2.0
_PART_BYTES = 1 << 16
_LOOK_MS = 100


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that was started."""

    process: subprocess.Popen[bytes]
    log: threading.Thread
    into: IO[bytes]
    """What it reads."""
    forsaken: threading.Event
    """Set once nothing more is to be written to it."""

    @property
    def out_of(self) -> IO[bytes]:
        """What it writes."""
        assert self.process.stdout is not None
        return self.process.stdout

    def wait(self, seconds: float) -> int | None:
        """Its exit code; None if it has not ended within so many seconds."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End it, and what it started, at once; who waits for it to read waits no more."""
        self.forsaken.set()
        _signal(self.process, "SIGKILL")

    def end(self, seconds: float) -> int:
        """See to it that it has ended, after so many seconds gently, then at once; its exit
        code."""
        self.forsaken.set()
        with suppress(OSError):
            self.into.close()
        code = self.wait(seconds)
        if code is None:
            _signal(self.process, "SIGTERM")
            code = self.wait(END_S)
        if code is None:
            self.kill()
            code = self.process.wait()
        else:
            self.kill()  # what it started and left behind
        self.log.join(END_S)
        return code


def start(command: Sequence[str], log: Path) -> Worker:
    """Start a worker, whose stderr goes to a log. Raises UsageError ``worker_not_started``."""
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else None
        raise UsageError(
            "worker_not_started",
            f"the worker cannot be started: {why or 'its command is no command'}",
            hint="name a program that can be run; `codex-session-sync ingest --help` shows how",
        ) from error
    assert process.stdin is not None
    assert process.stderr is not None
    thread = threading.Thread(target=_kept, args=(process.stderr, log), daemon=True)
    thread.start()
    forsaken = threading.Event()
    into = process.stdin if sys.platform == "win32" else _Into(process.stdin, forsaken)
    return Worker(process, thread, into, forsaken)


class _Into(io.BytesIO):
    """Writes to a pipe without being held by it: what a worker started may keep the other end open,
    read nothing, and outlive it."""

    def __init__(self, pipe: IO[bytes], forsaken: threading.Event) -> None:
        super().__init__()
        os.set_blocking(pipe.fileno(), False)
        self._pipe = pipe
        self._forsaken = forsaken

    def write(self, data: Buffer, /) -> int:
        """Write all of it. Raises OSError."""
        rest = memoryview(data)
        ready = select.poll()
        ready.register(self._pipe, select.POLLOUT)
        while rest and not self._forsaken.is_set():
            if ready.poll(_LOOK_MS):
                with suppress(BlockingIOError):
                    rest = rest[os.write(self._pipe.fileno(), rest) :]
        if rest:
            raise BrokenPipeError
        return len(memoryview(data))

    def close(self) -> None:
        """Close the pipe."""
        self._pipe.close()


def _kept(stream: IO[bytes], path: Path) -> None:
    """Copy a stream to a log, which begins anew when it is full; the full one is kept once."""
    with suppress(OSError, ValueError), stream:
        while data := os.read(stream.fileno(), _PART_BYTES):
            with suppress(OSError):  # where the disk is full, the worker goes on without
                if path.exists() and path.stat().st_size + len(data) > LOG_BYTES:
                    path.replace(path.with_suffix(".old.log"))
                with path.open("ab") as log:
                    log.write(data)


def _signal(process: subprocess.Popen[bytes], name: str) -> None:
    """Send a signal to a worker and what it started."""
    with suppress(OSError):
        if sys.platform == "win32":
            process.terminate()
        else:
            os.killpg(process.pid, getattr(signal, name))
