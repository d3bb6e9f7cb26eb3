"""What a damaged journal or sidecar says is not taken for the truth, and links are not followed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from builders import Session, write_snapshot
from workbench import call, tree

FIRST = Session(1, start=10).say("one")
OTHER = Session(2, start=20).say("two")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with one synced transaction."""
    (tmp_path / "home").mkdir()
    assert synced(tmp_path / "home", FIRST).exit_code == 0
    return tmp_path / "home"


def synced(home: Path, *sessions: Session) -> Any:
    package = home.parent / "package"
    shutil.rmtree(package, ignore_errors=True)
    return on(home, "sync", write_snapshot(package, sessions), "--execute", "--no-prime")


def on(home: Path, *arguments: str | Path) -> Any:
    return call(*arguments, "--json", "--codex-home", home)


def sidecars(home: Path) -> dict[str, Any]:
    return tree(home / "session-sync" / "sidecars")


def transaction(home: Path) -> Path:
    [found] = (home / "session-sync" / "transactions").iterdir()
    return found


@pytest.mark.parametrize("lost", [1, 20, 60])
def test_a_list_that_is_cut_off_takes_no_mapping_away(home: Path, lost: int) -> None:
    operations = transaction(home) / "operations.jsonl"
    operations.write_bytes(operations.read_bytes()[:-lost])
    before = sidecars(home)
    found = on(home, "rebuild-sidecar", "--execute")
    assert "operation_invalid" in {one["code"] for one in found.envelope["warnings"]}
    assert sidecars(home) == before
    assert not on(home, "sidecar-health", "--deep").envelope["data"]["healthy"]
    replayed = on(home, "replay-transactions-sidecar").envelope
    told = {one["code"] for one in (*replayed["warnings"], *replayed["errors"])}
    assert told & {"operation_invalid", "journal_missing"}


@pytest.mark.parametrize("what", ["transaction", "transactions"])
def test_a_journal_elsewhere_is_not_followed(home: Path, what: str) -> None:
    inside = transaction(home) if what == "transaction" else transaction(home).parent
    outside = home.parent / "outside"
    inside.rename(outside)
    inside.symlink_to(outside)
    before = tree(outside)
    assert on(home, "rollback", "--latest", "--execute").exit_code == 2
    again = synced(home, FIRST, OTHER)
    assert again.exit_code == (0 if what == "transaction" else 4)
    assert tree(outside) == before
    assert (home / FIRST.relative_path).is_file()


@pytest.mark.parametrize("how", ["folder", "link"])
def test_only_sessions_of_an_unreadable_sidecar_fail(home: Path, how: str) -> None:
    [path] = (home / "session-sync" / "sidecars").iterdir()
    text = path.read_bytes()
    path.unlink()
    if how == "folder":
        path.mkdir()
    else:
        (home.parent / "elsewhere").write_bytes(text)
        path.symlink_to(home.parent / "elsewhere")
    found = synced(home, FIRST.say("more"), OTHER)
    assert found.exit_code == 1
    assert found.sessions[OTHER.id]["result"] == "imported"
    assert found.codes == ["sidecar_invalid"]


def test_times_that_no_calendar_has(home: Path) -> None:
    path = home / OTHER.relative_path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(OTHER.data().replace(b"2026-03-02", b"9999-12-31").replace(b'Z"', b'-14:00"'))
    found = on(home, "rebuild-index", "--execute")
    assert found.exit_code == 0, found.envelope["errors"]
