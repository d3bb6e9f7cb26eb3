"""Every kind of container yields the same tree; what is wanted; what stays untouched."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import socket
import stat
import struct
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from archives import (
    BLOCK,
    DATA,
    ROLLOUT,
    STEM,
    WRAPS,
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
from codex_session_sync.errors import ExitCode, PackageError, UsageError
from codex_session_sync.package.container import (
    Limits,
    PackageTree,
    is_wanted,
    open_tree,
    parse_limits,
)

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
UNWANTED = {
    "auth.json": b"secret",
    "logs_2.sqlite": b"x" * 5000,
    "node_modules/a/config.toml": b"",
    "skills/hello/node_modules/b/index.js": b"",
    "skills/hello/.git/config": b"",
    "skills/hello/._SKILL.md": b"",
    "tmp/arg0/codex": b"",
    "worktrees/1/repo/config.toml": b"",
    "session-sync/transactions/1/" + ROLLOUT: DATA,
    "transfer-journal/1/backups/codex-home/state_5.sqlite": b"",
    "plugins/cache/a/skills/b/SKILL.md": b"",
}


def zip_of(files: dict[str, bytes]) -> bytes:
    return zipped(*[Zipped(name, data) for name, data in files.items()])


PACKERS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "tar": tar_of,
    "tar.gz": lambda files: gz(tar_of(files)),
    "tar.zst": lambda files: zst(tar_of(files)),
    "zip": zip_of,
}


def contents(tree: PackageTree) -> dict[str, bytes]:
    found = {}
    for name, file in tree.files.items():
        assert file.name == name
        with tree.open(name) as stream:
            found[name] = stream.read()
        assert file.size == len(found[name])
    return found


@pytest.fixture
def staging(tmp_path: Path) -> Iterator[Path]:
    """A place for staging that must be left empty."""
    folder = tmp_path / "staging"
    folder.mkdir()
    yield folder
    assert list(folder.iterdir()) == []


def read(path: Path, staging: Path, limits: Limits | None = None) -> dict[str, bytes]:
    with open_tree(path, staging=staging, limits=limits or Limits()) as tree:
        return contents(tree)


def refusal(path: Path, staging: Path) -> PackageError:
    with pytest.raises(PackageError) as caught, open_tree(path, staging=staging):
        pass
    return caught.value


# Kinds of containers


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("prefix", ["", "./", ".codex/", "some/where/.codex/"])
def test_archive_holds_the_wanted_files_only(
    kind: str, prefix: str, tmp_path: Path, staging: Path
) -> None:
    path = tmp_path / "package.bin"
    path.write_bytes(
        PACKERS[kind]({prefix + name: data for name, data in (HOME | UNWANTED).items()})
    )
    with open_tree(path, staging=staging) as tree:
        assert tree.source == path
        assert tree.container == kind
        below = prefix.removeprefix("./")
        assert contents(tree) == {below + name: data for name, data in HOME.items()}
        assert list(tree.files) == sorted(tree.files)
        assert tree.ignored == len(UNWANTED)
        assert tree.left_out == ()


def test_directory_gives_what_its_archive_gives(tmp_path: Path, staging: Path) -> None:
    root = fill(tmp_path / "home", HOME | UNWANTED)
    with open_tree(root, staging=staging) as tree:
        assert tree.container == "directory"
        assert contents(tree) == HOME
        assert tree.files[ROLLOUT].path == root / ROLLOUT
        assert tree.files[ROLLOUT].mtime_ns == (root / ROLLOUT).stat().st_mtime_ns


def test_directory_is_only_read(tmp_path: Path, staging: Path) -> None:
    root = fill(tmp_path / "home", HOME | UNWANTED)
    paths = sorted(root.rglob("*"))
    for path in [*paths, root]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = [(path, path.stat().st_mtime_ns) for path in [*paths, root]]
    assert read(root, staging) == HOME
    assert [(path, path.stat().st_mtime_ns) for path in [*sorted(root.rglob("*")), root]] == before
    for path in [root, *paths]:
        path.chmod(0o755)


def test_root_may_be_a_link(tmp_path: Path, staging: Path) -> None:
    root = fill(tmp_path / "home", HOME)
    link = tmp_path / "link"
    link.symlink_to(root)
    with open_tree(link, staging=staging) as tree:
        assert tree.source == link
        assert contents(tree) == HOME


def test_archive_may_be_named_through_a_link(tmp_path: Path, staging: Path) -> None:
    (tmp_path / "a").write_bytes(tar_of(HOME))
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert read(tmp_path / "link", staging) == HOME


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_tar_format_with_long_names(form: int, tmp_path: Path, staging: Path) -> None:
    long = "/".join(["a-long-folder-name-é"] * 5) + "/"
    files = {"x/" + ROLLOUT: DATA, long + ROLLOUT: DATA * 3, "skills/" + "n" * 90: b"1" * 700}
    (tmp_path / "a").write_bytes(tar_of(files, form))
    assert read(tmp_path / "a", staging) == files


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar")
@pytest.mark.parametrize("form", ["v7", "oldgnu", "gnu", "ustar", "pax"])
def test_archives_of_the_tar_program(form: str, tmp_path: Path, staging: Path) -> None:
    root = fill(tmp_path / "home", {ROLLOUT: DATA * 1000, "skills/a/b.md": b"b"})
    with (root / "hole.bin").open("wb") as stream:
        for at in range(40):
            stream.seek(at << 20)
            stream.write(b"x")
    path = tmp_path / "a"
    sparse = ["--sparse"] if form not in {"v7", "ustar"} else []
    command = ["tar", f"--format={form}", *sparse, "-cf", str(path), "-C", str(root), "."]
    subprocess.run(command, check=True)
    expected = {ROLLOUT: DATA * 1000, "skills/a/b.md": b"b"}
    assert read(path, staging) == expected
    path.write_bytes(zst(path.read_bytes()))
    assert read(path, staging) == expected


@pytest.mark.skipif(shutil.which("zip") is None, reason="needs Info-ZIP")
@pytest.mark.parametrize("piped", [False, True])
def test_archives_of_the_zip_program(piped: bool, tmp_path: Path, staging: Path) -> None:
    root = fill(tmp_path / "home", HOME)
    path = tmp_path / "a.zip"
    command = ["zip", "-qr", "-" if piped else str(path), "."]
    packed = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE).stdout
    if piped:
        path.write_bytes(packed)
    assert read(path, staging) == HOME


def test_zip_with_zip64_records(tmp_path: Path, staging: Path) -> None:
    (tmp_path / "a").write_bytes(zip64(Zipped(ROLLOUT), Zipped("README.md")))
    assert read(tmp_path / "a", staging) == {ROLLOUT: DATA}


def test_zip_entry_with_zip64_numbers(tmp_path: Path, staging: Path) -> None:
    extra = struct.pack("<2H2Q", 1, 16, len(DATA), len(DATA))
    wide = 2**32 - 1
    one = Zipped(ROLLOUT, method=0, size=wide, packed_size=wide, extra=extra, local_extra=extra)
    (tmp_path / "a").write_bytes(zipped(one))
    assert read(tmp_path / "a", staging) == {ROLLOUT: DATA}


def test_zip_with_streamed_stored_and_commented_members(tmp_path: Path, staging: Path) -> None:
    streamed = Zipped(ROLLOUT, flags=0x808)
    stored = Zipped("history.jsonl", method=0)
    data = zipped(streamed, stored)
    (tmp_path / "a").write_bytes(data[:-2] + struct.pack("<H", 5) + b"hello")
    assert read(tmp_path / "a", staging) == {ROLLOUT: DATA, "history.jsonl": DATA}


def test_zip_of_windows_with_backslashes(tmp_path: Path, staging: Path) -> None:
    (tmp_path / "a").write_bytes(
        zipped(Zipped("home\\", b"", 0), Zipped("home\\" + ROLLOUT.replace("/", "\\")))
    )
    assert read(tmp_path / "a", staging) == {f"home/{ROLLOUT}": DATA}


def test_zip_with_names_in_code_page_437(tmp_path: Path, staging: Path) -> None:
    (tmp_path / "a").write_bytes(zipped(Zipped(b"\x81bung/" + ROLLOUT.encode(), flags=0)))
    assert read(tmp_path / "a", staging) == {f"übung/{ROLLOUT}": DATA}


def test_gzip_of_several_members_with_padding(tmp_path: Path, staging: Path) -> None:
    data = tar_of(HOME)
    (tmp_path / "a").write_bytes(gz(data[:700]) + gz(data[700:]) + bytes(1000))
    assert read(tmp_path / "a", staging) == HOME


def test_zstd_of_several_frames_without_sizes_and_with_skippable_ones(
    tmp_path: Path, staging: Path
) -> None:
    data = tar_of(HOME)
    out = io.BytesIO()
    out.write(b"\x50\x2a\x4d\x18" + struct.pack("<I", 3) + b"abc")
    for part in (data[:700], data[700:]):
        engine = zstandard.ZstdCompressor(write_content_size=False, write_checksum=True)
        with engine.stream_writer(out, closefd=False) as stream:
            stream.write(part)
        out.write(b"\x5f\x2a\x4d\x18" + struct.pack("<I", 0))
    (tmp_path / "a").write_bytes(out.getvalue())
    assert read(tmp_path / "a", staging) == HOME


@pytest.mark.parametrize("size", [0, 1, BLOCK, (1 << 20) - 1, 1 << 20, (3 << 20) + 17])
@pytest.mark.parametrize("kind", PACKERS)
def test_sizes_around_the_chunks(kind: str, size: int, tmp_path: Path, staging: Path) -> None:
    files = {ROLLOUT: os.urandom(size), "x.bin": os.urandom(size), "history.jsonl": b"h"}
    (tmp_path / "a").write_bytes(PACKERS[kind](files))
    wanted = {name: data for name, data in files.items() if name != "x.bin"}
    assert read(tmp_path / "a", staging) == wanted


@pytest.mark.parametrize("kind", PACKERS)
def test_stored_time_is_kept(kind: str, tmp_path: Path, staging: Path) -> None:
    seconds = 1_763_712_426
    if kind == "zip":
        extra = struct.pack("<2HBi", 0x5455, 5, 1, seconds)
        data = zipped(Zipped(ROLLOUT, extra=extra))
    else:
        data = WRAPS[kind](tar(pax(mtime=f"{seconds}.5"), member(ROLLOUT)))
    (tmp_path / "a").write_bytes(data)
    with open_tree(tmp_path / "a", staging=staging) as tree:
        exact = seconds * 10**9 + (0 if kind == "zip" else 5 * 10**8)
        assert tree.files[ROLLOUT].mtime_ns == exact


def test_zip_time_of_two_second_steps_is_local(tmp_path: Path, staging: Path) -> None:
    (tmp_path / "a").write_bytes(zipped(Zipped(ROLLOUT)))
    with open_tree(tmp_path / "a", staging=staging) as tree:
        stamp = time.localtime(tree.files[ROLLOUT].mtime_ns // 10**9)
        assert stamp[:6] == (2025, 11, 21, 8, 0, 0)


def test_gnu_header_with_times_in_the_place_of_the_prefix(tmp_path: Path, staging: Path) -> None:
    old = header(ROLLOUT, len(DATA), magic=b"ustar  \0", fields={345: b"15107711353\0"})
    (tmp_path / "a").write_bytes(tar(old + padded(DATA)))
    assert read(tmp_path / "a", staging) == {ROLLOUT: DATA}


def test_single_zero_block_ends_a_tar_and_what_follows_is_passed_over(
    tmp_path: Path, staging: Path
) -> None:
    (tmp_path / "a").write_bytes(member(ROLLOUT) + bytes(BLOCK))
    assert read(tmp_path / "a", staging) == {ROLLOUT: DATA}
    (tmp_path / "a").write_bytes(tar(member(ROLLOUT)) + b"garbage" * 2000)
    assert read(tmp_path / "a", staging) == {ROLLOUT: DATA}


# What is staged, and for how long


@pytest.mark.parametrize("kind", PACKERS)
def test_staged_files_are_private_and_their_names_our_own(
    kind: str, tmp_path: Path, staging: Path
) -> None:
    (tmp_path / "a").write_bytes(PACKERS[kind](HOME))
    with open_tree(tmp_path / "a", staging=staging) as tree:
        (folder,) = staging.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {file.path.parent for file in tree.files.values()} == {folder}
        for file in tree.files.values():
            assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
            assert set(file.path.name.removesuffix("-wal")) <= set("0123456789abcdef")
        database, log = tree.files["state_5.sqlite"], tree.files["state_5.sqlite-wal"]
        assert log.path.name == f"{database.path.name}-wal"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_nothing_stays_when_the_reader_fails(
    error: type[BaseException], tmp_path: Path, staging: Path
) -> None:
    (tmp_path / "a").write_bytes(tar_of(HOME))
    with pytest.raises(error), open_tree(tmp_path / "a", staging=staging):
        raise error


def test_nothing_stays_when_unpacking_is_interrupted(tmp_path: Path, staging: Path) -> None:
    (tmp_path / "a").write_bytes(tar_of({ROLLOUT: os.urandom(5 << 20)}))

    def interrupt(done: int, total: int | None) -> None:
        if done > 2 << 20:
            assert list(staging.iterdir())
            raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        open_tree(tmp_path / "a", staging=staging, progress=interrupt),
    ):
        pass


def test_default_staging_is_the_temporary_folder(
    tmp_path: Path, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(staging))
    (tmp_path / "a").write_bytes(tar_of(HOME))
    with open_tree(tmp_path / "a") as tree:
        assert staging in tree.files[ROLLOUT].path.parents


@pytest.mark.parametrize("kind", PACKERS)
def test_progress_rises_to_the_size_of_the_file(kind: str, tmp_path: Path, staging: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(PACKERS[kind]({ROLLOUT: os.urandom(3 << 20), "history.jsonl": b"h"}))
    seen: list[tuple[int, int | None]] = []
    with open_tree(path, staging=staging, progress=lambda *now: seen.append(now)):
        pass
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    size = path.stat().st_size
    assert {total for _, total in seen} == {size}
    assert size - 2000 < seen[-1][0] <= size


def test_staging_that_cannot_be_written_is_no_fault_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(tar_of(HOME))
    assert refusal(tmp_path / "a", tmp_path / "missing").code == "package_not_staged"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(tar_of(HOME))
    really = os.open

    def full(path: Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_CREAT:
            return really("/dev/full", os.O_WRONLY)
        return really(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr("codex_session_sync.package.staging.os.open", full)
    error = refusal(tmp_path / "a", staging)
    assert error.code == "package_not_staged"
    assert "TMPDIR" in (error.hint or "")


# What is wanted


@pytest.mark.parametrize(
    "name",
    [
        *HOME,
        "package_manifest.json",
        "a/package_manifest.json",
        "metadata/threads.jsonl",
        "metadata/thread_dynamic_tools.jsonl",
        "metadata/path_localization.json",
        "skeleton/required-directories.json",
        "history.jsonl",
        f"sessions/{STEM}.jsonl",
        f"{STEM}.jsonl.zst",
    ],
)
def test_wanted(name: str) -> None:
    assert is_wanted(name)


@pytest.mark.parametrize(
    "name",
    [
        "auth.json",
        "skills",
        "myskills/a.md",
        "sessions/notes.jsonl",
        f"sessions/{STEM}.jsonl.tmp",
        f"sessions/._{STEM}.jsonl",
        f"node_modules/{STEM}.jsonl",
        "__MACOSX/skills/a/SKILL.md",
        "skills/.DS_Store",
        "skills/a/__pycache__/x.pyc",
        "state_5.sqlite-shm",
        "thread_history_1.sqlite",
        "logs_2.sqlite",
    ],
)
def test_not_wanted(name: str) -> None:
    assert not is_wanted(name)


def test_another_choice_of_wanted(tmp_path: Path, staging: Path) -> None:
    (tmp_path / "a").write_bytes(tar_of(HOME))
    with open_tree(tmp_path / "a", staging=staging, wanted=lambda n: n == "config.toml") as tree:
        assert list(tree.files) == ["config.toml"]
        assert tree.ignored == len(HOME) - 1


def test_working_folders_count_only_beside_sessions(tmp_path: Path, staging: Path) -> None:
    files = {f"tmp/worktrees/{ROLLOUT}": DATA, "tmp/worktrees/config.toml": b""}
    (tmp_path / "a").write_bytes(tar_of(files))
    assert read(tmp_path / "a", staging) == files
    assert read(fill(tmp_path / "home", files), staging) == files


# A living Codex home


def test_odd_things_of_a_home_are_passed_over(tmp_path: Path, staging: Path) -> None:
    root = fill(tmp_path / "home", HOME)
    (root / "tmp" / "arg0").mkdir(parents=True)
    (root / "tmp" / "arg0" / "apply_patch").symlink_to("/usr/bin/env")
    (root / "log").symlink_to("/var/log")
    (root / "AGENTS.md").symlink_to("/nowhere")
    (root / "name\nwith a newline").write_bytes(b"")
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(root)
        server.bind("app.sock")
        os.chdir(here)
        assert read(root, staging) == HOME


def test_linked_skills_and_configuration_are_left_out_of_a_snapshot(
    tmp_path: Path, staging: Path
) -> None:
    root = fill(tmp_path / "home", {ROLLOUT: DATA, "skills/a/SKILL.md": b"a"})
    outside = fill(tmp_path / "outside", {"config.toml": b"", "b/SKILL.md": b"b"})
    (root / "config.toml").symlink_to(outside / "config.toml")
    (root / "skills" / "b").symlink_to(outside / "b")
    (root / "skills" / "a" / "SKILL.txt").symlink_to("SKILL.md")
    for source in (root, tmp_path / "home.tar"):
        with open_tree(source, staging=staging) as tree:
            assert list(tree.files) == [ROLLOUT, "skills/a/SKILL.md"]
            assert tree.left_out == ("config.toml", "skills/a/SKILL.txt", "skills/b")
        with tarfile.open(tmp_path / "home.tar", "w") as archive:
            archive.add(root, ".")


def test_file_that_vanishes_while_listing(
    tmp_path: Path, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fill(tmp_path / "home", HOME)
    missed: list[str] = []

    def wanted(name: str) -> bool:
        if not missed:
            missed.append(name)
            shutil.rmtree(root / "archived_sessions")
        return is_wanted(name)

    with open_tree(root, staging=staging, wanted=wanted) as tree:
        assert ROLLOUT in tree.files


# What cannot be opened


def test_missing(tmp_path: Path, staging: Path) -> None:
    error = refusal(tmp_path / "missing", staging)
    assert error.code == "package_not_found"
    assert error.exit_code is ExitCode.PACKAGE


def test_dangling_link_looping_link_and_impossible_names(tmp_path: Path, staging: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_bytes(b"")
    for name in ("dangling", "loop", "file/below", "x" * 300, "nul\0"):
        assert refusal(tmp_path / name, staging).code == "package_not_found", name


@pytest.mark.parametrize("files", [{}, {"README.md": b"r"}, {"node_modules/config.toml": b""}])
def test_nothing_wanted(files: dict[str, bytes], tmp_path: Path, staging: Path) -> None:
    root = tmp_path / "home"
    root.mkdir()
    assert refusal(fill(root, files), staging).code == "package_empty"
    for kind, pack in PACKERS.items():
        (tmp_path / "a").write_bytes(pack(files))
        # A plain tar of nothing is a run of zero bytes: nothing tells that it is a tar.
        code = "package_unknown_format" if kind == "tar" and not files else "package_empty"
        assert refusal(tmp_path / "a", staging).code == code


def test_empty_file(tmp_path: Path, staging: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    assert refusal(tmp_path / "a", staging).code == "package_empty"


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (DATA, "archive"),
        (bytes(4096), "archive"),
        (b"\xfd7zXZ\0 and more", "xz"),
        (b"BZh91AY&SY", "bzip2"),
        (b"7z\xbc\xaf\x27\x1c", "7-zip"),
        (b"Rar!\x1a\x07", "RAR"),
        (b"SQLite format 3\0", "SQLite"),
        (gz(DATA), "tar"),
        (zst(DATA * 100), "tar"),
        (b"MZ" + zip_of(HOME), "archive"),
    ],
)
def test_unknown_format(data: bytes, word: str, tmp_path: Path, staging: Path) -> None:
    (tmp_path / "package.tar").write_bytes(data)
    error = refusal(tmp_path / "package.tar", staging)
    assert error.code == "package_unknown_format"
    assert word in error.message


def test_pipe_and_device_are_no_packages_and_do_not_block(tmp_path: Path, staging: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe", staging).code == "package_unknown_format"
    assert refusal(Path(os.devnull), staging).code == "package_unknown_format"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_forbidden(tmp_path: Path, staging: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(tar_of(HOME))
    path.chmod(0)
    assert refusal(path, staging).code == "package_unreadable"
    root = fill(tmp_path / "home", HOME)
    (root / "sessions").chmod(0)
    assert refusal(root, staging).code == "package_unreadable"
    (root / "sessions").chmod(0o755)
    (root / ROLLOUT).chmod(0)
    with open_tree(root, staging=staging) as tree, pytest.raises(PackageError) as caught:
        tree.open(ROLLOUT)
    assert caught.value.code == "package_unreadable"


@pytest.mark.parametrize("what", ["a", "home", f"home/{ROLLOUT}"])
def test_refused_by_the_system(
    what: str, tmp_path: Path, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "home", HOME)
    (tmp_path / "a").write_bytes(tar_of(HOME))
    really = os.open

    def refuse(path: Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == tmp_path / what:
            raise PermissionError(13, "Permission denied")
        return really(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(PackageError) as caught:
        read(tmp_path / what.partition("/")[0], staging)
    assert caught.value.code == "package_unreadable"
    assert "Permission denied" in caught.value.message


def test_read_bytes_is_bounded(tmp_path: Path, staging: Path) -> None:
    root = fill(tmp_path / "home", HOME)
    with open_tree(root, staging=staging) as tree:
        assert tree.read_bytes("session_index.jsonl", 3) == b"{}\n"
        with pytest.raises(PackageError) as caught:
            tree.read_bytes("session_index.jsonl", 2)
    assert caught.value.code == "package_unsafe"


def test_a_gzip_written_by_the_standard_library_streams(tmp_path: Path, staging: Path) -> None:
    with gzip.open(tmp_path / "a", "wb") as out:
        out.write(tar_of(HOME))
    assert read(tmp_path / "a", staging) == HOME


# Limits as the user writes them


def test_limits_of_the_command_line() -> None:
    assert parse_limits([]) == Limits()
    texts = ["files=1", "files=1000", "total_bytes=2T", "file_bytes=3G", "ratio_from=4M"]
    changed = Limits(files=1000, total_bytes=2 << 40, file_bytes=3 << 30, ratio_from=4 << 20)
    assert parse_limits(texts) == changed
    assert parse_limits(["name_bytes=5K"]) == Limits(name_bytes=5 << 10)


@pytest.mark.parametrize("number", ["", "=", "=0", "=-1", "=1K", "=1.5", "= 1", f"={10**20}"])
def test_numbers_that_are_no_limits(number: str) -> None:
    refuse_limit(f"files{number}")


@pytest.mark.parametrize("text", ["", "sizes=1", "\x1b=1", "total_bytes=1k", "total_bytes=1GB"])
def test_texts_that_name_no_limit_or_no_size(text: str) -> None:
    refuse_limit(text)


def refuse_limit(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_limits(["files=1000", text])
    assert caught.value.code == "limit_invalid"
    assert caught.value.message.isprintable()
    assert caught.value.hint
