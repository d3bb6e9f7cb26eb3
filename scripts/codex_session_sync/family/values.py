"""A family of sessions as a value: nodes and edges, and the part of it that one session is in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TypeVar

from ..lineage.graph import connected
from ..model import Json


class Kind(StrEnum):
    """How an edge's target came from its source."""

    FORK = "fork"
    """Codex forked it."""
    SPAWN = "spawn"
    """It is a subagent of it."""
    BRANCH = "branch"
    """Both went on from a common part; a sync kept the incoming line as a session of its own."""
    STANDS_FOR = "stands_for"
    """It is the local session for one that has another id elsewhere."""
    APPLIED = "applied"
    """The transaction brought the package in."""
    WROTE = "wrote"
    """The transaction wrote the session."""
    ROLLS_BACK = "rolls_back"
    """The transaction undid the other."""


DESCENT = (Kind.FORK, Kind.SPAWN, Kind.BRANCH, Kind.STANDS_FOR)
"""The edges between sessions."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session, of this home or known to it; what is not known is None.

    ``here``: it is in this home now. Times are ISO 8601 in UTC. ``entries`` is how many
    conversation entries it had at its last sync.
    """

    id: str
    here: bool
    title: str | None = None
    name: str | None = None
    cwd: str | None = None
    archived: bool = False
    created_at: str | None = None
    updated_at: str | None = None
    turns: int | None = None
    entries: int | None = None
    originator: str | None = None
    cli_version: str | None = None


@dataclass(frozen=True, slots=True)
class Transaction:
    """What was done to the home at one time; ``what`` is its kind, such as ``sync``."""

    id: str
    what: str
    status: str
    created_at: str


@dataclass(frozen=True, slots=True)
class Package:
    """A package that a transaction applied, known by its file name."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Edge:
    """How one node came of another; ``result`` of WROTE: what became of the session."""

    source: str
    target: str
    kind: Kind
    result: str | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """Sessions, transactions and packages by id, and what is between them."""

    sessions: Mapping[str, Session]
    transactions: Mapping[str, Transaction]
    packages: Mapping[str, Package]
    edges: tuple[Edge, ...]

    def nodes(self) -> list[Json]:
        """Every node as reports have it: its ``kind``, and what is known of it."""
        return [
            {"kind": kind, **asdict(node)}
            for kind, found in (
                ("session", self.sessions),
                ("transaction", self.transactions),
                ("package", self.packages),
            )
            for node in found.values()
        ]

    def edges_json(self) -> list[Json]:
        """Every edge as reports have it."""
        return [
            {k: v for k, v in asdict(edge).items() if k != "result" or v is not None}
            for edge in self.edges
        ]

    def of(self, session_id: str) -> Family:
        """The sessions that one descends from or is related to, and what touched any of them."""
        descent = [(e.source, e.target) for e in self.edges if e.kind in DESCENT]
        kin = connected(descent, session_id)
        wrote = [e for e in self.edges if e.kind is Kind.WROTE and e.target in kin]
        done = {e.source for e in wrote}
        done |= {
            e.source
            for e in self.edges
            if e.kind is Kind.ROLLS_BACK and e.target in done and e.source not in done
        }
        return self._only(kin | done)

    def related(self) -> Family:
        """The family without the sessions that have no relative and that nothing here wrote."""
        told = {end for edge in self.edges for end in (edge.source, edge.target)}
        return self._only(told)

    def _only(self, ids: set[str]) -> Family:
        applied = {e.source for e in self.edges if e.kind is Kind.APPLIED and e.target in ids}
        ids = ids | applied
        return replace(
            self,
            sessions=_those(self.sessions, ids),
            transactions=_those(self.transactions, ids),
            packages=_those(self.packages, ids),
            edges=tuple(e for e in self.edges if e.source in ids and e.target in ids),
        )


T = TypeVar("T")


def _those(found: Mapping[str, T], ids: set[str]) -> dict[str, T]:
    return {i: node for i, node in found.items() if i in ids}


def parents(edges: Iterable[Edge]) -> dict[str, Edge]:
    """The edge that a session hangs on in a tree: the nearest of those that it has.

    A branch is shown under the session that it parted from, a copy under that of its origin.
    """
    rank = {kind: number for number, kind in enumerate(_NEAREST)}
    found: dict[str, Edge] = {}
    for edge in edges:
        if edge.kind not in rank or edge.source == edge.target:
            continue
        known = found.get(edge.target)
        if known is None or (rank[edge.kind], edge.source) < (rank[known.kind], known.source):
            found[edge.target] = edge
    return _without_circles(found)


_NEAREST = (Kind.BRANCH, Kind.FORK, Kind.SPAWN, Kind.STANDS_FOR)


def _without_circles(found: dict[str, Edge]) -> dict[str, Edge]:
    """Sessions that claim to come from each other: the edge that closes a circle goes."""
    kept: dict[str, Edge] = {}
    for target, edge in found.items():
        above: str | None = edge.source
        while above is not None and above != target:
            above = kept[above].source if above in kept else None
        if above is None:
            kept[target] = edge
    return kept
