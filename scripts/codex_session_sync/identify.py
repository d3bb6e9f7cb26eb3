"""Session ids as people see and type them: shortened, without ambiguity."""

from __future__ import annotations

from collections.abc import Collection

from .errors import UsageError

ELLIPSIS = "…"


def short_id(session_id: str) -> str:
    """An id's two ends: ids made within hours of each other share their beginning."""
    return f"{session_id[:8]}{ELLIPSIS}{session_id[-6:]}" if session_id else ""


def match_id(given: str, known: Collection[str]) -> str:
    """The id that ``given`` means: a whole id, its beginning, its end, or both around ``…``.

    Raises UsageError ``session_unknown`` or ``session_ambiguous``.
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
            f"{given!r} may mean {len(found)} sessions, {short_id(found[0])} and "
            f"{short_id(found[1])} among them",
            hint="give more of the id",
        )
    raise UsageError(
        "session_unknown",
        f"there is no session {given!r}",
        hint="`codex-session-sync inspect-package PKG` lists what a package holds",
    )
