"""Imports, packages, sessions, heads and lineages as nodes, and what came of what between them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from .. import diagrams
from ..diagrams import Arrow, Node, Shape, printable
from ..identify import short_id
from ..lineage.graph import Descent, ancestors_first
from ..model import Json
from .index import Index

SHORT = 12
"""How many digits of a digest are shown."""

_SHAPES: dict[str, Shape] = {
    "import": "ellipse",
    "package": "folder",
    "session": "box",
    "head": "hexagon",
    "lineage": "diamond",
}


@dataclass(slots=True)
class Graph:
    """Nodes by id, each with its ``kind``, and edges ``(source, target, kind)``."""

    nodes: dict[str, Json] = field(default_factory=dict)
    edges: dict[tuple[str, str, str], None] = field(default_factory=dict)

    def node(self, kind: str, key: str, **told: Any) -> str:
        """Have a node; what it is known by within the graph. What was told first stays."""
        identifier = f"{kind}:{key}"
        self.nodes.setdefault(identifier, {"id": identifier, "kind": kind, **told})
        return identifier

    def edge(self, source: str, target: str, kind: str) -> None:
        """Have an edge, once."""
        self.edges[source, target, kind] = None

    def ordered(self) -> list[Json]:
        """The nodes so that none comes before what it came of."""
        known = list(self.nodes)
        ends = tuple((source, target) for source, target, _ in self.edges)
        return [self.nodes[name] for name in ancestors_first(Descent(tuple(known), ends), known)]

    def edges_json(self) -> list[Json]:
        """The edges as reports have them."""
        return [{"source": s, "target": t, "kind": kind} for s, t, kind in self.edges]


def read_graph(index: Index, import_id: str | None = None) -> Graph:
    """The graph of all imports, or of what one of them read.

    An import ``reads`` packages; these ``hold`` sessions; a session ``ends_at`` heads, the last
    events that it had when it was imported. In a lineage lines ``begin`` with a head, and heads
    ``continue`` each other. ``fork`` and ``spawn`` are Codex's own.
    """
    graph = Graph()
    told = {"import": import_id}
    packages = _imports(graph, index, told)
    sessions = _sessions(graph, index, told)
    for number, place, session in index.rows(
        f"SELECT import, package, session FROM readings {_CHOSEN} ORDER BY 1, 2, 3",  # noqa: S608
        told,
    ):
        graph.edge(packages[number, place], sessions[session], "holds")
    _lines(graph, index, told)
    return graph


_CHOSEN = (
    "JOIN imports ON imports.id = readings.import WHERE :import IS NULL OR import_id = :import"
)


def _imports(graph: Graph, index: Index, told: Json) -> dict[tuple[int, int], str]:
    """The imports and their packages, these by import and place."""
    found = {}
    for number, import_id, at, added, seen, refused, place, kind, name, sha256, home in index.rows(
        "SELECT imports.id, import_id, at, added, seen, refused, number, kind, name, sha256, home "
        "FROM packages JOIN imports ON imports.id = packages.import "
        "WHERE :import IS NULL OR import_id = :import ORDER BY imports.id, number",
        told,
    ):
        counts = {"added": added, "seen": seen, "refused": refused}
        run = graph.node("import", import_id, import_id=import_id, at=at, **counts)
        known_by = sha256 or f"{kind} {name} {home or ''}"
        package = graph.node(
            "package", known_by, package_kind=kind, name=name, sha256=sha256, home=home
        )
        graph.edge(run, package, "reads")
        found[number, place] = package
    return found


def _sessions(graph: Graph, index: Index, told: Json) -> dict[int, str]:
    """The sessions by their rows, each a state of one, and what they are forks or agents of."""
    found = {}
    rows = index.rows(
        f"""
        SELECT id, session_id, home, coalesce(name, title), lineage_id, head_event, forked_from,
        spawned_by FROM sessions WHERE id IN (SELECT session FROM readings {_CHOSEN}) ORDER BY id
        """,  # noqa: S608
        told,
    ).fetchall()
    for number, session_id, home, title, lineage_id, head_event, *_ in rows:
        found[number] = graph.node(
            "session", session_id, session_id=session_id, title=title, home=home
        )
        if lineage_id is not None:
            lineage = graph.node("lineage", lineage_id, lineage_id=lineage_id)
            if head_event is None:
                graph.edge(found[number], lineage, "ends_at")
    for number, *_, forked_from, spawned_by in rows:
        for origin, kind in ((forked_from, "fork"), (spawned_by, "spawn")):
            if f"session:{origin}" in graph.nodes:
                graph.edge(f"session:{origin}", found[number], kind)
    return found


def _lines(graph: Graph, index: Index, told: Json) -> None:
    """The heads, and how they continue each other: by stretch and entry."""
    stretches: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for session_id, event_id, stretch, entry, lineage_id in index.rows(
        f"""
        SELECT session_id, head_event, stretch, entry, sessions.lineage_id
        FROM sessions JOIN events ON event_id = head_event
        WHERE sessions.id IN (SELECT session FROM readings {_CHOSEN})
        ORDER BY stretch, entry, sessions.id
        """,  # noqa: S608
        told,
    ):
        head = graph.node("head", event_id, event_id=event_id, entry=entry, lineage_id=lineage_id)
        graph.edge(f"session:{session_id}", head, "ends_at")
        if (entry, head) not in stretches[stretch][-1:]:
            stretches[stretch].append((entry, head))
    for stretch, heads in stretches.items():
        before = _before(index, stretches, stretch)
        for _, head in heads:
            lineage = f"lineage:{graph.nodes[head]['lineage_id']}"
            graph.edge(before or lineage, head, "continues" if before else "begins")
            before = head


def _before(
    index: Index, stretches: Mapping[int, list[tuple[int, str]]], stretch: int
) -> str | None:
    """The last head on the line that a stretch begins behind."""
    while True:
        source, last = index.rows(
            "SELECT source, source_entry FROM stretches WHERE id = ?", (stretch,)
        ).fetchone()
        if source is None:
            return None
        found = [head for entry, head in stretches.get(source, ()) if entry <= last]
        if found:
            return found[-1]
        stretch = source


# -- drawing --------------------------------------------------------------------------------------


def dot(graph: Graph) -> Iterator[str]:
    """The lines of a Graphviz document."""
    return diagrams.dot("events", _nodes(graph), _arrows(graph))


def mermaid(graph: Graph) -> Iterator[str]:
    """The lines of a mermaid flowchart."""
    return diagrams.mermaid(list(_nodes(graph)), _arrows(graph))


def as_json(graph: Graph) -> Iterator[str]:
    """The nodes and edges as one JSON document."""
    document = {"nodes": graph.ordered(), "edges": graph.edges_json()}
    yield orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


FORMATS: dict[str, Callable[[Graph], Iterator[str]]] = {
    "dot": dot,
    "mermaid": mermaid,
    "json": as_json,
}
"""What each of the forms is written by."""


def _nodes(graph: Graph) -> Iterator[Node]:
    for node in graph.ordered():
        yield Node(
            node["id"],
            "\n".join(map(printable, _label(node).split("\n", 1))),
            _SHAPES[node["kind"]],
        )


def _arrows(graph: Graph) -> Iterator[Arrow]:
    for source, target, kind in graph.edges:
        yield Arrow(source, target, kind.replace("_", " "), dashed=kind in ("reads", "holds"))


def _label(node: Json) -> str:
    """What a node is known by, in two lines."""
    match node["kind"]:
        case "import":
            return f"import {node['at'][:16]}\n{node['added']} added, {node['seen']} seen"
        case "package":
            return f"{node['name']}\n{(node['sha256'] or node['package_kind'])[:SHORT]}"
        case "session":
            return f"{node['title'] or 'a session'}\n{short_id(node['session_id'])}"
        case "head":
            return f"entry {node['entry']}\n{node['event_id'][:SHORT]}"
    return f"lineage\n{node['lineage_id'][:SHORT]}"
