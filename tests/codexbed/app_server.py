"""A client of `codex app-server`: JSON lines over stdio."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Json = dict[str, Any]

REQUEST_SECONDS = 120.0
_INDEXING_SECONDS = 0.25
_EXIT_SECONDS = 10.0
_PAGE = 100
_APPROVAL = "item/commandExecution/requestApproval"
ALL_SOURCES = (
    "cli",
    "vscode",
    "exec",
    "appServer",
    "subAgent",
    "subAgentReview",
    "subAgentCompact",
    "subAgentThreadSpawn",
    "subAgentOther",
    "unknown",
)


class AppServerError(RuntimeError):
    """An answer of the app-server that is an error."""

    def __init__(self, method: str, error: Json) -> None:
        super().__init__(f"{method}: {error.get('message', error)}")
        self.method = method
        self.error = error


class AppServer:
    """A running `codex app-server`; use it as a context manager.

    `approves` is the user who is asked whether a command may run outside the sandbox; without one
    the request is refused. What was asked is kept in `approvals`.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        self._command = list(command)
        self._env = dict(env)
        self._cwd = cwd
        self._next_id = 0
        self._answers: dict[int, Json] = {}
        self._changed = threading.Condition()
        self._closed = False
        self.approves: Callable[[Json], bool] | None = None
        self.approvals: list[Json] = []
        self.notifications: list[Json] = []
        self.server_info: Json = {}

    def __enter__(self) -> Self:
        self._stderr = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,
            )
        except OSError:
            self._stderr.close()
            raise
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.server_info = self.request(
                "initialize",
                {
                    "clientInfo": {"name": "codexbed", "title": "codexbed", "version": "1"},
                    "capabilities": {"experimentalApi": True},
                },
            )
            self._send({"method": "initialized"})
            _until_indexed(Path(self._env["CODEX_HOME"]))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process and everything it started."""
        process = self._process
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        try:
            process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            end_group(process)
            self._reader.join(_EXIT_SECONDS)
            if process.stdout is not None:
                process.stdout.close()
            self._stderr.close()

    def stderr(self) -> str:
        """Return what the process said on stderr so far."""
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace")

    # -- the protocol ---------------------------------------------------------------------------

    def request(self, method: str, params: Json, timeout: float = REQUEST_SECONDS) -> Json:
        """Send one request and return its result."""
        with self._changed:
            self._next_id += 1
            number = self._next_id
        self._send({"id": number, "method": method, "params": params})
        with self._changed:
            self._changed.wait_for(lambda: number in self._answers or self._closed, timeout)
            answer = self._answers.pop(number, None)
        if answer is None:
            state = "has ended" if self._closed else f"gave no answer in {timeout} s"
            raise TimeoutError(f"{method}: the app-server {state}: {self.stderr()[-2000:]}")
        if "error" in answer:
            raise AppServerError(method, answer["error"])
        result: Json = answer.get("result") or {}
        return result

    def wait_for(
        self,
        method: str,
        timeout: float = REQUEST_SECONDS,
        since: int = 0,
        **fields: Any,
    ) -> Json:
        """Return the params of the first notification after `since` that has these top fields."""
        deadline = time.monotonic() + timeout
        seen = since
        with self._changed:
            while True:
                while seen < len(self.notifications):
                    params: Json = self.notifications[seen].get("params") or {}
                    name = self.notifications[seen]["method"]
                    seen += 1
                    if name == method and all(params.get(k) == v for k, v in fields.items()):
                        return params
                left = deadline - time.monotonic()
                if self._closed or left <= 0 or not self._changed.wait(left):
                    raise TimeoutError(f"no {method} {fields}: {self.stderr()[-2000:]}")

    def _send(self, value: Json) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(value).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise TimeoutError(f"the app-server has ended: {self.stderr()[-2000:]}") from error

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            value = json.loads(line)
            if "method" in value and "id" in value:
                self._send({"id": value["id"], **self._reply(value)})
                continue
            with self._changed:
                if "method" in value:
                    self.notifications.append(value)
                else:
                    self._answers[value["id"]] = value
                self._changed.notify_all()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _reply(self, asked: Json) -> Json:
        """Answer what Codex asks; what nobody here can answer is refused, so no turn waits."""
        if asked["method"] != _APPROVAL or self.approves is None:
            return {"error": {"code": -32601, "message": "not available in tests"}}
        self.approvals.append(asked["params"])
        return {"result": {"decision": "accept" if self.approves(asked["params"]) else "decline"}}

    # -- threads --------------------------------------------------------------------------------

    def start(self, cwd: Path, **params: Any) -> str:
        """Start a session that has no turn yet and return its id."""
        result = self.request("thread/start", {"cwd": str(cwd), **params})
        return str(result["thread"]["id"])

    def start_turn(
        self, session_id: str, text: str, timeout: float = REQUEST_SECONDS, **params: Any
    ) -> Json:
        """Run one turn on a loaded session and return it as completed."""
        since = len(self.notifications)
        given = {"threadId": session_id, "input": [{"type": "text", "text": text}], **params}
        self.request("turn/start", given)
        done = self.wait_for("turn/completed", timeout, since, threadId=session_id)
        turn: Json = done["turn"]
        if turn.get("status") != "completed":
            raise AppServerError("turn/start", turn.get("error") or turn)
        return turn

    def list_threads(self, archived: bool = False) -> list[Json]:
        """Return every listed session of every source and provider."""
        params: Json = {
            "archived": archived,
            "modelProviders": [],
            "sourceKinds": list(ALL_SOURCES),
        }
        return list(self._pages("thread/list", params))

    def read_thread(self, session_id: str, include_turns: bool = False) -> Json:
        """Return a session as stored, without loading it."""
        params = {"threadId": session_id, "includeTurns": include_turns}
        thread: Json = self.request("thread/read", params)["thread"]
        return thread

    def resume(self, session_id: str, **params: Any) -> Json:
        """Load a session and return the whole answer."""
        return self.request("thread/resume", {"threadId": session_id, **params})

    def turns(self, session_id: str) -> list[Json]:
        """Return every turn with its full items, oldest first."""
        params = {"threadId": session_id, "itemsView": "full", "sortDirection": "asc"}
        return list(self._pages("thread/turns/list", params))

    def fork(self, session_id: str, **params: Any) -> str:
        """Fork a session and return the new id."""
        result = self.request("thread/fork", {"threadId": session_id, **params})
        return str(result["thread"]["id"])

    def revert(self, session_id: str, before_turn_id: str) -> Json:
        """Take a loaded session back to before a turn."""
        params = {"threadId": session_id, "beforeTurnId": before_turn_id}
        return self.request("thread/revert", params)

    def rollback(self, session_id: str, turns: int) -> Json:
        """Drop the last turns of a loaded session; old releases only."""
        return self.request("thread/rollback", {"threadId": session_id, "numTurns": turns})

    def set_name(self, session_id: str, name: str) -> None:
        """Name a session."""
        self.request("thread/name/set", {"threadId": session_id, "name": name})

    def archive(self, session_id: str) -> None:
        """Archive a session."""
        self.request("thread/archive", {"threadId": session_id})

    def unarchive(self, session_id: str) -> None:
        """Take a session out of the archive."""
        self.request("thread/unarchive", {"threadId": session_id})

    def compact(self, session_id: str) -> None:
        """Compact a loaded session and wait until that is done."""
        since = len(self.notifications)
        self.request("thread/compact/start", {"threadId": session_id})
        self.wait_for("turn/completed", since=since, threadId=session_id)

    def _pages(self, method: str, params: Json) -> Iterator[Json]:
        cursor: str | None = None
        while True:
            page = self.request(method, {**params, "limit": _PAGE, "cursor": cursor})
            yield from page["data"]
            cursor = page.get("nextCursor")
            if cursor is None:
                return


def end_group(process: subprocess.Popen[Any]) -> None:
    """Kill a process and the group it leads, and reap it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _until_indexed(home: Path) -> None:
    """Give Codex time to look through the files of a home that it opens for the first time.

    It meets a session that is made meanwhile as a file, and its row is another one then. In some
    homes the old release leaves it at that it has yet to look.
    """
    until = time.monotonic() + _INDEXING_SECONDS
    while time.monotonic() < until:
        states = [state for path in home.glob("state_*.sqlite") for state in _indexing(path)]
        if all(state == "complete" for state in states):
            return
        time.sleep(0.01)


def _indexing(database: Path) -> list[str]:
    try:
        uri = f"{database.as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as opened:
            return [state for (state,) in opened.execute("SELECT status FROM backfill_state")]
    except sqlite3.Error:
        return []
