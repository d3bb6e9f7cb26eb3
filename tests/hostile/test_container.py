"""Hostile and damaged packages: one clear code each, nothing left, nothing outside touched."""

from __future__ import annotations

import io
import os
import random
import socket
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import archives
from archives import (
    BLOCK,
    DATA,
    ROLLOUT,
    STEM,
    TAR_END,
    WRAPS,
    ZipEnd,
    Zipped,
    fill,
    gz,
    header,
    member,
    padded,
    pax,
    tar,
    tar_of,
    zip64,
    zipped,
    zst,
)
from codex_session_sync.errors import ExitCode, PackageError
from codex_session_sync.package.container import Limits, PackageTree, is_wanted, open_tree

MANIFEST = "package_manifest.json"
OTHER = ROLLOUT.replace("9837", "9838")
UNSAFE, DAMAGED = "package_unsafe", "package_damaged"


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Path]:
    """Room for a package; whatever is done with it, staging ends empty and the rest unchanged."""
    for folder in ("staging", "package"):
        (tmp_path / folder).mkdir()
    outside = fill(tmp_path / "outside", {"secret": b"secret", f"sessions/{STEM}.jsonl": DATA})
    before = _everything(outside)
    yield tmp_path
    assert list((tmp_path / "staging").iterdir()) == []
    assert _everything(outside) == before
    assert {path.name for path in tmp_path.iterdir()} == {"staging", "package", "outside"}


def _everything(root: Path) -> list[tuple[Path, bytes, int]]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return [(path, path.read_bytes(), path.stat().st_mtime_ns) for path in files]


def refused(arena: Path, data: bytes | None = None, limits: Limits | None = None) -> PackageError:
    """The error on the archive ``data``, or on the directory that the test has filled."""
    source = arena / "package"
    if data is not None:
        source = source / "package.bin"
        source.write_bytes(data)
    with (
        pytest.raises(PackageError) as caught,
        open_tree(source, limits=limits or Limits(), staging=arena / "staging"),
    ):
        pass
    error = caught.value
    assert error.exit_code is ExitCode.PACKAGE
    assert error.hint
    assert error.message.isprintable()
    assert len(error.message) < 400
    return error


def accepted(arena: Path, data: bytes | None = None, limits: Limits | None = None) -> PackageTree:
    """The tree; its staged files are gone."""
    source = arena / "package"
    if data is not None:
        source = source / "package.bin"
        source.write_bytes(data)
    with open_tree(source, limits=limits or Limits(), staging=arena / "staging") as tree:
        for name in tree.files:
            tree.open(name).close()
    return tree


# Names that lead astray, wanted or not

BAD_NAMES = {
    "absolute": "/etc/passwd",
    "absolute wanted": f"/{ROLLOUT}",
    "absolute twice": f"//{ROLLOUT}",
    "parent": "../evil.txt",
    "parent wanted": f"../{ROLLOUT}",
    "parent inside": f"sessions/../../{STEM}.jsonl",
    "parent that stays inside": f"a/../{ROLLOUT}",
    "parent at the end": "skills/..",
    "parent by blanks": f".. /{ROLLOUT}",
    "parent by dots": f".../{ROLLOUT}",
    "backslash parent": f"..\\..\\{STEM}.jsonl",
    "backslash parent unwanted": "a\\..\\..\\b",
    "backslash absolute": f"\\{STEM}.jsonl",
    "network share": f"\\\\server\\share\\{STEM}.jsonl",
    "drive": f"C:\\{STEM}.jsonl",
    "drive unwanted": "C:evil.txt",
    "drive with slash": f"c:/{ROLLOUT}",
    "newline": f"a\n/{ROLLOUT}",
    "escape sequence": "\x1b[2J.txt",
    "delete": "a\x7f",
    "C1 control": "a\x9b2J",
}


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
@pytest.mark.parametrize("kind", [*WRAPS, "zip"])
def test_names_that_lead_astray(kind: str, name: str, arena: Path) -> None:
    if kind == "zip":
        data = zipped(Zipped(ROLLOUT), Zipped(name))
    else:
        data = WRAPS[kind](tar(member(ROLLOUT), member(name)))
    error = refused(arena, data)
    assert error.code == UNSAFE
    assert error.message.startswith(("'", '"'))


