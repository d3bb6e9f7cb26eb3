"""Damaged archives, and those that tell of themselves what is not so: one clear code each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from archives import (
    BLOCK,
    DATA,
    ROLLOUT,
    STEM,
    TAR_END,
    WRAPS,
    ZipEnd,
    Zipped,
    gz,
    header,
    member,
    padded,
    pax,
    tar,
    zip64,
    zipped,
    zst,
)
from hostile.arena import (
    DAMAGED,
    GOOD,
    GOOD_ZIP,
    NOISE,
    ONE,
    OTHER,
    UNSAFE,
    accepted,
    make_arena,
    refused,
)

arena = pytest.fixture(make_arena)


# Damage to tar

TAR_DAMAGE = {
    "cut in a member": GOOD[: 4 * BLOCK],
    "cut in a header": GOOD[: 2 * BLOCK + 100],
    "cut between members": GOOD[: 2 * BLOCK],
    "without its end mark": GOOD[: -len(TAR_END)],
    "broken header": GOOD[: 2 * BLOCK] + b"X" + GOOD[2 * BLOCK + 1 :],
    "garbage for a header": GOOD[: 2 * BLOCK] + bytes(range(256)) * 2 + GOOD[3 * BLOCK :],
    "negative size": tar(header(ROLLOUT, fields={124: b"\xff" * 11 + b"\x01"})),
    "size that is no number": tar(header(ROLLOUT, fields={124: b"0000000zz00\0"})),
    "size with a sign": tar(header(ROLLOUT, fields={124: b"-0000000001\0"})),
    "pax size that is no number": tar(pax(size="-1"), member(ROLLOUT)),
    "pax size of a thousand digits": tar(pax(size="1" * 1000), member(ROLLOUT)),
    "pax record too long": tar(header("x", 12, b"x") + padded(b"99 path=abc\n"), member(ROLLOUT)),
    "pax record too short": tar(header("x", 12, b"x") + padded(b"3 path=abcd\n"), member(ROLLOUT)),
    "pax record of length 0": tar(
        header("x", 12, b"x") + padded(b"0 path=abcd\n"), member(ROLLOUT)
    ),
    "pax record without a key": tar(header("x", 7, b"x") + padded(b"7 path\n"), member(ROLLOUT)),
    "extended header at the end": tar(member(ROLLOUT), pax(path="x")),
    "extended header cut": member(ROLLOUT) + header("x", 600, b"x") + bytes(512),
    "sparse map cut": member(ROLLOUT)
    + header("x", 0, b"S", magic=b"ustar  \0", fields={482: b"\1"}),
}


@pytest.mark.parametrize("data", TAR_DAMAGE.values(), ids=TAR_DAMAGE)
@pytest.mark.parametrize("kind", WRAPS)
def test_damaged_tar(kind: str, data: bytes, arena: Path) -> None:
    assert refused(arena, WRAPS[kind](data)).code == DAMAGED


@pytest.mark.parametrize("key", ["path", "size", "GNU.sparse.name"])
def test_one_name_or_size_for_all_members(key: str, arena: Path) -> None:
    glob = pax(b"g", **{key.replace(".", "__"): "1"})
    assert refused(arena, tar(glob, member(ROLLOUT))).code == UNSAFE
    assert len(accepted(arena, tar(pax(b"g", comment="1"), member(ROLLOUT))).files) == 1


@pytest.mark.parametrize("pack", [gz, zst], ids=["gzip", "zstd"])
def test_compressed_data_cut_anywhere(pack: Callable[[bytes], bytes], arena: Path) -> None:
    data = pack(GOOD)
    for length in range(20, len(data)):
        assert refused(arena, data[:length]).code in {DAMAGED, "package_unknown_format"}, length
    assert len(accepted(arena, data).files) == 2


@pytest.mark.parametrize("pack", [gz, zst], ids=["gzip", "zstd"])
def test_compressed_data_followed_by_garbage(pack: Callable[[bytes], bytes], arena: Path) -> None:
    assert refused(arena, pack(GOOD) + b"garbage, and more").code == DAMAGED


@pytest.mark.parametrize("at", [-8, -4, -1])
def test_bad_gzip_checksum(at: int, arena: Path) -> None:
    data = bytearray(gz(GOOD))
    data[at] ^= 1
    assert refused(arena, bytes(data)).code == DAMAGED


def test_bad_zstd_checksum(arena: Path) -> None:
    data = bytearray(zst(GOOD))
    data[-1] ^= 1
    assert refused(arena, bytes(data)).code == DAMAGED


def test_zstd_frame_that_needs_a_dictionary(arena: Path) -> None:
    dictionary = zstandard.ZstdCompressionDict(GOOD)
    data = zstandard.ZstdCompressor(dict_data=dictionary).compress(GOOD)
    assert refused(arena, data).code == DAMAGED


# Damage and lies in zip

ZIP_UNSAFE = {
    "local name differs": [Zipped(ROLLOUT, local_name=OTHER.encode())],
    "local name leads out": [Zipped(ROLLOUT, local_name=b"../../" + STEM.encode())],
    "local method differs": [Zipped(ROLLOUT, local_method=0)],
    "encrypted": [Zipped(ROLLOUT, flags=0x801)],
    "strongly encrypted": [Zipped(ROLLOUT, flags=0x841)],
    "masked headers": [Zipped(ROLLOUT, flags=0x2800)],
    "bzip2": [Zipped(ROLLOUT, method=12)],
    "lzma": [Zipped(ROLLOUT, method=14)],
    "zstd": [Zipped(ROLLOUT, method=93)],
    "unknown method": [Zipped(ROLLOUT, method=4711)],
    "one body for two": [ONE, Zipped(ROLLOUT + ".zst", DATA * 10, offset=0)],
    "one body, the other unwanted": [ONE, Zipped("README.md", offset=0)],
    "overlap": [Zipped(ROLLOUT, NOISE, packed_size=99_200, method=0, size=99_200), ONE],
}


@pytest.mark.parametrize("members", ZIP_UNSAFE.values(), ids=ZIP_UNSAFE)
def test_unsafe_zip(members: list[Zipped], arena: Path) -> None:
    assert refused(arena, zipped(*members)).code == UNSAFE


def test_quoted_overlap(arena: Path) -> None:
    """A stored member whose data begins with the next member's header, as in Fifield's bombs."""
    inner = Zipped(OTHER, DATA)
    outer = Zipped(ROLLOUT, inner.local(), method=0)
    at = len(outer.local()) - len(inner.local())
    whole = zipped(outer, Zipped(OTHER, DATA, offset=at))
    assert refused(arena, whole).code == UNSAFE


def test_local_numbers_that_differ(arena: Path) -> None:
    data = bytearray(zipped(ONE))
    data[14] ^= 1
    assert refused(arena, bytes(data)).code == UNSAFE


ZIP_DAMAGE = {
    "cut in a member": GOOD_ZIP[:100],
    "cut in the directory": GOOD_ZIP[:-60],
    "cut in the end record": GOOD_ZIP[:-1],
    "garbage after the end": GOOD_ZIP + b"garbage",
    "garbage in front of the directory": zipped(ONE, end=ZipEnd(offset=3)),
    "bad checksum": zipped(Zipped(ROLLOUT, DATA, crc=1)),
    "bad checksum of a stored": zipped(Zipped(ROLLOUT, DATA, crc=1, method=0)),
    "unpacks to more": zipped(Zipped(ROLLOUT, DATA * 10, size=10)),
    "unpacks to less": zipped(Zipped(ROLLOUT, DATA, size=1000)),
    "stored with two sizes": zipped(Zipped(ROLLOUT, DATA, size=1000, method=0)),
    "broken deflate": zipped(Zipped(ROLLOUT, packed=b"\xff" * 50)),
    "deflate cut": zipped(Zipped(ROLLOUT, NOISE, packed=Zipped(ROLLOUT, NOISE).body[:-5])),
    "too many entries stated": zipped(ONE, end=ZipEnd(count=2)),
    "too few entries stated": zipped(ONE, Zipped("x"), end=ZipEnd(count=1)),
    "member beyond the end": zipped(Zipped(ROLLOUT, offset=1 << 31)),
    "member elsewhere": zipped(Zipped(ROLLOUT, offset=5)),
    "one of several disks": zipped(ONE, end=ZipEnd(disk=1)),
    "zip64 numbers missing": zipped(Zipped(ROLLOUT, size=2**32 - 1)),
    "zip64 record elsewhere": zip64(ONE).replace(b"PK\x06\x06", b"PK\x06\x05"),
    "one zip behind another": zipped(Zipped(OTHER)) + zipped(ONE),
    "comment cut": zipped(ONE, end=ZipEnd(comment=b"hello"))[:-1],
    "directory said to be huge": zipped(ONE, end=ZipEnd(size=1 << 31)),
    "broken entry": GOOD_ZIP.replace(b"PK\x01\x02", b"PK\x01\x03"),
}


@pytest.mark.parametrize("data", ZIP_DAMAGE.values(), ids=ZIP_DAMAGE)
def test_damaged_zip(data: bytes, arena: Path) -> None:
    assert refused(arena, data).code == DAMAGED


def test_zip_cut_anywhere(arena: Path) -> None:
    for length in range(4, len(GOOD_ZIP), 5):
        assert refused(arena, GOOD_ZIP[:length]).code == DAMAGED, length


def test_unwanted_zip_members_are_not_opened(arena: Path) -> None:
    odd = [Zipped("a", flags=0x801), Zipped("b", method=99), Zipped("c", crc=1)]
    assert list(accepted(arena, zipped(*odd, ONE)).files) == [ROLLOUT]
