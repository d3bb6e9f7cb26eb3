"""Workers, started and watched over: real processes that die, fall silent, do not stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from builders import Session, write_snapshot
from service_frames import bare_environment, batch, item
from servicebed import transcripts
from workbench import Outcome, call_process

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

ROSES = Session(1, start=10).say("How do I prune roses?")
COMPOST = Session(2, start=20, name="Compost").say("What goes on the heap?")

HEAD = """
import json, os, sys, time
def say(kind, seq=None, **payload):
    frame = {"type": kind, "runId": run, "payload": payload}
    if seq is not None: frame["seq"] = seq
    sys.stdout.write(json.dumps(frame) + "\\n"); sys.stdout.flush()
def hear(*kinds):
    for line in sys.stdin:
        frame = json.loads(line)
        if frame["type"] in kinds: return frame
    sys.exit(9)
run = "none"
began = hear("run.start"); run = began["runId"]; told = began["payload"]
def batch(key, number):
    request = json.load(open(sys.argv[1]))[number]["payload"]
    about = {"idempotencyKey": key, "source": told["source"], "mode": told["mode"]}
    say("import.batch", 1, **{**request, **about})
    return hear("import.result", "run.error")
def end():
    say("run.complete"); hear("run.complete"); sys.exit(0)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    requests = [batch("", [item(one)]) for one in (ROSES, COMPOST)]
    (tmp_path / "requests.json").write_text(json.dumps(requests))
    return tmp_path


def worker(place: Path, body: str) -> list[str]:
    script = place / "worker.py"
    script.write_text(HEAD + body)
    return [sys.executable, str(script), str(place / "requests.json"), str(place)]


def options(*more: str, execute: bool = True) -> list[str]:
    return ["ingest", "--json", "--no-prime", *(["--execute"] if execute else []), *more, "--"]


def ingest(place: Path, body: str, *more: str, execute: bool = True) -> Outcome:
    words = [*options(*more, execute=execute), *worker(place, body)]
    return call_process(bare_environment(place), *words)


@contextmanager
def ingesting(place: Path, command: list[str], *more: str) -> Iterator[subprocess.Popen[bytes]]:
    words = [sys.executable, "-m", "codex_session_sync", *options(*more), *command]
    with subprocess.Popen(
        words, env=bare_environment(place), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[bytes], sent: int) -> dict[str, Any]:
    process.send_signal(sent)
    out, err = process.communicate(timeout=30)
    assert out, err
    found: dict[str, Any] = json.loads(out)
    assert found["exit_code"] == process.returncode
    return found


def wait_for(what: Any, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


def told_of_workers(place: Path) -> list[Path]:
    service = place / "home" / "session-sync" / "service"
    return list(service.glob("instances/*/worker.json"))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def test_a_backfill_is_a_job(place: Path) -> None:
    done = ingest(place, "batch('1', 0); batch('2', 1); end()", "--mode", "backfill")
    assert (done.exit_code, done.envelope["status"], done.err) == (0, "ok", "")
    data = done.envelope["data"]
    assert (data["source"], data["ended"]) == (Path(sys.executable).stem, "completed")
    assert (data["requests"], data["totals"]["imported"]) == (2, 2)
    held = call_process(bare_environment(place), "serve", "--json").envelope["data"]
    [job] = held["jobs"]
    assert (job["jobId"], job["kind"], job["status"]) == (data["job_id"], "worker", "completed")
    assert job["statistics"]["totals"]["imported"] == 2
    assert held["workers"] == []


def test_a_worker_that_dies_is_started_again(place: Path) -> None:
    """The second time it sends the same again, and the answer is the first one."""
    body = """
mark = sys.argv[2] + "/died"
first = batch("1", 0)
if not os.path.exists(mark):
    open(mark, "w"); sys.stderr.write("I die\\n"); sys.stdout.write('{"type":"import.ba')
    sys.stdout.flush(); os._exit(3)
assert first["payload"]["repeated"]
batch("2", 1); end()
"""
    done = ingest(place, body, "--source", "laptop", "--mode", "backfill")
    data = done.envelope["data"]
    assert (data["ended"], data["worker"]["starts"], data["repeated"]) == ("completed", 2, 1)
    assert data["refused"] == 1  # what was cut off
    assert done.exit_code == 1
    assert len(transcripts(place / "home")) == 2
    log = place / "home" / "session-sync" / "service" / "logs" / "worker-laptop.log"
    assert log.read_text() == "I die\n"
    assert data["worker"]["log"] == str(log)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("sys.exit(3)", "worker_ended"),
        ("sys.exit(0)", "worker_ended"),
        ("say('run.error', code='sources_gone', message='x'); sys.exit(1)", "sources_gone"),
        ("say('run.complete'); sys.exit(4)", "worker_ended"),
    ],
)
def test_it_is_given_up_after_some_failures(place: Path, body: str, problem: str) -> None:
    done = ingest(place, body, "--mode", "backfill", "--restarts", "1")
    assert (done.exit_code, done.codes) == (1, ["worker_failed"])
    assert problem in done.envelope["errors"][0]["message"]
    data = done.envelope["data"]
    assert (data["ended"], data["worker"]["starts"]) == ("failed", 2)
    [job] = call_process(bare_environment(place), "serve", "--json").envelope["data"]["jobs"]
    assert (job["status"], job["error"]) == ("failed", "worker_failed")