@pytest.mark.parametrize("kind", [b"5", b"2", b"1", b"6", b"L"])
@pytest.mark.parametrize("name", ["../x", "/x", "C:\\x"])
def test_names_of_members_that_hold_nothing(kind: bytes, name: str, arena: Path) -> None:
    bad = header(name, 0, kind, link="y")
    if kind == b"L":
        bad = header("././@LongLink", len(name), b"L") + padded(name.encode()) + member("short")
    assert refused(arena, tar(member(ROLLOUT), bad)).code == UNSAFE


def test_nul_in_a_pax_name(arena: Path) -> None:
    assert refused(arena, tar(pax(path=b"a\0/" + ROLLOUT.encode()), member("x"))).code == UNSAFE


def test_nul_in_a_zip_name(arena: Path) -> None:
    assert refused(arena, zipped(Zipped(ROLLOUT + "\0.txt"))).code == UNSAFE


def test_pax_name_wins_over_a_harmless_one(arena: Path) -> None:
    assert refused(arena, tar(pax(path="../" + STEM + ".jsonl"), member(ROLLOUT))).code == UNSAFE


def test_message_neither_repeats_controls_nor_floods(arena: Path) -> None:
    error = refused(arena, tar(member("\x1b]0;owned\x07\u202e" + "x" * 3000)))
    assert "\\x1b" in error.message
    assert "\\u202e" in error.message


def test_no_name_at_all(arena: Path) -> None:
    assert refused(arena, tar(member("./"), member("", b"x"))).code == UNSAFE


@pytest.mark.parametrize(
    "name",
    [
        f"a/x:y/{STEM}.jsonl",
        f"a/D:/{ROLLOUT}",
        f"{'x' * 256}/{ROLLOUT}",
        f"{'é' * 128}/{ROLLOUT}",
        f"\udcff/{ROLLOUT}",
    ],
)
def test_wanted_names_that_a_file_system_may_not_take(name: str, arena: Path) -> None:
    assert refused(arena, tar(member(name))).code == UNSAFE


def test_unwanted_names_may_be_odd(arena: Path) -> None:
    odd = [member(name) for name in ("\udcff.bin", "x" * 300, "a b ", "COM1", "ab:c/d")]
    assert list(accepted(arena, tar(*odd, member(ROLLOUT))).files) == [ROLLOUT]


# Members that are not regular files

KINDS = {"hard link": b"1", "symbolic link": b"2", "device": b"3", "block": b"4", "pipe": b"6"}
WANTED = [ROLLOUT, "metadata/threads.jsonl", MANIFEST, "state_5.sqlite", "history.jsonl"]


@pytest.mark.parametrize("name", WANTED)
@pytest.mark.parametrize("kind", [*KINDS.values(), b"Z"], ids=[*KINDS, "unknown"])
def test_tar_members_that_are_no_files(kind: bytes, name: str, arena: Path) -> None:
    data = tar(member(OTHER), header(name, 0, kind, link="/etc/passwd"))
    error = refused(arena, data)
    assert error.code == UNSAFE
    assert name in error.message


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_unwanted_links_and_devices_are_passed_over(kind: bytes, arena: Path) -> None:
    tree = accepted(arena, tar(member(ROLLOUT), header("tmp/x", 0, kind, link="/etc/passwd")))
    assert tree.ignored == 1


@pytest.mark.parametrize("mode", [0o120777, 0o020644, 0o060644, 0o010644, 0o140644])
def test_zip_members_that_are_no_files(mode: int, arena: Path) -> None:
    assert refused(arena, zipped(Zipped(ROLLOUT, b"/etc/passwd", mode=mode))).code == UNSAFE
    data = zipped(Zipped(ROLLOUT), Zipped("tmp/x", mode=mode))
    assert accepted(arena, data).ignored == 1


