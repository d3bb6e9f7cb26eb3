"""Every schema is one, whole, by both of the libraries that judge documents."""

from __future__ import annotations

import pytest

from codex_session_sync import validation
from codex_session_sync.errors import HomeError


@pytest.mark.parametrize("name", validation.schema_names())
def test_a_schema_can_be_used(name: str) -> None:
    assert not validation.fits(name, None)
    with pytest.raises(HomeError) as caught:
        validation.check(name, None, "nothing", HomeError)
    assert caught.value.code == f"{name}_invalid"
