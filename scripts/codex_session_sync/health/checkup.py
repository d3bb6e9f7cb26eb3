"""The whole check of a home's sidecars, as a value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..codex.home import CodexHome
from ..errors import HomeError
from ..journal.log import Journal
from ..model import Json, Notice
from ..sidecars.retelling import incomplete
from .documents import Shelf, against_journal, confirmed_documents, read_shelf
from .finding import Finding, of_error
from .holding import Holding, misplaced_rows, names_of_none, read_holding
from .linking import Linking
from .transactions import Transactions, leftovers, moved_notices, read_transactions

Progress = Callable[[int], None]

SHALLOW = (
    "what is not about sidecars in the journal, and the transcripts beyond their first entry, but "
    "for those that are smaller than at the last sync (--deep reads all)"
)
AT_WORK = "leftovers, since a transaction has not ended"
UNREADABLE_JOURNAL = "the sidecars against the journal, which cannot be read as a whole"


@dataclass(frozen=True, slots=True)
class Health:
    """What is wrong, what was looked at, and what was not."""

    findings: tuple[Finding, ...]
    notices: tuple[Notice, ...]
    checked: Json
    not_checked: tuple[str, ...]

    def to_json(self) -> Json:
        """The data of the report."""
        return {
            "healthy": not self.findings,
            "problems": [finding.to_json() for finding in self.findings],
            "checked": self.checked,
            "not_checked": list(self.not_checked),
        }


def check_health(
    home: CodexHome,
    *,
    deep: bool = False,
    progress: Callable[[int], Progress] | None = None,
) -> Health:
    """Check sidecars against schema, journal, transcripts and database; writes nothing.

    ``progress`` is told how many bytes of transcripts there are, and gives what is told of those
    that are done.
    """
    journal = Journal(home.sync_dir)
    shelf = read_shelf(home.sync_dir)
    transactions = read_transactions(home, journal)
    holding = read_holding(home)
    total = sum(tip.size for tip in holding.tips())
    linking = Linking(holding, shelf, deep, progress(total) if progress else None)
    compared = tuple(_against_journal(journal, shelf, deep=deep)) if transactions.readable else ()
    findings = (
        *transactions.findings,
        *shelf.findings,
        *compared,
        *holding.findings,
        *linking.findings(),
        *misplaced_rows(holding),
        *names_of_none(holding),
        *(() if transactions.at_work else leftovers(home)),
    )
    return Health(
        findings,
        (
            *moved_notices(transactions),
            *(_unknown(journal, shelf) if transactions.readable else ()),
            *linking.notices,
        ),
        _checked(holding, shelf, transactions, linking),
        tuple(_not_checked(transactions, compared, deep=deep)),
    )


def _against_journal(journal: Journal, shelf: Shelf, *, deep: bool) -> Iterator[Finding]:
    try:
        confirmed = confirmed_documents(journal, deep=deep)
    except HomeError as error:
        yield of_error(error)
        return
    yield from against_journal(shelf, confirmed)


def _unknown(journal: Journal, shelf: Shelf) -> Iterator[Notice]:
    """That sidecars name transactions which are not here: the journal is of an earlier state."""
    named = (m.transaction_id for document in shelf.documents.values() for m in document.mappings)
    yield from incomplete({i for i in named if i is not None}.difference(journal.ids()))


def _checked(holding: Holding, shelf: Shelf, transactions: Transactions, linking: Linking) -> Json:
    return {
        "sessions": sum(1 for _ in holding.rollouts.threads()),
        "read_whole": linking.read_whole,
        "rows": len(holding.row_paths),
        "names": len(holding.names),
        "sidecars": len(shelf.present),
        "mappings": sum(len(document.mappings) for document in shelf.documents.values()),
        "transactions": transactions.count,
    }


def _not_checked(
    transactions: Transactions, compared: tuple[Finding, ...], *, deep: bool
) -> Iterator[str]:
    if not deep:
        yield SHALLOW
    if transactions.at_work:
        yield AT_WORK
    if not transactions.readable or any(one.code == "operation_invalid" for one in compared):
        yield UNREADABLE_JOURNAL
