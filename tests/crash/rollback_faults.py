"""Points in the execution of a rollback at which something can be made to go wrong.

As a program it runs the command line with a fault, as ``faults`` does.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from codex_session_sync import commit
from codex_session_sync.codex.state_db import StateDb
from codex_session_sync.journal.files import CutFile, ExtendFile, MoveFile, RemoveFolder
from codex_session_sync.journal.rows import ForgetProjection
from codex_session_sync.journal.texts import EditText
from codex_session_sync.rollback import unwinding
from crash import faults
from crash.faults import Point


def _half_kept(operation: CutFile, target: Path, kept: Path) -> None:
    with target.open("rb") as source:
        source.seek(operation.size)
        kept.write_bytes(source.read(operation.removed // 2))


def _half_extension(operation: ExtendFile, site: Any) -> None:
    with (site.home / operation.path).open("ab") as stream:
        stream.write((site.staged / operation.staged).read_bytes()[: operation.added // 2])


def _half_cut(operation: CutFile, site: Any) -> None:
    target, kept = site.home / operation.path, site.home / operation.kept
    operation._keep(target, kept)
    os.truncate(target, operation.size)


ROLLBACK_POINTS = {
    "apply cut": Point(CutFile, "apply", half=_half_cut),
    "keep": Point(CutFile, "_keep", half=_half_kept),
    "extend": Point(ExtendFile, "apply", half=_half_extension),
    "move": Point(MoveFile, "apply"),
    "edit": Point(EditText, "apply"),
    "update row": Point(StateDb, "update"),
    "remove folder": Point(RemoveFolder, "apply"),
    "forget": Point(ForgetProjection, "apply"),
    "stage rest": Point(unwinding.Unwinder, "_stage"),
    "settle": Point(unwinding, "sync_all"),
    "take back": Point(commit, "undo_all"),
    "undo cut": Point(CutFile, "undo"),
    "undo move": Point(MoveFile, "undo"),
    "undo edit": Point(EditText, "undo"),
    "undo extend": Point(ExtendFile, "undo"),
}
"""Beside those of a sync."""

POINTS = faults.POINTS | ROLLBACK_POINTS

if __name__ == "__main__":
    faults.POINTS |= ROLLBACK_POINTS
    faults.serve()
