"""A home into which the first-import tool installed a package, with the journal it leaves."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from builders import Session, dump, write_transfer
from transfer_packup import ROW_COLUMNS, install


def install_here(root: Path, home: Path, sessions: Sequence[Session]) -> Path:
    """Install a package of sessions into a home with a database; returns the tool's journal.

    The tool packs titles in the place of names, and fills no column for names.
    """
    unnamed = [replace(session, name=None) for session in sessions]
    package = write_transfer(root / f"installed {uuid.uuid4()}", unnamed)
    _add_columns(home / "state_5.sqlite")
    install(package, home)
    return leave_journal(home, package, [session.relative_path for session in sessions])


def leave_journal(home: Path, package: Path, installed: Sequence[str]) -> Path:
    """The journal of an install that wrote these files of the home; returns its folder."""
    transaction = str(uuid.uuid4())
    folder = home / "transfer-journal" / transaction
    backup = folder / "backups" / "codex-home" / "state_5.sqlite"
    backup.parent.mkdir(parents=True)
    backup.write_bytes(b"as it was")
    operations = [
        {"op": "restore_file", "target": f"{home}/state_5.sqlite", "backup": str(backup)},
        {"op": "remove_created_file", "target": f"{home}/state_5.sqlite-wal"},
        {"op": "restore_file", "target": f"{home}/session_index.jsonl", "backup": str(backup)},
        *({"op": "remove_created_file", "target": f"{home}/{path}"} for path in installed),
        {"op": "remove_created_dir", "target": f"{home}/skills/hello"},
    ]
    (folder / "operations.jsonl").write_bytes(dump(operations))
    manifest = {
        "transaction_id": transaction,
        "created_at": "2026-03-08T09:00:00Z",
        "status": "completed",
        "package_root": str(package),
        "codex_home": str(home),
        "remote_home": "/home/bob",
        "plan_summary": {"sessions": len(installed), "skills": 1, "directories": 0},
        "completed_at": "2026-03-08T09:00:00Z",
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))
    return folder


def _add_columns(database: Path) -> None:
    """Give a database the columns of a real one that the tool fills."""
    with closing(sqlite3.connect(database)) as connection, connection:
        known = {name for _, name, *_ in connection.execute("PRAGMA table_info(threads)")}
        for column in ROW_COLUMNS:
            if column not in known:
                connection.execute(f"ALTER TABLE threads ADD COLUMN {column} TEXT")
