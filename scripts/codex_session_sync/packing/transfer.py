"""A package in the first-import tool's layout, format_version 1: every session in one file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import orjson

from ..codex.rollout import RolloutName, format_name
from ..codex.session_index import index_line
from ..codex.thread_row import Placed, provider_of, thread_row
from ..compose import compose
from ..localize import Identity, Rewriter
from ..model import Json, PackagedSession, Row, Transcript
from ..package.sieve import MANIFEST
from ..policy import Policy
from ..transcript import scan
from .gathering import Gathered
from .native import Packed, summary
from .secrets import SecretScan

Progress = Callable[[int], None]

AS_PACKAGED = Policy(trusted=True)
"""What a package says is not changed; whoever imports it decides what may act."""

COLUMNS = {
    **dict.fromkeys(
        ("id", "rollout_path", "created_at", "updated_at", "source", "model_provider", "cwd"), True
    ),
    **dict.fromkeys(("title", "sandbox_policy", "approval_mode", "cli_version"), True),
    **dict.fromkeys(("tokens_used", "has_user_event", "archived", "first_user_message"), True),
    **dict.fromkeys(("preview", "history_mode", "memory_mode"), True),
    **dict.fromkeys(("archived_at", "name", "git_sha", "git_branch", "git_origin_url"), False),
    **dict.fromkeys(("agent_nickname", "agent_role", "model", "reasoning_effort"), False),
}
"""The columns of a row that is made for a session which has none."""

_NOTE = (
    "# Codex sessions\n\n"
    "Made by codex-session-sync in the layout of format_version 1. `codex-session-sync "
    "inspect-package` tells what is in it, `codex-session-sync sync --execute` brings it into a "
    "Codex home; the codex-session-transfer skill can install it as well.\n"
)


@dataclass(slots=True)
class TransferPacker:
    """Packs sessions one by one into ``folder``, which is empty; inherited history is copied in."""

    home: Gathered
    folder: Path
    secrets: SecretScan
    progress: Progress | None = None
    _rows: list[Row] = field(default_factory=list)
    _index: list[bytes] = field(default_factory=list)
    _tools: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("metadata", "sessions", "skeleton", "skills"):
            (self.folder / name).mkdir()

    def add(self, session: PackagedSession, *, chosen: bool = True) -> Packed:
        """Pack one session, chosen or needed by another.

        Raises SessionError, OSError; then nothing of it is in the package.
        """
        del chosen
        assert session.file is not None
        transcript = scan(session.file, self.home.rollouts.segment, self.progress)
        name = format_name(session.file.stamp, session.session_id)
        path = self.folder / "sessions" / name
        try:
            with (
                path.open("xb") as stream,
                self.secrets.watched(session.session_id, f"sessions/{name}") as look,
            ):
                rewriter = Rewriter(transcript, AS_PACKAGED, Identity(session.session_id))
                written = compose(rewriter, stream, self.progress, look)
            os.utime(path, ns=(session.file.mtime_ns, session.file.mtime_ns))
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        row = {**dict.fromkeys(self.home.columns), **_row(session, transcript, name)}
        self._rows.append(row)
        title = session.name or row.get("title")
        if title:
            moment = datetime.fromtimestamp(int(row.get("updated_at") or 0), UTC)
            stamp = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
            self._index.append(index_line(session.session_id, str(title), stamp))
        self._tools.extend(session.dynamic_tools)
        return summary(session, transcript, written.size)

    def finish(self) -> None:
        """Write what makes the folder a package."""
        metadata = self.folder / "metadata"
        folders = sorted({str(row["cwd"]) for row in self._rows if row.get("cwd")})
        _write_lines(metadata / "threads.jsonl", self._rows)
        (metadata / "session_index.jsonl").write_bytes(b"".join(self._index))
        _write_lines(metadata / "thread_dynamic_tools.jsonl", self._tools)
        _write(
            metadata / "path_localization.json",
            {"rule": "the part of a path before \\Documents\\ is local", "examples": folders},
        )
        _write(self.folder / "skeleton" / "required-directories.json", folders)
        _write(
            self.folder / MANIFEST,
            {
                "format_version": 1,
                "package_kind": "session-skill-package",
                "minimum_working_set_only": True,
                "cwd_filter": folders[0] if len(folders) == 1 else None,
                "thread_ids": [row["id"] for row in self._rows],
                "skills_included": [],
                "deferred_components": [],
                "preferred_installer_skill": "codex-session-transfer",
            },
        )
        for name in ("README.md", "INSTALL_REMOTE.md"):
            (self.folder / name).write_text(_NOTE, encoding="utf-8", newline="\n")


def _row(session: PackagedSession, transcript: Transcript, name: str) -> Row:
    """The session's row, naming the file of the package by where it lies below a home."""
    file = transcript.file
    rollout = RolloutName(file.stamp, file.thread_id, file.thread_id, compressed=False)
    folders = ("archived_sessions",) if session.archived else ("sessions", *rollout.folder)
    path = "/".join((".codex", *folders, name))
    if session.row is not None:
        row = {**session.row, "rollout_path": path, "archived": int(session.archived)}
        if "history_mode" in row:
            row["history_mode"] = transcript.mode
        return row
    cwd, provider = transcript.facts.last_cwd, provider_of(transcript, None)
    placed = Placed(
        session.session_id,
        path,
        session.archived,
        session.name,
        cwd,
        provider,
        transcript.mode,
    )
    return thread_row(COLUMNS, transcript, None, placed, None)


def _write_lines(path: Path, rows: Iterable[Row]) -> None:
    lines = (orjson.dumps(dict(row), option=orjson.OPT_APPEND_NEWLINE) for row in rows)
    path.write_bytes(b"".join(lines))


def _write(path: Path, value: Json | list[str]) -> None:
    path.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
