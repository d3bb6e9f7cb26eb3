"""Reports as a person reads them at a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..identify import short_id
from ..model import Json, Notice
from ..policy import MEANING
from . import (
    diff_text,
    explain_text,
    have_text,
    health_text,
    lineage_text,
    pack_text,
    places_text,
    rebuild_index_text,
    sidecars_text,
    transactions_text,
    verify_text,
)
from .envelope import Report
from .parts import STYLES, base, harmless
from .skills_text import skills

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_CLOSING = {
    "dry_run": "[bold]Nothing was written.[/] Add --execute to do this.",
    "no_op": "[bold]Nothing to do.[/] This home already has all of it.",
    "partial": "[bold yellow]Done in part.[/] What was not done is listed as errors.",
}
_TOLD = {
    (command, "no_op")
    for command in ("adopt", "pack", "verify", "recover", "rollback", *sidecars_text.COMMANDS)
}
"""Reports that say all by themselves."""
_AS_IT_IS = ("demo", "have", "lineage", "show-transaction")
"""Commands whose reports have no text of others, or make it harmless themselves."""


def render(report: Report, out: Console, err: Console) -> None:
    """Print a report: what was found or done on ``out``, warnings and errors on ``err``."""
    painter = _PAINTERS.get(report.command)
    if painter is not None and (report.data or report.status != "error"):
        data = report.data if report.command in _AS_IT_IS else harmless(report.data)
        painter(data, out)
        if report.command in ("inspect-package", "sync"):
            skills(data["skills"], out, with_diff=report.diff_skills)
        closing = _CLOSING.get(report.status)
        if closing is not None and (report.command, report.status) not in _TOLD:
            out.print(closing, highlight=False)
    for code, message, about in _gathered(report.warnings):
        _tell(err, "[yellow]warning[/]", code, about, message)
    for problem in report.errors:
        about = short_id(problem.session_id) if problem.session_id else ""
        _tell(err, "[red]error[/]", problem.code, about, problem.message)
        if problem.hint:
            err.print(f"  → {harmless(problem.hint)}", markup=False, highlight=False, style="dim")


def _gathered(warnings: Sequence[Notice]) -> Iterator[tuple[str, str, str]]:
    """Code, message and the sessions concerned: warnings that say the same are told once."""
    sessions: dict[tuple[str, str], list[str]] = {}
    for one in warnings:
        found = sessions.setdefault((one.code, one.message), [])
        found += [one.session_id] if one.session_id else []
    for (code, message), ids in sessions.items():
        shown = ", ".join(map(short_id, ids[:3]))
        more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
        yield code, message, shown + more


def _tell(err: Console, kind: str, code: str, about: str, message: str) -> None:
    from rich.markup import escape

    told = harmless(f"{about}: {message}" if about else message)
    err.print(f"{kind} \\[{code}] {escape(told)}", highlight=False, soft_wrap=True)


def _sessions(data: Json, out: Console) -> None:
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

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
    # One cell of many lines for each column: thousands of cells would take seconds to lay out.
    columns = [*zip(*map(_cells, data["sessions"]), strict=True)]
    if columns:
        table.add_row(*(Text("\n").join(column) for column in columns))
    out.print(table)
    total = ", ".join(f"{n} {kind}" for kind, n in data["counts"]["classification"].items())
    out.print(f"\n{total}", highlight=False)
    _branches(data["sessions"], out)
    _differences(data["sessions"], out)
    _removed(data["sessions"], out)
    places_text.paint(data, out)
    _forms(data, out)
    for found in data.get("diff", ()):
        diff_text.paint(found, out)
    if data.get("transaction_id"):
        out.print(f"transaction {data['transaction_id']}", highlight=False)


def _cells(session: Json) -> tuple[Text, ...]:
    """What the table says of a session; each is one line."""
    from rich.text import Text

    outcome = session.get("result") or session["action"]
    kind = session["classification"]
    return (
        Text(short_id(session["session_id"])),
        Text(session.get("title") or ""),
        Text(str(session.get("turns", ""))),
        Text(kind, STYLES.get(kind, "")),
        Text.assemble((outcome, STYLES.get(outcome, "default")), _aside(session)),
    )


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
    """What the policy takes away from sessions, if anything, those that lose the same together."""
    found: dict[tuple[str, ...], list[str]] = {}
    for session in sessions:
        if session.get("removed"):
            found.setdefault(tuple(session["removed"]), []).append(session["session_id"])
    if not found:
        return
    out.print(
        "taken away, so that nothing acts unasked (--trust-package keeps it):", highlight=False
    )
    for kinds, ids in found.items():
        who = ", ".join(short_id(i) for i in ids[:3]) + (
            f" and {n} more" if (n := len(ids) - 3) > 0 else ""
        )
        out.print(
            f"  {who}: {'; '.join(MEANING.get(k, k) for k in kinds)}",
            highlight=False,
            soft_wrap=True,
        )


def _forms(data: Json, out: Console) -> None:
    """Which sessions are put into another form, and for which Codex."""
    converted = [session for session in data["sessions"] if session.get("written_as")]
    if converted:
        home = data["home"]
        signs = {"database": home["database"], "installed": home["codex"]}
        told = ", ".join(f"{sign} {value}" for sign, value in signs.items() if value)
        out.print(
            f"{len(converted)} of them in the legacy form, since the Codex of this home does not "
            f"read paginated sessions ({told})",
            markup=False,
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


def _recovered(data: Json, out: Console) -> None:
    if not data["transactions"]:
        out.print("No transaction was interrupted.")
    for item in data["transactions"]:
        out.print(
            f"{item['transaction_id']}: {_counted(len(item['sessions_kept']), 'session')} kept, "
            f"{len(item['sessions_undone'])} undone",
            highlight=False,
        )
        for word in ("kept", "undone"):
            for name in item.get(f"skills_{word}", ()):
                out.print(f"  skill {name}: {word}", markup=False, highlight=False)


_PAINTERS: dict[str, Callable[[Json, Console], None]] = {
    "inspect-package": _sessions,
    "sync": _sessions,
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
    "demo": _demo,
    **dict.fromkeys(sidecars_text.COMMANDS, sidecars_text.changes),
}
