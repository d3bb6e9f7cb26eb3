"""Executing a plan: stage, journal, change, confirm, batch by batch.

A batch is the unit of durability: its files are staged and synced, its operations journaled and
synced, then applied and synced. One that fails is undone and its sessions are tried one at a time,
so that one session's failure does not stop the others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .codex.home import CodexHome
from .codex.rollout import RolloutName, format_name, parse_time
from .codex.session_index import index_line, separator
from .codex.state_db import StateDb
from .codex.thread_row import thread_row
from .compose import Written, compose
from .durable import sync_all
from .errors import HomeError, InterruptedTransactionError, SessionError, SyncError
from .journal.log import TransactionLog, now
from .journal.operations import (
    AnyOperation,
    AppendText,
    CreateFile,
    MakeFolder,
    PutDocument,
    PutRow,
    Site,
)
from .journal.playback import apply_all, undo_all
from .lineage.fingerprint import lineage_id
from .lineage.sidecar import (
    Mapping,
    fingerprint,
    read_sidecar,
    sidecar_path,
    transcript_size,
    with_mapping,
)
from .localize import Rewriter
from .locks import codex_index_lock
from .model import Result, Row, SessionOutcome, SessionPlan, Transcript
from .policy import Policy
from .recovery import interrupted

BATCH_SESSIONS = 256
BATCH_BYTES = 64 << 20

Progress = Callable[[int], None]
Pair = tuple[str, AnyOperation]


@dataclass(frozen=True, slots=True)
class Staged:
    """A session whose transcript is written, and waits to be put in place."""

    plan: SessionPlan
    transcript: Transcript
    name: str
    path: str
    written: Written
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Importer:
    """Applies the imports of one transaction to one home."""

    home: CodexHome
    log: TransactionLog
    database: StateDb | None
    policy: Policy
    progress: Progress | None = None
    _broken: list[HomeError] = field(default_factory=list)
    """The failure of the database, after which no other session is tried."""

    @property
    def site(self) -> Site:
        """Where the operations act."""
        return Site(self.home.path, self.home.sync_dir, self.log.staged, self.database)

    def run(self, plans: Sequence[SessionPlan]) -> Iterator[SessionOutcome]:
        """Import the sessions; yields what became of each, in order."""
        for batch in _batches(plans):
            if self._broken:
                yield from (_failed(plan, self._broken[0]) for plan in batch)
                continue
            staged: list[Staged] = []
            for plan in batch:
                try:
                    staged.append(self._stage(plan))
                except (SyncError, OSError) as error:
                    yield _failed(plan, error)
            yield from self._commit(staged)

    def _stage(self, plan: SessionPlan) -> Staged:
        """Write one transcript to the staging folder, with the time of its last record."""
        transcript = plan.transcript
        assert transcript is not None
        name = str(sum(1 for _ in self.log.staged.iterdir()))
        target = self.log.staged / name
        rewriter = Rewriter(transcript, self.policy)
        try:
            with target.open("xb") as stream:
                written = compose(rewriter, stream, self.progress)
            _set_time(target, transcript.facts.last_timestamp)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return Staged(
            plan, transcript, name, self._path(plan), written, tuple(sorted(rewriter.removed))
        )

    def _path(self, plan: SessionPlan) -> str:
        file = plan.session.file
        assert file is not None
        rollout = RolloutName(file.stamp, file.thread_id, file.thread_id, compressed=False)
        return self.home.rollout_path(
            rollout, format_name(file.stamp, file.thread_id), archived=plan.session.archived
        )

    def _commit(self, staged: Sequence[Staged]) -> Iterator[SessionOutcome]:
        """Put a staged batch in place; if that fails, each of its sessions alone."""
        if not staged:
            return
        try:
            self._apply(staged)
        except InterruptedTransactionError:
            raise
        except (SyncError, OSError) as error:
            if isinstance(error, HomeError) and error.code.startswith("database_"):
                self._broken.append(error)
            if self._broken or len(staged) == 1:
                for one in staged:
                    (self.log.staged / one.name).unlink(missing_ok=True)
                    yield _failed(one.plan, error)
                return
            for one in staged:
                yield from self._commit([one])
            return
        for one in staged:
            yield SessionOutcome(
                one.plan, Result.IMPORTED, one.transcript.session_id, removed=one.removed
            )

    def _apply(self, staged: Sequence[Staged]) -> None:
        site = self.site
        sync_all(site.staged / one.name for one in staged)
        with codex_index_lock(self.home.path):
            operations = list(self._operations(staged))
            batch = self.log.intend(operations)
            done: list[AnyOperation] = []
            try:
                apply_all([operation for _, operation in operations], site, done)
                self.log.mark("done", batch)
            except BaseException:
                self._take_back(batch, done, site)
                raise

    def _take_back(self, batch: int, done: Sequence[AnyOperation], site: Site) -> None:
        """Undo a batch that failed. Raises InterruptedTransactionError if that fails as well."""
        problem: SyncError | OSError | None
        try:
            problem = next(iter(undo_all(done, site, keep_staged=True)), None)
            if problem is None:
                self.log.mark("undone", batch)
        except (SyncError, OSError) as error:
            problem = error
        if problem is not None:
            raise interrupted(self.log.transaction_id, problem) from problem

    def _operations(self, staged: Sequence[Staged]) -> Iterator[Pair]:
        """The operations of a batch, in the order in which they are applied."""
        yield from self._folders(staged)
        for one in staged:
            yield (
                one.plan.session.session_id,
                CreateFile(one.path, one.name, one.written.size, one.written.sha256),
            )
        yield from self._rows(staged)
        yield from self._names(staged)
        yield from self._sidecars(staged)

    def _folders(self, staged: Sequence[Staged]) -> Iterator[Pair]:
        made: set[str] = set()
        for one in staged:
            parts = one.path.split("/")[:-1]
            for depth in range(1, len(parts) + 1):
                folder = "/".join(parts[:depth])
                if folder not in made and not (self.home.path / folder).is_dir():
                    made.add(folder)
                    yield one.plan.session.session_id, MakeFolder(folder)

    def _rows(self, staged: Sequence[Staged]) -> Iterator[Pair]:
        if self.database is None:
            return
        ids = [one.transcript.session_id for one in staged]
        columns = self.database.columns("threads")
        before = {str(row["id"]): row for row in self.database.rows("threads", ids)}
        for one in staged:
            session = one.plan.session
            row = thread_row(
                columns,
                one.transcript,
                session.row,
                path=str(self.home.path / one.path),
                archived=session.archived,
                name=session.name,
                cwd=one.transcript.facts.last_cwd,
                approval_policy=None if self.policy.trusted else self.policy.approval_policy,
            )
            yield session.session_id, PutRow("threads", before.get(session.session_id), row)
        yield from self._tools(staged, self.database)

    def _tools(self, staged: Sequence[Staged], database: StateDb) -> Iterator[Pair]:
        columns = database.columns("thread_dynamic_tools")
        if not columns:
            return
        wanted = [one.plan.session for one in staged if one.plan.session.dynamic_tools]
        ids = [session.session_id for session in wanted]
        before = {
            (row["thread_id"], row["position"]): row
            for row in database.rows("thread_dynamic_tools", ids)
        }
        for session in wanted:
            for tool in session.dynamic_tools:
                row: Row = {c: tool[c] for c in columns if tool.get(c) is not None}
                known = before.get((tool["thread_id"], tool["position"]))
                yield session.session_id, PutRow("thread_dynamic_tools", known, row)

    def _names(self, staged: Sequence[Staged]) -> Iterator[Pair]:
        path = self.home.session_index
        size = path.stat().st_size if path.exists() else None
        start = separator(path).decode()
        for one in staged:
            session = one.plan.session
            if session.name is None:
                continue
            updated = one.transcript.facts.last_timestamp or now()
            text = start + index_line(session.session_id, session.name, updated).decode()
            yield session.session_id, AppendText(path.name, size, text)
            size, start = (size or 0) + len(text.encode()), ""

    def _sidecars(self, staged: Sequence[Staged]) -> Iterator[Pair]:
        texts: dict[str, str | None] = {}
        moment = now()
        for one in staged:
            session_id = one.plan.session.session_id
            chain = one.transcript.chain
            lineage = lineage_id(chain, session_id)
            if lineage not in texts:
                texts[lineage] = read_sidecar(self.home.sync_dir, lineage)
            mapping = Mapping(
                session_id,
                session_id,
                fingerprint(chain, transcript_size(one.transcript)),
                fingerprint(chain, one.written.size),
                self.log.transaction_id,
                moment,
            )
            after = with_mapping(texts[lineage], lineage, mapping)
            yield session_id, PutDocument(sidecar_path(lineage), texts[lineage], after)
            texts[lineage] = after


def _batches(plans: Sequence[SessionPlan]) -> Iterator[list[SessionPlan]]:
    batch: list[SessionPlan] = []
    size = 0
    for plan in plans:
        assert plan.transcript is not None
        length = transcript_size(plan.transcript)
        if batch and (len(batch) == BATCH_SESSIONS or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(plan)
        size += length
    if batch:
        yield batch


def _set_time(path: Path, timestamp: str | None) -> None:
    """Codex takes the file's time for the session's last activity."""
    moment = parse_time(timestamp)
    if moment is not None:
        nanoseconds = int(moment.timestamp() * 1000) * 1_000_000
        os.utime(path, ns=(nanoseconds, nanoseconds))


def _failed(plan: SessionPlan, error: SyncError | OSError) -> SessionOutcome:
    if isinstance(error, SyncError):
        known = error
    else:
        known = SessionError(
            "write_failed",
            f"writing it failed: {error.strerror or error}",
            hint="nothing of it was left behind; make room or mend the cause, then sync again",
        )
    outcome = SessionOutcome(plan, Result.FAILED, None)
    return replace(outcome, code=known.code, message=known.message, hint=known.hint)
