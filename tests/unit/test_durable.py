"""Files are whole or absent, stay below their root, and are synced before they count."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_session_sync import durable
from codex_session_sync.durable import (
    MANY,
    UNSUPPORTED,
    append,
    drop_name,
    name_too,
    not_writable,
    own_name,
    place,
    plain_name,
    safe_join,
    sync_all,
    sync_file,
    sync_folder,
    syncing_together,
    write_atomic,
)
from codex_session_sync.errors import HomeError
from workbench import tree

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX folders and links")


@pytest.mark.parametrize("text", ["laptop", "a.b-c_1", "x" * 80])
def test_what_is_a_plain_name_is_its_own(text: str) -> None:
    assert own_name(text, "worker") == plain_name(text, "worker") == text


def test_texts_that_come_to_one_plain_name_have_names_of_their_own() -> None:
    texts = [
        "lap top",
        "lap/top",
        "lap-top",
        "-lap-top",
        "x" * 81,
        "x" * 82,
        "",
        "..",
        "é",
        "\udce9",
    ]
    names = {own_name(text, "worker") for text in texts}
    assert len(names) == len(texts)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in names)


class Syncs:
    """Which files and folders were synced, in order; by device and inode."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def fsync(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        self.seen.append((status.st_dev, status.st_ino))

    def saw(self, *paths: Path) -> bool:
        wanted = [(path.stat().st_dev, path.stat().st_ino) for path in paths]
        return all(one in self.seen for one in wanted)


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Syncs:
    found = Syncs()
    monkeypatch.setattr(os, "fsync", found.fsync)
    return found


def failing(error: BaseException) -> Any:
    def fails(*_: object, **__: object) -> None:
        raise error

    return fails


# Paths


@pytest.mark.parametrize("relative", ["a", "a/b.jsonl", "sessions/2026/03/02/x", "a b/ü…"])
def test_a_path_below_the_root(tmp_path: Path, relative: str) -> None:
    assert safe_join(tmp_path, relative) == tmp_path / relative


@pytest.mark.parametrize(
    "relative",
    ["", "/", "/a", "..", "a/..", "a/../b", "../a", "C:", "C:/a", "a/c:x", "a\\b", "..\\a", "a\0"],
)
def test_a_path_that_leaves_the_root(tmp_path: Path, relative: str) -> None:
    with pytest.raises(HomeError) as caught:
        safe_join(tmp_path, relative)
    assert caught.value.code == "path_escapes_home"


@given(st.text(st.sampled_from("ab./\\:\0~ "), max_size=12))
def test_no_path_leaves_the_root(relative: str) -> None:
    root = Path("/nowhere/root")
    try:
        found = safe_join(root, relative)
    except HomeError:
        return
    assert Path(os.path.normpath(found)).is_relative_to(root)
    assert os.path.normpath(found) != str(root)


@posix
@pytest.mark.parametrize("relative", ["link", "link/a", "folder/link/a/b"])
def test_no_link_is_followed(tmp_path: Path, relative: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "folder" / "link").symlink_to("/tmp")
    with pytest.raises(HomeError) as caught:
        safe_join(tmp_path, relative)
    assert caught.value.code == "path_escapes_home"


