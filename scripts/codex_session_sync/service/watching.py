"""What there is in a folder, and what of it has changed: an inbox of packages, or a Codex home.

Everything is told by names, sizes and times; nothing is read but the list of names of a home.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ..codex.home import ARCHIVED, INDEX, INSTALLATION_ID, SESSIONS, STATE_DB, CodexHome
from ..codex.session_index import read_index
from ..errors import PackageError
from ..model import Json

MOST_SESSIONS = 500
"""Of a home at most so many sessions are asked for in one request."""

MOST_FILES = 100_000
"""A package in an inbox that is a folder is looked at no further than this."""

_OF_A_HOME = (SESSIONS, ARCHIVED, INDEX, INSTALLATION_ID, STATE_DB)
"""Any of these makes a folder a home, also one in which Codex has no session yet."""

_UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".download", ".filepart")


@dataclass(frozen=True, slots=True)
class Wish:
    """Something to be brought in: an item of a request, and the states that it stands for."""

    item: Json
    states: Mapping[str, str]

    def only(self, names: Container[str]) -> Wish:
        """Of sessions those of these names, of a package all of it."""
        if "sessions" not in self.item:
            return self
        states = {name: state for name, state in self.states.items() if name in names}
        return replace(self, item={**self.item, "sessions": list(states)}, states=states)

    def key(self, source: str, attempt: str) -> str:
        """An idempotency key, the same for the same thing in the same state."""
        told = repr((source, attempt, sorted(self.states.items()), sorted(self.item.items())))
        return "watch/" + hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:48]


@dataclass(slots=True)
class Folder:
    """A folder that is watched. ``done``: the states that need no more."""

    path: Path
    kind: Literal["home", "inbox"]
    done: dict[str, str] = field(default_factory=dict)
    _last: dict[str, str] = field(default_factory=dict)

    def look(self) -> dict[str, str]:
        """What is there now: sessions by id, or packages by name, each with its state.

        Raises OSError.
        """
        return dict(_sessions(self.path) if self.kind == "home" else _packages(self.path))

    def changed(self, *, settled: bool, without: Container[str] = ()) -> list[Wish]:
        """What is there and is not done; ``settled``: and is as it was at the last look;
        ``without``: and is not one of these.

        Raises OSError.
        """
        found, last = self.look(), self._last
        self._last = found
        new = {
            name: state
            for name, state in found.items()
            if self.done.get(name) != state
            and (not settled or last.get(name) == state)
            and name not in without
        }
        return list(self._wishes(new))

    @property
    def behind(self) -> int:
        """How many of what was seen last are not done."""
        return sum(1 for name, state in self._last.items() if self.done.get(name) != state)

    def lacks(self, wish: Wish) -> bool:
        """Whether something that was wished for is not there any more."""
        with suppress(OSError):
            return not wish.states.keys() <= self.look().keys()
        return True

    def settle(self, wish: Wish, but: Wish | None = None) -> None:
        """Take note that nothing more is to be done for what was wished for, but for a part."""
        rest = but.states if but is not None else {}
        self.done.update((n, state) for n, state in wish.states.items() if n not in rest)

    def _wishes(self, new: Mapping[str, str]) -> Iterator[Wish]:
        if self.kind == "inbox":
            for name, state in new.items():
                yield Wish({"package": str(self.path / name)}, {name: state})
            return
        ids = list(new)
        for start in range(0, len(ids), MOST_SESSIONS):
            some = ids[start : start + MOST_SESSIONS]
            item = {"package": str(self.path), "sessions": some}
            yield Wish(item, {session_id: new[session_id] for session_id in some})


def watched(path: Path) -> Folder:
    """The folder at a path, told by what is in it. Raises PackageError ``package_not_found``."""
    try:
        real = path.resolve(strict=True)
        if not real.is_dir():
            raise NotADirectoryError
    except (OSError, RuntimeError) as error:
        raise PackageError(
            "package_not_found",
            f"there is no folder at {path}",
            hint="name an inbox of packages, or a Codex home: `codex-session-sync watch FOLDER`",
        ) from error
    try:
        str(real).encode()
    except UnicodeEncodeError as error:
        raise PackageError(
            "package_unreadable",
            "the path of the folder is not UTF-8 text, and no frame can name it",
            hint="move it to one that is: `codex-session-sync watch FOLDER`",
        ) from error
    home = any((real / name).exists() for name in _OF_A_HOME)
    return Folder(real, "home" if home else "inbox")


def _sessions(path: Path) -> Iterator[tuple[str, str]]:
    """The sessions of a home, each with the state of its files and its name."""
    rollouts = CodexHome(path, path).rollouts()
    names = read_index(path / INDEX)
    for thread in rollouts.threads():
        files = sorted(
            (file.name, file.archived, file.size, file.mtime_ns) for file in rollouts.files(thread)
        )
        yield thread, _digest((files, names.get(thread)))


def _packages(path: Path) -> Iterator[tuple[str, str]]:
    """The packages of an inbox, each with its state, the oldest first; what is being written, and
    what a frame cannot name, is left out."""
    found: list[tuple[int, str, str]] = []
    with os.scandir(path) as listing:
        for entry in listing:
            if entry.name.startswith(".") or entry.name.endswith(_UNFINISHED):
                continue
            with suppress(UnicodeEncodeError, FileNotFoundError):  # the latter has just gone
                entry.name.encode()
                found += _package(entry)
    return ((name, state) for _, name, state in sorted(found))


def _package(entry: os.DirEntry[str]) -> Iterator[tuple[int, str, str]]:
    """When a package was written, its name and its state; nothing of what is none."""
    status = entry.stat(follow_symlinks=False)
    if entry.is_dir(follow_symlinks=False):
        yield status.st_mtime_ns, entry.name, _digest(list(_files(Path(entry.path))))
    elif entry.is_file(follow_symlinks=False):
        yield status.st_mtime_ns, entry.name, _digest((status.st_size, status.st_mtime_ns))


def _files(root: Path) -> Iterator[tuple[str, int, int]]:
    """The files below a folder, with size and time."""
    count = 0
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            path = Path(folder, name)
            try:
                status = path.lstat()
            except OSError:
                continue
            yield path.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns
            count += 1
            if count > MOST_FILES:
                return


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode("utf-8", "surrogateescape")).hexdigest()
