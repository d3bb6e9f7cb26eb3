"""Containers over a limit, bombs among them, are refused, and memory stays flat."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

import archives
from archives import ROLLOUT, STEM, WRAPS, Zipped, gz, header, member, padded, pax, tar, zipped, zst
from codex_session_sync.errors import PackageError
from codex_session_sync.package.container import open_tree
from hostile.arena import DAMAGED, LOW, MANIFEST, NOISE, UNSAFE, accepted, make_arena, refused

arena = pytest.fixture(make_arena)


# Limits

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
