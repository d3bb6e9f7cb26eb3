"""A model of a disk that loses power: what may be left of a folder at every moment of a run.

The folder is looked at before and after each call that changes it (Python tells of these to audit
hooks) and at each sync. A name in a folder, and the content of a file with its time, is *loose*
from the moment it changes until the folder, or the file, is synced. After a power loss every loose
thing is, whatever became of the others, as it was at any moment since its last sync; content that
was being added may also be there in part, or be zeros where its place was allotted and its bytes
were not written. So unlike on most file systems there is no order of changes but that of syncs, a
synced file is lost with a name that is not synced, and a link or a rename is two changes.

Not modelled: bytes of one addition that arrive in another order than they lie, sectors that are
damaged, drives that lie about syncs, permissions. What SQLite has committed counts as kept, and
only that: its files are taken as they are at the moment.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from codex_session_sync import durable

CHANGING = ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.utime")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
ROOT = 0
"""Stands for the folder itself, whose own name is no matter of the model."""

Name = tuple[int, str]
"""A folder's number and a name in it."""


@dataclass(frozen=True)
class Content:
    """A file's bytes and time; a folder has none of its own."""

    data: bytes | None
    mtime_ns: int = 0


@dataclass(frozen=True)
class Moment:
    """What each name may stand for and each file hold, oldest first; one choice is synced."""

    names: dict[Name, tuple[int | None, ...]]
    contents: dict[int, tuple[Content, ...]]
    database: dict[str, bytes]
    claimed: int
    """How much the run had promised to be durable."""

    def loose(self) -> list[Name | int]:
        """What is not synced."""
        names: list[Name | int] = [key for key, known in self.names.items() if len(known) > 1]
        return names + [key for key in self.contents if len(self.options(key)) > 1]

    def options(self, key: Name | int) -> list[int | None] | list[Content]:
        """What a thing may be after a power loss, the synced state first, the newest last."""
        if not isinstance(key, int):
            return list(self.names[key])
        found: list[Content] = []
        for content in self.contents[key]:
            if found:
                found += _partly(found[-1], content)
            found.append(content)
        return found


def _partly(old: Content, new: Content) -> Iterator[Content]:
    """What may be there of added bytes: a beginning, zeros behind one, only zeros."""
    if old.data is None or new.data is None or not new.data.startswith(old.data):
        return
    start, end = len(old.data), len(new.data)
    if start < end:
        half = (start + end) // 2
        yield Content(new.data[:half], new.mtime_ns)
        yield Content(new.data[:half] + bytes(end - half), new.mtime_ns)
        yield Content(old.data + bytes(end - start), new.mtime_ns)


