"""What is proposed for directories that are missing here, and on what evidence."""

from __future__ import annotations

import subprocess
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builders import Record, Session, write_snapshot
from codex_session_sync.places import evidence
from codex_session_sync.places.directories import Directory
from codex_session_sync.places.evidence import Known, Proposer
from codex_session_sync.places.git import Git, repository_key
from workbench import call, insert, make_database

URL = "git@example.org:gardens/beans.git"
IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")


def git(folder: Path, *arguments: str) -> str:
    """Run git; what it prints."""
    done = subprocess.run(
        ["git", "-C", folder, *IDENTITY, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def repository(folder: Path, url: str = URL) -> str:
    """Make a repository with one commit; the commit."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q")
    git(folder, "remote", "add", "origin", url)
    git(folder, "commit", "-q", "--allow-empty", "-m", str(folder))
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "user"
    path.mkdir()
    monkeypatch.setenv("HOME", str(path))
    monkeypatch.setenv("USERPROFILE", str(path))
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")
    return path


class Machines:
    """A home with sessions in some directories, and a package."""

    def __init__(self, root: Path) -> None:
        self.home, self.package = root / "home", root / "package"
        for path in (self.home, self.package):
            path.mkdir(parents=True)
            make_database(path, journal_mode="delete")
        (self.package / "installation_id").write_text(str(uuid.UUID(int=9)))
        self._number = 0

    def add(self, where: Path, cwd: str | Path, **columns: Any) -> Session:
        """A session in a directory, its row with these columns."""
        import sqlite3
        from contextlib import closing

        self._number += 1
        session = Session(self._number, cwd=str(cwd), start=self._number).say(str(self._number))
        write_snapshot(where, [session])
        with closing(sqlite3.connect(where / "state_5.sqlite")) as connection, connection:
            insert(connection, "threads", {**session.row(str(where)), **columns})
        return session

    def directories(self, *options: str) -> dict[str, Record]:
        """What inspecting the package says of directories, by path."""
        command = ("inspect-package", self.package, "--codex-home", self.home, "--json")
        found = call(*command, *options).envelope["data"]["directories"]
        return {one["path"]: one for one in found}

    def proposed(self, *options: str) -> dict[str, list[tuple[str, list[str]]]]:
        """The proposals alone."""
        return {
            path: [(p["map"], p["evidence"]) for p in one["proposals"]]
            for path, one in self.directories(*options).items()
        }


@pytest.fixture
def machines(tmp_path: Path, user: Path) -> Machines:
    return Machines(tmp_path / "machines")


def test_the_same_place_below_the_home(machines: Machines, user: Path) -> None:
    (user / "src" / "beans").mkdir(parents=True)
    paths = ("/home/alice/src/beans", "/Users/alice/src/beans", "C:\\Users\\alice\\src\\beans")
    for path in (*paths, "/root/src/beans", "/srv/alice/src/beans", "/home/alice/src/roses"):
        machines.add(machines.package, path)
    found = machines.proposed()
    for path in (*paths, "/root/src/beans"):
        # The rule is the shorter one that two of them share, or the whole.
        [(rule, kinds)] = found[path]
        assert kinds == ["same_place"]
        assert rule.endswith((f"={user}", f"={user}/src/beans", f"={user.parent}"))
    assert found["/srv/alice/src/beans"] == found["/home/alice/src/roses"] == []


def test_the_same_name_as_one_of_a_local_session(machines: Machines, tmp_path: Path) -> None:
    here, gone = tmp_path / "work" / "Beans", tmp_path / "gone" / "beans"
    here.mkdir(parents=True)
    machines.add(machines.home, here)
    machines.add(machines.home, gone)
    machines.add(machines.package, "/data/beans")
    machines.add(machines.package, "/data/beans")
    [only] = machines.directories().values()
    assert only == {
        "path": "/data/beans",
        "sessions": 2,
        "local": "/data/beans",
        "exists": False,
        "proposals": [{"map": f"/data/beans={here}", "evidence": ["same_name"]}],
    }


def test_without_a_database_the_heads_tell(machines: Machines, tmp_path: Path) -> None:
    (tmp_path / "beans").mkdir()
    machines.add(machines.home, tmp_path / "beans")
    (machines.home / "state_5.sqlite").unlink()
    machines.add(machines.package, "/data/beans")
    assert machines.proposed()["/data/beans"] == [(f"/data/beans={tmp_path}/beans", ["same_name"])]


def test_the_same_repository_and_commit(machines: Machines, user: Path, tmp_path: Path) -> None:
    commit = repository(tmp_path / "clone" / "beans")
    (tmp_path / "clone" / "beans" / "docs").mkdir()
    other = repository(user / "src" / "beans", "https://example.org/other.git")
    assert commit != other
    machines.add(machines.home, tmp_path / "clone" / "beans", git_origin_url=URL)
    url = "https://token@example.org/gardens/beans"
    columns = {"git_origin_url": url, "git_sha": commit}
    machines.add(machines.package, "/home/alice/src/beans", **columns)
    machines.add(machines.package, "/home/alice/x/beans/docs", **columns)
    machines.add(machines.package, "/home/alice/y", git_origin_url=url, git_sha="0" * 40)
    found = machines.proposed()
    clone = tmp_path / "clone" / "beans"
    assert found["/home/alice/src/beans"] == [
        (f"/home/alice/src/beans={clone}", ["same_git_commit", "same_git_remote", "same_name"]),
        (f"/home/alice/src/beans={user}/src/beans", ["same_place"]),
    ]
    [(rule, kinds)] = found["/home/alice/x/beans/docs"]
    assert rule == f"/home/alice/x={tmp_path}/clone" or rule.endswith(f"={clone}/docs")
    assert kinds == ["same_git_commit", "same_git_remote"]
    assert found["/home/alice/y"] == [(f"/home/alice/y={clone}", ["same_git_remote"])]


def test_what_several_have_in_common_is_proposed_once(machines: Machines, user: Path) -> None:
    for name in ("src/beans", "src/roses", "notes"):
        (user / name).mkdir(parents=True)
        machines.add(machines.package, f"/Users/alice/{name}")
    expected = [(f"/Users/alice={user}", ["same_place"])]
    found = machines.proposed()
    assert list(found.values()) == [expected] * 3
    # With the rule applied nothing is missing any more, and nothing is proposed.
    after = machines.directories("--map-path", expected[0][0])
    assert [one["local"] for one in after.values()] == [
        f"{user}/src/beans",
        f"{user}/src/roses",
        f"{user}/notes",
    ]
    assert all(one["exists"] and not one["proposals"] for one in after.values())


def test_nothing_is_proposed_for_what_stays(machines: Machines, user: Path) -> None:
    """A session that is here already needs no directory."""
    (user / "beans").mkdir()
    session = machines.add(machines.package, "/home/alice/beans")
    write_snapshot(machines.home, [session])
    assert machines.proposed() == {"/home/alice/beans": []}


def test_text_shows_what_is_missing_alone(machines: Machines, user: Path) -> None:
    (user / "a b").mkdir()
    machines.add(machines.package, "/Users/alice/a b")
    command = ("inspect-package", machines.package, "--codex-home", machines.home)
    shown = " ".join(call(*command).out.decode().replace("\n", "").split())
    assert f"--map-path '/Users/alice/a b={user}/a b'" in shown
    assert "same place" in shown
    (user / "a b").rmdir()
    assert "--map-path" not in call(*command).out.decode()


def test_git_is_asked_without_running_anything(tmp_path: Path, user: Path) -> None:
    folder = tmp_path / "evil"
    commit = repository(folder)
    mark = tmp_path / "ran"
    hook = folder / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
    hook.chmod(0o755)
    for key in ("core.fsmonitor", "core.sshCommand", "core.pager", "core.editor"):
        git(folder, "config", key, str(hook))
    git(folder, "config", "remote.origin.promisor", "true")
    git(folder, "config", "extensions.partialClone", "origin")
    git(folder, "config", "core.repositoryFormatVersion", "1")
    mark.unlink(missing_ok=True)
    asked = Git({"PATH": "/usr/bin:/bin", "HOME": str(user), "GIT_DIR": "/nowhere"})
    assert asked.remotes(str(folder)) == {repository_key(URL)}
    assert asked.has_commit(str(folder), commit)
    assert not asked.has_commit(str(folder), "0" * 40)
    assert not asked.has_commit(str(folder), "--help")
    assert asked.top(str(folder)) == str(folder)
    assert not mark.exists()
    none = Git({"PATH": str(tmp_path)})
    assert (none.remotes(str(folder)), none.top(str(folder))) == (frozenset(), None)


@pytest.mark.parametrize(
    "url",
    [
        "git@example.org:gardens/beans.git",
        "ssh://git@Example.org:22/gardens/beans.git",
        "https://example.org/gardens/beans",
        "https://user:word@example.org/gardens/beans.git/",
    ],
)
def test_one_repository_has_many_urls(url: str) -> None:
    assert repository_key(url) == "example.org/gardens/beans"


def test_other_repositories_are_others() -> None:
    urls = ("https://example.org/a", "https://example.com/a", "/srv/a", "example.org:b")
    assert len({repository_key(url) for url in urls}) == len(urls)


@pytest.mark.parametrize(
    ("path", "there", "rule"),
    [
        ("C:\\src\\beans", "/mnt/c/src/beans", "C:\\src\\beans=/mnt/c/src/beans"),
        ("/mnt/d/src/beans", "D:\\src\\beans", "/mnt/d/src/beans=D:\\src\\beans"),
        ("/mnt/c/Users/alice/beans", "/u/beans", "/mnt/c/Users/alice/beans=/u/beans"),
    ],
)
def test_drives_as_wsl_mounts_them(
    path: str, there: str, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "is_here", lambda text: text == there)
    proposer = Proposer("/u", [Known("/x/other")], Git({}))
    missing = Directory(path, 1, path, exists=False, needed=True)
    [found] = proposer.propose([missing])[path]
    assert (f"{found.source}={found.target}", found.evidence) == (rule, ("same_place",))


@pytest.mark.parametrize("path", ["/", "C:\\", "relative", "/mnt", "/home", "/root", "\\\\n\\s"])
def test_paths_of_which_nothing_can_be_said(path: str, user: Path) -> None:
    missing = replace(Directory(path, 1, path, exists=False, needed=True), sessions=2)
    assert Proposer(str(user), [], Git({})).propose([missing]) == {path: []}
