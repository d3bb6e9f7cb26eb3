"""Which sessions are a repository's: by directories they were in, or the commit they began at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .listing import Listed
from .manifest import Relation
from .repository import Repository


@dataclass(slots=True)
class Relating:
    """Tells how sessions are related to a commit of a repository; git is asked once of each."""

    repository: Repository
    sha: str
    _tops: dict[str, str | None] = field(default_factory=dict)

    def relations(self, sessions: Mapping[str, Listed]) -> dict[str, Relation]:
        """The relation of each session that has one."""
        commits = {one.commit for one in sessions.values() if one.commit}
        leading = self.repository.leading_to(self.sha, commits)
        found: dict[str, Relation] = {}
        for session_id, one in sessions.items():
            places = {self._by_place(cwd) for cwd in (one.cwd, one.begun_in) if cwd}
            if places - {None}:
                found[session_id] = "worktree" if "worktree" in places else "repository"
            elif one.commit in leading:
                found[session_id] = "commit"
        return found

    def _by_place(self, cwd: str) -> Relation | None:
        path = _resolved(cwd)
        holds = [top for top in self.repository.worktrees if path.is_relative_to(_resolved(top))]
        if not holds:
            return None
        nearest = max(holds, key=len)
        if nearest != self.repository.top:
            return "repository"
        return "worktree" if self._top(cwd) in (None, nearest) else "repository"

    def _top(self, cwd: str) -> str | None:
        """The working tree that git finds a directory in; None where it is gone."""
        if cwd not in self._tops:
            here = Path(cwd).is_dir()
            self._tops[cwd] = self.repository.git.top(cwd) if here else None
        return self._tops[cwd]


def _resolved(path: str) -> Path:
    """A path as git tells it, links resolved as far as it is there."""
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError, ValueError):
        return Path(path)
