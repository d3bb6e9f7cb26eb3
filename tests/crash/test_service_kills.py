"""The import service killed at any moment, and started again: nothing is lost or doubled."""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from builders import Session, write_snapshot
from codex_session_sync.journal.log import Journal
from service_frames import Json, bare_environment, batch, chunks, frame, item, serving
from servicebed import state_of
from workbench import call_process, make_database

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills of POSIX")

WORDS = "many words " * 1000
KILLS = 8


def told(number: int, turns: int) -> Session:
    session = Session(number, start=10 * number, name=f"Session {number}")
    for turn in range(turns):
        session = session.say(f"{number}.{turn} {WORDS}")
    return session


SESSIONS = [told(number, 6) for number in range(1, 6)]
LAST = [one.say("went on").say("to its end") for one in SESSIONS]
UPLOADED = told(20, 30)
WORK: list[Json] = [
    *[batch(f"b{n}", [item(one)], n) for n, one in enumerate(SESSIONS)],
    *[batch(f"c{n}", [item(one)], 50 + n) for n, one in enumerate(LAST)],
    *chunks(UPLOADED, "upload", "u", 12),
]


MANY = [Session(100 + n, start=n).say(f"question {n}") for n in range(300)]


def expected(place: Path, sessions: Sequence[Session]) -> object:
    home, package = place / "synced", place / "laptop"
    home.mkdir()
    make_database(home)
    write_snapshot(package, sessions)
    done = call_process(
        bare_environment(place), "sync", package, "--execute", "--no-prime", "--codex-home", home
    )
    assert done.exit_code == 0
    return state_of(home)


@pytest.mark.parametrize("seed", range(2))
def test_a_service_is_killed_again_and_again(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    home = tmp_path / "home"
    home.mkdir()
    make_database(home)
    variables = bare_environment(tmp_path)
    answered: set[str] = set()
    kills = 0
    for turn in range(KILLS + 10):
        left = [one for one in WORK if one["payload"]["idempotencyKey"] not in answered]
        if not left:
            break
        with serving(home, variables) as spoken:
            spoken.ask(frame("health.probe"))
            for one in left[: 6 if turn < KILLS else len(left)]:
                spoken.send(one)
            if turn < KILLS:
                time.sleep(chance.random() * 0.35)
                spoken.kill()
                kills += 1
            else:
                spoken.process.stdin.close()  # type: ignore[union-attr]
            while (one_said := spoken.said.get(timeout=60)) is not None:
                if one_said["type"] == "import.result":
                    answered.add(one_said["payload"]["idempotencyKey"])
                else:
                    assert one_said["type"] in ("run.progress", "run.complete"), one_said
            spoken.process.wait(60)
    assert kills == KILLS
    assert answered == {one["payload"]["idempotencyKey"] for one in WORK}
    assert Journal(home / "session-sync").interrupted() == []
    assert state_of(home) == expected(tmp_path, [*LAST, UPLOADED])
    health = call_process(variables, "sidecar-health", "--json", "--codex-home", home)
    # A folder of a transaction that had not begun, or a file that was being written.
    assert {one["code"] for one in health.envelope["data"]["problems"]} <= {"leftover"}
    instances = home / "session-sync" / "service" / "instances"
    with serving(home, variables) as spoken:
        spoken.ask(frame("health.probe"))
        assert len(list(instances.iterdir())) == 1
        spoken.close()
    assert list(instances.iterdir()) == []


def test_a_job_is_killed_and_taken_up(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    make_database(home)
    variables = bare_environment(tmp_path)
    items = [item(one) for one in MANY]
    about = {"idempotencyKey": "job", "source": "laptop", "mode": "backfill"}
    asked = frame("job.enqueue", 1, **about, items=items)
    killed = 0
    for wait in (0.1, 0.25, 0.15, None):
        with serving(home, variables) as spoken:
            answer = spoken.ask(asked, "job.result", "run.error")
            if wait is None or answer["payload"]["job"]["status"] == "completed":
                spoken.close()
                break
            time.sleep(wait)
            spoken.kill()
            killed += 1
    assert killed
    held = call_process(variables, "serve", "--json").envelope["data"]
    [job] = held["jobs"]
    assert job["status"] == "completed", json.dumps(job)
    assert job["statistics"]["done"] == len(items)
    assert state_of(home) == expected(tmp_path, MANY)
