"""Room for a hostile container, how one is refused or accepted, and some to begin with."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from archives import DATA, ROLLOUT, STEM, Zipped, fill, member, tar, zipped
from codex_session_sync.errors import ExitCode, PackageError
from codex_session_sync.package.container import Limits, PackageTree, open_tree

MANIFEST = "package_manifest.json"
OTHER = ROLLOUT.replace("9837", "9838")
UNSAFE, DAMAGED = "package_unsafe", "package_damaged"


def make_arena(tmp_path: Path) -> Iterator[Path]:
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


WANTED = [ROLLOUT, "metadata/threads.jsonl", MANIFEST, "state_5.sqlite", "history.jsonl"]
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
GOOD = tar(member("README.md"), member(ROLLOUT, DATA * 50), member("history.jsonl"))
ONE = Zipped(ROLLOUT, DATA * 10)
GOOD_ZIP = zipped(Zipped("README.md"), ONE, Zipped("history.jsonl"))
