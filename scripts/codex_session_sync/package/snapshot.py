"""A snapshot: a Codex home or a copy of one, with or without its database, or just rollouts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from .. import validation
from ..codex.goals import TABLE as GOALS
from ..codex.goals import goals_of
from ..codex.home import ARCHIVED, GOALS_DB, INDEX, INSTALLATION_ID, SESSIONS, STATE_DB
from ..codex.inventory import RolloutIndex
from ..codex.rollout import SESSION_ID, base_name
from ..codex.session_index import read_names, shown_name
from ..codex.sharing import Sharing
from ..codex.state_db import COPY_ATTEMPTS, StateDb, open_foreign
from ..errors import HomeError
from ..model import Notice, PackagedSession, RolloutFile, Row
from .container import PackageTree, private_folder
from .sessions import EDGES, Package, edges_by_child, rollouts_in, tools_by_thread
from .skills import skills_in
from .staging import staging_errors
from .streams import CHUNK

ROW_BYTES = 32
"""Least that a row with an id takes in a database."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What the database of a home tells of its sessions, by id."""

    rows: Mapping[str, Row] = field(default_factory=dict)
    tools: Mapping[str, tuple[Row, ...]] = field(default_factory=dict)
    edges: Mapping[str, Row] = field(default_factory=dict)


def snapshot_root(tree: PackageTree) -> str | None:
    """Where the home lies in the tree: "" or a folder with a slash; None if it has no folders.

    The home is the shallowest folder with rollouts below its ``sessions/`` or
    ``archived_sessions/``.
    """
    roots = set()
    for name in tree.files:
        *folders, base = name.split("/")
        if base.startswith("rollout-"):
            places = [i for i, folder in enumerate(folders) if folder in (SESSIONS, ARCHIVED)]
            if places:
                roots.add("".join(f"{folder}/" for folder in folders[: places[0]]))
    return min(roots, key=lambda root: (root.count("/"), root), default=None)


def read_snapshot(tree: PackageTree) -> Package:
    """The sessions of a Codex home, or of a folder of rollouts."""
    root = snapshot_root(tree)
    told, notices = _database(tree, root or "")
    goals, more = _goals(tree, root or "")
    names = _names(tree, root or "")
    rollouts = RolloutIndex(_rollouts(tree, root))
    return Package(
        "snapshot",
        tree,
        rollouts,
        tuple(_session(i, rollouts, told, names.get(i), goals.get(i)) for i in rollouts.threads()),
        (*notices, *more),
        _installation(tree, root or ""),
        skills=() if root is None else skills_in(tree, root),
    )


def _rollouts(tree: PackageTree, root: str | None) -> list[RolloutFile]:
    found = rollouts_in(tree)
    if root is None:
        return found
    below = {
        tree.files[name].path
        for name in tree.files
        if name.startswith((f"{root}{SESSIONS}/", f"{root}{ARCHIVED}/"))
    }
    return [file for file in found if file.path in below]


def _session(
    session_id: str,
    rollouts: RolloutIndex,
    told: _Told,
    index_name: str | None,
    goal: Row | None,
) -> PackagedSession:
    row = told.rows.get(session_id)
    tip = rollouts.tip(session_id, base_name(row.get("rollout_path")) if row else None)
    return PackagedSession(
        session_id,
        tip,
        archived=bool(tip and tip.archived),
        row=row,
        name=shown_name(row, index_name),
        dynamic_tools=told.tools.get(session_id, ()),
        spawn_edge=told.edges.get(session_id),
        goal=goal,
    )


def _names(tree: PackageTree, root: str) -> dict[str, str]:
    name = root + INDEX
    if name not in tree.files:
        return {}
    return read_names(tree.read_bytes(name).splitlines())


def _installation(tree: PackageTree, root: str) -> str | None:
    name = root + INSTALLATION_ID
    if name not in tree.files:
        return None
    found = tree.read_bytes(name, 1 << 10).strip().decode("ascii", "replace")
    return found if SESSION_ID.fullmatch(found) else None


