"""``verify``: what the real Codex makes of sessions, in their own words and after damage."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from codexbed import CURRENT, LEGACY, CodexHome, ModelServer, copy_home, records
from codexbed.install import codex_binary
from real_codex.syncing import Answer, Source, call, file_of, fresh_home, sync
from workbench import SCRIPTS


def verify(home: CodexHome, *options: str) -> Answer:
    """The command's answer; the home's own Codex is asked."""
    command = [sys.executable, "-m", "codex_session_sync", "verify", *options, "--json"]
    binary = ("--codex-bin", str(codex_binary(CURRENT)), "--codex-home", str(home.home))
    variables = {"HOME": str(home.user_home), "PATH": os.environ["PATH"]}
    variables |= {"PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run([*command, *binary], env=variables, capture_output=True, check=False)
    return Answer(done.returncode, orjson.loads(done.stdout), done.stderr.decode())


def verdicts(answer: Answer) -> dict[str, str]:
    return {one["session_id"]: one["verdict"] for one in answer.document["data"]["sessions"]}


@pytest.fixture
def synced(source: Source, model: ModelServer, tmp_path: Path) -> CodexHome:
    """A home into which sessions of every kind were synced."""
    home = fresh_home(tmp_path / "user", tmp_path / "home", model)
    assert sync(home, source.home.home).code == 0
    return home


def test_all_kinds(synced: CodexHome, source: Source) -> None:
    """What was synced is as the transcripts say, by Codex's own account.

    Opening a session may note settings at its end, which the next sync passes over.
    """
    before = {path: path.read_bytes() for path in synced.home.rglob("rollout-*")}
    answer = verify(synced)
    assert answer.code == 0, answer.document["errors"]
    found = verdicts(answer)
    assert len(found) == len(source.made)
    archived = {source.made[kind].session_id for kind, v in source.views.items() if v.archived}
    assert {i for i, verdict in found.items() if verdict == "archived"} <= archived
    assert set(found.values()) == {"same", "archived"}
    for path, content in before.items():
        assert path.read_bytes().startswith(content)
    assert sync(synced, source.home.home).status == "no_op"


def test_kinds_where_they_were_made(source: Source, tmp_path: Path) -> None:
    """Forks by reference, reverted and compressed sessions, which no sync has made whole."""
    home = copy_home(source.home, tmp_path / "home")
    ids = [made.session_id for made in source.made.values()]
    answer = verify(home, *(word for i in ids for word in ("--session", i)))
    assert set(verdicts(answer).values()) == {"same"}, answer.document["errors"]


def _no_beginning(home: CodexHome, session: str) -> None:
    path = file_of(home.home, session)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))


def _no_last_ordinal(home: CodexHome, session: str) -> None:
    """What an old release appends."""
    path = file_of(home.home, session)
    last = {**records(path)[-1]}
    del last["ordinal"]
    path.write_bytes(path.read_bytes() + orjson.dumps(last) + b"\n")


DAMAGES: dict[str, tuple[Callable[[CodexHome, str], None], str]] = {
    "no beginning": (_no_beginning, "unreadable"),
    "no last ordinal": (_no_last_ordinal, "not_opened"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_session(synced: CodexHome, source: Source, name: str) -> None:
    damage, expected = DAMAGES[name]
    session = source.made["plain"].session_id
    damage(synced, session)
    answer = verify(synced, "--session", session)
    assert answer.code == 1
    assert verdicts(answer) == {session: expected}
    [error] = answer.document["errors"]
    assert error["session_id"] == session
    assert error["code"] == f"codex_{expected}"
    assert error["hint"]


def test_a_session_that_is_open(synced: CodexHome, source: Source) -> None:
    session = source.made["plain"].session_id
    with synced.app_server() as app:
        app.resume(session)
        answer = verify(synced, "--session", session)
    assert verdicts(answer) == {session: "busy"}
    assert verdicts(verify(synced, "--session", session)) == {session: "same"}


def test_other_words(synced: CodexHome, source: Source) -> None:
    """Codex shows what it worked out before a transcript was changed by hand."""
    session = source.made["plain"].session_id
    assert verdicts(verify(synced, "--session", session)) == {session: "same"}
    path = file_of(synced.home, session)
    text = path.read_bytes()
    changed = text.replace(b"answer to: ", b"answer at: ")
    assert changed != text
    path.write_bytes(changed)
    answer = verify(synced, "--session", session)
    assert verdicts(answer) == {session: "differs"}


def test_a_codex_that_does_not_start(synced: CodexHome, tmp_path: Path) -> None:
    false = tmp_path / "false"
    false.write_text("#!/bin/sh\nexit 1\n")
    false.chmod(0o700)
    command = [sys.executable, "-m", "codex_session_sync", "verify", "--json"]
    options = ("--codex-bin", str(false), "--codex-home", str(synced.home))
    variables = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run([*command, *options], env=variables, capture_output=True, check=False)
    found = orjson.loads(done.stdout)
    assert (done.returncode, found["errors"][0]["code"]) == (4, "codex_failed")


def synced_and_asked(home: CodexHome, package: Path, *options: str) -> Answer:
    """Sync a package, and have Codex show what came of it."""
    return sync(home, package, "--verify", *options)


def verdicts_of(answer: Answer) -> dict[str, str]:
    verify = answer.document["data"]["verify"]
    return {one["session_id"]: one["verdict"] for one in verify["sessions"]}


def _words_of_before(home: CodexHome, session: str) -> None:
    """What Codex shows of this session was worked out of other words than its file has now.

    The words that the model sees are as they were, so that the session is the same to a sync.
    """
    with home.app_server() as app:
        app.resume(session)
        assert app.turns(session)
    path = file_of(home.home, session)
    lines = path.read_bytes().splitlines(keepends=True)
    changed = [
        line.replace(b"answer to: ", b"answer at: ") if b"item_completed" in line else line
        for line in lines
    ]
    assert changed != lines
    path.write_bytes(b"".join(changed))


@pytest.fixture
def grown(synced: CodexHome, source: Source, tmp_path: Path) -> CodexHome:
    """The source, in which a session went on after it was synced."""
    home = copy_home(source.home, tmp_path / "grown")
    with home.app_server() as app:
        app.resume(source.made["plain"].session_id)
        app.start_turn(source.made["plain"].session_id, "and further")
    return home


def test_a_sync_that_asks(source: Source, model: ModelServer, tmp_path: Path) -> None:
    """All kinds are imported, listed, opened and shown; the next sync has nothing to ask about."""
    home = fresh_home(tmp_path / "user", tmp_path / "home", model)
    answer = synced_and_asked(home, source.home.home)
    assert (answer.code, answer.status) == (0, "ok"), answer.document["errors"]
    found = verdicts_of(answer)
    assert found.keys() == set(source.ids())
    assert set(found.values()) <= {"same", "archived"}
    again = synced_and_asked(home, source.home.home)
    assert again.status == "no_op"
    assert again.document["data"]["verify"] == {"sessions": [], "counts": {}}


def test_a_sync_after_which_codex_shows_something_else(
    synced: CodexHome, source: Source, grown: CodexHome
) -> None:
    session = source.made["plain"].session_id
    _words_of_before(synced, session)
    before = file_of(synced.home, session).read_bytes()
    answer = synced_and_asked(synced, grown.home)
    assert (answer.code, answer.status) == (1, "partial")
    assert answer.sessions[session]["result"] == "fast_forwarded"
    assert verdicts_of(answer) == {session: "differs"}
    assert answer.errors == {"codex_differs": {session}}
    [error] = answer.document["errors"]
    transaction = answer.document["data"]["transaction_id"]
    assert f"rollback {transaction} --execute" in error["hint"]

    assert file_of(synced.home, session).read_bytes().startswith(before)
    undone = call(synced, "rollback", transaction, "--execute")
    assert undone.sessions[session]["result"] == "undone"
    assert file_of(synced.home, session).read_bytes().startswith(before)
    assert b"and further" not in file_of(synced.home, session).read_bytes()


def test_a_sync_of_what_codex_does_not_open_here(
    source: Source, model: ModelServer, tmp_path: Path
) -> None:
    """Its provider is none of this home's."""
    home = fresh_home(tmp_path / "user", tmp_path / "home", model)
    config = home.home / "config.toml"
    config.write_text(config.read_text().replace("mock", "other"))
    session = source.made["plain"].session_id
    answer = synced_and_asked(home, source.home.home, "--session", session)
    assert (answer.code, answer.status) == (1, "partial")
    assert verdicts_of(answer) == {session: "not_opened"}
    assert answer.errors == {"codex_not_opened": {session}}
    told = call(home, "explain", session).document["data"]["findings"]
    assert "provider_not_configured" in {one["code"] for one in told}


