"""Playing operations forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..durable import sync_all
from ..errors import HomeError
from .operations import AnyOperation, CreateFile, PutRow, Site


def apply_all(operations: Sequence[AnyOperation], site: Site, done: list[AnyOperation]) -> None:
    """Apply operations in order, rows in one database transaction, and make all durable.

    ``done`` receives each operation that may have changed something, so that a caller can undo
    after a failure. HomeError from an operation means that it changed nothing.
    """
    rows = [operation for operation in operations if isinstance(operation, PutRow)]
    for operation in operations:
        if isinstance(operation, PutRow):
            if operation is rows[0]:
                _in_transaction(rows, site, lambda row: row.apply(site))
                done.extend(rows)
            continue
        try:
            operation.apply(site)
        except HomeError:
            raise
        except BaseException:
            done.append(operation)
            raise
        done.append(operation)
    sync_all(_touched(operations, site))


def undo_all(operations: Sequence[AnyOperation], site: Site, *, keep_staged: bool = False) -> None:
    """Undo operations in reverse, whatever of them was done, and make that durable.

    ``keep_staged`` puts files back to where they waited, for another attempt.
    """
    rows = [operation for operation in reversed(operations) if isinstance(operation, PutRow)]
    for operation in reversed(operations):
        if isinstance(operation, PutRow):
            if operation is rows[0]:
                _in_transaction(rows, site, lambda row: row.undo(site))
        elif isinstance(operation, CreateFile) and keep_staged:
            operation.withdraw(site)
        else:
            operation.undo(site)
    sync_all(_touched(operations, site))


def _in_transaction(rows: Sequence[PutRow], site: Site, change: Callable[[PutRow], None]) -> None:
    if site.database is None:
        raise HomeError(
            "database_missing",
            "the database that this transaction changes is gone",
            hint="restore it from a backup, then run the same command again",
        )
    with site.database.transaction():
        for row in rows:
            change(row)


def _touched(operations: Sequence[AnyOperation], site: Site) -> list[Path]:
    touched = {operation.touched(site): None for operation in operations}
    return [path for path in touched if path is not None and path.parent.is_dir()]
