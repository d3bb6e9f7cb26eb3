"""Captures: what goes into the store, what is refused, what a kill or a loss leaves."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard

from builders import Session, dump, session_id
from checkpointing import PATH, Place, commit, git, new_repo, of_session
from codex_session_sync.checkpoints.finding import all_checkpoints, choose, listing_of
from codex_session_sync.checkpoints.listing import encoded
from codex_session_sync.checkpoints.resting import LONGEST, told_digest
from codex_session_sync.checkpoints.seen import read_seen
from codex_session_sync.errors import UsageError
from codex_session_sync.lineage.fingerprint import Fingerprinter
from codex_session_sync.model import PackagedSession
from codex_session_sync.store.documents import Entry, checked_package, entries, read_document
from codex_session_sync.store.place import VARIABLE
from exchanging import Side, compressed, side
from secret_samples import samples
from workbench import Outcome, call, call_process, environment, tree

BEANS = Session(1, start=10, name="Beans").say("When do I sow beans?").say("And peas?")
ROSES = Session(2, start=20).say("How do I prune roses?")
OLD = Session(3, start=30, archived=True, legacy=True).say("An old question")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A home with three sessions, a repository with a commit; no store yet."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", PATH)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "store"))
    found = Place(tmp_path)
    side(tmp_path, "home", [BEANS, ROSES, OLD])
    commit(new_repo(found.repo))
    return found


def home(place: Place) -> Side:
    return Side(place.home, place.root)


def checkpoint(place: Place, *arguments: str | Path) -> Outcome:
    """A command about checkpoints, called in the repository."""
    os.chdir(place.repo)
    return call("checkpoint", *arguments, "--json")


def sizes(place: Place) -> list[int]:
    return [path.stat().st_size for path in place.store.packages.rglob("*.csync")]


def gives_back(place: Place) -> None:
    """The last checkpoint gives all sessions of the home as a whole package has them."""
    expected, parts = place.packed_whole()
    made, sessions, found = place.assembled(place.manifests()[-1])
    assert not made.refused
    assert {i: of_session(one, found) for i, one in sessions.items()} == {
        i: of_session(one, parts) for i, one in expected.items()
    }


# -- what is kept ---------------------------------------------------------------------------------


def test_home_and_repository_are_only_read(place: Place) -> None:
    before = [tree(folder) for folder in (place.home, place.repo)]
    assert checkpoint(place, "capture").exit_code == 0
    home(place).go_on(BEANS.id, "And lettuce?", 90)
    git(place.repo, "status")
    commit(place.repo)
    before = [tree(folder) for folder in (place.home, place.repo)]
    assert checkpoint(place, "capture").exit_code == 0
    assert checkpoint(place, "report", "--open", "--all").exit_code == 0
    assert [tree(folder) for folder in (place.home, place.repo)] == before


def test_only_what_changed_is_packed_and_all_is_listed(place: Place) -> None:
    first = place.capture()
    assert {one.session_id for one in first.packed} == {BEANS.id, ROSES.id, OLD.id}
    again = place.capture(force=True)
    assert (again.packed, again.manifest.package) == ((), None)
    assert again.manifest.listing == first.manifest.listing
    home(place).go_on(BEANS.id, "And lettuce?", 90)
    grown = place.commit_and_capture()
    [packed] = grown.packed
    assert packed.base is not None
    assert (packed.session_id, packed.base.entries) == (BEANS.id, 6)
    assert set(listing_of(place.store, grown.manifest).sessions) == {BEANS.id, ROSES.id, OLD.id}
    gives_back(place)


@pytest.mark.parametrize("lost", ["derived", "cache"])
def test_without_what_is_derived_the_same_comes_out(
    place: Place, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = place.capture()
    if lost == "derived":
        shutil.rmtree(place.store.derived)
    else:
        monkeypatch.setenv("CODEX_SESSION_SYNC_CACHE", "off")
    again = place.capture(force=True)
    assert (again.packed, again.manifest.listing) == ((), first.manifest.listing)


def test_a_name_or_an_archived_session_is_a_change(place: Place) -> None:
    place.capture()
    path = home(place).file(ROSES.id)
    (place.home / "archived_sessions").mkdir(exist_ok=True)
    path.rename(place.home / "archived_sessions" / path.name)
    done = place.commit_and_capture()
    assert [one.session_id for one in done.packed] == [ROSES.id]
    assert sizes(place)[-1] < 20_000
    gives_back(place)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("row", {"title": "Beans"}),
        ("name", "Peas"),
        ("archived", True),
        ("dynamic_tools", ({"name": "spade"},)),
        ("spawn_edge", {"parent_thread_id": ROSES.id}),
        ("goal", {"objective": "A full basket"}),
    ],
)
def test_whatever_is_told_of_a_session_beside_its_records_is_a_change(key: str, value: Any) -> None:
    plain = PackagedSession(BEANS.id, None, archived=False)
    assert told_digest(replace(plain, **{key: value})) != told_digest(plain)


def test_what_only_the_database_tells_is_a_change(place: Place) -> None:
    place.capture()
    with closing(sqlite3.connect(place.home / "state_5.sqlite")) as connection, connection:
        connection.execute("UPDATE threads SET title = 'Roses' WHERE id = ?", (ROSES.id,))
    assert [one.session_id for one in place.commit_and_capture().packed] == [ROSES.id]
    gives_back(place)


def test_a_file_that_has_the_old_size_and_time_is_read(place: Place) -> None:
    place.capture()
    path = place.home / BEANS.relative_path
    status = path.stat()
    path.write_bytes(path.read_bytes().replace(b"peas", b"kale"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert [one.session_id for one in place.commit_and_capture().packed] == [BEANS.id]
    gives_back(place)


def test_what_may_change_again_unseen_is_read_next_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codex_session_sync.checkpoints.seen.SETTLED_NS", 1 << 60)
    done = place.capture()
    assert read_seen(place.store, place.home, done.manifest.listing).sessions == {}


def test_what_was_seen_for_a_listing_that_is_lost_does_not_count(place: Place) -> None:
    """As where a store was put back from a backup, and what is derived was not."""
    place.capture()
    catalog = place.store.catalog.read_bytes()
    home(place).go_on(BEANS.id, "And lettuce?", 90)
    place.commit_and_capture()
    place.commit_and_capture()  # by now its file has settled
    place.store.catalog.write_bytes(catalog)
    assert [one.session_id for one in place.commit_and_capture().packed] == [BEANS.id]
    gives_back(place)


def test_a_compressed_file_is_the_same_file(place: Place) -> None:
    place.capture()
    compressed(home(place).file(ROSES.id))
    assert place.commit_and_capture().packed == ()


def test_a_chain_is_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codex_session_sync.checkpoints.resting.LONGEST", 4)
    for minute in range(9):
        place.commit_and_capture()
        home(place).go_on(BEANS.id, f"Question {minute}", 90 + minute)
    place.commit_and_capture()
    lengths = [
        len(listing_of(place.store, one).sessions[BEANS.id].chain) for one in place.manifests()
    ]
    assert lengths == [1, 2, 3, 4, 1, 2, 3, 4, 1, 2]
    assert LONGEST == 32
    gives_back(place)


def test_a_file_that_begins_with_a_blank_line_goes_in_whole(place: Place) -> None:
    path = place.home / BEANS.relative_path
    path.write_bytes(b"\n" + BEANS.data())
    place.capture()
    path.write_bytes(b"\n" + BEANS.say("And lettuce?").data())
    done = place.commit_and_capture()
    assert [one.session_id for one in done.packed] == [BEANS.id]
    assert len(listing_of(place.store, done.manifest).sessions[BEANS.id].chain) == 1
    gives_back(place)


def test_what_a_turn_that_was_taken_back_left_between_is_not_rested_on(place: Place) -> None:
    """A turn without a user's message stays, behind one that was taken back later."""
    path = place.home / OLD.relative_path
    records = OLD.say("A mistake").records()
    for kind, payload in (
        ("event_msg", {"type": "task_started"}),
        ("compacted", {"message": "They talked."}),
        ("event_msg", {"type": "task_complete"}),
    ):
        records.append({**records[-1], "type": kind, "payload": payload})
    path.write_bytes(dump(records))
    place.capture()
    undo = {**records[-3], "payload": {"type": "thread_rolled_back", "num_turns": 1}}
    path.write_bytes(dump([*records, undo]))
    home(place).go_on(OLD.id, "Better?", 90)
    done = place.commit_and_capture()
    assert len(listing_of(place.store, done.manifest).sessions[OLD.id].chain) == 2
    gives_back(place)


