"""What all tests share: how hypothesis searches, and an option."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# On a busy machine examples are slow to make, and none is slow for a reason of its own.
settings.register_profile("developing", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "ci", settings.get_profile("developing"), derandomize=True, database=None, print_blob=True
)
settings.load_profile("ci" if os.environ.get("CI") else "developing")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--refill``: files of ``tests/contracts/golden`` are written anew."""
    parser.addoption("--refill", action="store_true", help="write golden files anew")