def test_somebody_who_waits_is_told_of_a_failure(place: Path) -> None:
    words = ["ingest", "--no-prime", "--restarts", "1", "--", *worker(place, "sys.exit(3)")]
    done = call_process(bare_environment(place), *words)
    assert "exit code 3 (worker_ended); it is started again in 0.5 s" in done.err
    assert "already has all" not in done.out.decode()
    quiet = call_process(bare_environment(place), *words[:1], "--json", *words[1:])
    assert quiet.err.count("\n") == 0


def test_a_job_goes_on_while_there_is_no_worker(place: Path) -> None:
    body = """
mark = sys.argv[2] + "/asked"
if not os.path.exists(mark):
    open(mark, "w")
    requests = [one["payload"]["items"][0] for one in json.load(open(sys.argv[1]))]
    say("job.enqueue", 1, idempotencyKey="job", source=told["source"], mode="backfill",
        items=requests * 100)
    hear("job.result"); os._exit(3)
while True:
    say("job.list", 2)
    job = hear("job.result")["payload"]["jobs"][0]
    if job["status"] == "completed": end()
    time.sleep(0.1)
"""
    with ingesting(place, worker(place, body), "--source", "laptop") as process:
        out, _ = process.communicate(timeout=40)
    data = json.loads(out)["data"]
    assert (data["ended"], data["worker"]["starts"]) == ("completed", 2)
    assert data["totals"]["imported"] == 2
    assert data["totals"]["skipped"] == 198


def test_a_silent_worker_is_started_again(place: Path) -> None:
    body = """
mark = sys.argv[2] + "/silent"
if not os.path.exists(mark):
    open(mark, "w"); time.sleep(600)
hear("health.probe"); say("health.status", lagSeconds=7.5)
batch("1", 0); end()
"""
    began = time.monotonic()
    done = ingest(place, body, "--mode", "backfill", "--silence", "0.6")
    assert time.monotonic() - began < 20
    data = done.envelope["data"]
    assert (data["ended"], data["worker"]["starts"]) == ("completed", 2)
    assert data["worker"]["lag_seconds"] >= 7.5


def test_a_deaf_worker_is_started_again(place: Path) -> None:
    """It writes and never reads: the answers fill the pipe, and the service does not hang."""
    body = """
mark = sys.argv[2] + "/deaf"
if not os.path.exists(mark):
    open(mark, "w")
    while True: say("job.status", jobId="x" * 60)
end()
"""
    done = ingest(place, body, "--mode", "backfill", "--silence", "0.6")
    data = done.envelope["data"]
    assert (data["ended"], data["worker"]["starts"]) == ("completed", 2)
    assert data["refused"] > 100


def test_a_tail_goes_on_until_it_is_stopped(place: Path) -> None:
    body = """
batch("1", 0)
stop = hear("run.stop"); assert stop["payload"]["reason"] == "stopped"
batch("2", 1); end()
"""
    with ingesting(place, worker(place, body), "--source", "laptop") as process:
        wait_for(lambda: transcripts(place / "home"))
        wait_for(lambda: told_of_workers(place))
        held = call_process(bare_environment(place), "serve", "--json").envelope["data"]
        assert held["workers"][0]["source"] == "laptop"
        found = ended(process, signal.SIGTERM)
    assert (found["exit_code"], found["data"]["ended"]) == (0, "stopped")
    assert found["data"]["totals"]["imported"] == 2
    assert told_of_workers(place) == []