@posix
def test_a_folder_is_looked_at_once_and_a_name_each_time(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    checked: set[str] = set()
    assert safe_join(tmp_path, "folder/a", checked) == tmp_path / "folder/a"
    (tmp_path / "folder/b").symlink_to("/tmp")
    with pytest.raises(HomeError):
        safe_join(tmp_path, "folder/b", checked)
    (tmp_path / "other").symlink_to(tmp_path / "folder")
    for _ in range(2):
        with pytest.raises(HomeError):
            safe_join(tmp_path, "other/a", checked)


# Whole files


def test_a_file_is_put_in_place_of_another(tmp_path: Path, syncs: Syncs) -> None:
    path = tmp_path / "manifest.json"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert [one.name for one in tmp_path.iterdir()] == ["manifest.json"]
    assert syncs.saw(path)
    assert syncs.saw(tmp_path) or sys.platform == "win32"


def test_the_content_is_synced_before_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "manifest.json"
    write_atomic(path, b"one")
    order: list[str] = []
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        order.append("replace")
        return real(self, target)

    def fsync(descriptor: int) -> None:
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        if not folder:
            assert os.fstat(descriptor).st_size == len(b"longer")
        order.append("folder" if folder else "content")

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(os, "fsync", fsync)
    write_atomic(path, b"longer")
    assert order == ["content", "replace", "folder"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    path = tmp_path / "manifest.json"
    write_atomic(path, b"one")
    before = tree(tmp_path)

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(os if step == "fsync" else Path, step, fails)
    with pytest.raises(type(error)):
        write_atomic(path, b"two")
    assert tree(tmp_path) == before


# Many files

NUMBER = 20


@posix
@pytest.mark.parametrize("moved", [False, True], ids=["replaced", "moved"])
def test_many_files_take_one_set_of_syncs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    """Contents are durable before the names that they get, and these before others go."""
    folders = tmp_path / "old", tmp_path / "new"
    for folder in folders:
        folder.mkdir()
    names = [str(number) for number in range(NUMBER)]
    for name in names:
        (folders[0] / name).write_bytes(b"old")
    order: list[str] = []

    def told(step: str, real: Any) -> Any:
        def function(*arguments: Any, **more: Any) -> Any:
            order.append(step)
            return real(*arguments, **more)

        return function

    monkeypatch.setattr(durable, "_sync_file_systems", told("contents", lambda _: True))
    monkeypatch.setattr(os, "fsync", told("folder", os.fsync))
    monkeypatch.setattr(Path, "replace", told("name", Path.replace))
    monkeypatch.setattr(Path, "unlink", told("gone", Path.unlink))
    with syncing_together():
        for name in names:
            if moved:
                assert name_too(folders[0] / name, folders[1] / name)
                sync_folder(folders[1])
                drop_name(folders[0] / name)
            else:
                write_atomic(folders[0] / name, b"new")
        assert order == []
        assert {(folders[0] / name).read_bytes() for name in names} == {b"old"}
    if moved:
        assert order == ["folder", *["gone"] * NUMBER, "folder"]
    else:
        assert order == ["contents", *["name"] * NUMBER, "folder"]
    assert sorted(path.name for path in folders[moved].iterdir()) == sorted(names)
    assert not list(folders[0].iterdir()) if moved else not list(folders[1].iterdir())
    assert {path.read_bytes() for path in folders[moved].iterdir()} == {b"old" if moved else b"new"}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
@pytest.mark.parametrize("late", [False, True], ids=["meanwhile", "at the end"])
def test_a_failure_among_many_files_leaves_no_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, late: bool
) -> None:
    for name in "abc":
        write_atomic(tmp_path / name, b"old")
    before = tree(tmp_path)

    def write() -> None:
        with syncing_together():
            for name in "abc":
                write_atomic(tmp_path / name, b"new")
            if not late:
                raise error

    if late:
        monkeypatch.setattr(durable, "sync_all", failing(error))
    with pytest.raises(type(error)):
        write()
    assert tree(tmp_path) == before
    monkeypatch.undo()
    write_atomic(tmp_path / "a", b"and at once again")
    assert (tmp_path / "a").read_bytes() == b"and at once again"


# Moving into place


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_a_staged_file_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", failing(OSError(errno.EPERM, "not supported")))
    staged, target = tmp_path / "staged", tmp_path / "target"
    staged.write_bytes(b"new")
    os.utime(staged, ns=(10**18, 10**18))
    place(staged, target)
    assert not staged.exists()
    assert target.read_bytes() == b"new"
    assert target.stat().st_mtime_ns == 10**18
    assert target.stat().st_nlink == 1


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
@pytest.mark.parametrize("there", ["file", "folder", "dangling link"])
def test_nothing_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool, there: str
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", failing(OSError(errno.EPERM, "not supported")))
    staged, target = tmp_path / "staged", tmp_path / "target"
    staged.write_bytes(b"new")
    match there:
        case "file":
            target.write_bytes(b"old")
        case "folder":
            target.mkdir()
        case _:
            target.symlink_to(tmp_path / "nowhere")
    before = tree(tmp_path)
    with pytest.raises(FileExistsError):
        place(staged, target)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("there", [True, False])
def test_what_is_not_staged_cannot_be_moved(tmp_path: Path, there: bool) -> None:
    target = tmp_path / "target"
    if there:
        target.write_bytes(b"old")
    with pytest.raises(FileNotFoundError):
        place(tmp_path / "staged", target)
    assert target.exists() == there


def test_append(tmp_path: Path) -> None:
    path = tmp_path / "index"
    append(path, b"a\n")
    append(path, b"b\n")
    assert path.read_bytes() == b"a\nb\n"


# Syncing


@posix
def test_few_files_are_synced_one_by_one(tmp_path: Path, syncs: Syncs) -> None:
    paths = []
    for number in range(MANY - 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        paths.append(folder / "file")
        paths[-1].write_bytes(b"x")
    sync_all(iter(paths))
    assert syncs.saw(*paths, *(path.parent for path in paths))


@posix
@pytest.mark.parametrize("supported", [True, False])
def test_many_files_are_synced_at_once_where_that_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syncs: Syncs, supported: bool
) -> None:
    paths = [tmp_path / str(number) for number in range(MANY)]
    for path in paths:
        path.write_bytes(b"x")
    asked: list[Path] = []

    def all_at_once(given: Iterable[Path]) -> bool:
        asked.extend(given)
        return supported

    monkeypatch.setattr(durable, "_sync_file_systems", all_at_once)
    sync_all(paths)
    assert asked == paths
    assert syncs.saw(*paths, tmp_path) == (not supported)


@pytest.mark.skipif(sys.platform != "linux", reason="syncfs is Linux's")
def test_a_file_system_that_cannot_be_synced_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Libc:
        @staticmethod
        def syncfs(_: int) -> int:
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Libc)
    monkeypatch.setattr(ctypes, "get_errno", lambda: errno.EIO)
    with pytest.raises(OSError, match="error") as caught:
        sync_all([tmp_path / str(number) for number in range(MANY)])
    assert caught.value.errno == errno.EIO


