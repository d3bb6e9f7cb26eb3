"""Rolled back, then asked of the real Codex: it lists and shows what it did before."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from codexbed import CodexHome, ModelServer, doctor, require_codex, view
from real_codex.syncing import Answer, Holdings, call, file_of, files_of, holdings, listed, sync

Pair = tuple[CodexHome, CodexHome]
STEPS = 16


@pytest.fixture
def pair(tmp_path: Path, model: ModelServer) -> Pair:
    """A source with two sessions, and the home that it is brought to, with one of its own."""
    require_codex()
    there = CodexHome(tmp_path / "there", tmp_path / "user", model).prepare()
    here = replace(there, home=tmp_path / "here").prepare()
    here.exec("Mine")
    there.exec("One")
    there.exec("Two")
    return there, here


def rollback(home: CodexHome, *arguments: str) -> Answer:
    return call(home, "rollback", *arguments, "--execute")


def transaction(answer: Answer) -> str:
    return str(answer.document["data"]["transaction_id"])


def opened(home: CodexHome, session: str) -> list[str]:
    """What Codex itself shows of a session in this home, no copy: the user's messages."""
    with home.app_server() as app:
        app.request("thread/resume", {"threadId": session})
        page = app.request("thread/turns/list", {"threadId": session, "limit": 100})
    return [
        part["text"]
        for turn in reversed(page["data"])
        for item in turn["items"]
        if item["type"] == "userMessage"
        for part in item["content"]
    ]


def same(one: Holdings, other: Holdings, *but: str) -> None:
    """Two states of a home agree to the byte, the named sessions and the journal left out."""

    def files(held: Holdings) -> dict[str, str]:
        return {
            path: digest
            for path, digest in held.digest.items()
            if not path.startswith(("session-sync", "tmp"))
            and ".sqlite" not in path
            and not any(session in path for session in but)
        }

    def rows(held: Holdings) -> list[dict[str, Any]]:
        found = [row for row in held.tables["threads"] if row["id"] not in but]
        return sorted(found, key=lambda row: str(row["id"]))

    assert files(one) == files(other)
    assert rows(one) == rows(other)
    assert one.index == other.index


def test_an_import_leaves_nothing(pair: Pair) -> None:
    there, here = pair
    before, order, views = holdings(here.home), listed(here), view(here, listed(here))
    assert sync(here, there.home).status == "ok"
    assert len(listed(here)) == 3
    done = rollback(here, "--latest")
    assert (done.status, {s["result"] for s in done.sessions.values()}) == ("ok", {"undone"})
    same(holdings(here.home), before)
    assert (listed(here), view(here, order)) == (order, views)


def test_a_session_that_was_shown_longer_is_shown_as_before(pair: Pair) -> None:
    """Codex keeps a projection of the turns it showed; of a file that was cut it is wrong."""
    there, here = pair
    assert sync(here, there.home).status == "ok"
    [one] = [s for s in listed(there) if opened(there, s) == ["One"]]
    assert opened(here, one) == ["One"]
    content = file_of(here.home, one).read_bytes()
    there.exec_resume(one, "More")
    continued = sync(here, there.home)
    assert continued.status == "ok"
    assert opened(here, one) == ["One", "More"]

    done = rollback(here, transaction(continued))
    assert done.status == "ok"
    assert file_of(here.home, one).read_bytes() == content
    assert opened(here, one) == ["One"]
    here.exec_resume(one, "Another way")
    assert opened(here, one) == ["One", "Another way"]


def test_a_session_that_goes_and_comes_again_otherwise(pair: Pair) -> None:
    """What Codex knew of the one that went does not show through."""
    there, here = pair
    imported = sync(here, there.home)
    [one] = [s for s in listed(there) if opened(there, s) == ["One"]]
    there.exec_resume(one, "More")
    assert opened(here, one) == ["One"]
    assert rollback(here, transaction(imported)).status == "ok"
    assert files_of(here.home, one) == []
    path = file_of(there.home, one)
    path.write_bytes(path.read_bytes().replace(b"One", b"Uno"))
    assert sync(here, there.home).status == "ok"
    assert opened(here, one) == ["Uno", "More"]


