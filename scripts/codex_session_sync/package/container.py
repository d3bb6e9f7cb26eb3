"""Opening a package: a directory read in place, or an archive whose wanted members are staged.

Nothing here knows what the files mean; where the root of the package lies, and of which kind it
is, is told by the readers built on this one.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Literal

from ..durable import temporary_folder
from ..errors import PackageError
from .archive import ArchiveKind, unpack
from .members import (
    DEFAULT_LIMITS,
    Kind,
    Limits,
    PackageFile,
    changed,
    identity_of,
    kind_of_mode,
    not_a_package,
    over_limit,
    parse_limits,
    shown,
    unreadable,
    unsafe,
)
from .sieve import Sieve, is_wanted, worth_entering
from .staging import Staging, staging_errors
from .streams import Progress

__all__ = [
    "DEFAULT_LIMITS",
    "Container",
    "Limits",
    "PackageFile",
    "PackageTree",
    "Progress",
    "is_wanted",
    "locate",
    "open_tree",
    "parse_limits",
    "private_folder",
]

Container = Literal["directory", "file"] | ArchiveKind

_JUNCTION = 0xA0000003
"""Windows' reparse tag of a directory junction, which ``is_symlink`` does not count as a link."""


@dataclass(frozen=True, slots=True)
class PackageTree:
    """The wanted files of a package, by name, in the order of their names.

    ``source`` is what the user named. ``ignored`` counts members, other than folders, that were not
    wanted; folders without use are not looked into, and nothing in them is counted. ``left_out``
    names the optional members (skills, configuration) that are links, doubles, too large or
    too deep, which is let pass in a Codex home: a skill that one of them belongs to is not whole.
    """

    source: Path
    container: Container
    files: Mapping[str, PackageFile]
    ignored: int
    left_out: tuple[str, ...] = ()
    limits: Limits = DEFAULT_LIMITS

    def open(self, name: str) -> BinaryIO:
        """Open a file that is in ``files``; raises as ``PackageFile.open``, KeyError for others."""
        return self.files[name].open()

    def read_bytes(self, name: str, limit: int | None = None) -> bytes:
        """All of a small file.

        Raises PackageError: as ``PackageFile.open``, and ``package_unsafe`` if it is over ``limit``
        bytes, by default the limit of metadata.
        """
        most = self.limits.metadata_bytes if limit is None else limit
        try:
            with self.open(name) as stream:
                data = stream.read(most + 1)
        except OSError as error:
            raise unreadable(shown(name), error) from error
        if len(data) <= most:
            return data
        what = f"is over {most} bytes, too large for what it is"
        raise over_limit(name, what, "metadata_bytes") if limit is None else unsafe(name, what)


@contextmanager
def open_tree(
    source: Path,
    *,
    limits: Limits = DEFAULT_LIMITS,
    wanted: Callable[[str], bool] = is_wanted,
    progress: Progress | None = None,
    staging: Path | None = None,
) -> Iterator[PackageTree]:
    """Open the package that the user named; on leaving, what was staged is gone.

    ``wanted`` is asked with the name of each member that is no folder. ``progress`` is called while
    an archive is unpacked, with bytes read and in all. ``staging`` is the folder for the private
    folder that archives are unpacked to, by default the system's temporary folder.

    Raises PackageError: ``package_not_found``, ``package_unreadable``, ``package_unknown_format``,
    ``package_empty``, ``package_damaged``, ``package_unsafe``, ``package_changed``,
    ``package_not_staged``.
    """
    path, status = locate(source)
    sieve = Sieve(limits, wanted, strict_names=stat.S_ISREG(status.st_mode))
    if stat.S_ISDIR(status.st_mode):
        listed = {file.name: file for file in _walk(path, status, sieve)}
        yield _tree(source, "directory", sieve, listed)
        return
    if not stat.S_ISREG(status.st_mode):
        raise not_a_package("it is neither a folder nor a regular file")
    with private_folder(staging) as folder:
        stage = Staging(folder)
        kind = unpack(path, sieve, stage, limits, progress)
        yield _tree(source, kind, sieve, stage.files)


