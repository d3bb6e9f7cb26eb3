"""Whether a session is still as a transaction left it, so that what was done can be undone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import zstandard

from ..codex.goals import NEEDED as GOAL
from ..codex.goals import TABLE as GOALS
from ..codex.home import CodexHome
from ..codex.inventory import invalid, open_rollout, rollout_file
from ..codex.rollout import parse_record
from ..codex.session_index import read_names
from ..durable import safe_join
from ..errors import SyncError, told
from ..journal.ledger import Deed
from ..journal.log import TRANSACTIONS
from ..journal.operations import (
    AnyOperation,
    AppendText,
    CreateFile,
    CutFile,
    EditText,
    ExtendFile,
    MoveFile,
    PutDocument,
    PutRow,
)
from ..lineage.sidecar import lineage_of, mappings_of, read_sidecar
from ..model import RolloutFile, Row
from ..regular import open_regular
from .folders import changed_folder
from .present import Present

_CHUNK = 1 << 20

COMPRESSED = ".zst"

QUIET = {("event_msg", "thread_settings_applied"), ("turn_context", None), ("world_state", None)}
"""Records that Codex adds when a session is merely opened: kind of record and of payload."""

QUIET_BYTES = 1 << 20
"""More than this no opening adds."""

SHOWN = {"name": "it was renamed", "archived": "it was archived or taken out of the archive"}
"""Columns of a row in which a person's doing shows."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a session is not undone: a stable code, and what stands in the way."""

    code: str
    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """A file as a deed left it: ``sha256``, if known, is of the bytes from ``start`` to ``size``.

    ``closed``: nothing may follow; ``reopened``: but what opening the session adds.
    """

    start: int
    size: int
    sha256: str | None
    closed: bool
    reopened: bool = False


