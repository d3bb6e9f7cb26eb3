"""One turn more at the end of 300 MB: only that turn is written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from builders import Session, dump
from codex_session_sync.scan_cache import VARIABLE

SCRIPTS = Path(__file__).parents[2] / "scripts"
TRANSCRIPT_BYTES = 300 << 20
GROWTH_BYTES = 64 << 10

# A whole copy may be made by no other way either: what the process writes is counted by the system.
MEASURE = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, check=False)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"blocks": used.ru_oublock, "report": json.loads(done.stdout)}))
"""


def long_transcript(target: Path) -> None:
    """Many turns of some kilobytes each, under the name of session 1."""
    short = Session(1).say("How do I water?", "Slowly. " * 500)
    head, *turn = dump(short.records()).splitlines(keepends=True)
    target.parent.mkdir(parents=True)
    with target.open("wb") as stream:
        stream.write(head)
        while stream.tell() < TRANSCRIPT_BYTES:
            stream.write(b"".join(turn) * 64)


def one_more_turn() -> bytes:
    """A turn at the end, an hour later, its ordinals far beyond."""
    later = Session(1, start=60).say("And when?", "In the evening.")
    records = later.records()[3:]
    return dump({**record, "ordinal": 10_000_000 + n} for n, record in enumerate(records))


def sizes(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def sync(package: Path, home: Path) -> dict[str, Any]:
    """The report of a sync, and how many blocks it wrote; what it finds is kept nowhere."""
    command = [sys.executable, "-m", "codex_session_sync", "sync", str(package), "--execute"]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            MEASURE,
            *command,
            "--no-prime",
            "--codex-home",
            str(home),
            "--json",
        ],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS), VARIABLE: "off"},
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_only_the_new_turn_is_written(tmp_path: Path) -> None:
    home, package = tmp_path / "home", tmp_path / "package"
    local = home / Session(1).relative_path
    long_transcript(local)
    incoming = package / Session(1).relative_path
    incoming.parent.mkdir(parents=True)
    shutil.copyfile(local, incoming)
    tail = one_more_turn()
    with incoming.open("ab") as stream:
        stream.write(tail)

    # The pages that the test itself has written must not be counted as the program's.
    os.sync()
    before, inode = sizes(home), local.stat().st_ino
    found = sync(package, home)
    [session] = found["report"]["data"]["sessions"]
    assert (session["classification"], session["result"]) == (
        "fast_forward_import",
        "fast_forwarded",
    )
    after = sizes(home)
    assert local.stat().st_ino == inode
    grown = after[local] - before[local]
    assert 0 < grown < 2 * len(tail)
    assert sum(after.values()) - sum(before.values()) < GROWTH_BYTES
    assert found["blocks"] * 512 < 4 << 20
    with local.open("rb") as mine, incoming.open("rb") as theirs:
        place = 0
        while place < before[local]:
            size = min(8 << 20, before[local] - place)
            assert mine.read(size) == theirs.read(size)
            place += size
        texts = [json.loads(line)["payload"] for line in mine.read().splitlines()]
    said = [part["text"] for p in texts if p.get("role") for part in p["content"]]
    assert said == ["And when?", "In the evening."]
    assert sync(package, home)["report"]["status"] == "no_op"
