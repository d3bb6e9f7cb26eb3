"""Writing files so that they are whole or absent, and stay after a power loss.

On POSIX a change is durable once the file and its folder are synced. Windows cannot sync a folder
and macOS needs F_FULLFSYNC; both are done as far as the platform allows. A file system that has no
sync (some network and user-space ones) is used without: there a kill leaves what can be recovered,
a power loss may not.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from .errors import OUTSIDE, HomeError, hint_on

_FULLFSYNC = 51
"""F_FULLFSYNC of macOS: fsync alone leaves data in the drive's cache there."""

TEMPORARY = ".*.tmp"
"""The pattern of what ``write_atomic`` leaves beside a file if the process is killed."""

UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""The errors of a file system that has no sync, or no locks."""

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")

MANY = 8
"""From this many files on, one sync of the file system is cheaper than one for each file."""


def safe_join(root: Path, relative: str, checked: set[str] | None = None) -> Path:
    """``root / relative`` for a POSIX path that stays below ``root``, through no link.

    ``checked`` has the folders, as texts, that were found to be no links, and gets those that are
    found here: for many paths that are looked at together. Raises HomeError ``path_escapes_home``.
    """
    bad = relative.startswith("/") or "\\" in relative or ":" in relative or "\0" in relative
    parts = [part for part in relative.split("/") if part not in ("", ".")]
    if bad or not parts or ".." in parts:
        raise _escapes(root, relative)
    place = str(root)
    folder = "/".join((place, *parts[:-1]))
    if checked is None or folder not in checked:
        for part in parts[:-1]:
            place = os.path.join(place, part)  # noqa: PTH118 - a Path for each costs too much
            if os.path.islink(place):  # noqa: PTH114
                raise _escapes(root, relative)
        if checked is not None:
            checked.add(folder)
    found = root.joinpath(*parts)
    if found.is_symlink():
        raise _escapes(root, relative)
    return found


def plain_name(text: str, otherwise: str) -> str:
    """What a file may be called after ``text`` on any system; ``otherwise`` where nothing is left.

    Different texts may come to the same name.
    """
    return _NOT_PLAIN.sub("-", text).strip("-.")[:80] or otherwise


def own_name(text: str, otherwise: str) -> str:
    """As ``plain_name``, but another one for each text: what is no plain name gets its digest."""
    name = plain_name(text, otherwise)
    if name == text:
        return name
    return f"{name}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:12]}"


def write_atomic(path: Path, data: bytes) -> None:
    """Put a whole file in place of whatever was there, durably and with its permissions.

    Within ``syncing_together`` that happens at its end.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    together = _together.get()
    try:
        _write(temporary, data, path, durably=together is None)
        if together is None:
            temporary.replace(path)
        else:
            together.files[temporary] = path
    finally:
        if together is None or temporary not in together.files:
            temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _write(temporary: Path, data: bytes, path: Path, *, durably: bool) -> None:
    """Write what is to take the place of ``path``, with its permissions."""
    with temporary.open("wb", buffering=0) as stream:
        with suppress(FileNotFoundError):
            temporary.chmod(stat.S_IMODE(os.stat(path).st_mode))  # noqa: PTH116
        rest = memoryview(data)
        while rest:
            rest = rest[stream.write(rest) :]
        if durably:
            sync_descriptor(stream.fileno())


@dataclass(slots=True)
class _Together:
    """What waits for one set of syncs."""

    files: dict[Path, Path] = field(default_factory=dict)
    """Temporary files, with the names that they get."""
    folders: dict[Path, None] = field(default_factory=dict)
    """The folders whose names have changed."""
    old: dict[Path, None] = field(default_factory=dict)
    """Names that go once the new ones of their files are durable."""


_together: ContextVar[_Together | None] = ContextVar("_together", default=None)


@contextmanager
def syncing_together() -> Iterator[None]:
    """Many files replaced, or moved, at the price of few: each step is synced for all at once.

    What ``write_atomic`` is given meanwhile is written beside its place; what ``sync_folder`` and
    ``drop_name`` are given waits. At the end the content of all that was written is made durable,
    then each gets its name, then the folders are made durable, then old names go. An exception
    meanwhile puts nothing in place and takes no name away, one at the end may come after some. Each
    file may be replaced, or moved, once.
    """
    waiting = _Together()
    token = _together.set(waiting)
    try:
        try:
            yield
        finally:
            _together.reset(token)
        sync_all(waiting.files)
        for temporary, path in waiting.files.items():
            temporary.replace(path)
    except BaseException:
        for temporary in waiting.files:
            temporary.unlink(missing_ok=True)
        raise
    for folder in waiting.folders:
        sync_folder(folder)
    for path in waiting.old:
        path.unlink()
    for folder in {path.parent for path in waiting.old}:
        sync_folder(folder)


