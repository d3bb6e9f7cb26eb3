"""What is rewritten when a transcript is written here, record by record.

Only metadata and settings change. What the model saw (``response_item``, ``world_state``, what
``compacted`` puts in the place of a history) stays as it was; Codex tells the model of the new
place by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .codex.rollout import COMPACTED, EVENT, META, SETTINGS_APPLIED, TURN_CONTEXT
from .lineage.fingerprint import COMPACTED_KEYS
from .model import Json, Transcript
from .policy import Policy

INHERITANCE = ("history_base", "forked_from_ordinal_exclusive")
"""Keys of ``session_meta`` that a self-contained transcript does not have."""

ID_KEYS = ("thread_id", "session_id")


@dataclass(slots=True)
class Rewriter:
    """Rewrites the records of one transcript; ``removed`` gathers what the policy took away."""

    transcript: Transcript
    policy: Policy
    removed: set[str] = field(default_factory=set)
    _ordinal: int = field(init=False)
    _ids: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        own = self.transcript.session_id
        self._ordinal = self.transcript.facts.last_ordinal or 0
        self._ids = {part.slice.file.thread_id: own for part in self.transcript.slices}

    def head(self, record: Json) -> Json:
        """The first record of the self-contained transcript, from that of the newest file."""
        meta = {k: v for k, v in record["payload"].items() if k not in INHERITANCE}
        if self.transcript.facts.last_cwd:
            meta["cwd"] = self.transcript.facts.last_cwd
        head = {**record, "payload": self.policy.meta(meta, self.removed)}
        if self.transcript.inherited and "ordinal" in head:
            head["ordinal"] = 0
        return head

    def record(self, record: Json) -> Json:
        """Any other record that the scan marked for rewriting."""
        kind, payload = record["type"], record["payload"]
        if len(self._ids) > 1:
            seen = {k: v for k, v in payload.items() if kind == COMPACTED and k in COMPACTED_KEYS}
            payload = {**self._renamed(payload), **seen}
        if kind == META:
            payload = self.policy.meta(payload, self.removed)
        elif kind == TURN_CONTEXT:
            payload = self.policy.turn_context(payload, self.removed)
        elif kind == EVENT and payload.get("type") == SETTINGS_APPLIED:
            payload = self.policy.settings(payload, self.removed)
        record = {**record, "payload": payload}
        if self.transcript.mode == "paginated" and not isinstance(record.get("ordinal"), int):
            self._ordinal += 1
            record["ordinal"] = self._ordinal
        return record

    def _renamed(self, value: Any) -> Any:
        """The value with every ``thread_id`` and ``session_id`` that names an ancestor replaced."""
        if isinstance(value, list):
            return [self._renamed(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {
            key: self._ids.get(item, item)
            if key in ID_KEYS and isinstance(item, str)
            else self._renamed(item)
            for key, item in value.items()
        }
