"""Transactions on disk: one folder each, with a manifest and an append-only list of operations.

``session-sync/transactions/<id>/manifest.json`` says what the transaction is and how it ended;
``operations.jsonl`` holds, batch by batch, every intended operation before it is applied, then
``begun``, then ``done`` or ``undone``. Both have schemas in ``schemas/``.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from .. import validation
from ..durable import not_writable, safe_join, sync_descriptor, sync_folder, write_atomic
from ..errors import HomeError, UsageError
from ..model import Json
from ..moments import after, new_id, now
from ..regular import NotAFileError, read_regular
from .lines import BACKUP, cut_unwritten, end_of_lines, is_torn, read_lines
from .operations import AnyOperation, from_json, to_json
from .places import Places, places

SCHEMA = "codex-session-sync/transaction/1"
TRANSACTIONS = "transactions"
MANIFEST = "manifest.json"
OPERATIONS = "operations.jsonl"
STAGED = "staged"

MAPPING_KINDS = frozenset(
    {"adopt", "rebuild-sidecar", "replay-transactions-sidecar", "prune-invalid-mappings"}
)
"""The kinds of transactions that change sidecars and nothing else, named as their commands."""

ENDED = ("completed", "partial", "failed", "recovered")
"""The statuses of a transaction that leaves nothing to do."""

_WHOLE_ID = re.compile(r"\d{8}T\d{12}Z-[0-9a-f]{8}")

_NO_KIND = ("",)
"""In the place of kinds of operations: steps of batches only."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The operations that were intended together, and how far they came.

    ``step`` is None (intended only), ``begun``, ``done`` or ``undone``.
    """

    number: int
    step: str | None
    operations: tuple[tuple[str, AnyOperation], ...]
    """Pairs of session id and operation, in the order of application."""


class Journal:
    """The transactions of one home."""

    def __init__(self, sync_dir: Path) -> None:
        self._root = sync_dir / TRANSACTIONS

    def begin(self, manifest: Json, transaction_id: str | None = None) -> TransactionLog:
        """Make a new transaction's folder with its manifest, durably.

        ``transaction_id`` is one from ``new_id``, where it had to be known before. Raises HomeError
        ``home_not_writable``, ``path_escapes_home``.
        """
        transaction_id = transaction_id or self.new_id()
        folder = safe_join(self._root.parent, f"{TRANSACTIONS}/{transaction_id}")
        head = {"schema": SCHEMA, "transaction_id": transaction_id}
        log = TransactionLog(folder, {**head, **manifest})
        try:
            log.staged.mkdir(parents=True)
            log.write_manifest()
            for parent in (self._root, self._root.parent, self._root.parent.parent):
                sync_folder(parent)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise not_writable(folder, error) from error
        return log

    def new_id(self) -> str:
        """An id for the next transaction, above all that there are."""
        return after(new_id(), next(self.newest(), ""))

    def ids(self) -> list[str]:
        """The ids of all transactions, newest first."""
        return list(self.newest())

    def newest(self) -> Iterator[str]:
        """The same one by one: of those that nobody asks for no more than the name is read.

        A folder that a kill left without a manifest has changed nothing and is passed over.
        """
        if self._root.is_symlink() or not self._root.is_dir():
            return
        # A link is not followed: what it leads to is no part of the home.
        with os.scandir(self._root) as entries:
            names = sorted((one.name for one in entries if not one.is_symlink()), reverse=True)
        yield from filter(self._is_one, names)

    def manifests(self) -> Iterator[Json]:
        """The manifests of all transactions, newest first."""
        return (_manifest(self._root / transaction_id) for transaction_id in self.ids())

    def manifest(self, transaction_id: str) -> Json:
        """One manifest. Raises UsageError ``transaction_unknown``, HomeError if it is damaged."""
        return _manifest(self._folder(transaction_id))

    def find(self, transaction_id: str) -> str:
        """The whole id of a transaction, given its beginning. Raises UsageError."""
        return self._folder(transaction_id).name

    def batches(self, transaction_id: str, kinds: Collection[str] = ()) -> list[Batch]:
        """What a transaction intended, in order; a torn last line is what a kill leaves.

        Operations read as in the home as it is now. With ``kinds`` only those of these kinds, and
        the batches that have any.
        """
        return list(_batches(self._folder(transaction_id) / OPERATIONS, kinds, self.places))

    @cached_property
    def places(self) -> Places:
        """Where the home is, and where it was at some transaction."""
        named = (_glance(self._root / i).get("home") for i in self.ids())
        return places(self._root.parent.parent, {home for home in named if isinstance(home, str)})

    def lines(
        self, transaction_id: str, kinds: Collection[str] = (), *, checked: bool = True
    ) -> Iterator[Json]:
        """The lines of a transaction's list one by one: steps, and intents, or those of ``kinds``.

        Unless ``checked`` they are not compared with their schema, which takes most of the time,
        and are for those who take from them only what they know. Raises HomeError
        ``operation_invalid``.
        """
        return read_lines(self._folder(transaction_id) / OPERATIONS, kinds, checked=checked)

    def confirmed(self, transaction_id: str, kind: str) -> Iterator[AnyOperation]:
        """The operations of one kind that a transaction did, in order, one at a time.

        What was undone is left out. Raises HomeError where the list is damaged, or cut off though
        the transaction has ended.
        """
        path = self._folder(transaction_id) / OPERATIONS
        steps = {line["batch"]: line["step"] for line in read_lines(path, _NO_KIND)}
        done = {batch for batch, step in steps.items() if step == "done"}
        self.require_whole(transaction_id, steps)
        for line in read_lines(path, (kind,)):
            if line["step"] == "intent" and line["batch"] in done:
                yield from_json(line["operation"])

    def require_whole(self, transaction_id: str, steps: Mapping[int, str]) -> None:
        """Raise HomeError if a list is cut off though its transaction has ended.

        ``steps`` has the last step of each batch.
        """
        folder = self._folder(transaction_id)
        if _has_ended(folder) and ("begun" in steps.values() or is_torn(folder / OPERATIONS)):
            raise HomeError(
                "operation_invalid",
                f"the list of operations of transaction {transaction_id} is cut off",
                hint=BACKUP,
            )

    def interrupted(self, ended: set[str] | None = None, most: int | None = None) -> list[str]:
        """The ids of transactions that did not end, newest first; with ``most`` of so many only.

        Of the others only the status is looked at, so that a long journal costs little; nothing of
        those that ``ended`` has, which gets what has ended.
        """
        known = set() if ended is None else ended
        new = [i for i in islice(self.newest(), most) if i not in known]
        known.update(i for i in new if _has_ended(self._root / i))
        return [i for i in new if i not in known and self.manifest(i)]

    def reopen(self, transaction_id: str) -> TransactionLog:
        """An interrupted transaction, to bring it to its end; its list ends with its last line."""
        cut_unwritten(self._folder(transaction_id) / OPERATIONS)
        return TransactionLog(self._folder(transaction_id), self.manifest(transaction_id))

    def _is_one(self, name: str) -> bool:
        return os.path.lexists(self._root / name / MANIFEST)

    def _folder(self, transaction_id: str) -> Path:
        if _WHOLE_ID.fullmatch(transaction_id) and not self._root.is_symlink():
            folder = self._root / transaction_id
            if not folder.is_symlink() and self._is_one(transaction_id):
                return folder
        known = self.ids()
        matches = [i for i in known if i == transaction_id] or [
            i for i in known if i.startswith(transaction_id) and transaction_id
        ]
        if len(matches) != 1:
            what = "is not unique" if matches else "is not known"
            raise UsageError(
                "transaction_unknown",
                f"transaction {transaction_id!r} {what} in this home",
                hint="`codex-session-sync list-transactions` shows them",
            )
        return self._root / matches[0]


class TransactionLog:
    """One transaction being written."""

    def __init__(self, folder: Path, manifest: Json) -> None:
        self.manifest = manifest
        self.staged = folder / STAGED
        self.undecided: set[int] = set()
        """The batches of this run that are neither done nor undone."""
        self._folder = folder
        self._batch = 0

    @property
    def transaction_id(self) -> str:
        """The name of the transaction; later ones sort after earlier ones."""
        return str(self.manifest["transaction_id"])

    def write_manifest(self) -> None:
        """Put the manifest on disk, durably and whole."""
        validation.check("transaction", self.manifest, "the manifest", HomeError)
        write_atomic(
            self._folder / MANIFEST,
            orjson.dumps(self.manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE),
        )

    def intend(self, operations: Iterable[tuple[str, AnyOperation]]) -> int:
        """Record a batch durably before any of it happens; returns its number."""
        self._batch += 1
        head = {"step": "intent", "batch": self._batch}
        lines = [
            {**head, "session_id": session, "operation": to_json(operation)}
            for session, operation in operations
        ]
        self.undecided.add(self._batch)
        try:
            self._append([*lines, {"step": "begun", "batch": self._batch}])
        except BaseException:
            self.undecided.discard(self._batch)
            raise
        return self._batch

    def mark(self, step: str, batch: int) -> None:
        """Record that a batch is ``done`` or ``undone``, durably."""
        self._append([{"step": step, "batch": batch}])
        self.undecided.discard(batch)

    def finish(self, status: str, counts: Json, sessions: list[Json]) -> None:
        """End the transaction: its staging folder goes, its manifest says so."""
        self.manifest |= {
            "status": status,
            "completed_at": now(),
            "counts": counts,
            "sessions": sessions,
        }
        self.discard_staged()
        self.write_manifest()

    def discard_staged(self) -> None:
        """Remove the staging folder with what is left in it."""
        if self.staged.is_dir():
            for path in self.staged.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            self.staged.rmdir()

    def _append(self, lines: list[Json]) -> None:
        """Add lines durably in the place of a torn last one; a failure leaves none of them."""
        data = memoryview(
            b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)
        )
        path = self._folder / OPERATIONS
        with path.open("ab+", buffering=0) as stream:
            end = end_of_lines(stream)
            try:
                stream.truncate(end)
                while data:
                    data = data[stream.write(data) :]
                sync_descriptor(stream.fileno())
            except BaseException:
                stream.truncate(end)
                raise
        if end == 0:
            sync_folder(self._folder)


def _batches(path: Path, kinds: Collection[str], known: Places) -> Iterator[Batch]:
    operations: dict[int, list[tuple[str, AnyOperation]]] = {}
    steps: dict[int, str] = {}
    for line in read_lines(path, kinds):
        number = line["batch"]
        if line["step"] == "intent":
            pair = (line["session_id"], known.operation(from_json(line["operation"])))
            operations.setdefault(number, []).append(pair)
        else:
            steps[number] = line["step"]
    for number, found in sorted(operations.items()):
        yield Batch(number, steps.get(number), tuple(found))


def _has_ended(folder: Path) -> bool:
    return _glance(folder).get("status") in ENDED


def _glance(folder: Path) -> Json:
    """A manifest that is not checked; empty if it is damaged."""
    try:
        manifest = orjson.loads(read_regular(folder / MANIFEST))
    except (orjson.JSONDecodeError, NotAFileError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _manifest(folder: Path) -> Json:
    path = folder / MANIFEST
    try:
        data = read_regular(path)
    except NotAFileError as error:
        raise HomeError("transaction_invalid", f"{path}: {error.strerror}", hint=BACKUP) from error
    return _object(validation.load("transaction", data, str(path), HomeError))


def _object(document: Any) -> Json:
    assert isinstance(document, dict)
    return document
