"""Which directories a package may not make writable by naming them."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from codex_session_sync.roots import Roots, local_roots

USER = PurePath("/home/alice")
ROOTS = Roots(USER, USER / ".codex")


@pytest.mark.parametrize(
    "cwd",
    [
        "/",
        "//",
        "/home/..",
        "/home",
        "/home/alice",
        "/home/alice/",
        "/home/alice/work/..",
        "/home/alice/.ssh",
        "/home/alice/.config/autostart",
        "/home/alice/.codex",
        "/home/alice/.codex/skills/x",
        "/etc",
        "/etc/cron.d",
        "/proc/1",
        "/dev/../etc",
        "/dev",
        "/dev/shm",
        "/dev/shm/..",
        "/dev/shm/../sda",
        "/dev/shmx",
        "~",
        "~/.ssh",
        "~/work/..",
        "..",
        ".",
        "",
        "C:/../..",
    ],
)
def test_too_wide(cwd: str) -> None:
    assert ROOTS.too_wide(cwd)


@pytest.mark.parametrize(
    "cwd",
    [
        "/home/alice/garden",
        "/home/alice/garden/.git",
        "/home/alicia",
        "/home/bob/.ssh",
        "/srv/garden",
        "/dev/shm/garden",
        "/usr/src/app",
        "/home/alice/.codex/worktrees/3/garden",
        "C:\\garden",
        None,
        7,
    ],
)
def test_not_too_wide(cwd: object) -> None:
    assert not ROOTS.too_wide(cwd)


def test_what_is_not_known_guards_nothing() -> None:
    assert Roots().too_wide("/")
    assert not Roots().too_wide("/home/alice/.ssh")


def test_a_home_elsewhere() -> None:
    roots = Roots(USER, PurePath("/srv/codex"))
    assert roots.too_wide("/srv")
    assert roots.too_wide("/srv/codex/skills")
    assert not roots.too_wide("/srv/codex/worktrees/x")
    assert not roots.too_wide("/srv/garden")


def test_links_are_seen_through(tmp_path: Path) -> None:
    (tmp_path / "user" / "work").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "user")
    roots = Roots(tmp_path / "user", None)
    assert roots.too_wide(str(tmp_path / "link"))
    assert not roots.too_wide(str(tmp_path / "link" / "work"))


def test_this_machine_may_trust_any_directory() -> None:
    roots = Roots(USER, None, frozenset([PurePath("/"), USER / ".dotfiles"]))
    assert not roots.too_wide("/")
    assert not roots.too_wide("/home/alice/.dotfiles")
    assert roots.too_wide("/home/alice")
    assert roots.too_wide("/home/alice/.dotfiles/deeper")


def test_local_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    config = {"projects": {"/p": {"trust_level": "trusted"}, "/q": {"trust_level": "untrusted"}}}
    found = local_roots(tmp_path / "codex", config)
    expected = Roots(tmp_path / "user", tmp_path / "codex", frozenset([PurePath("/p")]))
    assert found == expected
