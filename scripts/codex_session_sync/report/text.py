"""Reports as a person reads them at a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from ..codex.rollout import parse_time
from ..model import Json
from .envelope import Report

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {
    "new_lineage": "green",
    "unchanged": "dim",
    "fast_forward_import": "cyan",
    "diverged_lineage": "yellow",
    "id_collision_unrelated": "red",
    "imported": "green",
    "skipped": "dim",
    "refused": "yellow",
    "failed": "red",
    "completed": "green",
    "partial": "yellow",
    "running": "red",
    "recovered": "cyan",
}


def render(report: Report, out: Console, err: Console) -> None:
    """Print a report: what was found or done on ``out``, warnings and errors on ``err``."""
    painter = _PAINTERS.get(report.command)
    if report.status != "error" and painter is not None:
        painter(report.data, out)
        out.print(_closing(report), highlight=False)
    for warning in report.warnings:
        err.print(f"[yellow]warning[/] \\[{warning.code}] ", end="", highlight=False)
        err.print(_about(warning.session_id) + warning.message, markup=False, highlight=False)
    for problem in report.errors:
        err.print(f"[red]error[/] \\[{problem.code}] ", end="", highlight=False)
        err.print(_about(problem.session_id) + problem.message, markup=False, highlight=False)
        if problem.hint:
            err.print(f"  → {problem.hint}", markup=False, highlight=False, style="dim")


def _about(session_id: str | None) -> str:
    return f"{session_id}: " if session_id else ""


def _closing(report: Report) -> str:
    match report.status:
        case "dry_run":
            return "[bold]Nothing was written.[/] Add --execute to do this."
        case "no_op":
            return "[bold]Nothing to do.[/] This home already has all of it."
        case "partial":
            return "[bold yellow]Done in part.[/] What was not done is listed as errors."
    return ""


def _sessions(data: Json, out: Console) -> None:
    from rich.table import Table

    package = data["package"]
    out.print(
        f"[bold]{package['source']}[/] · {package['kind']} · {package['sessions']} sessions",
        highlight=False,
    )
    table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    executed = any("result" in session for session in data["sessions"])
    for title in ("session", "what it is", "turns", "class", "result" if executed else "action"):
        table.add_column(title, justify="right" if title == "turns" else "left", no_wrap=True)
    table.columns[1].overflow = "ellipsis"
    table.columns[1].ratio = 1
    for session in data["sessions"]:
        outcome = session.get("result") or session["action"]
        kind = session["classification"]
        reason = f" ({session['reason']})" if session["reason"] else ""
        table.add_row(
            session["session_id"],
            _title(session),
            str(session.get("turns", "")),
            f"[{STYLES.get(kind, '')}]{kind}[/]",
            f"[{STYLES.get(outcome, 'default')}]{outcome}[/]{reason}",
        )
    out.print(table)
    total = ", ".join(f"{n} {kind}" for kind, n in data["counts"]["classification"].items())
    out.print(f"\n{total}", highlight=False)
    if data.get("transaction_id"):
        out.print(f"transaction {data['transaction_id']}", highlight=False)


def _title(session: Mapping[str, str]) -> str:
    from rich.markup import escape

    return escape(session.get("name") or session.get("first_user_message") or "")


def _transactions(data: Json, out: Console) -> None:
    from rich.table import Table

    if not data["transactions"]:
        out.print("No transactions yet.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("transaction", "kind", "status", "when", "package", "counts"):
        table.add_column(title)
    for item in data["transactions"]:
        status = item["status"]
        table.add_row(
            item["transaction_id"],
            item["kind"],
            f"[{STYLES.get(status, '')}]{status}[/]",
            _when(item["created_at"]),
            (item["package"] or {}).get("source", ""),
            ", ".join(f"{n} {what}" for what, n in item["counts"].items()),
        )
    out.print(table)


def _transaction(data: Json, out: Console) -> None:
    from rich.table import Table

    item = data["transaction"]
    _transactions({"transactions": [item]}, out)
    sessions = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("session", "local session", "class", "result"):
        sessions.add_column(title, no_wrap=True)
    for session in item["sessions"]:
        sessions.add_row(
            session["session_id"],
            session["local_session_id"] or "",
            session["classification"],
            session["result"] or "",
        )
    out.print()
    out.print(sessions)
    changes = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("state", "change", "where"):
        changes.add_column(title, overflow="fold")
    for operation in item["operations"]:
        changes.add_row(operation["state"], operation["kind"], _place(operation))
    out.print()
    out.print(changes)


def _place(operation: Json) -> str:
    if operation["kind"] != "put_row":
        size = f" (+{len(operation['text'])} characters)" if "text" in operation else ""
        return f"{operation['path']}{size}"
    verb = "new" if operation["before"] is None else "replaced"
    key = operation["after"].get("id") or operation["after"].get("thread_id")
    return f"{operation['table']} {key} ({verb})"


def _recovered(data: Json, out: Console) -> None:
    if not data["transactions"]:
        out.print("No transaction was interrupted.")
    for item in data["transactions"]:
        out.print(
            f"{item['transaction_id']}: {len(item['sessions_kept'])} sessions stand, "
            f"{len(item['sessions_undone'])} are undone",
            highlight=False,
        )


def _when(timestamp: str | None) -> str:
    moment: datetime | None = parse_time(timestamp)
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else ""


_PAINTERS: dict[str, Callable[[Json, Console], None]] = {
    "inspect-package": _sessions,
    "sync": _sessions,
    "list-transactions": _transactions,
    "show-transaction": _transaction,
    "recover": _recovered,
}
