"""Sessions brought back from checkpoints, and what is lost, damaged or forged in a store."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import replace

import orjson
import pytest
import zstandard

from builders import Session, session_id
from checkpointing import Place, git
from codex_session_sync.checkpoints.finding import listing_of
from codex_session_sync.checkpoints.listing import encoded
from codex_session_sync.lineage.fingerprint import Fingerprinter
from codex_session_sync.store.documents import Entry, checked_package, entries, read_document
from exchanging import side
from unit.captures import BEANS, OLD, ROSES, checkpoint, gives_back, home, make_place
from workbench import call, tree

place = pytest.fixture(make_place)


def test_a_third_machine_gets_the_sessions_as_they_were(place: Place) -> None:
    git(place.repo, "remote", "add", "origin", "https://host.example/garden.git")
    here = Session(7, start=40, cwd=str(place.repo)).say("What grows here?")
    (place.home / here.relative_path).write_bytes(here.data())
    sha = place.commit_and_capture().manifest.origin.sha
    home(place).go_on(here.id, "Later", 95)
    place.commit_and_capture()
    third = side(place.root, "third")
    before = tree(third.home)
    os.chdir(place.root)
    ways = call(
        "checkpoint", "report", "--commit", sha[:9], "--open", "--codex-home", third.home, "--json"
    ).envelope["data"]["open"]
    assert [(one["session_id"], one["here"]) for one in ways] == [(here.id, False)]
    [bring, resume] = ways[0]["commands"]
    assert resume == f"codex resume {here.id}"
    words = bring.replace("--execute", "").split()[1:]
    planned = call(*words, "--no-prime", "--json")
    assert (planned.envelope["status"], planned.exit_code) == ("dry_run", 0)
    assert tree(third.home) == before
    done = call(*bring.split()[1:], "--no-prime", "--json")
    assert done.exit_code == 0
    assert set(done.sessions) == {here.id}
    assert done.sessions[here.id]["result"] == "imported"
    again = call(*bring.split()[1:], "--no-prime", "--json")
    assert again.envelope["status"] == "no_op"
    text = third.file(here.id).read_text()
    assert "What grows here?" in text
    assert "Later" not in text
    later = call("checkpoint", "sync", "--repo", place.repo, "--execute", "--no-prime")
    assert later.exit_code == 0
    brought = call(
        *("checkpoint", "sync", "--repo", place.repo, "--execute", "--no-prime"),
        *("--codex-home", third.home, "--json"),
    )
    assert brought.sessions[here.id]["result"] == "fast_forwarded"
    ways = call(
        "checkpoint", "report", "--commit", sha, "--open", "--codex-home", third.home, "--json"
    ).envelope["data"]["open"]
    assert ways[0]["here"]


def test_a_fork_is_brought_without_its_parent(place: Place) -> None:
    fork = BEANS.fork(8).say("What if it is cold?")
    place.capture()
    (place.home / fork.relative_path).parent.mkdir(parents=True, exist_ok=True)
    (place.home / fork.relative_path).write_bytes(fork.data())
    done = place.commit_and_capture()
    [packed] = done.packed
    assert packed.base is not None
    assert (packed.session_id, packed.base.entries) == (fork.id, 6)
    third = side(place.root, "third")
    brought = checkpoint(
        *(place, "sync", "--session", fork.id, "--execute", "--no-prime"),
        *("--codex-home", third.home),
    )
    assert {i: one["result"] for i, one in brought.sessions.items()} == {fork.id: "imported"}
    assert "When do I sow beans?" in third.file(fork.id).read_text()


@pytest.mark.parametrize("how", ["gone", "changed", "cut"])
def test_what_a_lost_package_had_is_refused_and_taken_whole_next_time(
    place: Place, how: str
) -> None:
    place.capture()
    home(place).go_on(BEANS.id, "And lettuce?", 90)
    grown = place.commit_and_capture()
    [package] = [e for e in entries(place.store, "package") if e.id == grown.manifest.package]
    path = checked_package(place.store, package)
    data = path.read_bytes()
    path.chmod(0o644)
    if how == "gone":
        path.unlink()
    else:
        middle = len(data) // 3
        path.write_bytes(data[:-9] if how == "cut" else data[:middle] + b"!" + data[middle + 1 :])
    third = side(place.root, "third")
    options = ("--execute", "--no-prime", "--codex-home", str(third.home))
    done = checkpoint(place, "sync", "--all", *options)
    assert (done.exit_code, done.codes) == (1, ["checkpoint_damaged"])
    assert done.envelope["errors"][0]["session_id"] == BEANS.id
    assert set(done.sessions) == {ROSES.id, OLD.id}
    alone = checkpoint(place, "sync", "--session", BEANS.id, *options)
    assert (alone.exit_code, alone.codes) == (4, ["checkpoint_damaged"])
    assert checkpoint(place, "report").exit_code == 0
    next_one = place.commit_and_capture()
    assert [(one.session_id, one.base) for one in next_one.packed] == [(BEANS.id, None)]
    gives_back(place)


def test_what_was_packed_by_a_release_with_other_fingerprints_is_brought_all_the_same(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults = {**(Fingerprinter.__init__.__kwdefaults__ or {}), "after": b"\1" * 32}
    with monkeypatch.context() as then:
        then.setattr("codex_session_sync.package.native_manifest.FINGERPRINT_VERSION", 1)
        then.setattr(Fingerprinter.__init__, "__kwdefaults__", defaults)
        place.capture()
    shutil.rmtree(place.root / "user")  # what was found with those fingerprints
    (place.home / ROSES.relative_path).write_bytes(ROSES.say("And tulips?").data())
    done = place.commit_and_capture()
    assert [one.session_id for one in done.packed] == [ROSES.id]
    [taken] = done.manifest.sessions
    assert (taken.entries_before, taken.entries) == (4, 6)
    third = side(place.root, "third")
    options = ("--execute", "--no-prime", "--codex-home", str(third.home))
    brought = checkpoint(place, "sync", "--all", *options)
    assert (brought.exit_code, set(brought.sessions)) == (0, {BEANS.id, ROSES.id, OLD.id})
    assert "And tulips?" in third.file(ROSES.id).read_text()


def test_the_very_same_package_is_put_back_in_its_place(place: Place) -> None:
    first = place.capture()
    [package] = entries(place.store, "package")
    path = checked_package(place.store, package)
    path.unlink()
    again = place.capture(force=True)
    assert again.manifest.package == first.manifest.package
    assert len(list(entries(place.store, "package"))) == 1
    assert checked_package(place.store, package) == path


def test_a_damaged_listing_or_manifest(place: Place) -> None:
    done = place.capture()
    [listing] = place.store.listings.rglob("*.zst")
    whole = listing.read_bytes()
    listing.write_bytes(whole[:-1])
    assert checkpoint(place, "report").exit_code == 0
    assert checkpoint(place, "sync").codes == ["store_damaged"]
    again = place.commit_and_capture()
    assert (len(again.packed), again.manifest.package) == (3, done.manifest.package)
    assert listing.read_bytes() == whole
    path = place.store.path / done.entry.file
    path.write_text("no TOML")
    assert checkpoint(place, "report", "--commit", "HEAD~1").codes == ["store_damaged"]
    listed = checkpoint(place, "list").envelope
    assert (len(listed["data"]["checkpoints"]), listed["warnings"][0]["code"]) == (
        1,
        "store_damaged",
    )


def forge(place: Place, entry: Entry, data: bytes) -> None:
    """Another document in place of one, by somebody who knows how a catalog is written."""
    (place.store.path / entry.file).write_bytes(data)
    text, digest = place.store.catalog.read_text(), hashlib.sha256(data).hexdigest()
    sums = '"sha256":"{}"'
    place.store.catalog.write_text(text.replace(sums.format(entry.sha256), sums.format(digest)))


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        (r"019cac00(-\w+){4}", session_id(77)),
        (r"(?s)(\[\[sessions\]\].*)", r"\1\1"),
        (r"entries_before = \d+", "entries_before = 99999999999999999999"),
        (r"entries = \d+", "entries = 9223372036854775808"),
    ],
)
def test_a_manifest_that_somebody_forged_is_no_defect(
    place: Place, pattern: str, told: str
) -> None:
    (place.home / BEANS.relative_path).write_bytes(replace(BEANS, cwd=str(place.repo)).data())
    done = place.capture()
    whole = (place.store.path / done.entry.file).read_text()
    forge(place, done.entry, re.sub(pattern, told, whole).encode())
    for arguments in (("report", "--open", "--all"), ("sync",), ("list",)):
        assert checkpoint(place, *arguments).exit_code in (0, 2, 4)
    call("events", "import", place.home, "--json")
    assert call("events", "search", "beans", "--json").exit_code == 0


def test_a_listing_that_comes_after_itself_is_damaged(place: Place) -> None:
    place.capture()
    home(place).go_on(BEANS.id, "And lettuce?", 90)
    place.commit_and_capture()
    first, second = entries(place.store, "listing")
    line, *lines = zstandard.decompress(read_document(place.store, first)).splitlines()
    text = [orjson.dumps({**orjson.loads(line), "after": second.id, "gone": []}), *lines]
    forge(place, first, zstandard.compress(b"\n".join(text)))
    assert checkpoint(place, "sync").codes == ["store_damaged"]


def test_a_listing_is_the_same_for_the_same_sessions(place: Place) -> None:
    place.capture()
    listing = listing_of(place.store, place.manifests()[0])
    turned = type(listing)(listing.home, dict(list(listing.sessions.items())[::-1]))
    assert encoded(turned) == encoded(listing)
    [path] = place.store.listings.rglob("*.zst")
    assert path.read_bytes() == encoded(listing)


def test_a_listing_tells_what_is_not_as_before(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codex_session_sync.checkpoints.listing.MOST_STEPS", 3)
    held, steps = [], []
    for number in range(9):
        if number == 4:
            home(place).file(ROSES.id).unlink()
        elif number == 6:
            path = place.home / ROSES.relative_path
            path.write_bytes(ROSES.data())
        else:
            home(place).go_on(BEANS.id, f"Question {number}", 90 + number)
        done = place.commit_and_capture()
        held.append({i: one["head"] for i, one in place.packed_whole()[0].items()})
        steps.append(listing_of(place.store, done.manifest).steps)
    assert steps == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    found = [listing_of(place.store, one).sessions for one in place.manifests()]
    assert [{i: one.head for i, one in sessions.items()} for sessions in found] == held
