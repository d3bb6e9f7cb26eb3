"""From staged sessions to the operations that put them in place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .codex import goals
from .codex.home import CodexHome
from .codex.rollout import RolloutName
from .codex.session_index import index_line, separator
from .codex.state_db import StateDb
from .codex.thread_row import Placed, advanced_row, provider_of, thread_row
from .journal.operations import (
    AnyOperation,
    AppendText,
    CreateFile,
    ExtendFile,
    MakeFolder,
    MoveFile,
    PutDocument,
    PutRow,
)
from .lineage.fingerprint import lineage_id
from .lineage.sidecar import (
    Mapping,
    fingerprint,
    read_sidecar,
    sidecar_path,
    with_mapping,
)
from .model import HistoryMode, RolloutFile, Row
from .moments import now
from .package.sessions import EDGES
from .staging import Staged
from .terms import Terms

Pair = tuple[str, AnyOperation]
"""A session's id in the package, and a change made for it."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The operations of one batch of a transaction; reads the home, writes nothing."""

    home: CodexHome
    database: StateDb | None
    terms: Terms
    transaction_id: str

    def operations(self, staged: Sequence[Staged]) -> Iterator[Pair]:
        """The operations of a batch, in the order in which they are applied."""
        yield from self._folders(staged)
        for one in staged:
            for operation in self._files(one):
                yield one.plan.session.session_id, operation
        yield from self._rows(staged)
        yield from self._names(staged)
        yield from self._sidecars(staged)

    def _folders(self, staged: Sequence[Staged]) -> Iterator[Pair]:
        known: set[str] = set()
        for one in staged:
            moved = [move.new_path for move in self._moves(one)]
            for path in dict.fromkeys([one.path, *moved]):
                parts = path.split("/")[:-1]
                if "/".join(parts) in known:
                    continue
                for depth in range(1, len(parts) + 1):
                    folder = "/".join(parts[:depth])
                    if folder not in known and not (self.home.path / folder).is_dir():
                        yield one.plan.session.session_id, MakeFolder(folder)
                    known.add(folder)

    def _files(self, one: Staged) -> Iterator[AnyOperation]:
        local, written = one.target.local, one.written
        if one.extends:
            assert local is not None
            assert written is not None
            yield ExtendFile(
                one.path,
                one.name,
                local.file.size,
                local.file.mtime_ns,
                written.size,
                written.sha256,
                one.mtime_ns,
            )
        elif written is not None:
            yield CreateFile(one.path, one.name, written.size, written.sha256)
            if local is not None:
                # The plain file has taken its place; it is kept with the transaction.
                kept = f"session-sync/transactions/{self.transaction_id}/{local.file.name}"
                yield MoveFile(self._relative(local.file), kept, local.file.size)
        yield from self._moves(one)

    def _moves(self, one: Staged) -> Iterator[MoveFile]:
        """Into the archive or out of it, all of a session's files, as Codex does it."""
        archived, local = one.target.metadata.get("archived"), one.target.local
        if archived is None or local is None:
            return
        size = one.written.size if one.written else 0
        if one.extends or one.written is None:
            size += local.file.size
        yield MoveFile(one.path, self._final_path(one), size)
        for file in one.target.older:
            if file.archived != archived:
                yield MoveFile(self._relative(file), self._filed(file, archived), file.size)

    def _final_path(self, one: Staged) -> str:
        """Where the transcript lies in the end: archived or not, as the source has it."""
        archived, local = one.target.metadata.get("archived"), one.target.local
        if archived is None or local is None:
            return one.path
        return self._filed(local.file, archived, one.path.rsplit("/", 1)[-1])

    def _filed(self, file: RolloutFile, archived: bool, name: str | None = None) -> str:
        """Where a rollout belongs, by its own name or another."""
        rollout = RolloutName(file.stamp, file.thread_id, file.segment_id, file.compressed)
        return self.home.rollout_path(rollout, name or file.name, archived=archived)

    def _relative(self, file: RolloutFile) -> str:
        return file.path.relative_to(self.home.path).as_posix()

    def _rows(self, staged: Sequence[Staged]) -> Iterator[Pair]:
        if self.database is None:
            return
        ids = [one.target.session_id for one in staged]
        before = {str(row["id"]): row for row in self.database.rows("threads", ids)}
        for one in staged:
            known = before.get(one.target.session_id)
            row = self._row(one, known, self.database)
            if row is not None:
                yield one.plan.session.session_id, PutRow("threads", known, row)
        yield from self._tools(staged, self.database)
        yield from self._edges(staged, self.database)
        yield from self._goals(staged, self.database)

    def _row(self, one: Staged, known: Row | None, database: StateDb) -> Row | None:
        session, target = one.plan.session, one.target
        path = str(self.home.path / self._final_path(one))
        if target.local is not None:
            if known is None:
                return None
            return advanced_row(
                known, one.transcript, session.row, path=path, follow=target.metadata
            )
        last = one.transcript.facts.last_cwd
        here = self.terms.adaptation.settled(last, one.plan.cwd)
        mode: HistoryMode = "legacy" if self.terms.legacy_only else one.transcript.mode
        placed = Placed(
            target.session_id,
            path,
            session.archived,
            target.name,
            one.plan.cwd or last,
            here.provider(provider_of(one.transcript, session.row)),
            mode,
        )
        told = here.row(session.row) if session.row else None
        policy = None if self.terms.policy.trusted else self.terms.policy.approval_policy
        return thread_row(database.columns("threads"), one.transcript, told, placed, policy)

    def _tools(self, staged: Sequence[Staged], database: StateDb) -> Iterator[Pair]:
        columns = database.columns("thread_dynamic_tools")
        wanted = [one for one in staged if one.plan.session.dynamic_tools]
        if not columns or not wanted:
            return
        ids = [one.target.session_id for one in wanted]
        before = {
            (row["thread_id"], row["position"]): row
            for row in database.rows("thread_dynamic_tools", ids)
        }
        for one in wanted:
            for tool in one.plan.session.dynamic_tools:
                row: Row = {c: tool[c] for c in columns if tool.get(c) is not None}
                row = {**row, "thread_id": one.target.session_id}
                known = before.get((row["thread_id"], row["position"]))
                yield one.plan.session.session_id, PutRow("thread_dynamic_tools", known, row)

    def _edges(self, staged: Sequence[Staged], database: StateDb) -> Iterator[Pair]:
        """Who spawned a session; what Codex has noted here stays."""
        columns = {"parent_thread_id", "child_thread_id", "status"}
        wanted = [one for one in staged if one.target.local is None and one.plan.session.spawn_edge]
        if not wanted or not columns <= database.columns(EDGES).keys():
            return
        known = database.rows(EDGES, [one.target.session_id for one in wanted])
        there = {row["child_thread_id"] for row in known}
        for one in wanted:
            edge = one.plan.session.spawn_edge or {}
            child, parent = one.target.session_id, str(edge["parent_thread_id"])
            if child not in there and edge["status"] is not None:
                row: Row = {
                    "parent_thread_id": one.target.moved.get(parent, parent),
                    "child_thread_id": child,
                    "status": edge["status"],
                }
                yield one.plan.session.session_id, PutRow(EDGES, None, row)

    def _goals(self, staged: Sequence[Staged], database: StateDb) -> Iterator[Pair]:
        """What imported sessions are working on, at rest; never over a goal that is there."""
        columns = database.columns(goals.TABLE)
        wanted = [one for one in staged if one.target.local is None and one.plan.session.goal]
        if not columns or not wanted:
            return
        known = database.rows(goals.TABLE, [one.target.session_id for one in wanted])
        there = {row[goals.KEY] for row in known}
        for one in wanted:
            session, here = one.plan.session, one.target.session_id
            if session.goal and here not in there and goals.fits_table(columns, session.goal):
                row = goals.goal_row(columns, here, session.goal)
                yield session.session_id, PutRow(goals.TABLE, None, row)

    def _names(self, staged: Sequence[Staged]) -> Iterator[Pair]:
        path = self.home.session_index
        size = path.stat().st_size if path.exists() else None
        start = separator(path).decode()
        for one in staged:
            name = one.target.metadata.get("name") or one.target.name
            if name is None:
                continue
            updated = one.transcript.facts.last_timestamp or now()
            text = start + index_line(one.target.session_id, name, updated).decode()
            yield one.plan.session.session_id, AppendText(path.name, size, text)
            size, start = (size or 0) + len(text.encode()), ""

    def _sidecars(self, staged: Sequence[Staged]) -> Iterator[Pair]:
        texts: dict[str, str | None] = {}
        moment = now()
        for one in staged:
            session, chain, local = one.plan.session, one.transcript.chain, one.target.local
            here = local.chain if local is not None and one.written is None else chain
            lineage = lineage_id(chain, session.session_id)
            if lineage not in texts:
                texts[lineage] = read_sidecar(self.home.sync_dir, lineage)
            mapping = Mapping(
                session.session_id,
                one.target.session_id,
                fingerprint(chain, one.transcript.size),
                fingerprint(here, one.size),
                one.target.sources,
                self.transaction_id,
                moment,
            )
            after = with_mapping(texts[lineage], lineage, mapping)
            yield session.session_id, PutDocument(sidecar_path(lineage), texts[lineage], after)
            texts[lineage] = after
