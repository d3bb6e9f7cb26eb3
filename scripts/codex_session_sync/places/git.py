"""What git tells of a directory here; nothing of the repository is run, nothing is fetched."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

SECONDS = 2.0
"""The longest that one question to git may take."""

_SCP = re.compile(r"(?:[^/@]+@)?([^/:]+):(?!//)(.*)")
_URL = re.compile(r"[a-z+]+://(?:[^/@]*@)?([^/]+?)(?::\d+)?/(.*)", re.IGNORECASE)


def repository_key(url: str) -> str:
    """What URLs of the same repository have in common, by whatever protocol they reach it."""
    match = _URL.fullmatch(url) or _SCP.fullmatch(url)
    host, path = (match[1].lower(), match[2]) if match else ("", url)
    return f"{host}/{path.strip('/').removesuffix('.git')}"


@dataclass(frozen=True, slots=True)
class Answer:
    """How git ended, and what it wrote."""

    code: int
    out: str
    err: bytes


@dataclass(frozen=True)
class Git:
    """The installed git; without one nothing is known."""

    environ: Mapping[str, str]

    @property
    def is_installed(self) -> bool:
        """Whether there is a git to ask."""
        return self._program is not None

    def top(self, directory: str) -> str | None:
        """The root of the working tree that a directory lies in."""
        return self._ask(directory, "rev-parse", "--show-toplevel")

    def remotes(self, directory: str) -> frozenset[str]:
        """The keys of the repositories that it knows as remotes."""
        found = self._ask(directory, "config", "--get-regexp", r"^remote\..*\.url$") or ""
        urls = (line.partition(" ")[2] for line in found.splitlines())
        return frozenset(repository_key(url) for url in urls if url)

    def has_commit(self, directory: str, commit: str) -> bool:
        """Whether a commit is known there."""
        if not re.fullmatch(r"[0-9a-f]{7,64}", commit):
            return False
        return self._ask(directory, "cat-file", "-e", f"{commit}^{{commit}}") is not None

    @cached_property
    def _program(self) -> str | None:
        return shutil.which("git", path=self.environ.get("PATH"))

    def run(
        self,
        directory: str,
        *arguments: str,
        given: bytes | None = None,
        seconds: float = SECONDS,
        hooks: bool = False,
    ) -> Answer | None:
        """What git answers in a directory; None where there is no git, or it takes too long.

        ``given`` is its input. ``hooks``: where hooks lie is to be what the repository says.
        """
        if self._program is None:
            return None
        quiet = {k: v for k, v in self.environ.items() if not k.startswith("GIT_")} | {
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_NO_LAZY_FETCH": "1",
            "LC_ALL": "C",
        }
        command = [self._program, "-C", directory, "--no-pager", "-c", "core.fsmonitor=false"]
        if not hooks:
            command += ["-c", f"core.hooksPath={os.devnull}"]
        try:
            done = subprocess.run(
                [*command, *arguments],
                env=quiet,
                input=given or b"",
                capture_output=True,
                timeout=seconds,
                check=False,
            )
        except (OSError, ValueError, subprocess.TimeoutExpired):
            return None
        return Answer(done.returncode, done.stdout.decode(errors="replace"), done.stderr)

    def _ask(self, directory: str, *arguments: str) -> str | None:
        found = self.run(directory, *arguments)
        return found.out.strip() if found is not None and found.code == 0 else None
