"""Fingerprints: a chain of SHA-256 links over a session's conversation entries.

The algorithm is specified, with test vectors, in ``references/fingerprint.md``. A change to what
this module computes is a new FINGERPRINT_VERSION and a new seed.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from ..codex.rollout import COMPACTED, RESPONSE_ITEM, ROLLED_BACK
from ..model import Chain, Json

FINGERPRINT_VERSION = 2
SEED = hashlib.sha256(b"codex-session-sync fingerprint 2\n").digest()
MASKED_ID = b"00000000-0000-0000-0000-000000000000"

PROVENANCE = "session_sync"
"""Key of our own note in ``session_meta``: what a re-identified session was before."""

COMPACTED_KEYS = ("message", "replacement_history")
"""What the model sees of a compaction; releases differ in what else they note."""

_ENVIRONMENT = "<environment_context>"
_CWD = re.compile(r"<cwd>.*?</cwd>", re.DOTALL)

Buffer = bytes | bytearray | memoryview

NOTHING: frozenset[Any] = frozenset()
"""The empty set, of which Python makes a new one each time."""

_ID_START_BYTES = 8
_ID_DASHES = 4
# An id from its first dash on, with a look back: the search for a fixed byte is several times the
# faster. No two such rests overlap, so all of them are found.
_ID_REST = re.compile(rb"-(?<=[0-9a-f]{8}-)[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def is_entry(record: Json) -> bool:
    """Whether a record bears conversation, and so counts for the fingerprint."""
    return record["type"] in (RESPONSE_ITEM, COMPACTED)


def canonical_entry(record: Json) -> bytes:
    """The bytes of an entry that its digest covers.

    ``record`` is a parsed entry. Three lines: type, timestamp, payload as JSON with sorted keys, no
    spaces and UTF-8 text, every id in it masked.
    """
    value, kind = record["payload"], record["type"]
    if kind == COMPACTED:
        value = {key: value[key] for key in COMPACTED_KEYS if value.get(key) is not None}
    payload = _canonical_json(value)
    # Beside compactions only a user's message may have it masked; the search takes its time.
    if (kind == COMPACTED or value.get("role") == "user") and b"<cwd>" in payload:
        value = _mask_history(value) if kind == COMPACTED else _mask_message(value)
        payload = _canonical_json(value)
    return f"{kind}\n{record['timestamp']}\n".encode() + mask_ids(payload)


def mask_ids(data: bytes) -> bytes:
    """The bytes with ``MASKED_ID`` for each id; of two that overlap the second stays."""
    rest = _ID_REST.search(data)
    if rest is None:
        return data
    parts: list[bytes] = []
    end = 0
    while rest is not None:
        start = rest.start() - _ID_START_BYTES
        if start >= end:
            parts += data[end:start], MASKED_ID
            end = rest.end()
        rest = _ID_REST.search(data, rest.end())
    return b"".join((*parts, data[end:]))


@dataclass(slots=True)
class _Turn:
    """The entries of one turn: digests, links, ends in bytes; and where the user's words begin.

    ``place`` is its own among the turns, ``base`` the last link before it.
    """

    place: int
    base: bytes
    digests: bytearray = field(default_factory=bytearray)
    links: bytearray = field(default_factory=bytearray)
    ends: array[int] = field(default_factory=lambda: array("q"))
    user_from: int | None = None
    entangled: bool = False
    """Whether turns before it were taken back after it."""


class Fingerprinter:
    """Builds the chain of one session, record by record.

    A legacy session can take back turns (``thread_rolled_back``); what remains is what Codex keeps
    when it migrates such a session, and only that is chained. ``taken_back`` gathers the links of
    the rest. ``undoes`` False: nothing does that in the session, as in a paginated one, and what it
    takes is not kept. ``after`` is the link of the entry before the first, if it is not there.
    """

    def __init__(self, *, undoes: bool = True, after: bytes = SEED) -> None:
        self._undoes = undoes
        self.taken_back: set[bytes] = set()
        self._last = after
        self._turns = [_Turn(0, after)]
        self._users: list[_Turn] = []
        self._last_user = 0

    def state(self) -> tuple[Json, list[Buffer]]:
        """All that it knows, from which ``of_state`` makes it again: JSON, and bytes beside it."""
        turns = self._turns
        document = {
            "turns": [[len(turn.ends), turn.user_from, turn.entangled] for turn in turns],
            "users": [turn.place for turn in self._users],
            "last_user": self._last_user,
            "undoes": self._undoes,
        }
        return document, [
            self._last,
            b"".join(sorted(self.taken_back)),
            b"".join(turn.base for turn in turns),
            _joined([turn.digests for turn in turns]),
            _joined([turn.links for turn in turns]),
            _joined([memoryview(turn.ends).cast("B") for turn in turns]),
        ]

    @classmethod
    def of_state(cls, document: Json, blobs: Sequence[bytearray]) -> Fingerprinter:
        """One that goes on where another was."""
        made = cls(undoes=document["undoes"])
        last_link, taken_back, bases, digests, links, ends = blobs
        made._last = bytes(last_link)
        made.taken_back = set(links_of(bytes(taken_back)))
        places, made._turns, first = array("q"), [], 0
        places.frombytes(ends)
        for place, (count, user_from, entangled) in enumerate(document["turns"]):
            last = first + count
            here = slice(first * Chain.LINK_BYTES, last * Chain.LINK_BYTES)
            base = bytes(bases[place * Chain.LINK_BYTES : (place + 1) * Chain.LINK_BYTES])
            turn = _Turn(place, base, bytearray(digests[here]))
            # A single turn has them all, and there may be many.
            turn.links = links if len(document["turns"]) == 1 else links[here]
            turn.ends, turn.user_from, turn.entangled = places[first:last], user_from, entangled
            made._turns.append(turn)
            first = last
        made._users = [made._turns[place] for place in document["users"]]
        made._last_user = document["last_user"]
        return made

    @classmethod
    def behind(cls, chain: Chain, ends: array[int]) -> Fingerprinter:
        """One that has taken in the entries of a session in which nothing is undone."""
        made = cls(undoes=False)
        made._last = chain.links[-Chain.LINK_BYTES :] or SEED
        [turn] = made._turns
        turn.links, turn.ends = bytearray(chain.links), ends[:]
        return made

    def add(self, record: Json, end: int = 0) -> int:
        """Take in one entry (a record for which ``is_entry`` holds) that ends at byte ``end``.

        Returns how many its turn has; of a session in which nothing is undone that is all.
        """
        turn = self._turns[-1]
        digest = hashlib.sha256(canonical_entry(record)).digest()
        if self._undoes:
            if record["payload"].get("role") == "user":
                self._last_user = len(turn.ends)
            turn.digests += digest
        turn.ends.append(end)
        self._last = hashlib.sha256(self._last + digest).digest()
        turn.links += self._last
        return len(turn.ends)

    def note_event(self, payload: Json) -> None:
        """Take in an ``event_msg`` of a legacy session: turns begin, are a user's, are undone."""
        kind = payload.get("type")
        if kind == "task_started":
            self._begin()
        elif kind == "user_message":
            if self._turns[-1].user_from is None:
                self._turns[-1].user_from = self._last_user
                self._users.append(self._turns[-1])
        elif kind == ROLLED_BACK:
            count = payload.get("num_turns")
            self._roll_back(count if type(count) is int else 0)

    def chain(self) -> Chain:
        """The chain of the entries that stand."""
        return Chain(b"".join(turn.links for turn in self._turns))

    def ends(self) -> array[int]:
        """Where each entry that stands ends, in the order of the chain."""
        found = array("q")
        for turn in self._turns:
            found.extend(turn.ends)
        return found

    def entangled(self) -> frozenset[int]:
        """The counts of first entries, of those that stand, with others between them in the
        records that are taken back only behind them."""
        found: set[int] = set()
        count = 0
        for turn in self._turns:
            end = count + len(turn.ends)
            if turn.entangled:
                found.update(range(count + 1, end + 1))
            count = end
        return frozenset(found) or NOTHING

    def _begin(self) -> None:
        """Begin a turn; one that has nothing yet will do."""
        self._last_user = 0
        last = self._turns[-1]
        if last.digests or last.user_from is not None:
            self._turns.append(_Turn(len(self._turns), self._last))
        last.entangled = last.entangled and bool(last.digests)

    def _roll_back(self, count: int) -> None:
        """Drop the last ``count`` turns of the user; of the very first its preamble stays."""
        self._last_user = 0
        all_of_them = count >= len(self._users)
        dropped = self._users[max(0, len(self._users) - count) :]
        if not dropped:
            return
        del self._users[-len(dropped) :]
        turns = self._turns[dropped[0].place :]
        before = {link for turn in turns for link in links_of(turn.links)}
        for turn in dropped:
            keep = (turn.user_from or 0) if all_of_them and turn is dropped[0] else 0
            del turn.digests[keep * Chain.LINK_BYTES :]
            del turn.ends[keep:]
            turn.user_from = None
        for turn in turns[1:]:
            turn.entangled = True
        self._link_anew(turns)
        self.taken_back |= before.difference(
            link for turn in turns for link in links_of(turn.links)
        )

    def _link_anew(self, turns: list[_Turn]) -> None:
        """Chain the entries of the last turns, and forget those of them that have none."""
        self._last = turns[0].base
        del self._turns[turns[0].place :]
        for turn in turns:
            turn.links.clear()
            turn.place, turn.base = len(self._turns), self._last
            for digest in links_of(turn.digests):
                self._last = hashlib.sha256(self._last + digest).digest()
                turn.links += self._last
            if turn.digests or turn is turns[-1]:
                self._turns.append(turn)


