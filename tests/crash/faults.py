"""Points in the execution of a sync or a recovery at which something can be made to go wrong.

As a program it runs the command line with a fault: a signal at the n-th passage of a point.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from codex_session_sync import apply, recovery, staging
from codex_session_sync.cli.main import main
from codex_session_sync.codex.state_db import StateDb
from codex_session_sync.journal import files, log, playback, texts
from codex_session_sync.journal.log import TransactionLog
from codex_session_sync.journal.operations import CreateFile, MakeFolder

Action = Callable[[], None]


@dataclass(frozen=True)
class Point:
    """One function that execution passes; ``half`` does a part of what it does.

    ``about`` tells from its arguments what it is about, for faults that strike one session only.
    """

    owner: Any
    name: str
    about: Callable[..., str] = lambda *_, **__: ""
    half: Callable[..., object] | None = None

    def times(self) -> list[str]:
        """When a fault can strike."""
        return ["before", "half", "after"] if self.half else ["before", "after"]


def _half_file(path: Path, data: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(data[: len(data) // 2])


def _half_transcript(_: Any, target: Any, *__: Any) -> None:
    target.write(b'{"timestamp":"2026-')


def _half_lines(transaction: Any, lines: list[Any]) -> None:
    data = b"".join(orjson.dumps(line) + b"\n" for line in lines)
    _half_file(transaction.staged.parent / log.OPERATIONS, data)


def _half_document(path: Path, data: bytes) -> None:
    _half_file(path.with_name(f".{path.name}.{os.getpid()}.tmp"), data)


POINTS = {
    # A sync
    "begin": Point(TransactionLog, "write_manifest"),
    "manifest": Point(log, "write_atomic", half=_half_document),
    "stage": Point(
        staging, "compose", lambda rewriter, *_: rewriter.transcript.session_id, _half_transcript
    ),
    "time": Point(staging, "_last_moment", lambda incoming, _: incoming.session_id),
    "sync staged": Point(apply, "sync_all"),
    "intend": Point(TransactionLog, "intend"),
    "journal": Point(TransactionLog, "_append", half=_half_lines),
    "folder": Point(MakeFolder, "apply", lambda operation, _: operation.path),
    "place": Point(files, "place", lambda _, target: target.name, os.link),
    "row": Point(StateDb, "insert", lambda _, __, row: str(row)),
    "rows": Point(playback, "_in_transaction"),
    "append": Point(texts, "append", lambda _, data: data.decode(), _half_file),
    "sidecar": Point(texts, "write_atomic", lambda _, data: data.decode(), _half_document),
    "sync": Point(playback, "sync_all"),
    "mark": Point(TransactionLog, "mark"),
    "finish": Point(TransactionLog, "finish"),
    "discard": Point(TransactionLog, "discard_staged"),
    # Undoing
    "undo all": Point(recovery, "undo_all"),
    "undo file": Point(CreateFile, "undo"),
    "withdraw": Point(CreateFile, "withdraw"),
    "delete row": Point(StateDb, "delete"),
    "undo folder": Point(MakeFolder, "undo"),
    "sweep": Point(recovery, "_sweep"),
}


def faulty(point: Point, when: str, action: Action, strikes: Callable[[str], bool]) -> Any:
    """The function of a point, calling ``action`` at its passages for which ``strikes`` holds."""
    real = getattr(point.owner, point.name)

    @functools.wraps(real)
    def function(*arguments: Any, **more: Any) -> Any:
        if not strikes(point.about(*arguments, **more)):
            return real(*arguments, **more)
        if when == "half":
            assert point.half is not None
            point.half(*arguments, **more)
        result = real(*arguments, **more) if when == "after" else None
        action()
        return result

    return function


def nth(number: int) -> Callable[[str], bool]:
    """Strikes at the passage of this number, counted from 1."""
    passed = iter(range(1, 1_000_000))
    return lambda _: next(passed) == number


def run_with_fault(name: str, when: str, number: int, sent: str, *arguments: str) -> int:
    """The command line, which sends a signal to its own process."""
    point = POINTS[name]
    action = functools.partial(os.kill, os.getpid(), signal.Signals[sent])
    setattr(point.owner, point.name, faulty(point, when, action, nth(number)))
    apply.BATCH_SESSIONS = 2
    sys.argv[1:] = arguments
    return main()


def serve() -> None:
    """Run a process for each line of arguments on stdin; tell how it ended.

    A fork has all imports behind it, and is for the rest a process like any other.
    """
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(nowhere, descriptor)
            os._exit(run_with_fault(*json.loads(line)))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
