"""Asking the installed Codex whether it lists, opens and shows sessions as they are written."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from .codex.client import SOURCES, AppServer, CodexAnswerError, app_server
from .codex.convert import Standing
from .codex.home import CodexHome
from .codex.inventory import read_head
from .codex.items import text_of
from .codex.rollout import EVENT
from .errors import SessionError
from .lineage.graph import ancestors_first, descent
from .lineage.sidecar import mappings_of, read_sidecar, sidecar_lineages
from .local import LocalSessions
from .model import Json, Transcript
from .transcript import records


class Verdict(StrEnum):
    """What Codex makes of a session."""

    SAME = "same"
    """It lists it, opens it and shows what the transcript says."""
    ARCHIVED = "archived"
    """It lists it as archived; it shows such a session only once it was open or is taken out."""
    NOT_LISTED = "not_listed"
    NOT_OPENED = "not_opened"
    DIFFERS = "differs"
    """It shows other messages than the transcript has."""
    BUSY = "busy"
    """Another Codex has it open, so that it cannot be opened here."""
    UNREADABLE = "unreadable"
    """The transcript cannot be read here."""


GOOD = (Verdict.SAME, Verdict.ARCHIVED)
"""The verdicts by which nothing is wrong."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What was found of one session: messages that Codex shows, and that the transcript has."""

    session_id: str
    verdict: Verdict
    archived: bool
    shown: int | None = None
    expected: int | None = None
    message: str | None = None


Message = tuple[str, str]
"""Who said something, ``user`` or ``agent``, and what."""


def synced_sessions(home: CodexHome) -> list[str]:
    """The sessions of the home that sidecars know, in no order that matters.

    Raises HomeError ``sidecar_invalid``.
    """
    here = home.rollouts()
    found: dict[str, None] = {}
    for lineage in sidecar_lineages(home.sync_dir):
        text = read_sidecar(home.sync_dir, lineage)
        for mapping in mappings_of(text, lineage) if text is not None else ():
            if here.tip(mapping.local_session_id) is not None:
                found[mapping.local_session_id] = None
    return list(found)


def verify(
    home: CodexHome,
    session_ids: Collection[str],
    codex: Path,
    environ: Mapping[str, str],
) -> Iterator[Shown]:
    """Yield what the installed Codex makes of each session, in the order of their descent.

    Each is opened as a person would open it, and no turn is run. Raises HomeError
    ``codex_failed``.
    """
    local = LocalSessions(home)
    with app_server(codex, home.path, environ) as server:
        listed = {archived: _listed(server, archived=archived) for archived in (False, True)}
        for session_id in _in_order(session_ids, local):
            yield _verified(server, local, session_id, listed)


def _in_order(session_ids: Collection[str], local: LocalSessions) -> list[str]:
    """Ancestors first: Codex shows the turns that a fork has from another once that is opened."""
    metas: dict[str, dict[str, object]] = {}
    for session_id in session_ids:
        tip = local.tip(session_id)
        try:
            metas[session_id] = read_head(tip)["payload"] if tip else {}
        except SessionError:
            metas[session_id] = {}
    return ancestors_first(descent(metas), list(metas))


def _listed(server: AppServer, *, archived: bool) -> frozenset[str]:
    asked = {"archived": archived, "modelProviders": [], "sourceKinds": list(SOURCES)}
    return frozenset(str(thread["id"]) for thread in server.pages("thread/list", asked))


