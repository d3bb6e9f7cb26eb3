"""Captures: what of a home goes into the store, also from many at once and when killed."""

from __future__ import annotations

import os
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

import pytest

from builders import dump, session_id
from checkpointing import PATH, Place, commit, git, new_repo
from codex_session_sync.checkpoints.finding import all_checkpoints, listing_of
from codex_session_sync.checkpoints.resting import LONGEST, told_digest
from codex_session_sync.checkpoints.seen import read_seen
from codex_session_sync.model import PackagedSession
from codex_session_sync.store.documents import checked_package, entries
from codex_session_sync.store.place import VARIABLE
from exchanging import compressed
from secret_samples import samples
from unit.captures import BEANS, OLD, ROSES, checkpoint, gives_back, home, make_place
from workbench import Outcome, call_process, environment, tree

place = pytest.fixture(make_place)


def sizes(place: Place) -> list[int]:
    return [path.stat().st_size for path in place.store.packages.rglob("*.csync")]


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