def test_a_home_without_sessions(place: Place) -> None:
    shutil.rmtree(place.home / "sessions")
    shutil.rmtree(place.home / "archived_sessions")
    done = checkpoint(place, "capture").envelope
    assert (done["status"], done["data"]["checkpoint"]["listed"]) == ("ok", 0)
    refused = checkpoint(place, "sync", "--all")
    assert (refused.exit_code, refused.codes) == (2, ["checkpoint_empty"])


def test_a_session_that_cannot_be_read_is_listed_as_it_was(place: Place) -> None:
    place.capture()
    path = home(place).file(ROSES.id)
    whole = path.read_bytes()
    path.write_bytes(b"damaged\n")
    commit(place.repo)
    done = checkpoint(place, "capture")
    assert (done.exit_code, done.codes) == (1, ["transcript_invalid"])
    listed = listing_of(place.store, place.manifests()[-1]).sessions[ROSES.id]
    assert listed.unread == "transcript_invalid"
    _, sessions, parts = place.assembled(place.manifests()[-1])
    assert parts[sessions[ROSES.id]["history"][0]] == whole
    path.write_bytes(whole)
    assert place.commit_and_capture().packed == ()
    assert listing_of(place.store, place.manifests()[-1]).sessions[ROSES.id].unread is None


def test_secrets_are_told_and_keep_nothing_from_being_captured(place: Place) -> None:
    secret = samples()[0]["GitHub"][1]
    home(place).go_on(ROSES.id, f"My token is {secret}", 90)
    done = checkpoint(place, "capture")
    warnings = [(one["code"], one["session_id"]) for one in done.envelope["warnings"]]
    assert (done.exit_code, warnings) == (0, [("secrets_packed", ROSES.id)])
    assert secret not in done.out.decode()
    assert all(secret not in f"{one}" for one in place.manifests())
    told = {one.session_id: one for one in place.manifests()[0].sessions}
    assert told[ROSES.id].last_words == "My token is [github_pat]"
    commit(place.repo)
    assert checkpoint(place, "capture").envelope["warnings"] == []


