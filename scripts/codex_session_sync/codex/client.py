"""The installed Codex: starting it, and asking it about sessions. No turn is run here.

It is spoken to in JSON lines, as ``codex app-server`` does (``references/codex-storage.md``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson

from ..errors import OUTSIDE, HomeError, SyncError, UsageError
from ..model import Json

ANSWER_TIMEOUT_S = 120.0
"""How long an answer may take; the first start on a large home reads all of it."""

PAGE = 100

SOURCES = (
    *("cli", "vscode", "exec", "appServer", "subAgent", "subAgentReview", "subAgentCompact"),
    *("subAgentThreadSpawn", "subAgentOther", "unknown"),
)
"""What Codex tells sessions apart by; its list leaves out those that it is not asked for."""

_METHOD_UNKNOWN = (-32601, -32600)
"""What a release answers that does not know a method or takes it for no request."""


class CodexAnswerError(SyncError):
    """Codex answered a request with an error; ``unknown``: it does not know the method."""

    def __init__(self, method: str, error: Json) -> None:
        super().__init__("codex_refused", f"{method}: {error.get('message', error)}")
        self.unknown = error.get("code") in _METHOD_UNKNOWN


def find_codex(option: str | None, environ: Mapping[str, str]) -> Path | None:
    """The Codex program: the option, else ``codex`` on PATH, else None.

    Raises UsageError ``codex_bin_missing`` if the option names none.
    """
    found = shutil.which(option or "codex", path=environ.get("PATH"))
    if found is None and option is not None:
        raise UsageError(
            "codex_bin_missing",
            f"{option} is not a program",
            hint="give --codex-bin the path of the codex executable",
        )
    return Path(found) if found else None


def prime(binary: Path, home: Path, environ: Mapping[str, str]) -> None:
    """Have Codex start once on ``home`` and list its sessions, which makes its database.

    Raises HomeError ``codex_failed``.
    """
    try:
        with app_server(binary, home, environ) as codex:
            codex.request("thread/list", {})
    except CodexAnswerError as error:
        raise _failed(binary, home, error.message) from error


@contextmanager
def app_server(binary: Path, home: Path, environ: Mapping[str, str]) -> Iterator[AppServer]:
    """A Codex that works on ``home`` and answers requests; it is ended on leaving.

    Raises HomeError ``codex_failed``, here and where it ends too early.
    """
    process = subprocess.Popen(
        [binary, "app-server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=home,
        env={**environ, "CODEX_HOME": os.fspath(home)},
        start_new_session=True,
    )
    codex = AppServer(process, binary, home)
    try:
        client = {"name": "codex-session-sync", "version": "1"}
        codex.request("initialize", {"clientInfo": client, "capabilities": _CAPABILITIES})
        codex.tell("initialized")
        yield codex
    finally:
        _end(process)


_CAPABILITIES: Json = {"experimentalApi": True}


class AppServer:
    """A running ``codex app-server``, asked one thing at a time."""

    def __init__(self, process: subprocess.Popen[bytes], binary: Path, home: Path) -> None:
        self._process = process
        self._binary = binary
        self._home = home
        self._number = 0

    def request(self, method: str, params: Json) -> Json:
        """Ask, and wait for the answer. Raises CodexAnswerError, HomeError ``codex_failed``."""
        self._number += 1
        self._send({"id": self._number, "method": method, "params": params})
        watchdog = threading.Timer(ANSWER_TIMEOUT_S, self._process.kill)
        watchdog.start()
        try:
            answer = self._answer(self._number)
        finally:
            watchdog.cancel()
        if "error" in answer:
            raise CodexAnswerError(method, answer["error"])
        result: Json = answer.get("result") or {}
        return result

    def tell(self, method: str) -> None:
        """Say something that is not answered."""
        self._send({"method": method})

    def pages(self, method: str, params: Json) -> Iterator[Json]:
        """Ask for a list, page by page; yields what is in it."""
        cursor = None
        while True:
            page = self.request(method, {**params, "limit": PAGE, "cursor": cursor})
            yield from page["data"]
            cursor = page.get("nextCursor")
            if cursor is None:
                return

    def _answer(self, number: int) -> Json:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                found = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if not isinstance(found, dict):
                continue
            if "method" in found and "id" in found:
                # Nobody is here to allow anything.
                self._send({"id": found["id"], "error": {"code": -32601, "message": "refused"}})
            elif found.get("id") == number:
                return found
        raise _failed(self._binary, self._home, "it ended without an answer")

    def _send(self, message: Json) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE))
            self._process.stdin.flush()
        except (BrokenPipeError, OSError) as error:
            raise _failed(self._binary, self._home, "it has ended") from error


def _failed(binary: Path, home: Path, why: str) -> HomeError:
    return HomeError(
        "codex_failed",
        f"{binary} did not work on {home}: {why}",
        hint=f"{OUTSIDE}; else see what `CODEX_HOME={home} codex doctor` says",
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let the program end by itself, so that it closes its databases; else make it."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    process.stdout.close()
