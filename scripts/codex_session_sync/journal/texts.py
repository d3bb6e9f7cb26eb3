"""Operations on texts: lines of Codex's index, and documents of our own."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..durable import append, sync_folder, write_atomic
from .site import Site, content_of, cut_short, opened, size_of, unexpected


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
            if size_of(target) != self.size_before:
                raise unexpected(self.path, "changed since the plan was made")
            append(target, self.text.encode())

    def undo(self, site: Site) -> None:
        target = site.resolve("home", self.path)
        size = size_of(target)
        start = self.size_before or 0
        if size is None or size < start or size == self.size_before:
            return
        text = self.text.encode()
        with opened(target) as stream:
            stream.seek(start)
            written = stream.read(len(text) + 1)
        if not cut_short(written, text[: len(written)]):
            raise unexpected(self.path, "has been continued by another program")
        if self.size_before is None:
            target.unlink()
        else:
            os.truncate(target, start)

    def touched(self, site: Site) -> Path | None:
        return site.resolve("home", self.path)

    def _present(self, target: Path) -> bool:
        data = self.text.encode()
        size = size_of(target)
        if size is None or size < (self.size_before or 0) + len(data):
            return False
        with opened(target) as stream:
            stream.seek(self.size_before or 0)
            return stream.read(len(data)) == data


@dataclass(frozen=True, slots=True)
class EditText:
    """A text in a file that takes the place of another, one of them empty; the rest stays.

    ``size_before`` and ``size_after`` are the file's, None: it is not there. ``tail_sha256`` is of
    what follows the text. What others append meanwhile stays as well.
    """

    path: str
    offset: int
    before: str
    after: str
    size_before: int | None
    size_after: int | None
    tail_sha256: str
    kind: ClassVar[str] = "edit_text"

    def apply(self, site: Site) -> None:
        self._replace(site, (self.before, self.size_before), (self.after, self.size_after))

    def undo(self, site: Site) -> None:
        self._replace(site, (self.after, self.size_after), (self.before, self.size_before))

    def touched(self, site: Site) -> Path | None:
        return site.resolve("home", self.path)

    def _replace(self, site: Site, expected: _State, wanted: _State) -> None:
        target = site.resolve("home", self.path)
        present = content_of(target)
        # Without the text the file begins as it does with it: the longer state is looked for first.
        longer = max(expected, wanted, key=lambda state: len(state[0]))
        if self._holds(present, longer):
            found = longer
        elif self._holds(present, expected if longer is wanted else wanted):
            found = expected if longer is wanted else wanted
        else:
            raise unexpected(self.path, "does not hold what it did")
        if found is expected:
            self._write(target, present or b"", expected[0].encode(), wanted)

    def _holds(self, present: bytes | None, state: _State) -> bool:
        text, size = state[0].encode(), state[1]
        if present is None or size is None:
            return present is None and size is None
        end = self.offset + len(text)
        return (
            len(present) >= size
            and present[self.offset : end] == text
            and hashlib.sha256(present[end:size]).hexdigest() == self.tail_sha256
        )

    def _write(self, target: Path, present: bytes, old: bytes, wanted: _State) -> None:
        rest = present[self.offset + len(old) :]
        whole = present[: self.offset] + wanted[0].encode() + rest
        if wanted[1] is None and not whole:
            target.unlink()
            sync_folder(target.parent)
        else:
            write_atomic(target, whole)


_State = tuple[str, int | None]
"""A text and the size of the file that holds it."""


@dataclass(frozen=True, slots=True)
class PutDocument:
    """A document of our own, below ``session-sync/``, made, replaced or removed as a whole."""

    path: str
    before: str | None
    after: str | None
    kind: ClassVar[str] = "put_document"

    def apply(self, site: Site) -> None:
        self._replace(site, self.before, self.after)

    def undo(self, site: Site) -> None:
        self._replace(site, self.after, self.before)

    def touched(self, site: Site) -> Path | None:
        return None

    def _replace(self, site: Site, expected: str | None, wanted: str | None) -> None:
        target = site.resolve("sync", self.path)
        present = content_of(target)
        if present == _encoded(wanted):
            return
        if present != _encoded(expected):
            raise unexpected(f"session-sync/{self.path}", "changed since the plan was made")
        if wanted is None:
            target.unlink()
            sync_folder(target.parent)
            return
        if not target.parent.is_dir():
            target.parent.mkdir()
            sync_folder(target.parent.parent)
        write_atomic(target, wanted.encode())


def _encoded(text: str | None) -> bytes | None:
    return None if text is None else text.encode()