def test_a_sync_without_a_codex_that_answers(
    source: Source, model: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = fresh_home(tmp_path / "user", tmp_path / "home", model)
    monkeypatch.setenv("PATH", str(tmp_path))
    plain, named = (source.made[kind].session_id for kind in ("plain", "named"))
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o700)
    for session, options, code in (
        (plain, (), "codex_missing"),
        (named, ("--codex-bin", str(broken)), "codex_failed"),
    ):
        answer = call(
            home,
            *("sync", source.home.home, "--session", session, "--execute", "--verify", *options),
        )
        assert (answer.code, answer.status) == (1, "partial")
        assert answer.errors == {code: {None}}
        assert answer.document["errors"][0]["hint"]
        assert answer.document["data"]["verify"] is None
        assert answer.sessions[session]["result"] == "imported"
        assert file_of(home.home, session).exists()
    assert set(verdicts(verify(home)).values()) == {"same"}


def test_a_sync_for_the_old_release(
    legacy_source: Source, model: ModelServer, tmp_path: Path
) -> None:
    home = fresh_home(tmp_path / "user", tmp_path / "home", model, version=LEGACY)
    answer = synced_and_asked(home, legacy_source.home.home)
    assert (answer.code, answer.status) == (0, "ok"), answer.document["errors"]
    assert verdicts_of(answer).keys() == set(legacy_source.ids())