def test_sparse_members(arena: Path) -> None:
    old = header(ROLLOUT, 0, b"S", magic=b"ustar  \0", fields={483: b"77777777777\0"})
    assert refused(arena, tar(old)).code == UNSAFE
    new = pax(GNU__sparse__major="1", GNU__sparse__minor="0", GNU__sparse__name=ROLLOUT)
    sparse_map = b"1\n0\n24\n"
    assert refused(arena, tar(new, member("x", padded(sparse_map) + DATA))).code == UNSAFE


@pytest.mark.parametrize("base", ["sessions", "archived_sessions", "sessions/2026", "a/sessions"])
def test_links_that_hide_sessions(base: str, arena: Path) -> None:
    data = tar(member(f"x/{ROLLOUT}"), header(base, 0, b"2", link="../outside/sessions"))
    error = refused(arena, data)
    assert error.code == UNSAFE
    assert "symbolic link" in error.message


@pytest.mark.parametrize("base", ["metadata", "skeleton", "skills", "skills/a", "skills/a/b.md"])
@pytest.mark.parametrize("order", [1, -1])
def test_links_of_a_package_that_says_it_is_one(base: str, order: int, arena: Path) -> None:
    members = [
        member(ROLLOUT),
        header(base, 0, b"2", link="/outside"),
        member("config.toml"),
        member(MANIFEST),
    ][::order]
    assert refused(arena, tar(*members)).code == UNSAFE


def test_unpacking_through_a_link_does_not_happen(arena: Path) -> None:
    link = header("way", 0, b"2", link=str(arena / "outside"))
    tree = accepted(arena, tar(link, member(f"way/{ROLLOUT}", b"evil")))
    assert list(tree.files) == [f"way/{ROLLOUT}"]


def test_directory_with_a_wanted_name_is_only_a_directory(arena: Path) -> None:
    data = tar(header(f"{ROLLOUT}/", 0, b"5"), member(f"{ROLLOUT}/threads.jsonl"))
    assert list(accepted(arena, data).files) == [f"{ROLLOUT}/threads.jsonl"]


# Doubles

COMPOSED = unicodedata.normalize("NFC", "skills/é.md")
DOUBLES = {
    "equal": (ROLLOUT, ROLLOUT),
    "equal after ./": (ROLLOUT, f"./{ROLLOUT}"),
    "equal after slashes": (ROLLOUT, ROLLOUT.replace("/", "//")),
    "equal after backslashes": (ROLLOUT, ROLLOUT.replace("/", "\\")),
    "case": (ROLLOUT, ROLLOUT.replace("01a1fd25", "01A1FD25")),
    "case of a folder": (ROLLOUT, ROLLOUT.replace("sessions", "Sessions")),
    "case of an unwanted": (ROLLOUT, ROLLOUT.replace("rollout", "ROLLOUT")),
    "case of the manifest": (MANIFEST, MANIFEST.upper()),
    "kelvin sign": ("skills/k.md", "skills/\u212a.md"),
    "kelvin sign in a folder": ("skills/a.md", "s\u212aills/a.md"),
    "sharp s": ("skills/straße.md", "skills/STRASSE.md"),
    "normal form": (COMPOSED, unicodedata.normalize("NFD", COMPOSED)),
    "file and folder": ("skills/a", "skills/a/b.md"),
    "file and folder deeper": ("skills/a", "skills/A/b/c/d.md"),
}


@pytest.mark.parametrize("pair", DOUBLES.values(), ids=DOUBLES)
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_doubles(kind: str, pair: tuple[str, str], order: int, arena: Path) -> None:
    names = [*pair[::order], *([] if MANIFEST in pair else [MANIFEST])]
    if kind == "zip":
        data = zipped(*[Zipped(name) for name in names])
    else:
        data = tar(*[member(name) for name in names])
    assert refused(arena, data).code == UNSAFE


