"""The manifest of a native package: what it says of a session, written and read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson
import zstandard

from .. import validation
from ..codex.sharing import Sharing
from ..errors import PackageError
from ..lineage.fingerprint import FINGERPRINT_VERSION, PROVENANCE
from ..model import Base, Chain, Facts, Json, Outline, PackagedSession

FORMAT = "codex-session-sync/package/1"
SCHEMA = "native_manifest"

META = (
    *("id", "timestamp", "forked_from_id", "parent_thread_id", PROVENANCE),
    *("originator", "cli_version", "model_provider"),
)
"""What of ``session_meta`` comparing and reporting take."""

FACTS = (
    *("turns", "unreadable", "torn", "first_user_message"),
    *("first_timestamp", "last_timestamp", "last_cwd"),
)
WORDS = 200
"""How much of the first words is told; reports show less."""


def chain_part(session_id: str) -> str:
    """The name of the part that holds a session's links."""
    return f"chains/{session_id}"


def rollout_part(file_name: str) -> str:
    """The name of the part that holds a rollout, decompressed."""
    return f"rollouts/{file_name.removesuffix('.zst')}"


def tail_part(file_name: str, start: int, end: int) -> str:
    """The name of the part that holds the records from byte ``start`` to ``end`` of a rollout."""
    return f"tails/{start}-{end}/{file_name.removesuffix('.zst')}"


def session_entry(
    session: PackagedSession,
    outline: Outline,
    history: Sequence[str],
    size: int,
    base: Base | None = None,
) -> Json:
    """A session as the manifest has it.

    ``history`` names the parts that its transcript, or what of it follows ``base``, goes through,
    oldest first; ``size`` is that of the transcript. The path in its row is told from the home on.
    """
    facts = {key: value for key, value in asdict(outline.facts).items() if key in FACTS}
    facts["first_user_message"] = first_words(facts["first_user_message"])
    return {
        "session_id": session.session_id,
        "history": list(history),
        "size": size,
        "history_mode": outline.mode,
        "entries": len(outline.chain),
        "head": outline.chain.head,
        **({"base": asdict(base)} if base else {}),
        "meta": {key: value for key in META if _fits(key, value := outline.meta.get(key))},
        "facts": facts,
        "archived": session.archived,
        "name": session.name,
        "row": dict(session.row) if session.row else None,
        "dynamic_tools": [dict(tool) for tool in session.dynamic_tools],
        "spawn_edge": dict(session.spawn_edge) if session.spawn_edge else None,
        **({"goal": dict(session.goal)} if session.goal else {}),
    }


def first_words(message: str | None) -> str | None:
    """The beginning of a message, as the manifest tells it."""
    return message and " ".join(message.split())[:WORDS]


