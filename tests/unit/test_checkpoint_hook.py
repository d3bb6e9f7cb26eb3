"""The post-commit hook: what is in it stays, and no commit waits for it or fails with it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from checkpointing import PATH, Place, commit, git, new_repo
from codex_session_sync.checkpoints import hook
from codex_session_sync.errors import UsageError
from workbench import environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="scripts of a shell")

STAND_IN = """#!/bin/sh
{ echo "$@"; env | grep '^GIT_'; echo "cwd $(pwd)"; } > "$0.called"
sleep 0.1
echo told; exec sleep %s
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = Place(tmp_path)
    new_repo(found.repo)
    return found


def stand_in(place: Place, seconds: int = 0) -> hook.Program:
    """A program that notes how it was called."""
    path = place.root / "it's a program"
    path.write_text(STAND_IN % seconds)
    path.chmod(0o755)
    return hook.Program(("/bin/sh", str(path)), {"PLACE": "a b"})


def wanted(place: Place, seconds: int = 0, *more: str) -> str:
    logs = place.root / "the logs"
    logs.mkdir(exist_ok=True)
    return hook.block(stand_in(place, seconds), ["checkpoint", "capture", *more], logs)


def called(place: Place) -> str:
    path = place.root / "it's a program.called"
    for _ in range(100):
        if path.exists() and "cwd" in path.read_text():
            return path.read_text()
        time.sleep(0.05)
    pytest.fail("it was not called")


def post_commit(place: Place) -> Path:
    return place.repo / ".git" / "hooks" / "post-commit"


def test_a_commit_calls_the_program_in_the_background(place: Place) -> None:
    done = hook.install(place.repository(), wanted(place, 5))
    assert (done.result, done.kept) == ("installed", False)
    before = time.monotonic()
    sha = commit(place.repo)
    assert time.monotonic() - before < 4
    told = called(place)
    assert told.splitlines()[0] == f"checkpoint capture --repo {place.repo} --commit {sha}"
    assert "GIT_" not in told
    log = (place.root / "the logs" / "checkpoint.log").read_text()
    assert f"{place.repo} {sha}\n" in log


