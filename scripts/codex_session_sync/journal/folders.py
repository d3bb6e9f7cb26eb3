"""Operations on whole folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..durable import sync_folder
from ..trees import digest_of
from .site import Site, unexpected


@dataclass(frozen=True, slots=True)
class MoveFolder:
    """A folder, with all that is in it, that gets another place in the home; nothing may be there.

    ``sha256`` is its digest (see trees): it is moved, and moved back, only if it holds that.
    """

    path: str
    new_path: str
    sha256: str
    kind: ClassVar[str] = "move_folder"

    def apply(self, site: Site) -> None:
        self._move(site, self.path, self.new_path)

    def undo(self, site: Site) -> None:
        # Of a folder that is still where it was, nothing was moved: what is at its new place is
        # another. One that is at neither was staged, and is gone already.
        if not _there(site, self.path) and _there(site, self.new_path):
            self._move(site, self.new_path, self.path)

    def touched(self, site: Site) -> Path | None:
        # Both places are made durable as it is moved.
        return None

    def _move(self, site: Site, old: str, new: str) -> None:
        source, target = site.resolve("home", old), site.resolve("home", new)
        if not _there(site, old) and _there(site, new):
            self._expect(target, new)
            return
        if _there(site, new):
            raise unexpected(new, "already exists")
        if not source.is_dir():
            raise unexpected(old, "is gone")
        self._expect(source, old)
        source.rename(target)
        sync_folder(target.parent)
        sync_folder(source.parent)

    def _expect(self, folder: Path, path: str) -> None:
        if not folder.is_dir() or digest_of(folder) != self.sha256:
            raise unexpected(path, "has been changed by another program")


def _there(site: Site, path: str) -> bool:
    place = site.resolve("home", path)
    return place.exists() or place.is_symlink()
