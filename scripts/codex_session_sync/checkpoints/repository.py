"""A repository as checkpoints know it: what it is, its commits, and which of them lead to which."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..durable import plain_name
from ..errors import HomeError, UsageError
from ..places.git import Answer, Git, repository_key

SECONDS = 60.0
"""The longest that one question to git may take; some go through the whole history."""

FAR = 20_000
"""Among how many commits one is looked for that has a checkpoint."""

MESSAGE = 4000
"""How much of a commit's message is kept."""

_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_CREDENTIALS = re.compile(r"(?i)(?<=://)[^/@]*@")
_SSH = re.compile(r"(?i)((?:git\+)?ssh://[^/:@]*)(?::[^/@]*)?(?=@)")
_LOCAL = ("/", "./", "../", "~")


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit; ``at`` is the author's time in ISO 8601, ``branch`` the one it is on, if any."""

    sha: str
    at: str
    message: str
    branch: str | None


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository that is here.

    ``key`` tells it on every machine: its remote, else its first commits. ``top`` is the working
    tree that was asked from, None in a bare one; ``worktrees`` are all of them.
    """

    git: Git
    folder: str
    key: str
    name: str
    remote: str | None
    top: str | None
    worktrees: tuple[str, ...]

    @property
    def id(self) -> str:
        """What the key comes to, in hex."""
        return hashlib.sha256(self.key.encode()).hexdigest()[:16]

    def commit(self, told: str = "HEAD") -> Commit:
        """The commit that a name, a SHA or the beginning of one stands for.

        Raises UsageError: ``commit_unknown``, ``repository_empty``.
        """
        sha = self.sha(told)
        if sha is None:
            raise self.no_commit(told)
        log = ("log", "-1", "--no-show-signature", "--format=%aI%n%B", sha)
        text = _required(self._run("-c", "i18n.logOutputEncoding=UTF-8", *log), self.folder)
        at, _, message = text.partition("\n")
        return Commit(sha, at, message.strip()[:MESSAGE], self._branch(sha))

    def no_commit(self, told: str) -> UsageError:
        """Why a name stands for no commit: ``commit_unknown``, ``repository_empty``."""
        if told != "HEAD":
            return _unknown(told)
        return UsageError(
            "repository_empty",
            f"the repository at {self.folder} has no commit yet",
            hint="commit something; a checkpoint is of a commit",
        )

    def sha(self, told: str) -> str | None:
        """The whole SHA of a commit; None where there is no such commit."""
        if told.startswith("-"):
            return None
        found = self._run("rev-parse", "--verify", "--quiet", f"{told}^{{commit}}")
        text = found.out.strip() if found and found.code == 0 else ""
        return text if _SHA.fullmatch(text) else None

    def between(self, span: str) -> tuple[str, ...]:
        """The commits of a range ``A..B``, newest first. Raises UsageError ``commit_unknown``."""
        found = None if span.startswith("-") else self._run("rev-list", span, "--")
        if found is None or found.code != 0:
            raise _unknown(span)
        return tuple(found.out.split())

    def before(self, sha: str, wanted: Collection[str]) -> tuple[tuple[str, int], ...]:
        """Which of the wanted commits lead to one, the nearest first, and over how many others."""
        if not wanted:
            return ()
        found = self._run("rev-list", f"--max-count={FAR}", sha, "--")
        lines = found.out.split() if found and found.code == 0 else []
        return tuple((one, place) for place, one in enumerate(lines) if place and one in wanted)

    def known(self, shas: Iterable[str]) -> set[str]:
        """Which of these commits the repository has."""
        asked = list(dict.fromkeys(sha for sha in shas if _SHA.fullmatch(sha)))
        text = "".join(f"{sha}\n" for sha in asked).encode()
        found = self._run("cat-file", "--batch-check", given=text) if asked else None
        lines = found.out.splitlines() if found and found.code == 0 else []
        return {words[0] for line in lines if (words := line.split())[1:2] == ["commit"]}

    def leading_to(self, sha: str, shas: Iterable[str]) -> set[str]:
        """Which of these commits are in the history of one, that one among them."""
        here = self.known(shas)
        if not here:
            return set()
        text = "".join(f"{one}\n" for one in (*here, f"^{sha}")).encode()
        found = self._run("rev-list", "--stdin", given=text)
        if found is None or found.code != 0:
            return set()
        return here - set(found.out.split())

    def hooks(self) -> Path:
        """The folder of the hooks. Raises UsageError ``repository_missing``."""
        answer = self._run("rev-parse", "--git-path", "hooks", hooks=True)
        return Path(self.folder, _required(answer, self.folder).rstrip("\n")).absolute()

    def hooks_are_shared(self) -> bool:
        """Whether the folder of the hooks is named by a setting, and may be that of others too."""
        answer = self._run("config", "--get", "core.hooksPath", hooks=True)
        return answer is not None and answer.code == 0

    def _branch(self, sha: str) -> str | None:
        """The branch that is checked out, if the commit is on it."""
        found = self._run("symbolic-ref", "--quiet", "--short", "HEAD")
        if found is None or found.code != 0:
            return None
        on_it = self._run("merge-base", "--is-ancestor", sha, "HEAD")
        return found.out.strip() if on_it is not None and on_it.code == 0 else None

    def _run(
        self, *arguments: str, given: bytes | None = None, hooks: bool = False
    ) -> Answer | None:
        return self.git.run(self.folder, *arguments, given=given, seconds=SECONDS, hooks=hooks)


def find_repository(folder: Path, environ: Mapping[str, str]) -> Repository:
    """The repository that a folder is in. Raises UsageError ``repository_missing``, HomeError."""
    git, place = Git(environ), str(folder.absolute())
    if not git.is_installed:
        raise HomeError(
            "git_missing",
            "there is no git program on PATH",
            hint="install git, or put it on PATH",
        )
    answer = git.run(place, "rev-parse", "--is-bare-repository") if folder.is_dir() else None
    bare = _required(answer, place).strip() == "true"
    top = None if bare else git.top(place)
    remote: str | None = _remote(git, place)
    key = _key_of(remote, top or place) if remote else f"commits:{_first_commits(git, place)}"
    common = git.run(place, "rev-parse", "--git-common-dir")
    named = key if remote else _own_name(place, common)
    name = plain_name(named.rstrip("/").rsplit("/", 1)[-1].removesuffix(".git"), "repository")
    return Repository(
        git,
        place,
        key,
        name,
        remote,
        top,
        tuple(dict.fromkeys((*([top] if top else ()), *_worktrees(git, place)))),
    )


def plain_url(url: str) -> str:
    """A remote's URL without passwords and tokens."""
    if _SSH.match(url):
        return _SSH.sub(r"\1", url)
    return _CREDENTIALS.sub("", url)


