"""Make the environment that the launcher runs the program in.

An environment is made in a scratch folder and renamed into place with its stamp in it, so it is
there whole or not at all. It is a venv, but only its packages are used by the program. A lock that
the system frees with its process keeps a second call waiting while the first one builds.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import FrameType, TracebackType
from typing import BinaryIO, NamedTuple, NoReturn, Self

STAMP = "pyproject.toml"

# What would send the packages elsewhere than into the environment.
_MISLEADING_VARIABLES = {
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_TARGET",
    "PYTHONHOME",
    "PYTHONPATH",
    "UV_SYSTEM_PYTHON",
}


class EnvironmentUnavailableError(Exception):
    """There is no environment and none can be made; ``hint`` says what to do about it.

    ``lead`` is what the message goes on from, when a line on stderr is already begun.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.lead: str | None = None


_OUTSIDE = "in a sandbox, ask for permission to run this command outside of it"


class _Cause(NamedTuple):
    pattern: str
    message: str
    hint: str


_DISK_FULL = _Cause(
    r"No space left|os error 28\b|Errno 28\b|not enough space|quota exceeded",
    "the disk is full",
    "free some space or set CODEX_SESSION_SYNC_ENV_DIR to a folder on another disk, and call again",
)
_CAUSES = (
    _DISK_FULL,
    _Cause(
        r"No matching distribution|error sending request|dns error|network was disabled"
        r"|NewConnectionError|ProxyError|SSLError|Failed to fetch|not found in the|timed out",
        "the packages are not to be had from here",
        f"{_OUTSIDE}; else call again with a package index in reach"
        " (PIP_INDEX_URL, UV_DEFAULT_INDEX name another),"
        " or bring the folder with its .venv from a machine of the same kind",
    ),
    _Cause(
        "",
        "the packages could not be installed",
        f"{_OUTSIDE}; else see the log, mend it and call again",
    ),
)


class _Notice:
    """The one line on stderr that tells what takes so long and how it ended."""

    def __init__(self) -> None:
        self._activity: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._activity is None:
            return
        if isinstance(error, EnvironmentUnavailableError):
            error.lead = " failed: "
        else:
            self._write(" done\n" if error is None else "\n")

    def begin(self, activity: str) -> None:
        """Begin the line with an activity, or go on with the next one."""
        self._write(f"{' ' if self._activity else 'codex-session-sync: '}{activity} ...")
        self._activity = activity

    def tick(self) -> None:
        """Show a person, but no log file, that something still happens."""
        if sys.stderr.isatty():
            self._write(".")

    @staticmethod
    def _write(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


def make_environment(root: str, places: Sequence[str], extra: str = "") -> str:
    """Return the environment for ``root``, made in the first of ``places`` that can be written.

    Raise EnvironmentUnavailableError if that fails; then, as on a signal, nothing half-made stays.
    """
    stamp, requirements = _read_project(Path(root, STAMP), extra)
    with _Notice() as notice, _signals_unwind():
        place, lock_file = _claim([Path(place) for place in places])
        try:
            with lock_file:
                _lock(lock_file, notice)
                if not _adopt(place, stamp, requirements, extra):
                    _build(place, stamp, requirements, notice)
        except OSError as error:
            raise _unwritable(place, error) from error
    return str(place)


def _read_project(path: Path, extra: str) -> tuple[bytes, list[str]]:
    try:
        stamp = path.read_bytes()
        return stamp, _requirements(stamp, extra)
    except (OSError, ValueError, KeyError) as error:
        raise EnvironmentUnavailableError(
            f"{path} cannot be used: {error}", "bring the whole folder anew"
        ) from error


def _requirements(stamp: bytes, extra: str) -> list[str]:
    project = tomllib.loads(stamp.decode())["project"]
    optional = project["optional-dependencies"][extra] if extra else []
    return [*project.get("dependencies", []), *optional]


def _claim(places: Sequence[Path]) -> tuple[Path, BinaryIO]:
    """Return the first place that can be written, with its lock file, not yet locked."""
    problems = []
    for place in places:
        if os.pathsep in str(place):  # no venv can be made there
            problems.append(f"{place.parent}: has {os.pathsep!r} in its name")
            continue
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            return place, place.with_name(f"{place.name}.lock").open("a+b")
        except OSError as error:
            problems.append(f"{place.parent}: {error.strerror}")
    raise EnvironmentUnavailableError(
        f"no place for the Python environment ({', '.join(problems)})",
        f"{_OUTSIDE}; else set CODEX_SESSION_SYNC_ENV_DIR to a folder that can be written",
    )


def _lock(file: BinaryIO, notice: _Notice) -> None:
    """Wait until the file is ours; closing it, or the end of this process, frees it."""
    if _try_lock(file):
        return
    notice.begin("waiting for another call that makes the Python environment")
    due = time.monotonic() + 1
    while not _try_lock(file):
        time.sleep(0.1)
        if time.monotonic() > due:
            notice.tick()
            due += 1


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: BinaryIO) -> bool:
        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: BinaryIO) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True  # a file system without locks: two first calls do the work twice
        return True


