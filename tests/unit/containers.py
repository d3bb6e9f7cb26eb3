"""The files of a home, packed as containers of every kind, and what a reader gives of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archives import DATA, ROLLOUT, STEM, Zipped, gz, tar_of, zipped, zst
from codex_session_sync.errors import PackageError
from codex_session_sync.package.container import Limits, PackageTree, open_tree

HOME = {
    ROLLOUT: DATA * 100,
    f"archived_sessions/{STEM}.jsonl.zst": zst(DATA),
    "session_index.jsonl": b"{}\n",
    "config.toml": b"",
    "state_5.sqlite": b"SQLite format 3\0",
    "state_5.sqlite-wal": b"wal",
    "skills/hello/SKILL.md": b"# hello\n",
    "skills/hello/été/notes.txt": b"notes",
}


def zip_of(files: dict[str, bytes]) -> bytes:
    """A zip of these files."""
    return zipped(*[Zipped(name, data) for name, data in files.items()])


PACKERS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "tar": tar_of,
    "tar.gz": lambda files: gz(tar_of(files)),
    "tar.zst": lambda files: zst(tar_of(files)),
    "zip": zip_of,
}


def contents(tree: PackageTree) -> dict[str, bytes]:
    """What is in each file of a tree."""
    found = {}
    for name, file in tree.files.items():
        assert file.name == name
        with tree.open(name) as stream:
            found[name] = stream.read()
        assert file.size == len(found[name])
    return found


def make_staging(tmp_path: Path) -> Iterator[Path]:
    """A place for staging that must be left empty."""
    folder = tmp_path / "staging"
    folder.mkdir()
    yield folder
    assert list(folder.iterdir()) == []


def read(path: Path, staging: Path, limits: Limits | None = None) -> dict[str, bytes]:
    """The files of a container."""
    with open_tree(path, staging=staging, limits=limits or Limits()) as tree:
        return contents(tree)


def refusal(path: Path, staging: Path) -> PackageError:
    """The error on a container."""
    with pytest.raises(PackageError) as caught, open_tree(path, staging=staging):
        pass
    return caught.value
