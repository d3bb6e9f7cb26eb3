"""What the commands about events share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from ..events.index import Index, Updated, consult
from ..events.reporting import totals
from ..model import Notice
from ..report.envelope import Report, Status
from ..report.progress import byte_progress
from ..store.opening import open_store
from ..store.place import Store, locate_store

T = TypeVar("T")


def store_of(given: str | None) -> Store:
    """The store that a command works on, which must be there. Raises StoreError."""
    return open_store(locate_store(given, os.environ))


def asked(store: Store, question: Callable[[Index], T]) -> tuple[T, list[Notice]]:
    """What the store's index answers, brought up to date first. Raises StoreError."""
    with byte_progress("indexing", None) as progress:
        return consult(store, question, progress)


def brought_up_to_date(
    command: str, given: str | None, act: Callable[[Store, Callable[[int], None]], Updated]
) -> Report:
    """The report of a command that puts into the index what is missing there. Raises StoreError."""
    store = store_of(given)
    with byte_progress("indexing", None) as progress:
        done = act(store, progress)
    found, notices = consult(store, totals)
    data = {"store": str(store.path), "imports": done.imports, "anew": done.anew, "totals": found}
    status: Status = "ok" if done.imports or done.anew else "no_op"
    return Report(command, status, data, warnings=tuple(notices))
