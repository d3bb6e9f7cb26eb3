"""The descent of sessions: forks of forks, subagents of parents. The only module with networkx.

That takes as long to import as all the rest, and is needed only where sessions are ordered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from .kinship import kinship

if TYPE_CHECKING:
    import networkx as nx


def descent(metas: Mapping[str, dict[str, object]]) -> nx.DiGraph[str]:
    """A graph with an edge from each session to those that were forked from or spawned by it.

    ``metas`` maps session ids to their ``session_meta`` payloads; ancestors that are not among
    them are left out.
    """
    import networkx as nx

    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(metas)
    for session_id, meta in metas.items():
        for ancestor in kinship(meta):
            if ancestor is not None and ancestor in metas and ancestor != session_id:
                graph.add_edge(ancestor, session_id)
    return graph


def ancestors_first(graph: nx.DiGraph[str], order: Sequence[str]) -> list[str]:
    """The sessions so that none comes before what it descends from; else in the given order.

    Sessions that claim to descend from each other keep the given order among themselves.
    """
    import networkx as nx

    place = {session_id: number for number, session_id in enumerate(order)}
    groups: nx.DiGraph[int] = nx.condensation(graph)
    members: dict[int, set[str]] = {g: groups.nodes[g]["members"] for g in groups}
    rank = {group: min(place[i] for i in members[group]) for group in groups}
    return [
        session_id
        for group in nx.lexicographical_topological_sort(groups, key=lambda g: rank[g])
        for session_id in sorted(members[group], key=lambda i: place[i])
    ]


def with_needed(chosen: Iterable[str], needs: Callable[[str], Iterable[str]]) -> set[str]:
    """The chosen sessions and, step by step, all that they need; each is asked once."""
    import networkx as nx

    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(chosen)
    pending = list(graph)
    while pending:
        session_id = pending.pop()
        for needed in needs(session_id):
            if needed not in graph:
                pending.append(needed)
            graph.add_edge(session_id, needed)
    return set(graph)


def connected(edges: Iterable[tuple[str, str]], start: str) -> set[str]:
    """All nodes that edges, whatever their direction, lead to from one; itself included."""
    import networkx as nx

    graph: nx.Graph[str] = nx.Graph()
    graph.add_node(start)
    graph.add_edges_from(edges)
    return set(nx.node_connected_component(graph, start))
