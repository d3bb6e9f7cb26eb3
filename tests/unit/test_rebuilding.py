"""After an accident and a rebuild, packages are to a home what they are to its unharmed twin."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from codex_session_sync.sidecars.documents import read_sidecars
from damages import (
    BEANS,
    CODEX,
    FORK,
    LATER,
    OWN,
    ROSES,
    SYNC_DIR,
    THERE,
    Week,
    changes,
    codes,
    copy,
    forget,
    make_week,
    mend,
    packages,
    put_back,
    seen,
)
from rolling import Rolling, compress, make_rolling
from workbench import call, codex_home, tree


@dataclass
class Drills:
    """The week, its next packages, and what they are to the home of today and of then."""

    week: Week
    packages: dict[str, Path]

    def damaged(self, root: Path, harm: Callable[[Path], None]) -> Path:
        home = root / "harmed"
        copy(self.week.home, home)
        harm(home)
        return home

    def unlike(self, home: Path, twin: Path, *, merged: bool = True) -> set[str]:
        """The packages that are to the home what they are not to the twin."""
        return {
            name
            for name, package in self.packages.items()
            if seen(home, package, merged=merged) != seen(twin, package, merged=merged)
        }


@pytest.fixture(scope="module")
def drills(tmp_path_factory: pytest.TempPathFactory) -> Drills:
    week = make_week(tmp_path_factory.mktemp("week"))
    return Drills(week, packages(week.bed))


def test_the_packages_are_of_every_class(drills: Drills) -> None:
    found = [one for p in drills.packages.values() for one in seen(drills.week.home, p).values()]
    assert {one["classification"] for one in found} == {
        "new_lineage",
        "unchanged",
        "fast_forward_import",
        "diverged_lineage",
    }
    there = seen(drills.week.home, drills.packages["another of this id"])[THERE.id]
    assert there["classification"] == "fast_forward_import"
    assert there["local_session_id"] != THERE.id


def test_an_unharmed_home_needs_nothing(drills: Drills) -> None:
    for command in ("rebuild-sidecar", "replay-transactions-sidecar", "prune-invalid-mappings"):
        before = tree(drills.week.home)
        done = call(command, "--json", "--codex-home", drills.week.home)
        assert (done.envelope["status"], changes(done)) == ("no_op", [])
        assert tree(drills.week.home) == before


@pytest.mark.parametrize("command", ["rebuild-sidecar", "replay-transactions-sidecar"])
def test_the_sidecars_are_lost(drills: Drills, tmp_path: Path, command: str) -> None:
    home = drills.damaged(tmp_path, lambda home: forget(home, "sidecars"))
    assert drills.unlike(home, drills.week.home)
    done = mend(home, command)
    assert texts(home) == texts(drills.week.home)
    assert codes(done) <= {"mapping_behind"}
    assert not drills.unlike(home, drills.week.home)


def test_the_journal_is_lost(drills: Drills, tmp_path: Path) -> None:
    home = drills.damaged(tmp_path, lambda home: forget(home, "transactions"))
    done = mend(home)
    assert (changes(done), codes(done)) == ([], {"journal_missing", "mapping_behind"})
    assert not drills.unlike(home, drills.week.home)


def test_both_are_lost(drills: Drills, tmp_path: Path) -> None:
    """The base of names is lost, and what it takes to know that a local parent is the source's."""
    home = drills.damaged(tmp_path, lambda home: shutil.rmtree(home / SYNC_DIR))
    done = mend(home)
    found = [m for change in changes(done) for m in change["mappings"]]
    assert {(m["change"], m["reason"]) for m in found} == {("added", "transcript")}
    assert {m["origin_session_id"] for m in found} == {ROSES.id, THERE.id}
    assert codes(done) == {"journal_missing", "mapping_incomplete"}
    assert drills.unlike(home, drills.week.home) == {"renamed", "a fork alone"}


