"""The changes that a transaction can make to a home, each with its inverse.

An operation is a value: it holds the state expected before it and all that undoing needs. Paths are
POSIX, relative to a named place (``home``, ``sync``), so that a moved home can still be mended.
``apply`` and ``undo`` are idempotent: both look at the present state first.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, ClassVar, Literal, Protocol

from ..codex.state_db import KEY, StateDb
from ..durable import append, name_too, place, safe_join, sync_folder, write_atomic
from ..errors import HomeError
from ..model import Json, Row

Place = Literal["home", "sync"]

_CHUNK = 1 << 20

HOME_CHANGED = "home_changed"
"""The code of the error that an operation raises where another program was at work."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where operations act: the roots of the named places, and the open database if there is one.

    ``staged`` is the transaction's own folder of files that wait to be put in place.
    """

    home: Path
    sync: Path
    staged: Path
    database: StateDb | None

    def resolve(self, where: Place, relative: str) -> Path:
        """The absolute path of a place's file; HomeError if it would leave the place."""
        return safe_join(self.home if where == "home" else self.sync, relative)


class Operation(Protocol):
    """One change of the home."""

    kind: ClassVar[str]

    def apply(self, site: Site) -> None:
        """Make the change; nothing to do if it is made. HomeError if the state is another."""

    def undo(self, site: Site) -> None:
        """Take the change back; nothing to do if it is not made. HomeError as above."""

    def touched(self, site: Site) -> Path | None:
        """The file whose durability the change needs."""


@dataclass(frozen=True, slots=True)
class MakeFolder:
    """A folder that was not there."""

    path: str
    kind: ClassVar[str] = "make_folder"

    def apply(self, site: Site) -> None:
        site.resolve("home", self.path).mkdir(exist_ok=True)

    def undo(self, site: Site) -> None:
        folder = site.resolve("home", self.path)
        try:
            folder.rmdir()
        except OSError:
            if folder.is_dir() and not any(folder.iterdir()):
                raise

    def touched(self, site: Site) -> Path | None:
        return site.resolve("home", self.path)


@dataclass(frozen=True, slots=True)
class CreateFile:
    """A file that was not there; ``staged`` names it in the transaction's folder until then."""

    path: str
    staged: str
    size: int
    sha256: str
    kind: ClassVar[str] = "create_file"

    def apply(self, site: Site) -> None:
        target = site.resolve("home", self.path)
        try:
            place(site.staged / self.staged, target)
        except FileNotFoundError:
            self._expect(target)
        except FileExistsError as error:
            raise _unexpected(self.path, "already exists") from error

    def undo(self, site: Site) -> None:
        waiting = site.staged / self.staged
        target = site.resolve("home", self.path)
        if self._placed(waiting, target):
            target.unlink()
        waiting.unlink(missing_ok=True)

    def withdraw(self, site: Site) -> None:
        """Take the file back to where it was staged, for another attempt."""
        target = site.resolve("home", self.path)
        waiting = site.staged / self.staged
        if not self._placed(waiting, target):
            return
        if waiting.exists():
            target.unlink()
        else:
            place(target, waiting)

    def touched(self, site: Site) -> Path | None:
        return site.resolve("home", self.path)

    def _placed(self, waiting: Path, target: Path) -> bool:
        """Whether ``target`` is the staged file, be it moved or only linked there so far.

        While the staged file waits, another file of that name is not ours. Raises HomeError.
        """
        if not target.exists():
            return False
        if waiting.exists():
            return waiting.samefile(target)
        self._expect(target)
        return True

    def _expect(self, target: Path) -> None:
        if not target.is_file() or target.stat().st_size != self.size:
            raise _unexpected(self.path, "is not as this transaction wrote it")
        with target.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != self.sha256:
                raise _unexpected(self.path, "is not as this transaction wrote it")


@dataclass(frozen=True, slots=True)
class AppendText:
    """Text added at the end of a file; ``size_before`` None: the file was not there."""

    path: str
    size_before: int | None
    text: str
    kind: ClassVar[str] = "append_text"

    def apply(self, site: Site) -> None:
        target = site.resolve("home", self.path)
        if not self._present(target):
            if _size(target) != self.size_before:
                raise _unexpected(self.path, "changed since the plan was made")
            append(target, self.text.encode())

    def undo(self, site: Site) -> None:
        target = site.resolve("home", self.path)
        size = _size(target)
        start = self.size_before or 0
        if size is None or size < start or size == self.size_before:
            return
        text = self.text.encode()
        with target.open("rb") as stream:
            stream.seek(start)
            written = stream.read(len(text) + 1)
        if not _cut_short(written, text[: len(written)]):
            raise _unexpected(self.path, "has been continued by another program")
        if self.size_before is None:
            target.unlink()
        else:
            os.truncate(target, start)

    def touched(self, site: Site) -> Path | None:
        return site.resolve("home", self.path)

    def _present(self, target: Path) -> bool:
        data = self.text.encode()
        size = _size(target)
        if size is None or size < (self.size_before or 0) + len(data):
            return False
        with target.open("rb") as stream:
            stream.seek(self.size_before or 0)
            return stream.read(len(data)) == data


