"""The measuring of packages works, and what it measures is like what sessions hold."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from bench.packages import CORPORA, ROWS
from bench.transcripts import Corpus
from codex_session_sync.codex.inventory import rollout_file
from codex_session_sync.transcript import scan

SCRIPT = Path(__file__).parent / "packages.py"
LIMIT_MB = 150

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs wait4 and tar")


def test_every_row_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    options = ["--scale", "0.001", "--runs", "1", "--out", str(out), "--folder", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, SCRIPT, *options], capture_output=True, text=True, check=True
    )
    document = json.loads(out.read_bytes())
    measured = [(row["corpus"], row["command"]) for row in document["rows"]]
    assert measured == [(corpus.name, row.name) for corpus in CORPORA for row in ROWS]
    assert len(done.stdout.splitlines()) == 2 + len(measured)
    for row in document["rows"]:
        assert 0 < row["peak_mb"] < LIMIT_MB
        assert all(one["wall"] > 0 for one in row["beside"])
    assert str(tmp_path) not in json.dumps(document)
    assert list(tmp_path.iterdir()) == [out]


def test_transcripts_are_whole_and_compress_as_text_does(tmp_path: Path) -> None:
    size = Corpus("some", 2, 3_000_000).make(tmp_path)
    again = tmp_path / "again"
    assert Corpus("some", 2, 3_000_000).make(again) == size
    files = sorted(tmp_path.glob("sessions/**/*.jsonl"))
    data = [path.read_bytes() for path in files]
    assert data == [path.read_bytes() for path in sorted(again.glob("sessions/**/*.jsonl"))]
    assert (len(data), sum(map(len, data))) == (2, size)
    for path, content in zip(files, data, strict=True):
        file = rollout_file(path, path.name, len(content), 0, archived=False)
        assert file is not None
        transcript = scan(file, lambda _: None)
        assert (transcript.facts.unreadable, transcript.facts.torn) == (0, False)
        assert len(transcript.chain) > 1000
        ratio = len(zstandard.ZstdCompressor(level=3).compress(content)) / len(content)
        assert 0.15 < ratio < 0.35
