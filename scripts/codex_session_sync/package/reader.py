"""Opening a package of any kind; the kind is told by content, not by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from ..errors import PackageError
from .container import PackageTree, open_tree, private_folder
from .encryption import decrypt, is_encrypted
from .members import DEFAULT_LIMITS, Limits
from .native import is_native, open_native
from .sessions import Package
from .snapshot import read_snapshot, snapshot_root
from .transfer_v1 import MANIFEST, read_transfer


@contextmanager
def open_package(
    source: Path,
    limits: Limits = DEFAULT_LIMITS,
    identities: Sequence[Path] = (),
    progress: Callable[[int, int | None], None] | None = None,
) -> Iterator[Package]:
    """The package at ``source``, a file or a directory, which is only read.

    An encrypted one is opened with one of the keys in the files ``identities``, which are not read
    otherwise; what it holds lies in a private folder meanwhile. ``progress`` is told, while an
    archive is unpacked, how many bytes of it are read, and of how many if that is
    known.

    Raises PackageError, UsageError.
    """
    with ExitStack() as stack:
        opened = source
        if is_encrypted(source):
            opened = stack.enter_context(private_folder(None)) / "package"
            decrypt(source, opened, identities, limits)
        package = stack.enter_context(_opened(opened, limits, progress))
        package = replace(package, tree=replace(package.tree, source=source))
        if not package.sessions:
            raise PackageError(
                "package_empty",
                f"{source} holds no sessions",
                hint="name the package itself, a Codex home, or a folder that holds sessions/",
            )
        yield package


@contextmanager
def _opened(
    source: Path, limits: Limits, progress: Callable[[int, int | None], None] | None
) -> Iterator[Package]:
    if is_native(source):
        with open_native(source, limits) as package:
            yield package
        return
    with open_tree(source, limits=limits, progress=progress) as tree:
        root = _transfer_root(tree)
        yield read_snapshot(tree) if root is None else read_transfer(tree, root)


def _transfer_root(tree: PackageTree) -> str | None:
    """Where the nearest manifest lies; None if a Codex home lies nearer, with one inside it."""
    manifests = [name for name in tree.files if name.rsplit("/", 1)[-1] == MANIFEST]
    if not manifests:
        return None
    root = min(manifests, key=lambda name: (name.count("/"), name)).removesuffix(MANIFEST)
    home = snapshot_root(tree)
    return None if home is not None and home.count("/") < root.count("/") else root