def test_the_home_of_last_week_is_put_back(drills: Drills, tmp_path: Path) -> None:
    home = drills.damaged(tmp_path, lambda home: put_back(home, drills.week.then, CODEX))
    assert drills.unlike(home, drills.week.then)
    done = mend(home)
    assert reasons(changes(done)) == {
        (BEANS.id, "changed", "transcript"),
        (FORK.id, "removed", "session_gone"),
        (LATER.id, "removed", "session_gone"),
    }
    assert codes(done) == {"mapping_behind"}
    assert not drills.unlike(home, drills.week.then)


def test_the_transcripts_of_last_week_are_put_back(drills: Drills, tmp_path: Path) -> None:
    home = drills.damaged(tmp_path, lambda home: put_back(home, drills.week.then, CODEX[:2]))
    mend(home)
    assert not drills.unlike(home, drills.week.then, merged=False)


def test_what_we_keep_is_put_back_from_last_week(drills: Drills, tmp_path: Path) -> None:
    """What the lost sync noted of a name is lost, and said to be."""
    home = drills.damaged(tmp_path, lambda home: put_back(home, drills.week.then, [SYNC_DIR]))
    done = mend(home)
    assert (changes(done), codes(done)) == ([], {"mapping_behind"})
    assert drills.unlike(home, drills.week.home) == {"renamed"}


def test_the_sidecars_of_last_week_are_put_back(drills: Drills, tmp_path: Path) -> None:
    def harm(home: Path) -> None:
        forget(home, "sidecars")
        shutil.copytree(drills.week.then / SYNC_DIR / "sidecars", home / SYNC_DIR / "sidecars")

    home = drills.damaged(tmp_path, harm)
    mend(home)
    assert texts(home) == texts(drills.week.home)
    assert not drills.unlike(home, drills.week.home)


def test_the_home_is_moved(drills: Drills, tmp_path: Path) -> None:
    home = drills.damaged(tmp_path, lambda _: None)
    forget(home, "sidecars")
    moved = home.rename(tmp_path / "elsewhere")
    mend(moved)
    assert texts(moved) == texts(drills.week.home)
    assert not drills.unlike(moved, drills.week.home)


def test_transcripts_are_compressed_meanwhile(drills: Drills, tmp_path: Path) -> None:
    home = drills.damaged(tmp_path, lambda home: forget(home, "sidecars"))
    for path in home.glob("sessions/**/*.jsonl"):
        compress(path)
    mend(home)
    assert texts(home) == texts(drills.week.home)


# One thing at a time


@pytest.fixture
def bed(tmp_path: Path) -> Rolling:
    return make_rolling(tmp_path, [OWN])


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b'{"schema": 1}'])
def test_a_damaged_sidecar_is_replaced(bed: Rolling, damage: bytes) -> None:
    bed.sync(BEANS)
    [(lineage, text)] = texts(bed.home).items()
    path = bed.home / SYNC_DIR / "sidecars" / f"{lineage}.json"
    path.write_bytes(damage)
    pruned = bed.call("prune-invalid-mappings", "--execute")
    assert (pruned.envelope["status"], codes(pruned)) == ("no_op", {"sidecar_invalid"})
    [change] = changes(mend(bed.home))
    assert lineage in change["damage"]
    assert path.read_text() == text
    assert bed.call("sync", bed.package(BEANS.say("More")), "--execute").exit_code == 0


def test_a_damaged_sidecar_of_which_nothing_is_known_goes(bed: Rolling) -> None:
    path = bed.home / SYNC_DIR / "sidecars" / f"{'ab' * 16}.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"gone wrong")
    [change] = changes(mend(bed.home))
    assert change["mappings"] == []
    assert not path.exists()
    [entry] = bed.journal.manifest(bed.journal.ids()[0])["sessions"]
    assert entry["session_id"].replace("-", "") == "ab" * 16


def test_a_session_that_is_gone_is_pruned(bed: Rolling) -> None:
    bed.sync(BEANS, ROSES)
    bed.path(BEANS).unlink()
    for command in ("rebuild-sidecar", "prune-invalid-mappings"):
        told = bed.call(command)
        assert reasons(changes(told)) == {(BEANS.id, "removed", "session_gone")}
    mend(bed.home, "prune-invalid-mappings")
    assert len(texts(bed.home)) == 1
    assert bed.call("rebuild-sidecar").envelope["status"] == "no_op"


