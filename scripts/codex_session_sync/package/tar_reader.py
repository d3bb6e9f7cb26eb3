"""Tar archives, by the standard library's reader with the checks that it leaves out.

That reader takes a broken header for the end of the archive, passes over broken pax records, and
reads headers of any size into memory. A package must lose no sessions, and fill no memory, that
way. The hooks used are documented: ``TarInfo.frombuf``, and the file object that is read from.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator

from ..errors import PackageError
from .members import Kind, not_a_package, unsafe
from .sieve import Sieve
from .staging import Staging
from .streams import CHUNK, damaged, reading

_HEADERS = 16
_HEADER_BYTES = 1 << 20
"""Most headers, and bytes of headers and sparse maps, in front of one member's data."""

_GNU_MAGIC = b"ustar  \0"
_KINDS = {
    tarfile.LNKTYPE: Kind.HARDLINK,
    tarfile.SYMTYPE: Kind.SYMLINK,
    tarfile.CHRTYPE: Kind.DEVICE,
    tarfile.BLKTYPE: Kind.DEVICE,
    tarfile.DIRTYPE: Kind.FOLDER,
    b"D": Kind.FOLDER,
    tarfile.FIFOTYPE: Kind.FIFO,
}
_PAX = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_RECORD = re.compile(rb"(\d{1,20}) ([^=]+)=")
_SIZE = re.compile(rb"\d{1,20}")
_DIGITS = re.compile(rb"(?<!\d)\d{1000}")
_END = 1 << 62


def is_tar(head: bytes) -> bool:
    """Whether a file that begins so is a tar; ``head`` is its first 512 bytes."""
    if head[257:262] == b"ustar":
        return True
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def unpack_tar(pieces: Iterator[bytes], sieve: Sieve, staging: Staging) -> None:
    """Stage the wanted members of the tar that ``pieces`` make up.

    Raises PackageError: ``package_unknown_format`` if it does not begin as tar does,
    ``package_damaged`` for broken or missing parts, ``package_unsafe`` for what abuses the format,
    ``package_not_staged``.
    """
    for archive, info in _members(_Source(pieces)):
        name = sieve.admit(info.name, _kind(info), info.size)
        if name is not None:
            # The library keeps times as floating-point numbers, which are exact to microseconds.
            mtime_ns = round(info.mtime * 10**6) * 1000 if 0 <= info.mtime < 1 << 33 else 0
            staging.add(name, mtime_ns, _data(archive, info))


def _members(source: _Source) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    with reading():
        archive = tarfile.TarFile(fileobj=source, tarinfo=_checked(source), encoding="utf-8")
        while (info := archive.next()) is not None:
            # It would remember every member, and every global header for all that follow.
            archive.members = []  # type: ignore[attr-defined]
            archive.pax_headers = {}
            source.headers, source.allowance = 0, _END
            yield archive, info
            source.allowance = _HEADER_BYTES
        if not source.ended:
            raise damaged("a tar header is broken")
        # What is compressed is read to its end, so that all its checksums are compared.
        source.seek(_END)


def _data(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Iterator[bytes]:
    with reading():
        stream = archive.extractfile(info)
        while stream and (piece := stream.read(CHUNK)):
            yield piece


def _kind(info: tarfile.TarInfo) -> Kind:
    if info.issparse() or any(key.startswith("GNU.sparse.") for key in info.pax_headers):
        return Kind.SPARSE
    if info.isreg():
        return Kind.FOLDER if info.name.endswith("/") else Kind.FILE
    return _KINDS.get(info.type, Kind.OTHER)


class _Source(io.RawIOBase):
    """What the library reads from: all that it asks for or an error, and no more than is due.

    ``ended`` tells whether the end mark has been met; ``headers`` and ``allowance`` count the
    headers of a member and the bytes left for them; ``pax`` is the type and size of the pax header
    that is read next.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self.ended = False
        self.headers = 0
        self.allowance = _HEADER_BYTES
        self.pax: tuple[bytes, int] | None = None
        self._pieces = pieces
        self._piece = memoryview(b"")
        self._position = 0

    def tell(self) -> int:
        """How many bytes have been read or passed over."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Pass over what comes before ``offset``, or over all if there is less; tells the place."""
        while self._position < offset and self._take(offset - self._position):
            pass
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Exactly ``size`` bytes; raises PackageError."""
        self.allowance -= size
        if self.allowance < 0:
            what = f"the archive has headers of over {_HEADER_BYTES} bytes for one member"
            hint = "do not import it; ask its sender for a new package"
            raise PackageError("package_unsafe", what, hint=hint)
        first = self._position == 0
        parts = []
        left = size
        while left and (part := self._take(left)):
            parts.append(part)
            left -= len(part)
        data = b"".join(parts)
        if first and any(data) and not is_tar(data):
            raise not_a_package("what is compressed in it is no tar archive")
        if left:
            raise damaged("it ends before the tar end mark")
        if self.pax:
            _check_pax(self.pax[0], data[: self.pax[1]])
            self.pax = None
        return data

    def _take(self, count: int) -> memoryview:
        """Up to ``count`` bytes; none at the end."""
        while not self._piece and (piece := next(self._pieces, None)) is not None:
            self._piece = memoryview(piece)
        taken, self._piece = self._piece[:count], self._piece[count:]
        self._position += len(taken)
        return taken


def _checked(source: _Source) -> type[tarfile.TarInfo]:
    """The class of the members that the library makes out of ``source``."""

    class Checked(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Checked:
            source.ended = not any(buf)
            info = super().frombuf(buf, encoding, errors)
            source.headers += 1
            if info.size < 0 or source.headers > _HEADERS:
                raise damaged("a member has a negative size, or too many extended headers")
            if info.type in _PAX:
                source.pax = (info.type, info.size)
            if buf[257:265] == _GNU_MAGIC:
                # GNU tar may keep times where the library looks for the beginning of the name.
                info.name = bytes(buf[:100]).partition(b"\0")[0].decode(encoding, errors)
            return info

    return Checked


def _check_pax(kind: bytes, data: bytes) -> None:
    """Raise PackageError if pax records ``length key=value newline`` are not just that."""
    # Versions before 3.11.10 of the library take quadratic time over long runs of digits.
    broken = damaged("an extended header is broken")
    if _DIGITS.search(data):
        raise broken
    at = 0
    while at < len(data):
        match = _RECORD.match(data, at)
        end = at + int(match[1]) if match else 0
        if not match or not match.end() < end <= len(data) or data[end - 1] != ord("\n"):
            raise broken
        key, value = match[2], data[match.end() : end - 1]
        if key == b"size" and not _SIZE.fullmatch(value):
            raise broken
        if kind == tarfile.XGLTYPE and (key in {b"path", b"size"} or key.startswith(b"GNU.sparse")):
            # It has no honest use, and readers differ over it.
            raise unsafe(key.decode("utf-8", "replace"), "is set for all members at once")
        at = end
