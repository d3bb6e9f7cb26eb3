"""One writer at a time in a store, whatever repositories and homes they come from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import StoreError
from ..locks import LockHeldError, take
from .place import not_writable

WAIT_SECONDS = 60.0
"""How long a writer waits for the others by default."""


@contextmanager
def gate(path: Path, command: str, wait: float = WAIT_SECONDS) -> Iterator[None]:
    """Hold the store at ``path`` for one writing command, after ``wait`` seconds at most.

    The system opens it if the process dies. Raises StoreError: ``store_locked``, naming the
    holder; ``store_not_writable``.
    """
    try:
        release = take(path, command, wait)
    except LockHeldError as error:
        raise StoreError(
            "store_locked",
            f"another command is at work on the store{error}",
            hint="wait for it to end, then run `codex-session-sync AGAIN`",
        ) from error
    except OSError as error:
        raise not_writable(path, error) from error
    try:
        yield
    finally:
        release()
