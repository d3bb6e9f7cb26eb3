"""Lines that were read and wait: a thread reads ahead, as far as there is room."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import IO, NamedTuple

from .limits import ServiceLimits

_PROBE = b"health.probe"
_SHORT = 4096


class Line(NamedTuple):
    """A line without its newline, and when it came; None where it was too long to be kept."""

    data: bytes | None
    since: float


class Inbox:
    """Reads lines from a stream into a queue whose bytes are limited.

    Whoever writes to the other end has to wait when it is full: that is the back-pressure. A probe
    does not wait in it: ``probed`` is called in the reading thread, and says whether it was one.
    """

    def __init__(
        self, stream: IO[bytes], limits: ServiceLimits, probed: Callable[[bytes], bool]
    ) -> None:
        self._stream = stream
        self._limits = limits
        self._probed = probed
        self._lines: deque[Line] = deque()
        self._bytes = 0
        self._ended = False
        self._changed = threading.Condition()
        self.heard = time.monotonic()
        """When something last came."""

    def start(self) -> None:
        """Begin to read, in a thread that ends with the process."""
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def take(self, seconds: float | None = None) -> Line | None:
        """The next line; None after so many seconds without one, or where no more will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._ended, seconds)
            if not self._lines:
                return None
            line = self._lines.popleft()
            self._bytes -= _size(line)
            self._changed.notify_all()
            return line

    @property
    def ended(self) -> bool:
        """Whether nothing is left and nothing will come."""
        with self._changed:
            return self._ended and not self._lines

    def waiting(self) -> tuple[int, int, float]:
        """How many lines and bytes wait, and for how many seconds the oldest has."""
        with self._changed:
            oldest = time.monotonic() - self._lines[0].since if self._lines else 0.0
            return len(self._lines), self._bytes, oldest

    def close(self) -> None:
        """Take no more lines; the reading thread ends with its stream."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _read(self) -> None:
        most = self._limits.frame_bytes
        try:
            while (data := self._stream.readline(most + 2)) and not self._ended:
                self.heard = time.monotonic()
                if len(data) > most + 1 or (len(data) > most and not data.endswith(b"\n")):
                    self._pass_over(data)
                    self._put(Line(None, self.heard))
                elif not data.strip():
                    continue
                elif not (len(data) < _SHORT and _PROBE in data and self._probed(data)):
                    self._put(Line(data, self.heard))
        except (OSError, ValueError):
            pass
        self.close()
        with suppress(OSError, ValueError):
            self._stream.close()

    def _pass_over(self, data: bytes) -> None:
        """Read on to the end of a line that is too long, keeping nothing of it."""
        while data and not data.endswith(b"\n"):
            data = self._stream.readline(1 << 20)

    def _put(self, line: Line) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._ended
                    or not self._lines
                    or self._bytes + _size(line) <= self._limits.waiting_bytes
                )
            )
            self._lines.append(line)
            self._bytes += _size(line)
            self._changed.notify_all()


def _size(line: Line) -> int:
    return 64 if line.data is None else len(line.data)