def test_doubles_of_a_skill_are_left_out_of_a_snapshot(arena: Path) -> None:
    data = tar(member(ROLLOUT), member("skills/a/X.md"), member("skills/a/x.md"))
    assert accepted(arena, data).left_out == ("skills/a/x.md",)


# Limits

LOW = Limits(
    files=5,
    members=50,
    total_bytes=200_000,
    file_bytes=100_000,
    ratio=20,
    ratio_from=10_000,
    name_bytes=300,
    depth=12,
    window_bytes=1 << 20,
)
NOISE = random.Random(7).randbytes(99_000)
OVER = {
    "files": [member(f"skills/{n}.md") for n in range(6)],
    "members": [member(f"{n}.bin", b"") for n in range(51)],
    "total_bytes": [member(f"skills/{n}.md", NOISE) for n in range(3)],
    "file_bytes": [header(ROLLOUT, 100_001) + padded(bytes(100_001))],
    "name_bytes": [member("/".join(["x" * 60] * 5))],
    "depth": [member("d/" * 12 + "x")],
}


@pytest.mark.parametrize("limit", OVER)
@pytest.mark.parametrize("kind", WRAPS)
def test_one_over_each_limit(kind: str, limit: str, arena: Path) -> None:
    data = WRAPS[kind](tar(*OVER[limit]))
    error = refused(arena, data, replace(LOW, ratio=10_000))
    assert error.code == UNSAFE
    assert f"--limit {limit}=N" in (error.hint or "")


@pytest.mark.parametrize("limit", ["files", "members", "total_bytes", "file_bytes"])
def test_one_over_each_limit_in_a_zip(limit: str, arena: Path) -> None:
    members = {
        "files": [Zipped(f"skills/{n}.md") for n in range(6)],
        "members": [Zipped(f"{n}.bin") for n in range(51)],
        "total_bytes": [Zipped(f"skills/{n}.md", NOISE) for n in range(3)],
        "file_bytes": [Zipped(ROLLOUT, NOISE + NOISE)],
    }
    error = refused(arena, zipped(*members[limit]), LOW)
    assert error.code == UNSAFE
    assert limit in (error.hint or "")


def test_at_the_limits_it_is_read(arena: Path) -> None:
    members = [member(f"skills/{n}.md") for n in range(4)]
    members += [member(f"{n}.bin", b"") for n in range(45)]
    members.append(member("d/" * (12 - 2) + f"s/{STEM}.jsonl", NOISE[: 100_000 - 1]))
    assert len(accepted(arena, tar(*members), LOW).files) == 5


@pytest.mark.parametrize("pack", [gz, zst], ids=["gzip", "zstd"])
@pytest.mark.parametrize("name", [ROLLOUT, "unwanted.bin"])
def test_compression_bombs(pack: Callable[[bytes], bytes], name: str, arena: Path) -> None:
    bomb = pack(tar(member(name, bytes(70_000))))
    error = refused(arena, bomb, LOW)
    assert error.code == UNSAFE
    assert "ratio" in (error.hint or "")


@pytest.mark.parametrize("pack", [gz, zst], ids=["gzip", "zstd"])
def test_bomb_at_the_default_limits(pack: Callable[[bytes], bytes], arena: Path) -> None:
    assert refused(arena, pack(tar(member(ROLLOUT, bytes(80 << 20))))).code == UNSAFE


def test_bomb_behind_the_end_mark(arena: Path) -> None:
    bomb = gz(tar(member(ROLLOUT)) + bytes(150_000))
    assert refused(arena, bomb, LOW).code == UNSAFE


def test_zip_bombs(arena: Path) -> None:
    honest = Zipped(ROLLOUT, bytes(90_000))
    assert refused(arena, zipped(honest), LOW).code == UNSAFE
    # What unpacks to more than it states is read no further than that.
    liar = Zipped(ROLLOUT, bytes(90_000), size=100)
    assert refused(arena, zipped(liar), LOW).code == DAMAGED
    # Each below the judged size, together over it.
    many = [Zipped(ROLLOUT.replace("9837", f"983{n}"), bytes(9_000)) for n in range(5)]
    assert refused(arena, zipped(*many), LOW).code == UNSAFE


