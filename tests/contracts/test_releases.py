"""The tables of releases in the documents are those of the last run of all pairs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import releases
from codex_session_sync.codex.capability import MIGRATIONS, NEWEST, READS_PAGINATED_FROM
from codexbed import CURRENT
from codexbed.releases import FIRST_PAGINATED, RELEASES, numbers


def test_all_pairs_were_run_and_are_good() -> None:
    kept = json.loads(releases.RESULTS.read_text(encoding="utf-8"))
    assert list(kept["pairs"]) == list(RELEASES)
    for source, found in kept["pairs"].items():
        assert list(found) == list(RELEASES)
        for target, one in found.items():
            assert one["problems"] == 0
            converts = numbers(source) >= FIRST_PAGINATED and numbers(target) < READS_PAGINATED_FROM
            assert bool(one["converted"]) == converts


@pytest.mark.parametrize("document", releases.DOCUMENTS, ids=lambda path: path.name)
def test_documents_have_the_table(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert text.count(releases.BEGIN) == text.count(releases.END) == 1
    kept = json.loads(releases.RESULTS.read_text(encoding="utf-8"))
    assert releases.refreshed(text, kept) == text


def test_what_is_known_of_releases_ends_with_the_one_that_is_tested() -> None:
    assert NEWEST == CURRENT == RELEASES[-1]
    assert set(RELEASES) - {CURRENT} <= set(MIGRATIONS.values())
