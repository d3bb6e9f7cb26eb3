"""Zip archives, by the standard library's reader with the checks that it leaves out.

That reader believes the central directory; here every wanted member's local header has to agree
with it, and no two members may share bytes. Format: APPNOTE.TXT 6.3.
"""

from __future__ import annotations

import io
import os
import struct
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress

from ..errors import PackageError
from .members import Kind, Limits, kind_of_mode, raising, unsafe
from .sieve import Sieve
from .staging import Staging
from .streams import CHUNK, Tap, check_expansion, damaged, reading

_LOCAL = struct.Struct("<4s5H3I2H")
_END = struct.Struct("<4s4H2IH")
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_STREAMED = 0x8
_UTF8 = 0x800
_DOS_FOLDER = 0x10
_U16, _U32 = 0xFFFF, 0xFFFFFFFF


def unpack_zip(tap: Tap, sieve: Sieve, staging: Staging, limits: Limits) -> None:
    """Stage the wanted members, in the order in which they lie in the file; ``tap`` is closed then.

    Raises PackageError: ``package_damaged``, ``package_unsafe``, ``package_not_staged``.
    """
    with _File(tap, limits) as file:
        _unpack(file, tap, sieve, staging, limits)


def _unpack(file: _File, tap: Tap, sieve: Sieve, staging: Staging, limits: Limits) -> None:
    progress, tap.progress = tap.progress, None
    with reading():
        archive = zipfile.ZipFile(file)
        infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
        _check_end(archive, file, infos)
    names = [sieve.admit(_name(info), _kind(info), info.file_size) for info in infos]
    ends = [*(info.header_offset for info in infos[1:]), archive.start_dir]
    tap.progress, tap.taken = progress, 0
    given = taken = 0
    for name, info, end in zip(names, infos, ends, strict=False):
        if name is None:
            continue
        _check_readable(info)
        with reading():
            _check_local(file, info, end)
        taken += info.compress_size
        size = staging.add(name, _mtime_ns(info), _data(archive, info, (given, taken), limits))
        if size != info.file_size:
            raise damaged("a member does not have the size that is stated")
        given += size


class _File(io.BufferedReader):
    """The file as the library reads it: never a huge piece at once.

    Of the directory the library makes objects of all entries at once.
    """

    def __init__(self, tap: Tap, limits: Limits) -> None:
        super().__init__(tap, CHUNK // 8)
        self._most = max(limits.directory_bytes, CHUNK)

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to ``size`` bytes; raises PackageError (``package_unsafe``)."""
        if size and size > self._most:
            raise PackageError(
                "package_unsafe",
                f"the zip directory is over {self._most} bytes large",
                hint="pack again without what is not of Codex, or as tar.zst; if you trust its "
                f"sender, {raising('directory_bytes')}",
            )
        return super().read(size)


def _check_end(archive: zipfile.ZipFile, file: _File, infos: list[zipfile.ZipInfo]) -> None:
    """Check that the directory is the whole file's: nothing cut, in front, behind, or uncounted."""
    file.seek(-_END.size - len(archive.comment), os.SEEK_END)
    magic, disk, start_disk, _, count, _, _, comment = _END.unpack(file.read(_END.size))
    if magic != b"PK\x05\x06" or comment != len(archive.comment):
        raise damaged("it is cut, or something follows it")
    if {disk, start_disk} - {0, _U16}:
        raise damaged("it is one part of several")
    # Above 65535 the number is elsewhere, or wraps around.
    if count not in {len(infos) & _U16, _U16}:
        raise damaged("its zip directory has not as many entries as it says")
    if infos and infos[0].header_offset != 0:
        raise damaged("its members are not where the zip directory says")


def _check_readable(info: zipfile.ZipInfo) -> None:
    if info.flag_bits & _ENCRYPTED:
        raise unsafe(_name(info), "is encrypted", "pack again without a password")
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        what = f"is compressed by a method that is not read (number {info.compress_type})"
        raise unsafe(_name(info), what, "pack again with plain zip (deflate), or as tar.zst")


def _check_local(file: _File, info: zipfile.ZipInfo, end: int) -> None:
    """Compare with the local header what the library does not; ``end`` is where others begin."""
    file.seek(info.header_offset)
    magic, _, flags, method, _, _, crc, packed, size, name, extra = _LOCAL.unpack(
        file.read(_LOCAL.size)
    )
    if magic != b"PK\x03\x04":
        raise damaged("a member is not where the zip directory says")
    same = method == info.compress_type and not flags & _ENCRYPTED
    if not flags & _STREAMED:
        same = same and crc == info.CRC and size in {info.file_size, _U32}
        same = same and packed in {info.compress_size, _U32}
    if not same:
        raise unsafe(_name(info), "is not what the zip directory says it is")
    if info.header_offset + _LOCAL.size + name + extra + info.compress_size > end:
        raise unsafe(_name(info), "overlaps another member")


def _data(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, before: tuple[int, int], limits: Limits
) -> Iterator[bytes]:
    """Yield a member's data; ``before`` is what was given, and taken with it, by all up to it."""
    given, taken = before
    with reading():
        try:
            stream = archive.open(info)
        except (zipfile.BadZipFile, ValueError) as error:
            # Its place is known to be right: the names differ.
            raise unsafe(_name(info), "is not what the zip directory says it is") from error
        while piece := stream.read(CHUNK):
            given += len(piece)
            check_expansion(given, taken, limits)
            yield piece


def _name(info: zipfile.ZipInfo) -> str:
    """The name with all its characters; several tools write UTF-8 without saying so."""
    if not info.flag_bits & _UTF8:
        with suppress(UnicodeError):
            return info.orig_filename.encode("cp437").decode()
    return info.orig_filename


def _kind(info: zipfile.ZipInfo) -> Kind:
    if _name(info).endswith(("/", "\\")):
        return Kind.FOLDER
    mode = info.external_attr >> 16
    if mode & 0o170000:
        return kind_of_mode(mode)
    return Kind.FOLDER if info.external_attr & _DOS_FOLDER else Kind.FILE


def _mtime_ns(info: zipfile.ZipInfo) -> int:
    """The stored time: the UTC one where there is one, else the local one of two-second steps."""
    extra = info.extra
    while len(extra) >= 9:
        tag, length = struct.unpack_from("<2H", extra)
        if tag == 0x5455 and extra[4] & 1:
            return max(0, int.from_bytes(extra[5:9], "little", signed=True)) * 10**9
        extra = extra[4 + length :]
    with suppress(OverflowError, ValueError):
        return max(0, int(time.mktime((*info.date_time, 0, 0, -1)))) * 10**9
    return 0