def test_huge_declared_sizes(arena: Path) -> None:
    assert refused(arena, tar(header(ROLLOUT, 1 << 62))).code == UNSAFE
    assert refused(arena, tar(pax(size=str(1 << 62)), member(ROLLOUT))).code == UNSAFE
    wide = struct.pack("<2H2Q", 1, 16, 1 << 62, 1 << 62)
    one = Zipped(ROLLOUT, size=2**32 - 1, packed_size=2**32 - 1, extra=wide)
    assert refused(arena, zipped(one)).code == UNSAFE
    assert refused(arena, tar(header("x", 1 << 62), member(ROLLOUT))).code == DAMAGED
    assert refused(arena, gz(tar(header("x", 1 << 62), member(ROLLOUT)))).code == DAMAGED


def test_extended_headers_do_not_fill_memory(arena: Path) -> None:
    for kind in (b"x", b"g", b"X"):
        data = zst(header("PaxHeaders/x", 9 << 20, kind) + bytes(9 << 20))
        assert refused(arena, data).code == UNSAFE
    data = header("././@LongLink", 5000, b"L") + bytes(5120)
    assert refused(arena, tar(data, member("x"))).code == UNSAFE
    assert refused(arena, tar(*[pax(comment="x")] * 17, member(ROLLOUT))).code == DAMAGED


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K", b"S"])
def test_headers_of_gigabytes_in_a_plain_tar(kind: bytes, arena: Path) -> None:
    """The gigabytes are there, as a hole in the file; and a map of a sparse file has no end."""
    source = arena / "package" / "package.bin"
    with source.open("wb") as stream:
        stream.write(header("x", 4 << 30, kind, magic=b"ustar  \0", fields={482: b"\1"}))
        if kind == b"S":
            stream.write((bytes(504) + b"\1" + bytes(7)) * 5000)
        stream.truncate(5 << 30)
    tracemalloc.start()
    try:
        with (
            pytest.raises(PackageError) as caught,
            open_tree(source, staging=arena / "staging"),
        ):
            pass
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
        source.unlink()
    assert caught.value.code == UNSAFE
    assert "headers" in caught.value.message


def test_neither_members_nor_global_headers_are_remembered(arena: Path) -> None:
    comments = [pax(b"g", **{f"c{n}": bytes(50_000)}) + member(f"{n}.bin") for n in range(200)]
    source = arena / "package" / "package.bin"
    source.write_bytes(tar(*comments, member(ROLLOUT)))
    comments.clear()
    tracemalloc.start()
    try:
        with open_tree(source, staging=arena / "staging"):
            pass
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_digits_that_take_the_library_quadratic_time(arena: Path) -> None:
    assert refused(arena, tar(pax(comment=b"9" * 500_000), member(ROLLOUT))).code == DAMAGED


def test_zstd_window(arena: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=23, write_content_size=False)
    out = io.BytesIO()
    with zstandard.ZstdCompressor(compression_params=parameters).stream_writer(
        out, closefd=False
    ) as stream:
        stream.write(tar(member(ROLLOUT)))
    error = refused(arena, out.getvalue(), LOW)
    assert error.code == UNSAFE
    assert "--limit window_bytes=N" in (error.hint or "")
    assert len(accepted(arena, out.getvalue()).files) == 1


def test_skills_out_of_all_proportion(arena: Path) -> None:
    deep = member("skills/" + "d/" * 16 + "x.md")
    large = header("skills/large.bin", (64 << 20) + 1) + padded(bytes((64 << 20) + 1))
    names = ("skills/" + "d/" * 16 + "x.md", "skills/large.bin")
    assert accepted(arena, tar(member(ROLLOUT), deep, large)).left_out == names
    assert refused(arena, tar(member(MANIFEST), deep)).code == UNSAFE
    assert refused(arena, tar(member(MANIFEST), large)).code == UNSAFE


