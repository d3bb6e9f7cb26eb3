"""A disk that takes no more: files that may not grow beyond a limit, which the system enforces."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from builders import Session, write_snapshot
from workbench import add_rows, call, environment, make_database, rows, tree

SMALL = Session(1, start=10, name="Small").say("One")
LARGE = Session(2, start=20, name="Large").say("Two", "words " * 20_000)
KNOWN = Session(3, start=30).say("Three")
FURTHER = KNOWN.say("and more", "words " * 20_000)
HERE = Session(4, start=40).say("Never touched")


def make(folder: Path) -> tuple[Path, Path]:
    """A used home, and a package with new sessions and a continuation."""
    home = write_snapshot(folder / "home", [KNOWN, HERE])
    add_rows(make_database(home), [KNOWN, HERE])
    package = write_snapshot(folder / "package", [SMALL, LARGE, FURTHER])
    return home, package


def sync(home: Path, package: Path, limit: int) -> dict[str, Any]:
    """An executed sync in a process whose files may have ``limit`` bytes."""
    command = (sys.executable, "-m", "codex_session_sync", "sync", str(package), "--execute")
    result = subprocess.run(
        [*command, "--no-prime", "--json", "--codex-home", str(home)],
        env=environment(home.parent),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        check=False,
    )
    assert result.stderr.decode().count("Traceback") == 0
    envelope: dict[str, Any] = json.loads(result.stdout)
    assert envelope["exit_code"] == result.returncode
    return envelope


def kept(home: Path) -> dict[str, Any]:
    """What a home holds beside our own folder and the database."""
    found = tree(home, "session-sync")
    return {path: what for path, what in found.items() if not path.startswith("state_5.sqlite")}


@pytest.mark.parametrize(
    "limit", [0, 100, 5_000, 20_000, 33_000, 36_000, 40_000, 50_000, 110_000, 130_000]
)
def test_every_session_is_there_as_a_whole_or_not_at_all(tmp_path: Path, limit: int) -> None:
    home, package = make(tmp_path)
    before, database = kept(home), home / "state_5.sqlite"
    before_rows = rows(database, "threads")
    envelope = sync(home, package, limit)
    assert envelope["exit_code"] in (1, 4, 5), envelope
    assert all(error["hint"] for error in envelope["errors"])
    if envelope["exit_code"] == 5:
        assert call("recover", "--execute", "--json", "--codex-home", home).exit_code == 0
    done = {s["session_id"]: s.get("result") for s in envelope["data"].get("sessions", [])}
    after, after_rows = kept(home), rows(database, "threads")
    written = {i for i, result in done.items() if result in ("imported", "fast_forwarded")}
    changed = {path for path in before | after if before.get(path) != after.get(path)}
    files = {path for path in changed if path.endswith(".jsonl") and "/rollout-" in path}
    assert {path[-42:-6] for path in files} == written
    assert len(after_rows) - len(before_rows) == len(written - {KNOWN.id})
    if not written:
        assert (after, after_rows) == (before, before_rows)
    # With room, the same sync brings the rest.
    again = call("sync", package, "--execute", "--no-prime", "--json", "--codex-home", home)
    assert again.exit_code == 0
    twin_home, twin_package = make(tmp_path / "twin")
    twin = call(
        "sync", twin_package, "--execute", "--no-prime", "--json", "--codex-home", twin_home
    )
    assert twin.exit_code == 0
    assert {p: w[-1] for p, w in kept(home).items() if "rollout-" in p} == {
        p: w[-1] for p, w in kept(twin_home).items() if "rollout-" in p
    }
