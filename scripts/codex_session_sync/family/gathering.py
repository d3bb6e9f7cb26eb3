"""Reading the family of a home's sessions: heads of transcripts, rows, sidecars and the journal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from ..codex.home import CodexHome
from ..codex.inventory import open_rollout, read_head
from ..codex.rollout import EVENT, SESSION_ID, parse_record, parse_time, read_lines
from ..codex.session_index import first_line
from ..errors import HomeError, SessionError
from ..journal.log import Journal
from ..lineage.fingerprint import PROVENANCE
from ..lineage.kinship import forked_from
from ..lineage.sidecar import Mapping, mappings_of, read_sidecar, sidecar_lineages
from ..local import LocalSessions
from ..model import Json, Notice, PackagedSession, RolloutFile
from ..packing.gathering import gather
from .values import Edge, Family, Kind, Package, Session, Transaction

WROTE = frozenset({"imported", "fast_forwarded", "branched", "adopted", "remapped", "undone"})
"""What may have become of a session that a transaction wrote."""

_FIRST_LINES = 200
"""How far the first words of a session without a row are looked for."""


def read_family(home: CodexHome) -> tuple[Family, tuple[Notice, ...]]:
    """The family of all sessions of ``home``, and what of it could not be read.

    No transcript is read further than to its first words. Raises HomeError.
    """
    gathered = gather(home)
    reading = _Reading(home)
    for session in gathered.sessions.values():
        reading.take_session(session)
    for mapping in reading.mappings():
        reading.take_mapping(mapping)
    for manifest in Journal(home.sync_dir).manifests():
        reading.take_transaction(manifest)
    return reading.family(), tuple(reading.notices)


def with_turns(
    family: Family, home: CodexHome, progress: Callable[[int], None] | None = None
) -> Family:
    """The family with the turns and entries that its sessions here have now.

    Reads their transcripts; ``progress`` is told of the bytes. What cannot be read stays unknown.
    """
    local = LocalSessions(home)
    found = dict(family.sessions)
    for session in family.sessions.values():
        if not session.here:
            continue
        try:
            transcript = local.read(session.id, progress)
        except SessionError:
            continue
        turns, entries = transcript.facts.turns, len(transcript.chain)
        found[session.id] = replace(session, turns=turns, entries=entries)
    return replace(family, sessions=found)


class _Reading:
    """What is known so far."""

    def __init__(self, home: CodexHome) -> None:
        self.notices: list[Notice] = []
        self._home = home
        self._sessions: dict[str, Session] = {}
        self._transactions: dict[str, Transaction] = {}
        self._packages: dict[str, Package] = {}
        self._edges: dict[Edge, None] = {}

    def family(self) -> Family:
        """All of it; sessions that are only named get a node of their own."""
        for edge in self._edges:
            if edge.kind in (Kind.APPLIED, Kind.ROLLS_BACK):
                continue
            ends = (edge.target,) if edge.kind is Kind.WROTE else (edge.source, edge.target)
            for end in ends:
                self._sessions.setdefault(end, Session(end, here=False))
        edges = [e for e in self._edges if self._is_known(e)]
        return Family(self._sessions, self._transactions, self._packages, tuple(edges))

    def take_session(self, session: PackagedSession) -> None:
        """A session of the home, and what its own record says of where it comes from."""
        assert session.file is not None
        try:
            meta = read_head(session.file)["payload"]
        except SessionError as error:
            self.notices.append(Notice(error.code, error.message, session.session_id))
            meta = {}
        self._sessions[session.session_id] = _described(session, meta)
        self._edges.update(dict.fromkeys(_descent(session.session_id, meta)))

    def mappings(self) -> Iterator[Mapping]:
        """What sidecars say; one that is damaged is passed over with a notice."""
        for lineage in sidecar_lineages(self._home.sync_dir):
            try:
                text = read_sidecar(self._home.sync_dir, lineage)
                yield from mappings_of(text, lineage) if text is not None else ()
            except HomeError as error:
                self.notices.append(Notice(error.code, error.message))

    def take_mapping(self, mapping: Mapping) -> None:
        """Which session elsewhere a local one stands for."""
        origin, local = mapping.origin_session_id, mapping.local_session_id
        known = self._sessions.get(local)
        if known is not None and known.here:
            self._sessions[local] = replace(known, entries=mapping.local["entries"])
        parted = Edge(origin, local, Kind.BRANCH) in self._edges
        if origin != local and not parted:
            self._edges[Edge(origin, local, Kind.STANDS_FOR)] = None

    def take_transaction(self, manifest: Json) -> None:
        """What a transaction wrote, from which package."""
        done = str(manifest["transaction_id"])
        kind, status = str(manifest["kind"]), str(manifest["status"])
        self._transactions[done] = Transaction(done, kind, status, str(manifest["created_at"]))
        package = manifest.get("package") or {}
        if isinstance(package.get("source"), str):
            name = package["source"].replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
            self._packages.setdefault(f"package:{name}", Package(f"package:{name}", name))
            self._edges[Edge(f"package:{name}", done, Kind.APPLIED)] = None
        if isinstance(manifest.get("rolls_back"), str):
            self._edges[Edge(done, manifest["rolls_back"], Kind.ROLLS_BACK)] = None
        for session in manifest["sessions"]:
            local = session.get("local_session_id")
            if session.get("result") in WROTE and local:
                self._edges[Edge(done, local, Kind.WROTE, session["result"])] = None
                gone = Session(local, here=False, name=_text(session.get("name")))
                self._sessions.setdefault(local, replace(gone, title=gone.name))

    def _is_known(self, edge: Edge) -> bool:
        """Whether both ends are; a transaction may be gone that another rolled back."""
        known = self._sessions.keys() | self._transactions.keys() | self._packages.keys()
        return edge.source in known and edge.target in known


def _described(session: PackagedSession, meta: Json) -> Session:
    assert session.file is not None
    row: dict[str, Any] = dict(session.row or {})
    first = row.get("title") or row.get("first_user_message")
    words = session.name or first_line(first) or _first_words(session.file)
    created = parse_time(meta.get("timestamp"))
    return Session(
        session.session_id,
        here=True,
        title=words and " ".join(words.split())[:120],
        name=session.name,
        cwd=_text(row.get("cwd")) or _text(meta.get("cwd")),
        archived=session.archived,
        created_at=_stamp(created.timestamp()) if created else None,
        updated_at=_stamp(row.get("updated_at") or session.file.mtime_ns / 1e9),
        originator=_text(meta.get("originator")),
        cli_version=_text(meta.get("cli_version")),
    )


def _descent(session_id: str, meta: Json) -> Iterable[Edge]:
    note = meta.get(PROVENANCE)
    forked, parent = forked_from(meta), meta.get("parent_thread_id")
    named = meta.get("forked_from_id")
    if isinstance(note, dict) and named != forked and _is_id(named):
        yield Edge(str(named), session_id, Kind.BRANCH)
    if _is_id(forked):
        yield Edge(str(forked), session_id, Kind.FORK)
    if _is_id(parent):
        yield Edge(str(parent), session_id, Kind.SPAWN)
    origin = note.get("origin_id") if isinstance(note, dict) else None
    if _is_id(origin) and origin not in (session_id, named):
        yield Edge(str(origin), session_id, Kind.STANDS_FOR)


def _first_words(file: RolloutFile) -> str | None:
    """The first line of what its user said first."""
    try:
        with open_rollout(file) as stream:
            for line in islice(read_lines(stream, file.thread_id), _FIRST_LINES):
                record = parse_record(line.data) if b"ser" in line.data else None
                if record is not None and record["type"] == EVENT:
                    words = first_line(_said(record["payload"]))
                    if words:
                        return words
    except (SessionError, OSError, ValueError):
        return None
    return None


def _said(payload: Json) -> str | None:
    match payload:
        case {"type": "user_message", "message": str(text)}:
            return text
        case {"type": "item_completed", "item": {"type": "UserMessage", "content": list(parts)}}:
            texts = [p["text"] for p in parts if isinstance(p, dict) and "text" in p]
            return "\n".join(map(str, texts))
    return None


def _is_id(value: object) -> bool:
    return isinstance(value, str) and SESSION_ID.fullmatch(value) is not None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _stamp(seconds: float) -> str | None:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (OverflowError, OSError, ValueError):
        return None