# Damage to tar

GOOD = tar(member("README.md"), member(ROLLOUT, DATA * 50), member("history.jsonl"))
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

ONE = Zipped(ROLLOUT, DATA * 10)
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


GOOD_ZIP = zipped(Zipped("README.md"), ONE, Zipped("history.jsonl"))
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


# Directories


@pytest.mark.parametrize("name", WANTED)
@pytest.mark.parametrize("target", ["outside/secret", "nowhere", "."])
def test_directory_with_linked_files(name: str, target: str, arena: Path) -> None:
    root = fill(arena / "package", {OTHER: DATA})
    link = root / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(arena / target)
    error = refused(arena)
    assert error.code == UNSAFE
    assert name in error.message


@pytest.mark.parametrize("name", WANTED)
def test_directory_with_pipes_and_sockets(name: str, arena: Path) -> None:
    root = fill(arena / "package", {OTHER: DATA})
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    assert refused(arena).code == UNSAFE
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(path.parent)
        server.bind(path.name)
        os.chdir(here)
        assert refused(arena).code == UNSAFE


@pytest.mark.parametrize("base", ["sessions", "archived_sessions", "sessions/2026", "sessions/21"])
def test_directory_with_linked_session_folders(base: str, arena: Path) -> None:
    root = fill(arena / "package", {f"x/{ROLLOUT}": DATA, "history.jsonl": b""})
    (root / base).parent.mkdir(exist_ok=True)
    (root / base).symlink_to(arena / "outside" / "sessions")
    assert refused(arena).code == UNSAFE


@pytest.mark.parametrize("base", ["metadata", "skeleton", "skills", "skills/a"])
def test_directory_of_a_package_with_linked_folders(base: str, arena: Path) -> None:
    root = fill(arena / "package", {ROLLOUT: DATA, MANIFEST: b"{}"})
    (root / base).parent.mkdir(exist_ok=True)
    (root / base).symlink_to(arena / "outside")
    assert refused(arena).code == UNSAFE


def test_other_linked_folders_are_not_followed(arena: Path) -> None:
    root = fill(arena / "package", {ROLLOUT: DATA})
    (root / "more").symlink_to(arena / "outside")
    (root / "loop").symlink_to(root)
    tree = accepted(arena)
    assert list(tree.files) == [ROLLOUT]
    assert tree.ignored == 2


def test_directory_with_doubles(arena: Path) -> None:
    root = fill(arena / "package", {ROLLOUT: DATA})
    fill(root, {ROLLOUT.replace("01a1fd25", "01A1FD25"): DATA})
    if len(list((root / ROLLOUT).parent.iterdir())) < 2:
        pytest.skip("this file system folds case")
    assert refused(arena).code == UNSAFE


@pytest.mark.parametrize(
    "name", [f"a\n/{ROLLOUT}", f"..\\{STEM}.jsonl", f"\udcff/{ROLLOUT}", f"C:\\{STEM}.jsonl"]
)
def test_directory_with_bad_names(name: str, arena: Path) -> None:
    fill(arena / "package", {name: DATA})
    assert refused(arena).code == UNSAFE


def test_directory_over_the_limits(arena: Path) -> None:
    root = fill(arena / "package", {ROLLOUT: DATA})
    assert refused(arena, limits=Limits(depth=3)).code == UNSAFE
    assert refused(arena, limits=Limits(name_bytes=50)).code == UNSAFE
    assert refused(arena, limits=Limits(members=4)).code == UNSAFE
    fill(root, {OTHER: DATA})
    assert refused(arena, limits=Limits(files=1)).code == UNSAFE
    assert refused(arena, limits=Limits(total_bytes=2 * len(DATA) - 1)).code == UNSAFE
    with (root / ROLLOUT).open("wb") as stream:
        stream.truncate(33 << 30)
    error = refused(arena)
    assert error.code == UNSAFE
    assert "file_bytes" in (error.hint or "")


