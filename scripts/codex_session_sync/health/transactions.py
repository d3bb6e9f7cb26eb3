"""The journal: transactions that did not end or cannot be read, and what ended ones left behind."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..codex.home import CodexHome
from ..durable import TEMPORARY
from ..errors import HomeError
from ..journal.log import ENDED, MANIFEST, STAGED, TRANSACTIONS, Journal
from ..model import Notice
from .finding import Finding, of_error

PLACE = f"session-sync/{TRANSACTIONS}"


@dataclass(frozen=True, slots=True)
class Transactions:
    """What the manifests say: how many there are, what is wrong, where the home once was.

    ``readable``: no manifest is damaged. ``at_work``: one is running or was interrupted, as far as
    can be told.
    """

    count: int
    readable: bool
    at_work: bool
    findings: tuple[Finding, ...]
    elsewhere: Counter[str] = field(default_factory=Counter)
    """How many transactions name another home than this, by its path."""


def read_transactions(home: CodexHome, journal: Journal) -> Transactions:
    """Every manifest of the journal, checked; nothing that it names is opened."""
    links = list(_links(home))
    if links:
        return Transactions(0, readable=False, at_work=True, findings=tuple(links))
    ids = journal.ids()
    findings: list[Finding] = []
    elsewhere: Counter[str] = Counter()
    readable, at_work = True, False
    for transaction_id in ids:
        try:
            manifest = journal.manifest(transaction_id)
        except HomeError as error:
            readable = False
            findings.append(of_error(error, path=f"{PLACE}/{transaction_id}/{MANIFEST}"))
            continue
        if manifest["home"] != str(home.path):
            elsewhere[manifest["home"]] += 1
        if manifest["status"] not in ENDED:
            at_work = True
            findings.append(
                Finding(
                    "transaction_interrupted",
                    f"transaction {transaction_id} has not ended: unless a sync is at work it was "
                    "interrupted",
                    path=f"{PLACE}/{transaction_id}",
                )
            )
    return Transactions(len(ids), readable, at_work, tuple(findings), elsewhere)


def _links(home: CodexHome) -> Iterator[Finding]:
    """The links by which the journal would lead out of the home."""
    root = home.sync_dir / TRANSACTIONS
    places = [home.sync_dir, root]
    if not any(place.is_symlink() for place in places) and root.is_dir():
        places += sorted(root.iterdir())
    for place in places:
        if place.is_symlink():
            shown = place.relative_to(home.path).as_posix()
            yield Finding("path_escapes_home", "it is a link, which is not followed", path=shown)


def moved_notices(transactions: Transactions) -> Iterator[Notice]:
    """That the journal is of a home at another place, which does no harm."""
    for place, number in sorted(transactions.elsewhere.items()):
        yield Notice(
            "home_moved",
            f"{number} of the transactions were made while the home was at {place}; what they name "
            "is relative to the home, so nothing leads there",
        )


def leftovers(home: CodexHome) -> Iterator[Finding]:
    """What nobody uses any more: unfinished files, staged ones, folders that tell nothing.

    Only to be asked for while no transaction is at work, whose files these could be.
    """
    sync = home.sync_dir
    found = [
        *home.path.glob(f".{home.session_index.name}{TEMPORARY[1:]}"),
        *sync.glob(TEMPORARY),
        *(sync / "sidecars").glob(TEMPORARY),
    ]
    root = sync / TRANSACTIONS
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if not os.path.lexists(folder / MANIFEST):
            found.append(folder)
        else:
            found += folder.glob(TEMPORARY)
            found += [folder / STAGED] if (folder / STAGED).exists() else []
    for path in found:
        yield Finding(
            "leftover",
            "a command that was killed left it, and nothing reads it",
            path=path.relative_to(home.path).as_posix(),
        )
