"""Points in the execution of a sync or a recovery at which something can be made to go wrong.

As a program it runs the command line with a fault: a signal at the n-th passage of a point, or one
from outside after a while.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from codex_session_sync import apply, commit, recovery, staging, validation
from codex_session_sync.cli.main import main
from codex_session_sync.codex.state_db import StateDb
from codex_session_sync.continuation import Continuation
from codex_session_sync.journal import files, log, playback, texts
from codex_session_sync.journal.log import TransactionLog
from codex_session_sync.journal.operations import CreateFile, ExtendFile, MakeFolder, MoveFile

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


def _half_transcript(_: Any, target: Any, *__: Any, **___: Any) -> None:
    target.write(b'{"timestamp":"2026-')


def _half_lines(transaction: Any, lines: list[Any]) -> None:
    data = b"".join(orjson.dumps(line) + b"\n" for line in lines)
    _half_file(transaction.staged.parent / log.OPERATIONS, data)


def _half_document(path: Path, data: bytes) -> None:
    _half_file(path.with_name(f".{path.name}.{os.getpid()}.tmp"), data)


def _half_extension(operation: ExtendFile, site: Any) -> None:
    _half_file(site.home / operation.path, (site.staged / operation.staged).read_bytes())


def _second_name(operation: MoveFile, site: Any) -> None:
    os.link(site.home / operation.path, site.home / operation.new_path)


def _second_name_back(operation: MoveFile, site: Any) -> None:
    os.link(site.home / operation.new_path, site.home / operation.path)


def _path_of(operation: Any, _: Any) -> str:
    return str(operation.path)


POINTS = {
    # A sync
    "begin": Point(TransactionLog, "write_manifest"),
    "manifest": Point(log, "write_atomic", half=_half_document),
    "lock": Point(apply, "codex_thread_lock", lambda _, session: session),
    "stage": Point(
        staging,
        "compose",
        lambda rewriter, *_, **__: rewriter.transcript.session_id,
        _half_transcript,
    ),
    "continue": Point(
        Continuation, "write", lambda rest, _: rest.local.session_id, _half_transcript
    ),
    "time": Point(staging, "_last_moment", lambda incoming, _: incoming.session_id),
    "sync staged": Point(apply, "sync_all"),
    "intend": Point(TransactionLog, "intend"),
    "journal": Point(TransactionLog, "_append", half=_half_lines),
    "folder": Point(MakeFolder, "apply", _path_of),
    "place": Point(files, "place", lambda _, target: target.name, os.link),
    "name": Point(files, "name_too", lambda _, target: target.name, os.link),
    "extend": Point(ExtendFile, "apply", _path_of, _half_extension),
    "set time": Point(os, "utime", lambda path, **_: str(path)),
    "move": Point(MoveFile, "apply", _path_of, _second_name),
    "row": Point(StateDb, "insert", lambda _, __, row: str(row)),
    "update": Point(StateDb, "update", lambda _, __, ___, row: str(row)),
    "rows": Point(playback, "_in_transaction"),
    "append": Point(texts, "append", lambda _, data: data.decode(), _half_file),
    "sidecar": Point(texts, "write_atomic", lambda _, data: data.decode(), _half_document),
    "sync": Point(playback, "sync_all"),
    "sync folder": Point(files, "sync_folder", str),
    "mark": Point(TransactionLog, "mark"),
    "finish": Point(TransactionLog, "finish"),
    "discard": Point(TransactionLog, "discard_staged"),
    # Undoing
    "undo all": Point(recovery, "undo_all"),
    "undo file": Point(CreateFile, "undo"),
    "withdraw": Point(CreateFile, "withdraw"),
    "undo extension": Point(ExtendFile, "undo", _path_of),
    "cut": Point(os, "truncate", lambda path, _: str(path)),
    "undo move": Point(MoveFile, "undo", _path_of, _second_name_back),
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


Fault = tuple[str, str, int] | tuple[float, bool]
"""A point, when, and at which passage; or seconds from the beginning, be it that of the process or
that of the transaction."""


def run_with_fault(fault: Fault, sent: str, batch: int, ahead: bool, *arguments: str) -> int:
    """The command line with ``batch`` sessions in a batch, sending a signal to its own process.

    ``ahead``: a batch is staged beside what is done to the one before, however small. A fault that
    is a time is no matter of this process.
    """
    commit.BATCH_SESSIONS = batch
    if ahead:
        apply.THREADS_BYTES = 0
    if len(fault) == 3:
        name, when, number = fault
        point = POINTS[name]
        action = functools.partial(os.kill, os.getpid(), signal.Signals[sent])
        setattr(point.owner, point.name, faulty(point, when, action, nth(number)))
    sys.argv[1:] = arguments
    return main()


def _transactions(home: Path) -> set[Path]:
    return set((home / "session-sync" / "transactions").iterdir())


def _await_transaction(child: int, home: Path, before: set[Path]) -> None:
    """Wait until there is one more transaction than before, or the process has ended."""
    ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while _transactions(home) == before and os.waitid(os.P_PID, child, ended) is None:
        time.sleep(0.0002)


def serve() -> None:
    """Run a process for each line of arguments on stdin; tell how it ended.

    A fork has all imports and schemas behind it, and is for the rest a process like any other.
    """
    for name in validation.schema_names():
        validation.fits(name, {})
    for line in sys.stdin:
        fault, sent, *rest = json.loads(line)
        home = Path(rest[-1])
        before = _transactions(home) if fault[1] is True else set()
        child = os.fork()
        if child == 0:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(nowhere, descriptor)
            os._exit(run_with_fault(fault, sent, *rest))
        if len(fault) == 2:
            after, in_transaction = fault
            if in_transaction:
                _await_transaction(child, home, before)
            time.sleep(after)
            os.kill(child, signal.Signals[sent])
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
