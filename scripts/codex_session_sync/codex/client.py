"""Starting the installed Codex, for what only it may do: making its own database."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import orjson

from ..errors import HomeError, UsageError
from ..model import Json

START_TIMEOUT_S = 120.0


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

    No turn is run and no model is asked. Raises HomeError ``codex_failed``.
    """
    requests: list[Json] = [
        {
            "id": 1,
            "method": "initialize",
            "params": {"clientInfo": {"name": "codex-session-sync", "version": "1"}},
        },
        {"method": "initialized"},
        {"id": 2, "method": "thread/list", "params": {}},
    ]
    process = subprocess.Popen(
        [binary, "app-server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=home,
        env={**environ, "CODEX_HOME": os.fspath(home)},
        start_new_session=True,
    )
    watchdog = threading.Timer(START_TIMEOUT_S, process.kill)
    watchdog.start()
    try:
        if not _exchange(process, requests):
            raise HomeError(
                "codex_failed",
                f"{binary} did not start on {home}",
                hint=f"see what `CODEX_HOME={home} codex doctor` says",
            )
    finally:
        watchdog.cancel()
        _end(process)


def _exchange(process: subprocess.Popen[bytes], requests: list[Json]) -> bool:
    """Send the requests and read until the last is answered; False if the program ended first."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        for request in requests:
            process.stdin.write(orjson.dumps(request, option=orjson.OPT_APPEND_NEWLINE))
        process.stdin.flush()
    except BrokenPipeError:
        return False
    for line in process.stdout:
        try:
            answer = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(answer, dict) and answer.get("id") == requests[-1]["id"]:
            return "result" in answer
    return False


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
