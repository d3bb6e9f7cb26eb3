"""Which directory here may stand for one of a package that is missing: candidates and evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .directories import Directory, Proposal
from .git import Git, repository_key
from .paths import Path, parse
from .standing import is_here

MOST = 3
"""Proposals for one directory."""

WEIGHTS = {
    "same_git_commit": 8,
    "same_git_remote": 4,
    "same_place": 3,
    "same_name": 2,
}
"""Kinds of evidence, and how much they count."""

_HOME_FOLDERS = ("home", "users")


@dataclass(frozen=True, slots=True)
class Known:
    """A directory here that local sessions work in; ``remotes`` as these sessions tell them."""

    path: str
    remotes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Proposer:
    """Finds proposals for missing directories.

    ``user_home`` is the local user's home; ``known`` are directories of local sessions.
    """

    user_home: str
    known: Sequence[Known]
    git: Git
    _seen: dict[str, bool] = field(default_factory=dict)
    _remotes: dict[str, frozenset[str]] = field(default_factory=dict)
    _tops: dict[str, str | None] = field(default_factory=dict)

    def propose(self, missing: Sequence[Directory]) -> Mapping[str, list[Proposal]]:
        """By path the proposals, the best first.

        What several directories have in common is proposed once for all that lies below it.
        """
        found = {one.path: self._ranked(one) for one in missing}
        best = [proposals[0] for proposals in found.values() if proposals]
        pairs = Counter(_trimmed(proposal) for proposal in best)
        shared = {pair for pair, number in pairs.items() if number > 1}
        return {
            path: [_widened(proposal, shared) for proposal in proposals]
            for path, proposals in found.items()
        }

    def _ranked(self, directory: Directory) -> list[Proposal]:
        path = parse(directory.local)
        if path is None or not path.names:
            return []
        found: dict[str, set[str]] = {}
        for candidate, evidence in self._candidates(path, directory):
            if self._is_here(candidate) and candidate != directory.local:
                found.setdefault(candidate, set()).add(evidence)
        for candidate, kinds in found.items():
            kinds.update(self._by_git(candidate, directory))
        ranked = sorted(found, key=lambda i: (-sum(WEIGHTS[kind] for kind in found[i]), i))
        return [
            Proposal(
                directory.path,
                candidate,
                tuple(sorted(found[candidate], key=lambda kind: -WEIGHTS[kind])),
            )
            for candidate in ranked[:MOST]
        ]

    def _candidates(self, path: Path, directory: Directory) -> Iterator[tuple[str, str]]:
        for place in _same_places(path, self.user_home):
            yield str(place), "same_place"
        wanted = {repository_key(url) for url, _ in directory.repositories}
        for known in self.known:
            there = parse(known.path)
            if there is None:
                continue
            if there.names and there.names[-1].lower() == path.names[-1].lower():
                yield known.path, "same_name"
            if wanted & known.remotes:
                yield self._within(known.path, path), "same_git_remote"

    def _within(self, known: str, path: Path) -> str:
        """The place in a repository here that is that of ``path`` in its own."""
        top = parse(self._top(known) or "")
        if top is None or not top.names or top.names[-1] not in path.names:
            return known
        place = len(path.names) - path.names[::-1].index(top.names[-1])
        found = top.joined(path.names[place:])
        return str(found) if found is not None and self._is_here(str(found)) else known

    def _by_git(self, candidate: str, directory: Directory) -> Iterator[str]:
        if not directory.repositories:
            return
        remotes = self._remotes_of(candidate)
        for url, commit in directory.repositories:
            if repository_key(url) in remotes:
                yield "same_git_remote"
                if commit and self.git.has_commit(candidate, commit):
                    yield "same_git_commit"

    def _is_here(self, path: str) -> bool:
        if path not in self._seen:
            self._seen[path] = is_here(path)
        return self._seen[path]

    def _remotes_of(self, path: str) -> frozenset[str]:
        if path not in self._remotes:
            self._remotes[path] = self.git.remotes(path)
        return self._remotes[path]

    def _top(self, path: str) -> str | None:
        if path not in self._tops:
            self._tops[path] = self.git.top(path) if self._is_here(path) else None
        return self._tops[path]


def _same_places(path: Path, user_home: str) -> Iterator[Path]:
    """Where the same files may lie: below the user's home, or on the drive as WSL mounts it."""
    home, rest = parse(user_home), _below_home(path)
    found: list[Path | None] = []
    if home is not None and rest:
        found.append(home.joined(rest))
    if path.windows and path.anchor[1:] == ":":
        found.append(Path("/", ("mnt", path.anchor[0].lower())).joined(path.names))
    elif path.names[0] == "mnt" and len(path.names) > 2 and len(path.names[1]) == 1:
        drive = f"{path.names[1].upper()}:"
        if drive[0].isascii() and drive[0].isalpha():
            found.append(Path(drive, (), "\\").joined(path.names[2:]))
    yield from (place for place in found if place is not None)


def _below_home(path: Path) -> tuple[str, ...]:
    """The names below what looks like a user's home; none where nothing does."""
    names = path.names
    if not path.windows and names[:1] == ("mnt",) and len(names) > 2:
        names = names[2:]
    if names[0].lower() in _HOME_FOLDERS:
        return names[2:]
    return names[1:] if names[0] == "root" and not path.windows else ()


def _trimmed(proposal: Proposal) -> tuple[str, str]:
    """The shortest rule by which a proposal's directories come out; never a whole root."""
    source, target = parse(proposal.source), parse(proposal.target)
    assert source is not None
    assert target is not None
    while len(source.names) > 1 and len(target.names) > 1:
        one, other = source.names[-1], target.names[-1]
        if one != other:
            break
        source = Path(source.anchor, source.names[:-1], source.slash)
        target = Path(target.anchor, target.names[:-1], target.slash)
    return str(source), str(target)


def _widened(proposal: Proposal, shared: set[tuple[str, str]]) -> Proposal:
    pair = _trimmed(proposal)
    if pair not in shared:
        return proposal
    return Proposal(*pair, proposal.evidence)
