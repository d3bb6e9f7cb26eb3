"""What the home holds: which sessions are listed, and what the user said in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b

from ..codex.history import HistoryEntry, entry_line
from ..codex.home import CodexHome
from ..codex.inventory import RolloutIndex, read_head
from ..codex.prompts import Progress, is_subagents, last_time_ms, read_prompts
from ..codex.session_index import first_line
from ..codex.state_db import StateDb
from ..errors import HomeError, SessionError
from ..model import Notice
from .conversations import Conversation, RowFacts, Selection, choose, row_facts
from .spool import Spool
from .timeline import Lines


@dataclass(frozen=True, slots=True)
class Scope:
    """What is asked for: how many conversations, and whether those without a row count."""

    limit: int
    orphans: bool = False


@dataclass(frozen=True, slots=True)
class Survey:
    """The listed sessions, and the ids of all that the home has, as a row or a file.

    ``index_size`` is that of the old index before anything was read: what is beyond it is newer.
    """

    selection: Selection
    present: frozenset[str]
    index_size: int
    notices: tuple[Notice, ...]


@dataclass(slots=True)
class Said:
    """What was read of the listed sessions: first messages where needed, lines of a history."""

    spool: Spool
    lines: Lines = field(default_factory=Lines)
    first_messages: dict[str, str] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)


def survey(home: CodexHome, database: StateDb | None, scope: Scope) -> Survey:
    """Choose the conversations; of each transcript at most the end is read, of some the head.

    Raises HomeError ``database_unreadable``, also where the database lacks its table.
    """
    index = home.session_index
    index_size = index.stat().st_size if index.exists() else 0
    rows = _rows(home, database)
    rollouts = home.rollouts()
    passed_over: Counter[str] = Counter()
    found = list(_conversations(rows, rollouts, scope, passed_over))
    selection = choose(found, scope.limit, passed_over)
    present = frozenset((*(rows or ()), *rollouts.threads()))
    return Survey(selection, present, index_size, tuple(_notices(selection)))


def read_said(
    conversations: tuple[Conversation, ...],
    spool: Spool,
    *,
    history: bool,
    progress: Progress | None,
) -> Said:
    """Read the transcripts: all of each for a history, else only first messages that are needed.

    A transcript that cannot be read gives what was read before the fault, and a notice.
    """
    said = Said(spool)
    for one in conversations:
        if history or not one.titled:
            try:
                _read(one, said, history=history, progress=progress)
            except SessionError as error:
                said.notices.append(Notice(error.code, error.message, one.session_id))
    return said


def prompt_key(entry: HistoryEntry) -> int:
    """A number that stands for the session and the text of an entry."""
    text = f"{entry.session_id}\0{entry.text}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest())


def _rows(home: CodexHome, database: StateDb | None) -> Mapping[str, RowFacts] | None:
    """The facts of every row by session id; None without a database."""
    if database is None:
        return None
    if not database.columns("threads"):
        raise HomeError(
            "database_unreadable",
            f"{home.state_db} has no table of threads",
            hint="move it away to rebuild from the transcripts alone, or let Codex make it anew",
        )
    return {facts.session_id: facts for facts in map(row_facts, database.rows("threads"))}


def _conversations(
    rows: Mapping[str, RowFacts] | None,
    rollouts: RolloutIndex,
    scope: Scope,
    passed_over: Counter[str],
) -> Iterator[Conversation]:
    """The sessions that may be listed; counts the others."""
    for facts in (rows or {}).values():
        if facts.archived:
            passed_over["archived"] += 1
        else:
            yield _with_row(facts, rollouts)
    for session_id in rollouts.threads():
        if rows is not None and session_id in rows:
            continue
        files = tuple(file for file in rollouts.files(session_id) if not file.archived)
        if not files:
            passed_over["archived"] += 1
        elif rows is not None and not scope.orphans:
            passed_over["without_row"] += 1
        else:
            try:
                read_head(files[-1])
                yield Conversation(session_id, last_time_ms(files[-1]), files)
            except SessionError:
                passed_over["unreadable"] += 1


def _with_row(facts: RowFacts, rollouts: RolloutIndex) -> Conversation:
    tip = rollouts.tip(facts.session_id, facts.base_name)
    time_ms = facts.time_ms
    if tip is not None:
        with suppress(SessionError):  # told when the transcript is read
            time_ms = max(time_ms, last_time_ms(tip))
    files = tuple(rollouts.files(facts.session_id))
    return Conversation(facts.session_id, time_ms, files, facts.titled)


def _notices(selection: Selection) -> Iterator[Notice]:
    left_out = selection.skipped.get("without_row")
    if left_out:
        yield Notice(
            "sessions_without_row",
            f"sessions that have a transcript and no row in the database: {left_out}; "
            "--include-orphans lists them too",
        )
    fileless = sum(not one.files for one in selection.listed)
    if fileless:
        yield Notice(
            "transcripts_missing",
            f"listed sessions whose transcript is not in this home: {fileless}; their prompts "
            "cannot be restored",
        )


def _read(one: Conversation, said: Said, *, history: bool, progress: Progress | None) -> None:
    """Take in the transcripts of one session, as far as they are needed. Raises SessionError."""
    spoken = history and bool(one.files) and not is_subagents(one.files[0])
    title_wanted = not one.titled
    for file in one.files:
        for prompt in read_prompts(file, progress):
            if title_wanted:
                said.first_messages[one.session_id] = first_line(prompt.text) or ""
                title_wanted = False
            if not spoken:
                return
            if not prompt.inherited:
                entry = HistoryEntry(one.session_id, prompt.time_ms // 1000, prompt.text)
                said.spool.add(entry_line(entry))
                said.lines.add(prompt.time_ms, prompt_key(entry), derived=True)
