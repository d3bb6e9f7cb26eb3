"""Opening a package of any kind; the kind is told by content, not by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import PackageError
from .container import open_tree
from .members import DEFAULT_LIMITS, Limits
from .sessions import Package
from .snapshot import read_snapshot
from .transfer_v1 import MANIFEST, read_transfer


@contextmanager
def open_package(source: Path, limits: Limits = DEFAULT_LIMITS) -> Iterator[Package]:
    """The package at ``source``, a file or a directory, which is only read.

    Raises PackageError.
    """
    with open_tree(source, limits=limits) as tree:
        manifests = [name for name in tree.files if _is_manifest(name)]
        if manifests:
            nearest = min(manifests, key=lambda name: (name.count("/"), name))
            package = read_transfer(tree, nearest.removesuffix(MANIFEST))
        else:
            package = read_snapshot(tree)
        if not package.sessions:
            raise PackageError(
                "package_empty",
                f"{source} holds no sessions",
                hint="a package is a first-import package, a Codex home or a copy of one",
            )
        yield package


def _is_manifest(name: str) -> bool:
    """Whether a file says that its folder is a package; one inside a skill does not."""
    *folders, base = name.split("/")
    return base == MANIFEST and "skills" not in folders
