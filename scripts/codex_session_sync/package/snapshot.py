"""A snapshot: a Codex home or a copy of one, with or without its database, or just rollouts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from .. import validation
from ..codex.home import ARCHIVED, INDEX, INSTALLATION_ID, SESSIONS, STATE_DB
from ..codex.inventory import RolloutIndex
from ..codex.rollout import SESSION_ID, base_name
from ..codex.session_index import read_names, shown_name
from ..codex.state_db import COPY_ATTEMPTS, StateDb, open_foreign
from ..errors import HomeError
from ..model import Notice, PackagedSession, RolloutFile, Row
from .container import PackageTree, private_folder
from .sessions import Package, rollouts_in, tools_by_thread
from .staging import staging_errors
from .streams import CHUNK

ROW_BYTES = 32
"""Least that a row with an id takes in a database."""


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
    rows, tools, notices = _database(tree, root or "")
    names = _names(tree, root or "")
    rollouts = RolloutIndex(_rollouts(tree, root))
    return Package(
        "snapshot",
        tree,
        rollouts,
        tuple(
            _session(i, rollouts, rows.get(i), names.get(i), tools.get(i, ()))
            for i in rollouts.threads()
        ),
        notices,
        _installation(tree, root or ""),
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
    row: Row | None,
    index_name: str | None,
    tools: tuple[Row, ...],
) -> PackagedSession:
    tip = rollouts.tip(session_id, base_name(row.get("rollout_path")) if row else None)
    return PackagedSession(
        session_id,
        tip,
        archived=bool(tip and tip.archived),
        row=row,
        name=shown_name(row, index_name),
        dynamic_tools=tools,
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


def _database(
    tree: PackageTree, root: str
) -> tuple[dict[str, Row], dict[str, tuple[Row, ...]], tuple[Notice, ...]]:
    """Rows and tools by thread; an unreadable database costs names, not sessions."""
    if root + STATE_DB not in tree.files:
        return {}, {}, ()
    try:
        with private_folder(None) as scratch:
            path = _copied(tree, root, scratch)
            size = sum(file.stat().st_size for file in scratch.iterdir())
            with open_foreign(path) as database:
                rows = _fitting("thread_row", _rows(database, "threads", size))
                tools = _fitting("dynamic_tool", _rows(database, "thread_dynamic_tools", size))
    except HomeError as error:
        notice = Notice(
            "package_database_unreadable",
            f"the package's database cannot be read ({error.message}); names and other details "
            "are taken from the transcripts",
        )
        return {}, {}, (notice,)
    return {str(row["id"]): row for row in rows}, tools_by_thread(tools), ()


def _fitting(schema: str, rows: Iterable[Row]) -> list[Row]:
    """The rows that are what they should be; a session does without one that is not."""
    return [row for row in rows if validation.fits(schema, row)]


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


def _copied(tree: PackageTree, root: str, scratch: Path) -> Path:
    """A private copy of the database, beside its log if it has one.

    Neither was written to meanwhile. Raises HomeError ``database_busy``, PackageError.
    """
    names = [n for n in (root + STATE_DB, f"{root}{STATE_DB}-wal") if n in tree.files]
    for _ in range(COPY_ATTEMPTS):
        with ExitStack() as stack, staging_errors():
            streams = [stack.enter_context(tree.open(name)) for name in names]
            before = [_times(stream) for stream in streams]
            for name, stream in zip(names, streams, strict=True):
                with (scratch / name.removeprefix(root)).open("wb") as target:
                    shutil.copyfileobj(stream, target, CHUNK)
            if [_times(stream) for stream in streams] == before:
                return scratch / STATE_DB
    raise HomeError(
        "database_busy",
        "it kept changing while it was copied",
        hint="wait for Codex to finish its turn, then try again",
    )


def _times(stream: BinaryIO) -> tuple[int, int]:
    status = os.fstat(stream.fileno())
    return status.st_size, status.st_mtime_ns
