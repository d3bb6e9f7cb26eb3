"""Undoing a transaction: what of it can be undone, as a value, and doing it as a transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum

from ..codex.home import CodexHome
from ..codex.inventory import rollout_file
from ..codex.rollout import RolloutName, parse_name
from ..codex.session_index import index_text
from ..codex.state_db import StateDb, open_for_reading
from ..errors import HomeError, SyncError, UsageError
from ..identify import match_id
from ..journal.ledger import Deed, Ledger
from ..journal.operations import CreateFile, ExtendFile, PutRow, concern_goals
from ..model import Notice
from .folders import left_folders
from .present import Present
from .standing import (
    Left,
    Obstacle,
    advanced,
    examine,
    index_lines,
    index_name,
    left_by,
    obstacle_of,
    opened,
)

_CHUNK = 1 << 20


class Effect(StrEnum):
    """What undoing does to a session."""

    REMOVE = "remove"
    """It was brought in; it goes out of the home."""
    CUT_BACK = "cut_back"
    """It was continued; it ends where it did before."""
    REMAP = "remap"
    """Only what sidecars say of it was changed; they say again what they did."""
    PUT_BACK = "put_back"
    """It took another one's place, which comes back."""
    RESTORE = "restore"
    """A rollback had undone it; it is as it was before that."""


class UndoResult(StrEnum):
    """What became of one session."""

    UNDONE = "undone"
    KEPT = "kept"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class SessionUndoing:
    """What a rollback will do with one session, or why it leaves it as it is.

    ``whole`` is the deed with those of the same transaction that it built on: what it left can only
    be told of all of them.
    """

    deed: Deed
    whole: Deed
    left: Left
    effect: Effect
    obstacle: Obstacle | None = None

    @property
    def result(self) -> UndoResult:
        """What comes of it, if nothing intervenes."""
        return UndoResult.UNDONE if self.obstacle is None else result_of(self.obstacle)

    @property
    def asked_in_vain(self) -> bool:
        """Whether the session stays although it ought to be undone."""
        return self.obstacle is not None and self.obstacle.code != ALREADY


@dataclass(frozen=True, slots=True)
class RollbackPlan:
    """The whole of a rollback, as a value; sessions in the order in which they are undone."""

    transaction_id: str
    sessions: tuple[SessionUndoing, ...]
    notices: tuple[Notice, ...]

    @property
    def undoable(self) -> list[SessionUndoing]:
        """The sessions that are undone."""
        return [one for one in self.sessions if one.obstacle is None]


ALREADY = "already_rolled_back"


def result_of(obstacle: Obstacle) -> UndoResult:
    """The result for a session that something stands in the way of."""
    return UndoResult.KEPT if obstacle.code in ("advanced_since", ALREADY) else UndoResult.REFUSED


def newest(ledger: Ledger) -> str:
    """The newest transaction that changed something. Raises UsageError."""
    found = ledger.newest
    if found is None:
        raise UsageError(
            "transaction_unknown",
            "no transaction has changed this home",
            hint="`codex-session-sync list-transactions` shows them",
        )
    return found


def plan_rollback(
    home: CodexHome,
    ledger: Ledger,
    transaction_id: str,
    only: Sequence[str] = (),
    progress: Callable[[int], Callable[[int], None]] | None = None,
) -> RollbackPlan:
    """What undoing a transaction, or what it did to ``only`` some sessions, comes to.

    Reads the home and writes nothing. ``progress`` is told how many sessions there are, and gives
    what is told of those that were looked at. Raises HomeError, UsageError.
    """
    deeds = _chosen(ledger.of(transaction_id), only)
    goals = home.goals_db if concern_goals(o for d in deeds for o in d.operations) else None
    with ExitStack() as stack:
        database = None
        if not all(deed.of_mappings for deed in deeds):
            database = stack.enter_context(open_for_reading(home.state_db, goals))
        present = Present(home, database, [deed.local_id for deed in deeds])
        present.read()
        looked_at = progress(len(deeds)) if progress else None
        sessions: list[SessionUndoing] = []
        for found in _by_local(deeds):
            sessions += _undoings(home, ledger, found, present)
            if looked_at:
                looked_at(len(found))
        _require_database(home, sessions, database)
        going = _removed(sessions)
        sessions = together([_unless_read_on(one, going, present) for one in sessions])
        notices = (*_descendants(sessions, present), *_names_left(home, sessions, present))
    return RollbackPlan(transaction_id, tuple(sessions), notices)