def _adopt(place: Path, stamp: bytes, requirements: list[str], extra: str) -> bool:
    """Tell whether the environment in place fits; renew its stamp if only that is outdated."""
    try:
        found = Path(place, STAMP).read_bytes()
        if found != stamp and _requirements(found, extra) != requirements:
            return False
    except (OSError, ValueError, KeyError):
        return False
    if found != stamp:
        renewed = place.with_name(f"{place.name}.stamp")
        renewed.write_bytes(stamp)
        renewed.replace(place / STAMP)
    return True


def _build(place: Path, stamp: bytes, requirements: list[str], notice: _Notice) -> None:
    """Make the environment and put it in place of an outdated one."""
    for leftover in place.parent.glob(f"{place.name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
    notice.begin(f"making the Python environment {place}, once")
    with tempfile.TemporaryDirectory(
        prefix=f"{place.name}.", suffix=".tmp", dir=place.parent, ignore_cleanup_errors=True
    ) as scratch:
        new = Path(scratch, "new")
        venv.create(new, symlinks=sys.platform != "win32")
        if requirements:
            _install(new, requirements, place.with_name(f"{place.name}.log"), notice)
        Path(new, STAMP).write_bytes(stamp)
        if place.exists():
            place.rename(Path(scratch, "old"))
        new.rename(place)


def _install(new: Path, requirements: list[str], log: Path, notice: _Notice) -> None:
    """Install with the first installer that succeeds."""
    installers = list(_installers(new, requirements))
    if not installers:
        raise EnvironmentUnavailableError(
            "this Python has neither pip nor ensurepip, and there is no uv",
            "install one of them (on Debian and Ubuntu: apt install python3-venv) and call again",
        )
    with log.open("wb") as output:
        for commands in installers:
            if all(_run(command, new, output, notice) for command in commands):
                return
    text = log.read_text(encoding="utf-8", errors="replace")
    cause = next(cause for cause in _CAUSES if re.search(cause.pattern, text, re.IGNORECASE))
    raise EnvironmentUnavailableError(f"{cause.message} (log: {log})", cause.hint)


def _installers(new: Path, requirements: list[str]) -> Iterator[list[list[str]]]:
    """Yield for each installer at hand its commands, the fastest first."""
    python = str(new / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python"))
    if uv := shutil.which("uv"):
        yield [[uv, "pip", "install", "--python", python, "--compile-bytecode", *requirements]]
    options = ["--no-input", "--disable-pip-version-check", "--progress-bar=off", "--retries=2"]
    install = ["install", *options, *requirements]
    if find_spec("pip"):
        yield [[sys.executable, "-m", "pip", "--python", python, *install]]
    elif find_spec("ensurepip"):
        yield [[python, "-m", "ensurepip"], [python, "-m", "pip", *install]]


def _run(command: list[str], folder: Path, log: BinaryIO, notice: _Notice) -> bool:
    """Run a command to its end, its output going to the log; tell whether it succeeded."""
    log.write(os.fsencode(f"$ {shlex.join(command)}\n"))
    log.flush()
    variables = {k: v for k, v in os.environ.items() if k not in _MISLEADING_VARIABLES}
    with ExitStack() as starting:
        starting.enter_context(_signals_wait())  # or a child might run of which nobody knows
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=variables | {"PIP_USER": "0"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            log.write(f"{error}\n".encode(errors="replace"))
            return False
        with process:
            try:
                starting.close()
                while True:
                    try:
                        return process.wait(timeout=1) == 0
                    except subprocess.TimeoutExpired:
                        notice.tick()
            except BaseException:
                _stop(process)
                raise


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End an installer as Ctrl-C would, so that it ends its own children first."""
    process.terminate() if sys.platform == "win32" else process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=3)
    except subprocess.TimeoutExpired:
        process.kill()


@contextmanager
def _signals_unwind() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end the process by an exception, so that scratch folders go."""

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    known = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]
    taken = [number for number in known if number and signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Hold back what the handlers of signals would do until the block ends."""
    come: list[tuple[int, FrameType | None]] = []
    known = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]
    handlers = {number: signal.getsignal(number) for number in known if number}
    ours = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in ours:
        signal.signal(number, lambda number, frame: come.append((number, frame)))
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        for number, frame in come:
            ours[signal.Signals(number)](number, frame)


def _unwritable(place: Path, error: OSError) -> EnvironmentUnavailableError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EnvironmentUnavailableError(
            f"{_DISK_FULL.message} ({place.parent})", _DISK_FULL.hint
        )
    return EnvironmentUnavailableError(
        f"the Python environment {place} cannot be written: {error}",
        f"{_OUTSIDE}; else mend that or set CODEX_SESSION_SYNC_ENV_DIR to another folder,"
        " and call again",
    )
