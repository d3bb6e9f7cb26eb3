"""The result of a command, and the JSON envelope that it is printed in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from ..errors import ExitCode, SyncError
from ..model import Json, Notice

SCHEMA = "codex-session-sync/1"

Status = Literal["ok", "no_op", "dry_run", "partial", "error"]


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as it is reported."""

    code: str
    message: str
    hint: str | None = None
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class Gathered(Problem):
    """Warnings or errors of one code, told as the first of them; ``session_ids`` names a few."""

    count: int = 1
    session_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What a command did, or why it could not."""

    command: str
    status: Status
    data: Json
    exit_code: int = ExitCode.OK
    warnings: tuple[Notice | Problem, ...] = ()
    errors: tuple[Problem, ...] = field(default=())
    diff_skills: bool = False
    """Whether the text shows the lines in which skills differ."""
    compact: bool = False
    """Whether it is a summary, printed as JSON without white space."""


def failure(command: str, error: SyncError) -> Report:
    """The report of a command that an error ended."""
    problem = Problem(error.code, error.message, error.hint, error.session_id)
    return Report(command, "error", {}, error.exit_code, errors=(problem,))


def encoded(report: Report) -> bytes:
    """The report as the one JSON object that ``--json`` prints, with a newline."""
    document = {
        "schema": SCHEMA,
        "command": report.command,
        "status": report.status,
        "exit_code": int(report.exit_code),
        "data": report.data,
        "warnings": list(_entries(report.warnings)),
        "errors": list(_entries(report.errors)),
    }
    layout = 0 if report.compact else orjson.OPT_INDENT_2
    option = layout | orjson.OPT_APPEND_NEWLINE
    try:
        return orjson.dumps(document, option=option)
    except TypeError:
        return orjson.dumps(_printable(document), option=option)


def _printable(value: Any) -> Any:
    """The value with texts that JSON can hold; a path may hold bytes that are no UTF-8."""
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {key: _printable(item) for key, item in value.items()}
        case list() | tuple():
            return [_printable(item) for item in value]
    return value


def _entries(items: Iterable[Notice | Problem]) -> Iterable[Json]:
    for item in items:
        entry: Json = {"code": item.code, "message": item.message}
        if isinstance(item, Problem) and item.hint:
            entry["hint"] = item.hint
        if item.session_id:
            entry["session_id"] = item.session_id
        if isinstance(item, Gathered):
            entry |= {"count": item.count, "session_ids": list(item.session_ids)}
        yield entry