def locate(source: Path) -> tuple[Path, os.stat_result]:
    """Where the named package really lies; links are followed here and nowhere else."""
    try:
        path = source.resolve(strict=True)
        return path, path.stat()
    except (FileNotFoundError, NotADirectoryError, RuntimeError, ValueError) as error:
        raise _not_found(source) from error
    except OSError as error:
        if error.errno in {errno.ENAMETOOLONG, errno.ELOOP}:
            raise _not_found(source) from error
        raise unreadable("the package", error) from error


def _not_found(source: Path) -> PackageError:
    return PackageError(
        "package_not_found",
        f"there is no package at {source}",
        hint="check the path: `codex-session-sync inspect-package PATH`",
    )


def _tree(
    source: Path, container: Container, sieve: Sieve, found: Mapping[str, PackageFile]
) -> PackageTree:
    files, left_out = sieve.settle(found)
    if not files:
        raise PackageError(
            "package_empty",
            "the package holds nothing of Codex sessions",
            hint="name the package itself, a Codex home, or a folder that holds sessions/",
        )
    return PackageTree(
        source, container, MappingProxyType(files), sieve.ignored, tuple(left_out), sieve.limits
    )


@contextmanager
def private_folder(parent: Path | None) -> Iterator[Path]:
    """A folder of mode 0700, gone afterwards whatever happened.

    Raises PackageError ``package_not_staged``, HomeError ``no_temporary_folder``.
    """
    with ExitStack() as stack:
        with staging_errors():
            folder = stack.enter_context(temporary_folder(parent=parent))
        yield folder


@dataclass(slots=True)
class _Folder:
    """A directory met on the way down, and which it was: nothing put in its place is entered.

    ``subfolders`` are those found in it, by base name.
    """

    prefix: str
    path: Path
    identity: tuple[int, int] | None
    subfolders: dict[str, tuple[int, int] | None] = field(default_factory=dict)


def _walk(root: Path, status: os.stat_result, sieve: Sieve) -> Iterator[PackageFile]:
    """Yield the wanted files below ``root``, in no order; raises PackageError."""
    pending = [_Folder("", root, identity_of(status))]
    while pending:
        folder = pending.pop()
        yield from _files_in(folder, sieve)
        for base in worth_entering(folder.subfolders):
            below = f"{folder.prefix}{base}/"
            pending.append(_Folder(below, folder.path / base, folder.subfolders[base]))


def _files_in(folder: _Folder, sieve: Sieve) -> Iterator[PackageFile]:
    """Yield the wanted files right in a directory, and note its subfolders.

    A directory or file that has gone meanwhile is passed over. Raises PackageError:
    ``package_changed`` if something else is in the directory's place, ``package_unreadable``,
    ``package_unsafe``.
    """
    handle = None
    try:
        if os.scandir in os.supports_fd:
            handle = os.open(folder.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            if identity_of(os.fstat(handle)) != folder.identity:
                raise changed(folder.prefix)
        with os.scandir(folder.path if handle is None else handle) as listing:
            for entry in listing:
                with suppress(FileNotFoundError):
                    yield from _look_at(entry, folder, sieve)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            raise changed(folder.prefix) from error
        what = shown(folder.prefix) if folder.prefix else "the package"
        raise unreadable(what, error) from error
    finally:
        if handle is not None:
            os.close(handle)


def _look_at(entry: os.DirEntry[str], folder: _Folder, sieve: Sieve) -> Iterator[PackageFile]:
    """Yield the entry if it is a wanted file, or note it if it is a folder; follows no link."""
    status = entry.stat(follow_symlinks=False)
    kind = kind_of_mode(status.st_mode)
    if getattr(status, "st_reparse_tag", 0) == _JUNCTION:
        kind = Kind.SYMLINK
    identity = identity_of(status)
    name = sieve.admit(folder.prefix + entry.name, kind, status.st_size)
    if kind is Kind.FOLDER:
        folder.subfolders[entry.name] = identity
    elif name is not None:
        path = folder.path / entry.name
        yield PackageFile(name, path, status.st_size, status.st_mtime_ns, identity)
