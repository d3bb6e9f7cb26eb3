"""Session ids as people see and type them: shortened, without ambiguity."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable

from .errors import UsageError

ELLIPSIS = "…"
HEAD, TAIL = 8, 6
CANDIDATES = 5
"""How many of the sessions that a shortened id may mean are named."""


def short_id(session_id: str, tail: int = TAIL) -> str:
    """An id's two ends: ids made within hours of each other share their beginning."""
    if len(session_id) <= HEAD + tail:
        return session_id
    return f"{session_id[:HEAD]}{ELLIPSIS}{session_id[-tail:]}"


def shortened(ids: Iterable[str]) -> dict[str, str]:
    """Each id with a short form that no other of them has, and that ``match_id`` knows it by."""
    found: dict[str, str] = {}
    left, tail = set(ids), TAIL
    while left:
        groups = defaultdict(list)
        for session_id in left:
            groups[short_id(session_id, tail)].append(session_id)
        for short, group in groups.items():
            if len(group) == 1:
                found[group[0]] = short
                left.discard(group[0])
        tail += 2
    return found


def match_id(
    given: str,
    known: Collection[str],
    title: Callable[[str], str | None] | None = None,
    *,
    unknown: str = "`codex-session-sync lineage` shows the sessions of this home",
) -> str:
    """The id that ``given`` means: a whole id, its beginning, its end, or both around ``…``.

    ``title`` tells what a session is known by, ``unknown``: what to do if there is none. Raises
    UsageError ``session_unknown`` or ``session_ambiguous``, which names the candidates.
    """
    if given in known:
        return given
    head, _, tail = given.replace("...", ELLIPSIS).partition(ELLIPSIS)
    if ELLIPSIS not in given.replace("...", ELLIPSIS):
        found = [i for i in known if given and (i.startswith(given) or i.endswith(given))]
    else:
        found = [i for i in known if (head or tail) and i.startswith(head) and i.endswith(tail)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            "session_ambiguous",
            f"{given!r} may mean {len(found)} sessions: {_candidates(found, known, title)}",
            hint="give more of the id, or one of these",
        )
    raise UsageError("session_unknown", f"there is no session {given!r}", hint=unknown)


def _candidates(
    found: Collection[str], known: Collection[str], title: Callable[[str], str | None] | None
) -> str:
    """Ids that can be told apart, with what the sessions are known by."""
    short = shortened(known)
    shown = []
    for session_id in sorted(found)[:CANDIDATES]:
        words = " ".join(((title and title(session_id)) or "").split())
        shown.append(short[session_id] + (f" “{words[:60]}”" if words else ""))
    more = len(found) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
