"""The lines of a lineage's ledger as values, and as JSON: events, and the entries after them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..lineage.fingerprint import FINGERPRINT_VERSION
from ..model import Json

EVENT_FORMAT = "codex-session-sync/event/1"
REST_FORMAT = "codex-session-sync/event-rest/1"
SCHEMA = "ledger_line"

MARK_DIGITS = 16
"""How much of a link tells an entry that is no event."""
MAX_TEXT_BYTES = 32 << 20
"""Longest text of an event, so that its line can be read; the record has all of it."""

Kind = Literal["user_message", "agent_message", "withdrawn"]


@dataclass(frozen=True, slots=True)
class Raw:
    """Where the record of an event lies, as whoever imported it first found it.

    ``of`` says of what ``digest`` is the SHA-256: the ``package``, or the bytes of the ``file`` as
    far as they were read. ``offset`` and ``length`` are in the member, decompressed; ``sha256`` is
    that of these bytes.
    """

    of: Literal["package", "file"]
    digest: str
    member: str
    offset: int
    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Event:
    """A message of a user or an agent, observed by a version of the normaliser.

    ``event_id`` is the link of its entry, ``entry`` the entry's number on its line, from 1 on;
    ``parent`` the event before it. ``passed`` has the marks of the entries between them that are no
    events, as far as no rest has them. ``reobserves`` is the version that observed it before; one
    that is ``withdrawn`` is no message by this version. ``cut``: the text goes on in the record.
    """

    event_id: str
    normaliser: int
    lineage_id: str
    parent: str | None
    kind: Kind
    entry: int
    time: str
    text: str
    images: int
    passed: tuple[str, ...]
    raw: Raw
    import_id: str
    reobserves: int | None = None
    cut: bool = False

    def to_json(self) -> Json:
        """As a line of the ledger."""
        raw = self.raw
        return {
            "format": EVENT_FORMAT,
            "event_id": self.event_id,
            "fingerprint_version": FINGERPRINT_VERSION,
            "normaliser": self.normaliser,
            **({"reobserves": self.reobserves} if self.reobserves is not None else {}),
            "lineage_id": self.lineage_id,
            "parent": self.parent,
            "kind": self.kind,
            "entry": self.entry,
            "time": self.time,
            "text": self.text,
            **({"cut": True} if self.cut else {}),
            "images": self.images,
            "passed": list(self.passed),
            "raw": {
                raw.of: raw.digest,
                "member": raw.member,
                "offset": raw.offset,
                "length": raw.length,
                "sha256": raw.sha256,
            },
            "import_id": self.import_id,
        }


@dataclass(frozen=True, slots=True)
class Rest:
    """Entries of a line behind its last event so far: the marks of those up to ``entry``.

    ``after`` is that event, None if there is none before them.
    """

    normaliser: int
    lineage_id: str
    after: str | None
    entry: int
    marks: tuple[str, ...]
    import_id: str

    def to_json(self) -> Json:
        """As a line of the ledger."""
        return {
            "format": REST_FORMAT,
            "fingerprint_version": FINGERPRINT_VERSION,
            "normaliser": self.normaliser,
            "lineage_id": self.lineage_id,
            "after": self.after,
            "entry": self.entry,
            "passed": list(self.marks),
            "import_id": self.import_id,
        }


def cut_text(text: str) -> tuple[str, bool]:
    """A text that fits into an event, and whether something of it was left out."""
    if len(text) * 4 <= MAX_TEXT_BYTES or len(data := text.encode()) <= MAX_TEXT_BYTES:
        return text, False
    return data[:MAX_TEXT_BYTES].decode(errors="ignore"), True
