"""Runs of ``events import``: what their manifests tell, two at once, refusals and damage."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builders import write_snapshot, write_transfer
from codex_session_sync.events import drafting, importing
from codex_session_sync.package import native as native_packages
from codex_session_sync.store import documents
from codex_session_sync.store.opening import make_store, open_store
from eventing import counts, events, imported, lines
from unit.event_sessions import BEANS, OLD, PARTED, native, own_environment, snapshot, store_path
from workbench import call, tree

surroundings = pytest.fixture(own_environment, autouse=True)
store = pytest.fixture(store_path)


def test_the_manifest_tells_what_was_done(store: Path, tmp_path: Path) -> None:
    git = {"commit_hash": "4f2a9c1" + "0" * 33, "branch": "main", "repository_url": "git@x:a/b.git"}
    session = replace(BEANS, meta={"git": git})
    package = write_transfer(tmp_path / "package", [session, OLD])
    next((package / "sessions").glob(f"*{OLD.id}.jsonl")).unlink()
    outcome = imported(store, package)
    assert (outcome.exit_code, outcome.codes) == (1, ["transcript_missing"])
    [entry] = documents.entries(open_store(store), "import")
    manifest = json.loads(documents.read_document(open_store(store), entry))
    assert manifest["import_id"] == entry.id == outcome.envelope["data"]["import_id"]
    assert manifest["counts"] == {"sessions": 1, "refused": 1, "added": 4, "seen": 0, "orphaned": 0}
    [taken, refused] = manifest["sessions"]
    assert refused["refused"]["code"] == "transcript_missing"
    assert taken["git"] == {
        "repository": git["repository_url"],
        "branch": "main",
        "commit": git["commit_hash"],
    }
    [file] = taken["files"]
    assert file["sha256"] == hashlib.sha256(session.data()).hexdigest()
    [lineage] = manifest["lineages"]
    [ledger] = (store / "events").rglob("*.jsonl")
    assert (ledger.stem, ledger.stat().st_size) == (lineage["lineage_id"], lineage["end"])


def test_a_package_of_the_store_is_named_by_its_digest(store: Path, tmp_path: Path) -> None:
    made = make_store(store)
    with documents.staging_folder(made) as folder:
        staged = Path(native(tmp_path)).rename(folder / "package")
        entry = documents.put_package(made, staged)
    outcome = imported(store, Path(entry.id[:10]))
    assert counts(outcome) == (10, 4, 0)
    assert {line["raw"]["package"] for line in lines(store)} == {entry.id}
    assert imported(store, Path("0123456789")).codes == ["package_not_found"]


def test_without_a_package_it_is_the_home(store: Path, tmp_path: Path) -> None:
    write_snapshot(tmp_path / "home", [BEANS])
    outcome = call("events", "import", "--store", store, "--json")
    assert counts(outcome) == (4, 0, 0)


def test_what_is_known_of_a_native_package_is_not_unpacked(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = native(tmp_path)
    imported(store, package)
    real: Any = native_packages.__dict__["contents"]

    def only_chains(stream: Any, part: Any, limits: Any) -> Any:
        assert part.name.startswith("chains/")
        return real(stream, part, limits)

    monkeypatch.setattr(native_packages, "contents", only_chains)
    assert counts(imported(store, package)) == (0, 14, 0)


def test_two_imports_at_once_add_what_is_new_once(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one ends while the packages of the first one are read."""
    home, other = snapshot(tmp_path), write_snapshot(tmp_path / "other", [BEANS, PARTED.fork(9)])
    real: Any = importing.__dict__["make_store"]

    def meanwhile(path: Path) -> Any:
        monkeypatch.setattr(importing, "make_store", real)
        assert counts(imported(store, other))[0] == 4
        return real(path)

    monkeypatch.setattr(importing, "make_store", meanwhile)
    outcome = imported(store, home)
    assert counts(outcome) == (6, 8, 0)
    assert outcome.envelope["data"]["counts"]["orphaned"] == 0
    ids = [event["event_id"] for event in events(store)]
    assert len(ids) == len(set(ids)) == 10


def test_an_import_that_is_refused_makes_no_store(store: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing").write_text("nothing")
    outcome = imported(store, tmp_path / "nothing")
    assert outcome.exit_code == 3
    assert not store.exists()


def test_a_file_that_changes_while_it_is_read_gives_no_event(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an event says is what its id stands for."""
    home = write_snapshot(tmp_path / "home", [BEANS])
    real = drafting.Drafting.lines

    def changing(self: Any) -> Any:
        path = home / BEANS.relative_path
        path.write_bytes(path.read_bytes().replace(b"sow beans", b"buy beans"))
        return real(self)

    monkeypatch.setattr(drafting.Drafting, "lines", changing)
    outcome = imported(store, home)
    assert outcome.codes == ["package_changed"]
    assert events(store) == []


def test_a_damaged_ledger_is_told_and_left_alone(store: Path, tmp_path: Path) -> None:
    home = snapshot(tmp_path)
    imported(store, home)
    ledger = next((store / "events").rglob("*.jsonl"))
    ledger.write_bytes(b"{}\n" + ledger.read_bytes())
    before = tree(store, "derived")
    outcome = imported(store, home)
    assert (outcome.codes, outcome.exit_code) == (["store_damaged"], 4)
    after = tree(store, "derived")
    for name in ("lock", "lock.held", "lock-holder.json"):
        before.pop(name, None)
        after.pop(name, None)
    assert after == before
