"""What a package says is shown and does nothing else, at the terminal and later in the journal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from codex_session_sync.report.parts import harmless
from hostile.corpus import ESCAPES, SOUND, VICTIM
from hostile.judging import is_harmless, require_harmless
from rolling import Rolling, make_rolling
from workbench import call

MARKUP = "[/] [/red] [bold]x[link=https://example.org]y[/link] \\[/"


@pytest.mark.parametrize("name", [ESCAPES, MARKUP, "a\u202eb"])
def test_reports_of_a_session_with_such_a_name(tmp_path: Path, name: str) -> None:
    bed = make_rolling(tmp_path, [replace(VICTIM, name="Old")])
    bed.sync(replace(VICTIM, name="Old"), SOUND)
    one = replace(VICTIM, name=name, cwd=f"/home/{name}").say(name)
    package = bed.package(one, replace(SOUND, name=name))
    calls: list[list[str | Path]] = [
        ["inspect-package", package],
        ["sync", package],
        ["adopt", package],
        ["sync", package, "--execute", "--no-prime"],
        ["inspect-package", package],
        ["list-transactions"],
        ["show-transaction", "last"],
        ["sidecar-health"],
        ["adopt", "--all"],
        ["rebuild-sidecar"],
        ["rebuild-index"],
        ["pack", "-o", tmp_path / "packed"],
        ["rollback", _last(bed)],
        ["rollback", _last(bed), "--execute"],
    ]
    for arguments in calls:
        words = [_last(bed) if word == "last" else word for word in arguments]
        done = call(*words, "--codex-home", bed.home)
        assert done.exit_code in (0, 1), (arguments, done.out, done.err)
        require_harmless(done)


def _last(bed: Rolling) -> str:
    return bed.journal.ids()[-1]


def test_what_is_harmless() -> None:
    told = harmless({"a": [ESCAPES, ("é 漢字 שלום 👩‍👩‍👧", 7, None)], "b": True})
    assert is_harmless(told["a"][0])
    assert "\n" not in told["a"][0]
    assert told["a"][0].startswith("\\x1b]0;owned\\x07")
    assert told["a"][1] == ["é 漢字 שלום 👩‍👩‍👧", 7, None]
    assert told["b"] is True