def _unknown(told: str) -> UsageError:
    """``commit_unknown``: a name that stands for no commit."""
    return UsageError(
        "commit_unknown",
        f"the repository has no commit {told!r}",
        hint="name a branch, a tag, a SHA or its beginning; `git log` shows them",
    )


def _required(answer: Answer | None, folder: str) -> str:
    """What git said. Raises UsageError ``repository_missing``."""
    if answer is not None and answer.code == 0:
        return answer.out
    said = answer.err.decode(errors="replace").strip().splitlines() if answer else []
    why = said[0].removeprefix("fatal: ") if said else "git does not answer there"
    raise UsageError(
        "repository_missing",
        f"{folder} is in no repository of git that can be read: {why}",
        hint="go to the repository, or name it: `codex-session-sync AGAIN --repo DIR`",
    )


def _remote(git: Git, place: str) -> str | None:
    """The URL of the remote ``origin``, else of the first one, without secrets."""
    answer = git.run(place, "config", "-z", "--get-regexp", r"^remote\..*\.url$")
    found: dict[str, str] = {}
    for entry in answer.out.split("\0") if answer is not None and answer.code == 0 else ():
        name, _, url = entry.partition("\n")
        if url:
            found.setdefault(name, url)
    chosen = found.get("remote.origin.url") or next(iter(found.values()), None)
    return plain_url(chosen) if chosen else None


def _key_of(remote: str, base: str) -> str:
    """What every clone of a remote has in common."""
    local = remote.removeprefix("file://")
    if local != remote or local.startswith(_LOCAL):
        place = Path(base, Path(local).expanduser()).resolve()
        return f"path:{str(place).removesuffix('/.git').removesuffix('.git')}"
    return f"remote:{repository_key(remote)}"


def _first_commits(git: Git, place: str) -> str:
    """A digest of the commits that a history without a remote begins with."""
    found = git.run(place, "rev-list", "--max-parents=0", "HEAD", "--", seconds=SECONDS)
    roots: Sequence[str] = sorted(found.out.split()) if found and found.code == 0 else ()
    return hashlib.sha256("\n".join(roots).encode()).hexdigest()


def _own_name(place: str, common: Answer | None) -> str:
    """The name of the folder that a repository without a remote lies in."""
    if common is None or common.code != 0:
        return place
    folder = Path(place, common.out.rstrip("\n")).resolve()
    return str(folder.parent if folder.name == ".git" else folder)


def _worktrees(git: Git, place: str) -> tuple[str, ...]:
    answer = git.run(place, "worktree", "list", "--porcelain")
    if answer is None or answer.code != 0:
        return ()
    found: list[str] = []
    for block in answer.out.split("\n\n"):
        lines = block.splitlines()
        if lines and lines[0].startswith("worktree ") and "bare" not in lines[1:]:
            found.append(lines[0].removeprefix("worktree "))
    return tuple(found)
