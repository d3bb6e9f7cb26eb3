"""Opening a package of any kind; the kind is told by content, not by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import PackageError
from .container import PackageTree, open_tree
from .members import DEFAULT_LIMITS, Limits
from .sessions import Package
from .snapshot import read_snapshot, snapshot_root
from .transfer_v1 import MANIFEST, read_transfer


@contextmanager
def open_package(source: Path, limits: Limits = DEFAULT_LIMITS) -> Iterator[Package]:
    """The package at ``source``, a file or a directory, which is only read.

    Raises PackageError.
    """
    with open_tree(source, limits=limits) as tree:
        root = _transfer_root(tree)
        package = read_snapshot(tree) if root is None else read_transfer(tree, root)
        if not package.sessions:
            raise PackageError(
                "package_empty",
                f"{source} holds no sessions",
                hint="a package is a first-import package, a Codex home or a copy of one",
            )
        yield package


def _transfer_root(tree: PackageTree) -> str | None:
    """Where the nearest manifest lies; None if a Codex home lies nearer, with one inside it."""
    manifests = [name for name in tree.files if name.rsplit("/", 1)[-1] == MANIFEST]
    if not manifests:
        return None
    root = min(manifests, key=lambda name: (name.count("/"), name)).removesuffix(MANIFEST)
    home = snapshot_root(tree)
    return None if home is not None and home.count("/") < root.count("/") else root
