"""Homes as directories without a database, and what may happen to their sessions in a story."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import zstandard

from codex_session_sync.codex.convert import ModeConverter
from model.rollout_text import (
    Line,
    Record,
    Token,
    content,
    dump,
    file_name,
    head,
    numbered,
    opening,
    parse,
    placed,
    said,
    session_id,
    settings,
    token_of,
    turn,
)

FIRST_TURN = 60_000


@dataclass(frozen=True)
class Held:
    """A session as the story knows it: where it began, and what has been said.

    Copies of one session, branches among them, have the same ``strand``; a fork has one of its own.
    """

    strand: int
    line: Line


@dataclass
class Home:
    """A directory, and beside it what ought to be in it."""

    path: Path
    held: dict[str, Held] = field(default_factory=dict)
    clock: int = FIRST_TURN

    @property
    def sync_dir(self) -> Path:
        """Where the program keeps what it knows."""
        return self.path / "session-sync"

    @property
    def dated(self) -> Path:
        """Where the files of this story's day lie."""
        return self.path / "sessions" / "2026" / "03" / "02"

    def files(self) -> dict[str, Path]:
        """The file of each session."""
        folders = [self.dated, self.path / "archived_sessions"]
        found = [path for folder in folders for path in sorted(folder.glob("rollout-*"))]
        return {path.name.split(".")[0][-36:]: path for path in found}

    def lines(self) -> dict[str, Line]:
        """What each session's file holds, read anew."""
        files = self.files()
        return {session: self._line(files, session, None) for session in files}

    def _line(self, files: dict[str, Path], session: str, end: int | None) -> Line:
        data = content(files[session])[:end]
        records = parse(data)
        base = records[0]["payload"].get("history_base")
        inherited: Line = ()
        if base is not None:
            inherited = self._line(files, base["thread_id"], base["end_byte_offset"])
        found = (token_of(record) for record in records)
        return inherited + tuple(token for token in found if token is not None)

    # -- what Codex and its user do -------------------------------------------------------------

    def begin(self, session: str, strand: int, first: Token, *, legacy: bool) -> None:
        """Make a session with one entry and no turn yet."""
        records = [head(session, first[0], legacy=legacy), *opening(first)]
        path = self.dated / file_name(session)
        self._create(path, records if legacy else numbered(records, 0))
        self.held[session] = Held(strand, (first,))

    def go_on(self, session: str, tokens: Sequence[Token]) -> None:
        """Add one turn, as Codex does: to a plain file whose last line is ended."""
        legacy = self.legacy(session)
        self._append(session, turn(session, tokens, legacy=legacy), legacy=legacy)
        held = self.held[session]
        self.held[session] = Held(held.strand, held.line + tuple(map(said, tokens)))

    def resettle(self, session: str, moment: int) -> None:
        """Open a session with other settings and say nothing."""
        self._append(session, [settings(moment)], legacy=self.legacy(session))

    def fork(self, session: str, new: str, strand: int, moment: int) -> None:
        """Fork a session at its end: by reference, or of a legacy one as a full copy."""
        self._append(session, [], legacy=self.legacy(session))
        files = self.files()
        data = content(files[session])
        path = self.dated / file_name(new)
        if self.legacy(session):
            base: Record = {"forked_from_id": session}
            self._create(path, [head(new, moment, legacy=True, base=base), *parse(data)])
        else:
            end = self._next_ordinal(session)
            reference = {
                "thread_id": session,
                "end_ordinal_exclusive": end,
                "end_byte_offset": len(data),
            }
            base = {
                "forked_from_id": session,
                "forked_from_ordinal_exclusive": end,
                "history_base": reference,
            }
            self._create(path, numbered([head(new, moment, legacy=False, base=base)], end))
        self.held[new] = Held(strand, self.held[session].line)

    def archive(self, session: str) -> None:
        """Archive a session, or take it out of the archive."""
        path = self.files()[session]
        archived = self.path / "archived_sessions"
        folder = self.dated if path.parent == archived else archived
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / path.name)

    def compress(self, session: str) -> None:
        """Compress a session's file, as Codex does with old ones."""
        path = self.files()[session]
        if path.suffix != ".zst":
            _compressed(path, path.read_bytes())
            path.unlink()

    # -- what others do -------------------------------------------------------------------------

    def migrate(self, session: str) -> None:
        """Rewrite a legacy session in place as a paginated one."""
        if not self.legacy(session):
            return
        path = self.files()[session]
        convert = ModeConverter("paginated", session)
        records = [new for old in parse(content(path)) for new in convert.convert(old)]
        _put(path, dump(numbered(records, 0)))

    def reidentify(self, session: str, new: str) -> None:
        """Give a session another id, wherever the old one stands."""
        for path in self.files().values():
            data = content(path)
            if session.encode() in data:
                _put(path, data.replace(session.encode(), new.encode()))
        path = self.files()[session]
        path.rename(path.with_name(path.name.replace(session, new)))
        self.held[new] = self.held.pop(session)

    def copy(self, session: str, new: str) -> None:
        """Put a copy of a session beside it under another id."""
        path = self.files()[session]
        data = content(path).replace(session.encode(), new.encode())
        _put(path.with_name(path.name.replace(session, new)), data)
        self.held[new] = self.held[session]

    def truncate(self, session: str, records: int, torn: int) -> None:
        """Cut off the last records of a file, of the last one only ``torn`` bytes if not 0."""
        path = self.files()[session]
        data = content(path)
        starts = [place for place, _ in placed(data)]
        if torn:
            last = starts[max(1, len(starts) - records) :][:1]
            end = last[0] + torn if last else len(data)
        else:
            end = ([*starts, len(data)])[max(1, len(starts) - records)]
        _put(path, data[:end])
        own = len([1 for record in parse(data) if token_of(record)])
        kept = len([1 for record in parse(data[:end]) if token_of(record)])
        held = self.held[session]
        self.held[session] = Held(held.strand, held.line[: len(held.line) - own + kept])

    def retime(self, session: str, entries: int, shift: int) -> None:
        """Let the last entries of a file have been said at another time."""
        path = self.files()[session]
        records = parse(content(path))
        own = [place for place, record in enumerate(records) if token_of(record)]
        for place in own[max(0, len(own) - entries) :]:
            token = token_of(records[place])
            assert token is not None
            [later] = opening((token[0] + shift, *token[1:]))
            records[place] = {**records[place], "timestamp": later["timestamp"]}
        _put(path, dump(records))
        found = tuple(token for token in map(token_of, records) if token is not None)
        held = self.held[session]
        self.held[session] = Held(held.strand, held.line[: len(held.line) - len(own)] + found)

    # -- of files -------------------------------------------------------------------------------

    def legacy(self, session: str) -> bool:
        """Whether a session is in the old history mode."""
        return bool(self._head(session).get("history_mode") != "paginated")

    def referred(self) -> set[str]:
        """The sessions whose files must stay as they are because others continue them."""
        found = set()
        for path in self.files().values():
            base = first_payload(path).get("history_base")
            found.add(base["thread_id"] if base else "")
        return found

    def ancestors(self, session: str) -> set[str]:
        """The ids that a session names as those it comes from."""
        payload = self._head(session)
        note = payload.get("session_sync", payload)
        return {note["forked_from_id"]} if note.get("forked_from_id") else set()

    def _head(self, session: str) -> Record:
        return first_payload(self.files()[session])

    def _next_ordinal(self, session: str) -> int:
        return int(parse(content(self.files()[session]))[-1]["ordinal"]) + 1

    def _create(self, path: Path, records: Sequence[Record]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dump(records))

    def _append(self, session: str, records: Sequence[Record], *, legacy: bool) -> None:
        path = self.files()[session]
        data = content(path)
        if not data.endswith(b"\n"):
            data += b"\n"
        if not legacy:
            records = numbered(records, self._next_ordinal(session))
        plain = path.with_name(path.name.removesuffix(".zst"))
        plain.write_bytes(data + dump(records))
        if plain != path:
            path.unlink()


def new_id(number: int) -> str:
    """An id for a session that begins or is given another one."""
    return session_id(number)


def first_payload(path: Path) -> Record:
    """The payload of a file's first record."""
    [first] = parse(content(path).split(b"\n", 1)[0])
    payload: Record = first["payload"]
    return payload


def _put(path: Path, data: bytes) -> None:
    if path.suffix == ".zst":
        _compressed(path.with_suffix(""), data)
    else:
        path.write_bytes(data)


def _compressed(plain: Path, data: bytes) -> None:
    path = plain.with_name(plain.name + ".zst")
    path.write_bytes(zstandard.ZstdCompressor(level=1).compress(data))
