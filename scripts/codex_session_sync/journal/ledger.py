"""What the transactions of a home did to its sessions, and what of it stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..errors import HomeError
from ..model import Json
from .log import Journal
from .operations import AnyOperation, AppendText, EditText, MakeFolder, RemoveFolder


@dataclass(frozen=True, slots=True)
class Deed:
    """What one transaction did to one session and confirmed.

    ``session`` is what its manifest says of the session; ``rolls_back`` the transaction that it
    undid, if it is a rollback.
    """

    transaction_id: str
    session_id: str
    local_id: str
    rolls_back: str | None
    session: Json
    operations: tuple[AnyOperation, ...]


class Ledger:
    """The deeds of all transactions, oldest first, as the journal has them."""

    def __init__(self, deeds: Iterable[Deed]) -> None:
        self._deeds: dict[str, list[Deed]] = {}
        self._by_local: dict[str, list[Deed]] = {}
        self._rollbacks: dict[tuple[str, str], list[Deed]] = {}
        self._made: dict[str, bool] = {}
        for deed in deeds:
            self._deeds.setdefault(deed.transaction_id, []).append(deed)
            self._by_local.setdefault(deed.local_id, []).append(deed)
            if deed.rolls_back is not None:
                key = (deed.rolls_back, deed.session_id)
                self._rollbacks.setdefault(key, []).append(deed)
            self._made |= _made(deed.operations)

    def of(self, transaction_id: str) -> Sequence[Deed]:
        """The deeds of one transaction, in its order."""
        return self._deeds.get(transaction_id, [])

    @property
    def newest(self) -> str | None:
        """The newest transaction that did something."""
        return max(self._deeds, default=None)

    def undone_by(self, deed: Deed) -> str | None:
        """The rollback that undid a deed and is itself in effect; None if the deed stands."""
        rollbacks = self._rollbacks.get((deed.transaction_id, deed.session_id), [])
        return next((r.transaction_id for r in rollbacks if self.undone_by(r) is None), None)

    def built_on(self, deed: Deed) -> list[str]:
        """The later transactions in effect that changed the session again, newest first.

        A rollback of a later one is none: the two together left the session as it was.
        """
        return [
            later.transaction_id
            for later in reversed(self._by_local[deed.local_id])
            if later.transaction_id > deed.transaction_id
            and (later.rolls_back is None or later.rolls_back <= deed.transaction_id)
            and self.undone_by(later) is None
        ]

    def made(self, path: str) -> bool:
        """Whether a folder, or the index of names, is there because a transaction made it."""
        return self._made.get(path, False)


def read_ledger(journal: Journal) -> Ledger:
    """The ledger of a journal. Raises HomeError where it is damaged."""
    return Ledger(deed for i in reversed(journal.ids()) for deed in _deeds(journal, i))


def _deeds(journal: Journal, transaction_id: str) -> Iterator[Deed]:
    manifest = journal.manifest(transaction_id)
    sessions: Mapping[str, Json] = {s["session_id"]: s for s in manifest["sessions"]}
    done: dict[str, list[AnyOperation]] = {}
    for batch in journal.batches(transaction_id):
        for session_id, operation in batch.operations if batch.step == "done" else ():
            done.setdefault(session_id, []).append(operation)
    for session_id, operations in done.items():
        session = sessions.get(session_id, {})
        local_id = session.get("local_session_id")
        if local_id is None:
            raise HomeError(
                "transaction_invalid",
                f"transaction {transaction_id} changed session {session_id} and does not name it",
                hint="restore the journal from a backup, or move that transaction's folder away",
            )
        rolls_back = manifest.get("rolls_back")
        yield Deed(transaction_id, session_id, local_id, rolls_back, session, tuple(operations))


def _made(operations: Iterable[AnyOperation]) -> dict[str, bool]:
    """What a deed makes out of nothing (True) or removes again (False), by path."""
    found: dict[str, bool] = {}
    for operation in operations:
        match operation:
            case MakeFolder(path) | AppendText(path, None):
                found[path] = True
            case EditText(path, size_before=None):
                found[path] = True
            case RemoveFolder(path) | EditText(path, size_after=None):
                found[path] = False
    return found
