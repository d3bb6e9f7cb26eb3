"""The group of events: what was said taken into a store, again, indexed and searched."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from bench.commands import SUM, beside, program, shell, sums
from bench.homes import ONE_HUGE, Shelf
from bench.measuring import Series, Step, emptied, forget
from bench.transcripts import Corpus

MANY = Corpus("2,500 x 400 kB", 2_500, 400_000)
"""As the one huge session some 100,000 messages, in as many lineages as there are sessions."""

GREP = "grep -r -c"
WORDS = ("bade", "fi*", "gu")


def events(shelf: Shelf) -> Iterator[Series]:
    """Messages of sessions imported, seen again, indexed and found; many lineages, and one."""
    for corpus in (MANY, ONE_HUGE):
        home, scaled, size = shelf.home(corpus)
        steps = _steps(home, shelf.scratch())
        yield Series("events", corpus.name, steps, scaled.sessions, size)


def _steps(home: Path, root: Path) -> tuple[Step, ...]:
    store = root / "store"
    summed = f"{SUM} of the transcripts"

    def fresh() -> None:
        forget()
        emptied(store)

    def events_of(*arguments: str | Path) -> list[str]:
        return program("events", *arguments, "--store", store, home=home)

    grep = shell('grep -r -c -E "bade.*fi" "$1" || true', home / "sessions")
    return (
        Step(summed, sums(home / "sessions")),
        Step("events import", events_of("import"), fresh, status="ok", beside=beside(summed)),
        Step("events import again", events_of("import"), status="no_op", beside=beside(summed)),
        Step(
            "events index, anew",
            events_of("index"),
            lambda: shutil.rmtree(store / "derived", ignore_errors=True),
            status="ok",
            beside=beside(summed),
        ),
        Step(GREP, grep),
        Step("events search, 3 words", events_of("search", *WORDS), beside=beside(GREP)),
        Step("events search, 1 word", events_of("search", "ba"), beside=beside(GREP)),
        Step("events report", events_of("report"), status="ok"),
    )
