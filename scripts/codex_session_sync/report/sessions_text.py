"""The sessions of a package as a person reads them: what they are here, and what is done."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from ..model import Json
from ..policy import MEANING
from . import diff_text, places_text, verify_text
from .parts import LEFT_OUT, STYLES, base, counted
from .screen import Screen
from .table import WANTED, Column, table


def paint(data: Json, out: Screen) -> None:
    """Print the package, its sessions, and what there is to say of some of them."""
    header(data["package"], out)
    sessions = data["sessions"]
    notable: list[Json] = []
    if sessions:
        table(_columns(sessions, notable, out), out)
        out.print()
    if data.get("left_out"):
        out.print(LEFT_OUT.format(data["left_out"]), highlight=False)
    total = ", ".join(f"{n} {kind}" for kind, n in data["counts"]["classification"].items())
    out.paragraph(Text(total))
    _branches(notable, out)
    _differences(notable, out)
    _removed(notable, out)
    places_text.paint(data, out)
    _forms(data, notable, out)
    for found in data.get("diff", ()):
        diff_text.paint(found, out)
    if data.get("transaction_id"):
        out.print(f"transaction {data['transaction_id']}", highlight=False)
    if (data.get("verify") or {}).get("sessions"):
        verify_text.paint(data["verify"], out)


def header(package: Json, out: Screen) -> None:
    """One line on the package."""
    told = f" · {package['kind']} in a {package['container']} · "
    number = counted(package["sessions"], "session")
    out.paragraph(Text.assemble((base(package["source"]), "bold"), told, number))


NOTABLE = ("branch_of", "follows", "differs", "removed", "written_as")
"""What of a session is told beside the table."""
_WITH_IT = ("session_id", "local_session_id", "entries", "local")


def _columns(sessions: Sequence[Json], notable: list[Json], out: Screen) -> list[Column]:
    """The table; of the sessions of which there is more to tell that is added to ``notable``.

    One pass over the sessions, which may be made as they are looked at.
    """
    executed = "result" in sessions[0]
    who = Column("session")
    title = Column("what it is", gives=WANTED)
    folder = Column("folder", drop=5)
    age = Column("age", right=True, drop=4)
    turns = Column("turns", right=True, drop=2)
    kind = Column("class", drop=1)
    outcome = Column("result" if executed else "action")
    aside = Column("", drop=3)
    for session in sessions:
        done = str(session.get("result") or session["action"])
        who.add(out.short(session["session_id"]))
        title.add(session.get("title") or "")
        folder.add(out.folder(session.get("local_cwd") or session.get("cwd")), "dim")
        age.add(out.age(session.get("updated_at")))
        turns.add(str(session.get("turns", "")))
        kind.add(session["classification"], STYLES.get(session["classification"], ""))
        outcome.add(done, STYLES.get(done, ""))
        aside.add(_aside(session))
        if any(session.get(key) for key in NOTABLE):
            notable.append({k: session[k] for k in (*NOTABLE, *_WITH_IT) if k in session})
    return [who, title, folder, age, turns, kind, outcome, aside]


def _aside(session: Json) -> str:
    """What is worth telling of an action beside its name."""
    if session["reason"] not in (None, "equal"):
        return str(session["reason"])
    if session["action"] == "fast_forward" and session["relation"] != "incoming_ahead":
        return f"{', '.join(session.get('follows', ()))} only"
    return ""


def _branches(sessions: list[Json], out: Screen) -> None:
    """What branches part from."""
    for session in sessions:
        local = session.get("local")
        if session.get("branch_of") and local:
            common = session["entries"]["common"]
            told = (
                f"{out.short(session['local_session_id'])} is a branch of "
                f"{out.short(session['branch_of'])} "
                f"“{local['name'] or local['first_user_message'] or ''}” "
                f"after {counted(common, 'common entry', 'common entries')}"
            )
            out.paragraph(Text(told))


def _differences(sessions: list[Json], out: Screen) -> None:
    """Names and the like that follow the source, and those that were changed on both sides."""
    for session in sessions:
        about = out.short(session["session_id"])
        for key, value in session.get("follows", {}).items():
            out.paragraph(Text(f"{about} {key}: becomes {value!r}"))
        for key, sides in session.get("differs", {}).items():
            told = f"stays {sides['local']!r}; the package has {sides['incoming']!r}"
            out.paragraph(Text(f"{about} {key}: {told}"))


def _removed(sessions: list[Json], out: Screen) -> None:
    """What the policy takes away from sessions, if anything, those that lose the same together."""
    found: dict[tuple[str, ...], list[str]] = {}
    for session in sessions:
        if session.get("removed"):
            found.setdefault(tuple(session["removed"]), []).append(session["session_id"])
    if not found:
        return
    out.paragraph(Text("taken away, so that nothing acts unasked (--trust-package keeps it):"))
    for kinds, ids in found.items():
        who = ", ".join(out.short(i) for i in ids[:3]) + (
            f" and {n} more" if (n := len(ids) - 3) > 0 else ""
        )
        what = "; ".join(MEANING.get(k, k) for k in kinds)
        out.paragraph(Text(f"  {who}: {what}"), 4)


def _forms(data: Json, sessions: list[Json], out: Screen) -> None:
    """Which sessions are put into another form, and for which Codex."""
    converted = [session for session in sessions if session.get("written_as")]
    if converted:
        home = data["home"]
        signs = {"database": home["database"], "installed": home["codex"]}
        told = ", ".join(f"{sign} {value}" for sign, value in signs.items() if value)
        out.paragraph(
            Text(
                f"{len(converted)} of them in the legacy form, since the Codex of this home does "
                f"not read paginated sessions ({told})"
            )
        )
