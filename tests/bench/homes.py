"""The groups that sync a home as it is: starting, importing, undoing. And where all homes lie."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.commands import (
    COPY,
    PLAIN,
    SUM,
    beside,
    copy_and_sum,
    execute,
    plainly,
    program,
    rsync,
    sums,
    with_rsync,
)
from bench.measuring import SCRIPTS, Beside, Series, Step, emptied, forget, run
from bench.transcripts import Corpus, empty_home

SAMPLE = SCRIPTS / "codex_session_sync" / "sample" / "garden.tar.zst"

FEW_LARGE = Corpus("40 x 5 MB", 40, 5_000_000)
ONE_HUGE = Corpus("1 x 1 GB", 1, 1_000_000_000)
MANY_SHORT = Corpus("5,000 short", 5_000, 10_000)
MORE_SHORT = Corpus("10,000 short", 10_000, 10_000)

IMPORT_GOALS = {FEW_LARGE.name: 2.0, MANY_SHORT.name: 6.0}
"""An import takes at most so many times as long as copying and summing the files."""
AGAIN_GOALS = {FEW_LARGE.name: 0.6}
AGAIN_SECONDS = {MANY_SHORT.name: 2.0}
"""That a sync has nothing to do is found in so many times as long, or so many seconds."""
VERSION_SECONDS, LOOK_SECONDS = 0.25, 0.4


@dataclass(slots=True)
class Shelf:
    """A folder to work in, at a scale; homes that are only read are made once."""

    root: Path
    scale: float
    _sizes: dict[str, int] = field(default_factory=dict)

    def home(self, corpus: Corpus) -> tuple[Path, Corpus, int]:
        """The home of a corpus, the corpus at this scale, and the bytes of its transcripts."""
        scaled, home = corpus.scaled(self.scale), self.root / "homes" / corpus.name
        if corpus.name not in self._sizes:
            self._sizes[corpus.name] = scaled.make(home)
        return home, scaled, self._sizes[corpus.name]

    def scratch(self) -> Path:
        """An empty folder for what a series makes; the one before is gone."""
        return emptied(self.root / "scratch")


def startup(shelf: Shelf) -> Iterator[Series]:
    """How long a call takes that has little to do."""
    bare, imports = "python -c pass", "import click, orjson"
    home = empty_home(shelf.scratch() / "home")
    ours = (sys.executable, "-m", "codex_session_sync")
    both = beside(bare, imports)
    steps = (
        Step(bare, (sys.executable, "-c", "pass")),
        Step(imports, (sys.executable, "-c", imports)),
        Step("--version", (*ours, "--version"), beside=both, goal=VERSION_SECONDS),
        Step("--help", (*ours, "--help"), beside=both, goal=VERSION_SECONDS),
        Step(
            "inspect-package of the sample",
            program("inspect-package", SAMPLE, home=home),
            beside=both,
            goal=LOOK_SECONDS,
        ),
    )
    yield Series("startup", "start", steps, often=5, fixed=True)


def importing(shelf: Shelf) -> Iterator[Series]:
    """A home looked at, brought in and brought in again."""
    for corpus in (FEW_LARGE, ONE_HUGE, MANY_SHORT, MORE_SHORT):
        home, scaled, size = shelf.home(corpus)
        steps = import_steps(home, shelf.scratch(), corpus.name)
        yield Series("import", corpus.name, steps, scaled.sessions, size)


def import_steps(home: Path, root: Path, name: str = "") -> tuple[Step, ...]:
    """Looking, importing, and importing again; ``name`` says which goals hold."""
    copy, target = root / "copy", root / "target"
    sessions = copy / "sessions"

    def fresh() -> None:
        forget()
        empty_home(emptied(target))

    all_ways = with_rsync(Beside(COPY, IMPORT_GOALS.get(name)), PLAIN)
    again = beside(Beside(COPY, AGAIN_GOALS.get(name)))
    look = program("inspect-package", home, home=target)
    return (
        *rsync(home / "sessions", sessions, lambda: emptied(copy)),
        Step(PLAIN, plainly(home, copy), lambda: empty_home(emptied(copy))),
        Step("inspect-package", look, fresh, beside=with_rsync(COPY, PLAIN)),
        Step(COPY, copy_and_sum(home, copy), lambda: emptied(copy)),
        Step("sync --execute", execute(home, target), fresh, status="ok", beside=all_ways),
        Step(
            "sync again",
            execute(home, target),
            status="no_op",
            beside=again,
            goal=AGAIN_SECONDS.get(name),
        ),
    )


def undoing(shelf: Shelf) -> Iterator[Series]:
    """Commands about what was imported, and its undoing."""
    home, scaled, size = shelf.home(MANY_SHORT)
    target = shelf.scratch() / "target"
    journal, all_of_it = f"{SUM} of the journal", f"{SUM} of the home"

    def imported() -> None:
        empty_home(emptied(target))
        run(execute(home, target), "ok")

    steps = (
        Step(journal, sums(target / "session-sync" / "transactions"), imported),
        Step(
            "list-transactions",
            program("list-transactions", home=target),
            status="ok",
            beside=beside(journal),
        ),
        Step(all_of_it, sums(target)),
        Step(
            "sidecar-health",
            program("sidecar-health", home=target),
            status="ok",
            beside=beside(all_of_it),
        ),
        Step(
            "rollback --latest --execute",
            program("rollback", "--latest", "--execute", home=target),
            status="ok",
            beside=beside(all_of_it),
        ),
    )
    yield Series("undo", MANY_SHORT.name, steps, scaled.sessions, size)