def test_a_worker_is_told_of_as_long_as_its_service_lives(place: Path) -> None:
    with ingesting(place, worker(place, 'batch("1", 0); hear("run.stop")')) as process:
        wait_for(lambda: told_of_workers(place))
        process.kill()
        process.wait()
    assert len(told_of_workers(place)) == 1
    held = call_process(bare_environment(place), "serve", "--json").envelope["data"]
    assert held["workers"] == []


def test_a_worker_that_does_not_stop_is_ended_with_what_it_started(place: Path) -> None:
    body = """
import signal, subprocess
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[2] + "/pids", "w").write(f"{os.getpid()} {child.pid}")
while True: time.sleep(1)
"""
    with ingesting(place, worker(place, body), "--stop", "0.5") as process:
        pids = place / "pids"
        wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)
        began = time.monotonic()
        found = ended(process, signal.SIGINT)
        assert time.monotonic() - began < 10
    assert found["data"]["ended"] == "stopped"
    assert not any(alive(int(pid)) for pid in pids.read_text().split())


def test_a_job_that_is_cancelled_stops_its_worker(place: Path) -> None:
    from service_frames import frame, serving

    body = "batch('1', 0); stop = hear('run.stop'); end()"
    with ingesting(place, worker(place, body), "--mode", "backfill") as process:
        wait_for(lambda: transcripts(place / "home"))
        with serving(place / "home", bare_environment(place)) as spoken:
            [job] = spoken.ask(frame("job.list"))["payload"]["jobs"]
            spoken.ask(frame("job.cancel", jobId=job["jobId"]))
            spoken.close()
        out, _ = process.communicate(timeout=30)
    data = json.loads(out)["data"]
    assert data["ended"] == "cancelled"
    [job] = call_process(bare_environment(place), "serve", "--json").envelope["data"]["jobs"]
    assert job["status"] == "cancelled"


def test_one_backfill_of_a_source_at_a_time(place: Path) -> None:
    body = "batch('1', 0); hear('run.stop'); end()"
    told = ("--mode", "backfill", "--source", "laptop")
    with ingesting(place, worker(place, body), *told) as process:
        wait_for(lambda: transcripts(place / "home"))
        other = ingest(place, "end()", *told)
        assert (other.exit_code, other.codes) == (4, ["backfill_active"])
        tail = ingest(place, "batch('t', 1); sys.exit(3)", *told[2:], "--restarts", "0")
        assert tail.codes == ["worker_failed"]  # it was started, and that is how it ended
        assert len(transcripts(place / "home")) == 2
        assert ended(process, signal.SIGTERM)["data"]["ended"] == "stopped"
    [job] = call_process(bare_environment(place), "serve", "--json").envelope["data"]["jobs"]
    assert (job["status"], job["error"]) == ("failed", "interrupted")
    again = ingest(place, "assert batch('1', 0)['payload']['repeated']; end()", *told)
    assert again.envelope["data"]["ended"] == "completed"


def test_another_source_is_refused(place: Path) -> None:
    body = """
told["source"] = "other"
assert batch("1", 0)["payload"]["code"] == "source_refused"
end()
"""
    done = ingest(place, body, "--mode", "backfill")
    assert done.codes == ["requests_failed"]
    assert transcripts(place / "home") == {}


def test_without_execute_nothing_is_written(place: Path) -> None:
    done = ingest(place, "assert told['planned']; batch('1', 0); end()", execute=False)
    assert (done.exit_code, done.envelope["status"]) == (0, "dry_run")
    assert done.envelope["data"]["totals"]["imported"] == 1
    assert list((place / "home").iterdir()) == []


def test_a_worker_that_cannot_be_started(place: Path) -> None:
    done = call_process(bare_environment(place), *options(), str(place / "nothing"))
    assert (done.exit_code, done.codes) == (2, ["worker_not_started"])


def test_a_worker_that_is_done_may_take_its_time_to_end(place: Path) -> None:
    body = "say('run.complete'); hear('run.complete'); os.close(1); time.sleep(2.5); os._exit(0)"
    done = ingest(place, body, "--mode", "backfill", "--restarts", "0")
    assert done.envelope["data"]["ended"] == "completed"


