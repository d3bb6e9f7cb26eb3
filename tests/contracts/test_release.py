"""A release holds all that the program needs, and is the same whenever it is made."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import make_release
from workbench import environment


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a release."""
    folder = tmp_path_factory.mktemp("release")
    make_release.make_skill(folder)
    make_release.make_wheel(folder)
    return folder


def run(folder: Path, place: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """The program as it lies in ``place``, with the libraries of these tests."""
    variables = {**environment(folder), "PYTHONPATH": str(place), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "codex_session_sync", *arguments]
    return subprocess.run(command, env=variables, cwd=folder, capture_output=True, check=False)


def test_the_wheel_works_by_itself(made: Path, tmp_path: Path) -> None:
    [wheel] = made.glob("*.whl")
    assert wheel.name == f"codex_session_sync-{make_release.version()}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    done = run(tmp_path, tmp_path / "site", "demo")
    assert done.returncode == 0, done.stderr
    done = run(tmp_path, tmp_path / "site", "--version")
    assert make_release.version() in done.stdout.decode()


def test_the_skill_is_a_folder_that_works(made: Path, tmp_path: Path) -> None:
    [skill] = made.glob("*-skill.zip")
    with zipfile.ZipFile(skill) as archive:
        names = archive.namelist()
        modes = {m.filename: m.external_attr >> 16 for m in archive.infolist()}
        archive.extractall(tmp_path)
    folder = tmp_path / "codex-session-sync"
    assert {name.split("/")[0] for name in names} == {folder.name}
    assert not [name for name in names if "/tests/" in name or "/." in name]
    assert modes["codex-session-sync/scripts/codex-session-sync"] == 0o100755
    assert {path.name for path in folder.iterdir()} == set(make_release.SKILL)
    done = run(tmp_path, folder / "scripts", "demo", "--json")
    assert done.returncode == 0, done.stderr


def test_the_same_again(made: Path, tmp_path: Path) -> None:
    assert {path.name: path.read_bytes() for path in made.iterdir()} == {
        path.name: path.read_bytes()
        for path in (make_release.make_skill(tmp_path), make_release.make_wheel(tmp_path))
    }
