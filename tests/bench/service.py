"""The group of the import service: the same sessions as records, in chunks, and as a package."""

from __future__ import annotations

import base64
import gzip
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson

from bench.commands import execute, shell
from bench.homes import FEW_LARGE, MANY_SHORT, Shelf
from bench.measuring import Beside, Series, Step, emptied, forget
from bench.transcripts import empty_home

SYNC = "sync --execute"
BATCH_BYTES, BATCH_ITEMS = 8 << 20, 256
CHUNK_BYTES = 4 << 20

RECORDS_GOAL = 3.0
"""The service takes at most so many times as long as a sync takes for the files: it parses records,
writes them as a rollout and reads that, which a sync of a folder is spared."""


def serving(shelf: Shelf) -> Iterator[Series]:
    """What a sync brings in, brought in by frames."""
    for corpus in (FEW_LARGE, MANY_SHORT):
        home, scaled, size = shelf.home(corpus)
        steps = service_steps(home, shelf.scratch(), large=corpus is FEW_LARGE)
        yield Series("service", corpus.name, steps, scaled.sessions, size)


def service_steps(home: Path, root: Path, *, large: bool) -> tuple[Step, ...]:
    """A sync, and the service by each way in; in chunks only what is ``large``."""
    target, frames = root / "target", root / "frames.jsonl"
    beside = (Beside(SYNC, RECORDS_GOAL),)

    def fresh() -> None:
        forget()
        empty_home(emptied(target))

    def as_records() -> None:
        fresh()
        frames.write_bytes(b"".join(record_frames(home)))

    def in_chunks() -> None:
        fresh()
        frames.write_bytes(b"".join(chunk_frames(home)))

    def as_package() -> None:
        fresh()
        frames.write_bytes(_batch("package", [{"package": str(home.absolute())}]))

    def again() -> None:
        frames.write_bytes(_batch("package", [{"package": str(home.absolute())}]))

    serve = _served(frames, target)
    chunks = Step("serve, chunks", serve, in_chunks, beside=(Beside(SYNC),))
    return (
        Step(SYNC, execute(home, target), fresh, status="ok"),
        Step("serve, records", serve, as_records, beside=beside),
        *([chunks] if large else []),
        Step("serve, a package", serve, as_package, beside=beside),
        Step("serve, the same key", serve, again, beside=(Beside(SYNC),)),
    )


def record_frames(home: Path) -> Iterator[bytes]:
    """The sessions of a home as requests with records."""
    items: list[object] = []
    size = number = 0
    for path in sorted(home.glob("sessions/**/rollout-*.jsonl")):
        length = path.stat().st_size
        if items and (size + length > BATCH_BYTES or len(items) == BATCH_ITEMS):
            yield _batch(f"records/{number}", items)
            items, size, number = [], 0, number + 1
        records = [orjson.loads(line) for line in path.read_bytes().splitlines()]
        items.append({"fileName": path.name, "records": records})
        size += length
    yield _batch(f"records/{number}", items)


def chunk_frames(home: Path) -> Iterator[bytes]:
    """The sessions of a home in chunks."""
    for path in sorted(home.glob("sessions/**/rollout-*.jsonl")):
        data, name = path.read_bytes(), path.stem
        parts = range(0, len(data), CHUNK_BYTES)
        about = {"sourceProvider": "codex", "sourceSessionId": name[-36:], "fileName": path.name}
        for index, start in enumerate(parts):
            packed = gzip.compress(data[start : start + CHUNK_BYTES], 1)
            payload = {
                "idempotencyKey": name,
                "source": "bench",
                "mode": "backfill",
                "uploadId": name,
                "chunkIndex": index,
                "chunkTotal": len(parts),
                "encoding": "gzip+base64",
                "item": {**about, "sourceSessionFingerprint": str(len(data))},
                "data": base64.b64encode(packed).decode(),
            }
            yield _frame("import.chunk", payload)


def _batch(key: str, items: list[object]) -> bytes:
    about = {"idempotencyKey": key, "source": "bench", "mode": "backfill"}
    return _frame("import.batch", {**about, "items": items})


def _frame(kind: str, payload: object) -> bytes:
    document = {"type": kind, "runId": "bench", "payload": payload}
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


def _served(frames: Path, target: Path) -> list[str]:
    """The service on a file of frames; its exit code says that nothing failed."""
    words = [sys.executable, "-m", "codex_session_sync", "serve", "--stdio", "--execute"]
    program = shlex.join([*words, "--no-prime"])
    return shell(f'exec {program} --codex-home "$2" < "$1"', frames, target)
