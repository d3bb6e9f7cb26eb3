"""Reports as a person reads them at a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..identify import short_id
from ..model import Json
from . import have_text, health_text, pack, rebuild_index, sidecars_text, transactions_text
from .envelope import Report
from .parts import STYLES, base, harmless

if TYPE_CHECKING:
    from rich.console import Console

_CLOSING = {
    "dry_run": "[bold]Nothing was written.[/] Add --execute to do this.",
    "no_op": "[bold]Nothing to do.[/] This home already has all of it.",
    "partial": "[bold yellow]Done in part.[/] What was not done is listed as errors.",
}
_TOLD = {
    (command, "no_op")
    for command in ("adopt", "pack", "recover", "rollback", *sidecars_text.COMMANDS)
}
"""Reports that say all by themselves."""
_AS_IT_IS = ("demo", "have", "show-transaction")
"""Commands whose reports have no text of others, or make it harmless themselves."""


def render(report: Report, out: Console, err: Console) -> None:
    """Print a report: what was found or done on ``out``, warnings and errors on ``err``."""
    painter = _PAINTERS.get(report.command)
    if report.status != "error" and painter is not None:
        painter(report.data if report.command in _AS_IT_IS else harmless(report.data), out)
        closing = _CLOSING.get(report.status)
        if closing is not None and (report.command, report.status) not in _TOLD:
            out.print(closing, highlight=False)
    for warning in report.warnings:
        _tell(err, "[yellow]warning[/]", warning.code, warning.session_id, warning.message)
    for problem in report.errors:
        _tell(err, "[red]error[/]", problem.code, problem.session_id, problem.message)
        if problem.hint:
            err.print(f"  → {harmless(problem.hint)}", markup=False, highlight=False, style="dim")


def _tell(err: Console, kind: str, code: str, session_id: str | None, message: str) -> None:
    from rich.markup import escape

    about = f"{short_id(session_id)}: " if session_id else ""
    err.print(
        f"{kind} \\[{code}] {escape(about + harmless(message))}", highlight=False, soft_wrap=True
    )


def _sessions(data: Json, out: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    package = data["package"]
    out.print(
        f"[bold]{escape(base(package['source']))}[/] · {package['kind']} in a "
        f"{package['container']} · "
        f"{_counted(package['sessions'], 'session')}",
        highlight=False,
    )
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    executed = any("result" in session for session in data["sessions"])
    for title in ("session", "what it is", "turns", "class", "result" if executed else "action"):
        table.add_column(
            title,
            justify="right" if title == "turns" else "left",
            no_wrap=title != "what it is",
            overflow="ellipsis" if title == "what it is" else "fold",
        )
    table.columns[1].no_wrap = True
    table.columns[1].ratio = 1
    for session in data["sessions"]:
        outcome = session.get("result") or session["action"]
        kind = session["classification"]
        reason = _aside(session)
        table.add_row(
            short_id(session["session_id"]),
            _title(session),
            str(session.get("turns", "")),
            f"[{STYLES.get(kind, '')}]{kind}[/]",
            f"[{STYLES.get(outcome, 'default')}]{outcome}[/]{reason}",
        )
    out.print(table)
    total = ", ".join(f"{n} {kind}" for kind, n in data["counts"]["classification"].items())
    out.print(f"\n{total}", highlight=False)
    _branches(data["sessions"], out)
    _differences(data["sessions"], out)
    _removed(data["sessions"], out)
    if data.get("transaction_id"):
        out.print(f"transaction {data['transaction_id']}", highlight=False)


def _aside(session: Json) -> str:
    """What is worth telling of an action beside its name."""
    if session["reason"] in ("local_ahead", "taken_back"):
        return f" ({session['reason']})"
    if session["action"] == "fast_forward" and session["relation"] != "incoming_ahead":
        return f" ({', '.join(session.get('follows', ()))} only)"
    return ""


def _branches(sessions: list[Json], out: Console) -> None:
    """What branches part from."""
    for session in sessions:
        local = session.get("local")
        if session.get("branch_of") and local:
            common = session["entries"]["common"]
            out.print(
                f"{short_id(session['local_session_id'])} is a branch of "
                f"{short_id(session['branch_of'])} "
                f"“{local['name'] or local['first_user_message'] or ''}” "
                f"after {_counted(common, 'common entry', 'common entries')}",
                markup=False,
                highlight=False,
            )


def _differences(sessions: list[Json], out: Console) -> None:
    """Names and the like that follow the source, and those that were changed on both sides."""
    for session in sessions:
        about = short_id(session["session_id"])
        for key, value in session.get("follows", {}).items():
            out.print(f"{about} {key}: becomes {value!r}", markup=False, highlight=False)
        for key, sides in session.get("differs", {}).items():
            out.print(
                f"{about} {key}: stays {sides['local']!r}; the package has {sides['incoming']!r}",
                markup=False,
                highlight=False,
            )


def _counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _removed(sessions: list[Json], out: Console) -> None:
    """What the policy took away from imported sessions, if anything."""
    touched = [session for session in sessions if session.get("removed")]
    if touched:
        kinds = ", ".join(sorted({kind for session in touched for kind in session["removed"]}))
        out.print(
            f"taken away from {len(touched)} of them, so that nothing acts unasked: {kinds} "
            "(--trust-package keeps it)",
            highlight=False,
        )


def _demo(data: Json, out: Console) -> None:
    for number, step in enumerate(data["steps"], 1):
        out.print(f"[bold cyan]{number}. {step['title']}[/]")
        out.print(step["meaning"], highlight=False)
        out.print(f"[bold]$ {step['command']}[/]", highlight=False)
        _PAINTERS[step["report"]](step["data"], out)
        out.print()
    if data["kept"]:
        out.print(f"The home is kept in {data['home']}.", highlight=False)
    else:
        out.print("The home of this demonstration is gone again; your own was not touched.")


def _title(session: Mapping[str, str | None]) -> str:
    from rich.markup import escape

    return escape(session.get("title") or "")


def _recovered(data: Json, out: Console) -> None:
    if not data["transactions"]:
        out.print("No transaction was interrupted.")
    for item in data["transactions"]:
        out.print(
            f"{item['transaction_id']}: {_counted(len(item['sessions_kept']), 'session')} kept, "
            f"{len(item['sessions_undone'])} undone",
            highlight=False,
        )


_PAINTERS: dict[str, Callable[[Json, Console], None]] = {
    "inspect-package": _sessions,
    "sync": _sessions,
    "pack": pack.paint,
    "have": have_text.paint,
    "list-transactions": transactions_text.transactions,
    "show-transaction": transactions_text.transaction,
    "rollback": transactions_text.rollback,
    "recover": _recovered,
    "sidecar-health": health_text.health,
    "adopt": health_text.adoption,
    "rebuild-index": rebuild_index.paint,
    "demo": _demo,
    **dict.fromkeys(sidecars_text.COMMANDS, sidecars_text.changes),
}
