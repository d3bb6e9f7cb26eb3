"""The folder of sidecars: what lies there, and whether it is what the journal says."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ..errors import HomeError
from ..journal.log import Journal
from ..journal.operations import MoveFile, PutDocument
from ..lineage.fingerprint import FINGERPRINT_VERSION
from ..lineage.sidecar import FOLDER as SIDECARS
from ..lineage.sidecar import Mapping as SessionMapping
from ..lineage.sidecar import is_sidecar_name, lineage_of, mappings_of, read_sidecar
from ..model import Json
from ..sidecars.retelling import retell
from .finding import Finding

_SYNC = "session-sync/"
FOLDER = f"{_SYNC}{SIDECARS}"
_ANY = ""
"""In place of a digest: whatever is there, it is as it was left."""


@dataclass(frozen=True, slots=True)
class Document:
    """A sidecar that can be read: its lineage, what it says, and the digest of its bytes."""

    lineage: str
    mappings: tuple[SessionMapping, ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class Shelf:
    """The sidecars of a home by lineage, and what is wrong with others.

    ``present`` has the lineages that have a file, readable or not.
    """

    documents: Mapping[str, Document]
    present: frozenset[str]
    findings: tuple[Finding, ...]


def read_shelf(sync_dir: Path) -> Shelf:
    """Every sidecar of a home, read and checked against its schema; no link is followed.

    That ``session-sync`` itself is one, the check of the journal says.
    """
    folder = sync_dir / SIDECARS
    if sync_dir.is_symlink():
        return Shelf({}, frozenset(), ())
    if folder.is_symlink():
        return Shelf({}, frozenset(), (_link(FOLDER),))
    documents: dict[str, Document] = {}
    present: set[str] = set()
    findings: list[Finding] = []
    if os.path.lexists(folder) and not folder.is_dir():
        findings.append(_misplaced("it lies where the folder of the sidecars must be", FOLDER))
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if is_sidecar_name(path.name):
            present.add(path.stem)
            found = _read(sync_dir, path)
        else:
            found = _other(path)
        if isinstance(found, Document):
            documents[found.lineage] = found
        elif found is not None:
            findings.append(found)
    return Shelf(documents, frozenset(present), tuple(findings))


def confirmed_documents(journal: Journal, *, deep: bool = False) -> dict[str, str | None]:
    """The digest of each sidecar as the journal has it, by lineage; None for one that is removed.

    Left out are those of a batch that is neither done nor undone, and one that a rollback put back
    as a damaged file. ``deep``: every line of the journal is checked against its schema, and what
    was lost beside the journal between two transactions counts as still said. Raises HomeError
    where a transaction cannot be read.
    """
    found: dict[str, str | None] = {}
    unknown: set[str] = set()
    for transaction_id in reversed(journal.ids()):
        steps: dict[int, str] = {}
        left: dict[int, dict[str, str | None]] = {}
        kinds = () if deep else (PutDocument.kind, MoveFile.kind)
        for line in journal.lines(transaction_id, kinds, checked=deep):
            match line:
                case {"step": "intent", "batch": int(batch), "operation": dict(operation)}:
                    left.setdefault(batch, {}).update(_left_by(operation))
                case {"step": str(step), "batch": int(batch)}:
                    steps[batch] = step
        journal.require_whole(transaction_id, steps)
        for batch, sidecars in left.items():
            if steps.get(batch) == "done":
                found |= sidecars
            elif steps.get(batch) != "undone":
                unknown |= sidecars.keys()
    if deep:
        found |= {lineage: _digest(text) for lineage, text in retell(journal).texts.items()}
    return {i: digest for i, digest in found.items() if i not in unknown and digest != _ANY}


def _left_by(operation: Json) -> dict[str, str | None]:
    """What an operation leaves of a sidecar: its digest by lineage."""
    match operation:
        case {"kind": PutDocument.kind, "path": str(path), "after": str() | None as after}:
            return {lineage_of(path): _digest(after)}
        case {"kind": MoveFile.kind, "path": str(path), "new_path": str(new_path)}:
            gone = {lineage_of(path.removeprefix(_SYNC)): None} if _is_ours(path) else {}
            back = {lineage_of(new_path.removeprefix(_SYNC)): _ANY} if _is_ours(new_path) else {}
            return gone | back
    return {}


def _is_ours(path: str) -> bool:
    return path.startswith(f"{FOLDER}/")


def against_journal(shelf: Shelf, confirmed: Mapping[str, str | None]) -> Iterator[Finding]:
    """Where the sidecars are not what the journal tells of."""
    for lineage, digest in sorted(confirmed.items()):
        path = f"{FOLDER}/{lineage}.json"
        document = shelf.documents.get(lineage)
        if digest is not None and lineage not in shelf.present:
            yield Finding(
                "sidecar_missing",
                "the journal has this sidecar, and it is not there: names and archive state of "
                "its sessions do not follow their source",
                lineage_id=lineage,
                path=path,
            )
        elif document is not None and digest is None:
            yield _unlike("the journal says that this sidecar was removed", lineage)
        elif document is not None and document.sha256 != digest:
            yield _unlike("this sidecar is not what the journal tells of", lineage)


def _other(path: Path) -> Finding | None:
    """What has the name of no sidecar; None for a temporary file, which is looked for elsewhere."""
    shown = f"{FOLDER}/{path.name}"
    if path.is_symlink():
        return _link(shown)
    if path.name.startswith(".") and path.name.endswith(".tmp"):
        return None
    return _misplaced("no sidecar has such a name", shown)


def _read(sync_dir: Path, path: Path) -> Document | Finding | None:
    """One sidecar; None if it is gone meanwhile."""
    lineage, shown = path.stem, f"{FOLDER}/{path.name}"
    if path.is_symlink():
        return _link(shown)
    try:
        text = read_sidecar(sync_dir, lineage)
        if text is None:
            return None
        finding = _foreign(text, lineage, shown)
        if finding is not None:
            return finding
        mappings = mappings_of(text, lineage)
    except HomeError as error:
        return Finding("sidecar_invalid", error.message, lineage_id=lineage, path=shown)
    return Document(lineage, tuple(mappings), hashlib.sha256(text.encode()).hexdigest())


def _foreign(text: str, lineage: str, shown: str) -> Finding | None:
    """That a sidecar is of another lineage or version, if it says so."""
    version, named = _head(text)
    if named not in (None, lineage):
        what = f"this is the sidecar of lineage {named}, under the name of another"
        return _misplaced(what, shown, named)
    if version in (None, FINGERPRINT_VERSION):
        return None
    return Finding(
        "sidecar_outdated",
        f"it has fingerprints of version {version}; this program has {FINGERPRINT_VERSION} "
        "and does without it",
        lineage_id=lineage,
        path=shown,
    )


def _head(data: str) -> tuple[int | None, str | None]:
    """What a document says of its version and lineage, as far as it is one."""
    try:
        document: Any = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None, None
    if not isinstance(document, dict):
        return None, None
    version, lineage = document.get("fingerprint_version"), document.get("lineage_id")
    known = isinstance(lineage, str) and is_sidecar_name(f"{lineage}.json")
    return version if type(version) is int else None, lineage if known else None


def _digest(text: str | None) -> str | None:
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()


def _misplaced(what: str, path: str, lineage: str | None = None) -> Finding:
    return Finding("sidecar_misplaced", what, lineage_id=lineage, path=path)


def _link(path: str) -> Finding:
    return Finding("path_escapes_home", "it is a link, which is not followed", path=path)


def _unlike(what: str, lineage: str) -> Finding:
    return Finding(
        "sidecar_unlike_journal",
        f"{what}: another program wrote it, or it is from a backup",
        lineage_id=lineage,
        path=f"{FOLDER}/{lineage}.json",
    )
