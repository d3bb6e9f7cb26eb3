"""A folder as one archive, the same to the byte for the same files."""

from __future__ import annotations

import gzip
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, Literal, cast

import zstandard

ArchiveKind = Literal["tar", "tar.gz", "tar.zst", "zip"]
Progress = Callable[[int], None]

_SUFFIXES: dict[str, ArchiveKind] = {
    ".tar": "tar",
    ".tar.gz": "tar.gz",
    ".tgz": "tar.gz",
    ".tar.zst": "tar.zst",
    ".zip": "zip",
}
_CHUNK = 1 << 20
_EPOCH_OF_ZIP = (1980, 1, 1, 0, 0, 0)
_FILE_MODE = 0o644


def kind_by_name(name: str) -> ArchiveKind | None:
    """Which archive the suffix of a name asks for; None for a folder."""
    return next((kind for end, kind in _SUFFIXES.items() if name.lower().endswith(end)), None)


def write_archive(
    folder: Path, kind: ArchiveKind, target: BinaryIO, progress: Progress | None = None
) -> None:
    """Write all files below ``folder``, in order of their names; of times whole seconds."""
    if kind == "zip":
        _write_zip(folder, target, progress)
        return
    with (
        _packed(kind, target) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, path in _files(folder):
            status = path.stat()
            member = tarfile.TarInfo(name)
            member.size, member.mode = status.st_size, _FILE_MODE
            member.mtime = _time(name, path)
            with path.open("rb") as source:
                tar.addfile(member, _Watched(source, progress))


class _Watched:
    """A file that tells how much of it is read."""

    def __init__(self, source: BinaryIO, progress: Progress | None) -> None:
        self._source = source
        self._progress = progress

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        if self._progress:
            self._progress(len(data))
        return data


@contextmanager
def _packed(kind: ArchiveKind, target: BinaryIO) -> Iterator[IO[bytes]]:
    """The stream that takes a tar; ``target`` stays open."""
    if kind == "tar.gz":
        with gzip.GzipFile("", "wb", 6, target, mtime=0) as packed:
            yield cast(IO[bytes], packed)
    elif kind == "tar.zst":
        library = zstandard.ZstdCompressor(level=3, write_checksum=True)
        with library.stream_writer(target, closefd=False) as packed:
            yield packed
    else:
        yield target


def _write_zip(folder: Path, target: BinaryIO, progress: Progress | None) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, path in _files(folder):
            moment = time.gmtime(_time(name, path))[:6]
            member = zipfile.ZipInfo(name, max(moment, _EPOCH_OF_ZIP))
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = (0o100000 | _FILE_MODE) << 16
            member.create_system = 3
            with path.open("rb") as source, archive.open(member, "w", force_zip64=True) as out:
                while data := source.read(_CHUNK):
                    out.write(data)
                    if progress:
                        progress(len(data))


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    found = ((p.relative_to(folder).as_posix(), p) for p in folder.rglob("*") if p.is_file())
    return iter(sorted(found))


def _time(name: str, path: Path) -> int:
    """When a transcript was last written; what was made with the package has no time."""
    return int(path.stat().st_mtime) if name.startswith("sessions/") else 0
