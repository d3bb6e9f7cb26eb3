"""Reports as a person reads them at a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.text import Text

from ..model import Json, Notice
from . import (
    checkpoints_text,
    events_text,
    explain_text,
    have_text,
    health_text,
    lineage_text,
    pack_text,
    rebuild_index_text,
    service_text,
    sessions_text,
    sidecars_text,
    summary_text,
    transactions_text,
    verify_text,
)
from .envelope import Gathered, Problem, Report
from .parts import counted, harmless
from .screen import Screen
from .skills_text import skills

_CLOSING = {
    "dry_run": "[bold]Nothing was written.[/] Add --execute to do this.",
    "no_op": "[bold]Nothing to do.[/] This home already has all of it.",
    "partial": "[bold yellow]Done in part.[/] What was not done is listed as errors.",
}
_TOLD = {
    (command, "no_op")
    for command in (
        *("adopt", "pack", "verify", "recover", "rollback", "ingest", "watch"),
        *("checkpoint install-hook", "checkpoint remove-hook"),
        *sidecars_text.COMMANDS,
        *events_text.PAINTERS,
    )
}
"""Reports that say all by themselves."""
_AS_IT_IS = (
    *("completion", "demo", "have", "lineage", "show-transaction"),
    *events_text.PAINTERS,
)
"""Commands whose reports have no text of others, or make it harmless themselves."""


def render(report: Report, out: Screen, err: Screen) -> None:
    """Print a report: what was found or done on ``out``, warnings and errors on ``err``."""
    told = (*report.warnings, *report.errors)
    ids = [one.session_id for one in told]
    ids += [i for one in told if isinstance(one, Gathered) for i in one.session_ids]
    for screen in (out, err):
        screen.about(report.data, ids)
    if report.command in _PAINTERS and (report.data or report.status != "error"):
        _painted(report, out)
        closing = _CLOSING.get(report.status)
        if closing is not None and (report.command, report.status) not in _TOLD:
            out.print(closing, highlight=False)
    for code, message, about in _gathered(report.warnings, err):
        _tell(err, "warning", "yellow", f"[{code}] {about}{message}")
    for problem in report.errors:
        about = _about(_concerned(problem), _number(problem), err)
        _tell(err, "error", "red", f"[{problem.code}] {about}{problem.message}")
        if problem.hint:
            err.paragraph(Text(f"  → {harmless(problem.hint)}", "dim"), 4)


def _painted(report: Report, out: Screen) -> None:
    as_it_is = report.command in _AS_IT_IS
    data = report.data if as_it_is else harmless(report.data)
    if report.compact:
        summary_text.paint(data, out, report.command)
        return
    _PAINTERS[report.command](data, out)
    if report.command in ("inspect-package", "sync", "checkpoint sync"):
        skills(data["skills"], out, with_diff=report.diff_skills)


def _gathered(warnings: Sequence[Notice | Problem], err: Screen) -> Iterator[tuple[str, str, str]]:
    """Code, message and the sessions concerned: warnings that say the same are told once."""
    sessions: dict[tuple[str, str], list[str]] = {}
    numbers: dict[tuple[str, str], int] = {}
    for one in warnings:
        key = (one.code, one.message)
        sessions.setdefault(key, []).extend(_concerned(one))
        numbers[key] = numbers.get(key, 0) + _number(one)
    for (code, message), ids in sessions.items():
        yield code, message, _about(ids, numbers[code, message], err)


def _concerned(item: Notice | Problem) -> Sequence[str]:
    if isinstance(item, Gathered):
        return item.session_ids
    return (item.session_id,) if item.session_id else ()


def _number(item: Notice | Problem) -> int:
    return item.count if isinstance(item, Gathered) else 1


def _about(ids: Sequence[str], number: int, err: Screen) -> str:
    if not ids:
        return ""
    shown = ", ".join(map(err.short, ids[:3]))
    return shown + (f" and {number - 3} more: " if number > 3 else ": ")


def _tell(err: Screen, kind: str, style: str, told: str) -> None:
    err.paragraph(Text.assemble((kind, style), " ", harmless(told)))


def _demo(data: Json, out: Screen) -> None:
    chapter = None
    for number, step in enumerate(data["steps"], 1):
        if step["chapter"] != chapter:
            chapter = step["chapter"]
            out.rule(f"[bold]{chapter}[/]", align="left", characters="═")
        out.print(f"[bold cyan]{number}. {step['title']}[/]")
        out.print(step["meaning"], highlight=False)
        out.print(f"[bold]$ {step['command']}[/]", highlight=False)
        _PAINTERS[step["report"]](step["data"], out)
        out.print()
    if data["kept"]:
        out.print(f"The home is kept in {data['home']}.", highlight=False)
    else:
        out.print("The home of this demonstration is gone again; your own was not touched.")


def _completion(data: Json, out: Screen) -> None:
    out.file.write(data["script"] + "\n")


def _recovered(data: Json, out: Screen) -> None:
    if not data["transactions"]:
        out.print("No transaction was interrupted.")
    for item in data["transactions"]:
        out.print(
            f"{item['transaction_id']}: {counted(len(item['sessions_kept']), 'session')} kept, "
            f"{len(item['sessions_undone'])} undone",
            highlight=False,
        )
        for word in ("kept", "undone"):
            for name in item.get(f"skills_{word}", ()):
                out.print(f"  skill {name}: {word}", markup=False, highlight=False)


_PAINTERS: dict[str, Callable[[Json, Screen], None]] = {
    "inspect-package": sessions_text.paint,
    "sync": sessions_text.paint,
    "pack": pack_text.paint,
    "have": have_text.paint,
    "list-transactions": transactions_text.transactions,
    "show-transaction": transactions_text.transaction,
    "rollback": transactions_text.rollback,
    "recover": _recovered,
    "sidecar-health": health_text.health,
    "adopt": health_text.adoption,
    "rebuild-index": rebuild_index_text.paint,
    "lineage": lineage_text.paint,
    "verify": verify_text.paint,
    "explain": explain_text.paint,
    "serve": service_text.held,
    "ingest": service_text.ingested,
    "watch": service_text.watched,
    "checkpoint capture": checkpoints_text.captured,
    "checkpoint report": checkpoints_text.report,
    "checkpoint list": checkpoints_text.checkpoints,
    "checkpoint sync": sessions_text.paint,
    "checkpoint install-hook": checkpoints_text.hook,
    "checkpoint remove-hook": checkpoints_text.hook,
    "demo": _demo,
    "completion": _completion,
    **dict.fromkeys(sidecars_text.COMMANDS, sidecars_text.changes),
    **events_text.PAINTERS,
}