LEFT = """
import subprocess
mark = sys.argv[2] + "/left"
if not os.path.exists(mark):
    child = subprocess.Popen([sys.executable, "-c", CHILD], start_new_session=APART)
    open(mark, "w").write(str(child.pid)); os._exit(3)
end()
"""
FLOOD = """
import signal, sys
signal.alarm(60)
while True: sys.stdout.write("garbage\\n")
"""


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("child", ["import time; time.sleep(60)", FLOOD])
def test_what_a_worker_left_behind_holds_nothing_up(place: Path, child: str, apart: bool) -> None:
    """It has the worker's streams, writes without reading or says nothing, and may be apart."""
    body = f"CHILD = {child!r}; APART = {apart}\n{LEFT}"
    done = ingest(place, body, "--mode", "backfill", "--silence", "1")
    data = done.envelope["data"]
    assert (data["ended"], data["worker"]["starts"]) == ("completed", 2)
    pid = int((place / "left").read_text())
    with suppress(OSError):
        os.kill(pid, signal.SIGKILL)


def test_a_log_that_cannot_be_written_ends_no_worker(place: Path) -> None:
    (place / "home/session-sync/service/logs/laptop.log").mkdir(parents=True)
    body = "[sys.stderr.write('x' * 99999) for _ in range(9)]; batch('1', 0); end()"
    done = ingest(place, body, "--mode", "backfill", "--source", "laptop")
    data = done.envelope["data"]
    assert (data["ended"], data["worker"]["starts"]) == ("completed", 1)


def test_a_worker_that_is_not_there_for_a_while(place: Path) -> None:
    script, spare = place / "worker", place / "spare"
    script.write_text(f"#!/bin/sh\nmv '{script}' '{spare}'\nexit 3\n")
    script.chmod(0o755)
    words = ["ingest", "--json", "--no-prime", "--restarts", "1", "--", str(script)]
    done = call_process(bare_environment(place), *words)
    assert spare.exists()
    assert (done.exit_code, done.codes) == (1, ["worker_failed"])
    assert "worker_not_started" in done.envelope["errors"][0]["message"]


@pytest.mark.parametrize("name", ["a\nb", "x" * 201, os.fsdecode(b"a\xff")])
def test_a_source_that_no_request_can_name(place: Path, name: str) -> None:
    done = ingest(place, "end()", "--source", name)
    assert (done.exit_code, done.codes) == (2, ["usage"])


# The worker that ships


def watch(folder: Path, *more: str) -> list[str]:
    every = ("--stdio", "--every", "0.1", *more)
    return [sys.executable, "-m", "codex_session_sync", "watch", str(folder), *every]


def test_an_inbox_is_watched(place: Path) -> None:
    inbox, home = place / "inbox", place / "home"
    inbox.mkdir()
    (inbox / ".hidden").write_bytes(b"x")
    (inbox / "later.tar.part").write_bytes(b"x")
    with ingesting(place, watch(inbox), "--source", "inbox") as process:
        write_snapshot(inbox / "first", [ROSES])
        wait_for(lambda: len(transcripts(home)) == 1)
        (inbox / "junk").write_bytes(b"no package")
        write_snapshot(inbox / "second", [COMPOST])
        wait_for(lambda: len(transcripts(home)) == 2)
        write_snapshot(inbox / "first", [ROSES.say("More")])
        more = len(ROSES.say("More").records())
        wait_for(lambda: any(data.count(b"\n") == more for data in transcripts(home).values()))
        found = ended(process, signal.SIGTERM)
    assert found["errors"][0]["code"] == "requests_failed"  # the junk
    assert found["data"]["worker"]["exit_code"] == 0
    assert found["data"]["totals"]["imported"] == 2


def test_a_delta_that_lies_before_its_base_comes_in(place: Path) -> None:
    """They are told in the order of their times."""
    variables, inbox, there = bare_environment(place), place / "inbox", place / "there"
    home = ("--codex-home", there)
    write_snapshot(there, [ROSES])
    inbox.mkdir()
    call_process(variables, "pack", "-o", inbox / "2", *home)
    (place / "have.json").write_bytes(call_process(variables, "have", "--json", *home).out)
    write_snapshot(there, [ROSES.say("More")])
    call_process(variables, "pack", "-o", inbox / "1", "--have", place / "have.json", *home)
    os.utime(inbox / "1", (0, 0))
    words = options("--mode", "backfill", "--source", "desk")
    done = call_process(variables, *words, *watch(inbox))
    totals = done.envelope["data"]["totals"]
    assert [totals[key] for key in ("imported", "upserted", "failed")] == [1, 1, 1]
    [data] = transcripts(place / "home").values()
    assert data == ROSES.say("More").data()


