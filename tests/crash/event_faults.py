"""As a program: the command line, killed at a passage of a point of an import of events.

python event_faults.py POINT WHEN NUMBER ARGUMENT ...
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson

from codex_session_sync.cli.main import main
from codex_session_sync.events import importing, index
from codex_session_sync.events.indexing import Indexing
from codex_session_sync.store import documents, opening


def _half_of_all(path: Path, lines: Iterable[bytes]) -> None:
    data = b"".join(lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        stream.write(data[: len(data) * 2 // 3])


def _half_of_a_line(path: Path, lines: list[Any]) -> None:
    _half_of_all(path, [orjson.dumps(lines[0])])


def _half_of_a_document(path: Path, data: bytes) -> None:
    _half_of_all(path.with_name(f".{path.name}.{os.getpid()}.tmp"), [data])


POINTS: dict[str, tuple[Any, str, Callable[..., None] | None]] = {
    "make store": (opening, "write_atomic", _half_of_a_document),
    "append": (importing, "append_encoded", _half_of_all),
    "sync": (importing, "sync_all", None),
    "manifest": (documents, "write_atomic", _half_of_a_document),
    "catalog": (documents, "append_lines", _half_of_a_line),
    "index": (Indexing, "add", None),
    "index placed": (index, "_go_on", None),
}


def _kill(*_: Any) -> None:
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def _arm(point: str, when: str, number: int) -> None:
    owner, name, half = POINTS[point]
    real = getattr(owner, name)
    passages = iter(range(1, 1000))

    @functools.wraps(real)
    def function(*arguments: Any, **more: Any) -> Any:
        if next(passages) != number:
            return real(*arguments, **more)
        if when == "half":
            assert half is not None
            half(*arguments)
        result = real(*arguments, **more) if when == "after" else None
        _kill()
        return result

    setattr(owner, name, function)


if __name__ == "__main__":
    point, when, number, *arguments = sys.argv[1:]
    _arm(point, when, int(number))
    sys.argv = ["codex-session-sync", *arguments]
    sys.exit(main())