def test_another_session_under_the_id_is_none(bed: Rolling) -> None:
    bed.sync(BEANS)
    path = bed.path(BEANS)
    path.write_bytes(path.read_bytes().replace(b"Be brief.", b"Be polite"))
    assert reasons(changes(mend(bed.home))) == {(BEANS.id, "removed", "other_line")}


def test_one_that_fits_no_version_is_measured_anew(bed: Rolling) -> None:
    bed.sync(BEANS)
    path = bed.path(BEANS)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-4]))
    [change] = changes(mend(bed.home))
    [mapping] = change["mappings"]
    assert mapping["change"] == "changed"
    assert set(mapping["differences"]) == {"local.entries", "local.head", "local.size"}
    assert mapping["differences"]["local.size"]["after"] == path.stat().st_size


def test_one_that_cannot_be_read_is_left_as_it_is(bed: Rolling) -> None:
    bed.sync(BEANS, ROSES)
    before = texts(bed.home)
    path = bed.path(BEANS)
    path.write_bytes(b"garbage\n")
    forget(bed.home, "sidecars")
    done = mend(bed.home)
    assert codes(done) == {"local_transcript_unreadable"}
    assert texts(bed.home) == before


def test_a_journal_beside_later_sidecars(bed: Rolling) -> None:
    """Only the journal is put back: what its lost transactions did stands in the sidecars."""
    bed.sync(BEANS)
    copy(bed.home / SYNC_DIR / "transactions", bed.root / "transactions")
    bed.sync(BEANS.say("More"), ROSES)
    before = texts(bed.home)
    forget(bed.home, "transactions")
    copy(bed.root / "transactions", bed.home / SYNC_DIR / "transactions")
    done = mend(bed.home)
    assert (changes(done), codes(done)) == ([], {"journal_incomplete"})
    assert texts(bed.home) == before


def test_a_home_that_was_never_synced(bed: Rolling) -> None:
    before = tree(bed.home)
    for execute in ((), ("--execute",)):
        done = bed.call("rebuild-sidecar", *execute)
        assert (done.envelope["status"], codes(done)) == ("no_op", {"journal_missing"})
        assert bed.call("prune-invalid-mappings", *execute).envelope["status"] == "no_op"
    assert tree(bed.home) == before


def test_an_interrupted_transaction_comes_first(bed: Rolling) -> None:
    last = bed.sync(BEANS)
    manifest = bed.home / SYNC_DIR / "transactions" / last / "manifest.json"
    document = json.loads(manifest.read_bytes())
    manifest.write_text(json.dumps({**document, "status": "running", "completed_at": None}))
    for command in ("rebuild-sidecar", "replay-transactions-sidecar", "prune-invalid-mappings"):
        assert codes(bed.call(command)) == {"transaction_unfinished"}
        refused = bed.call(command, "--execute")
        assert (refused.exit_code, refused.codes) == (5, ["transaction_interrupted"])


def test_it_is_told_in_words(bed: Rolling) -> None:
    bed.sync(BEANS, ROSES)
    forget(bed.home, "sidecars")
    bed.path(ROSES).unlink()
    told = call("rebuild-sidecar", "--codex-home", bed.home)
    assert "added" in told.out.decode()
    assert "the journal has it so" in told.out.decode()
    call("rebuild-sidecar", "--codex-home", bed.home, "--execute")
    again = call("rebuild-sidecar", "--codex-home", bed.home)
    assert again.out.decode() == "The sidecars say it so already.\n"


def texts(home: Path) -> dict[str, str | None]:
    return {one.lineage_id: one.text for one in read_sidecars(codex_home(home))}


def reasons(found: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    return {
        (mapping["local_session_id"], mapping["change"], mapping["reason"])
        for change in found
        for mapping in change["mappings"]
    }
