"""A family as a tree of text, and in the languages of Graphviz and mermaid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import orjson

from ..codex.rollout import parse_time
from ..identify import short_id
from .values import DESCENT, Edge, Family, Kind, Session, Transaction, parents

WORDS = {
    Kind.FORK: "fork",
    Kind.SPAWN: "subagent",
    Kind.BRANCH: "branch",
    Kind.STANDS_FOR: "copy",
}
_RESULTS = {
    "imported": "imported",
    "fast_forwarded": "continued",
    "branched": "branched",
    "adopted": "adopted",
    "remapped": "remapped",
    "undone": "rolled back",
}


def tree(family: Family, now: datetime) -> Iterator[str]:
    """The lines of the family as trees, the oldest session first, and how each got here."""
    above = parents(family.edges)
    below: dict[str, list[Edge]] = defaultdict(list)
    for edge in above.values():
        below[edge.source].append(edge)
    written = _written(family)

    def begun(edge: Edge) -> tuple[str, str]:
        return _begun(family.sessions[edge.target])

    roots = sorted((s for i, s in family.sessions.items() if i not in above), key=_begun)
    for number, root in enumerate(roots):
        if number:
            yield ""
        waiting: list[tuple[Edge | None, str, str, str]] = [(None, root.id, "", "")]
        while waiting:
            came, session_id, mark, lead = waiting.pop()
            how = f"{WORDS[came.kind]}: " if came else ""
            yield f"{mark}{how}{describe(family.sessions[session_id], now)}"
            children = sorted(below[session_id], key=begun, reverse=True)
            bar = "│  " if children else "   "
            yield from (f"{lead}{bar}· {line}" for line in written.get(session_id, ()))
            for place, child in enumerate(children):
                end, rest = ("└─ ", "   ") if place == 0 else ("├─ ", "│  ")
                waiting.append((child, child.target, lead + end, lead + rest))


def describe(session: Session, now: datetime) -> str:
    """A session as a person knows it: words, short id, folder, turns, age, what is special."""
    folder = (session.cwd or "").replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    turns = session.turns
    facts = [
        f"“{_printable(session.title)}”" if session.title else "a session without words",
        short_id(session.id),
        _printable(folder),
        "" if turns is None else "one turn" if turns == 1 else f"{turns} turns",
        age(session.updated_at, now),
        "archived" if session.archived else "",
        "" if session.here else "not here",
    ]
    return " · ".join(fact for fact in facts if fact)


def _printable(text: str) -> str:
    """Text that means nothing to a terminal."""
    return "".join(c if c.isprintable() else "�" for c in text)


def age(moment: str | None, now: datetime) -> str:
    """How long ago something was, in the largest unit that fits; nothing if it is not known."""
    then = parse_time(moment)
    if then is None:
        return ""
    seconds = max(0, (now - then).total_seconds())
    for unit, length in _UNITS:
        count = int(seconds // length)
        if count:
            return f"{'an' if unit == 'hour' and count == 1 else 'a' if count == 1 else count} " + (
                f"{unit}{'' if count == 1 else 's'} ago"
            )
    return "just now"


_UNITS = (
    ("year", 365 * 86400),
    ("month", 30 * 86400),
    ("week", 7 * 86400),
    ("day", 86400),
    ("hour", 3600),
    ("minute", 60),
)


def _written(family: Family) -> dict[str, list[str]]:
    """By session, what each transaction made of it, from which package."""
    packages = {
        e.target: family.packages[e.source].name for e in family.edges if e.kind is Kind.APPLIED
    }
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for edge in family.edges:
        if edge.kind is Kind.WROTE:
            done = family.transactions[edge.source]
            source = packages.get(done.id)
            day = done.created_at[:16].replace("T", " ")
            text = f"{day} {_RESULTS.get(edge.result or '', edge.result)}"
            whence = f" from {_printable(source)}" if source else ""
            found[edge.target].append((done.id, text + whence))
    return {session: [text for _, text in sorted(told)] for session, told in found.items()}


def _begun(session: Session) -> tuple[str, str]:
    return session.created_at or session.updated_at or "", session.id


def dot(family: Family) -> Iterator[str]:
    """The lines of a Graphviz document."""
    yield "digraph lineage {"
    yield "  rankdir=LR;"
    yield '  node [shape=box, style=rounded, fontname="sans-serif"];'
    for session in family.sessions.values():
        style = "" if session.here else ', style="rounded,dashed"'
        yield f"  {_quoted(session.id)} [label={_quoted(_label(session))}{style}];"
    for done in family.transactions.values():
        yield f"  {_quoted(done.id)} [shape=ellipse, label={_quoted(_moment(done))}];"
    for package in family.packages.values():
        yield f"  {_quoted(package.id)} [shape=folder, label={_quoted(_printable(package.name))}];"
    for edge in family.edges:
        line = "" if edge.kind in DESCENT else ", style=dashed"
        label = _quoted(edge.result or edge.kind)
        yield f"  {_quoted(edge.source)} -> {_quoted(edge.target)} [label={label}{line}];"
    yield "}"


def mermaid(family: Family) -> Iterator[str]:
    """The lines of a mermaid flowchart."""
    names = {i: f"n{number}" for number, i in enumerate(_ids(family))}
    yield "flowchart LR"
    shapes = [
        *((s.id, _label(s), '["', '"]') for s in family.sessions.values()),
        *((t.id, _moment(t), '(["', '"])') for t in family.transactions.values()),
        *((p.id, _printable(p.name), '[/"', '"/]') for p in family.packages.values()),
    ]
    for node, label, left, right in shapes:
        yield f"  {names[node]}{left}{_entities(label)}{right}"
    for edge in family.edges:
        arrow = "-->" if edge.kind in DESCENT else "-.->"
        label = _entities(edge.result or edge.kind)
        yield f'  {names[edge.source]} {arrow}|"{label}"| {names[edge.target]}'
    away = [names[s.id] for s in family.sessions.values() if not s.here]
    if away:
        yield "  classDef away stroke-dasharray: 4 3"
        yield f"  class {','.join(away)} away"


def _ids(family: Family) -> Iterator[str]:
    yield from family.sessions
    yield from family.transactions
    yield from family.packages


def _label(session: Session) -> str:
    return f"{_printable(session.title or 'a session')}\n{short_id(session.id)}"


def _moment(done: Transaction) -> str:
    return f"{done.what}\n{done.created_at[:16]}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _entities(text: str) -> str:
    """Text in which no character means anything to mermaid."""
    plain = "".join(c if c.isalnum() or c in " .,-_:/…\n" else f"#{ord(c)};" for c in text)
    return plain.replace("\n", "<br/>")


FORMATS: dict[str, Callable[[Family], Iterator[str]]] = {"dot": dot, "mermaid": mermaid}
"""What each of the languages is written by."""


def as_json(family: Family) -> str:
    """The nodes and edges as one JSON document."""
    document = {"nodes": family.nodes(), "edges": family.edges_json()}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


def today() -> datetime:
    """This moment."""
    return datetime.now(UTC)
