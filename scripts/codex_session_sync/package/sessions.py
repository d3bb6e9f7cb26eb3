"""What a package holds, whatever its kind: rollouts, and what else is known of each session."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from ..codex.inventory import RolloutIndex, rollout_file
from ..codex.rollout import SESSION_ID
from ..codex.state_db import KEY
from ..model import Json, Notice, Outline, PackagedSession, RolloutFile, Row, Tail
from .container import PackageTree
from .skills import PackagedSkill

EDGES = "thread_spawn_edges"

Kind = Literal["native", "transfer-v1", "snapshot"]


def _in_place(_: Collection[str]) -> None:
    """What unpacking comes to where all files of a package can be read as it is."""


@dataclass(frozen=True, slots=True)
class Package:
    """An opened package; valid as long as the tree it was read from is open."""

    kind: Kind
    tree: PackageTree
    rollouts: RolloutIndex
    sessions: tuple[PackagedSession, ...]
    notices: tuple[Notice, ...] = ()
    source_home: str | None = None
    """The ``installation_id`` of the home that it was taken from, where it tells."""
    outlines: Mapping[str, Outline] = field(default_factory=dict)
    """What the package itself tells of its sessions, by id; the others are read."""
    tails: Mapping[str, Tail] = field(default_factory=dict)
    """As ``outlines``, of the sessions of which the package has only a tail."""
    skills: tuple[PackagedSkill, ...] = ()
    unpack: Callable[[Collection[str]], None] = _in_place
    """Puts the files of these sessions, that have outlines or tails where they can be read.

    Raises PackageError if any part of the package is damaged.
    """

    def summary(self) -> Json:
        """What reports and the journal say of it."""
        return {
            "kind": self.kind,
            "container": self.tree.container,
            "source": str(self.tree.source.absolute()),
            "sessions": len(self.sessions),
            "bytes": sum(file.size for file in self.tree.files.values()),
        }


def rollouts_in(tree: PackageTree, archived: Mapping[str, bool] | None = None) -> list[RolloutFile]:
    """The rollout files of a tree; ``archived`` by name where the folder does not say it."""
    found = []
    for name, file in tree.files.items():
        *folders, base = name.split("/")
        flag = "archived_sessions" in folders if archived is None else archived.get(base, False)
        rollout = rollout_file(file.path, base, file.size, file.mtime_ns, archived=flag)
        if rollout is not None:
            most = tree.limits.expanded(file.size)
            found.append(replace(rollout, identity=file.identity, expands_to=most))
    return found


def edges_by_child(rows: Iterable[Row]) -> dict[str, Row]:
    """Parent and status of spawned sessions, by their id; rows of another shape are left out."""
    return {
        str(row["child_thread_id"]): {
            "parent_thread_id": row["parent_thread_id"],
            "status": row["status"],
        }
        for row in rows
        if all(SESSION_ID.fullmatch(str(row.get(c))) for c in ("parent_thread_id", KEY[EDGES][0]))
        and isinstance(row.get("status"), str)
    }


def tools_by_thread(rows: Iterable[Row]) -> dict[str, tuple[Row, ...]]:
    """Dynamic tool rows by the thread that they belong to, in order of position."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[str(row["thread_id"])].append(row)
    return {
        thread: tuple(sorted(tools, key=lambda tool: int(tool["position"] or 0)))
        for thread, tools in found.items()
    }