def test_a_session_that_went_on_here_keeps_its_turn(pair: Pair) -> None:
    there, here = pair
    before = holdings(here.home)
    order, views = listed(here), view(here, listed(here))
    imported = sync(here, there.home)
    one, two = sorted(imported.sessions)
    here.exec_resume(one, "Said here")
    kept = file_of(here.home, one).read_bytes()

    done = rollback(here, transaction(imported))
    assert (done.code, done.status) == (1, "partial")
    assert {i: (s["result"], s["reason"]) for i, s in done.sessions.items()} == {
        one: ("kept", "advanced_since"),
        two: ("undone", None),
    }
    assert file_of(here.home, one).read_bytes() == kept
    assert "Said here" in opened(here, one)
    same(holdings(here.home), before, one)
    assert sorted(listed(here)) == sorted([*order, one])
    assert view(here, order) == views


CHANGES: dict[str, Callable[[CodexHome, str], object]] = {
    "renamed": lambda home, one: asked(home, "thread/name/set", threadId=one, name="Beans"),
    "archived": lambda home, one: asked(home, "thread/archive", threadId=one),
    "forked": lambda home, one: asked(home, "thread/fork", threadId=one),
}


def asked(home: CodexHome, method: str, **parameters: object) -> None:
    with home.app_server() as app:
        app.request("thread/resume", {"threadId": str(parameters["threadId"])})
        app.request(method, parameters)


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_done_with_a_session_here_keeps_it(pair: Pair, change: str) -> None:
    there, here = pair
    imported = sync(here, there.home)
    one, two = sorted(imported.sessions)
    CHANGES[change](here, one)
    held = holdings(here.home)
    done = rollback(here, transaction(imported))
    assert {i: (s["result"], s["reason"]) for i, s in done.sessions.items()} == {
        one: ("kept", "advanced_since"),
        two: ("undone", None),
    }
    same(holdings(here.home), held, two)


def test_an_open_session_is_busy(pair: Pair) -> None:
    there, here = pair
    imported = sync(here, there.home)
    one, two = sorted(imported.sessions)
    with here.app_server() as app:
        app.request("thread/resume", {"threadId": one})
        done = rollback(here, transaction(imported))
    assert done.code == 1
    assert {i: (s["result"], s["reason"]) for i, s in done.sessions.items()} == {
        one: ("refused", "session_busy"),
        two: ("undone", None),
    }
    again = rollback(here, transaction(imported))
    assert again.status == "ok"
    assert again.sessions[one]["result"] == "undone"


def test_a_rollback_rolled_back_is_shown_again(pair: Pair) -> None:
    there, here = pair
    imported = sync(here, there.home)
    held, order = holdings(here.home), listed(here)
    views = view(here, order)
    undone = rollback(here, transaction(imported))
    back = str(undone.document["data"]["rollback_transaction_id"])
    assert rollback(here, back).status == "ok"
    same(holdings(here.home), held)
    assert (listed(here), view(here, order)) == (order, views)


def test_syncs_and_rollbacks_in_random_order_keep_the_home_sound(pair: Pair) -> None:
    """Codex's own checks are content at each step, and in the end all is as it was."""
    there, here = pair
    rng = random.Random(4)
    before, order = holdings(here.home), listed(here)
    done: list[str] = []
    for step in range(STEPS):
        if done and rng.random() < 0.5:
            rolled = rollback(here, rng.choice(done))
            assert rolled.code in (0, 1), rolled.document["errors"]
        else:
            there.exec_resume(rng.choice(listed(there)), f"Step {step}")
            synced = sync(here, there.home)
            assert synced.status in ("ok", "no_op"), synced.document["errors"]
            done += [transaction(synced)] if synced.status == "ok" else []
        assert doctor(here)["status"] == "ok"
        assert set(listed(here)) <= {*order, *listed(there)}
    for one in reversed(done):
        assert rollback(here, one).status in ("ok", "no_op")
    same(holdings(here.home), before)
    assert (listed(here), doctor(here)["status"]) == (order, "ok")


def test_what_comes_back_in_a_copied_home_is_of_the_copy(pair: Pair, tmp_path: Path) -> None:
    """Codex writes to the file that a row names: it must not be that of the original."""
    there, here = pair
    sessions = set(listed(there))
    imported = sync(here, there.home)
    back = rollback(here, transaction(imported)).document["data"]["rollback_transaction_id"]
    copy = replace(here, home=tmp_path / "copy")
    shutil.copytree(here.home, copy.home)
    copy.prepare()
    for home in (here, copy):
        assert rollback(home, back).status == "ok"
    session = min(sessions)
    [original] = files_of(here.home, session)
    before = original.read_bytes()
    copy.exec_resume(session, "said in the copy")
    assert original.read_bytes() == before
    assert opened(copy, session)[-1] == "said in the copy"
