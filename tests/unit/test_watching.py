"""The worker that ships: what it asks for, and for what it asks again."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from builders import Session, write_snapshot
from codex_session_sync.service import reporting
from codex_session_sync.service.inbox import Inbox, Line
from codex_session_sync.service.limits import DEFAULT_SERVICE_LIMITS
from codex_session_sync.service.reporting import TRIES, Reporter
from codex_session_sync.service.speaking import Outbox
from codex_session_sync.service.watching import watched
from service_frames import Json, frame, line
from workbench import call

SESSIONS = [Session(n, start=10 * n).say(f"question {n}") for n in range(1, 4)]
OK: Json = {"result": "imported"}


class Told:
    """A worker in this process, that is answered by hand."""

    def __init__(self, folder: Path, mode: str = "tail") -> None:
        self.said = io.BytesIO()
        inbox = Inbox(io.BytesIO(), DEFAULT_SERVICE_LIMITS, lambda _: False)
        self.reporter = Reporter(watched(folder), inbox, Outbox(self.said), 0.0)
        self.reporter.source, self.reporter.mode, self.reporter.run_id = "desk", mode, "r"

    def asked(self) -> Json | None:
        """The next request; None if there is none after some looks."""
        for _ in range(3):
            self.reporter._look()
            self.reporter._ask()
            if frames := self.said.getvalue().splitlines():
                self.said.seek(0)
                self.said.truncate()
                [one] = frames
                found: Json = json.loads(one)
                return found
        return None

    def answer(self, asked: Json, *items: Json, **more: Any) -> None:
        said = frame("import.result", asked["seq"], items=list(items), **more)
        self.reporter._hear(Line(line(said), time.monotonic()))

    def next(self) -> Json:
        found = self.asked()
        assert found is not None
        return found


def key(asked: Json) -> str:
    return str(asked["payload"]["idempotencyKey"])


def names(asked: Json) -> list[str]:
    """The sessions that are asked for."""
    return sorted(asked["payload"]["items"][0]["sessions"])


def failed(reason: str, *sessions: Json, retryable: bool = False) -> Json:
    found = {"result": "failed", "reason": reason, "retryable": retryable}
    return {**found, "sessions": list(sessions)}


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    write_snapshot(tmp_path / "inbox" / "one", SESSIONS[:1])
    return tmp_path / "inbox"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return write_snapshot(tmp_path / "desk", SESSIONS)


def test_what_may_come_right_is_asked_for_until_it_does(inbox: Path) -> None:
    told, keys = Told(inbox), set()
    for _ in range(3 * TRIES):
        asked = told.next()
        keys.add(key(asked))
        told.answer(asked, failed("session_busy", retryable=True))
    assert len(keys) == 3 * TRIES
    told.answer(told.next(), OK)
    assert told.asked() is None


def test_a_backfill_ends(inbox: Path) -> None:
    told = Told(inbox, "backfill")
    for _ in range(TRIES):
        told.answer(told.next(), failed("session_busy", retryable=True))
    assert told.asked() is None
    assert told.reporter._idle()


def test_what_failed_before_is_asked_for_once_more(inbox: Path) -> None:
    """The first key has its answer for a month, from whichever process asked."""
    told, other = Told(inbox), Told(inbox)
    first = told.next()
    assert key(other.next()) == key(first)
    told.answer(first, failed("transcript_invalid"), repeated=True)
    again = told.next()
    assert key(again) != key(first)
    assert again["payload"]["items"] == first["payload"]["items"]
    told.answer(again, failed("transcript_invalid"), repeated=False)
    assert told.asked() is None
    late = Told(inbox)
    late.answer(late.next(), failed("transcript_invalid"), repeated=True)
    assert key(late.next()) != key(again)


def test_one_session_that_is_busy_keeps_no_other_waiting(home: Path) -> None:
    told = Told(home)
    first = told.next()
    assert len(names(first)) == 3
    busy, other = SESSIONS[0].id, SESSIONS[1]
    sessions = [{"sessionId": one.id, "retryable": one.id == busy} for one in SESSIONS]
    told.reporter.every = 1000.0
    told.answer(first, failed("session_busy", *sessions, retryable=True))
    told.reporter.every = 0.0
    write_snapshot(home, [SESSIONS[0].say("x"), other.say("more")])
    asked = told.next()
    assert names(asked) == [other.id]
    told.answer(asked, OK)
    assert told.asked() is None
    [(name, (_, attempt, wish))] = told.reporter._later.items()
    assert (name, attempt, list(wish.states)) == (busy, 2, [busy])


def test_a_session_that_went_takes_none_with_it(home: Path) -> None:
    told = Told(home)
    first = told.next()
    [gone] = home.glob(f"sessions/**/rollout-*{SESSIONS[0].id}*")
    gone.unlink()
    told.answer(first, failed("item_session_missing"))
    assert names(told.next()) == sorted(one.id for one in SESSIONS[1:])
    # What is there, and the service does not find, is not asked for without end.
    told = Told(home)
    told.answer(told.next(), failed("item_session_missing"))
    assert told.asked() is None


def test_a_package_that_was_away_for_a_moment(inbox: Path) -> None:
    told = Told(inbox)
    first = told.next()
    (inbox / "one").rename(inbox.parent / "away")
    told.answer(first, failed("package_not_found"))
    assert told.asked() is None
    (inbox.parent / "away").rename(inbox / "one")
    assert key(told.next()) == key(first)


def test_a_backfill_of_a_folder_that_cannot_be_read_has_failed(inbox: Path) -> None:
    told = Told(inbox, "backfill")
    shutil.rmtree(inbox)
    asked = told.next()
    assert (asked["type"], asked["payload"]["code"]) == ("run.error", "package_unreadable")
    assert told.reporter._failed
    told = Told(inbox.parent, "tail")
    told.reporter.folder.path = inbox
    assert told.next()["type"] == "run.error"
    write_snapshot(inbox / "one", SESSIONS[:1])
    assert told.next()["type"] == "import.batch"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names of any bytes")
def test_what_a_frame_cannot_name_is_left_out(inbox: Path) -> None:
    (inbox / os.fsdecode(b"two\xff")).write_bytes(b"x")
    (inbox / "link").symlink_to(inbox / "one")
    told = Told(inbox)
    told.answer(told.next(), OK)
    assert told.asked() is None
    folder = inbox / os.fsdecode(b"below\xff")
    folder.mkdir()
    assert call("watch", folder, "--json").codes == ["package_unreadable"]


def test_what_comes_and_goes_while_it_is_looked_at(inbox: Path) -> None:
    folder, over = watched(inbox), threading.Event()

    def churn() -> None:
        while not over.is_set():
            for number in range(50):
                (inbox / f"p{number}").touch()
            for number in range(50):
                (inbox / f"p{number}").unlink()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(200):
            assert "one" in folder.look()
    finally:
        over.set()
        thread.join()


def test_a_tail_waits_until_nobody_writes(inbox: Path) -> None:
    told = Told(inbox)
    for number in range(3):
        (inbox / "one" / "more").write_bytes(b"x" * number)
        told.reporter._look()
        assert not told.reporter._wishes
    told.reporter._look()
    assert len(told.reporter._wishes) == 1


def test_a_session_that_is_archived_is_told(home: Path) -> None:
    told = Told(home)
    told.answer(told.next(), OK)
    [path] = home.glob(f"sessions/**/rollout-*{SESSIONS[0].id}*")
    (home / "archived_sessions").mkdir()
    path.rename(home / "archived_sessions" / path.name)
    assert names(told.next()) == [SESSIONS[0].id]


def test_what_nothing_is_heard_of_is_sent_again(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(inbox)
    first = told.next()
    assert told.asked() is None
    monkeypatch.setattr(reporting, "AGAIN_S", -1.0)
    told.reporter._ask()
    assert json.loads(told.said.getvalue()) == first


def test_each_time_it_waits_longer(inbox: Path) -> None:
    told, waits = Told(inbox), []
    for _ in range(14):
        asked = told.next()
        told.reporter.every = 1.0
        told.answer(asked, failed("session_busy", retryable=True))
        told.reporter.every = 0.0
        [(name, (when, attempt, wish))] = told.reporter._later.items()
        waits.append(round(when - time.monotonic()))
        told.reporter._later[name] = (0.0, attempt, wish)
    assert waits[:3] == [2, 4, 8]
    assert waits[-1] == reporting.LONGEST_WAIT_S
