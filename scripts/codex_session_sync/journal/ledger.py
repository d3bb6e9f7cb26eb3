"""What the transactions of a home did to its sessions, and what of it stands.

Manifests say which session a transaction changed; the operations are read of the one transaction
that is asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..errors import HomeError
from ..model import Json
from ..planned import RESULT_OF, RESULT_OF_MAPPING, RESULT_OF_SKILL, SKILL
from .log import MAPPING_KINDS, Journal
from .operations import AnyOperation, AppendText, EditText, MakeFolder, RemoveFolder
from .places import Places

CHANGED = frozenset(
    {
        *map(str, RESULT_OF.values()),
        *RESULT_OF_MAPPING.values(),
        *RESULT_OF_SKILL.values(),
        "undone",
    }
)
"""The results of a session or a skill that a transaction changed."""


@dataclass(frozen=True, slots=True)
class Mark:
    """That one transaction changed one session, or one skill (``of_skill``).

    ``session`` is what its manifest says of the session; ``rolls_back`` the transaction that it
    undid, if it is a rollback. ``of_mappings``: it changed sidecars and nothing of the session
    itself, or rolled such a transaction back.
    """

    transaction_id: str
    session_id: str
    local_id: str
    rolls_back: str | None
    session: Json
    of_mappings: bool

    @property
    def of_skill(self) -> bool:
        """Whether what was changed is a skill; its key stands where a session has its id."""
        return self.local_id.startswith(SKILL)


@dataclass(frozen=True, slots=True)
class Deed(Mark):
    """What one transaction did to one session and confirmed, in the order in which it did it."""

    operations: tuple[AnyOperation, ...]


class Ledger:
    """The marks of all transactions that have ended."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._marks: dict[str, dict[str, Mark]] = {}
        self._by_local: dict[str, list[Mark]] = {}
        self._rollbacks: dict[tuple[str, str], list[Mark]] = {}
        of_mappings: set[str] = set()
        for manifest in sorted(journal.manifests(), key=lambda m: str(m["transaction_id"])):
            if manifest["kind"] in MAPPING_KINDS or manifest.get("rolls_back") in of_mappings:
                of_mappings.add(manifest["transaction_id"])
            for mark in _marks(manifest, manifest["transaction_id"] in of_mappings):
                self._marks.setdefault(mark.transaction_id, {})[mark.session_id] = mark
                self._by_local.setdefault(mark.local_id, []).append(mark)
                if mark.rolls_back is not None:
                    key = (mark.rolls_back, mark.session_id)
                    self._rollbacks.setdefault(key, []).append(mark)

    @property
    def newest(self) -> str | None:
        """The newest transaction that changed something."""
        return max(self._marks, default=None)

    @property
    def places(self) -> Places:
        """Where the home is, and where it was."""
        return self._journal.places

    def of(self, transaction_id: str) -> Sequence[Deed]:
        """What one transaction did, in order of execution.

        Raises HomeError where its journal is damaged.
        """
        operations: dict[str, list[AnyOperation]] = {}
        batches: dict[str, int] = {}
        for batch in self._journal.batches(transaction_id):
            for session_id, operation in batch.operations if batch.step == "done" else ():
                operations.setdefault(session_id, []).append(operation)
                batches[session_id] = batch.number
        self._require_whole(transaction_id, operations)
        deeds = [
            Deed(
                mark.transaction_id,
                session_id,
                mark.local_id,
                mark.rolls_back,
                mark.session,
                mark.of_mappings,
                tuple(operations[session_id]),
            )
            for session_id, mark in self._marks.get(transaction_id, {}).items()
            if session_id in operations
        ]
        return sorted(deeds, key=lambda deed: batches[deed.session_id])

    def _require_whole(self, transaction_id: str, known: Collection[str]) -> None:
        """Raise HomeError if the journal does not tell what was done to a session.

        A rollback may have found nothing to do for a session, not for all of them.
        """
        marks = self._marks.get(transaction_id, {})
        missing = [i for i, mark in marks.items() if i not in known and mark.rolls_back is None]
        if missing or (marks and not known):
            raise HomeError(
                "operation_invalid",
                f"the journal of transaction {transaction_id} does not say what it did to "
                f"{', '.join(missing or marks)}: its list of operations is cut off or gone",
                hint="put the journal back from a backup of the home",
            )

    def undone_by(self, mark: Mark) -> str | None:
        """The rollback that undid a deed and is itself in effect; None if the deed stands."""
        rollbacks = self._rollbacks.get((mark.transaction_id, mark.session_id), [])
        return next((r.transaction_id for r in rollbacks if self.undone_by(r) is None), None)

    def built_on(self, mark: Mark) -> list[str]:
        """The later transactions in effect that changed the session again, newest first.

        A rollback of a later one is none: the two together left the session as it was. Nor is one
        that changed mappings alone, unless ``mark`` is of such a one.
        """
        return [
            later.transaction_id
            for later in reversed(self._by_local[mark.local_id])
            if later.transaction_id > mark.transaction_id
            and (later.rolls_back is None or later.rolls_back <= mark.transaction_id)
            and (mark.of_mappings or not later.of_mappings)
            and self.undone_by(later) is None
        ]

    def made_folder(self, path: str) -> bool:
        """Whether a folder is there because a transaction made it."""
        return self._folders.get(path, False)

    def made_index(self, path: str) -> bool:
        """Whether the index of names is there because a transaction made it."""
        return self._indices.get(path, False)

    @cached_property
    def _folders(self) -> Mapping[str, bool]:
        return _made(self._all("make_folder", "remove_folder"))

    @cached_property
    def _indices(self) -> Mapping[str, bool]:
        return _made(self._all("append_text", "edit_text"))

    def _all(self, *kinds: str) -> Iterator[AnyOperation]:
        """All operations of some kinds that were done, oldest first.

        What a transaction made whose journal is damaged counts as made by somebody else.
        """
        for transaction_id in reversed(self._journal.ids()):
            try:
                batches = self._journal.batches(transaction_id, kinds)
            except (HomeError, OSError):
                continue
            for batch in batches:
                if batch.step == "done":
                    yield from (operation for _, operation in batch.operations)


def _marks(manifest: Json, of_mappings: bool) -> Iterator[Mark]:
    for session in manifest["sessions"]:
        if session["result"] in CHANGED and session["local_session_id"] is not None:
            yield Mark(
                manifest["transaction_id"],
                session["session_id"],
                session["local_session_id"],
                manifest.get("rolls_back"),
                session,
                of_mappings,
            )

    for skill in manifest.get("skills", ()):
        if skill["result"] in CHANGED:
            key = f"{SKILL}{skill['name']}"
            rolls_back = manifest.get("rolls_back")
            yield Mark(manifest["transaction_id"], key, key, rolls_back, skill, False)


def _made(operations: Iterable[AnyOperation]) -> dict[str, bool]:
    """What operations make out of nothing (True) or remove again (False), by path."""
    found: dict[str, bool] = {}
    for operation in operations:
        match operation:
            case MakeFolder(path) | AppendText(path, None) | EditText(path, size_before=None):
                found[path] = True
            case RemoveFolder(path) | EditText(path, size_after=None):
                found[path] = False
    return found
