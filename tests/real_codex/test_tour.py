"""The tour in the README with the real Codex at hand, which makes the home's database."""

from __future__ import annotations

import os
from pathlib import Path

from codexbed import CURRENT, require_codex
from codexbed.install import codex_binary
from touring import bare_copy, toured


def test_the_tour(tmp_path: Path) -> None:
    require_codex()
    (tmp_path / "user").mkdir()
    path = f"{codex_binary(CURRENT).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {"PATH": path, "HOME": str(tmp_path / "user"), "LANG": "C.UTF-8"}
    found = {said.command: said for said in toured(bare_copy(tmp_path / "copy"), variables)}
    for said in found.values():
        if said.command.startswith("codex-session-sync"):
            assert said.printed == said.told, said.command
    [verified] = [said for command, said in found.items() if "verify" in command]
    assert "Codex lists and opens 4 of 5, and shows what the transcripts have." in verified.printed
