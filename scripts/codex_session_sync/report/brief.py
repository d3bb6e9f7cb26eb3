"""Short forms of reports: only what changes, or a summary that a reader takes in at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..model import Json, Notice
from .envelope import Gathered, Problem, Report

NAMED = 3
"""How many sessions of a kind a summary names."""
REFUSED = 5
"""How many of the sessions that are not dealt with it names."""
TITLE = 40
MESSAGE = 200

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
    "adopt": _Shape("action"),
    "rollback": _Shape(
        "action", idle=(("reason", "already_rolled_back"),), id_key="local_session_id"
    ),
    "verify": _Shape("verdict", (), (("verdict", "same"), ("verdict", "archived"))),
}
"""The commands whose reports can be shortened."""


def only_changes(report: Report) -> Report:
    """The report without the sessions that there is nothing to do for; ``left_out`` counts them."""
    if report.status == "error":
        return report
    shape = SHAPES[report.command]
    sessions = report.data["sessions"]
    kept = [one for one in sessions if not _idle(one, shape)]
    data = {**report.data, "sessions": kept, "left_out": len(sessions) - len(kept)}
    return replace(report, data=data)


def summary(report: Report) -> Report:
    """The report with counts in place of lists, and a few sessions named.

    Warnings and errors of one code become one, with their number.
    """
    if report.status == "error":
        return report
    shape = SHAPES[report.command]
    sessions = report.data["sessions"]
    data = {key: report.data[key] for key in _KEPT if key in report.data}
    data["counts"] = _counts(sessions, shape)
    if any("brings" in one for one in sessions):
        data["brings"] = _total([one["brings"] for one in sessions if "brings" in one])
    data["examples"] = _examples(sessions, shape)
    missed = [one for one in sessions if _outcome(one) in _NOT_DONE and not _idle(one, shape)]
    data["not_done"] = [
        {**_named(one, shape), "reason": one.get("reason")} for one in missed[:REFUSED]
    ]
    if report.data.get("skills"):
        data["skills"] = dict(
            Counter(one.get("state") or one["did"] for one in report.data["skills"])
        )
    return replace(
        report,
        data=data,
        warnings=tuple(_gathered(report.warnings)),
        errors=tuple(_gathered(report.errors)),
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


def _examples(sessions: Iterable[Json], shape: _Shape) -> Json:
    """By kind, the first sessions of it; those that there is nothing to do for are not named."""
    found: dict[str, list[Json]] = {}
    for one in sessions:
        if not _idle(one, shape) and _outcome(one) not in _NOT_DONE:
            known = found.setdefault(str(one[shape.kind]), [])
            if len(known) < NAMED:
                known.append(_named(one, shape))
    return found


def _named(session: Json, shape: _Shape) -> Json:
    title = session.get("title") or session.get("name")
    return {"session_id": session[shape.id_key], "title": _cut(title, TITLE) if title else None}


def _gathered(items: Iterable[Notice | Problem | Gathered]) -> Iterable[Gathered]:
    """One for each code, as the first of it says."""
    found: dict[str, list[Notice | Problem | Gathered]] = {}
    for item in items:
        found.setdefault(item.code, []).append(item)
    for code, group in found.items():
        ids = list(dict.fromkeys(one.session_id for one in group if one.session_id))
        first = group[0]
        hint = None if isinstance(first, Notice) else first.hint
        yield Gathered(
            code, _cut(first.message, MESSAGE), hint, None, len(group), tuple(ids[:NAMED])
        )


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