@pytest.mark.skipif(sys.platform != "linux", reason="syncfs is Linux's")
def test_one_sync_for_each_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    class Libc:
        @staticmethod
        def syncfs(descriptor: int) -> int:
            calls.append(os.fstat(descriptor).st_dev)
            return 0

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Libc)
    sync_all([tmp_path / str(number) for number in range(MANY)])
    assert calls == [tmp_path.stat().st_dev]


def test_what_is_gone_needs_no_sync(tmp_path: Path) -> None:
    sync_file(tmp_path / "gone")


@posix
def test_a_folder_may_be_synced_as_a_file_is(tmp_path: Path, syncs: Syncs) -> None:
    sync_file(tmp_path)
    assert syncs.saw(tmp_path)
    syncs.seen.clear()
    sync_folder(tmp_path)
    assert syncs.saw(tmp_path)


def test_a_failed_sync_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    monkeypatch.setattr(os, "fsync", failing(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(OSError, match="Input/output"):
        sync_all([path])


@pytest.mark.parametrize("number", sorted(UNSUPPORTED))
def test_a_file_system_without_syncs_is_used_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", failing(OSError(number, os.strerror(number))))
    path = tmp_path / "file"
    write_atomic(path, b"x")
    sync_all([path])
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize(
    ("number", "sandboxed"),
    [
        (errno.EROFS, True),
        (errno.EACCES, True),
        (errno.EPERM, True),
        (errno.ENOSPC, False),
        (errno.EIO, False),
    ],
)
def test_what_a_sandbox_may_have_refused(number: int, sandboxed: bool) -> None:
    """The hint says what to do there; nobody in a sandbox can make room on a disk."""
    error = not_writable(Path("home"), OSError(number, os.strerror(number)))
    assert (error.code, error.message.endswith(os.strerror(number))) == ("home_not_writable", True)
    assert error.hint is not None
    assert error.hint.startswith("in a sandbox, ask for permission to run") == sandboxed
    assert "make room on its disk" in error.hint
