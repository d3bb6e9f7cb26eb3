"""Which checkpoint is meant: by its commit, along a branch, of which home."""

from __future__ import annotations

import os
import shutil

import pytest

from checkpointing import Place, commit, git, new_repo
from codex_session_sync.checkpoints.finding import choose
from codex_session_sync.errors import UsageError
from codex_session_sync.store.documents import checked_package, entries
from exchanging import side
from unit.captures import BEANS, checkpoint, home, make_place
from workbench import call, tree

place = pytest.fixture(make_place)


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