# -- which one ------------------------------------------------------------------------------------


def test_a_checkpoint_is_replaced_by_force_alone_and_kept(place: Place) -> None:
    first = checkpoint(place, "capture").envelope["data"]["checkpoint"]
    refused = checkpoint(place, "capture")
    assert (refused.exit_code, refused.codes) == (2, ["checkpoint_exists"])
    home(place).go_on(BEANS.id, "And lettuce?", 90)
    files = tree(place.store.checkpoints)
    second = checkpoint(place, "capture", "--force").envelope["data"]
    assert second["replaced"]
    assert second["checkpoint"]["file"] == first["file"].replace(".toml", ".2.toml")
    assert tree(place.store.checkpoints).items() >= files.items()
    listed = checkpoint(place, "list").envelope["data"]["checkpoints"]
    assert [one["replaced"] for one in listed] == [False, True]
    [shown] = checkpoint(place, "report").envelope["data"]["checkpoints"]
    assert shown["file"] == second["checkpoint"]["file"]


def test_what_is_new_is_told_along_the_branch(place: Place) -> None:
    """Whatever was captured for other repositories, and on other branches, in between."""
    other = new_repo(place.root / "other")
    commit(other, "Other")
    first = commit(place.repo, "First")
    place.capture()
    home(place).go_on(BEANS.id, "And lettuce?", 90)
    place.capture(other)
    second = commit(place.repo, "Second")
    done = place.capture()
    assert (done.packed, done.manifest.before) == ((), first)
    assert done.manifest.related == ()
    git(place.repo, "checkout", "-q", "-b", "side", first)
    commit(place.repo, "Aside")
    home(place).go_on(BEANS.id, "And chard?", 91)
    assert place.capture().manifest.before == first
    git(place.repo, "checkout", "-q", "main")
    commit(place.repo, "Third")
    done = place.capture()
    assert done.manifest.before == second
    [taken] = [one for one in place.manifests()[-2].sessions if one.session_id == BEANS.id]
    assert (taken.entries_before, taken.entries, taken.went_on) == (6, 10, True)


def test_what_is_new_is_told_of_each_home(place: Place) -> None:
    first = place.commit_and_capture().manifest.origin.sha
    other = side(place.root, "other", [BEANS])
    commit(place.repo)
    assert checkpoint(place, "capture", "--codex-home", other.home).exit_code == 0
    home(place).go_on(BEANS.id, "And lettuce?", 90)
    done = place.commit_and_capture().manifest
    assert done.before == first
    assert [one.entries_before for one in done.sessions] == [6]


def test_what_is_new_is_told_where_a_package_is_lost(place: Place) -> None:
    place.capture()
    [package] = entries(place.store, "package")
    checked_package(place.store, package).unlink()
    home(place).go_on(BEANS.id, "And lettuce?", 90)
    done = place.commit_and_capture().manifest
    [taken] = [one for one in done.sessions if one.session_id == BEANS.id]
    assert (taken.entries_before, taken.entries) == (6, 8)


def test_a_commit_is_named_as_people_do(place: Place) -> None:
    shas = [git(place.repo, "rev-parse", "HEAD")]
    place.capture()
    shas += [commit(place.repo, f"{number}") for number in range(3)]
    place.capture()
    git(place.repo, "tag", "v1", shas[0])

    def found(told: str) -> list[str]:
        data = checkpoint(place, "report", "--commit", told).envelope["data"]
        return [one["commit"]["sha"] for one in data["checkpoints"]]

    for told in ("v1", shas[0], shas[0][:7], "HEAD~3"):
        assert found(told) == [shas[0]]
    assert found("v1..HEAD") == [shas[3]]
    ranged = checkpoint(place, "report", "--commit", f"{shas[0]}..").envelope["data"]
    assert ranged["missing"] == [shas[2], shas[1]]
    refused = checkpoint(place, "report", "--commit", "HEAD~1")
    assert refused.codes == ["checkpoint_missing"]
    assert f"{shas[0][:12]}, 2 commits earlier" in refused.envelope["errors"][0]["message"]
    assert checkpoint(place, "report", "--commit", "nothing").codes == ["commit_unknown"]
    assert checkpoint(place, "report", "--commit", "HEAD~1..HEAD~0^").codes == [
        "checkpoint_missing"
    ]


