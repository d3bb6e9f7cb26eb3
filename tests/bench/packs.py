"""The group of packages: making, looking at and bringing in files of both kinds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.commands import TAR, UNTAR, beside, execute, program, tar, untar
from bench.homes import FEW_LARGE, MORE_SHORT, ONE_HUGE, Shelf
from bench.measuring import Series, Step, emptied
from bench.transcripts import empty_home

TRANSFER = "pack --format transfer-v1"


def packages(shelf: Shelf) -> Iterator[Series]:
    """Packages of both kinds, beside what packs and unpacks the same files with tar and zstd."""
    for corpus in (ONE_HUGE, FEW_LARGE, MORE_SHORT):
        home, scaled, size = shelf.home(corpus)
        steps = _steps(home, shelf.scratch())
        yield Series("packages", corpus.name, steps, scaled.sessions, size)


def _steps(home: Path, root: Path) -> tuple[Step, ...]:
    target, plain = root / "target", root / "plain.tar.zst"
    native, transfer = root / "native.csync", root / "transfer.tar.zst"

    def fresh() -> None:
        empty_home(emptied(target))

    pack_transfer = program("pack", "-o", transfer, "--format", "transfer-v1", home=home)
    looked, both = beside(UNTAR), beside(TAR, TRANSFER)
    return (
        Step(TAR, tar(home, plain), makes=plain),
        Step(
            "pack",
            program("pack", "-o", native, home=home),
            makes=native,
            status="ok",
            beside=both,
        ),
        Step(TRANSFER, pack_transfer, makes=transfer, status="ok", beside=beside(TAR)),
        Step(UNTAR, untar(plain, target), lambda: emptied(target)),
        Step("inspect", program("inspect-package", native, home=target), fresh, beside=looked),
        Step("sync --execute", execute(native, target), fresh, status="ok", beside=looked),
        Step(
            "inspect, transfer-v1",
            program("inspect-package", transfer, home=target),
            fresh,
            beside=looked,
        ),
        Step(
            "sync --execute, transfer-v1",
            execute(transfer, target),
            fresh,
            status="ok",
            beside=looked,
        ),
    )