@pytest.mark.parametrize(
    "first", ["#!/bin/sh", "#!/bin/bash -e", "#! /usr/bin/env sh", "#!/usr/bin/env -S bash -eu"]
)
@pytest.mark.parametrize(
    "rest", ["\nexit 0\n", "\necho mine > mine.txt\nexec true", "", "\n\xe9\n"]
)
def test_what_else_is_in_the_hook_stays(place: Place, first: str, rest: str) -> None:
    if rest.endswith("\xe9\n"):
        rest = rest.replace("\xe9", "# \udce9")
    data = (first + rest).encode("utf-8", "surrogateescape")
    path = post_commit(place)
    path.write_bytes(data)
    path.chmod(0o750)
    assert hook.install(place.repository(), wanted(place)).result == "installed"
    again = hook.install(place.repository(), wanted(place))
    assert (again.result, again.kept) == ("unchanged", data not in (b"#!/bin/sh", b"#!/bin/sh\n"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    commit(place.repo)
    called(place)
    assert (place.repo / "mine.txt").exists() == ("mine" in rest)
    assert hook.install(place.repository(), wanted(place, 0, "--wait", "9")).result == "updated"
    assert hook.remove(place.repository()).result == "removed"
    left = path.read_bytes() if path.exists() else b"#!/bin/sh\n"
    assert left == (data if b"\n" in data else data + b"\n")
    assert hook.remove(place.repository()).result == "unchanged"


@pytest.mark.parametrize(
    "content",
    [
        b"#!/usr/bin/env python3\nprint()\n",
        b"\x7fELF\x00\x01",
        b"echo no first line\n",
        b"#!/bin/sh\r\necho\r\n",
        b"",
        b"#!\n",
        f"#!/bin/sh\n{hook.BEGIN}\nhalf\n".encode(),
        f"#!/bin/sh\n{hook.END}\n{hook.BEGIN}\n".encode(),
        f"#!/bin/sh\n{hook.BEGIN}\n{hook.END}\n{hook.BEGIN}\n{hook.END}\n".encode(),
    ],
)
def test_a_hook_that_is_not_understood_is_left_alone(place: Place, content: bytes) -> None:
    path = post_commit(place)
    path.write_bytes(content)
    path.chmod(0o755)
    with pytest.raises(UsageError) as caught:
        hook.install(place.repository(), wanted(place))
    assert caught.value.code == "hook_foreign"
    assert path.read_bytes() == content


def test_a_hook_that_is_a_link_or_does_not_run_is_left_alone(place: Place) -> None:
    path, other = post_commit(place), place.root / "other"
    other.write_text("#!/bin/sh\n")
    path.symlink_to(other)
    for _ in range(2):
        with pytest.raises(UsageError) as caught:
            hook.install(place.repository(), wanted(place))
        assert caught.value.code == "hook_foreign"
        path.unlink()
        path.write_text("#!/bin/sh\necho disabled\n")
        path.chmod(0o644)
    assert other.read_text() == "#!/bin/sh\n"


def test_nothing_is_left_of_a_hook_of_our_own(place: Place) -> None:
    before = sorted(path.name for path in post_commit(place).parent.iterdir())
    hook.install(place.repository(), wanted(place))
    assert os.access(post_commit(place), os.X_OK)
    hook.remove(place.repository())
    assert sorted(path.name for path in post_commit(place).parent.iterdir()) == before


def test_hooks_lie_where_git_says(place: Place) -> None:
    commit(place.repo)
    tree = place.root / "tree"
    git(place.repo, "worktree", "add", "-q", str(tree))
    hook.install(place.repository(tree), wanted(place))
    assert post_commit(place).exists()
    sha = commit(tree, "In the tree")
    assert f"--repo {tree} --commit {sha}" in called(place)
    (place.root / "it's a program.called").unlink()
    assert not place.repository().hooks_are_shared()
    git(place.repo, "config", "core.hooksPath", "my hooks")
    assert place.repository().hooks_are_shared()
    done = hook.install(place.repository(), wanted(place))
    assert done.path == place.repo / "my hooks" / "post-commit"
    sha = commit(place.repo, "By a hook elsewhere")
    assert f"--repo {place.repo} --commit {sha}" in called(place)


def test_a_program_that_is_gone_is_nobodys_trouble(place: Place) -> None:
    hook.install(place.repository(), wanted(place))
    (place.root / "it's a program").unlink()
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    done = subprocess.run(
        ["git", "-C", place.repo, *who, "commit", "-q", "--allow-empty", "-m", "message"],
        env={"PATH": PATH, "HOME": str(place.root)},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert list((place.root / "the logs").iterdir()) == []


def test_who_is_to_live_on_when_the_terminal_goes_does(place: Place) -> None:
    """The hook has the program ignore that signal; the program leaves it so."""
    script = """
import signal, sys
from codex_session_sync.cli.main import main
signal.signal(signal.SIGHUP, signal.SIG_IGN)
sys.argv = ["codex-session-sync", "--version"]
main()
assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
assert signal.getsignal(signal.SIGTERM) not in (signal.SIG_IGN, signal.SIG_DFL)
"""
    command = [sys.executable, "-c", script]
    subprocess.run(command, env=environment(place.root), check=True, capture_output=True)


def test_the_log_is_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook, "LOG_BYTES", 100)
    hook.install(place.repository(), wanted(place))
    logs = place.root / "the logs"
    (logs / "checkpoint.log").write_text("x" * 200)
    sha = commit(place.repo)
    called(place)
    assert (logs / "checkpoint.log.1").read_text() == "x" * 200
    assert (logs / "checkpoint.log").read_text().splitlines()[0].endswith(sha)
