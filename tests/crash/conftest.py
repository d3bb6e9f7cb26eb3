"""The beds of the failure tests, and the server of processes with faults."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.beds import Bed, Driver, Twins, driving, make_bed, make_mixed_bed, make_twins


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return make_bed(tmp_path / "bed")


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    return make_twins(lambda: make_bed(tmp_path_factory.mktemp("twin")))


@pytest.fixture(scope="session")
def known() -> Iterator[Bed]:
    """In memory if there is such a place: it is synced and put back a thousand times."""
    memory = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(prefix="crash-", dir=memory if memory.is_dir() else None))
    yield make_mixed_bed(made)
    shutil.rmtree(made)


@pytest.fixture
def mixed(known: Bed) -> Bed:
    known.restore()
    return known


@pytest.fixture(scope="session")
def mixed_twins(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    return make_twins(lambda: make_mixed_bed(tmp_path_factory.mktemp("twin")))


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    with driving(tmp_path_factory.mktemp("driver")) as found:
        yield found