def _chosen(deeds: Sequence[Deed], only: Sequence[str]) -> list[Deed]:
    """The deeds for the sessions asked for, by their id in the package or here.

    Two that were brought into one session here go together.
    """
    if not only:
        return list(deeds)
    ids = {i for deed in deeds for i in (deed.session_id, deed.local_id)}
    names = {i: d.session.get("name") for d in deeds for i in (d.session_id, d.local_id)}
    shown = f"`codex-session-sync show-transaction {deeds[0].transaction_id}`" if deeds else ""
    unknown = f"{shown} lists the sessions of the transaction" if shown else "leave --session out"
    wanted = {match_id(given, ids, names.get, unknown=unknown) for given in only}
    here = {deed.local_id for deed in deeds if wanted & {deed.session_id, deed.local_id}}
    return [deed for deed in deeds if deed.local_id in here]


def _by_local(deeds: Sequence[Deed]) -> Iterable[Sequence[Deed]]:
    """The deeds in the order in which they are undone, those on one local session together."""
    found: dict[str, list[Deed]] = {}
    for deed in reversed(deeds):
        found.setdefault(deed.local_id, []).append(deed)
    return found.values()


def _undoings(
    home: CodexHome, ledger: Ledger, deeds: Sequence[Deed], present: Present
) -> Iterable[SessionUndoing]:
    """The undoing of all deeds on one local session, judged by what they left together."""
    standing = [deed for deed in deeds if ledger.undone_by(deed) is None]
    obstacle = _obstacle(home, ledger, _whole(standing), present) if standing else None
    for deed in deeds:
        whole = _whole(standing[standing.index(deed) :]) if deed in standing else deed
        left = left_by(deed.operations)
        effect = Effect.REMOVE if left.made else Effect.CUT_BACK
        if deed.of_mappings:
            effect = Effect.REMAP
        if deed.of_skill:
            effect = Effect.PUT_BACK if len(left_folders(deed.operations)) > 1 else Effect.REMOVE
        if deed.rolls_back is not None:
            effect = Effect.RESTORE
        yield SessionUndoing(deed, whole, left, effect, _undone(ledger, deed) or obstacle)


def _whole(deeds: Sequence[Deed]) -> Deed:
    """The first of some deeds, with those that it built on."""
    operations = [operation for deed in reversed(deeds) for operation in deed.operations]
    return replace(deeds[0], operations=tuple(operations))


def _undone(ledger: Ledger, deed: Deed) -> Obstacle | None:
    undone_by = ledger.undone_by(deed)
    if undone_by is None:
        return None
    return Obstacle(
        ALREADY,
        f"transaction {undone_by} has rolled it back",
        hint=f"`codex-session-sync rollback {undone_by}` puts it in effect again",
    )


def together(sessions: Sequence[SessionUndoing]) -> list[SessionUndoing]:
    """The undoings, where what stands in the way of one is in that of all on its local session."""
    found = {
        one.deed.local_id: one.obstacle
        for one in sessions
        if one.obstacle is not None and one.obstacle.code != ALREADY
    }
    return [replace(one, obstacle=one.obstacle or found.get(one.deed.local_id)) for one in sessions]