def _database(tree: PackageTree, root: str) -> tuple[_Told, tuple[Notice, ...]]:
    """What the database tells; an unreadable one costs names, not sessions."""
    if root + STATE_DB not in tree.files:
        return _Told(), ()
    try:
        with _foreign(tree, root, STATE_DB) as (database, size):
            rows = _fitting("thread_row", map(Sharing().row, _rows(database, "threads", size)))
            tools = _fitting("dynamic_tool", _rows(database, "thread_dynamic_tools", size))
            edges = edges_by_child(_rows(database, EDGES, size))
    except HomeError as error:
        notice = Notice(
            "package_database_unreadable",
            f"the package's database cannot be read ({error.message}); names and other details "
            "are taken from the transcripts",
        )
        return _Told(), (notice,)
    return _Told({str(row["id"]): row for row in rows}, tools_by_thread(tools), edges), ()


def _goals(tree: PackageTree, root: str) -> tuple[dict[str, Row], tuple[Notice, ...]]:
    """The goals by thread; an unreadable database costs no more than them."""
    if root + GOALS_DB not in tree.files:
        return {}, ()
    try:
        with _foreign(tree, root, GOALS_DB) as (database, size):
            return goals_of(_rows(database, GOALS, size)), ()
    except HomeError as error:
        what = f"the package's goals cannot be read ({error.message}); sessions come without them"
        return {}, (Notice("goals_unreadable", what),)


def _fitting(schema: str, rows: Iterable[Row]) -> list[Row]:
    """The rows that are what they should be; a session does without one that is not."""
    return [row for row in rows if validation.fits(schema, dict(row))]


@contextmanager
def _foreign(tree: PackageTree, root: str, name: str) -> Iterator[tuple[StateDb, int]]:
    """A copy of a database of the package, and its size in bytes. Raises HomeError."""
    with private_folder(None) as scratch:
        path = _copied(tree, root, name, scratch)
        size = sum(file.stat().st_size for file in scratch.iterdir())
        with open_foreign(path) as database:
            yield database, size


def _rows(database: StateDb, table: str, size: int) -> Iterator[Row]:
    """The rows of a table, as long as they are no more than a database of ``size`` bytes can hold.

    Raises HomeError ``database_unreadable``.
    """
    if database.columns(table) and not database.is_plain(table):
        raise _misshapen(f"{table} is no plain table")
    for row in database.rows(table):
        size -= ROW_BYTES + sum(len(v) for v in row.values() if isinstance(v, str | bytes))
        if size < 0:
            raise _misshapen(f"the rows of {table} are more than its pages hold")
        yield row


def _misshapen(why: str) -> HomeError:
    return HomeError("database_unreadable", why, hint="get the package again from its source")


def _copied(tree: PackageTree, root: str, name: str, scratch: Path) -> Path:
    """A private copy of the database, beside its log if it has one.

    Neither was written to meanwhile. Raises HomeError ``database_busy``, PackageError.
    """
    names = [n for n in (root + name, f"{root}{name}-wal") if n in tree.files]
    for _ in range(COPY_ATTEMPTS):
        with ExitStack() as stack, staging_errors():
            streams = [stack.enter_context(tree.open(member)) for member in names]
            before = [_times(stream) for stream in streams]
            for member, stream in zip(names, streams, strict=True):
                with (scratch / member.removeprefix(root)).open("wb") as target:
                    shutil.copyfileobj(stream, target, CHUNK)
            if [_times(stream) for stream in streams] == before:
                return scratch / name
    raise HomeError(
        "database_busy",
        "it kept changing while it was copied",
        hint="wait for Codex to finish its turn, then run `codex-session-sync AGAIN`",
    )


def _times(stream: BinaryIO) -> tuple[int, int]:
    status = os.fstat(stream.fileno())
    return status.st_size, status.st_mtime_ns
