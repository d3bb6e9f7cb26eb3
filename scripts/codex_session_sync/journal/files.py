"""Operations on folders and transcripts."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, ClassVar

from ..durable import drop_name, name_too, place, sync_file, sync_folder
from .site import Site, cut_short, opened, size_of, unexpected

_CHUNK = 1 << 20


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
class RemoveFolder:
    """A folder that a transaction made and that nothing is left in; one that is used stays."""

    path: str
    kind: ClassVar[str] = "remove_folder"

    def apply(self, site: Site) -> None:
        MakeFolder(self.path).undo(site)

    def undo(self, site: Site) -> None:
        MakeFolder(self.path).apply(site)

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
            raise unexpected(self.path, "already exists") from error

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
            raise unexpected(self.path, "is not as this transaction wrote it")
        if _digest(target) != self.sha256:
            raise unexpected(self.path, "is not as this transaction wrote it")


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
        self._cut(target, site)
        with opened(site.staged / self.staged) as source, target.open("ab") as stream:
            shutil.copyfileobj(source, stream, _CHUNK)
        os.utime(target, ns=(self.mtime_ns_after, self.mtime_ns_after))

    def undo(self, site: Site) -> None:
        target = site.resolve("home", self.path)
        self._cut(target, site)
        os.utime(target, ns=(self.mtime_ns, self.mtime_ns))

    def touched(self, site: Site) -> Path | None:
        return site.resolve("home", self.path)

    def _cut(self, target: Path, site: Site) -> None:
        if size_of(target) != self.size:
            _expect_rest(
                self.path, target, site.staged / self.staged, (self.size, self.added, self.sha256)
            )
            os.truncate(target, self.size)


@dataclass(frozen=True, slots=True)
class CutFile:
    """Bytes taken from the end of a transcript; they are kept at ``kept``, a path in the home.

    ``size``, in bytes, is the file's after; ``removed`` and ``sha256`` describe what is taken,
    ``mtime_ns`` is the file's time before.
    """

    path: str
    kept: str
    size: int
    removed: int
    sha256: str
    mtime_ns: int
    mtime_ns_after: int
    kind: ClassVar[str] = "cut_file"

    def apply(self, site: Site) -> None:
        target, kept = site.resolve("home", self.path), site.resolve("home", self.kept)
        if size_of(target) != self.size:
            if size_of(target) != self.size + self.removed:
                raise unexpected(self.path, "is not as it was when this was planned")
            self._keep(target, kept)
            os.truncate(target, self.size)
        elif not self._is_kept(kept):
            raise unexpected(self.path, "has lost its end already")
        os.utime(target, ns=(self.mtime_ns_after, self.mtime_ns_after))

    def undo(self, site: Site) -> None:
        target, kept = site.resolve("home", self.path), site.resolve("home", self.kept)
        if self._is_kept(kept):
            if size_of(target) != self.size:
                _expect_rest(self.path, target, kept, (self.size, self.removed, self.sha256))
            if size_of(target) != self.size + self.removed:
                os.truncate(target, self.size)
                with opened(kept) as source, target.open("ab") as stream:
                    shutil.copyfileobj(source, stream, _CHUNK)
            os.utime(target, ns=(self.mtime_ns, self.mtime_ns))
            # They must not be lost in both places.
            sync_file(target)
        elif size_of(target) == self.size:
            raise unexpected(self.kept, "is gone")
        kept.unlink(missing_ok=True)

    def touched(self, site: Site) -> Path | None:
        return site.resolve("home", self.path)

    def _keep(self, target: Path, kept: Path) -> None:
        """Copy the end that is to be cut, durably. Raises HomeError if it is not the expected."""
        with opened(target) as source, kept.open("wb") as stream:
            source.seek(self.size)
            shutil.copyfileobj(source, stream, _CHUNK)
        if not self._is_kept(kept):
            kept.unlink()
            raise unexpected(self.path, "has been continued by another program")
        sync_file(kept)
        sync_folder(kept.parent)

    def _is_kept(self, kept: Path) -> bool:
        return size_of(kept) == self.removed and _digest(kept) == self.sha256


@dataclass(frozen=True, slots=True)
class MoveFile:
    """A file that gets another place in the home; nothing may be there.

    With ``sha256`` it is moved only if it holds that.
    """

    path: str
    new_path: str
    size: int
    sha256: str | None = None
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
            if not both:
                self._expect(source, old)
                both = name_too(source, target)
        except FileExistsError as error:
            raise unexpected(new, "already exists") from error
        except FileNotFoundError as error:
            raise unexpected(old, "is gone") from error
        # The new name, in folders that may be new themselves, is durable before the old one goes.
        for folder in PurePosixPath(new).parents:
            sync_folder(site.home / folder)
        if both:
            drop_name(source)
        sync_folder(source.parent)

    def _expect(self, source: Path, path: str) -> None:
        if self.sha256 is not None and source.exists() and _digest(source) != self.sha256:
            raise unexpected(path, "has been changed by another program")


def _expect_rest(path: str, target: Path, source: Path, rest: tuple[int, int, str]) -> None:
    """Raise HomeError unless what lies behind a file's old end is ours, whole or cut short.

    ``rest`` is that old size, the length and the SHA-256 of what is ours; ``source`` holds it,
    where it is still there.
    """
    start, length, sha256 = rest
    size = size_of(target)
    if size is None or size < start:
        raise unexpected(path, "is shorter than before this transaction")
    if size > start + length:
        raise unexpected(path, "has been continued by another program")
    with opened(target) as stream:
        stream.seek(start)
        if source.exists():
            ours = _begins_with(source, stream)
        else:
            ours = hashlib.file_digest(stream, "sha256").hexdigest() == sha256
    if not ours:
        raise unexpected(path, "has been continued by another program")


def _begins_with(path: Path, stream: BinaryIO) -> bool:
    """Whether all that is left of ``stream`` is the beginning of a file, or was to be."""
    with opened(path) as whole:
        while chunk := stream.read(_CHUNK):
            if not cut_short(chunk, whole.read(len(chunk))):
                return False
    return True


def _digest(path: Path) -> str:
    with opened(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
