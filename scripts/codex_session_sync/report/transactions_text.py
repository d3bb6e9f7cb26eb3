"""Transactions, what they changed, and their undoing, as a person reads them at a terminal."""

from __future__ import annotations

from rich.text import Text

from ..model import Json
from .parts import LEFT_OUT, STYLES, base, harmless
from .screen import Screen
from .table import WANTED, Column, table

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


def transactions(data: Json, out: Screen) -> None:
    """The list of transactions."""
    if not data["transactions"]:
        out.print("No transactions yet.")
        return
    which, age = Column("transaction"), Column("age", right=True, drop=4)
    usual = all(item["status"] == "completed" for item in data["transactions"])
    kind, status = Column("kind"), Column("status", drop=5 if usual else 1)
    package, counts = Column("package", drop=3, gives=14), Column("counts", gives=20)
    for item in data["transactions"]:
        which.add(item["transaction_id"])
        age.add(out.age(item["created_at"]))
        kind.add(item["kind"])
        status.add(item["status"], STYLES.get(item["status"], ""))
        package.add(base((item["package"] or {}).get("source", "")))
        counts.add(", ".join(f"{n} {what}" for what, n in item["counts"].items()))
    table([which, age, kind, status, package, counts], out)


def transaction(data: Json, out: Screen) -> None:
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
        out.paragraph(Text(f"skill {skill['name']}: {skill['result']} {now}".rstrip()))
    out.print()
    # Of their texts the length is told, and counted as they are.
    _changes(operations, out)
    _rows(harmless(operations), out)


def rollback(data: Json, out: Screen) -> None:
    """What undoing a transaction does, or did, to each of its sessions."""
    out.print(f"rolling back [bold]{data['transaction_id']}[/]", highlight=False)
    for skill in data.get("skills", ()):
        outcome = skill.get("result") or skill["action"]
        told = skill["reason"] or EFFECTS[skill["effect"]]
        out.paragraph(Text(f"skill {skill['name']}: {outcome}; it {told}"))
    if data.get("left_out"):
        out.print(LEFT_OUT.format(data["left_out"]), highlight=False)
    elif not data["sessions"] and not data.get("skills"):
        out.print("It changed no session.")
    if data["sessions"]:
        _undone(data["sessions"], out)
    if data.get("rollback_transaction_id"):
        out.print(f"\ntransaction {data['rollback_transaction_id']}", highlight=False)


def _undone(sessions: list[Json], out: Screen) -> None:
    executed = any("result" in session for session in sessions)
    who, name, was = Column("session"), Column("name", gives=WANTED), Column("was", drop=2)
    outcome, effect = Column("result" if executed else "action"), Column("", drop=1)
    for session in sessions:
        done = session.get("result") or session["action"]
        who.add(out.short(session["local_session_id"]))
        name.add(session["name"] or "")
        was.add(session["did"])
        outcome.add(done, STYLES.get(done, ""))
        effect.add(session["reason"] or EFFECTS[session["effect"]])
    table([who, name, was, outcome, effect], out)


def _sessions(sessions: list[Json], out: Screen) -> None:
    who, here = Column("session"), Column("local session", drop=2)
    name, kind = Column("name", gives=WANTED), Column("class", drop=1)
    outcome, state = Column("result"), Column("now")
    for session in sessions:
        now = session.get("now")
        who.add(out.short(session["session_id"]))
        here.add(out.short(session["local_session_id"]))
        name.add(session.get("name") or "")
        kind.add(session["classification"] or "", STYLES.get(session["classification"], ""))
        outcome.add(session["result"] or "", STYLES.get(session["result"], ""))
        state.add(STATES[now["state"]] if now else "")
    table([who, here, name, kind, outcome, state], out)
    for session in sessions:
        now = session.get("now") or {}
        if now.get("message"):
            out.paragraph(Text(f"{out.short(session['local_session_id'])}: {now['message']}"))


def _changes(operations: list[Json], out: Screen) -> None:
    state, change = Column("state"), Column("change")
    where = Column("where", gives=WANTED, middle=True)
    for operation in operations:
        state.add(operation["state"])
        change.add(operation["kind"])
        where.add(harmless(_place(operation)))
    table([state, change, where], out)


def _rows(operations: list[Json], out: Screen) -> None:
    """The columns of rows that were changed, before and after."""
    changed = [operation for operation in operations if operation.get("changes")]
    if not changed:
        return
    row, column = Column("row", drop=1), Column("column")
    before, after = Column("before", gives=WANTED, middle=True), Column("after", gives=WANTED)
    after.middle = True
    for operation in changed:
        about = f"{operation['table']} {out.short(_key(operation))}"
        for name, sides in sorted(operation["changes"].items()):
            row.add(about)
            column.add(name)
            before.add(str(sides["before"]))
            after.add(str(sides["after"]))
            about = ""
    out.print()
    table([row, column, before, after], out)


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
