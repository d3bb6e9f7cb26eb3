"""A minute's soak of the import service; ``tests/soak.py`` has a longer one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from soak import Soak

SECONDS = 60.0
MEMORY_MB = 120


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is told by /proc")
def test_it_soaks(tmp_path: Path) -> None:
    figures = Soak(tmp_path, SECONDS, seed=3).run()
    assert figures.turns > 50
    assert figures.syncs_beside > 10
    assert figures.longest_sync_s < 10
    assert max(figures.peak_mb) < MEMORY_MB