def test_thousands_of_nested_folders(arena: Path) -> None:
    here = Path.cwd()
    try:
        os.chdir(arena / "package")
        for _ in range(3000):
            Path("d").mkdir()
            os.chdir("d")
    finally:
        os.chdir(here)
    assert refused(arena).code == UNSAFE
    # Too deep for Path.unlink by name: remove from the inside out.
    subprocess.run(["rm", "-r", str(arena / "package" / "d")], check=True)
    assert refused(arena, tar(member("d/" * 2000 + "x"), member(ROLLOUT))).code == UNSAFE


# The package changes while it is read


def change_then_open(arena: Path, change: Callable[[Path], None]) -> str:
    root = fill(arena / "package", {ROLLOUT: DATA})
    with open_tree(root, staging=arena / "staging") as tree:
        change(root / ROLLOUT)
        with pytest.raises(PackageError) as caught:
            tree.open(ROLLOUT)
    assert caught.value.exit_code is ExitCode.PACKAGE
    return caught.value.code


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    # The old file stays under another name, or its inode may be used again at once.
    path.rename(path.with_name("old"))
    make(path)


def _replace_folder(path: Path, arena: Path) -> None:
    path.parents[1].rename(path.parents[1].with_name("old"))
    fill(arena / "outside" / "21", {path.name: b"another"})
    path.parents[1].symlink_to(arena / "outside")


@pytest.mark.parametrize(
    "make",
    [
        lambda path: None,
        lambda path: path.write_bytes(b"another"),
        lambda path: path.symlink_to("old"),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.mkdir(),
        os.mkfifo,
    ],
    ids=["gone", "another", "link to itself", "link to a device", "folder", "pipe"],
)
def test_file_replaced_while_reading(make: Callable[[Path], object], arena: Path) -> None:
    assert change_then_open(arena, lambda path: _replace(path, make)) == "package_changed"


def test_folder_replaced_by_a_link_while_reading(arena: Path) -> None:
    code = change_then_open(arena, lambda path: _replace_folder(path, arena))
    assert code == "package_changed"
    (arena / "outside" / "21" / f"{STEM}.jsonl").unlink()


def test_folder_replaced_by_a_link_while_listing(arena: Path) -> None:
    """Of two folders already met, the one that is listed later is swapped during the first."""
    fill(arena / "outside", {"config.toml": b"another"})
    root = fill(arena / "package", {"a/config.toml": b"", "b/config.toml": b""})

    def wanted(name: str) -> bool:
        other = root / ("b" if name.startswith("a") else "a")
        if not other.is_symlink():
            other.rename(root / "old")
            other.symlink_to(arena / "outside")
        return is_wanted(name)

    with (
        pytest.raises(PackageError) as caught,
        open_tree(root, wanted=wanted, staging=arena / "staging"),
    ):
        pass
    assert caught.value.code == "package_changed"
    (arena / "outside" / "config.toml").unlink()


def test_file_that_grows_is_still_the_same(arena: Path) -> None:
    root = fill(arena / "package", {ROLLOUT: DATA})
    with open_tree(root, staging=arena / "staging") as tree:
        with (root / ROLLOUT).open("ab") as stream:
            stream.write(DATA)
        with tree.open(ROLLOUT) as reading:
            assert reading.read() == DATA * 2


def test_archive_cut_while_it_is_unpacked(arena: Path) -> None:
    source = arena / "package" / "a"
    source.write_bytes(tar(member(ROLLOUT, NOISE * 50)))

    def cut(done: int, total: int | None) -> None:
        os.truncate(source, 2 << 20)

    with (
        pytest.raises(PackageError) as caught,
        open_tree(source, progress=cut, staging=arena / "staging"),
    ):
        pass
    assert caught.value.code == DAMAGED


# Whatever the bytes: a tree or a PackageError

