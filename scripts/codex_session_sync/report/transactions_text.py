"""Transactions, what they changed, and their undoing, as a person reads them at a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..identify import short_id
from ..model import Json
from .parts import STYLES, base, harmless

if TYPE_CHECKING:
    from rich.console import Console

EFFECTS = {
    "remove": "goes out of the home",
    "cut_back": "ends where it did before",
    "remap": "its mapping is as it was",
    "put_back": "makes way for the one before",
    "restore": "is as it was before the rollback",
}
STATES = {
    "as_left": "as it was left",
    "moved_on": "moved on",
    "rolled_back": "rolled back",
    "unclear": "unclear",
}


def transactions(data: Json, out: Console) -> None:
    """The list of transactions."""
    from rich.markup import escape
    from rich.table import Table

    if not data["transactions"]:
        out.print("No transactions yet.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("transaction", "kind", "status", "package", "counts"):
        table.add_column(title, no_wrap=title not in ("package", "counts"))
    for item in data["transactions"]:
        status = item["status"]
        table.add_row(
            item["transaction_id"],
            item["kind"],
            f"[{STYLES.get(status, '')}]{status}[/]",
            escape(base((item["package"] or {}).get("source", ""))),
            ", ".join(f"{n} {what}" for what, n in item["counts"].items()),
        )
    out.print(table)


def transaction(data: Json, out: Console) -> None:
    """One transaction: its sessions, who holds what now, and each change."""
    operations = data["transaction"]["operations"]
    item = harmless({k: v for k, v in data["transaction"].items() if k != "operations"})
    transactions({"transactions": [item]}, out)
    out.print(f"\n{item['created_at']} to {item['completed_at'] or 'now'}", highlight=False)
    if "rolls_back" in item:
        out.print(f"rolls back {item['rolls_back']}", highlight=False)
    out.print()
    _sessions(item["sessions"], out)
    for skill in item.get("skills", ()):
        now = STATES[skill["now"]["state"]] if "now" in skill else ""
        out.print(f"skill {skill['name']}: {skill['result']} {now}", markup=False, highlight=False)
    out.print()
    # Of their texts the length is told, and counted as they are.
    _changes(operations, out)
    _rows(harmless(operations), out)


def rollback(data: Json, out: Console) -> None:
    """What undoing a transaction does, or did, to each of its sessions."""
    from rich.markup import escape
    from rich.table import Table

    out.print(f"rolling back [bold]{data['transaction_id']}[/]", highlight=False)
    for skill in data.get("skills", ()):
        outcome = skill.get("result") or skill["action"]
        told = skill["reason"] or EFFECTS[skill["effect"]]
        out.print(f"skill {skill['name']}: {outcome}; it {told}", markup=False, highlight=False)
    if not data["sessions"]:
        if not data.get("skills"):
            out.print("It changed no session.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    executed = any("result" in session for session in data["sessions"])
    for title in ("session", "name", "was", "result" if executed else "action"):
        table.add_column(title, no_wrap=True, overflow="ellipsis" if title == "name" else "fold")
    table.add_column("")
    for session in data["sessions"]:
        outcome = session.get("result") or session["action"]
        table.add_row(
            short_id(session["local_session_id"]),
            escape(session["name"] or ""),
            session["did"],
            f"[{STYLES.get(outcome, 'default')}]{outcome}[/]",
            session["reason"] or EFFECTS[session["effect"]],
        )
    out.print(table)
    if data.get("rollback_transaction_id"):
        out.print(f"\ntransaction {data['rollback_transaction_id']}", highlight=False)


def _sessions(sessions: list[Json], out: Console) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("session", "local session", "class", "result", "now"):
        table.add_column(title, no_wrap=title != "now")
    for session in sessions:
        now = session.get("now")
        table.add_row(
            short_id(session["session_id"]),
            short_id(session["local_session_id"] or ""),
            session["classification"] or "",
            session["result"] or "",
            STATES[now["state"]] if now else "",
        )
    out.print(table)
    for session in sessions:
        now = session.get("now") or {}
        if now.get("message"):
            about = short_id(session["local_session_id"])
            out.print(f"{about}: {now['message']}", markup=False, highlight=False)


def _changes(operations: list[Json], out: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("state", "change", "where"):
        table.add_column(title, overflow="fold")
    for operation in operations:
        table.add_row(operation["state"], operation["kind"], escape(harmless(_place(operation))))
    out.print(table)


def _rows(operations: list[Json], out: Console) -> None:
    """The columns of rows that were changed, before and after."""
    from rich.markup import escape
    from rich.table import Table

    changed = [operation for operation in operations if operation.get("changes")]
    if not changed:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("row", "column", "before", "after"):
        table.add_column(title, overflow="fold")
    for operation in changed:
        about = f"{operation['table']} {short_id(_key(operation))}"
        for column, sides in sorted(operation["changes"].items()):
            before, after = (escape(str(sides[side])) for side in ("before", "after"))
            table.add_row(about, escape(column), before, after)
            about = ""
    out.print()
    out.print(table)


def _place(operation: Json) -> str:
    match operation["kind"]:
        case "put_row":
            before, after = operation["before"], operation["after"]
            verb = "new" if before is None else "removed" if after is None else "changed"
            return f"{operation['table']} {_key(operation)} ({verb})"
        case "append_text":
            return f"{operation['path']} (+{len(operation['text'])} characters)"
        case "edit_text":
            more = len(operation["after"]) - len(operation["before"])
            return f"{operation['path']} ({more:+d} characters)"
        case "extend_file":
            return f"{operation['path']} (+{operation['added']} bytes)"
        case "cut_file":
            return f"{operation['path']} (-{operation['removed']} bytes)"
        case "move_file" | "move_folder":
            return f"{operation['path']} → {operation['new_path']}"
        case "forget_projection":
            return f"the turns that Codex shows of {operation['segment_id']}"
    return str(operation["path"])


def _key(operation: Json) -> str:
    row = operation["after"] or operation["before"]
    return str(row.get("id") or row.get("thread_id"))
