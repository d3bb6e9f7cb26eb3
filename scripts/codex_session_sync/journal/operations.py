"""The changes that a transaction can make to a home, each with its inverse.

An operation is a value: it holds the state expected before it and all that undoing needs. Paths are
POSIX, relative to a named place (``home``, ``sync``), so that a moved home can still be mended.
``apply`` and ``undo`` are idempotent: both look at the present state first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..codex.goals import TABLE as GOALS
from ..model import Json
from .files import CreateFile, CutFile, ExtendFile, MakeFolder, MoveFile, RemoveFolder
from .folders import MoveFolder
from .rows import ForgetProjection, PutRow
from .site import HOME_CHANGED, Operation, Site
from .texts import AppendText, EditText, PutDocument

__all__ = [
    "HOME_CHANGED",
    "KINDS",
    "AnyOperation",
    "AppendText",
    "CreateFile",
    "CutFile",
    "EditText",
    "ExtendFile",
    "ForgetProjection",
    "MakeFolder",
    "MoveFile",
    "MoveFolder",
    "Operation",
    "PutDocument",
    "PutRow",
    "RemoveFolder",
    "Site",
    "concern_goals",
    "from_json",
    "to_json",
]

AnyOperation = (
    MakeFolder
    | RemoveFolder
    | CreateFile
    | ExtendFile
    | CutFile
    | MoveFile
    | MoveFolder
    | AppendText
    | EditText
    | PutRow
    | ForgetProjection
    | PutDocument
)

KINDS: dict[str, Callable[..., AnyOperation]] = {
    cls.kind: cls
    for cls in (
        MakeFolder,
        RemoveFolder,
        CreateFile,
        ExtendFile,
        CutFile,
        MoveFile,
        MoveFolder,
        AppendText,
        EditText,
        PutRow,
        ForgetProjection,
        PutDocument,
    )
}


def concern_goals(operations: Iterable[AnyOperation]) -> bool:
    """Whether some of the operations need the database of goals."""
    return any(isinstance(o, PutRow) and o.table == GOALS for o in operations)


def to_json(operation: AnyOperation) -> Json:
    """An operation as it is journaled."""
    return {"kind": operation.kind, **{key: getattr(operation, key) for key in operation.__slots__}}


def from_json(document: Json) -> AnyOperation:
    """The operation that a journaled document (already schema-checked) describes."""
    return KINDS[document["kind"]](**{k: v for k, v in document.items() if k != "kind"})
