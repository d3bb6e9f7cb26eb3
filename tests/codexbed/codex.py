"""A throw-away Codex home, and the real Codex running on it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import zstandard

from codexbed.app_server import AppServer, end_group
from codexbed.install import CURRENT, codex_binary
from codexbed.model_server import ModelServer

RUN_SECONDS = 120.0
PROVIDER = "mock"


class CodexFailed(RuntimeError):  # noqa: N818
    """A `codex` command ended with an error."""


def _offline() -> dict[str, bool]:
    # Plugins and apps make Codex call its maker's servers, and git, at every start.
    return {"plugins": False, "apps": False}


@dataclass(frozen=True)
class CodexHome:
    """A Codex home with the release and the model that work on it.

    `user_home` becomes HOME; sessions are made in `user_home/project` unless told otherwise.
    """

    home: Path
    user_home: Path
    server: ModelServer
    version: str = CURRENT
    approval_policy: str = "never"
    sandbox_mode: str = "read-only"
    features: Mapping[str, bool] = field(default_factory=_offline)
    extra_config: str = field(default="", repr=False)

    @property
    def project(self) -> Path:
        """The default working directory."""
        return self.user_home / "project"

    @property
    def elsewhere(self) -> Path:
        """Another working directory."""
        return self.user_home / "elsewhere"

    def prepare(self) -> CodexHome:
        """Make the directories and write `config.toml`; return self."""
        for folder in (self.home, self.project, self.elsewhere, self.tmp):
            folder.mkdir(parents=True, exist_ok=True)
        (self.home / "config.toml").write_text(self.config(), encoding="utf-8")
        return self

    def with_version(self, version: str) -> CodexHome:
        """Return the same home under another release."""
        return replace(self, version=version)

    @property
    def tmp(self) -> Path:
        """The temporary directory of the processes."""
        return self.user_home / "tmp"

    def config(self) -> str:
        """Return the text of `config.toml`."""
        lines = [
            f'model = "{PROVIDER}-model"',
            f'model_provider = "{PROVIDER}"',
            f'approval_policy = "{self.approval_policy}"',
            f'sandbox_mode = "{self.sandbox_mode}"',
            "check_for_update_on_startup = false",
            "[analytics]",
            "enabled = false",
            "[features]",
            *(f"{name} = {json.dumps(on)}" for name, on in self.features.items()),
            f"[model_providers.{PROVIDER}]",
            f'name = "{PROVIDER}"',
            f'base_url = "{self.server.base_url}"',
            'wire_api = "responses"',
            "request_max_retries = 0",
            "stream_max_retries = 0",
        ]
        for folder in (self.project, self.elsewhere):
            lines += [f"[projects.{json.dumps(str(folder))}]", 'trust_level = "trusted"']
        return "\n".join([*lines, self.extra_config, ""])

    def env(self) -> dict[str, str]:
        """Return the whole environment of the processes; nothing else is inherited."""
        return {
            "CODEX_HOME": str(self.home),
            "HOME": str(self.user_home),
            "LANG": "C.UTF-8",
            "PATH": os.environ.get("PATH", os.defpath),
            "TMPDIR": str(self.tmp),
        }

    def run(
        self, *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `codex` to its end; the answer is not checked."""
        command = [str(codex_binary(self.version)), *arguments]
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**self.env(), **(env or {})},
                cwd=cwd or self.project,
                start_new_session=True,
            )
            try:
                process.wait(RUN_SECONDS)
            finally:
                end_group(process)
            texts = []
            for stream in (out, err):
                stream.seek(0)
                texts.append(stream.read().decode(errors="replace"))
        return subprocess.CompletedProcess(command, process.returncode, *texts)

    def exec(self, text: str, cwd: Path | None = None) -> str:
        """Make a session with one turn and return its id."""
        return self._exec(["exec", "--json", "--skip-git-repo-check", text], cwd)

    def exec_resume(self, session_id: str, text: str, cwd: Path | None = None) -> str:
        """Run one more turn on a session and return its id."""
        command = ["exec", "resume", "--json", "--skip-git-repo-check", session_id, text]
        return self._exec(command, cwd)

    def app_server(self, *options: str) -> AppServer:
        """Return an app-server that is not started yet; use it as a context manager."""
        command = [str(codex_binary(self.version)), "app-server", *options]
        return AppServer(command, self.env(), self.project)

    def _exec(self, arguments: Sequence[str], cwd: Path | None) -> str:
        done = self.run(*arguments, cwd=cwd)
        started = re.search(r'"thread_id":"([0-9a-f-]{36})"', done.stdout)
        if done.returncode != 0 or started is None:
            raise CodexFailed(f"codex {arguments}: {done.returncode}: {done.stderr[-2000:]}")
        return started[1]


def rollout_files(home: Path) -> list[Path]:
    """Return every rollout file of a home, plain and compressed, archived ones too."""
    folders = [home / "sessions", home / "archived_sessions"]
    found = [path for folder in folders for path in folder.rglob("rollout-*.jsonl*")]
    return sorted(found)


def records(path: Path) -> list[dict[str, Any]]:
    """Return the records of one rollout file, plain or compressed."""
    return [json.loads(line) for line in _lines(path) if line.strip()]


def first_record(path: Path) -> dict[str, Any]:
    """Return the first record of a rollout file, or {} if there is none that can be read."""
    try:
        found = json.loads(_lines(path)[0])
    except (IndexError, ValueError, zstandard.ZstdError):
        return {}
    return found if isinstance(found, dict) else {}


def _lines(path: Path) -> list[bytes]:
    data = path.read_bytes()
    if path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return data.split(b"\n")
