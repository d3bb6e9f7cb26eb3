"""Where operations act, and what every operation can do."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from io import BufferedReader
from pathlib import Path
from typing import ClassVar, Literal, Protocol

from ..codex.state_db import StateDb
from ..durable import safe_join
from ..errors import HomeError
from ..model import Row
from ..regular import NotAFileError, open_regular

Place = Literal["home", "sync"]

HOME_CHANGED = "home_changed"
"""The code of the error that an operation raises where another program was at work."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where operations act: the roots of the named places, and the open database if there is one.

    ``staged`` is the transaction's own folder of files that wait to be put in place,
    ``history_db`` Codex's database of shown turns, which may not exist. ``as_now`` gives a row that
    is found as it reads in the home as it is now, see ``places``. ``checked``: folders that are
    known to be reached through no link; None: nothing is taken for known.
    """

    home: Path
    sync: Path
    staged: Path
    database: StateDb | None
    history_db: Path | None = None
    as_now: Callable[[Row | None], Row | None] = field(default=lambda row: row)
    checked: set[str] | None = None

    def looking_once(self) -> Site:
        """The same for operations that are played at once: a folder's way is looked at once."""
        return replace(self, checked=set())

    def resolve(self, where: Place, relative: str) -> Path:
        """The absolute path of a place's file; HomeError if it would leave the place."""
        return safe_join(self.home if where == "home" else self.sync, relative, self.checked)


class Operation(Protocol):
    """One change of the home."""

    kind: ClassVar[str]

    def apply(self, site: Site) -> None:
        """Make the change; nothing to do if it is made. HomeError if the state is another."""

    def undo(self, site: Site) -> None:
        """Take the change back; nothing to do if it is not made. HomeError as above."""

    def touched(self, site: Site) -> Path | None:
        """The file whose durability the change needs."""


def size_of(path: Path) -> int | None:
    """The size of a file in bytes; None if there is none. Raises HomeError as ``opened`` does."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise unexpected(path.name, "is not a regular file any more")
    return found.st_size


def opened(path: Path) -> BufferedReader:
    """The bytes of a file. Raises HomeError ``home_changed`` if it is none, FileNotFoundError."""
    try:
        return open_regular(path)
    except NotAFileError as error:
        raise unexpected(path.name, "is not a regular file any more") from error


def content_of(path: Path) -> bytes | None:
    """All bytes of a file; None if there is none. Raises HomeError as ``opened`` does."""
    try:
        with opened(path) as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def unexpected(what: str, happened: str) -> HomeError:
    """``home_changed``: a place of the home is neither as before an operation nor as after it."""
    return HomeError(
        HOME_CHANGED,
        f"{what} {happened}",
        hint="another program wrote to the home in the meantime; look at it, then run "
        "`codex-session-sync AGAIN`",
    )


def cut_short(found: bytes, ours: bytes) -> bool:
    """Whether bytes are ours, or zeros where a power loss kept ours from being written.

    No JSON holds a zero byte, so nothing of another program is taken for ours.
    """
    if found == ours:
        return True
    return len(found) == len(ours) and all(
        one in (0, other) for one, other in zip(found, ours, strict=True)
    )