@dataclass(slots=True)
class Sessions:
    """The sessions of a manifest as JSON, held compressed until it is written."""

    codex_version: str | None = None
    """The release that began the newest session that tells one."""
    _newest: str = ""
    _held: list[bytes] = field(default_factory=list)
    _frame: zstandard.ZstdCompressionObj = field(
        default_factory=lambda: zstandard.ZstdCompressor(level=1).compressobj()
    )
    _empty: bool = True

    def add(self, entry: Json) -> None:
        """Add one, as ``session_entry`` makes it."""
        meta = entry["meta"]
        begun = str(meta.get("timestamp"))
        if "cli_version" in meta and (self.codex_version is None or begun > self._newest):
            self._newest, self.codex_version = begun, meta["cli_version"]
        text = orjson.dumps(entry, option=orjson.OPT_SORT_KEYS)
        self._held.append(self._frame.compress(text if self._empty else b"," + text))
        self._empty = False

    def pieces(self) -> Iterator[bytes]:
        """Their text, separated by commas, in pieces; nothing is added any more."""
        self._held.append(self._frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
        frame = zstandard.ZstdDecompressor().decompressobj()
        yield from (frame.decompress(piece) for piece in self._held if piece)


def manifest_head(sessions: Sessions, installation_id: str | None, program: str) -> Json:
    """The manifest of these sessions without its lists."""
    return {
        "format": FORMAT,
        "fingerprint_version": FINGERPRINT_VERSION,
        "program": program,
        "origin": {"installation_id": installation_id, "codex_version": sessions.codex_version},
    }


def load_manifest(text: Callable[[], Iterable[bytes]]) -> Json:
    """A manifest that fits its schema, rows and tools too; ``text`` gives it in pieces.

    Raises PackageError: ``native_manifest_invalid``, ``thread_row_invalid``,
    ``dynamic_tool_invalid``, ``thread_goal_invalid``.
    """
    found = _in_groups(text())
    if found is not None:
        return found
    document: Json = validation.load(SCHEMA, b"".join(text()), "the manifest", PackageError)
    for entry in document["sessions"]:
        what = f"session {entry['session_id']} of the manifest"
        if entry["row"] is not None:
            validation.check("thread_row", entry["row"], what, PackageError)
        for tool in entry["dynamic_tools"]:
            validation.check("dynamic_tool", tool, what, PackageError)
        if entry.get("goal") is not None:
            validation.check("thread_goal", entry["goal"], what, PackageError)
    return document


_LIST = b',"sessions":[{"archived":'
_NEXT = b',{"archived":'
_END = b"]}"
"""What is before the sessions, before each that follows, and at the end, as they are written here.

A quote in a text has a backslash before it, so none of the first two is part of a text.
"""
_GROUP_BYTES = 1 << 20


def _in_groups(text: Iterable[bytes]) -> Json | None:
    """A manifest that fits, of which so many bytes are read at a time.

    None where it is written in another way, or anything does not fit: then it is read as a whole.
    """
    groups = _groups(text)
    try:
        head = orjson.loads(next(groups))
        if not validation.fits(SCHEMA, {**head, "sessions": []}):
            return None
        sharing = Sharing()
        sessions: list[Json] = []
        for group in groups:
            found = orjson.loads(group)
            if not validation.fits(SCHEMA, {**head, "parts": [], "sessions": found}):
                return None
            if not all(map(_is_sound, found)):
                return None
            sessions += (_kept(entry, sharing) for entry in found)
    except ValueError:
        return None
    return {**head, "sessions": sessions}


def _groups(text: Iterable[bytes]) -> Iterator[bytearray]:
    """The manifest without its sessions, then lists of these, each as JSON by itself.

    Raises ValueError for a manifest that is written in another way, and as ``text`` does.
    """
    left, begun, seen = bytearray(), False, 0
    for piece in text:
        left += piece
        if not begun:
            place = left.find(_LIST, max(0, seen - len(_LIST)))
            seen = len(left)
            if place < 0:
                continue
            begun = True
            yield _cut(left, b"", place, b"}")
            del left[: _LIST.index(b"{")]
        if len(left) > _GROUP_BYTES:
            place = left.rfind(_NEXT)
            if place > 0:
                yield _cut(left, b"[", place, b"]")
                del left[:1]
    if not begun or not left.endswith(_END):
        raise ValueError("it is written in another way")
    yield _cut(left, b"[", len(left) - len(_END), b"]")


def _cut(text: bytearray, before: bytes, place: int, after: bytes) -> bytearray:
    """The text up to a place, between two others; it is taken out of ``text``."""
    found = bytearray(before)
    with memoryview(text) as whole:
        found += whole[:place]
    found += after
    del text[:place]
    return found


def _is_sound(entry: Json) -> bool:
    """Whether the rows of a session fit their schemas."""
    rows = [("thread_row", entry["row"]), ("thread_goal", entry.get("goal"))]
    rows += [("dynamic_tool", tool) for tool in entry["dynamic_tools"]]
    return all(row is None or validation.fits(schema, row) for schema, row in rows)


def _kept(entry: Json, sharing: Sharing) -> Json:
    """A session, with texts that are in several places kept once."""
    if entry["row"] is not None:
        entry["row"] = sharing.row(entry["row"])
    for values in (entry, entry["meta"], entry["facts"]):
        for key, value in values.items():
            if type(value) is str:
                values[key] = sharing.text(value)
    return entry


def outline_of(entry: Json, chain: Chain) -> Outline:
    """What comparing takes, from a session of the manifest and its links."""
    facts: dict[str, Any] = {key: entry["facts"].get(key) for key in FACTS}
    return Outline(entry["session_id"], entry["meta"], entry["history_mode"], chain, Facts(**facts))


def base_of(entry: Json) -> Base | None:
    """What a session of the manifest needs of the home; None if it is whole."""
    found = entry.get("base")
    return Base(**{key: found[key] for key in ("entries", "head", "first")}) if found else None


def _fits(key: str, value: object) -> bool:
    """Whether a value of ``session_meta`` is what the schema lets through."""
    return isinstance(value, dict if key == PROVENANCE else str)
