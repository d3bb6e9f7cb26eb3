"""Putting rebuilt files in place of the old ones: whole or not at all, the old ones kept."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from ..codex.history import HISTORY
from ..codex.home import CodexHome
from ..durable import not_writable, safe_join, sync_descriptor, sync_file, sync_folder
from ..errors import HomeError
from .drafting import Before, Draft

_PRIVATE = 0o600
"""What Codex makes its history with: nobody else reads it."""

_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)


def replace_all(
    home: CodexHome, drafts: Sequence[Draft], *, backup: bool
) -> Mapping[str, str | None]:
    """Put the drafts in place; the name of each file's backup, None where there is none.

    All of them are written and the old files secured before the first is replaced. The caller holds
    the home, and Codex's locks on the files. Raises HomeError: ``home_changed`` if an old file
    changed since it was read, ``home_not_writable``; then nothing is replaced, unless only the
    second of two renames was refused.
    """
    made: list[Path] = []
    staged: dict[str, Path] = {}
    backups: dict[str, str | None] = {}
    try:
        for draft in drafts:
            _sweep(home, draft.name)
            staged[draft.name] = _staged(home, draft, made)
        for draft in drafts:
            backups[draft.name] = _secured(home, draft, made) if backup else None
        for draft in drafts:
            _require_unchanged(home.path / draft.name, draft.before)
        for draft in drafts:
            staged[draft.name].replace(home.path / draft.name)
            made.clear()
        sync_folder(home.path)
    except OSError as error:
        raise not_writable(home.path, error) from error
    finally:
        for path in (*made, *staged.values()):
            with suppress(OSError):
                path.unlink(missing_ok=True)
    return backups


def _sweep(home: CodexHome, name: str) -> None:
    """Remove what a run that was killed left unfinished."""
    for path in home.path.glob(f".{name}.*.tmp"):
        path.unlink()


def _staged(home: CodexHome, draft: Draft, made: list[Path]) -> Path:
    """The draft as a file beside its place, durable, with the permissions of the old one."""
    path = home.path / f".{draft.name}.{os.getpid()}.tmp"
    target = home.path / draft.name
    mode = 0o666 if draft.before is None and draft.name != HISTORY else _PRIVATE
    made.append(path)
    with os.fdopen(os.open(path, _NEW, mode), "wb") as out:
        out.writelines(draft.spool.lines(draft.order))
        out.flush()
        if draft.before is not None:
            path.chmod(stat.S_IMODE(target.stat().st_mode))
        sync_descriptor(out.fileno())
    return path


def _secured(home: CodexHome, draft: Draft, made: list[Path]) -> str | None:
    """Keep the old file under another name, durably; None where there is none.

    A second name of the same file: what Codex may still append to it stays there.
    """
    if draft.before is None:
        return None
    moment = f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    path = safe_join(home.path, f"{draft.name}.{moment}.bak")
    old = home.path / draft.name
    made.append(path)
    try:
        os.link(old, path)
    except FileExistsError:
        raise
    except OSError:
        shutil.copy2(old, path)
    sync_file(path)
    return path.name


def _require_unchanged(path: Path, before: Before | None) -> None:
    """Raise HomeError ``home_changed`` if a file is not what it was when it was read."""
    found = path.stat() if path.exists() else None
    now = found and (found.st_size, found.st_mtime_ns)
    if now != (before and (before.size, before.mtime_ns)):
        raise HomeError(
            "home_changed",
            f"{path} was written to by another program while it was rebuilt; it is left as it is",
            hint="run `codex-session-sync AGAIN`",
        )
