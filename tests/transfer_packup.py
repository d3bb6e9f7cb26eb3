"""What the first-import tool does with a real home: ``packup`` and ``install`` of format_version 1.

Only its observable results, down to the JSON spacing; no journal, and no dry run.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from codexbed import rows

Record = dict[str, Any]

TOOL_COLUMNS = ("thread_id", "position", "name", "description", "input_schema", "defer_loading")
ROW_COLUMNS = (
    "id",
    "rollout_path",
    "created_at",
    "updated_at",
    "source",
    "model_provider",
    "cwd",
    "title",
    "sandbox_policy",
    "approval_mode",
    "tokens_used",
    "has_user_event",
    "archived",
    "archived_at",
    "git_sha",
    "git_branch",
    "git_origin_url",
    "cli_version",
    "first_user_message",
    "agent_nickname",
    "agent_role",
    "memory_mode",
    "model",
    "reasoning_effort",
    "agent_path",
)
"""The columns that ``install`` knows: those of release 0.118."""

_NOT_PACKED = ["logs_1.sqlite", "state_5.sqlite.logs", "state_5.sqlite.stage1_outputs"]


def packup(home: Path, package: Path, only: Collection[str] | None = None) -> Path:
    """Write a package of the sessions in a home's database, or of those in ``only``.

    A session brings the one file that its row names, so a reverted one lacks its older segments,
    and a compressed one, whose row goes on naming the plain file, brings none.
    """
    threads = [row for row in rows(home, "threads") if only is None or row["id"] in only]
    threads.sort(key=lambda row: (row["created_at"], row["id"]))
    ids = {row["id"] for row in threads}
    for folder in ("metadata", "sessions", "skeleton", "skills"):
        (package / folder).mkdir(parents=True)
    for row in threads:
        rollout = home / _below_home(row["rollout_path"])
        if rollout.exists():
            shutil.copy2(rollout, package / "sessions")
    tools = [row for row in rows(home, "thread_dynamic_tools") if row["thread_id"] in ids]
    metadata = package / "metadata"
    _write_lines(metadata / "threads.jsonl", threads)
    _write_lines(metadata / "session_index.jsonl", map(_index_entry, threads))
    _write_lines(
        metadata / "thread_dynamic_tools.jsonl",
        ({column: row[column] for column in TOOL_COLUMNS} for row in tools),
    )
    folders = sorted({row["cwd"] for row in threads})
    rule = "replace path prefix before \\\\Documents with your local home path"
    _write_json(metadata / "path_localization.json", {"rule": rule, "examples": folders})
    _write_json(package / "skeleton" / "required-directories.json", folders)
    _write_json(
        package / "package_manifest.json",
        {
            "format_version": 1,
            "package_kind": "session-skill-package",
            "minimum_working_set_only": True,
            "cwd_filter": folders[0] if len(folders) == 1 else None,
            "thread_ids": [row["id"] for row in threads],
            "skills_included": [],
            "deferred_components": [*_NOT_PACKED, ".codex-global-state.json"],
            "preferred_installer_skill": "codex-session-transfer",
        },
    )
    (package / "README.md").write_text("# Session Skill Package\n", encoding="utf-8")
    (package / "INSTALL_REMOTE.md").write_text("# Install This Package\n", encoding="utf-8")
    return package


def install(package: Path, home: Path, moved: Mapping[str, str] | None = None) -> None:
    """Put a package into a home with a database, as that tool does.

    ``moved`` maps directories to where they are now. Every record is written anew with spaces
    after colons and commas, and a row gets the columns of 0.118 only.
    """
    moved = moved or {}
    metadata = package / "metadata"
    found = []
    for row in _read_lines(metadata / "threads.jsonl"):
        relative = _below_home(row["rollout_path"])
        source = package / "sessions" / Path(relative).name
        if not source.exists():
            continue
        target = home / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_lines(target, (_localised(record, moved) for record in _read_lines(source)))
        cwd = _moved(row["cwd"], moved)
        policy = {**json.loads(row["sandbox_policy"]), "writable_roots": [cwd]}
        new = {
            "cwd": cwd,
            "rollout_path": str(target),
            "sandbox_policy": json.dumps(policy, separators=(",", ":")),
        }
        found.append([{**row, **new}.get(column) for column in ROW_COLUMNS])
    names = ", ".join(ROW_COLUMNS)
    marks = ", ".join("?" * len(ROW_COLUMNS))
    with closing(sqlite3.connect(home / "state_5.sqlite")) as database, database:
        database.executemany(
            f"INSERT INTO threads ({names}) VALUES ({marks})",
            found,
        )
    with (home / "session_index.jsonl").open("ab") as index:
        index.write((metadata / "session_index.jsonl").read_bytes())


def _localised(record: Record, moved: Mapping[str, str]) -> Record:
    payload = record["payload"]
    if record["type"] in {"session_meta", "turn_context"} and payload.get("cwd"):
        cwd = _moved(payload["cwd"], moved)
        payload = {**payload, "cwd": cwd}
        if isinstance(payload.get("sandbox_policy"), dict):
            policy = payload["sandbox_policy"]
            payload["sandbox_policy"] = {**policy, "writable_roots": [cwd]}
    if record["type"] == "response_item" and payload.get("role") == "user":
        payload = {**payload, "content": [_environment(p, moved) for p in payload["content"]]}
    return {**record, "payload": payload}


def _environment(part: Record, moved: Mapping[str, str]) -> Record:
    text = part.get("text", "")
    if not text.startswith("<environment_context>"):
        return part
    for old, new in moved.items():
        text = text.replace(f"<cwd>{old}", f"<cwd>{new}")
    return {**part, "text": text}


def _moved(path: str, moved: Mapping[str, str]) -> str:
    for old, new in moved.items():
        if path == old or path.startswith(f"{old}/"):
            return new + path[len(old) :]
    return path


def _below_home(rollout_path: str) -> str:
    """The part of a row's path that is the same in every home."""
    parts = rollout_path.split("/")
    folder = "archived_sessions" if "archived_sessions" in parts else "sessions"
    last = len(parts) - 1 - parts[::-1].index(folder)
    return "/".join(parts[last:])


def _index_entry(row: Record) -> Record:
    updated = datetime.fromtimestamp(row["updated_at"], UTC)
    stamp = f"{updated:%Y-%m-%dT%H:%M:%SZ}"
    return {"id": row["id"], "thread_name": row["title"], "updated_at": stamp}


def _read_lines(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line.strip()]


def _write_lines(path: Path, records: Iterable[Record]) -> None:
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_text(text, encoding="utf-8", newline="")


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2), encoding="utf-8")
