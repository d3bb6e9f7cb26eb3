"""Writing a native package, part by part, into a file that can be cut back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import BinaryIO

import orjson

from ..model import Json
from .native_format import Part, compressor, pack_header, pack_trailer

MANIFEST = "manifest"
PART_KEYS = sorted(one.name for one in fields(Part))


@dataclass(slots=True)
class NativeWriter:
    """A package under construction in ``target``, which is empty, seekable and read by nobody."""

    target: BinaryIO
    parts: dict[str, Part] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.target.write(pack_header())

    def add(self, name: str, size: int, pieces: Iterable[bytes]) -> Part:
        """Write a part that holds ``pieces``, ``size`` bytes in all; its digests are in the result.

        Where ``pieces`` raises, the file is as before. Raises ValueError if the size is another.
        """
        start = self.target.tell()
        try:
            part = self._frame(name, size, pieces)
        except BaseException:
            self._cut_back(start)
            raise
        self.parts[name] = part
        return part

    def drop(self, names: Iterable[str]) -> None:
        """Take back the parts that were added last."""
        gone = [self.parts.pop(name) for name in names]
        if gone:
            self._cut_back(min(part.offset for part in gone))

    def finish(self, head: Json, sessions: Callable[[], Iterable[bytes]]) -> None:
        """Write the manifest and the trailer.

        ``head`` is the manifest without its lists; ``sessions`` gives the text of one of them, the
        same each time.
        """
        lists = {"parts": self._parts, "sessions": sessions}
        size = sum(map(len, _text(head, lists)))
        self.target.write(pack_trailer(self._frame(MANIFEST, size, _text(head, lists))))

    def _parts(self) -> Iterator[bytes]:
        """The text of the list of parts, separated by commas."""
        for number, part in enumerate(self.parts.values()):
            text = orjson.dumps({key: getattr(part, key) for key in PART_KEYS})
            yield b"," + text if number else text

    def _frame(self, name: str, size: int, pieces: Iterable[bytes]) -> Part:
        start = self.target.tell()
        frame = compressor().compressobj(size=size)
        stored, content = hashlib.sha256(), hashlib.sha256()
        taken = length = 0
        for piece in pieces:
            taken += len(piece)
            if taken > size:
                break
            content.update(piece)
            length += self._write(frame.compress(piece), stored)
        if taken != size:
            raise ValueError(f"part {name} has another size than was told")
        length += self._write(frame.flush(), stored)
        return Part(name, start, length, stored.hexdigest(), size, content.hexdigest())

    def _write(self, data: bytes, digest: hashlib._Hash) -> int:
        self.target.write(data)
        digest.update(data)
        return len(data)

    def _cut_back(self, place: int) -> None:
        self.target.seek(place)
        self.target.truncate()


def _text(head: Json, lists: Mapping[str, Callable[[], Iterable[bytes]]]) -> Iterator[bytes]:
    """A JSON object in pieces, its keys sorted; ``lists`` gives the text of what is in some."""
    start = b"{"
    for key in sorted((*head, *lists)):
        yield start + orjson.dumps(key) + b":"
        start = b","
        if key in lists:
            yield b"["
            yield from lists[key]()
            yield b"]"
        else:
            yield orjson.dumps(head[key], option=orjson.OPT_SORT_KEYS)
    yield b"}"
