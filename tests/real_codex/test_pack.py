"""Sessions that Codex made, packed and synced: what is chosen arrives whole, and nothing else.

Every kind of session goes through both formats in ``test_import_kinds``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import package_by_spec as spec
from codexbed import ModelServer, changes, rollout_files, tree_digest, view
from real_codex.syncing import (
    Answer,
    Source,
    call,
    differences,
    fresh_home,
    pack,
    sync,
)

FORMATS = ("native", "transfer-v1")

NEEDED: dict[str, set[str]] = {
    "plain": set(),
    "fork": {"fork_parent"},
    "fork_middle": {"fork_root"},
    "fork_of_fork": {"fork_middle", "fork_root"},
    "fork_of_reverted": {"fork_of_reverted_parent"},
    "compressed_fork": {"compressed_fork_base"},
    "reverted_twice": set(),
    "subagent": {"subagent_parent"},
    "subagent_forked": {"subagent_forked_parent"},
    "legacy_fork": set(),
}
"""Kinds of sessions that are packed alone, and those that they bring along."""


def packed(source: Source, out: Path, *options: str) -> Answer:
    """A package of the source, which stays to the byte as it is."""
    before = tree_digest(source.home.home)
    answer = pack(source.home, out, *options)
    assert (answer.code, answer.errors, answer.warnings) == (0, {}, {})
    assert changes(before, tree_digest(source.home.home)) == {}
    return answer


@pytest.mark.parametrize("kind", NEEDED)
@pytest.mark.parametrize("form", FORMATS)
def test_a_session_alone_brings_what_it_needs(
    source: Source, model: ModelServer, tmp_path: Path, kind: str, form: str
) -> None:
    out, session_id = tmp_path / "package", source.made[kind].session_id
    answer = packed(source, out, "--session", session_id, "--format", form)
    kinds = source.kinds()
    found = {kinds[i]: session["chosen"] for i, session in answer.sessions.items()}
    assert found == {**dict.fromkeys(NEEDED[kind], False), kind: True}
    home = fresh_home(source.home.user_home, tmp_path / "home", model)
    assert sync(home, out).status == "ok"
    views = view(home, list(answer.sessions))
    for one in found:
        assert differences(source.views[one], views[source.made[one].session_id]) == {}


def test_every_file_is_in_the_package_as_it_is(source: Source, tmp_path: Path) -> None:
    out = tmp_path / "package"
    packed(source, out)
    manifest, parts = spec.read(out.read_bytes())
    files = {}
    for path in rollout_files(source.home.home):
        data = path.read_bytes()
        name = path.name.removesuffix(".zst")
        files[f"rollouts/{name}"] = spec.unpacked(data) if path.suffix == ".zst" else data
    assert {n: content for n, content in parts.items() if n.startswith("rollouts/")} == files
    assert {one["session_id"] for one in manifest["sessions"]} == set(source.ids())
    assert manifest["origin"]["installation_id"]
    spawned = {one["session_id"] for one in manifest["sessions"] if one["spawn_edge"]}
    assert spawned >= {source.made["subagent"].session_id}
    text = out.read_bytes() + json.dumps(manifest).encode()
    assert str(source.home.home).encode() not in text


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_of_codex_is_taken_for_a_secret(
    source: Source, legacy_source: Source, tmp_path: Path, form: str
) -> None:
    """Its ids, digests, prompts and encrypted reasoning; what is not certain is not told either."""
    for name, home in (("new", source), ("old", legacy_source)):
        answer = packed(home, tmp_path / name, "--archived", "--format", form)
        assert set(answer.sessions) == set(home.ids())
        assert [s["secrets"] for s in answer.sessions.values()] == [[]] * len(answer.sessions)


def test_the_same_home_gives_the_same_package(source: Source, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    packed(source, one)
    packed(source, two)
    assert one.read_bytes() == two.read_bytes()


def test_there_and_back(source: Source, model: ModelServer, tmp_path: Path) -> None:
    """What came by a package and goes back is known, whole home and session by session."""
    there, back = tmp_path / "there", tmp_path / "back"
    packed(source, there)
    home = fresh_home(source.home.user_home, tmp_path / "home", model)
    assert sync(home, there).status == "ok"
    assert pack(home, back).code == 0
    looked = call(source.home, "inspect-package", back)
    assert {s["classification"] for s in looked.sessions.values()} == {"unchanged"}
    assert len(looked.sessions) == len(source.made)


@pytest.mark.parametrize("form", FORMATS)
def test_a_home_of_the_old_release(
    legacy_source: Source, model: ModelServer, tmp_path: Path, form: str
) -> None:
    out = tmp_path / "package"
    packed(legacy_source, out, "--format", form)
    home = fresh_home(legacy_source.home.user_home, tmp_path / "home", model)
    assert sync(home, out).status == "ok"
    assert len(view(home, legacy_source.ids())) == len(legacy_source.made)
