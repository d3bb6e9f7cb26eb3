"""Containers that cannot be opened, and limits as the user writes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from archives import DATA, ROLLOUT, fill, gz, tar_of, zst
from codex_session_sync.errors import ExitCode, PackageError, UsageError
from codex_session_sync.package.container import Limits, open_tree, parse_limits
from unit.containers import HOME, PACKERS, make_staging, read, refusal, zip_of

staging = pytest.fixture(make_staging)


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
