"""Reading ahead: lines are limited in length and together, and probes do not wait."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from dataclasses import replace

from codex_session_sync.service.inbox import Inbox
from codex_session_sync.service.limits import ServiceLimits

LIMITS = ServiceLimits(frame_bytes=1000, waiting_bytes=2000)


def inbox(data: bytes, probed: Callable[[bytes], bool] = lambda _: False) -> Inbox:
    found = Inbox(io.BytesIO(data), LIMITS, probed)
    found.start()
    return found


def taken(found: Inbox) -> list[bytes | None]:
    lines = []
    while (line := found.take(5.0)) is not None:
        lines.append(line.data)
    assert found.ended
    return lines


def test_lines_come_in_order_without_empty_ones() -> None:
    assert taken(inbox(b"one\n\n  \ntwo\nlast")) == [b"one\n", b"two\n", b"last"]


def test_a_line_that_is_too_long_is_passed_over() -> None:
    exact = b"x" * 1000
    for long in (b"y" * 1001, b"y" * 5000, b"y" * 3_000_000):
        data = b"\n".join((b"a", exact, long, b"b"))
        assert taken(inbox(data)) == [b"a\n", exact + b"\n", None, b"b"]
    assert taken(inbox(b"y" * 5000)) == [None]


def test_a_probe_overtakes_and_what_mentions_one_does_not() -> None:
    probes = []

    def probed(data: bytes) -> bool:
        probes.append(data)
        return data.startswith(b"P")

    found = inbox(b"one\nP health.probe\nsays health.probe\n" + b"z" * 999 + b"\n", probed)
    assert taken(found) == [b"one\n", b"says health.probe\n", b"z" * 999 + b"\n"]
    assert len(probes) == 2


def test_what_waits_is_limited() -> None:
    """The writer has to wait once so much is read; nothing is lost."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    found = Inbox(os.fdopen(reading, "rb"), LIMITS, lambda _: False)
    found.start()
    line = b"w" * 499 + b"\n"
    sent, stalled = 0, time.monotonic()
    while time.monotonic() - stalled < 0.5:
        try:
            sent += os.write(writing, line[sent % 500 :])
            stalled = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
    lines, size, oldest = found.waiting()
    assert (lines, size) == (4, 2000)
    assert oldest > 0.4
    assert sent < 300_000  # what the pipe and one line hold
    os.close(writing)
    assert len(taken(found)) == -(-sent // 500)


def test_one_line_may_be_more_than_waits() -> None:
    few = replace(LIMITS, waiting_bytes=10)
    found = Inbox(io.BytesIO(b"a" * 900 + b"\n" + b"b" * 900 + b"\n"), few, lambda _: False)
    found.start()
    assert [line and line[:1] for line in taken(found)] == [b"a", b"b"]


def test_closing_ends_the_wait() -> None:
    reading, writing = os.pipe()
    found = Inbox(os.fdopen(reading, "rb"), LIMITS, lambda _: False)
    found.start()
    assert found.take(0.05) is None
    assert not found.ended
    found.close()
    assert found.take() is None
    os.close(writing)