def follows(link: bytes, before: bytes, record: Json) -> bool:
    """Whether an entry has this link behind the one with the link ``before``."""
    digest = hashlib.sha256(canonical_entry(record)).digest()
    return hashlib.sha256(before + digest).digest() == link


def _joined(parts: list[Buffer]) -> Buffer:
    """The parts as one; of a single one there is no copy."""
    return parts[0] if len(parts) == 1 else b"".join(parts)


def links_of(links: bytes | bytearray) -> Iterator[bytes]:
    """The single links, or digests, of a concatenation of them."""
    for start in range(0, len(links), Chain.LINK_BYTES):
        yield bytes(links[start : start + Chain.LINK_BYTES])


def common_entries(one: Chain, other: Chain) -> int:
    """How many leading entries two sessions share.

    A link covers all before it, so equality of links is monotone and bisection finds the end.
    """
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        end = middle * Chain.LINK_BYTES
        if one.links[end - Chain.LINK_BYTES : end] == other.links[end - Chain.LINK_BYTES : end]:
            low = middle
        else:
            high = middle - 1
    return low


def lineage_id(chain: Chain, session_id: str) -> str:
    """The name of a session's lineage: 32 hex digits from its first entry, the same everywhere.

    A session without entries has nothing but its id to be known by.
    """
    if chain.links:
        return lineage_of_link(chain.link(1))
    return hashlib.sha256(f"session {session_id}".encode()).hexdigest()[:32]


def lineage_of_link(first: str) -> str:
    """The name of the lineage of the sessions whose first entry has this link (hex)."""
    return first[:32]


def _canonical_json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _mask_history(compacted: Json) -> Json:
    """A reduced compaction with the environment messages of its history masked."""
    history = compacted.get("replacement_history")
    if not isinstance(history, list):
        return compacted
    return {**compacted, "replacement_history": [_mask_message(item) for item in history]}


def _mask_message(message: Any) -> Any:
    """A message with the directory emptied where it is a user's environment message."""
    match message:
        case {"role": "user", "content": list(parts)}:
            return {**message, "content": [_mask_part(part) for part in parts]}
    return message


def _mask_part(part: Any) -> Any:
    match part:
        case {"text": str(text)} if text.startswith(_ENVIRONMENT):
            return {**part, "text": _CWD.sub("<cwd></cwd>", text)}
    return part
