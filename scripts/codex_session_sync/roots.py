"""Which directories a session may not write to unasked only because it says it works there.

Codex lets commands write below a session's workspace roots, which are its directory if nothing else
is said. A package chooses the directory.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PureWindowsPath

SYSTEM = frozenset({"bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "sbin", "sys"})
"""Folders at the root of a POSIX system that nobody's work lies in."""

IN_MEMORY = PurePath("/dev/shm")  # noqa: S108 - it is asked what lies there
"""Where Linux has room for temporary files in memory; work may lie below it, as below ``/tmp``."""

WORKTREES = "worktrees"
"""Where Codex itself puts checkouts, in its home."""


LONGEST = 32_767
"""Characters of a path; no system has a directory with a longer one."""


@dataclass(frozen=True, slots=True)
class Roots:
    """What must not become writable: this machine's own places, as resolved absolute paths.

    ``user_home`` and ``codex_home`` are None where they are not known. ``trusted`` are the
    directories that this machine's configuration marks so: there its owner has decided.
    """

    user_home: PurePath | None = None
    codex_home: PurePath | None = None
    trusted: frozenset[PurePath] = frozenset()
    _known: dict[str, bool] = field(default_factory=dict, compare=False, repr=False)

    def too_wide(self, cwd: object) -> bool:
        """Whether a session's directory holds, or is, what programs or this user live by.

        Each directory is looked at once: what is said of it stays the same while a plan is made
        and executed.
        """
        if not isinstance(cwd, str):
            return False
        if cwd not in self._known:
            self._known[cwd] = self._looked_at(cwd)
        return self._known[cwd]

    def _looked_at(self, cwd: str) -> bool:
        if not os.path.isabs(cwd):  # noqa: PTH117
            # Codex takes ~ for the user's home, and goes from where it was started.
            return not _is_foreign(cwd)
        if "\0" in cwd or len(cwd) > LONGEST:
            return False
        path = PurePath(os.path.realpath(cwd))
        if not self.trusted.isdisjoint((PurePath(cwd), path)):
            return False
        if path == PurePath(path.anchor):
            return True
        if os.name == "posix" and path.parts[1] in SYSTEM and IN_MEMORY not in path.parents:
            return True
        return self._holds_a_home(path) or self._is_private(path)

    def _holds_a_home(self, path: PurePath) -> bool:
        homes = [home for home in (self.user_home, self.codex_home) if home is not None]
        return any(path == home or path in home.parents for home in homes)

    def _is_private(self, path: PurePath) -> bool:
        """Whether a path lies in the Codex home or in another hidden folder of the user."""
        if self.codex_home is not None and path.is_relative_to(self.codex_home):
            return path.relative_to(self.codex_home).parts[0] != WORKTREES
        if self.user_home is None or not path.is_relative_to(self.user_home):
            return False
        first = path.relative_to(self.user_home).parts[0]
        return first.startswith(".") or (sys.platform == "darwin" and first == "Library")


def _is_foreign(cwd: str) -> bool:
    """Whether it is an absolute path of Windows, here one name below where Codex was started."""
    return PureWindowsPath(cwd).is_absolute() and "/" not in cwd


def local_roots(codex_home: Path, config: Mapping[str, object]) -> Roots:
    """The places of this machine, by its environment and the configuration of a Codex home."""
    user = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none
    return Roots(
        PurePath(os.path.realpath(user)) if PurePath(user).is_absolute() else None,
        PurePath(os.path.realpath(codex_home)),
        frozenset(projects(config, "trusted")),
    )


def projects(config: Mapping[str, object], level: str) -> Iterable[PurePath]:
    """The directories that a configuration marks with a trust level."""
    found = config.get("projects")
    if not isinstance(found, dict):
        return
    for path, project in found.items():
        if isinstance(project, dict) and project.get("trust_level") == level:
            yield PurePath(path)
