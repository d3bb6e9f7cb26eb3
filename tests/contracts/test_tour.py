"""The tour in the README works as it is written, for somebody without Codex."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from touring import bare_copy, scripts, toured


def test_the_tour_without_codex(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("mktemp", "mkdir", "cp", "rm", "cat", "env", "dirname"):
        found = shutil.which(name)
        if found is None:
            pytest.fail(f"{name} is missing")
        (tools / name).symlink_to(found)
    (tmp_path / "user").mkdir()
    variables = {"PATH": str(tools), "HOME": str(tmp_path / "user"), "LANG": "C.UTF-8"}
    played = list(toured(bare_copy(tmp_path / "copy"), variables))
    assert len(played) == len(scripts())
    for said in played:
        if not said.command.startswith("codex-session-sync"):
            continue
        # A home without a database and without Codex is told of; nothing else differs.
        printed = [line for line in said.printed if "[database_missing]" not in line]
        assert printed == said.told, said.command
    assert [*(tmp_path / "user").iterdir()] == []
    assert {said.command.split()[1] for said in played if said.told} == {
        *("inspect-package", "sync", "lineage", "rollback")
    }
