"""What the files of a home were when it was captured last: derived, and may be deleted."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from .. import validation
from ..codex.inventory import RolloutIndex
from ..codex.rollout import parse_name
from ..durable import write_atomic
from ..model import Json
from ..regular import read_regular
from ..scan_cache import SETTLED_NS
from ..store.place import Store
from .listing import Listed

FORMAT = "codex-session-sync/seen/1"
SCHEMA = "store_seen"


@dataclass(frozen=True, slots=True)
class Seen:
    """By session what tells its files, as they were when ``listing`` was made; and by package
    whose bytes were looked at what tells its file."""

    listing: str | None = None
    sessions: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)


def read_seen(store: Store, home: Path, listing: str | None) -> Seen:
    """What was kept of a home with the listing that was made of it last; nothing without."""
    try:
        document = orjson.loads(read_regular(_path(store, home)))
    except (OSError, ValueError):
        return Seen()
    if not validation.fits(SCHEMA, document):
        return Seen()
    sessions = document["sessions"] if document["listing"] == listing else {}
    return Seen(listing, sessions, document["packages"])


def keep_seen(store: Store, home: Path, seen: Seen) -> None:
    """Keep it, if that is possible."""
    path = _path(store, home)
    document: Json = {"format": FORMAT, "listing": seen.listing}
    document |= {"sessions": dict(seen.sessions), "packages": dict(seen.packages)}
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, orjson.dumps(document))


def files_digest(rollouts: RolloutIndex, listed: Listed, asked_ns: int | None = None) -> str | None:
    """What tells the files of a session: those of its own, and those that it inherits from.

    None where one is not to be had, or changed so shortly before ``asked_ns``, if that is given,
    that it may change again unseen.
    """
    paths = {file.path for file in rollouts.files(listed.session_id)}
    for part in listed.slices:
        parsed = parse_name(part.file)
        file = rollouts.segment(parsed.segment_id) if parsed else None
        if file is None:
            return None
        paths.add(file.path)
    return stat_digest(paths, asked_ns)


def stat_digest(paths: Iterable[Path], asked_ns: int | None = None) -> str | None:
    """A digest of what the system tells of some files; None as ``files_digest``."""
    found = []
    for path in sorted(paths):
        try:
            status = os.stat(path)  # noqa: PTH116 - a third of the time of Path.stat
        except OSError:
            return None
        times = (status.st_mtime_ns, status.st_ctime_ns)
        if asked_ns is not None and max(times) >= asked_ns - SETTLED_NS:
            return None
        found.append((path.name, status.st_dev, status.st_ino, status.st_size, *times))
    return hashlib.sha256(repr(found).encode()).hexdigest()[:32]


def moment_ns() -> int:
    """The present, as ``files_digest`` takes it."""
    return time.time_ns()


def _path(store: Store, home: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:32]
    return store.derived / "homes" / f"{digest}.json"
