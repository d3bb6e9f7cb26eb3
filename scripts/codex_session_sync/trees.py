"""Folders as a whole: which of their files count, and a digest over names and contents."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

NOISE = frozenset({"node_modules", ".git", ".venv", "__pycache__", "__MACOSX"})
"""Folders of version control, dependencies and leftovers, which are no part of a folder's worth."""

_CHUNK = 1 << 20

LINK = "link"
"""In the place of a digest: that a member is a link or something else that is no regular file."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a folder: POSIX path in it, SHA-256 of the contents (or LINK), size in bytes."""

    path: str
    sha256: str
    size: int


def is_noise(parts: Sequence[str]) -> bool:
    """Whether a path, by its components, does not count."""
    return not NOISE.isdisjoint(parts) or parts[-1].startswith("._") or parts[-1] == ".DS_Store"


def members(folder: Path) -> tuple[Member, ...]:
    """The files that count below a folder, in order of their paths; no link is followed.

    Raises OSError.
    """
    return tuple(sorted(_walk(folder, ()), key=lambda member: member.path.encode()))


def _walk(folder: Path, above: tuple[str, ...]) -> Iterator[Member]:
    with os.scandir(folder) as listing:
        entries = list(listing)
    for entry in entries:
        parts = (*above, entry.name)
        if is_noise(parts):
            continue
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(Path(entry.path), parts)
        elif stat.S_ISREG(status.st_mode):
            with open(entry.path, "rb") as stream:  # noqa: PTH123
                yield member("/".join(parts), stream, status.st_size)
        else:
            yield Member("/".join(parts), LINK, 0)


def member(path: str, stream: BinaryIO, size: int) -> Member:
    """A member by what a stream holds."""
    found = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        found.update(chunk)
    return Member(path, found.hexdigest(), size)


def digest(found: Iterable[Member]) -> str:
    """The digest of a folder: SHA-256 over a line for each member, ordered by path.

    A line is as ``sha256sum`` prints it: digest, two blanks, path.
    """
    ordered = sorted(found, key=lambda one: one.path.encode())
    lines = "".join(f"{one.sha256}  {one.path}\n" for one in ordered)
    return hashlib.sha256(lines.encode()).hexdigest()


def digest_of(folder: Path) -> str:
    """The digest of a folder on disk. Raises OSError."""
    return digest(members(folder))