def _verified(
    server: AppServer,
    local: LocalSessions,
    session_id: str,
    listed: Mapping[bool, Collection[str]],
) -> Shown:
    tip = local.tip(session_id)
    if tip is None:
        return Shown(session_id, Verdict.UNREADABLE, False, message="it is not in this home")
    archived = tip.archived
    try:
        expected = _expected(local, session_id)
    except SessionError as error:
        return Shown(session_id, Verdict.UNREADABLE, archived, message=error.message)
    if session_id not in listed[archived]:
        where = "among the archived sessions" if archived else "in its list"
        message = f"Codex does not have it {where}"
        return Shown(session_id, Verdict.NOT_LISTED, archived, None, len(expected), message)
    try:
        found = list(_shown(server, session_id, archived=archived))
    except CodexAnswerError as error:
        busy = "active writer" in error.message
        verdict = Verdict.BUSY if busy else Verdict.NOT_OPENED
        return Shown(session_id, verdict, archived, None, len(expected), error.message)
    if archived and not found:
        return Shown(session_id, Verdict.ARCHIVED, archived, 0, len(expected))
    if found == expected:
        return Shown(session_id, Verdict.SAME, archived, len(found), len(expected))
    message = _difference(found, expected)
    return Shown(session_id, Verdict.DIFFERS, archived, len(found), len(expected), message)


def _expected(local: LocalSessions, session_id: str) -> list[Message]:
    try:
        return list(said(local.read(session_id)))
    except SessionError:
        # Opening a session decompresses its files, those that it inherits from as well.
        return list(said(LocalSessions(local.home).read(session_id)))


def _shown(server: AppServer, session_id: str, *, archived: bool) -> Iterator[Message]:
    """The messages that Codex shows; an archived session is read and not opened."""
    asked: Json = {"threadId": session_id}
    if not archived:
        server.request("thread/resume", asked)
    try:
        paged = {**asked, "itemsView": "full", "sortDirection": "asc"}
        turns = list(server.pages("thread/turns/list", paged))
    except CodexAnswerError as error:
        if not error.unknown and not archived:
            raise
        turns = _read(server, asked, archived=archived)
    for turn in turns:
        for item in turn.get("items") or ():
            yield from _message(item)


def _read(server: AppServer, asked: Json, *, archived: bool) -> list[Json]:
    """The turns as releases have them that know no pages; the oldest read none of the archive."""
    try:
        found = server.request("thread/read", {**asked, "includeTurns": True})
    except CodexAnswerError as error:
        if archived and "not loaded" in error.message:
            return []
        raise
    return found["thread"].get("turns") or []


def said(transcript: Transcript) -> Iterator[Message]:
    """The messages of a transcript that stand, as its events tell them.

    Raises SessionError where a file cannot be read any more.
    """
    standing = None
    if transcript.mode == "legacy":
        standing = Standing()
        for record in records(transcript):
            standing.note(record)
    for place, record in enumerate(records(transcript)):
        if record["type"] == EVENT and (standing is None or standing.flags[place]):
            yield from _told(record["payload"])


def _told(event: Json) -> Iterator[Message]:
    match event:
        case {"type": "user_message", "message": str(text)}:
            yield "user", text
        case {"type": "agent_message", "message": str(text)}:
            yield "agent", text
        case {"type": "item_completed", "item": dict(item)}:
            yield from _message(item)


def _message(item: Json) -> Iterator[Message]:
    """What an item says; Codex writes its kinds with a small letter where it answers."""
    match item:
        case {"type": "userMessage" | "UserMessage", "content": list(parts)}:
            yield "user", text_of(parts)
        case {"type": "agentMessage", "text": str(text)}:
            yield "agent", text
        case {"type": "AgentMessage", "content": list(parts)}:
            yield "agent", text_of(parts)


def _difference(found: list[Message], expected: list[Message]) -> str:
    pairs = enumerate(zip(found, expected, strict=False), 1)
    first = next((n for n, (one, other) in pairs if one != other), None)
    if first is None:
        return f"Codex shows {len(found)} messages; the transcript has {len(expected)}"
    return f"message {first} is another one in the transcript than in Codex"


def to_json(shown: Shown) -> Json:
    """One session as reports have it."""
    return {
        "session_id": shown.session_id,
        "verdict": shown.verdict,
        "archived": shown.archived,
        "messages": {"codex": shown.shown, "transcript": shown.expected},
        "message": shown.message,
    }
