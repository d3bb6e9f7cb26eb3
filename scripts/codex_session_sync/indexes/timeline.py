"""The order of a history: which lines stand, oldest first, and which of them fit its limit.

Lines are numbers here; what is told of each lies in sequences of its own, so that a million of
them stay small.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from ..codex.history import KEPT_PERCENT

SAME_PROMPT_MS = 60_000
"""How far apart Codex's line of a prompt and the transcript's record of it may be."""


@dataclass(slots=True)
class Lines:
    """What ordering needs of each line: time in milliseconds, what it says, where it is from.

    ``keys`` are digests of session and text; ``derived`` is 1 for a line that was made from a
    transcript, 0 for one that the history had, whose time is in whole seconds.
    """

    times: array[int] = field(default_factory=lambda: array("q"))
    keys: array[int] = field(default_factory=lambda: array("Q"))
    derived: bytearray = field(default_factory=bytearray)

    def add(self, time_ms: int, key: int, *, derived: bool) -> None:
        """Take in one more line."""
        self.times.append(time_ms)
        self.keys.append(key)
        self.derived.append(derived)

    def __len__(self) -> int:
        return len(self.times)


def standing(lines: Lines) -> list[int]:
    """The lines that stand, oldest first, each prompt once.

    Of lines that say the same in the same second one stands, the history's own if there is one. A
    derived line also gives way to one of the history that says the same within SAME_PROMPT_MS, one
    for one: Codex notes a prompt when it is typed, and records it when its turn begins. Lines of
    one second keep the order of the transcripts, as far as these know them.
    """
    times = array("q", lines.times)
    # What the history had comes first among lines of the same time, in its order.
    ranks = array("q", ((origin << 48) + line for line, origin in enumerate(lines.derived)))
    alike = sorted(range(len(lines)), key=lines.keys.__getitem__)
    found: list[int] = []
    for _, group in groupby(alike, key=lines.keys.__getitem__):
        found += _distinct(lines, times, ranks, list(group))
    found.sort(key=ranks.__getitem__)
    found.sort(key=times.__getitem__)
    return found


def trimmed(order: Sequence[int], sizes: Sequence[int], limit: int | None) -> int:
    """How many of the oldest lines go so that the rest fits into a history of ``limit`` bytes.

    One that is over it is cut to KEPT_PERCENT of it, so that there is room; the newest line stays,
    whatever its size.
    """
    total = sum(sizes[line] for line in order)
    if limit is None or total <= limit:
        return 0
    wanted = limit * KEPT_PERCENT // 100
    gone = 0
    while total > wanted and gone < len(order) - 1:
        total -= sizes[order[gone]]
        gone += 1
    return gone


def _distinct(lines: Lines, times: array[int], ranks: array[int], alike: list[int]) -> list[int]:
    """Of lines that say the same, those that stand.

    A line of the history that stands for a derived one of its second gets its time and rank.
    """
    if len(alike) == 1:
        return alike
    seconds: dict[int, int] = {}
    matched: set[int] = set()
    for line in sorted(alike, key=lambda line: (lines.derived[line], times[line], line)):
        first = seconds.setdefault(times[line] // 1000, line)
        if lines.derived[line] and not lines.derived[first] and first not in matched:
            matched.add(first)
            times[first], ranks[first] = times[line], ranks[line]
    kept = seconds.values()
    open_ones = sorted((line for line in kept if line not in matched), key=times.__getitem__)
    doubles = _doubles(open_ones, lines, times)
    return [line for line in kept if line not in doubles]


def _doubles(alike: Iterable[int], lines: Lines, times: array[int]) -> set[int]:
    """The derived ones among lines in order of time that pair with one of the history."""
    waiting: deque[int] = deque()
    found: set[int] = set()
    for line in alike:
        while waiting and times[line] - times[waiting[0]] > SAME_PROMPT_MS:
            waiting.popleft()
        if waiting and lines.derived[waiting[0]] != lines.derived[line]:
            other = waiting.popleft()
            found.add(line if lines.derived[line] else other)
        else:
            waiting.append(line)
    return found
