"""Lines that wait on disk, in any number, until their order is known."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import BinaryIO


class Spool(AbstractContextManager["Spool"]):
    """A temporary file of lines, each known by its number; gone when it is closed."""

    def __init__(self) -> None:
        self._file: BinaryIO = tempfile.TemporaryFile(prefix="codex-session-sync-")  # noqa: SIM115
        self._offsets = array("q")
        self._end = 0
        self._place = 0
        self.sizes = array("q")
        """The bytes of each line."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, line: bytes) -> int:
        """Keep a line; returns its number."""
        self._offsets.append(self._end)
        self.sizes.append(len(line))
        self._go_to(self._end)
        self._file.write(line)
        self._end = self._place = self._end + len(line)
        return len(self.sizes) - 1

    def lines(self, order: Iterable[int]) -> Iterator[bytes]:
        """The lines of these numbers."""
        for number in order:
            self._go_to(self._offsets[number])
            line = self._file.read(self.sizes[number])
            self._place += len(line)
            yield line

    def _go_to(self, place: int) -> None:
        """Move there, if need be: each move empties the buffer."""
        if place != self._place:
            self._file.seek(place)
            self._place = place
