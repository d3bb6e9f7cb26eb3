"""A family as a tree of text, and in the languages of Graphviz and mermaid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import orjson

from .. import diagrams
from ..codex.rollout import parse_time
from ..diagrams import Arrow, Node, printable
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
        f"“{printable(session.title)}”" if session.title else "a session without words",
        short_id(session.id),
        printable(folder),
        "" if turns is None else "one turn" if turns == 1 else f"{turns} turns",
        age(session.updated_at, now),
        "archived" if session.archived else "",
        "" if session.here else "not here",
    ]
    return " · ".join(fact for fact in facts if fact)


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
            whence = f" from {printable(source)}" if source else ""
            found[edge.target].append((done.id, text + whence))
    return {session: [text for _, text in sorted(told)] for session, told in found.items()}


def _begun(session: Session) -> tuple[str, str]:
    return session.created_at or session.updated_at or "", session.id


def dot(family: Family) -> Iterator[str]:
    """The lines of a Graphviz document."""
    return diagrams.dot("lineage", list(_nodes(family)), list(_arrows(family)))


def mermaid(family: Family) -> Iterator[str]:
    """The lines of a mermaid flowchart."""
    return diagrams.mermaid(list(_nodes(family)), list(_arrows(family)))


def _nodes(family: Family) -> Iterator[Node]:
    for session in family.sessions.values():
        yield Node(session.id, _label(session), faded=not session.here)
    for done in family.transactions.values():
        yield Node(done.id, _moment(done), "ellipse")
    for package in family.packages.values():
        yield Node(package.id, printable(package.name), "folder")


def _arrows(family: Family) -> Iterator[Arrow]:
    for edge in family.edges:
        label = edge.result or edge.kind
        yield Arrow(edge.source, edge.target, label, dashed=edge.kind not in DESCENT)


def _label(session: Session) -> str:
    return f"{printable(session.title or 'a session')}\n{short_id(session.id)}"


def _moment(done: Transaction) -> str:
    return f"{done.what}\n{done.created_at[:16]}"


FORMATS: dict[str, Callable[[Family], Iterator[str]]] = {"dot": dot, "mermaid": mermaid}
"""What each of the languages is written by."""


def as_json(family: Family) -> str:
    """The nodes and edges as one JSON document."""
    document = {"nodes": family.nodes(), "edges": family.edges_json()}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


def today() -> datetime:
    """This moment."""
    return datetime.now(UTC)
