"""From what a transaction did to sessions to the operations that undo it.

The inverses are operations like any others: journaled, applied, undone and inverted again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePosixPath

from ..codex.home import CodexHome
from ..codex.rollout import parse_name
from ..codex.session_index import index_text
from ..codex.thread_history import projected
from ..commit import Pair
from ..journal.ledger import Deed, Ledger
from ..journal.log import TRANSACTIONS
from ..journal.operations import (
    AnyOperation,
    AppendText,
    CreateFile,
    CutFile,
    EditText,
    ExtendFile,
    ForgetProjection,
    MakeFolder,
    MoveFile,
    MoveFolder,
    PutDocument,
    PutRow,
    RemoveFolder,
)
from ..lineage.sidecar import lineage_of, read_sidecar, with_mapping_of, without_change
from ..model import Row
from ..planned import SKILL
from .folders import inverted
from .present import BESIDE, Present
from .standing import Found, Left, changed_columns, is_kept, is_sidecar

TIMES = (("updated_at", "updated_at_ms"), ("recency_at", "recency_at_ms"))
"""Columns that Codex's triggers keep together: they go back together or not at all."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Bytes that wait in the transaction's folder under a name."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Ready:
    """A session that is to be undone: what was done, what it left, and how that is now.

    ``staged`` holds, by the path that they come from, the bytes that wait to be put in place.
    """

    deed: Deed
    left: Left
    found: Mapping[str, Found]
    staged: Mapping[str, Waiting] = field(default_factory=dict)


