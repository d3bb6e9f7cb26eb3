"""What of a container is wanted, what of a living home is passed over, what is staged."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tarfile
from pathlib import Path

import pytest

from archives import DATA, ROLLOUT, STEM, fill, tar_of
from codex_session_sync.package.container import is_wanted, open_tree
from unit.containers import HOME, PACKERS, make_staging, read, refusal

staging = pytest.fixture(make_staging)


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
