"""The directories of a package: which of them are here, and what is proposed for the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..model import Json


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory that sessions of a package work in.

    ``local`` is what the rules make of it, ``needed`` whether a new session goes there, and
    ``repositories`` what its sessions tell of git: pairs of remote URL and commit.
    """

    path: str
    sessions: int
    local: str
    exists: bool
    needed: bool
    repositories: tuple[tuple[str, str | None], ...] = ()

    @property
    def wanting(self) -> bool:
        """Whether a new session would work in a directory that is not here."""
        return self.needed and not self.exists


@dataclass(frozen=True, slots=True)
class Proposal:
    """A rule that nobody applies by itself, and what speaks for it."""

    source: str
    target: str
    evidence: tuple[str, ...]


def directories_json(
    directories: Sequence[Directory], proposals: Mapping[str, Sequence[Proposal]]
) -> list[Json]:
    """The directories as a report shows them; ``proposals`` by path."""
    return [
        {
            "path": one.path,
            "sessions": one.sessions,
            "local": one.local,
            "exists": one.exists,
            "proposals": [
                {"map": f"{found.source}={found.target}", "evidence": list(found.evidence)}
                for found in proposals.get(one.path, ())
            ],
        }
        for one in directories
    ]
