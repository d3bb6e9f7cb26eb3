"""Which sessions are listed, and what they are called: the rules, without reading anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..codex.rollout import base_name
from ..codex.session_index import first_line, shown_name
from ..model import RolloutFile, Row


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What choosing needs of a row of ``threads``.

    ``titled``: it has a title, or a first message to take one from.
    """

    session_id: str
    archived: bool
    time_ms: int
    base_name: str | None
    titled: bool


@dataclass(frozen=True, slots=True)
class Conversation:
    """A session that may be listed: the time of its last activity, its files, oldest first."""

    session_id: str
    time_ms: int
    files: tuple[RolloutFile, ...]
    titled: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """The sessions that are listed, the last active one last, and how many are not, by reason."""

    listed: tuple[Conversation, ...]
    skipped: Mapping[str, int]


def row_facts(row: Row) -> RowFacts:
    """The facts in a row, whatever columns its release has."""
    base = base_name(row.get("rollout_path"))
    titled = any(first_line(row.get(column)) for column in ("name", "title", "first_user_message"))
    return RowFacts(str(row["id"]), bool(row.get("archived")), _row_ms(row), base, titled)


def choose(
    conversations: Iterable[Conversation], limit: int, passed_over: Mapping[str, int]
) -> Selection:
    """The ``limit`` conversations that were active last; 0: all of them.

    ``passed_over`` counts those that were left out before, by reason.
    """
    found = sorted(conversations, key=lambda one: (one.time_ms, one.session_id))
    listed = found[-limit:] if limit else found
    over = len(found) - len(listed)
    skipped = Counter(passed_over) + Counter({"over_limit": over} if over else {})
    return Selection(tuple(listed), dict(sorted(skipped.items())))


def title_of(
    session_id: str, row: Row | None, index_name: str | None, first_message: str | None
) -> str:
    """What a listed session is called; ``first_message`` is that of its rollout.

    The name that a person gave comes first, whether the row or the old index has it; then the row's
    title, the first line of its first message, that of the rollout's, and the id.
    """
    known = row or {}
    given = shown_name(row, index_name)
    if given in (first_line(first_message), session_id) and not known.get("name"):
        given = None
    candidates = (
        _text(given),
        _text(known.get("title")),
        first_line(known.get("first_user_message")),
        first_line(first_message),
    )
    return next((text for text in candidates if text), session_id)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _row_ms(row: Row) -> int:
    precise, whole = row.get("updated_at_ms"), row.get("updated_at")
    if isinstance(precise, int) and precise > 0:
        return precise
    return whole * 1000 if isinstance(whole, int) else 0
