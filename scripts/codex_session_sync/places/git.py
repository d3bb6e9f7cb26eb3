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


@dataclass(frozen=True)
class Git:
    """The installed git; without one nothing is known."""

    environ: Mapping[str, str]

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

    def _ask(self, directory: str, *arguments: str) -> str | None:
        if self._program is None:
            return None
        quiet = {k: v for k, v in self.environ.items() if not k.startswith("GIT_")} | {
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_NO_LAZY_FETCH": "1",
            "LC_ALL": "C",
        }
        command = [self._program, "-C", directory, "--no-pager"]
        for setting in (f"core.hooksPath={os.devnull}", "core.fsmonitor=false"):
            command += ["-c", setting]
        try:
            done = subprocess.run(
                [*command, *arguments],
                env=quiet,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=SECONDS,
                check=False,
            )
        except (OSError, ValueError, subprocess.TimeoutExpired):
            return None
        if done.returncode != 0:
            return None
        return done.stdout.decode(errors="replace").strip()
