"""What git tells of repositories of every shape, and which sessions are a commit's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from checkpointing import PATH, Place, commit, git, new_repo
from codex_session_sync.checkpoints.listing import Held, Link, Listed
from codex_session_sync.checkpoints.relating import Relating
from codex_session_sync.checkpoints.repository import find_repository, plain_url
from codex_session_sync.errors import HomeError, SyncError, UsageError


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = Place(tmp_path)
    new_repo(found.repo)
    return found


def code_of(act: Callable[[], object], kind: type[SyncError] = UsageError) -> str:
    with pytest.raises(kind) as caught:
        act()
    assert caught.value.hint
    return caught.value.code


def listed(session: str, cwd: str | None = None, begun: str | None = None) -> Listed:
    slices = (Held("rollout-x", 1, "0" * 64),)
    return Listed(
        session, False, 1, None, "0" * 64, slices, (Link("0" * 64),), cwd=cwd, commit=begun
    )


def test_a_commit_is_told_as_it_is(place: Place) -> None:
    git(place.repo, "config", "i18n.commitEncoding", "ISO-8859-1")
    message = "Größer \"und\" schöner\n\nMit 'Rosen'."
    sha = git(place.repo, "commit", "-q", "--allow-empty", "-F", "-", check=False) or ""
    (place.root / "message").write_bytes(message.encode("latin-1"))
    git(place.repo, "commit", "-q", "--allow-empty", "-F", str(place.root / "message"))
    sha = git(place.repo, "rev-parse", "HEAD")
    found = place.repository().commit()
    assert (found.sha, found.branch, found.message) == (sha, "main", message)
    assert found.at.startswith("20")
    for told in (sha[:8], "main", "HEAD", "@{0}"):
        assert place.repository().commit(told).sha == sha


@pytest.mark.parametrize("told", ["nothing", "--all", "-1", "0" * 40, "HEAD~1", ""])
def test_what_is_no_commit(place: Place, told: str) -> None:
    commit(place.repo)
    assert code_of(lambda: place.repository().commit(told)) == "commit_unknown"


def test_a_repository_without_a_commit(place: Place) -> None:
    assert code_of(lambda: place.repository().commit()) == "repository_empty"


def test_no_repository(place: Place) -> None:
    (place.root / "none").mkdir()
    for folder in (place.root / "none", place.root / "gone"):
        assert code_of(lambda: place.repository(folder)) == "repository_missing"  # noqa: B023
    assert code_of(lambda: find_repository(place.repo, {"PATH": "/nowhere"}), HomeError) == (
        "git_missing"
    )


def test_a_detached_head_has_no_branch(place: Place) -> None:
    first, _ = commit(place.repo), commit(place.repo)
    git(place.repo, "checkout", "-q", "--detach", first)
    found = place.repository().commit()
    assert (found.sha, found.branch) == (first, None)


def test_an_older_commit_is_on_the_branch_and_that_of_another_is_not(place: Place) -> None:
    first = commit(place.repo)
    git(place.repo, "checkout", "-q", "-b", "other")
    other = commit(place.repo, "Other")
    git(place.repo, "checkout", "-q", "main")
    commit(place.repo)
    assert place.repository().commit(first).branch == "main"
    assert place.repository().commit(other).branch is None


# -- which repository it is -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "urls",
    [
        (
            "https://github.com/alice/garden.git",
            "git@github.com:alice/garden",
            "ssh://git@GitHub.com:22/alice/garden.git",
            "https://alice:secret@github.com/alice/garden",
        ),
        ("../remote.git", "REMOTE", "file://REMOTE"),
    ],
)
def test_clones_of_one_remote_are_one_repository(place: Place, urls: tuple[str, ...]) -> None:
    keys = set()
    for number, url in enumerate(urls):
        repo = new_repo(place.root / f"clone{number}")
        url = url.replace("REMOTE", str(place.root / "remote.git"))  # noqa: PLW2901
        git(repo, "remote", "add", "upstream", "https://elsewhere.example/x")
        git(repo, "remote", "add", "origin", url)
        found = place.repository(repo)
        keys.add((found.id, found.name))
        assert "secret" not in f"{found.remote} {found.key}"
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("https://token@host.example/a", "https://host.example/a"),
        ("https://a:b@host.example/a", "https://host.example/a"),
        ("ssh://git:pw@host.example/a", "ssh://git@host.example/a"),
        ("ssh://git@host.example/a", "ssh://git@host.example/a"),
        ("git@host.example:a/b", "git@host.example:a/b"),
        ("/srv/a@b", "/srv/a@b"),
    ],
)
def test_a_url_is_kept_without_its_secrets(url: str, plain: str) -> None:
    assert plain_url(url) == plain


def test_without_a_remote_its_first_commits_tell_it(place: Place) -> None:
    commit(place.repo, "First of one")
    git(place.root, "clone", "-q", str(place.repo), "copy")
    git(place.root / "copy", "remote", "remove", "origin")
    other = new_repo(place.root / "other")
    commit(other, "First of another")
    ids = [place.repository(place.root / name).id for name in ("repo", "copy", "other")]
    assert ids[0] == ids[1] != ids[2]
    assert place.repository().name == "repo"


def test_a_bare_repository_and_one_that_has_it_as_its_remote(place: Place) -> None:
    commit(place.repo)
    bare = place.root / "remote.git"
    git(place.root, "clone", "-q", "--bare", str(place.repo), str(bare))
    git(bare, "remote", "remove", "origin")
    found = place.repository(bare)
    assert (found.top, found.worktrees, found.name) == (None, (), "remote")
    assert found.commit().sha == git(place.repo, "rev-parse", "HEAD")
    git(place.repo, "remote", "add", "origin", str(bare))
    assert place.repository().key == f"path:{place.root.resolve() / 'remote'}"


def test_worktrees_share_a_repository_and_submodules_do_not(place: Place) -> None:
    commit(place.repo)
    tree, inner = place.root / "tree", new_repo(place.root / "inner")
    commit(inner, "Inner")
    git(place.repo, "worktree", "add", "-q", str(tree), "-b", "side")
    git(place.repo, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "sub")
    one, other = place.repository(), place.repository(tree)
    assert one.id == other.id
    assert set(one.worktrees) == set(other.worktrees) == {str(place.repo), str(tree)}
    assert (one.top, other.top) == (str(place.repo), str(tree))
    assert other.commit().branch == "side"
    sub = place.repository(place.repo / "sub")
    assert sub.top == str(place.repo / "sub")
    assert sub.id != one.id
    assert sub.hooks() == place.repo / ".git" / "modules" / "sub" / "hooks"
    assert one.hooks() == other.hooks() == place.repo / ".git" / "hooks"


def test_a_repository_told_by_variables_of_git_is_not_taken_for_it(place: Place) -> None:
    sha = commit(place.repo)
    other = new_repo(place.root / "other")
    commit(other, "Other")
    environ = {"PATH": PATH, "GIT_DIR": str(other / ".git"), "GIT_WORK_TREE": str(other)}
    assert find_repository(place.repo, environ).commit().sha == sha


# -- which sessions are its own -------------------------------------------------------------------


def test_sessions_are_related_by_their_directory_or_their_commit(place: Place) -> None:
    first = commit(place.repo)
    git(place.repo, "checkout", "-q", "-b", "side")
    aside = commit(place.repo, "Aside")
    git(place.repo, "checkout", "-q", "main")
    sha = commit(place.repo)
    tree, nested = place.root / "tree", new_repo(place.repo / "nested")
    git(place.repo, "worktree", "add", "-q", str(tree), "side")
    (place.root / "repository").mkdir()
    (place.root / "link").symlink_to(place.repo)
    directories = {
        "top": (str(place.repo), "worktree"),
        "gone": (str(place.repo / "src" / "gone"), "worktree"),
        "link": (str(place.root / "link"), "worktree"),
        "tree": (str(tree), "repository"),
        "nested": (str(nested), "repository"),
        "alike": (str(place.root / "repository"), None),
        "foreign": ("C:\\Users\\alice", None),
        "none": (None, None),
    }
    commits = {
        "begun": (first, "commit"),
        "now": (sha, "commit"),
        "aside": (aside, None),
        "unknown": ("0" * 40, None),
    }
    sessions = {name: listed(name, cwd) for name, (cwd, _) in directories.items()}
    sessions |= {name: listed(name, "/elsewhere", begun) for name, (begun, _) in commits.items()}
    wanted = {name: relation for name, (_, relation) in {**directories, **commits}.items()}
    found = Relating(place.repository(), sha).relations(sessions)
    assert {name: found.get(name) for name in sessions} == wanted
    of_tree = Relating(place.repository(tree), aside).relations(sessions)
    assert (of_tree["tree"], of_tree["top"], of_tree["aside"]) == (
        "worktree",
        "repository",
        "commit",
    )


def test_the_commits_before_one_nearest_first(place: Place) -> None:
    shas = [commit(place.repo, f"{number}") for number in range(5)]
    found = place.repository()
    assert found.before(shas[4], {shas[0], shas[3], "0" * 40}) == ((shas[3], 1), (shas[0], 4))
    assert found.before(shas[0], set(shas)) == ()
    assert found.between(f"{shas[1]}..{shas[3]}") == (shas[3], shas[2])
    assert code_of(lambda: found.between("nothing..HEAD")) == "commit_unknown"
    assert found.known([shas[0], "0" * 40, "x"]) == {shas[0]}
    assert found.leading_to(shas[2], shas) == set(shas[:3])
