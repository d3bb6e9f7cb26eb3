"""Files of JSON lines that are only added to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import orjson

from .. import validation
from ..durable import sync_descriptor, sync_folder
from ..errors import StoreError
from ..model import Json
from ..regular import open_regular
from .place import not_writable, unreadable

LINE_BYTES = 64 << 20
"""The longest line that is read."""

_BLOCK = 1 << 20


def append_lines(path: Path, documents: Iterable[Json]) -> int:
    """Add a line for each document, durably; returns how many. The gate must be held.

    What a killed process left of a line at the end goes first: nobody was told of it. Raises
    StoreError ``store_not_writable``.
    """
    count = 0
    with _appending(path) as stream:
        for document in documents:
            stream.write(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE))
            count += 1
        stream.flush()
        sync_descriptor(stream.fileno())
        sync_folder(path.parent)
    return count


def append_encoded(path: Path, lines: Iterable[bytes]) -> int:
    """As ``append_lines``, of lines as they are to stand there, and not yet durable; returns where
    the file ends."""
    with _appending(path) as stream:
        stream.writelines(lines)
        return stream.tell()


@contextmanager
def _appending(path: Path) -> Iterator[BinaryIO]:
    """A file, made if need be, at the end of its last whole line."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b") as stream:  # noqa: PTH123 - one descriptor for all of it
            stream.truncate(_whole(stream.fileno()))
            stream.seek(0, os.SEEK_END)
            yield stream
    except OSError as error:
        raise not_writable(path, error) from error


def read_lines(path: Path, schema: str) -> Iterator[Json]:
    """The documents of a file, each by its schema; none without a file.

    A line at the end that is not whole was never confirmed, and is passed over. Raises StoreError:
    ``store_damaged``, naming the line; ``store_unreadable``.
    """
    for _, _, document in read_lines_from(path, schema, 0):
        yield document


def read_lines_from(path: Path, schema: str, start: int) -> Iterator[tuple[int, int, Json]]:
    """As ``read_lines``, from the line on that begins at byte ``start``, each with where it begins
    and ends."""
    try:
        with open_regular(path) as stream:
            stream.seek(start)
            while line := stream.readline(LINE_BYTES + 1):
                end = start + len(line)
                if line.endswith(b"\n"):
                    yield start, end, _document(path, schema, start, line)
                elif len(line) > LINE_BYTES:
                    raise damaged(path, start, f"is over {LINE_BYTES} bytes")
                start = end
    except FileNotFoundError:
        return
    except OSError as error:
        raise unreadable(path, error) from error


def damaged(path: Path, place: int | None, why: str) -> StoreError:
    """``store_damaged``: a document of the store is not what was written."""
    where = f"{path}" if place is None else f"the line at byte {place} of {path}"
    return StoreError(
        "store_damaged",
        f"{where} {why}",
        hint="restore that file from a backup of the store; nothing was changed",
    )


def _document(path: Path, schema: str, place: int, line: bytes) -> Json:
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise damaged(path, place, f"is not JSON: {error}") from error
    if not validation.fits(schema, document):
        raise damaged(path, place, f"does not fit the schema {schema}")
    found: Json = document
    return found


def _whole(descriptor: int) -> int:
    """Where the last whole line of an open file ends."""
    end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - _BLOCK)
        os.lseek(descriptor, start, os.SEEK_SET)
        found = os.read(descriptor, end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
