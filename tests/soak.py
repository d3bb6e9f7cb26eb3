"""A soak of the import service: a home is written to and tailed, and processes are killed.

    python tests/soak.py                  # an hour
    python tests/soak.py --seconds 60

A writer adds turns to the sessions of one home; ``ingest`` with ``watch`` brings them into another
one, is killed now and then, as is its worker, and is started again; an operator syncs a package and
rolls it back beside it. In the end both homes hold the same.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
sys.path.insert(0, str(Path(__file__).parent))

from builders import Session, dump, write_snapshot
from service_frames import bare_environment
from servicebed import state_of
from workbench import call_process, make_database

SESSIONS = 30
OWN = Session(900, start=900).say("of the operator")


@dataclass
class Figures:
    """What a soak came to."""

    seconds: float = 0.0
    turns: int = 0
    kills_of_service: int = 0
    kills_of_worker: int = 0
    requests: int = 0
    transactions: int = 0
    syncs_beside: int = 0
    longest_sync_s: float = 0.0
    peak_mb: list[int] = field(default_factory=list)
    """The most memory of each process of the service, in their order."""
    longest_lag_s: float = 0.0


class Soak:
    """One soak in a folder."""

    def __init__(self, folder: Path, seconds: float, seed: int) -> None:
        self.source, self.home = folder / "source", folder / "home"
        self.home.mkdir()
        make_database(self.home)
        self.seconds = seconds
        self.figures = Figures()
        self.variables = bare_environment(folder)
        self._chance = random.Random(seed)
        self._sessions = [
            Session(n, start=10 * n, name=f"Session {n}").say(f"{n}: one") for n in range(SESSIONS)
        ]
        write_snapshot(self.source, self._sessions)
        write_snapshot(folder / "package", [OWN])
        self._package = folder / "package"
        self._end = time.monotonic() + seconds
        self._seen: dict[int, int] = {}

    def run(self) -> Figures:
        """Soak, let it come to rest, compare. Raises AssertionError."""
        began = time.monotonic()
        with ThreadPoolExecutor(2) as beside:
            working = [beside.submit(one) for one in (self._write, self._operate)]
            while time.monotonic() < self._end:
                left = self._end - time.monotonic()
                self._serve(min(self._chance.uniform(2, 20), left), kill=True)
            for one in working:
                one.result()
        self._serve(0.0, kill=False)
        self.figures.seconds = round(time.monotonic() - began, 1)
        self.figures.peak_mb = list(self._seen.values())
        listed = call_process(self.variables, "list-transactions", "--json").envelope
        assert listed["data"]["transactions"]
        self.figures.transactions = len(listed["data"]["transactions"])
        self._compare()
        return self.figures

    def _serve(self, seconds: float, *, kill: bool) -> None:
        """``ingest`` for a while, then killed, or until it has told all there is."""
        mode = "tail" if kill else "backfill"
        worker = [sys.executable, "-m", "codex_session_sync", "watch", str(self.source), "--stdio"]
        command = [sys.executable, "-m", "codex_session_sync", "ingest", "--json", "--execute"]
        command += ["--no-prime", "--source", "desk", "--mode", mode, "--"]
        process = subprocess.Popen(
            [*command, *worker, "--every", "0.2"],
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        until = time.monotonic() + seconds
        while process.poll() is None and (not kill or time.monotonic() < until):
            self._look(process.pid)
            if kill and self._chance.random() < 0.01:
                self._kill_worker()
            time.sleep(0.1)
        if kill and self._chance.random() < 0.5:
            process.kill()
            self.figures.kills_of_service += 1
        elif kill:
            process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=120)
        told = json.loads(out) if out else {"data": {}, "errors": []}
        if data := told["data"]:
            self.figures.requests += data["requests"]
            assert data["totals"]["failed"] == 0 or kill, data
        else:
            # Ended before it had begun, or killed.
            assert kill
            assert all(error["code"] == "interrupted" for error in told["errors"]), told
        assert b"Traceback" not in err, err

    def _look(self, pid: int) -> None:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            return
        for line in lines:
            if line.startswith("VmHWM:"):
                self._seen[pid] = int(line.split()[1]) >> 10
        for told in self._workers():
            self.figures.longest_lag_s = max(self.figures.longest_lag_s, told["lag_seconds"])

    def _workers(self) -> list[dict[str, Any]]:
        found = []
        for path in (self.home / "session-sync/service/instances").glob("*/worker.json"):
            try:
                found.append(json.loads(path.read_bytes()))
            except (OSError, ValueError):
                continue
        return found

    def _kill_worker(self) -> None:
        for told in self._workers():
            try:
                os.kill(told["pid"], signal.SIGKILL)
            except OSError:
                continue
            self.figures.kills_of_worker += 1

    def _write(self) -> None:
        """Add turns, record by record, as Codex does."""
        chance = random.Random(1)
        while time.monotonic() < self._end:
            place = chance.randrange(SESSIONS)
            before = self._sessions[place]
            after = before.say(f"{place}: turn {len(before.turns)} " + "more words " * 50)
            self._sessions[place] = after
            with (self.source / after.relative_path).open("ab") as stream:
                for record in after.records()[len(before.records()) :]:
                    stream.write(dump([record]))
                    stream.flush()
                    time.sleep(0.005)
            self.figures.turns += 1
            time.sleep(chance.random() * 0.4)

    def _operate(self) -> None:
        """What an operator does beside it, who gets a turn each time."""
        while time.monotonic() < self._end:
            began = time.monotonic()
            words = ("sync", self._package, "--execute", "--no-prime", "--json")
            done = call_process(self.variables, *words)
            if done.exit_code == 5:
                # A service was killed, and the next one has not begun yet.
                call_process(self.variables, "recover", "--execute", "--json")
                continue
            assert done.exit_code == 0, done.envelope["errors"]
            took = time.monotonic() - began
            self.figures.syncs_beside += 1
            self.figures.longest_sync_s = round(max(self.figures.longest_sync_s, took), 2)
            time.sleep(1.0)

    def _compare(self) -> None:
        """Both homes hold the same, and one more sync has nothing to do."""
        again = call_process(self.variables, "sync", self.source, "--json").envelope
        assert again["status"] == "no_op", again["data"]["counts"]
        files = state_of(self.home)["files"]
        assert len(files) == SESSIONS + 1
        for session in self._sessions:
            [found] = [data for name, data in files.items() if session.id in name]
            assert all(found.count(json.dumps(user).encode()) for user, _ in session.turns)
            # What follows the last entry may be on its way until the session goes on.
            assert len(session.records()) - 3 <= found.count(b"\n") <= len(session.records())
        health = call_process(self.variables, "sidecar-health", "--json").envelope["data"]
        assert {one["code"] for one in health["problems"]} <= {"leftover"}, health["problems"]


def main() -> None:
    """Soak as asked, and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = Soak(Path(folder), asked.seconds, asked.seed).run()
    print(json.dumps(vars(figures), indent=1))


if __name__ == "__main__":
    main()
