"""The reports about events as a person reads them at a terminal."""

from __future__ import annotations

import re

from rich.text import Text

from ..model import Json
from .parts import counted, harmless
from .screen import Screen
from .table import WANTED, Column, table

SHORT = 12
"""How much of the id of an event, or of a digest, is shown."""
_SPACE = re.compile(r"\s+")
_WHO = {"user_message": "user", "agent_message": "agent", "withdrawn": "withdrawn"}


def imported(data: Json, out: Screen) -> None:
    """What an import added, and of which sessions."""
    counts = data["counts"]
    seen = f" · {counts['seen']} seen again" if counts["seen"] else ""
    out.print(
        Text.assemble(
            (counted(counts["added"], "new event"), "bold"),
            f"{seen} · {counted(counts['sessions'], 'session')}",
        ),
        highlight=False,
    )
    _sessions([one for one in data["sessions"] if one.get("added")], out)
    if counts["orphaned"]:
        out.print(
            f"{counts['orphaned']} of those seen again are of an import that did not end.",
            highlight=False,
        )
    out.print(f"import {data['import_id']}", style="dim", highlight=False)


def searched(data: Json, out: Screen) -> None:
    """The events that were found: what was said, by whom, in which session."""
    events = data["events"]
    if not events:
        out.print("Nothing was found.")
        return
    for event in events:
        first, *others = event["sessions"] or [None]
        head = Text.assemble((event["event_id"][:SHORT], "cyan"), f"  {_WHO[event['kind']]}")
        head.append(f"  {harmless(event['time'][:16].replace('T', ' '))}")
        if first is not None:
            title = harmless(" ".join(str(first["name"] or first["title"] or "").split()))
            more = f" and {counted(len(others), 'other')}" if others else ""
            head.append(f"  {out.short(first['session_id'])}{more}  {title}", "dim")
        head.truncate(out.width, overflow="ellipsis")
        out.print(head, highlight=False, no_wrap=True)
        out.paragraph(Text.assemble("  ", _marked(event["snippet"], event["hits"])), 2)
    if data["total"] > len(events):
        out.print(f"{data['total'] - len(events)} more; --limit shows them", highlight=False)


def reported(data: Json, out: Screen) -> None:
    """What the store has, or one import, or one event."""
    if data["event"] is not None:
        _event(data["event"], out)
    elif data["import"] is not None:
        _import(data["import"], out)
    else:
        _totals(data["totals"], out)
        _imports(data["imports"], out)


def drawn(data: Json, out: Screen) -> None:
    """The graph as it is."""
    for line in data["document"].splitlines():
        out.print(Text(line), soft_wrap=True)


def indexed(data: Json, out: Screen) -> None:
    """What was put into the index."""
    how = "made anew of" if data["anew"] else "continued by"
    new = data["anew"] or data["imports"]
    what = f"{how} {counted(data['imports'], 'import')}" if new else "up to date"
    out.print(f"The index is {what}.", highlight=False)
    _totals(data["totals"], out)


def _totals(totals: Json, out: Screen) -> None:
    events = totals["user_messages"] + totals["agent_messages"]
    out.print(
        Text.assemble(
            (counted(events, "event"), "bold"),
            f" · {totals['user_messages']} by users, {totals['agent_messages']} by agents · "
            f"{counted(totals['sessions'], 'session')} in {counted(totals['lineages'], 'lineage')}",
        ),
        highlight=False,
    )


def _imports(imports: list[Json], out: Screen) -> None:
    which, age = Column("import"), Column("age", right=True, drop=3)
    package = Column("package", gives=14)
    sessions, added = Column("sessions", right=True, drop=2), Column("new", right=True)
    seen, refused = Column("seen", right=True, drop=1), Column("refused", right=True, drop=4)
    for one in imports:
        which.add(one["import_id"])
        age.add(out.age(one["at"]))
        package.add(harmless(", ".join(package["name"] for package in one["packages"])))
        sessions.add(str(one["sessions"]))
        added.add(str(one["added"]))
        seen.add(str(one["seen"]))
        refused.add(str(one["refused"]) if one["refused"] else "", "yellow")
    if imports:
        table([which, age, package, sessions, added, seen, refused], out)


def _import(told: Json, out: Screen) -> None:
    counts = told["counts"]
    names = harmless(", ".join(package["name"] for package in told["packages"]))
    out.print(
        Text.assemble(
            (f"import {told['import_id']}", "bold"),
            f" · {names} · {counts['added']} new, {counts['seen']} seen again, "
            f"{counts['refused']} refused",
        ),
        highlight=False,
    )
    _sessions(told["sessions"], out)


def _sessions(sessions: list[Json], out: Screen) -> None:
    who, title = Column("session"), Column("what it is", gives=WANTED)
    added, seen = Column("new", right=True), Column("seen", right=True, drop=1)
    for one in sessions:
        who.add(out.short(one["session_id"]))
        refused = one.get("refused")
        title.add(
            f"[{refused['code']}]" if refused else harmless(one["name"] or one["title"] or ""),
            "yellow" if refused else "",
        )
        added.add("" if refused else str(one["added"]))
        seen.add("" if refused else str(one["seen"]))
    if sessions:
        table([who, title, added, seen], out)


def _event(event: Json, out: Screen) -> None:
    head = Text.assemble((_WHO[event["kind"]], "bold"), f" · {harmless(event['time'])}")
    out.print(head, highlight=False)
    for line in event["text"].splitlines():
        out.print(Text(f"  {harmless(line)}"), highlight=False)
    if event["images"]:
        out.print(f"  with {counted(event['images'], 'image')}", highlight=False)
    raw = event["raw"]
    of = "package" if "package" in raw else "file"
    told = [
        f"event {event['event_id']}",
        f"record: {raw['length']} bytes at {raw['offset']}, in the {of} {raw[of][:SHORT]}:",
        f"  {harmless(raw['member'])}",
    ]
    for one in event["sessions"]:
        title = harmless(" ".join(str(one["name"] or one["title"] or "").split()))
        told.append(f"session {one['session_id']}  {title}")
    for line in told:
        out.print(Text(line, "dim"), highlight=False)


def _marked(snippet: str, hits: list[list[int]]) -> Text:
    """A part of a message in one line, what was found standing out."""
    text, place = Text(), 0
    for start, end in hits:
        text.append(_plain(snippet[place:start]))
        text.append(_plain(snippet[start:end]), "bold yellow")
        place = end
    text.append(_plain(snippet[place:]))
    return text


def _plain(text: str) -> str:
    """Text without breaks of lines, harmless to a terminal."""
    return str(harmless(_SPACE.sub(" ", text)))


PAINTERS = {
    "events import": imported,
    "events search": searched,
    "events report": reported,
    "events graph": drawn,
    "events index": indexed,
    "events rebuild": indexed,
}
