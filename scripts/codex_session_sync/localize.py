"""What is rewritten when a transcript is written here, record by record.

Only metadata and settings change. What the model saw (``response_item``, ``world_state``, what
``compacted`` puts in the place of a history) stays as it was; Codex tells the model of the new
place by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from .codex.convert import numbered_window
from .codex.home import CodexHome
from .codex.rollout import COMPACTED, EVENT, META, SETTINGS_APPLIED, TURN_CONTEXT, with_ordinal
from .lineage.fingerprint import COMPACTED_KEYS, PROVENANCE
from .lineage.kinship import forked_from
from .model import Json, RolloutFile, Transcript
from .places.adaptation import AS_IT_IS, Adaptation
from .policy import Policy

INHERITANCE = ("history_base", "forked_from_ordinal_exclusive")
"""Keys of ``session_meta`` that a self-contained transcript does not have."""

ID_KEYS = ("thread_id", "session_id")
SENDER_KEY = "sender_thread_id"
ANCESTOR_KEYS = ("forked_from_id", "parent_thread_id", "session_id")


@dataclass(frozen=True, slots=True)
class Identity:
    """The id that a session is written under here, and what else is told of its descent.

    ``branch_of``: the local session that it parted from; ``moved``: packaged sessions, by id, that
    stand under another id here.
    """

    session_id: str
    branch_of: str | None = None
    moved: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Rewriter:
    """Rewrites the records of one transcript; ``removed`` gathers what the policy took away.

    What of it lies in ``home`` is in the terms of this machine already. ``legacy_only``: for a
    Codex that does not read paginated sessions (codex.capability).
    """

    transcript: Transcript
    policy: Policy
    identity: Identity
    adaptation: Adaptation = AS_IT_IS
    home: CodexHome | None = None
    legacy_only: bool = False
    removed: set[str] = field(default_factory=set)
    _ordinal: int = field(init=False)
    _numbers: Iterator[int] = field(init=False)
    _ids: Mapping[str, str] = field(init=False)
    _adaptation: Adaptation = field(init=False)

    def __post_init__(self) -> None:
        new = self.identity.session_id
        self._adaptation = self.adaptation
        self._ordinal = self.transcript.facts.last_ordinal or 0
        self._numbers = count(self.transcript.numbered_from)
        self._ids = {part.slice.file.thread_id: new for part in self.transcript.slices}

    @property
    def renamed(self) -> tuple[bytes, ...]:
        """The ids that must not stand in what is written, beyond those the scan has marked."""
        old = self.transcript.session_id
        return () if old == self.identity.session_id else (old.encode("ascii"),)

    def enter(self, file: RolloutFile) -> None:
        """Say of which file the next records are."""
        ours = self.home is not None and self.home.holds(file.path)
        self._adaptation = AS_IT_IS if ours else self.adaptation

    def head(self, record: Json) -> Json:
        """The first record of the self-contained transcript, from that of the newest file."""
        meta = {k: v for k, v in record["payload"].items() if k not in INHERITANCE}
        meta = self.adaptation.head(self._identified(meta), self.transcript.facts.last_cwd)
        head = {**record, "payload": self.policy.meta(meta, self.removed)}
        if self.transcript.inherited and "ordinal" in head:
            head["ordinal"] = 0
        return head

    def record(self, record: Json) -> Json:
        """Any other record that is rewritten; a missing ordinal is made up for."""
        record = self.settled(record)
        if self.transcript.mode == "paginated" and not isinstance(record.get("ordinal"), int):
            self._ordinal += 1
            record = with_ordinal(record, self._ordinal, self.transcript.session_id)
        return record

    def numbered(self, record: Json) -> Json:
        """A record that is rewritten, its ordinal going on from that of the one before it."""
        ordinal = next(self._numbers)
        return with_ordinal(self.settled(record), ordinal, self.transcript.session_id)

    def settled(self, record: Json) -> Json:
        """A record under this session's id, in this machine's places, under its policy."""
        kind, payload = record["type"], record["payload"]
        if len(self._ids) > 1 or self.renamed:
            seen = {k: v for k, v in payload.items() if kind == COMPACTED and k in COMPACTED_KEYS}
            payload = {**self._renamed(payload), **seen}
        payload = self._adaptation.record(kind, payload)
        if kind == COMPACTED and self.legacy_only:
            payload = numbered_window(payload)
        elif kind == META:
            payload = self.policy.meta(payload, self.removed)
        elif kind == TURN_CONTEXT:
            payload = self.policy.turn_context(payload, self.removed)
        elif kind == EVENT and payload.get("type") == SETTINGS_APPLIED:
            payload = self.policy.settings(payload, self.removed)
        return {**record, "payload": payload}

    def _identified(self, meta: Json) -> Json:
        """The head's payload under the new id, with a note of what it was where it differs."""
        identity, old = self.identity, self.transcript.session_id
        known = {old: identity.session_id, **identity.moved}
        told = {key: meta[key] for key in ANCESTOR_KEYS if isinstance(meta.get(key), str)}
        renamed = {key: known[named] for key, named in told.items() if named in known}
        if identity.session_id == old and all(meta[key] == new for key, new in renamed.items()):
            return meta
        meta = {**meta, **renamed, "id": identity.session_id}
        meta[PROVENANCE] = {
            "origin_id": origin_id(self.transcript.meta),
            "forked_from_id": forked_from(self.transcript.meta),
        }
        if identity.branch_of is not None:
            meta["forked_from_id"] = identity.branch_of
        return meta

    def _renamed(self, value: Any) -> Any:
        """The value with every ``thread_id`` and ``session_id`` that names an ancestor replaced.

        Who gave work to an agent is another matter: there a fork goes on naming its ancestor.
        """
        if isinstance(value, list):
            return [self._renamed(item) for item in value]
        if not isinstance(value, dict):
            return value
        found = {
            key: self._ids.get(item, item)
            if key in ID_KEYS and isinstance(item, str)
            else self._renamed(item)
            for key, item in value.items()
        }
        if found.get(SENDER_KEY) == self.transcript.session_id:
            found[SENDER_KEY] = self.identity.session_id
        return found


def origin_id(meta: Json) -> str:
    """The id under which a session's line began, through every re-identification by us."""
    note = meta.get(PROVENANCE)
    if isinstance(note, dict) and isinstance(note.get("origin_id"), str):
        return str(note["origin_id"])
    return str(meta["id"])