def _obstacle(home: CodexHome, ledger: Ledger, deed: Deed, present: Present) -> Obstacle | None:
    later = ledger.built_on(deed)
    if later:
        return Obstacle(
            "advanced_since",
            f"transaction {', '.join(later)} built on it, so it stays as it is",
            hint="first "
            + ", then ".join(f"`codex-session-sync rollback {one} --execute`" for one in later),
        )
    try:
        found = examine(home, deed, left_by(deed.operations), present)
    except (SyncError, OSError) as error:
        if isinstance(error, HomeError) and error.code.startswith("database_"):
            raise
        return obstacle_of(error)
    return found if isinstance(found, Obstacle) else None


def _require_database(
    home: CodexHome, sessions: Iterable[SessionUndoing], database: StateDb | None
) -> None:
    rows = (o for one in sessions if one.obstacle is None for o in one.deed.operations)
    if database is None and any(isinstance(operation, PutRow) for operation in rows):
        raise HomeError(
            "database_missing",
            f"{home.state_db}, whose rows must be undone, is gone",
            hint="restore it from a backup, then run `codex-session-sync AGAIN`",
        )


def _unless_read_on(
    one: SessionUndoing, going: Collection[str], present: Present
) -> SessionUndoing:
    """The undoing, unless a session that stays continues the history that would go."""
    if one.obstacle is not None or one.left.closed:
        return one
    segments = {n.segment_id for path in one.left.transcripts if (n := _name(path)) is not None}
    readers = [
        k for i in segments for k in present.readers.get(i, ()) if k.file.thread_id not in going
    ]
    if not readers:
        return one
    try:
        end = _end(one, present)
    except (SyncError, OSError) as error:
        return replace(one, obstacle=obstacle_of(error))
    forks = sorted({k.file.thread_id for k in readers if k.base and k.base.end_offset > end})
    if not forks:
        return one
    obstacle = advanced(f"it was forked here: session {', '.join(forks)} reads on in it")
    return replace(one, obstacle=obstacle)


def _end(one: SessionUndoing, present: Present) -> int:
    """How many (decompressed) bytes of the transcript stay."""
    if one.left.made:
        return 0
    for operation in one.deed.operations:
        match operation:
            case ExtendFile(size=size):
                return size
            case CreateFile():
                return _kept_size(one, present)
    return 0


def _kept_size(one: SessionUndoing, present: Present) -> int:
    """The decompressed size of the transcript whose place a plain one took."""
    size = 0
    for path in one.left.files:
        place = present.home.path / path
        file = rollout_file(place, place.name, 0, 0, archived=False)
        if path not in one.left.transcripts and file is not None:
            with opened(file) as stream:
                while chunk := stream.read(_CHUNK):
                    size += len(chunk)
    return size


def _descendants(sessions: Sequence[SessionUndoing], present: Present) -> Iterable[Notice]:
    """A warning for each session that goes while others name it as the one they come from."""
    going = _removed(sessions)
    for session_id in sorted(going):
        stay = present.descendants.get(session_id, set()) - going
        if stay:
            yield Notice(
                "descendants_stay",
                f"{', '.join(sorted(stay))} came from it and stay: they are whole, and name a "
                "session that is not here any more",
                session_id,
            )


def _names_left(
    home: CodexHome, sessions: Sequence[SessionUndoing], present: Present
) -> Iterable[Notice]:
    """A warning for each name whose line in the index is not the one that was written."""
    index = index_text(home.session_index) or b""
    for one in sessions:
        name = index_name(one.deed)
        if one.obstacle is not None or name is None or present.names.get(one.deed.local_id) != name:
            continue
        lines = [text.strip().encode() for text in index_lines(one.deed)]
        if not all(line in index for line in lines):
            yield Notice(
                "name_stays",
                f"session_index.jsonl was rewritten since; the name {name!r} stays in it",
                one.deed.local_id,
            )


def _removed(sessions: Iterable[SessionUndoing]) -> frozenset[str]:
    return frozenset(
        one.deed.local_id for one in sessions if one.obstacle is None and one.left.made
    )


def _name(path: str) -> RolloutName | None:
    return parse_name(path.rsplit("/", 1)[-1].removesuffix(".zst"))