@dataclass(frozen=True, slots=True)
class ExtendFile:
    """Bytes added at the end of a transcript; ``staged`` names them in the transaction's folder.

    ``size``, in bytes, and ``mtime_ns`` are the file's before; ``added`` and ``sha256`` describe
    what is added.
    """

    path: str
    staged: str
    size: int
    mtime_ns: int
    added: int
    sha256: str
    mtime_ns_after: int
    kind: ClassVar[str] = "extend_file"

    def apply(self, site: Site) -> None:
        target = site.resolve("home", self.path)
        if _size(target) != self.size:
            self._expect(target, site)
            os.truncate(target, self.size)
        with (site.staged / self.staged).open("rb") as source, target.open("ab") as stream:
            shutil.copyfileobj(source, stream, _CHUNK)
        os.utime(target, ns=(self.mtime_ns_after, self.mtime_ns_after))

    def undo(self, site: Site) -> None:
        target = site.resolve("home", self.path)
        if _size(target) != self.size:
            self._expect(target, site)
            os.truncate(target, self.size)
        os.utime(target, ns=(self.mtime_ns, self.mtime_ns))

    def touched(self, site: Site) -> Path | None:
        return site.resolve("home", self.path)

    def _expect(self, target: Path, site: Site) -> None:
        """Raise HomeError unless what lies behind the old end is ours, whole or cut short."""
        size = _size(target)
        if size is None or size < self.size:
            raise _unexpected(self.path, "is shorter than before this transaction")
        if size > self.size + self.added:
            raise _unexpected(self.path, "has been continued by another program")
        waiting = site.staged / self.staged
        with target.open("rb") as stream:
            stream.seek(self.size)
            if waiting.exists():
                ours = _begins_with(waiting, stream)
            else:
                ours = hashlib.file_digest(stream, "sha256").hexdigest() == self.sha256
        if not ours:
            raise _unexpected(self.path, "has been continued by another program")


@dataclass(frozen=True, slots=True)
class MoveFile:
    """A file that gets another place in the home; nothing may be there."""

    path: str
    new_path: str
    size: int
    kind: ClassVar[str] = "move_file"

    def apply(self, site: Site) -> None:
        self._move(site, self.path, self.new_path)

    def undo(self, site: Site) -> None:
        # A file that the same batch makes may not be there yet, or not any more.
        if any(site.resolve("home", path).exists() for path in (self.path, self.new_path)):
            self._move(site, self.new_path, self.path)

    def touched(self, site: Site) -> Path | None:
        return site.resolve("home", self.new_path)

    def _move(self, site: Site, old: str, new: str) -> None:
        source, target = site.resolve("home", old), site.resolve("home", new)
        if not source.exists() and target.exists():
            return
        try:
            # A move that was cut short left both names.
            both = source.exists() and target.exists() and source.samefile(target)
            both = both or name_too(source, target)
        except FileExistsError as error:
            raise _unexpected(new, "already exists") from error
        except FileNotFoundError as error:
            raise _unexpected(old, "is gone") from error
        # The new name, in folders that may be new themselves, is durable before the old one goes.
        for folder in PurePosixPath(new).parents:
            sync_folder(site.home / folder)
        if both:
            source.unlink()
        sync_folder(source.parent)


