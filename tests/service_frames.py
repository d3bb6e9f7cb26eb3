"""The import service at work: as a process that is spoken to, and frames for it."""

from __future__ import annotations

import base64
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import zstandard

from builders import Record, Session

Json = dict[str, Any]
SECONDS = 60.0


def item(session: Session, records: Sequence[Record] | None = None, **more: Any) -> Json:
    """A session as an item of a request."""
    found: Json = {
        "sourceProvider": "codex",
        "sourceSessionId": session.id,
        "sourceSessionFingerprint": f"{len(session.turns)} turns",
        "fileName": session.file_name,
        "records": session.records() if records is None else list(records),
    }
    if session.name:
        found["name"] = session.name
    if session.archived:
        found["archived"] = True
    return found | more


def frame(kind: str, seq: int | None = None, run: str = "run-1", **payload: Any) -> Json:
    """A frame."""
    found: Json = {"type": kind, "runId": run}
    if seq is not None:
        found["seq"] = seq
    return found | {"payload": payload}


def batch(
    key: str, items: Sequence[Json], seq: int | None = None, source: str = "laptop", **more: Any
) -> Json:
    """An ``import.batch``."""
    told = {"idempotencyKey": key, "source": source, "mode": "tail", **more}
    return frame("import.batch", seq, **told, items=list(items))


def chunks(
    session: Session,
    key: str,
    upload: str,
    count: int,
    encoding: str = "gzip+base64",
    **more: Any,
) -> list[Json]:
    """A session as that many ``import.chunk``, compressed as a whole and cut."""
    data = session.data()
    packed = (
        zstandard.compress(data) if encoding.startswith("zstd") else gzip.compress(data, mtime=0)
    )
    step = -(-len(packed) // count)
    about = {k: v for k, v in item(session).items() if k != "records"}
    return [
        frame(
            "import.chunk",
            100 + place,
            idempotencyKey=key,
            source="laptop",
            mode="tail",
            uploadId=upload,
            chunkIndex=place,
            chunkTotal=count,
            encoding=encoding,
            item=about,
            data=base64.b64encode(packed[place * step : (place + 1) * step]).decode(),
        )
        | more
        for place in range(count)
    ]


def changed(one: Json, **payload: Any) -> Json:
    """A frame with another payload."""
    return {**one, "payload": {**one["payload"], **payload}}


def line(one: Json | bytes) -> bytes:
    """A frame as it is sent."""
    return one if isinstance(one, bytes) else json.dumps(one).encode() + b"\n"


class Spoken:
    """A process that speaks frames; what it says is read all the time."""

    def __init__(self, command: Sequence[str], variables: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            command,
            env=dict(variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.said: Queue[Json | None] = Queue()
        self.errors: list[bytes] = []
        self._readers = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for data in stream:
                if data.endswith(b"\n"):
                    self.said.put(json.loads(data))
        self.said.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            self.errors += stream

    def send(self, *frames: Json | bytes) -> None:
        """Send frames; nothing is said of a process that is gone."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError, ValueError):
            for one in frames:
                self.process.stdin.write(line(one))
            self.process.stdin.flush()

    def next(self, *kinds: str, seconds: float = SECONDS) -> Json:
        """The next frame, or the next of these types."""
        while True:
            try:
                found = self.said.get(timeout=seconds)
            except Empty:
                raise AssertionError(f"it says nothing: {b''.join(self.errors)!r}") from None
            assert found is not None, b"".join(self.errors)
            if not kinds or found["type"] in kinds:
                return found

    def ask(self, one: Json, *kinds: str) -> Json:
        """Send a frame and wait for its answer, progress left out."""
        self.send(one)
        wanted = kinds or ("import.result", "run.error", "job.result", "health.status")
        return self.next(*wanted)

    def close(self) -> list[Json]:
        """End its stdin, wait for its end; what it still says."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        found = []
        while (one := self.said.get(timeout=SECONDS)) is not None:
            found.append(one)
        self.process.wait(SECONDS)
        return found

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        self.process.wait(SECONDS)
        for reader in self._readers:
            reader.join(SECONDS)
        with suppress(BrokenPipeError):
            assert self.process.stdin is not None
            self.process.stdin.close()


@contextmanager
def serving(
    home: Path, variables: Mapping[str, str], *options: str, execute: bool = True
) -> Iterator[Spoken]:
    """``serve --stdio`` on a home."""
    command = [sys.executable, "-m", "codex_session_sync", "serve", "--stdio", "--no-prime"]
    command += ["--codex-home", str(home), *(["--execute"] if execute else []), *options]
    spoken = Spoken(command, variables)
    try:
        yield spoken
    finally:
        if spoken.process.poll() is None:
            spoken.kill()
        else:
            with suppress(BrokenPipeError):
                assert spoken.process.stdin is not None
                spoken.process.stdin.close()


def answers(frames: Iterable[Json], kind: str = "import.result") -> list[Json]:
    """The payloads of the frames of one type."""
    return [one["payload"] for one in frames if one["type"] == kind]


def bare_environment(folder: Path, **more: str) -> dict[str, str]:
    """The variables of ``workbench.environment``, and where the cache of this run is."""
    from workbench import environment

    return {**environment(folder), "CODEX_SESSION_SYNC_CACHE": "off", **more, "PATH": os.defpath}
