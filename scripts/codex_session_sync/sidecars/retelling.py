"""What the journal says that the sidecars are: its versions of them, in order, confirmed only.

Rollbacks and changes of sidecars alone are transactions like any other, so nothing else is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson

from ..codex.home import CodexHome
from ..errors import HomeError
from ..journal.log import Journal
from ..journal.operations import PutDocument
from ..lineage.sidecar import (
    Mappings,
    Pair,
    by_pair,
    by_pair_as_written,
    document,
    lineage_of,
)
from ..model import Json, Notice
from .documents import Rewriting, change_of, no_sidecar, read_sidecars

REASON = "journal"
"""Why a mapping changes here: the journal has it so."""


@dataclass(slots=True)
class Retold:
    """The sidecars by lineage as the journal has them, and what they said before.

    ``transactions`` are those that could be read; ``notices`` tell of the others.
    """

    texts: dict[str, str | None] = field(default_factory=dict)
    transactions: set[str] = field(default_factory=set)
    notices: list[Notice] = field(default_factory=list)
    _earlier: dict[tuple[str, Pair], list[bytes]] = field(default_factory=dict)

    def has(self, text: str | None, lineage: str) -> bool:
        """Whether that is the text of a lineage's sidecar, to the byte."""
        return text is not None and text == self.texts.get(lineage)

    def mappings(self, lineage: str) -> Mappings:
        """What the journal says of a lineage; nothing, and a notice, if of another format."""
        try:
            return by_pair(self.texts.get(lineage), lineage)
        except HomeError as error:
            self.notices.append(Notice(error.code, f"in the journal: {error.message}"))
            return {}

    def earlier(self, lineage: str, pair: Pair) -> list[Json]:
        """The former versions of a mapping, newest first."""
        return [orjson.loads(text) for text in reversed(self._earlier.get((lineage, pair), []))]

    def follow(self, operation: PutDocument) -> None:
        """Take in the next confirmed change of a sidecar.

        Where the sidecar had been lost or replaced beside the journal, what the operation changed
        is changed, and the rest stays as it was last journaled.
        """
        lineage = lineage_of(operation.path)
        known = self.texts.get(lineage)
        if known is None and operation.before is None:
            self.texts[lineage] = operation.after
            return
        now, before, after = map(by_pair_as_written, (known, operation.before, operation.after))
        changed = [
            pair
            for pair in before.keys() | after.keys()
            if before.get(pair) != after.get(pair) != now.get(pair)
        ]
        for pair in changed:
            if pair in now:
                self._earlier.setdefault((lineage, pair), []).append(orjson.dumps(now.pop(pair)))
            if pair in after:
                now[pair] = after[pair]
        if known == operation.before:
            self.texts[lineage] = operation.after
        elif changed:
            self.texts[lineage] = document(now, lineage)


def retell(journal: Journal) -> Retold:
    """Read the journal from its beginning. A transaction that is damaged is passed over."""
    told = Retold()
    for transaction_id in reversed(journal.ids()):
        try:
            for operation in journal.confirmed(transaction_id, PutDocument.kind):
                assert isinstance(operation, PutDocument)
                told.follow(operation)
        except HomeError as error:
            told.notices.append(Notice(error.code, f"{error.message}; it is passed over"))
        else:
            told.transactions.add(transaction_id)
    return told


def plan_replay(home: CodexHome) -> Rewriting:
    """What makes the sidecars of a home those that its journal tells of, and no others.

    Raises HomeError ``journal_missing`` if it tells of none.
    """
    journal = Journal(home.sync_dir)
    told = retell(journal)
    if not told.transactions:
        raise HomeError(
            "journal_missing",
            "the journal of this home has no transaction to replay",
            hint="`codex-session-sync rebuild-sidecar` makes what can be told from transcripts",
        )
    found = {sidecar.lineage_id: sidecar for sidecar in read_sidecars(home, told.texts)}
    changes = []
    unknown: set[str] = set()
    for lineage in sorted(found.keys() | told.texts.keys()):
        sidecar = found.get(lineage) or no_sidecar(lineage)
        if sidecar.damage is None and sidecar.text == told.texts.get(lineage):
            continue
        said, wanted = sidecar.mappings, told.mappings(lineage)
        change = change_of(sidecar, wanted, dict.fromkeys({*said, *wanted}, REASON))
        if change is not None:
            changes.append(change)
            unknown |= named_by(m for pair, m in said.items() if pair not in wanted)
    notices = (*told.notices, *incomplete(unknown - told.transactions))
    return Rewriting(tuple(changes), notices)


def named_by(mappings: Iterable[Json]) -> set[str]:
    """The transactions that mappings are of."""
    return {m["transaction_id"] for m in mappings if m["transaction_id"] is not None}


def incomplete(transactions: set[str]) -> tuple[Notice, ...]:
    """A warning where sidecars name transactions that the journal does not have."""
    if not transactions:
        return ()
    more = f" and {len(transactions) - 1} more" if len(transactions) > 1 else ""
    return (
        Notice(
            "journal_incomplete",
            f"sidecars name transaction {min(transactions)}{more}, which the journal does not "
            "have: what it did cannot be replayed or rolled back",
        ),
    )
