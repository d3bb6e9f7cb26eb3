"""What all tests share: how hypothesis searches, an option, a cache and what it must hold."""

from __future__ import annotations

import atexit
import os
import signal
import tempfile
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from codex_session_sync import scanning, tailing, transcript
from codex_session_sync.model import ScannedSlice, Slice, Transcript
from codex_session_sync.scan_cache import VARIABLE
from codex_session_sync.scan_state import State, dump
from codex_session_sync.scanning import Pass

# On a busy machine examples are slow to make, and none is slow for a reason of its own.
settings.register_profile("developing", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "ci", settings.get_profile("developing"), derandomize=True, database=None, print_blob=True
)
settings.load_profile("ci" if os.environ.get("CI") else "developing")

# Under nohup it is ignored, and so it would be in every process that a test starts.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

_CACHE = tempfile.TemporaryDirectory(prefix="codex-session-sync-cache-")
atexit.register(_CACHE.cleanup)
os.environ[VARIABLE] = _CACHE.name

_known, _marked = transcript._known, tailing.marked

# Sessions of tests are short.
scanning.MARKED_ENTRIES = 2


def _compared(one: transcript.Wanted, progress: Any) -> State | None:
    """Whatever the cache has of a session, in any test, a scan from the start finds the same."""
    found = _known(one, progress)
    assert found is None or dump(found) == dump(transcript.read(one.slices, one.mode, None))
    return found


def _compared_beginning(
    held: Transcript, slices: Sequence[Slice], session_id: str, progress: Any
) -> tuple[Pass, list[ScannedSlice]] | None:
    """What a mark spares of a local session's beginning is what parsing it finds."""
    found = _marked(held, slices, session_id, progress)
    if found is not None:
        again = tailing.parsed(held, slices, session_id, None)
        one, other = (dump(State(pass_, tuple(parts), ())) for pass_, parts in (found, again))
        assert one == other
    return found


_compared.__wrapped__ = _known  # type: ignore[attr-defined]
_compared_beginning.__wrapped__ = _marked  # type: ignore[attr-defined]
transcript._known, tailing.marked = _compared, _compared_beginning


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--refill``: files of ``tests/contracts/golden`` are written anew."""
    parser.addoption("--refill", action="store_true", help="write golden files anew")