@dataclass(frozen=True)
class Inverse:
    """The operations that undo a batch of deeds; reads the home, writes nothing."""

    home: CodexHome
    ledger: Ledger
    present: Present
    transaction_id: str

    def operations(self, batch: Sequence[Ready]) -> Iterator[Pair]:
        """The operations in the order in which they are applied."""
        files = [(one.deed.session_id, o) for one in batch for o in self._ordered(one)]
        files += [(one.deed.session_id, o) for one in batch for o in self._skills(one.deed)]
        yield from self._folders(files)
        yield from files
        for one in batch:
            for operation in self._rows(one):
                yield one.deed.session_id, operation
        yield from self._names(batch)
        yield from self._sidecars(batch)
        yield from self._projections(files)
        yield from self._emptied(files)

    def _skills(self, deed: Deed) -> Iterator[AnyOperation]:
        if deed.of_skill:
            name = f"skill-{deed.local_id.removeprefix(SKILL)}"
            yield from inverted(deed, self._keep(name))

    def _ordered(self, one: Ready) -> Iterator[AnyOperation]:
        """The operations on files; what was kept comes back as soon as its place is free."""
        taken = {path + now.suffix for path, now in one.found.items()}
        waiting: list[MoveFile] = []
        for operation in self._files(one):
            if isinstance(operation, MoveFile):
                if is_kept(operation.path) and operation.new_path in taken:
                    waiting.append(operation)
                    continue
                taken = (taken - {operation.path}) | {operation.new_path}
            yield operation
            free = [move for move in waiting if move.new_path not in taken]
            waiting = [move for move in waiting if move not in free]
            taken.update(move.new_path for move in free)
            yield from free
        yield from waiting

    def _files(self, one: Ready) -> Iterator[AnyOperation]:
        found = dict(one.found)
        for operation in reversed(one.deed.operations):
            match operation:
                case MoveFile(path=path) if is_sidecar(path):
                    continue  # a damaged sidecar, which does not come back
                case MoveFile(path=path, new_path=new_path):
                    now = found[path] = found.pop(new_path)
                    yield MoveFile(new_path + now.suffix, path + now.suffix, *now.stored)
                case CreateFile(path=path):
                    yield self._away(path, found[path])
                case ExtendFile(path=path) if found[path].suffix:
                    # Compressed since: the plain beginning takes its place.
                    plain = one.staged[path]
                    yield CreateFile(path, plain.name, plain.size, plain.sha256)
                    yield self._away(path, found[path])
                    found[path] = replace(found[path], size=plain.size, suffix="")
                case ExtendFile(path=path, size=size, mtime_ns=mtime_ns):
                    yield self._cut(path, found[path], size, mtime_ns)
                    found[path] = replace(found[path], size=size, mtime_ns=mtime_ns)
                case CutFile(path=path, kept=kept, size=size, mtime_ns=mtime_ns):
                    now, end = found[path], one.staged[kept]
                    if now.size > size:
                        # What opening the session has added since makes room.
                        yield self._cut(path, now, size, now.mtime_ns)
                    yield ExtendFile(
                        path, end.name, size, now.mtime_ns, end.size, end.sha256, mtime_ns
                    )

    def _cut(self, path: str, now: Found, size: int, mtime_ns: int) -> CutFile:
        """The cut of a file to a size; this transaction keeps the rest."""
        kept = self._keep(f"{path}.rest")
        return CutFile(path, kept, size, now.size - size, now.sha256, now.mtime_ns, mtime_ns)

    def _away(self, path: str, now: Found) -> MoveFile:
        """The move of a file to where this transaction keeps it."""
        return MoveFile(path + now.suffix, self._keep(path + now.suffix), *now.stored)

    def _keep(self, path: str) -> str:
        """Where this transaction keeps what it takes away from a path."""
        name = path.rsplit("/", 1)[-1]
        return f"session-sync/{TRANSACTIONS}/{self.transaction_id}/{name}"

    def _folders(self, files: Iterable[Pair]) -> Iterator[Pair]:
        made: set[str] = set()
        for session_id, operation in files:
            if not isinstance(operation, MoveFile | MoveFolder):
                continue
            if not is_kept(operation.new_path):
                for folder in reversed(_parents(operation.new_path)):
                    if folder not in made and not (self.home.path / folder).is_dir():
                        made.add(folder)
                        yield session_id, MakeFolder(folder)

    def _emptied(self, files: Sequence[Pair]) -> Iterator[Pair]:
        """The folders that transactions made and in which nothing is left."""
        moves = [(i, o) for i, o in files if isinstance(o, MoveFile | MoveFolder)]
        leaving = {o.path for _, o in moves}
        made = [o.path for _, o in files if isinstance(o, CreateFile)]
        coming = {f for path in (*made, *(o.new_path for _, o in moves)) for f in _parents(path)}
        staying: dict[str, set[str]] = {}
        for session_id, operation in moves:
            for folder in _parents(operation.path):
                if folder in leaving or folder in coming:
                    continue
                if folder not in staying:
                    staying[folder] = self._staying(folder, leaving)
                if not staying[folder]:
                    leaving.add(folder)
                    staying.get(folder.rpartition("/")[0], set()).discard(folder)
                    yield session_id, RemoveFolder(folder)

    def _staying(self, folder: str, leaving: Collection[str]) -> set[str]:
        """What keeps a folder: what else lies in it, or itself if no transaction made it."""
        if not self.ledger.made_folder(folder):
            return {folder}
        names = (f"{folder}/{name}" for name in os.listdir(self.home.path / folder))  # noqa: PTH208
        return {name for name in names if name not in leaving}

    def _rows(self, one: Ready) -> Iterator[AnyOperation]:
        session = one.deed.local_id
        if one.left.made:
            # Also a row that Codex made: without its file the session would be an empty shell.
            for table in BESIDE:
                for row in self.present.rows_of(table, session):
                    yield PutRow(table, row, None)
            known = self.present.row(session)
            if known is not None:
                yield PutRow("threads", known, None)
            return
        for operation in reversed(one.deed.operations):
            if isinstance(operation, PutRow):
                inverse = self._row(operation)
                if inverse is not None:
                    yield inverse

    def _row(self, operation: PutRow) -> PutRow | None:
        table, before, after = operation.table, operation.before, operation.after
        present = self.present.row_of_key(table, operation.key)
        if before is None or after is None:
            if (present is None) == (before is None):
                return None
            columns = self.present.columns(table)
            if not columns:
                return None
            row = before and {c: value for c, value in before.items() if c in columns}
            return PutRow(table, present, row)
        if present is None:
            return None
        here = self.ledger.places.row(present) or present
        still = [c for c in changed_columns(before, after) if c in here and here[c] == after.get(c)]
        for pair in TIMES:
            stated = [c for c in pair if c in before or c in after]
            if not all(c in still or before.get(c) == after.get(c) == here.get(c) for c in stated):
                still = [c for c in still if c not in pair]
        if not still:
            return None
        now: Row = {**operation.key, **{c: present[c] for c in still}}
        return PutRow(table, now, {**operation.key, **{c: before.get(c) for c in still}})

    def _names(self, batch: Sequence[Ready]) -> Iterator[Pair]:
        path = self.home.session_index
        content = index_text(path)
        for one in batch:
            for operation in reversed(one.deed.operations):
                edit = None
                match operation:
                    case AppendText(size_before=size, text=text):
                        edit = self._without(path.name, content, text, size or 0)
                    case EditText(offset=offset, before="", after=text):
                        edit = self._without(path.name, content, text, offset)
                    case EditText(before=text):
                        edit = _with(path.name, content, text, operation.offset)
                if edit is not None:
                    content = _edited(content, edit)
                    yield one.deed.session_id, edit

    def _without(self, path: str, content: bytes | None, text: str, hint: int) -> EditText | None:
        """The removal of a text from the index; None if it is not there any more."""
        data = text.encode()
        offset = _locate(content or b"", data, hint)
        if content is None or offset is None:
            return None
        if data.startswith(b"\n") and offset + len(data) < len(content):
            # The newline that ended a torn line; what follows needs it now.
            offset, data = offset + 1, data[1:]
        left: int | None = len(content) - len(data)
        if left == 0 and self.ledger.made_index(path):
            left = None
        tail = _sha256(content[offset + len(data) :])
        return EditText(path, offset, data.decode(), "", len(content), left, tail)

    def _sidecars(self, batch: Sequence[Ready]) -> Iterator[Pair]:
        texts: dict[str, str | None] = {}
        for one in batch:
            pair = (one.deed.session_id, one.deed.local_id)
            for operation in reversed(one.deed.operations):
                if not isinstance(operation, PutDocument):
                    continue
                path, lineage = operation.path, lineage_of(operation.path)
                if path not in texts:
                    texts[path] = read_sidecar(self.home.sync_dir, lineage)
                now, before = texts[path], operation.before
                if now == operation.after:
                    wanted = before
                elif one.deed.of_mappings:
                    wanted = without_change(now, before, operation.after, lineage)
                else:
                    wanted = with_mapping_of(now, before, lineage, pair)
                if wanted != now:
                    yield one.deed.session_id, PutDocument(path, now, wanted)
                texts[path] = wanted

    def _projections(self, files: Iterable[Pair]) -> Iterator[Pair]:
        for session_id, operation in files:
            if isinstance(operation, CutFile) or (
                isinstance(operation, MoveFile) and is_kept(operation.new_path)
            ):
                name = parse_name(PurePosixPath(operation.path).name)
                if name is not None and name.segment_id in self._projected:
                    yield session_id, ForgetProjection(name.segment_id)

    @cached_property
    def _projected(self) -> frozenset[str]:
        return projected(self.home.history_db)


