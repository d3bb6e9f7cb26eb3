"""Which sessions that begin alike may be copies of each other."""

from __future__ import annotations

from ..model import Json
from .fingerprint import PROVENANCE

DESCENT = ("forked_from_id", "parent_thread_id", PROVENANCE)
"""What of a ``session_meta`` tells what its session comes from."""


def kinship(meta: Json) -> tuple[str | None, str | None]:
    """What a session was forked from and spawned by.

    A branch that this program made descends as the line that it continues, whatever its
    ``forked_from_id``.
    """
    parent = meta.get("parent_thread_id")
    return forked_from(meta), parent if isinstance(parent, str) else None


def origin_moment(meta: Json) -> str | None:
    """What copies of one session agree in, of those that begin with the same entry.

    A Codex fork is a session of its own beside its parent and beside the parent's other forks, not
    a copy of them; the time when it was made tells it from them, under whatever ids it and they
    have by now. None for a session with a beginning of its own.
    """
    if kinship(meta) == (None, None):
        return None
    moment = meta.get("timestamp")
    return moment if isinstance(moment, str) else ""


def forked_from(meta: Json) -> str | None:
    """The session that Codex forked this one from, before any re-identification by us."""
    note = meta.get(PROVENANCE)
    found = note.get("forked_from_id") if isinstance(note, dict) else meta.get("forked_from_id")
    return found if isinstance(found, str) else None
