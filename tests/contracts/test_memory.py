"""Memory does not grow with a transcript: 300 MB are inspected and imported within 150 MB."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from builders import Session, dump

SCRIPTS = Path(__file__).parents[2] / "scripts"
TRANSCRIPT_BYTES = 300 << 20
LIMIT_KIB = 150 << 10

# resource counts the largest child; one child a measuring process keeps the figures apart.
MEASURE = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, check=False)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({"peak": peak, "report": json.loads(done.stdout)}))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one long session: many turns of some kilobytes each."""
    folder = tmp_path_factory.mktemp("long")
    short = Session(1).say("How do I water?", "Slowly. " * 500)
    head, *turn = dump(short.records()).splitlines(keepends=True)
    with (folder / short.file_name).open("wb") as target:
        target.write(head)
        block = b"".join(turn)
        while target.tell() < TRANSCRIPT_BYTES:
            target.write(block * 64)
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="needs the POSIX resource module")
@pytest.mark.parametrize("command", [["inspect-package"], ["sync", "--execute", "--no-prime"]])
def test_a_long_transcript_in_little_memory(
    package: Path, command: list[str], tmp_path: Path
) -> None:
    called = [sys.executable, "-m", "codex_session_sync", *command, str(package)]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *called, "--codex-home", str(tmp_path), "--json"],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        stdout=subprocess.PIPE,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["report"]["exit_code"] == 0
    assert found["report"]["data"]["sessions"][0]["classification"] == "new_lineage"
    assert found["peak"] < LIMIT_KIB