@dataclass
class Disk:
    """Follows what happens to a folder; ``apart`` begins the names of a database's files in it."""

    folder: Path
    apart: str
    moments: list[Moment] = field(default_factory=list)
    claimed: int = 0
    _names: dict[Name, list[int | None]] = field(default_factory=dict)
    _contents: dict[int, list[Content]] = field(default_factory=dict)
    _seen: dict[int, tuple[int, int]] = field(default_factory=dict)
    _held: list[int] = field(default_factory=list)
    """Open files, so that no number of an inode is given twice."""
    _looking: bool = False

    @contextmanager
    def recording(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Record what this process does; the state at the beginning counts as synced."""
        self._look()
        self._settle(None)
        fsync, syncfs = os.fsync, durable._sync_file_systems

        def synced(descriptor: int) -> None:
            self.moment()
            fsync(descriptor)
            self._settle(os.fstat(descriptor).st_ino)
            self.moment()

        def all_synced(paths: list[Path]) -> bool:
            self.moment()
            assert syncfs(paths)
            self._settle(None)
            self.moment()
            return True

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", synced)
            if sys.platform == "linux":
                patched.setattr(durable, "_sync_file_systems", all_synced)
            _watching.append(self)
            try:
                yield
            finally:
                _watching.remove(self)
        self.moment()
        for descriptor in self._held:
            os.close(descriptor)

    def moment(self) -> None:
        """Look at the folder now."""
        if not self._looking:
            self._look()
            database = {
                path.name: path.read_bytes()
                for path in self.folder.glob(f"{self.apart}*")
                if not path.name.endswith("-shm")
            }
            now = Moment(
                {key: tuple(known) for key, known in self._names.items()},
                {key: tuple(known) for key, known in self._contents.items()},
                database,
                self.claimed,
            )
            if self.moments[-1:] != [now]:
                self.moments.append(now)

    def _look(self) -> None:
        self._looking = True
        present = {key for key, known in self._names.items() if known[-1] is not None}
        found = dict(self._walk(self.folder, ROOT))
        for key in present | found.keys():
            known = self._names.setdefault(key, [None])
            if known[-1] != found.get(key):
                known.append(found.get(key))
        self._looking = False

    def _walk(self, folder: Path, number: int) -> Iterator[tuple[Name, int]]:
        for entry in list(os.scandir(folder)):
            if number == ROOT and entry.name.startswith(self.apart):
                continue
            path, status = Path(entry.path), entry.stat(follow_symlinks=False)
            yield (number, entry.name), status.st_ino
            if stat.S_ISDIR(status.st_mode):
                self._remember(path, status.st_ino, None)
                yield from self._walk(path, status.st_ino)
            else:
                self._remember(path, status.st_ino, status)

    def _remember(self, path: Path, number: int, status: os.stat_result | None) -> None:
        if number not in self._contents:
            self._held.append(os.open(path, os.O_RDONLY))
            self._contents[number] = [Content(None if status is None else b"")]
        if status is not None and self._seen.get(number) != (status.st_size, status.st_mtime_ns):
            self._seen[number] = (status.st_size, status.st_mtime_ns)
            self._contents[number].append(Content(path.read_bytes(), status.st_mtime_ns))

    def _settle(self, number: int | None) -> None:
        """A file's content, or the names in a folder, or everything is synced."""
        number = ROOT if number == self.folder.stat().st_ino else number
        for key, known in self._names.items():
            if number in (None, key[0]):
                del known[:-1]
        for file, contents in self._contents.items():
            if number in (None, file):
                del contents[:-1]


_watching: list[Disk] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not _watching:
        return
    if event == "open":
        flags = arguments[2]
        changing = isinstance(flags, int) and bool(flags & WRITING)
    else:
        changing = event in CHANGING
    if changing:
        _watching[-1].moment()


sys.addaudithook(_hook)

Pick = Callable[[Name | int, int], int]
"""Which of so many options a loose thing takes."""


def picks(moment: Moment, rng: random.Random) -> Iterator[Pick]:
    """Ways to lose power: all is lost, all is kept, only one thing is, all but one, any."""
    yield lambda _, count: 0
    yield lambda _, count: count - 1
    loose = moment.loose()
    for one in loose:
        for choice in range(len(moment.options(one))):
            yield lambda key, _, one=one, choice=choice: choice if key == one else 0  # type: ignore[misc]
            yield lambda key, count, one=one, choice=choice: (  # type: ignore[misc]
                choice if key == one else count - 1
            )
    for _ in loose:
        seed = rng.random()
        yield lambda key, count, seed=seed: random.Random(f"{seed} {key}").randrange(count)  # type: ignore[misc]


State = dict[str, tuple[int, Content]]
"""Each path with the number of its inode and what it holds."""


def left(moment: Moment, pick: Pick) -> State:
    """What is left of the folder."""
    found: State = {}

    def descend(number: int, prefix: str) -> None:
        for (folder, name), known in moment.names.items():
            if folder != number:
                continue
            child = known[pick((folder, name), len(known)) if len(known) > 1 else 0]
            if child is None:
                continue
            options = moment.options(child)
            content = options[pick(child, len(options)) if len(options) > 1 else 0]
            assert isinstance(content, Content)
            found[prefix + name] = (child, content)
            if content.data is None:
                descend(child, f"{prefix}{name}/")

    descend(ROOT, "")
    return found


def lay_out(folder: Path, state: State, database: dict[str, bytes]) -> None:
    """Make a folder what is left of it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    made: dict[int, Path] = {}
    for relative, (number, content) in sorted(state.items()):
        path = folder / relative
        if content.data is None:
            path.mkdir()
        elif number in made:
            os.link(made[number], path)
        else:
            path.write_bytes(content.data)
            os.utime(path, ns=(content.mtime_ns, content.mtime_ns))
            made[number] = path
    for name, data in database.items():
        (folder / name).write_bytes(data)
