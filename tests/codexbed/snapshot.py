"""What a home holds on disk: digests, database rows, and copies that work elsewhere."""

from __future__ import annotations

import hashlib
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Collection
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from codexbed.codex import CodexHome

STATE = "state_5.sqlite"
HISTORY = "thread_history_1.sqlite"

_BASE_URL = re.compile(r'base_url = "[^"]*"')


def tree_digest(folder: Path, skip: Collection[str] = ()) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder by relative path.

    `skip` holds path patterns to leave out, such as `*.sqlite-shm` or `tmp/*`.
    """
    digests: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_symlink():
            digests[relative.as_posix()] = f"link to {path.readlink()}"
        elif path.is_file() and not any(relative.match(pattern) for pattern in skip):
            digests[relative.as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return digests


def rows(home: Path, table: str, database: str = STATE) -> list[dict[str, Any]]:
    """Return a table's rows in primary-key order, without touching the home; [] without one."""
    with tempfile.TemporaryDirectory() as folder:
        # Even reading a WAL database writes beside it, so a copy is read.
        for suffix in ("", "-wal"):
            source = home / (database + suffix)
            if source.exists():
                shutil.copy2(source, folder)
        copy = Path(folder) / database
        if not copy.exists():
            return []
        with closing(sqlite3.connect(copy)) as connection:
            connection.row_factory = sqlite3.Row
            known = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
            if connection.execute(known, (table,)).fetchone() is None:
                return []
            found = connection.execute(f'SELECT * FROM "{table}" ORDER BY 1, 2')
            return [dict(row) for row in found]


def changes(before: dict[str, str], after: dict[str, str]) -> dict[str, str]:
    """Return the paths that were added, removed or changed between two digests."""
    return {
        path: "added" if path not in before else "removed" if path not in after else "changed"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    }


def copy_home(home: CodexHome, target: Path) -> CodexHome:
    """Copy a home that no Codex is using to `target` so that it works there.

    With the model of the home that is given: whoever made it first may have ended since, and its
    model with it.
    """
    skipped = shutil.ignore_patterns("logs_*.sqlite*", "tmp")
    shutil.copytree(home.home, target, symlinks=True, ignore=skipped)
    rebase_paths(target, home.home)
    config = target / "config.toml"
    if config.exists():
        text = config.read_text(encoding="utf-8")
        config.write_text(_BASE_URL.sub(f'base_url = "{home.server.base_url}"', text), "utf-8")
    return replace(home, home=target)


def rebase_paths(home: Path, old: Path) -> int:
    """Point the rows of a copied home at its new place; return how many were changed."""
    database = home / STATE
    if not database.exists():
        return 0
    update = (
        "UPDATE threads SET rollout_path = ? || substr(rollout_path, ?)"
        " WHERE substr(rollout_path, 1, ?) = ?"
    )
    # Codex may have written the home's path with its links resolved.
    prefixes = {f"{old}/", f"{old.resolve()}/"}
    with closing(sqlite3.connect(database)) as connection, connection:
        return sum(
            connection.execute(update, (f"{home}/", len(prefix) + 1, len(prefix), prefix)).rowcount
            for prefix in sorted(prefixes)
        )
