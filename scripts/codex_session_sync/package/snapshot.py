"""A snapshot: a Codex home or a copy of one, with or without its database, or just rollouts."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .. import validation
from ..codex.home import ARCHIVED, INDEX, INSTALLATION_ID, SESSIONS, STATE_DB
from ..codex.inventory import RolloutIndex
from ..codex.rollout import SESSION_ID, base_name
from ..codex.session_index import read_names, shown_name
from ..codex.state_db import open_for_reading
from ..errors import HomeError
from ..model import Notice, PackagedSession, RolloutFile, Row
from .container import PackageTree
from .sessions import Package, rollouts_in, tools_by_thread
from .skills import skills_in

INDEX_BYTES = 256 << 20


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
    return read_names(tree.read_bytes(name, INDEX_BYTES).splitlines())


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
        with (
            tempfile.TemporaryDirectory(prefix="codex-session-sync-") as scratch,
            open_for_reading(_beside_its_log(tree, root, Path(scratch))) as database,
        ):
            assert database is not None
            rows = _fitting("thread_row", database.rows("threads"))
            tools = _fitting("dynamic_tool", database.rows("thread_dynamic_tools"))
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


def _beside_its_log(tree: PackageTree, root: str, scratch: Path) -> Path:
    """The database's path; unpacked archives lose file names, so there a copy beside its log."""
    path = tree.files[root + STATE_DB].path
    log = tree.files.get(f"{root}{STATE_DB}-wal")
    if log is None or log.path == path.with_name(path.name + "-wal"):
        return path
    shutil.copyfile(path, scratch / STATE_DB)
    shutil.copyfile(log.path, scratch / f"{STATE_DB}-wal")
    return scratch / STATE_DB