def place(staged: Path, target: Path) -> None:
    """Move a staged file to a name that must not exist yet.

    Raises FileExistsError, FileNotFoundError.
    """
    if name_too(staged, target):
        staged.unlink()


def name_too(path: Path, target: Path) -> bool:
    """Give a file a second name, which must not exist yet; False if it lost the first one by it.

    A hard link makes the check and the creation one step; where the file system has none, the
    check comes just before a rename. Raises FileExistsError, FileNotFoundError.
    """
    try:
        os.link(path, target)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError:
        if os.path.lexists(target):
            raise FileExistsError(target) from None
        path.rename(target)
        return False
    return True


def drop_name(path: Path) -> None:
    """Take away a name of a file that has another one, which is durable.

    Within ``syncing_together`` that happens at its end, durably.
    """
    together = _together.get()
    if together is not None:
        together.old[path] = None
    else:
        path.unlink()


def append(path: Path, data: bytes) -> None:
    """Add bytes at the end of a file, making the file if need be; not yet durable."""
    with path.open("ab") as stream:
        stream.write(data)


def sync_all(paths: Iterable[Path]) -> None:
    """Make changed files, and the folders they lie in, durable."""
    wanted = list(paths)
    if len(wanted) >= MANY and _sync_file_systems(wanted):
        return
    for path in wanted:
        sync_file(path)
    for folder in {path.parent for path in wanted}:
        sync_folder(folder)


def sync_file(path: Path) -> None:
    """Make one file's or folder's content durable; nothing to do if it is gone, or a pipe."""
    if not path.is_file() and (sys.platform == "win32" or not path.is_dir()):
        return
    try:
        descriptor = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        sync_descriptor(descriptor)
    finally:
        os.close(descriptor)


def sync_descriptor(descriptor: int) -> None:
    """Make an open file's content durable."""
    with unless_unsupported():
        if sys.platform == "darwin":
            import fcntl

            with unless_unsupported():
                fcntl.fcntl(descriptor, _FULLFSYNC)
                return
        os.fsync(descriptor)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable; Windows offers no way to.

    Within ``syncing_together`` that happens at its end.
    """
    if sys.platform == "win32":
        return
    together = _together.get()
    if together is not None:
        together.folders[path] = None
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with unless_unsupported():
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def unless_unsupported() -> Iterator[None]:
    """Pass over a request that the file system does not know."""
    try:
        yield
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def _sync_file_systems(paths: list[Path]) -> bool:
    """Sync every file system that holds one of ``paths``; False where that cannot be asked for."""
    if sys.platform != "linux":
        return False
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        return False
    done: set[int] = set()
    for folder in {path.parent for path in paths}:
        device = folder.stat().st_dev
        if device in done:
            continue
        done.add(device)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            if syncfs(descriptor) != 0:
                if ctypes.get_errno() in UNSUPPORTED:
                    return False
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
        finally:
            os.close(descriptor)
    return True


def not_writable(path: Path, error: OSError) -> HomeError:
    """``home_not_writable``: the operating system refuses a write below the home."""
    return HomeError(
        "home_not_writable",
        f"{path} cannot be written to: {error.strerror or error}",
        hint=hint_on(
            error,
            "make room on its disk, or mend its owner and permissions, then run "
            "`codex-session-sync AGAIN`",
        ),
    )


@contextmanager
def temporary_folder(
    prefix: str = "codex-session-sync-", parent: Path | None = None
) -> Iterator[Path]:
    """A folder of mode 0700, by default in the system's temporary one, gone afterwards.

    Raises HomeError ``no_temporary_folder`` where there is none that can be written, OSError.
    """
    try:
        within = parent or tempfile.gettempdir()
    except FileNotFoundError as error:
        raise HomeError(
            "no_temporary_folder",
            f"nothing can be written to the temporary folder: {error.strerror}",
            hint=f"{OUTSIDE}; else make room, or set TMPDIR to a folder that can be written",
        ) from error
    with tempfile.TemporaryDirectory(prefix=prefix, dir=within, ignore_cleanup_errors=True) as path:
        yield Path(path)


def _escapes(root: Path, relative: str) -> HomeError:
    return HomeError(
        "path_escapes_home",
        f"{relative!r} does not lie inside {root}",
        hint="a link in the home leads out of it, or a record names a foreign place",
    )
