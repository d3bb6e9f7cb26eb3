"""Whatever the bytes of an archive: a tree or a PackageError, and nothing left."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from archives import BLOCK, DATA, ROLLOUT, Zipped, gz, header, tar, tar_of, zip64, zipped, zst
from codex_session_sync.errors import PackageError
from codex_session_sync.package.container import open_tree
from hostile.arena import GOOD, GOOD_ZIP, LOW, ONE, make_arena

arena = pytest.fixture(make_arena)

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
