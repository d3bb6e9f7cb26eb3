"""Playing operations forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..durable import sync_all, syncing_together
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
    site = site.looking_once()
    for group in _groups(operations):
        if isinstance(group[0], PutDocument | MoveFile) and len(group) > 1:
            with syncing_together():
                for operation in group:
                    _attempt([operation], site, done)
        else:
            _attempt(group, site, done)
    sync_all(_touched(operations, site))


def _groups(operations: Sequence[AnyOperation]) -> Iterator[Sequence[AnyOperation]]:
    """The operations in order: all rows together; documents, or moves, in a row together too.

    Of these no two in a group concern the same place.
    """
    rows = [operation for operation in operations if isinstance(operation, PutRow)]
    alike: list[AnyOperation] = []
    taken: set[str] = set()
    for operation in operations:
        places = _places(operation)
        if alike and (type(operation) is not type(alike[0]) or not taken.isdisjoint(places)):
            yield alike
            alike, taken = [], set()
        if places:
            alike.append(operation)
            taken.update(places)
        elif not isinstance(operation, PutRow):
            yield [operation]
        elif operation is rows[0]:
            yield rows
    if alike:
        yield alike


def _places(operation: AnyOperation) -> Sequence[str]:
    """What an operation concerns that can be made durable together with others of its kind."""
    match operation:
        case PutDocument(path=path):
            return (path,)
        case MoveFile(path=path, new_path=new_path):
            return (path, new_path)
    return ()


def _attempt(group: Sequence[AnyOperation], site: Site, done: list[AnyOperation]) -> None:
    """Apply an operation, or all rows; ``done`` as in ``apply_all``."""
    done.extend(group)
    try:
        rows = [operation for operation in group if isinstance(operation, PutRow)]
        if rows:
            _in_transaction(rows, site, lambda row: row.apply(site))
        else:
            for operation in group:
                operation.apply(site)
    except HomeError:
        del done[-len(group) :]
        raise


def undo_all(
    operations: Sequence[AnyOperation], site: Site, *, keep_staged: bool = False
) -> list[HomeError]:
    """Undo operations in reverse, whatever of them was done, and make that durable.

    What another program has changed since is left as it is; returned is what was found there.
    ``keep_staged`` puts files back to where they waited, for another attempt.
    """
    site = site.looking_once()
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
    paths = [path for path in touched if path is not None]
    there = {folder for folder in {path.parent for path in paths} if folder.is_dir()}
    return [path for path in paths if path.parent in there]
