"""Short forms of reports: only what changes, or a summary that a reader takes in at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..model import Json, Notice
from .envelope import Each, Gathered, Problem, Report, encoded

LIMIT = 3600
"""How many bytes of JSON a summary may be, before hints are filled with what was given."""


@dataclass(frozen=True, slots=True)
class _Room:
    """How much a summary tells: sessions of a kind, of those not dealt with, characters."""

    named: int
    not_done: int
    title: int
    message: int


_ROOMS = (_Room(3, 5, 40, 200), _Room(2, 3, 30, 120), _Room(1, 2, 20, 80), _Room(1, 1, 10, 40))

_KEPT = ("package", "transaction_id", "rollback_transaction_id", "created_dirs")
_NOT_DONE = ("refused", "failed", "refuse", "kept", "keep")


@dataclass(frozen=True, slots=True)
class _Shape:
    """What tells the sessions of a command's report apart."""

    kind: str
    """The key that a summary names examples by."""
    counted: tuple[str, ...] = ("action", "reason", "result")
    idle: tuple[tuple[str, str], ...] = (("action", "skip"),)
    """Values, any of which tells that a session is as it should be."""
    id_key: str = "session_id"


SHAPES = {
    "inspect-package": _Shape("classification"),
    "sync": _Shape("classification"),
    "checkpoint sync": _Shape("classification"),
    "adopt": _Shape("action"),
    "rollback": _Shape(
        "action", idle=(("reason", "already_rolled_back"),), id_key="local_session_id"
    ),
    "verify": _Shape("verdict", (), (("verdict", "same"), ("verdict", "archived"))),
}
"""The commands whose reports can be shortened."""

_TOLD = {"session_id", "title", "name", "action", "reason", "result", "brings"} | {
    key
    for shape in SHAPES.values()
    for key in (shape.kind, shape.id_key, *shape.counted, *(key for key, _ in shape.idle))
}
"""What a summary takes of a session."""


def only_changes(report: Report) -> Report:
    """The report without the sessions that there is nothing to do for; ``left_out`` counts them."""
    if report.status == "error":
        return report
    shape = SHAPES[report.command]
    sessions = report.data["sessions"]
    if isinstance(sessions, Each):
        kept: Sequence[Json] = sessions.only(lambda one: not _idle(one, shape))
    else:
        kept = [one for one in sessions if not _idle(one, shape)]
    data = {**report.data, "sessions": kept, "left_out": len(sessions) - len(kept)}
    return replace(report, data=data)


def summary(report: Report) -> Report:
    """The report with counts in place of lists, and as many sessions named as there is room for.

    Warnings and errors of one code become one, with their number.
    """
    if report.status == "error":
        return report
    sessions = [{key: one[key] for key in _TOLD if key in one} for one in report.data["sessions"]]
    report = replace(report, data={**report.data, "sessions": sessions})
    for room in _ROOMS:
        found = _summary(report, room)
        if len(encoded(found)) <= LIMIT:
            break
    return found


def _summary(report: Report, room: _Room) -> Report:
    shape = SHAPES[report.command]
    sessions = report.data["sessions"]
    data = {key: report.data[key] for key in _KEPT if key in report.data}
    data["counts"] = _counts(sessions, shape)
    if any("brings" in one for one in sessions):
        data["brings"] = _total([one["brings"] for one in sessions if "brings" in one])
    data["examples"] = _examples(sessions, shape, room)
    missed = [one for one in sessions if _outcome(one) in _NOT_DONE and not _idle(one, shape)]
    data["not_done"] = [
        {**_named(one, shape, room), "reason": one.get("reason")} for one in missed[: room.not_done]
    ]
    if report.data.get("skills"):
        data["skills"] = dict(
            Counter(one.get("state") or one["did"] for one in report.data["skills"])
        )
    return replace(
        report,
        data=data,
        warnings=tuple(_gathered(report.warnings, room)),
        errors=tuple(_gathered(report.errors, room)),
        compact=True,
    )


def _idle(session: Json, shape: _Shape) -> bool:
    return any(session.get(key) == value for key, value in shape.idle)


def _outcome(session: Json) -> str:
    return str(session.get("result") or session.get("action") or "")


def _counts(sessions: Sequence[Json], shape: _Shape) -> Json:
    keys = dict.fromkeys((shape.kind, *shape.counted))
    found = {key: Counter(str(one[key]) for one in sessions if one.get(key)) for key in keys}
    return {key: dict(sorted(found[key].items())) for key in keys if found[key]}


def _total(brought: Sequence[Json]) -> Json:
    keys = ("entries", "turns", "bytes")
    return {"sessions": len(brought)} | {key: sum(one[key] for one in brought) for key in keys}


def _examples(sessions: Iterable[Json], shape: _Shape, room: _Room) -> Json:
    """By kind, the first sessions of it; those that there is nothing to do for are not named."""
    found: dict[str, list[Json]] = {}
    for one in sessions:
        if not _idle(one, shape) and _outcome(one) not in _NOT_DONE:
            known = found.setdefault(str(one[shape.kind]), [])
            if len(known) < room.named:
                known.append(_named(one, shape, room))
    return found


def _named(session: Json, shape: _Shape, room: _Room) -> Json:
    title = session.get("title") or session.get("name")
    return {
        "session_id": session[shape.id_key],
        "title": _cut(title, room.title) if title else None,
    }


def _gathered(items: Iterable[Notice | Problem], room: _Room) -> Iterable[Gathered]:
    """One for each code, as the first of it says."""
    found: dict[str, list[Notice | Problem]] = {}
    for item in items:
        found.setdefault(item.code, []).append(item)
    for code, group in found.items():
        ids = list(dict.fromkeys(one.session_id for one in group if one.session_id))
        first = group[0]
        hint = None if isinstance(first, Notice) else first.hint
        yield Gathered(
            code,
            _cut(first.message, room.message),
            hint,
            None,
            len(group),
            tuple(ids[: room.named]),
        )


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
