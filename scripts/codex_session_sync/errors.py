"""Typed errors: each carries a stable code, a message, a hint and the exit code it leads to.

The codes are listed with meaning and remedy in ``references/codes.md``; a test compares that table
with what the program can raise.
"""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """Exit codes of the command line, as the command line contract lists them."""

    OK = 0
    PARTIAL = 1
    USAGE = 2
    PACKAGE = 3
    HOME = 4
    INTERRUPTED = 5
    DEFECT = 70


class SyncError(Exception):
    """Base of every error that a user can meet; never raised itself.

    ``code`` is a stable snake_case word, ``hint`` the next thing to do, ``session_id`` the session
    concerned when the error is not about the whole run.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.DEFECT

    def __init__(
        self, code: str, message: str, *, hint: str | None = None, session_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.session_id = session_id

    def __reduce__(self) -> tuple[object, ...]:
        return _made_again, (type(self), self.code, self.message, self.hint, self.session_id)


def _made_again(
    kind: type[SyncError], code: str, message: str, hint: str | None, session_id: str | None
) -> SyncError:
    """An error that comes from another process."""
    return kind(code, message, hint=hint, session_id=session_id)


class UsageError(SyncError):
    """The command was called wrongly; nothing was read or written."""

    exit_code = ExitCode.USAGE


class PackageError(SyncError):
    """The package is invalid or unsafe as a whole; nothing was written."""

    exit_code = ExitCode.PACKAGE


class HomeError(SyncError):
    """The Codex home cannot be used now; nothing was written."""

    exit_code = ExitCode.HOME


class StoreError(SyncError):
    """The store cannot be used now; nothing was written."""

    exit_code = ExitCode.HOME


class InterruptedTransactionError(SyncError):
    """An earlier transaction did not end; it must be recovered first."""

    exit_code = ExitCode.INTERRUPTED


class SessionError(SyncError):
    """One session cannot be read or written; the other sessions go on."""

    exit_code = ExitCode.PARTIAL


class RequestError(SyncError):
    """A frame, or a request of another program, is refused; the service goes on."""

    exit_code = ExitCode.PARTIAL


OUTSIDE = "in a sandbox, ask for permission to run this command outside of it"
"""What is to be done where a sandbox may be what refuses; hints begin with it."""

_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
"""What the system answers to what a sandbox forbids."""


def hint_on(error: OSError, remedy: str) -> str:
    """The remedy as a hint; what a sandbox may have refused begins with what to do there."""
    return f"{OUTSIDE}; else {remedy}" if error.errno in _FORBIDDEN else remedy


def told(problem: SyncError | OSError) -> SyncError:
    """The error to report for what befell one session; the system's is ``write_failed``."""
    if isinstance(problem, SyncError):
        return problem
    return SessionError(
        "write_failed",
        f"writing it failed: {problem.strerror or problem}",
        hint="it is as it was; make room or mend the cause, then run `codex-session-sync AGAIN`",
    )