SEEDS = {
    "tar": GOOD,
    "gnu": tar_of({f"{'x' * 90}/{ROLLOUT}": DATA, "skills/é": b"x"}, tarfile.GNU_FORMAT),
    "pax": tar_of({f"{'x' * 90}/{ROLLOUT}": DATA, "skills/é": b"x"}),
    "sparse": tar(header("x", 0, b"S", magic=b"ustar  \0", fields={482: b"\1"}), bytes(BLOCK)),
    "tar.gz": gz(GOOD),
    "tar.zst": zst(GOOD),
    "zip": GOOD_ZIP,
    "stored zip": zipped(Zipped(ROLLOUT, method=0), Zipped("history.jsonl", flags=0x808)),
    "zip64": zip64(ONE, Zipped("history.jsonl")),
}
FUZZ = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def judge(arena: Path, data: bytes) -> None:
    source = arena / "package" / "fuzz"
    source.write_bytes(data)
    with (
        suppress(PackageError),
        open_tree(source, staging=arena / "staging", limits=LOW) as tree,
    ):
        for name, file in tree.files.items():
            with tree.open(name) as stream:
                assert len(stream.read()) == file.size
    assert list((arena / "staging").iterdir()) == []


@FUZZ
@given(st.binary(max_size=3000))
@example(b"PK\x05\x06")
@example(b"PK\x03\x04" + bytes(18))
@example(b"\x1f\x8b\x08")
@example(b"\x28\xb5\x2f\xfd")
@example(b"\x50\x2a\x4d\x18")
@example(bytes(257) + b"ustar" + bytes(250))
def test_random_bytes(arena: Path, data: bytes) -> None:
    for start in (b"", b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd"):
        judge(arena, start + data)


Edit = tuple[float, int, bytes]


def edited(data: bytes, edits: list[Edit]) -> bytes:
    for place, drop, insert in edits:
        at = int(place * len(data))
        data = data[:at] + insert + data[at + drop :]
    return data


EDITS = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.integers(0, 8) | st.integers(0, 2000),
        st.binary(max_size=8) | st.sampled_from([b"\xff" * 4, bytes(4), b"../", b"PK\5\6"]),
    ),
    min_size=1,
    max_size=4,
)


@FUZZ
@given(st.sampled_from(sorted(SEEDS)), EDITS)
def test_mutated_archives(arena: Path, seed: str, edits: list[Edit]) -> None:
    judge(arena, edited(SEEDS[seed], edits))


@FUZZ
@given(
    st.sampled_from(["tar", "gnu", "pax", "sparse"]),
    EDITS,
    st.sampled_from([gz, zst]),
    st.booleans(),
)
def test_mutated_tar_inside_sound_compression(
    arena: Path, seed: str, edits: list[Edit], pack: Callable[[bytes], bytes], mend: bool
) -> None:
    data = edited(SEEDS[seed], edits)
    judge(arena, pack(mended(data) if mend else data))


def mended(data: bytes) -> bytes:
    """Right the checksum of whatever stands where headers stand, to get past that check."""
    out = bytearray(data)
    for at in range(0, len(out) - BLOCK + 1, BLOCK):
        if out[at + 257 : at + 262] == b"ustar":
            out[at + 148 : at + 156] = b" " * 8
            out[at + 148 : at + 156] = b"%06o\0 " % sum(out[at : at + BLOCK])
    return bytes(out)


# Flat memory

MEASURE = """
import sys
from pathlib import Path
from codex_session_sync.package.container import open_tree
with open_tree(Path(sys.argv[1]), staging=Path(sys.argv[2])) as tree:
    (file,) = tree.files.values()
# Not ru_maxrss: that begins with what the parent held at the fork.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(file.size, status["VmHWM"].split()[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_memory_stays_flat(arena: Path) -> None:
    source = arena / "package" / "large"
    total = 300 << 20
    archives.write_large(source, total)
    scripts = Path(__file__).parents[2] / "scripts"
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, str(source), str(arena / "staging")],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(scripts)},
    )
    size, peak = map(int, run.stdout.split())
    assert size == total
    assert peak < 100 << 10
    source.unlink()
