"""Every kind of container yields the same tree."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import struct
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
import zstandard

from archives import (
    BLOCK,
    DATA,
    ROLLOUT,
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
from codex_session_sync.package.container import open_tree
from unit.containers import HOME, PACKERS, contents, make_staging, read

staging = pytest.fixture(make_staging)

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


def test_a_gzip_written_by_the_standard_library_streams(tmp_path: Path, staging: Path) -> None:
    with gzip.open(tmp_path / "a", "wb") as out:
        out.write(tar_of(HOME))
    assert read(tmp_path / "a", staging) == HOME