@dataclass(frozen=True, slots=True)
class PutRow:
    """A database row made or replaced; ``before`` None: there was none of this key."""

    table: str
    before: Row | None
    after: Row
    kind: ClassVar[str] = "put_row"

    def __post_init__(self) -> None:
        for row in (self.before, self.after):
            for column, value in (row or {}).items():
                if not _storable(value):
                    raise self._not_kept(f"cannot be {_shown(value)} in {column}")

    def apply(self, site: Site) -> None:
        self._replace(site, self.before, self.after)

    def undo(self, site: Site) -> None:
        self._replace(site, self.after, self.before)

    def touched(self, site: Site) -> Path | None:
        return None

    def _replace(self, site: Site, expected: Row | None, wanted: Row | None) -> None:
        database = site.database
        if database is None:
            raise _unexpected(self.table, "has lost its database")
        key = {column: self.after[column] for column in KEY[self.table]}
        present = self._present(database, key)
        if _agrees(present, wanted):
            return
        if not _agrees(present, expected):
            raise _unexpected(f"{self.table} {key}", "changed since the plan was made")
        if wanted is None:
            database.delete(self.table, key)
            return
        if present is None:
            database.insert(self.table, wanted)
        else:
            database.update(self.table, key, wanted)
        if not _agrees(self._present(database, key), wanted):
            # Codex's triggers fill in times, once: after a change, not after its repetition.
            database.update(self.table, key, wanted)
            kept = self._present(database, key) or {}
            altered = [column for column, value in wanted.items() if kept.get(column) != value]
            if altered:
                raise self._not_kept(f"is not kept by the database in {', '.join(altered)}")

    def _not_kept(self, how: str) -> HomeError:
        return HomeError(
            "row_not_kept",
            f"a row of {self.table} {how}",
            hint="what the package says of this session does not fit Codex's columns; report it",
        )

    def _present(self, database: StateDb, key: Row) -> Row | None:
        rows = database.rows(self.table, [str(self.after[KEY[self.table][0]])])
        return next((r for r in rows if all(r[c] == v for c, v in key.items())), None)


@dataclass(frozen=True, slots=True)
class PutDocument:
    """A document of our own, below ``session-sync/``, made or replaced as a whole."""

    path: str
    before: str | None
    after: str
    kind: ClassVar[str] = "put_document"

    def apply(self, site: Site) -> None:
        self._replace(site, self.before, self.after)

    def undo(self, site: Site) -> None:
        self._replace(site, self.after, self.before)

    def touched(self, site: Site) -> Path | None:
        return None

    def _replace(self, site: Site, expected: str | None, wanted: str | None) -> None:
        target = site.resolve("sync", self.path)
        present = _content(target)
        if present == _encoded(wanted):
            return
        if present != _encoded(expected):
            raise _unexpected(f"session-sync/{self.path}", "changed since the plan was made")
        if wanted is None:
            target.unlink()
            sync_folder(target.parent)
            return
        if not target.parent.is_dir():
            target.parent.mkdir()
            sync_folder(target.parent.parent)
        write_atomic(target, wanted.encode())


AnyOperation = MakeFolder | CreateFile | ExtendFile | MoveFile | AppendText | PutRow | PutDocument

KINDS: dict[str, Callable[..., AnyOperation]] = {
    cls.kind: cls
    for cls in (
        MakeFolder,
        CreateFile,
        ExtendFile,
        MoveFile,
        AppendText,
        PutRow,
        PutDocument,
    )
}


def to_json(operation: AnyOperation) -> Json:
    """An operation as it is journaled."""
    return {"kind": operation.kind, **asdict(operation)}


def from_json(document: Json) -> AnyOperation:
    """The operation that a journaled document (already schema-checked) describes."""
    return KINDS[document["kind"]](**{k: v for k, v in document.items() if k != "kind"})


def _begins_with(path: Path, stream: BinaryIO) -> bool:
    """Whether all that is left of ``stream`` is the beginning of a file, or was to be."""
    with path.open("rb") as whole:
        while chunk := stream.read(_CHUNK):
            if not _cut_short(chunk, whole.read(len(chunk))):
                return False
    return True


def _cut_short(found: bytes, ours: bytes) -> bool:
    """Whether bytes are ours, or zeros where a power loss kept ours from being written.

    No JSON holds a zero byte, so nothing of another program is taken for ours.
    """
    if found == ours:
        return True
    return len(found) == len(ours) and all(
        one in (0, other) for one, other in zip(found, ours, strict=True)
    )


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _encoded(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def _agrees(present: Row | None, wanted: Row | None) -> bool:
    """Whether a row is the wanted one in all columns that the wanted one states."""
    if present is None or wanted is None:
        return present is wanted
    return all(present.get(column) == value for column, value in wanted.items())


def _storable(value: object) -> bool:
    """Whether the journal and the database both hold a value as it is."""
    match value:
        case None | str():
            return True
        case bool():
            return False
        case int():
            return -(2**63) <= value < 2**63
        case float():
            return math.isfinite(value)
    return False


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _unexpected(what: str, happened: str) -> HomeError:
    return HomeError(
        HOME_CHANGED,
        f"{what} {happened}",
        hint="another program wrote to the home in the meantime; look at it, then sync again",
    )