def test_without_a_repository_a_sha_is_enough(place: Place) -> None:
    sha = place.capture().manifest.origin.sha
    assert [one.sha for one in choose(place.store, sha[:6], None).found] == [sha]
    shutil.rmtree(place.repo)
    os.chdir(place.root)
    for told in (sha, sha[:8], sha[:8].upper()):
        assert call("checkpoint", "report", "--commit", told, "--json").exit_code == 0
    for told, code in (
        ("main", "checkpoint_missing"),
        ("HEAD", "repository_missing"),
        (f"{sha}..{sha}", "repository_missing"),
    ):
        assert call("checkpoint", "report", "--commit", told, "--json").codes == [code]


def test_a_short_sha_that_means_two(place: Place) -> None:
    shas = [place.commit_and_capture().manifest.origin.sha for _ in range(18)]
    shared = next(a for a in shas for b in shas if a != b and a[0] == b[0])
    assert shared
    # Four digits are asked for, so that two that share them are made up in the catalog.
    line = place.store.catalog.read_text().splitlines()[-1]
    other = shas[-1][:8] + "0" * 32
    with place.store.catalog.open("a") as stream:
        stream.write(line.replace(f'/{shas[-1]}"', f'/{other}"') + "\n")
    with pytest.raises(UsageError) as caught:
        choose(place.store, shas[-1][:6], None)
    assert caught.value.code == "commit_ambiguous"


# -- bringing back --------------------------------------------------------------------------------


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


# -- many, and killed -----------------------------------------------------------------------------


def variables(place: Place) -> dict[str, str]:
    found = environment(place.root) | {"PATH": PATH, VARIABLE: str(place.root / "store")}
    return found | {"CODEX_SESSION_SYNC_CACHE": str(place.root / "cache")}


def test_captures_of_two_repositories_at_once(place: Place) -> None:
    other = new_repo(place.root / "other")
    shas = [(repo, commit(repo, f"{n}")) for n in range(4) for repo in (place.repo, other)]

    def capture(repo: Path, sha: str) -> Outcome:
        options = ("--repo", repo, "--commit", sha, "--json")
        return call_process(variables(place), "checkpoint", "capture", *options)

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda one: capture(*one), shas))
    assert [one.envelope["status"] for one in done] == ["ok"] * len(shas), done
    assert {one.sha for one in all_checkpoints(place.store)} == {sha for _, sha in shas}
    assert len(list(entries(place.store, "package"))) == 1
    assert {one.listed for one in place.manifests()} == {3}


def test_a_capture_that_is_killed_leaves_a_store_that_a_repeat_completes(place: Place) -> None:
    """At moments over all of a capture, of a home that goes on in between."""
    command = [sys.executable, "-m", "codex_session_sync", "checkpoint", "capture"]
    place.capture()
    began = time.monotonic()
    commit(place.repo)
    subprocess.run([*command, "--repo", place.repo], env=variables(place), check=True)
    whole, ended = time.monotonic() - began, 0
    for number in range(12):
        home(place).go_on(BEANS.id, f"Question {number}", 100 + number)
        commit(place.repo)
        with subprocess.Popen(
            [*command, "--repo", place.repo], env=variables(place), stdout=subprocess.DEVNULL
        ) as process:
            time.sleep(whole * (0.35 + number / 18))
            process.send_signal(signal.SIGKILL)
        ended += process.returncode == 0
        there = len(all_checkpoints(place.store))
        for one in place.manifests():
            listing_of(place.store, one)
        for package in entries(place.store, "package"):
            checked_package(place.store, package)
        again = checkpoint(place, "capture")
        assert again.exit_code == 0 or again.codes == ["checkpoint_exists"], again.out
        assert len(all_checkpoints(place.store)) == there + (again.exit_code == 0)
        gives_back(place)
    assert ended < 12
    assert session_id(1) == BEANS.id


@pytest.mark.parametrize("seconds", ["nan", "inf", "1e300", "-1"])
def test_a_wait_that_no_clock_can_count(place: Place, seconds: str) -> None:
    done = checkpoint(place, "capture", "--wait", seconds)
    assert (done.codes, done.exit_code) == (["usage"], 2)
