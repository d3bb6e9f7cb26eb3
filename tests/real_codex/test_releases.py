"""Releases as source and as target; `tests/run --releases` runs all pairs of all releases."""

from __future__ import annotations

from pathlib import Path

import pytest

from codex_session_sync.codex.capability import READS_PAGINATED_FROM, installed_version
from codexbed import CURRENT, LEGACY, ModelServer, codex_binary, require_codex, rows, view
from codexbed.releases import FIRST_PAGINATED, numbers
from real_codex.pairs import Pairs
from real_codex.syncing import fresh_home, inspect, pack, plan, sync, with_database

REFUSES, WRITES = "0.144.0", "0.150.0"
"""A release that refuses paginated sessions, and the first that writes them."""

SAMPLE = (
    (CURRENT, LEGACY),
    (CURRENT, REFUSES),
    (CURRENT, WRITES),
    (WRITES, LEGACY),
    (WRITES, REFUSES),
    (LEGACY, CURRENT),
    (REFUSES, CURRENT),
    (REFUSES, LEGACY),
)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, model: ModelServer) -> Pairs:
    for version in (CURRENT, LEGACY, REFUSES, WRITES):
        require_codex(version)
    return Pairs(tmp_path_factory.mktemp("pairs"), model)


@pytest.mark.parametrize(("source", "target"), SAMPLE, ids="-to-".join)
def test_a_pair_of_releases(pairs: Pairs, source: str, target: str) -> None:
    findings = pairs.run(source, target)
    assert findings.problems == []
    converts = numbers(source) >= FIRST_PAGINATED and numbers(target) < READS_PAGINATED_FROM
    assert bool(findings.converted) == converts


@pytest.mark.parametrize("version", [LEGACY, REFUSES, WRITES, CURRENT])
def test_a_release_says_which_it_is(pairs: Pairs, tmp_path: Path, version: str) -> None:
    nowhere = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    assert installed_version(codex_binary(version), nowhere) == numbers(version)
    assert list(tmp_path.iterdir()) == []


def test_one_sign_of_an_old_codex_is_enough(pairs: Pairs, tmp_path: Path) -> None:
    """A home that only a new release has worked on, where an old one is installed by now."""
    source = pairs.source(CURRENT)
    package = with_database(source, tmp_path / "package")
    home = fresh_home(source.home.user_home, tmp_path / "home", source.home.server)
    home.exec("own: one")
    told = inspect(home, package).document["data"]["home"]
    assert (told["reads_paginated"], told["codex"]) == (True, None)
    options = ("--codex-bin", str(codex_binary(REFUSES)))
    told = plan(home, package, *options).document["data"]["home"]
    assert (told["reads_paginated"], told["codex"]) == (False, REFUSES)
    told = plan(home, package, *options, "--no-prime").document["data"]["home"]
    assert (told["reads_paginated"], told["codex"]) == (True, None)


def test_a_home_without_a_database_is_judged_by_what_is_installed(
    pairs: Pairs, tmp_path: Path
) -> None:
    source = pairs.source(CURRENT)
    package = with_database(source, tmp_path / "package")
    home = fresh_home(source.home.user_home, tmp_path / "home", source.home.server, version=REFUSES)
    done = sync(home, package)
    assert done.code == 0
    assert {s["written_as"] for s in done.sessions.values()} == {"legacy"}
    assert {row["history_mode"] for row in rows(home.home, "threads")} == {"legacy"}
    chosen = source.ids(["fork", "with_tools", "compacted"])
    assert {seen.problem for seen in view(home, chosen).values()} == {None}


def test_a_local_paginated_session_goes_on_as_it_is(pairs: Pairs, tmp_path: Path) -> None:
    """A home that went back to an older release: what it has is put into no other form."""
    source = pairs.source(CURRENT)
    home = fresh_home(source.home.user_home, tmp_path / "home", source.home.server)
    assert sync(home, with_database(source, tmp_path / "package")).code == 0
    session_id = source.made["three_turns"].session_id
    there = fresh_home(source.home.user_home, tmp_path / "there", source.home.server)
    assert sync(there, tmp_path / "package").code == 0
    there.exec_resume(session_id, "said there")
    assert pack(there, tmp_path / "grown").code == 0
    done = sync(home.with_version(REFUSES), tmp_path / "grown")
    assert done.sessions[session_id]["result"] == "fast_forwarded"
    assert done.warnings == {"paginated_unreadable": {session_id}}
    assert len(view(home, [session_id])[session_id].turns) == 4
