"""The result of a command, and the JSON envelope that it is printed in."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, overload

import orjson

from ..errors import ExitCode, SyncError
from ..model import Json, Notice

SCHEMA = "codex-session-sync/1"

_TOGETHER = 100
"""Objects of a long list that are written at a time."""

Status = Literal["ok", "no_op", "dry_run", "partial", "error"]


class Each(Sequence[Json]):
    """A list of a report of which each object is made when it is looked at, and kept nowhere.

    ``show`` makes it of one of ``items``.
    """

    def __init__(self, items: Sequence[Any], show: Callable[[Any], Json]) -> None:
        self.items = items
        self.show = show

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, place: int) -> Json: ...

    @overload
    def __getitem__(self, place: slice) -> Each: ...

    def __getitem__(self, place: int | slice) -> Json | Each:
        if isinstance(place, slice):
            return Each(self.items[place], self.show)
        return self.show(self.items[place])

    def __iter__(self) -> Iterator[Json]:
        return map(self.show, self.items)

    def only(self, wanted: Callable[[Json], bool]) -> Each:
        """Those of the objects that are wanted."""
        return Each([one for one in self.items if wanted(self.show(one))], self.show)

    def through(self, change: Callable[[Json], Json]) -> Each:
        """All of them, changed."""
        return Each(self.items, lambda one: change(self.show(one)))


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
    return b"".join(pieces(report))


def pieces(report: Report) -> Iterator[bytes]:
    """What ``encoded`` gives, piece by piece: the text of an ``Each`` is never there as a whole."""
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
    lists: list[Each] = []
    place = secrets.token_hex()

    def later(value: object) -> str:
        if not isinstance(value, Each):
            raise TypeError
        lists.append(value)
        return place

    text = _dumped(document, layout | orjson.OPT_APPEND_NEWLINE, later)
    first, *others = text.split(f'"{place}"'.encode())
    yield first
    # Where an object did not fit into JSON they were met twice.
    for items, before, after in zip(lists[-len(others) :], (first, *others), others, strict=False):
        line = before.rpartition(b"\n")[2]
        yield from _listed(items, layout, len(line) - len(line.lstrip(b" ")))
        yield after


def _listed(items: Each, layout: int, depth: int) -> Iterator[bytes]:
    """The text of a list whose key stands ``depth`` spaces from the beginning of its line."""
    if not items:
        yield b"[]"
        return
    end = b"\n" + b" " * depth if layout else b""
    begin = end + b"  " if layout else b""
    separator = b"[" + begin
    for start in range(0, len(items), _TOGETHER):
        some = items[start : start + _TOGETHER]
        told = (_dumped(item, layout).replace(b"\n", begin) for item in some)
        yield separator + (b"," + begin).join(told)
        separator = b"," + begin
    yield end + b"]"


def _dumped(value: Any, option: int, default: Callable[[object], Any] | None = None) -> bytes:
    try:
        return orjson.dumps(value, default, option)
    except TypeError:
        return orjson.dumps(_printable(value), default, option)


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
