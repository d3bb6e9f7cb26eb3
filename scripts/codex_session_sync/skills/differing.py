"""How a packaged skill differs from the installed one of its name."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..durable import safe_join
from ..errors import HomeError
from ..model import Json
from ..package.skills import PackagedSkill
from ..trees import LINK, Member

SHOWN_FILES = 100
SHOWN_TEXT = 8_000
"""The most characters of a difference that are told."""

READ = 256 << 10
"""The largest file, in bytes, whose lines are compared."""


@dataclass(frozen=True, slots=True)
class Differences:
    """Which files differ, and how their lines do, as far as they are text and not too long."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    diff: str

    @property
    def summary(self) -> str:
        """In a few words."""
        counts = (("added", self.added), ("removed", self.removed), ("changed", self.changed))
        return ", ".join(f"{len(paths)} {word}" for word, paths in counts if paths)

    def to_json(self) -> Json:
        """As reports show it."""
        return {
            "added": list(self.added[:SHOWN_FILES]),
            "removed": list(self.removed[:SHOWN_FILES]),
            "changed": list(self.changed[:SHOWN_FILES]),
            "diff": self.diff,
        }


def differences(
    skill: PackagedSkill, packaged: Sequence[Member], place: Path, local: Sequence[Member]
) -> Differences:
    """How ``packaged`` members of a skill differ from the ``local`` ones at ``place``.

    Raises PackageError if the package changes meanwhile.
    """
    theirs = {one.path: one.sha256 for one in packaged}
    ours = {one.path: one.sha256 for one in local}
    changed = [path for path in theirs if path in ours and theirs[path] != ours[path]]
    added = [path for path in theirs if path not in ours]
    removed = [path for path in ours if path not in theirs]
    text, left = [], SHOWN_TEXT
    for path in sorted((*changed, *added, *removed)):
        old = _text_here(place, path) if ours.get(path, LINK) != LINK else ""
        new = _text_of(skill, path) if path in theirs else ""
        for line in _lines(path, old, new):
            text.append(line[:left])
            left -= len(line)
            if left <= 0:
                text.append("\n… the rest is not shown\n")
                return Differences(tuple(added), tuple(removed), tuple(changed), "".join(text))
    return Differences(tuple(added), tuple(removed), tuple(changed), "".join(text))


def _lines(path: str, old: str | None, new: str | None) -> Iterator[str]:
    if old is None or new is None:
        yield f"{path}: no text, or too long to be shown\n"
        return
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), f"installed/{path}", f"package/{path}", lineterm=""
    )
    for line in lines:
        yield (
            "".join(
                c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in line
            )
            + "\n"
        )


def _text_of(skill: PackagedSkill, path: str) -> str | None:
    with skill.files[path].open() as stream:
        return _decoded(stream.read(READ + 1))


def _text_here(place: Path, path: str) -> str | None:
    try:
        with safe_join(place, path).open("rb") as stream:
            return _decoded(stream.read(READ + 1))
    except (OSError, HomeError):
        return None


def _decoded(data: bytes) -> str | None:
    if len(data) > READ or b"\0" in data:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
