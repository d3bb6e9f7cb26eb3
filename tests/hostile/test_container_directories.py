"""Hostile directories, and packages that change while they are read."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from archives import DATA, ROLLOUT, STEM, fill, member, tar
from codex_session_sync.errors import ExitCode, PackageError
from codex_session_sync.package.container import Limits, is_wanted, open_tree
from hostile.arena import (
    DAMAGED,
    MANIFEST,
    NOISE,
    OTHER,
    UNSAFE,
    WANTED,
    accepted,
    make_arena,
    refused,
)

arena = pytest.fixture(make_arena)


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
