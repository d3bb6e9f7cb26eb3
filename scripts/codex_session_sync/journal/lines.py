"""The list of a transaction's operations, line by line, and where it was cut off."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from .. import validation
from ..durable import sync_descriptor
from ..errors import HomeError
from ..model import Json
from ..regular import NotAFileError, open_regular

BACKUP = "put the journal back from a backup; nothing was changed"

_CHUNK = 1 << 16


def read_lines(path: Path, kinds: Collection[str], *, checked: bool = True) -> Iterator[Json]:
    """The lines of a list, of intents those of ``kinds``, if any; as of ``Journal.lines``."""
    for what, line in _wanted(path, kinds):
        if checked:
            document = validation.load("operation", line, what, HomeError)
        else:
            document = validation.parse("operation", line, what, HomeError)
        assert isinstance(document, dict)
        yield document


def _wanted(path: Path, kinds: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """The whole lines of a list, each with its name; of intents those of ``kinds``, if any."""
    stream = _opened(path)
    if stream is None:
        return
    # Most of the time goes into checking lines: those that are not wanted are told by their bytes.
    marks = [f'"kind":"{kind}"'.encode() for kind in kinds]
    with stream:
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n") or b"\0" in line:
                return
            if marks and b'"operation":' in line and not any(mark in line for mark in marks):
                continue
            yield f"{path} line {number}", line


def cut_unwritten(path: Path) -> None:
    """End a list before its first zero byte: of an append that a power loss cut only the end may
    have reached the disk, and nothing that it tells of had begun."""
    stream = _opened(path)
    if stream is None:
        return
    stream.close()
    end = 0
    with path.open("rb+") as stream:
        for line in stream:
            if b"\0" in line:
                stream.truncate(end)
                sync_descriptor(stream.fileno())
                return
            end += len(line)


def is_torn(path: Path) -> bool:
    """Whether the last line of a list is cut off."""
    stream = _opened(path)
    if stream is None:
        return False
    with stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - 1))
        return stream.read(1) not in (b"", b"\n")


def end_of_lines(stream: FileIO) -> int:
    """Where the last whole line of a file ends."""
    end = stream.seek(0, 2)
    while end:
        start = max(0, end - _CHUNK)
        stream.seek(start)
        place = stream.read(end - start).rfind(b"\n")
        if place >= 0:
            return start + place + 1
        end = start
    return 0


def _opened(path: Path) -> BinaryIO | None:
    """A list of operations; None if there is none. Raises HomeError ``operation_invalid``."""
    try:
        return open_regular(path)
    except FileNotFoundError:
        return None
    except NotAFileError as error:
        raise HomeError("operation_invalid", f"{path}: {error.strerror}", hint=BACKUP) from error
