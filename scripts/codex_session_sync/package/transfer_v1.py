"""The first-import tool's package, format_version 1: a directory with a manifest and JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

from .. import validation
from ..codex.inventory import RolloutIndex
from ..codex.rollout import base_name
from ..codex.session_index import read_names, shown_name
from ..codex.sharing import Sharing
from ..errors import PackageError
from ..model import Json, PackagedSession, Row
from .container import PackageTree
from .sessions import Package, rollouts_in, tools_by_thread
from .skills import skills_in

MANIFEST = "package_manifest.json"


def read_transfer(tree: PackageTree, root: str) -> Package:
    """The package whose manifest lies in ``root`` (empty, or ending in a slash).

    Raises PackageError: ``package_manifest_invalid``, ``package_version_unsupported``,
    ``thread_row_invalid``, ``dynamic_tool_invalid``.
    """
    manifest = _manifest(tree, root)
    told = map(Sharing().row, _lines(tree, root, "threads", "thread_row"))
    rows = {str(row["id"]): row for row in told}
    tools = tools_by_thread(_lines(tree, root, "thread_dynamic_tools", "dynamic_tool"))
    names = _names(tree, root)
    archived = {
        name: bool(row.get("archived"))
        for row in rows.values()
        if (name := base_name(row.get("rollout_path"))) is not None
    }
    rollouts = RolloutIndex(rollouts_in(tree, archived))
    ids = dict.fromkeys([*rows, *manifest.get("thread_ids", ()), *rollouts.threads()])
    sessions = tuple(
        _session(i, rollouts, rows.get(i), names.get(i), tools.get(i, ())) for i in ids
    )
    return Package("transfer-v1", tree, rollouts, sessions, skills=skills_in(tree, root))


def _session(
    session_id: str,
    rollouts: RolloutIndex,
    row: Row | None,
    index_name: str | None,
    tools: tuple[Row, ...],
) -> PackagedSession:
    path = base_name(row.get("rollout_path")) if row else None
    return PackagedSession(
        session_id,
        rollouts.tip(session_id, path),
        archived=bool(row and row.get("archived")),
        row=row,
        name=shown_name(row, index_name),
        dynamic_tools=tools,
    )


def _manifest(tree: PackageTree, root: str) -> Json:
    data = tree.read_bytes(root + MANIFEST)
    manifest: Json = validation.load("package_manifest", data, MANIFEST, PackageError)
    version = manifest["format_version"]
    if version != 1:
        raise PackageError(
            "package_version_unsupported",
            f"the package has format version {version}; this program reads version 1",
            hint="update codex-session-sync, or make the package with an older tool",
        )
    return manifest


def _names(tree: PackageTree, root: str) -> dict[str, str]:
    name = f"{root}metadata/session_index.jsonl"
    if name not in tree.files:
        return {}
    return read_names(tree.read_bytes(name).splitlines())


def _lines(tree: PackageTree, root: str, base: str, schema: str) -> Iterator[Any]:
    name = f"{root}metadata/{base}.jsonl"
    if name not in tree.files:
        return
    for number, line in enumerate(BytesIO(tree.read_bytes(name)), 1):
        if line.strip():
            yield validation.load(schema, line, f"{name} line {number}", PackageError)
