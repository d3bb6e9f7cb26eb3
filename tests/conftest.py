"""What all tests share: how hypothesis searches, an option, a cache and what it must hold."""

from __future__ import annotations

import atexit
import os
import tempfile
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from codex_session_sync import transcript
from codex_session_sync.scan_cache import VARIABLE
from codex_session_sync.scan_state import State, dump

# On a busy machine examples are slow to make, and none is slow for a reason of its own.
settings.register_profile("developing", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "ci", settings.get_profile("developing"), derandomize=True, database=None, print_blob=True
)
settings.load_profile("ci" if os.environ.get("CI") else "developing")

_CACHE = tempfile.TemporaryDirectory(prefix="codex-session-sync-cache-")
atexit.register(_CACHE.cleanup)
os.environ[VARIABLE] = _CACHE.name

_known = transcript._known


def _compared(one: transcript.Wanted, progress: Any) -> State | None:
    """Whatever the cache has of a session, in any test, a scan from the start finds the same."""
    found = _known(one, progress)
    assert found is None or dump(found) == dump(transcript.read(one.slices, one.mode, None))
    return found


_compared.__wrapped__ = _known  # type: ignore[attr-defined]
transcript._known = _compared


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--refill``: files of ``tests/contracts/golden`` are written anew."""
    parser.addoption("--refill", action="store_true", help="write golden files anew")