def _parents(path: str) -> list[str]:
    """The folders in the home that a path lies in, the innermost first."""
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(len(parts) - 1, 0, -1)]


def _with(path: str, content: bytes | None, text: str, hint: int) -> EditText:
    """The return of a text to the index: to its place if that can be told, else to the end."""
    present = content or b""
    before = present[:hint]
    at_place = len(before) == hint and (not before or before.endswith(b"\n"))
    offset = hint if at_place else len(present)
    if offset == len(present) and present and not present.endswith(b"\n"):
        text = text if text.startswith("\n") else f"\n{text}"
    size = None if content is None else len(content)
    after = len(present) + len(text.encode())
    return EditText(path, offset, "", text, size, after, _sha256(present[offset:]))


def _edited(content: bytes | None, edit: EditText) -> bytes | None:
    if edit.size_after is None:
        return None
    present = content or b""
    rest = present[edit.offset + len(edit.before.encode()) :]
    return present[: edit.offset] + edit.after.encode() + rest


def _locate(content: bytes, data: bytes, hint: int) -> int | None:
    """Where a whole line, or lines, lie: where expected, else the last place."""
    if content[hint : hint + len(data)] == data:
        return hint
    end = len(content)
    while (place := content.rfind(data, 0, end)) >= 0:
        if place == 0 or data.startswith(b"\n") or content[place - 1 : place] == b"\n":
            return place
        end = place + len(data) - 1
    return None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
