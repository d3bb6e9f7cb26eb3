"""A worker in another language, the import service, and the real Codex on both sides."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from builders import Session
from codexbed import CodexHome, ModelServer, codex_binary, doctor, rollout_files, view
from real_codex.syncing import SCRIPTS, call, differences, fresh_home, listed, plan, said

NODE = shutil.which("node")
WORKER = Path(__file__).parents[1] / "workers" / "tail.mjs"
LARGE_BYTES = 100_000_000
MEMORY_MB = 220

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="needs Node.js"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is told by /proc"),
]


@contextmanager
def ingesting(home: CodexHome, source: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """``ingest`` with the worker on a folder."""
    command = [sys.executable, "-m", "codex_session_sync", "ingest", "--json", "--execute"]
    command += ["--codex-home", str(home.home), "--codex-bin", str(codex_binary(home.version))]
    command += [*options, "--", str(NODE), str(WORKER), str(source)]
    with subprocess.Popen(
        command,
        env={**home.env(), "PYTHONPATH": str(SCRIPTS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def data_of(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    out, err = process.communicate(timeout=120)
    assert out, err.decode()
    found: dict[str, Any] = json.loads(out)
    # A session that Codex writes to at that moment is refused, and sent again later.
    assert {error["code"] for error in found["errors"]} <= {"requests_failed"}, found
    data: dict[str, Any] = found["data"]
    return data


def peak_mb(process: subprocess.Popen[bytes]) -> list[int]:
    """The most memory that a process has had so far, watched until its end."""
    seen = [0]

    def look() -> None:
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                return
            for line in status.splitlines():
                if line.startswith("VmHWM:"):
                    seen[0] = max(seen[0], int(line.split()[1]) >> 10)
            time.sleep(0.05)

    threading.Thread(target=look, daemon=True).start()
    return seen


def test_a_session_of_100_mb_comes_in_chunks(model: ModelServer, tmp_path: Path) -> None:
    large = Session(1, start=10)
    while not large.turns or len(large.turns) * large_turn(large) < LARGE_BYTES:
        large = large.say(f"{len(large.turns)} " + "of a long conversation " * 20_000, "Yes.")
    source = tmp_path / "source"
    path = source / large.relative_path
    path.parent.mkdir(parents=True)
    path.write_bytes(large.data())
    assert path.stat().st_size > LARGE_BYTES
    home = fresh_home(tmp_path / "user", tmp_path / "home", model)
    with ingesting(home, source, "--mode", "backfill") as process:
        peak = peak_mb(process)
        data = data_of(process)
    assert data["totals"] == {"imported": 1, "upserted": 0, "skipped": 0, "failed": 0}
    assert peak[0] < MEMORY_MB, f"{peak[0]} MB"
    assert plan(home, source).status == "no_op"
    assert call(home, "verify", "--codex-bin", codex_binary(home.version)).status == "ok"


def large_turn(session: Session) -> int:
    """The bytes of the last turn."""
    return sum(len(json.dumps(record)) for record in session._turn(0, *session.turns[-1]))


def test_a_home_is_tailed_while_codex_writes_to_it(model: ModelServer, tmp_path: Path) -> None:
    """What Codex shows here is what it shows there, turn by turn, and here nobody has to wait."""
    source = CodexHome(tmp_path / "source", tmp_path / "user", model).prepare()
    home = fresh_home(source.user_home, tmp_path / "home", model)
    with source.app_server() as app, ingesting(home, source.home, "--source", "desk") as process:
        one = app.start(source.project)
        app.start_turn(one, "first: one")
        until_here(home, one, "first: one")
        two = app.start(source.project)
        for number in range(4):
            app.start_turn(two, f"second: {number}")
            app.start_turn(one, f"first: {number}")
        fork = app.fork(one)
        app.start_turn(fork, "the fork goes on")
        until_here(home, two, "second: 3")
        until_here(home, one, "first: 3")
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        data = data_of(process)
    assert data["ended"] == "stopped"
    assert data["totals"]["upserted"] >= 2
    assert data["totals"]["imported"] == 3
    ids = [one, two, fork]
    there, here = view(source, ids), view(home, ids)
    for session in ids:
        assert differences(there[session], here[session]) == {}
    assert said(here[fork])[-1] == "the fork goes on"
    assert set(listed(home)) == set(ids)
    assert doctor(home)["status"] == "ok"
    assert plan(home, source.home).status in ("no_op", "dry_run")


def until_here(home: CodexHome, session: str, words: str) -> None:
    """Wait until a session has come in so far."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        found = [path for path in rollout_files(home.home) if session in path.name]
        if any(words.encode() in path.read_bytes() for path in found):
            return
        time.sleep(0.1)
    raise AssertionError(f"{words!r} did not come")
