"""Checkpoints as a person reads them at a terminal."""

from __future__ import annotations

from rich.text import Text

from ..model import Json
from .parts import counted
from .screen import Screen
from .table import WANTED, Column, table

MOST = 20
"""How many sessions of a checkpoint are told each by itself."""
RESULTS = {
    "installed": "Git makes a checkpoint after each commit from now on:",
    "updated": "The hook is brought up to date:",
    "removed": "Git makes no checkpoints any more:",
    "unchanged": "Nothing to change:",
}


def captured(data: Json, out: Screen) -> None:
    """What a capture kept."""
    one = data["checkpoint"]
    _head(one, out)
    if one["package"] is None:
        out.paragraph(Text("Nothing had changed; the sessions are those of packages before."))
    else:
        from rich.filesize import decimal

        told = f"packed {counted(data['packed'], 'session')}, {decimal(one['package_bytes'])}"
        out.paragraph(Text(told))
    if data["replaced"]:
        out.paragraph(Text("It takes the place of an earlier one, which is kept."))
    _sessions(one, out)


def report(data: Json, out: Screen) -> None:
    """The sessions behind commits."""
    for number, one in enumerate(data["checkpoints"]):
        if number:
            out.print()
        _head(one, out)
        _sessions(one, out)
        for session in _shown(one):
            _words(session, out)
        if "listed_sessions" in one:
            _listed(one["listed_sessions"], out)
    if data["missing"]:
        shown = ", ".join(sha[:12] for sha in data["missing"][:MOST])
        more = len(data["missing"]) - MOST
        out.paragraph(
            Text(f"without a checkpoint: {shown}{f' and {more} more' if more > 0 else ''}")
        )
    for way in data.get("open", ()):
        out.print(f"\nto go on with {out.short(way['session_id'])}:", highlight=False)
        for command in way["commands"]:
            out.print(f"  {command}", markup=False, highlight=False, soft_wrap=True)


def checkpoints(data: Json, out: Screen) -> None:
    """The list of checkpoints."""
    if not data["checkpoints"]:
        out.print("No checkpoints yet.")
        return
    commit, what = Column("commit"), Column("message", gives=WANTED)
    name, branch = Column("repository", drop=2), Column("branch", drop=3)
    age, number = Column("age", right=True, drop=1), Column("sessions", right=True, drop=4)
    aside = Column("", drop=5)
    for one in data["checkpoints"]:
        commit.add(one["commit"]["sha"][:12])
        what.add(one["commit"]["subject"])
        name.add(one["repository"]["name"])
        branch.add(one["commit"]["branch"] or "")
        age.add(out.age(one["captured_at"]))
        number.add(str(one["related"]))
        aside.add("replaced" if one["replaced"] else "", "dim")
    table([commit, what, name, branch, age, number, aside], out)


def hook(data: Json, out: Screen) -> None:
    """What was done to a hook."""
    out.paragraph(Text(f"{RESULTS[data['result']]} {data['hook']}"))
    if data["kept"]:
        out.paragraph(Text("What else is in it is kept as it is."))
    if "log" in data:
        out.paragraph(Text(f"What they come to is told in {data['log']}"))


def _head(one: Json, out: Screen) -> None:
    """Which commit it is, and when it was captured."""
    commit, branch = one["commit"], one["commit"]["branch"]
    told = [one["repository"]["name"], *([branch] if branch else []), one["commit"]["subject"]]
    out.paragraph(Text.assemble((commit["sha"][:12], "bold"), " · ", " · ".join(told)))
    age, number = out.age(one["captured_at"]), counted(one["related"], "session")
    when = f"; captured {age} ago" if age not in ("", "now") else ""
    out.paragraph(Text(f"{number} of it, of {one['listed']} in the home{when}"))


def _shown(one: Json) -> list[Json]:
    """The sessions of the repository in which something was new; all of them where none is."""
    related = [session for session in one["sessions"] if session["related"]]
    new = [session for session in related if session["went_on"]]
    return (new or related)[:MOST]


def _sessions(one: Json, out: Screen) -> None:
    """The sessions of the repository, and how many more there are."""
    shown = _shown(one)
    if not shown:
        return
    who, title, folder = Column("session"), Column("what it is", gives=WANTED), Column("", drop=3)
    age, turns = Column("age", right=True, drop=2), Column("turns", right=True, drop=4)
    new = Column("new", right=True, drop=1)
    for session in shown:
        who.add(out.short(session["session_id"]))
        title.add(session["name"] or session["title"] or "")
        folder.add(out.folder(session["cwd"]), "dim")
        age.add(out.age(session["last_at"]))
        turns.add(str(session["turns"]))
        new.add(f"{session['entries'] - session['entries_before']:+d}", "cyan")
    table([who, title, folder, age, turns, new], out)
    more = one["related"] - len(shown)
    if more > 0:
        out.print(f"{counted(more, 'more session')} of the repository", highlight=False)


def _words(session: Json, out: Screen) -> None:
    """What was said in a session last, where that is not all of it."""
    out.print()
    for who, words in (
        ("first", session["title"]),
        ("last", session["last_words"]),
        ("answer", session["last_answer"]),
    ):
        if words and not (who == "last" and words == session["title"]):
            lead = f"{out.short(session['session_id'])} {who}: "
            out.paragraph(Text.assemble((lead, "dim"), words))


def _listed(sessions: list[Json], out: Screen) -> None:
    """All sessions that the home held."""
    out.print()
    who, title, folder = Column("session"), Column("what it is", gives=WANTED), Column("", drop=2)
    age = Column("age", right=True, drop=1)
    for session in sessions:
        who.add(out.short(session["session_id"]))
        title.add(session["name"] or session["title"] or "")
        folder.add(out.folder(session["cwd"]), "dim")
        age.add(out.age(session["last_at"]))
    table([who, title, folder, age], out)
