"""``demo``: each chapter shows what it says, and nothing of it stays."""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path

import pytest

from workbench import Outcome, call


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """The demonstration as an object; what it leaves behind would lie in ``tmp_path``."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return call("demo", "--json")


def test_what_each_step_shows(shown: Outcome, tmp_path: Path) -> None:
    steps = shown.envelope["data"]["steps"]
    assert len({step["chapter"] for step in steps}) == 5
    assert {step["exit_code"] for step in steps} == {0}
    assert [step["status"] for step in steps] == [
        *("ok", "ok"),
        *("ok", "dry_run", "ok", "no_op", "ok"),
        *("ok", "ok"),
        *("ok", "ok", "ok", "ok"),
        *("ok", "ok"),
    ]
    by = {step["title"]: step["data"] for step in steps}

    def results(title: str) -> list[str]:
        return [session["result"] for session in by[title]["sessions"]]

    [excerpt] = by["See where a session went another way"]["diff"]
    assert excerpt["incoming"]["lines"]
    assert excerpt["local"]["lines"]
    assert results("Bring that in as well") == ["branched", "fast_forwarded"]
    assert results("Undo the last one") == ["undone", "undone"]
    packed = by["Pack what it lacks"]
    assert (len(packed["sessions"]), packed["known"]) == (2, 1)
    assert results("Bring that in at the desk") == ["fast_forwarded", "imported"]
    assert results("Take it under tracking") == ["adopted"]
    assert by["Check the desk"]["healthy"]
    assert [*tmp_path.iterdir()] == []


def test_its_text() -> None:
    begun = time.monotonic()
    done = call("demo")
    assert time.monotonic() - begun < 8
    text = done.out.decode()
    assert "├─ branch: “Climbing beans (from garden-later.tar.zst)”" in text
    steps = re.findall(r"^(\d+)\. .*\n(.*)\n\$ codex-session-sync ", text, flags=re.MULTILINE)
    assert [int(number) for number, _ in steps] == list(range(1, 16))
    assert all(meaning.endswith(".") for _, meaning in steps)


def test_the_home_is_kept_where_asked(tmp_path: Path) -> None:
    home = tmp_path / "demo"
    done = call("demo", "--codex-home", home, "--json")
    assert (done.exit_code, done.envelope["data"]["kept"]) == (0, True)
    assert call("sidecar-health", "--codex-home", home, "--json").envelope["data"]["healthy"]
    assert call("demo", "--codex-home", home, "--json").codes == ["demo_home_exists"]
