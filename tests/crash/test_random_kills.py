"""Kills from outside at any time: of the sync, and of the recoveries that follow it.

The times are seeded; where they strike is up to the machine.
"""

from __future__ import annotations

import random
import signal
import time
from dataclasses import replace

import pytest

from crash.beds import MIXED, Bed, Driver, Twins, posix

pytestmark = posix

BLOCKS = 6
RUNS = 6
"""In a block."""


def lasted(bed: Bed, driver: Driver) -> float:
    """How long a sync takes that is left alone."""
    bed.restore()
    began = time.monotonic()
    assert driver.sync(bed, ("sweep", "before", 1)) == 0
    return time.monotonic() - began


@pytest.mark.parametrize("block", range(BLOCKS))
def test_a_kill_at_any_time_is_recovered(
    known: Bed, mixed_twins: Twins, driver: Driver, block: int
) -> None:
    rng = random.Random(block)
    batch = 1 + block % 3
    one = replace(driver, batch=batch, ahead=block % 2 == 1)
    longest = lasted(known, one)
    for _ in range(RUNS):
        known.restore()
        after = rng.uniform(0, longest / 2)
        ended = one.sync(known, (after, True))
        assert ended in (0, -signal.SIGKILL)
        if ended == 0:
            longest = 2 * after
        known.old_bytes_stand()
        confirmed = known.confirmed()
        assert confirmed == MIXED[: len(confirmed)]
        assert len(confirmed) % batch == 0 or confirmed == MIXED
        while known.journal.interrupted() and rng.random() < 0.7:
            assert one.recover(known, (rng.uniform(0, 0.03), False)) in (0, -signal.SIGKILL)
            known.old_bytes_stand()
        recovered = known.command("recover", "--execute")
        assert (recovered.exit_code, recovered.envelope["warnings"]) == (0, [])
        assert known.state() == mixed_twins(confirmed)
        known.completes(mixed_twins)
