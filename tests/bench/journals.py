"""The group of long journals: what is done in a home that has taken in thousands of packages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from bench.commands import beside, execute, program
from bench.homes import Shelf
from bench.measuring import Beside, Series, Step, run
from bench.transcripts import GrowingHome, empty_home

AGING = Path(__file__).with_name("aging.py")
TRANSACTIONS = 5_000
GOAL = 1.5
"""A turn comes into a home with so many transactions in so many times as long as into a new one."""


def journals(shelf: Shelf) -> Iterator[Series]:
    """One turn brought to a home with one transaction, and to one with thousands."""
    root = shelf.scratch()
    source = GrowingHome(root / "home", 100_000)
    young, old = empty_home(root / "young"), empty_home(root / "old")
    count = max(2, round(TRANSACTIONS * shelf.scale))
    run((sys.executable, str(AGING), str(old), str(count)))
    for home in (young, old):
        run(execute(source.home, home), "ok")
    turn = "one turn, a new home"
    steps = (
        Step(turn, execute(source.home, young), source.go_on, status="ok"),
        Step(
            "one turn",
            execute(source.home, old),
            source.go_on,
            status="ok",
            beside=beside(Beside(turn, GOAL)),
        ),
        Step("nothing to do", execute(source.home, old), status="no_op", beside=beside(turn)),
        Step("list-transactions", program("list-transactions", home=old), beside=beside(turn)),
        Step("recover", program("recover", home=old), beside=beside(turn)),
        Step("sidecar-health", program("sidecar-health", home=old), beside=beside(turn)),
    )
    yield Series("journals", f"{TRANSACTIONS:,} packages", steps, count, often=3)
