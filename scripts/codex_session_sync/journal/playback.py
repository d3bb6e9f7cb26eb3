"""Playing operations forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..durable import sync_all
from ..errors import HomeError
from .operations import (
    HOME_CHANGED,
    AnyOperation,
    CreateFile,
    CutFile,
    EditText,
    ExtendFile,
    MoveFile,
    PutDocument,
    PutRow,
    Site,
)


def apply_all(operations: Sequence[AnyOperation], site: Site, done: list[AnyOperation]) -> None:
    """Apply operations in order, rows in one database transaction, and make all durable.

    ``done`` receives each operation that may have changed something, so that a caller can undo
    after a failure. HomeError from an operation means that it changed nothing.
    """
    rows = [operation for operation in operations if isinstance(operation, PutRow)]
    for operation in operations:
        together: Sequence[AnyOperation] = [operation]
        if isinstance(operation, PutRow):
            if operation is not rows[0]:
                continue
            together = rows
        done.extend(together)
        try:
            if together is rows:
                _in_transaction(rows, site, lambda row: row.apply(site))
            else:
                operation.apply(site)
        except HomeError:
            del done[-len(together) :]
            raise
    sync_all(_touched(operations, site))


def undo_all(
    operations: Sequence[AnyOperation], site: Site, *, keep_staged: bool = False
) -> list[HomeError]:
    """Undo operations in reverse, whatever of them was done, and make that durable.

    What another program has changed since is left as it is; returned is what was found there.
    ``keep_staged`` puts files back to where they waited, for another attempt.
    """
    kept: list[tuple[AnyOperation, HomeError]] = []
    rows = [operation for operation in reversed(operations) if isinstance(operation, PutRow)]

    def undo(operation: AnyOperation) -> None:
        try:
            if isinstance(operation, CreateFile) and keep_staged:
                operation.withdraw(site)
            else:
                operation.undo(site)
        except HomeError as error:
            if error.code != HOME_CHANGED:
                raise
            kept.append((operation, error))
        else:
            if isinstance(operation, EditText | CutFile | MoveFile):
                # The file is as this one left or found it, so those after it were never made.
                kept[:] = [(o, e) for o, e in kept if not _changes(o, operation.path)]

    for operation in reversed(operations):
        if not isinstance(operation, PutRow):
            undo(operation)
        elif operation is rows[0]:
            _in_transaction(rows, site, undo)
    sync_all(_touched(operations, site))
    return [error for _, error in kept]


def _changes(operation: AnyOperation, path: str) -> bool:
    if isinstance(operation, PutDocument):
        return f"session-sync/{operation.path}" == path
    return isinstance(operation, EditText | ExtendFile) and operation.path == path


def _in_transaction(rows: Sequence[PutRow], site: Site, change: Callable[[PutRow], None]) -> None:
    if site.database is None:
        raise HomeError(
            "database_missing",
            "the database that this transaction changes is gone",
            hint="restore it from a backup, then run `codex-session-sync AGAIN`",
        )
    with site.database.transaction():
        for row in rows:
            change(row)


def _touched(operations: Sequence[AnyOperation], site: Site) -> list[Path]:
    touched = {operation.touched(site): None for operation in operations}
    return [path for path in touched if path is not None and path.parent.is_dir()]