@dataclass(frozen=True, slots=True)
class Left:
    """What a deed left: files by path in the home, and paths at which nothing was any more.

    ``before`` holds the transcripts that were there before it, by path.
    """

    files: Mapping[str, Expected]
    gone: frozenset[str]
    before: frozenset[str]

    @property
    def transcripts(self) -> list[str]:
        """The paths of the session's files that are not kept with a transaction."""
        return [path for path in self.files if not is_kept(path)]

    @property
    def closed(self) -> bool:
        """Whether nothing of the session is taken away by undoing the deed."""
        return all(self.files[path].closed for path in self.transcripts)

    @property
    def made(self) -> bool:
        """Whether the deed brought the session into the home."""
        return bool(self.transcripts) and not self.before


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it is now; ``sha256`` is of all that follows ``start``.

    ``suffix`` is ``.zst`` if Codex has compressed it since; ``stored`` is size and, where known,
    SHA-256 of the file on disk.
    """

    start: int
    size: int
    sha256: str
    mtime_ns: int
    suffix: str
    stored: tuple[int, str | None]


@contextmanager
def opened(file: RolloutFile) -> Iterator[BinaryIO]:
    """The (decompressed) bytes of a rollout. Raises SessionError, also while they are read."""
    try:
        with open_rollout(file) as stream:
            yield stream
    except zstandard.ZstdError as error:
        raise invalid(file, f"cannot be decompressed: {error}") from error


def is_kept(path: str) -> bool:
    """Whether a path of the home is that of bytes which a transaction keeps."""
    return path.startswith(f"session-sync/{TRANSACTIONS}/")


def is_sidecar(path: str) -> bool:
    """Whether a path of the home is that of a sidecar."""
    return path.startswith("session-sync/sidecars/")


def left_by(operations: Iterable[AnyOperation]) -> Left:
    """What operations left of transcripts, once all of them were applied."""
    files: dict[str, Expected] = {}
    first: dict[str, bool] = {}
    gone: set[str] = set()
    for operation in operations:
        match operation:
            case CreateFile(path=path, size=size, sha256=sha256):
                first.setdefault(path, False)
                files[path] = Expected(0, size, sha256, closed=False)
            case ExtendFile(path=path, size=size, added=added, sha256=sha256):
                first.setdefault(path, True)
                files[path] = Expected(size, size + added, sha256, closed=False)
            case CutFile(path=path, kept=kept, size=size, removed=removed, sha256=sha256):
                first.setdefault(path, True)
                files[path] = Expected(size, size, None, closed=True, reopened=True)
                files[kept] = Expected(0, removed, sha256, closed=True)
            case MoveFile(path=path) if is_sidecar(path):
                continue
            case MoveFile(path=path, new_path=new_path, size=size, sha256=sha256):
                if path not in files:
                    first.setdefault(path, True)
                first.setdefault(new_path, False)
                moved = Expected(0, size, sha256, closed=is_kept(new_path))
                files[new_path] = files.pop(path, moved)
                gone.add(path)
    before = frozenset(path for path, there in first.items() if there and not is_kept(path))
    return Left(files, frozenset(gone - files.keys()), before)


def examine(
    home: CodexHome, deed: Deed, left: Left, present: Present
) -> Obstacle | dict[str, Found]:
    """The deed's files as they are now, or why it is not to be undone.

    One on mappings alone is undone whatever became of the session. Raises SyncError, OSError where
    something of the session cannot be read.
    """
    if deed.of_mappings:
        return {}
    if deed.of_skill:
        changed = changed_folder(home, deed)
        return {} if changed is None else advanced(changed)
    problem = _newer_file(home, deed, left, present) or _row(deed, left, present)
    problem = problem or _name(deed, left, present)
    if problem is not None:
        return problem
    _require_sidecars(home, deed)
    for path in left.gone:
        plain = path.removesuffix(COMPRESSED)
        again = plain in left.files and not safe_join(home.path, plain).exists()
        if not again and safe_join(home.path, path).exists():
            return advanced(f"there is a file at {path} again")
    found: dict[str, Found] = {}
    for path, expected in left.files.items():
        one = _find(home, path, expected)
        if isinstance(one, Obstacle):
            return one
        found[path] = one
    return found


def obstacle_of(error: SyncError | OSError) -> Obstacle:
    """What an error is for the session that it befell."""
    known = told(error)
    return Obstacle(known.code, known.message, known.hint)


def advanced(what: str) -> Obstacle:
    """``advanced_since``: the session is not as the transaction left it."""
    return Obstacle(
        "advanced_since",
        f"{what}, so it stays as it is",
        "what was done to it since stays; `codex-session-sync lineage ID` shows what it came to",
    )


def _newer_file(home: CodexHome, deed: Deed, left: Left, present: Present) -> Obstacle | None:
    if not left.files:
        return None
    tip = present.tip(deed.local_id)
    # Of a session that goes no file may stay behind, also none that no row names.
    files = present.own.files(deed.local_id) if left.made else [tip] if tip else []
    for file in files:
        path = file.path.relative_to(home.path).as_posix()
        if path in left.files or path.removesuffix(COMPRESSED) in left.files:
            continue
        if not left.transcripts:
            return advanced("the session is here again")
        if file.path.name == Path(left.transcripts[-1]).name:
            return advanced(f"its transcript was moved to {path}")
        return advanced("it was reverted or continued in another file")
    return None


def _row(deed: Deed, left: Left, present: Present) -> Obstacle | None:
    row = present.row(deed.local_id)
    if row is None:
        return None
    rows = [o for o in deed.operations if isinstance(o, PutRow) and o.table == "threads"]
    if rows and rows[-1].after is None:
        return advanced("Codex has the session again")
    after: Row = {}
    for operation in rows:
        after = {**after, **(operation.after or {})}
    if not rows and left.made and row.get("name") is not None:
        after = {"name": index_name(deed)}
    for column, what in SHOWN.items():
        if column in after and column in row and row[column] != after[column]:
            return advanced(what)
    if left.made and _changed_goal(deed, present):
        return advanced("its goal was changed")
    noted = present.noted_elsewhere(deed.local_id) if left.made else []
    if noted:
        return advanced(f"Codex keeps something of it in {', '.join(noted)}")
    return None


def _changed_goal(deed: Deed, present: Present) -> bool:
    """Whether a goal that came with the session is another by now; one that is gone is none."""
    came = next(
        (o.after for o in deed.operations if isinstance(o, PutRow) and o.table == GOALS), None
    )
    now = next(iter(present.rows_of(GOALS, deed.local_id)), None)
    if came is None or now is None:
        return False
    return any(now.get(column) != came[column] for column in GOAL)


def _name(deed: Deed, left: Left, present: Present) -> Obstacle | None:
    """Whether the index of names tells of a name given since."""
    name, now = index_name(deed), present.names.get(deed.local_id)
    told = name is not None or (left.made and present.row(deed.local_id) is None)
    if told and now is not None and now != name:
        return advanced(SHOWN["name"])
    return None


def _require_sidecars(home: CodexHome, deed: Deed) -> None:
    """Raise HomeError ``sidecar_invalid`` where a sidecar that was changed cannot be read."""
    for operation in deed.operations:
        if isinstance(operation, PutDocument):
            lineage = lineage_of(operation.path)
            text = read_sidecar(home.sync_dir, lineage)
            if text is not None and text != operation.after:
                mappings_of(text, lineage)


def index_lines(deed: Deed) -> list[str]:
    """The texts that a deed put into the index of names; empty for one that it took out."""
    return [
        operation.text if isinstance(operation, AppendText) else operation.after
        for operation in deed.operations
        if isinstance(operation, AppendText | EditText)
    ]


def index_name(deed: Deed) -> str | None:
    """The name that a deed put into the index."""
    return read_names("".join(index_lines(deed)).encode().splitlines()).get(deed.local_id)


def _find(home: CodexHome, path: str, expected: Expected) -> Found | Obstacle:
    target = safe_join(home.path, path)
    if target.exists():
        with open_regular(target) as stream:
            return _measure(stream, target, "", expected)
    if is_kept(path):
        return Obstacle(
            "home_changed",
            f"{path}, which the transaction had kept, is gone",
            hint="restore the journal from a backup, then run `codex-session-sync AGAIN`",
        )
    target = safe_join(home.path, path + COMPRESSED)
    file = rollout_file(target, target.name, 0, 0, archived=False)
    if not target.exists() or file is None:
        return advanced("its transcript was moved or removed")
    if expected.closed:
        return advanced("Codex has compressed its transcript")
    with opened(file) as stream:
        return _measure(stream, target, COMPRESSED, expected)


def _measure(stream: BinaryIO, target: Path, suffix: str, expected: Expected) -> Found | Obstacle:
    """Compare a (decompressed) transcript with what is expected."""
    whole = hashlib.sha256()
    for skipped in (True, False):
        rest = expected.start if skipped else expected.size - expected.start
        while rest and (chunk := stream.read(min(rest, _CHUNK))):
            if not skipped:
                whole.update(chunk)
            rest -= len(chunk)
        if rest:
            return advanced("its transcript is shorter")
    if expected.sha256 is not None and whole.hexdigest() != expected.sha256:
        return advanced("its transcript was rewritten")
    more = b""
    while len(more) <= QUIET_BYTES and (chunk := stream.read(_CHUNK)):
        more += chunk
    closed = expected.closed and not expected.reopened
    if more and (closed or len(more) > QUIET_BYTES or not _quiet(more)):
        return advanced("it was continued here")
    whole.update(more)
    size, sha256 = expected.size + len(more), whole.hexdigest()
    status = target.stat()
    stored = None if expected.start else sha256
    if suffix:
        with open_regular(target) as raw:
            stored = hashlib.file_digest(raw, "sha256").hexdigest()
    return Found(expected.start, size, sha256, status.st_mtime_ns, suffix, (status.st_size, stored))


def _quiet(more: bytes) -> bool:
    """Whether all that follows in a transcript is what opening it adds."""
    for line in more.splitlines():
        record = parse_record(line)
        if record is None:
            return False
        kind = record["payload"].get("type") if record["type"] == "event_msg" else None
        if (record["type"], kind) not in QUIET:
            return False
    return True


def changed_columns(before: Row, after: Row) -> list[str]:
    """The columns in which two versions of a row differ."""
    return [c for c in dict.fromkeys((*before, *after)) if before.get(c) != after.get(c)]
