"""The groups of sessions that go on: a turn brought to large ones, and what size does to all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.commands import (
    COPY,
    SUM,
    TAR,
    beside,
    copy_and_sum,
    execute,
    have,
    program,
    rsync,
    sums,
    tar,
    with_rsync,
)
from bench.homes import MORE_SHORT, Shelf
from bench.measuring import Beside, Series, Step, emptied, forget, run
from bench.transcripts import Corpus, GrowingHome, empty_home

MB = 1_000_000
LARGE = (("1 x 300 MB", 300 * MB), ("1 x 1 GB", 1000 * MB))
WHOLE_GOAL, DELTA_GOAL = 5.0, 2.0
"""A turn comes in so many times as long as the session's file is summed."""

SIZES_MB = (1, 4, 16, 64, 256, 1024)
COUNTS = (100, 1_000, 10_000)
IMPORT, AGAIN, FORWARD, DELTA = "import", "nothing to do", "one turn", "one turn, delta"
"""What the curves show."""


def forward(shelf: Shelf) -> Iterator[Series]:
    """One more turn of a large session, each round: in the whole home, then as a delta."""
    for name, size in LARGE:
        root = shelf.scratch()
        source = GrowingHome(root / "home", round(size * shelf.scale))
        target, copy = root / "target", root / "copy"
        run(execute(source.home, empty_home(target)), "ok")
        run(copy_and_sum(source.home, emptied(copy)))
        yield Series("forward", name, _forward_steps(source, target, copy), 1, source.size)


def _forward_steps(source: GrowingHome, target: Path, copy: Path) -> tuple[Step, ...]:
    root = target.parent
    incoming, local = f"{SUM} of the incoming file", f"{SUM} of the local file"
    document, delta, plain = root / "have.json", root / "delta.csync", root / "plain.tar.zst"
    here = target / source.transcript.relative_to(source.home)
    whole = with_rsync(Beside(incoming, WHOLE_GOAL))
    pack = program("pack", "-o", delta, "--have", document, home=source.home)
    sum_of_local = beside(local)
    return (
        Step(incoming, sums(source.transcript), source.go_on),
        Step("sync --execute", execute(source.home, target), status="ok", beside=whole),
        *rsync(source.home / "sessions", copy / "sessions"),
        Step("sync again", execute(source.home, target), status="no_op", beside=beside(incoming)),
        Step(
            "have",
            have(target, document),
            source.go_on,
            makes=document,
            status="ok",
            beside=sum_of_local,
        ),
        Step(TAR, tar(source.home, plain), makes=plain),
        Step("pack --have", pack, makes=delta, status="ok", beside=beside(TAR)),
        Step(local, sums(here)),
        Step(
            "sync --execute of the delta",
            execute(delta, target),
            status="ok",
            beside=beside(Beside(local, DELTA_GOAL)),
        ),
    )


def curves(shelf: Shelf) -> Iterator[Series]:
    """The same work at growing sizes of one session, and for growing numbers of short ones."""
    for megabytes in SIZES_MB:
        root = shelf.scratch()
        source = GrowingHome(root / "home", round(megabytes * MB * shelf.scale))
        steps = (*_import_points(source.home, root), *_turn_points(source, root))
        yield Series(
            "curves",
            f"1 x {megabytes:,} MB",
            steps,
            1,
            source.size,
            curve="size",
            place=source.size / MB,
        )
    for count in COUNTS:
        corpus = MORE_SHORT
        if count != corpus.sessions:
            corpus = Corpus(f"{count:,} short", count, corpus.size)
        home, scaled, size = shelf.home(corpus)
        yield Series(
            "curves",
            corpus.name,
            _import_points(home, shelf.scratch()),
            scaled.sessions,
            size,
            curve="sessions",
            place=scaled.sessions,
        )


def _import_points(home: Path, root: Path) -> tuple[Step, ...]:
    target, copy = root / "target", root / "copy"

    def fresh() -> None:
        forget()
        empty_home(emptied(target))

    copied = beside(COPY)
    return (
        Step(COPY, copy_and_sum(home, copy), lambda: emptied(copy)),
        Step(IMPORT, execute(home, target), fresh, status="ok", beside=copied),
        Step(AGAIN, execute(home, target), status="no_op", beside=copied),
    )


def _turn_points(source: GrowingHome, root: Path) -> tuple[Step, ...]:
    target, document, delta = root / "target", root / "have.json", root / "delta.csync"

    def packed() -> None:
        for made in (document, delta):
            made.unlink(missing_ok=True)
        run(have(target, document), "ok")
        source.go_on()
        run(program("pack", "-o", delta, "--have", document, home=source.home), "ok")

    copied = beside(COPY)
    return (
        Step(FORWARD, execute(source.home, target), source.go_on, status="ok", beside=copied),
        Step(DELTA, execute(delta, target), packed, status="ok", beside=copied),
    )
