"""Transactions on disk: one folder each, with a manifest and an append-only list of operations.

``session-sync/transactions/<id>/manifest.json`` says what the transaction is and how it ended;
``operations.jsonl`` holds, batch by batch, every intended operation before it is applied, then
``begun``, then ``done`` or ``undone``. Both have schemas in ``schemas/``.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from .. import validation
from ..durable import sync_descriptor, sync_folder, write_atomic
from ..errors import HomeError, UsageError
from ..model import Json
from .operations import AnyOperation, from_json, to_json

SCHEMA = "codex-session-sync/transaction/1"
MANIFEST = "manifest.json"
OPERATIONS = "operations.jsonl"
STAGED = "staged"


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
        self._root = sync_dir / "transactions"

    def begin(self, manifest: Json) -> TransactionLog:
        """Make a new transaction's folder with its manifest, durably."""
        transaction_id = _new_id()
        folder = self._root / transaction_id
        (folder / STAGED).mkdir(parents=True)
        head = {"schema": SCHEMA, "transaction_id": transaction_id}
        log = TransactionLog(folder, {**head, **manifest})
        log.write_manifest()
        sync_folder(self._root)
        return log

    def ids(self) -> list[str]:
        """The ids of all transactions, newest first."""
        if not self._root.is_dir():
            return []
        return sorted((p.name for p in self._root.iterdir() if p.is_dir()), reverse=True)

    def manifests(self) -> Iterator[Json]:
        """The manifests of all transactions, newest first.

        A folder that a kill left without a manifest has changed nothing and is passed over.
        """
        for transaction_id in self.ids():
            if (self._root / transaction_id / MANIFEST).exists():
                yield self.manifest(transaction_id)

    def manifest(self, transaction_id: str) -> Json:
        """One manifest. Raises UsageError ``transaction_unknown``, HomeError if it is damaged."""
        path = self._folder(transaction_id) / MANIFEST
        return _object(validation.load("transaction", path.read_bytes(), str(path), HomeError))

    def batches(self, transaction_id: str) -> list[Batch]:
        """What a transaction intended, in order; a torn last line is what a kill leaves."""
        return list(_batches(self._folder(transaction_id) / OPERATIONS))

    def interrupted(self) -> list[str]:
        """The ids of transactions that did not end."""
        return [m["transaction_id"] for m in self.manifests() if m["status"] == "running"]

    def reopen(self, transaction_id: str) -> TransactionLog:
        """An interrupted transaction, to bring it to its end."""
        return TransactionLog(self._folder(transaction_id), self.manifest(transaction_id))

    def _folder(self, transaction_id: str) -> Path:
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
        self._append([*lines, {"step": "begun", "batch": self._batch}])
        return self._batch

    def mark(self, step: str, batch: int) -> None:
        """Record that a batch is ``done`` or ``undone``, durably."""
        self._append([{"step": step, "batch": batch}])

    def finish(self, status: str, counts: Json, sessions: list[Json]) -> None:
        """End the transaction: its manifest says so, its staging folder goes."""
        self.manifest |= {
            "status": status,
            "completed_at": now(),
            "counts": counts,
            "sessions": sessions,
        }
        self.write_manifest()
        self.discard_staged()

    def discard_staged(self) -> None:
        """Remove the staging folder with what is left in it."""
        if self.staged.is_dir():
            for path in self.staged.iterdir():
                path.unlink()
            self.staged.rmdir()

    def _append(self, lines: list[Json]) -> None:
        with (self._folder / OPERATIONS).open("ab") as stream:
            for line in lines:
                stream.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            stream.flush()
            sync_descriptor(stream.fileno())
        if self._batch == 1:
            sync_folder(self._folder)


def now() -> str:
    """The present time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _new_id() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}-{secrets.token_hex(4)}"


def _batches(path: Path) -> Iterator[Batch]:
    operations: dict[int, list[tuple[str, AnyOperation]]] = {}
    steps: dict[int, str] = {}
    for line in _lines(path):
        number = line["batch"]
        if line["step"] == "intent":
            pair = (line["session_id"], from_json(line["operation"]))
            operations.setdefault(number, []).append(pair)
        else:
            steps[number] = line["step"]
    for number, found in sorted(operations.items()):
        yield Batch(number, steps.get(number), tuple(found))


def _lines(path: Path) -> Iterator[Json]:
    if not path.exists():
        return
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n"):
                return
            what = f"{path} line {number}"
            yield _object(validation.load("operation", line, what, HomeError))


def _object(document: Any) -> Json:
    assert isinstance(document, dict)
    return document
