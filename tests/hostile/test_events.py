"""Hostile packages as sources of events: taken or refused as by a sync, and no harm is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from codex_session_sync.errors import ExitCode
from eventing import dumped, imported, lines
from hostile.corpus import SOUND, Case
from hostile.judging import require_harmless
from hostile.layouts import files_of, write
from hostile.test_corpus import EACH
from workbench import call, environment, tree

TRIED = [
    one for place, one in enumerate(EACH) if (place // 2) % 2 == place % 2 and not one[0].large
]
"""Each case that comes as two kinds is tried as one of them."""


@pytest.mark.parametrize(("case", "kind"), TRIED, ids=[f"{k}-{c.name}" for c, k in TRIED])
def test_case(case: Case, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    package = write(files_of(case.build(), kind), "directory", tmp_path / "package")
    before, store = tree(tmp_path, "store"), tmp_path / "store"
    outcome = imported(store, package, *case.options)
    assert outcome.exit_code in (0, 1, 3), outcome.envelope["errors"]
    assert tree(tmp_path, "store") == before
    if outcome.exit_code == ExitCode.PACKAGE:
        assert case.exit_code == ExitCode.PACKAGE
        assert not store.exists()
        return
    told = {one["session_id"]: one for one in outcome.envelope["data"]["sessions"]}
    assert told[SOUND.id]["added"] + told[SOUND.id]["seen"] == 2 * len(SOUND.turns)
    assert all(
        line["raw"]["member"] in files_of(case.build(), kind)
        for line in lines(store)
        if "raw" in line
    )
    assert dumped(store)
    for command in (("search", "--since", "0001-01-02"), ("report",), ("graph",)):
        require_harmless(call("events", *command, "--store", store))
    again = imported(store, package, *case.options)
    assert again.envelope["data"]["counts"]["added"] == 0
    assert again.codes == outcome.codes
