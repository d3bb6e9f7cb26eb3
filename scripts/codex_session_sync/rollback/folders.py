"""Undoing what was done to skills: folders that come and go as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..codex.home import CodexHome
from ..durable import safe_join
from ..journal.ledger import Deed
from ..journal.log import STAGED
from ..journal.operations import AnyOperation, MoveFolder
from ..trees import digest_of


def left_folders(operations: Iterable[AnyOperation]) -> dict[str, str]:
    """The folders that operations left, by path in the home, each with its digest."""
    found: dict[str, str] = {}
    for operation in operations:
        if isinstance(operation, MoveFolder):
            found.pop(operation.path, None)
            found[operation.new_path] = operation.sha256
    return found


def changed_folder(home: CodexHome, deed: Deed) -> str | None:
    """What keeps folders from being as a deed left them, in words; None if nothing does.

    Raises HomeError, OSError.
    """
    left = left_folders(deed.operations)
    for path, sha256 in left.items():
        place = safe_join(home.path, path)
        if not place.is_dir():
            return f"{path} is gone"
        if digest_of(place) != sha256:
            return f"{path} was changed since"
    for operation in deed.operations:
        if isinstance(operation, MoveFolder) and operation.path not in left:
            place = safe_join(home.path, operation.path)
            if not is_staged(operation.path) and place.exists():
                return f"there is a folder at {operation.path} again"
    return None


def inverted(deed: Deed, kept: str) -> Iterator[MoveFolder]:
    """The moves that undo a deed's; what it had brought goes to ``kept``, a path in the home."""
    for operation in reversed(deed.operations):
        if isinstance(operation, MoveFolder):
            back = kept if is_staged(operation.path) else operation.path
            yield MoveFolder(operation.new_path, back, operation.sha256)


def is_staged(path: str) -> bool:
    """Whether a path is that of something that waited in a transaction's folder, and is gone."""
    return f"/{STAGED}/" in path
