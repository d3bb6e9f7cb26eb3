"""The journal of the first-import tool: which sessions it put into this home.

Only names are taken from it. The places that it names are never opened: they may be of another
home, or of another's making.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from ..codex.home import ARCHIVED
from ..codex.rollout import base_name, parse_name

JOURNAL = "transfer-journal"
OPERATIONS = "operations.jsonl"

MAX_BYTES = 64 << 20
"""A longer list of operations is not read; the tool writes some hundred bytes a session."""

_PLACING = ("remove_created_file", "restore_file")
"""The tool notes how it would undo a file that it wrote: by these."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A session that the first-import tool wrote, and whether it came archived."""

    session_id: str
    archived: bool


def installed_sessions(home: Path) -> dict[str, Installed]:
    """What that tool wrote into a home, by session id; of several installs the last one counts.

    Whether the sessions are still here is another question. What cannot be read says nothing.
    """
    found: dict[str, Installed] = {}
    for folder in _folders(home / JOURNAL):
        for one in _installed(folder / OPERATIONS):
            found[one.session_id] = one
    return found


def _folders(journal: Path) -> list[Path]:
    """The transactions of that journal, oldest first: their names begin with the time."""
    if journal.is_symlink() or not journal.is_dir():
        return []
    return sorted(p for p in journal.iterdir() if p.is_dir() and not p.is_symlink())


def _installed(path: Path) -> Iterator[Installed]:
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_BYTES:
        return
    with path.open("rb") as stream:
        for line in stream:
            try:
                operation = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            match operation:
                case {"op": str(kind), "target": str(target)} if kind in _PLACING:
                    name = parse_name(base_name(target) or "")
                    if name is not None:
                        folders = target.replace("\\", "/").split("/")
                        yield Installed(name.thread_id, ARCHIVED in folders)