def test_another_home_is_watched(place: Path) -> None:
    source, home = place / "source", place / "home"
    write_snapshot(source, [ROSES])
    with ingesting(place, watch(source), "--source", "desk") as process:
        wait_for(lambda: len(transcripts(home)) == 1)
        write_snapshot(source, [ROSES.say("More"), COMPOST])
        wait_for(lambda: len(transcripts(home)) == 2)
        index = home / "session_index.jsonl"
        wait_for(lambda: index.exists() and "Compost" in index.read_text())
        found = ended(process, signal.SIGTERM)
    assert found["errors"] == []
    assert found["data"]["totals"]["failed"] == 0
    # Started again it tells all of it once more, and nothing is done.
    with ingesting(place, watch(source), "--source", "desk") as process:
        wait_for(lambda: told_of_workers(place))
        time.sleep(1)
        assert ended(process, signal.SIGTERM)["status"] == "no_op"


def test_it_is_piped_into_a_service(place: Path) -> None:
    inbox = place / "inbox"
    write_snapshot(inbox / "first", [ROSES, COMPOST])
    variables = bare_environment(place)
    words = [*watch(inbox, "--once"), "--source", "inbox"]
    told = subprocess.run(words, env=variables, capture_output=True, check=True, timeout=60)
    serve = ("serve", "--stdio", "--execute", "--no-prime")
    done = subprocess.run(
        [sys.executable, "-m", "codex_session_sync", *serve],
        env=variables,
        input=told.stdout,
        capture_output=True,
        check=True,
        timeout=60,
    )
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["type"], last["payload"]["totals"]["imported"]) == ("run.complete", 2)
    assert len(transcripts(place / "home")) == 2


def test_a_long_answer_is_heard(place: Path) -> None:
    """As of a package with tens of thousands of sessions."""
    write_snapshot(place / "inbox" / "one", [ROSES])
    item = {
        "result": "imported",
        "reason": None,
        "retryable": False,
        "sessions": ["x" * (17 << 20)],
    }
    with subprocess.Popen(
        watch(place / "inbox"),
        env=bare_environment(place),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        into = process.stdin
        assert into is not None
        assert process.stdout is not None

        def say(kind: str, seq: int | None, payload: Any) -> None:
            frame = {"type": kind, "runId": "r", "payload": payload, "seq": seq}
            into.write(json.dumps(frame).encode() + b"\n")
            into.flush()

        say("run.start", None, {"source": "inbox", "mode": "backfill"})
        asked = json.loads(process.stdout.readline())
        say("import.result", asked["seq"], {"items": [item]})
        said = threading.Timer(30.0, process.kill)
        said.start()
        assert json.loads(process.stdout.readline() or "{}").get("type") == "run.complete"
        said.cancel()
        process.kill()


def test_what_it_would_tell(place: Path) -> None:
    inbox = place / "inbox"
    write_snapshot(inbox / "b", [ROSES])
    write_snapshot(inbox / "a", [COMPOST])
    done = call_process(bare_environment(place), "watch", inbox, "--json").envelope
    assert (done["data"]["kind"], done["data"]["items"]) == ("inbox", ["a", "b"])
    done = call_process(bare_environment(place), "watch", inbox / "a", "--json").envelope
    assert (done["data"]["kind"], done["data"]["items"]) == ("home", [COMPOST.id])
    for name in ("session_index.jsonl", "installation_id", "state_5.sqlite"):
        bare = place / name / "bare"
        bare.mkdir(parents=True)
        (bare / name).write_bytes(b"")
        done = call_process(bare_environment(place), "watch", bare, "--json").envelope
        assert (done["data"]["kind"], done["data"]["items"]) == ("home", [])
    done = call_process(bare_environment(place), "watch", inbox, "--once", "--json").envelope
    assert done["errors"][0]["code"] == "usage"
