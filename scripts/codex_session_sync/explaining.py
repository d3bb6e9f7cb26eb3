"""Why Codex does or does not show a session of this home: what is in the way, and what helps."""

from __future__ import annotations

from dataclasses import dataclass

from .codex.capability import last_migration
from .codex.home import CodexHome
from .codex.state_db import open_for_reading
from .health.finding import Finding, Remedy
from .hindrances import Cause, Effect, Look
from .identify import match_id
from .journal.log import Journal
from .local import LocalSessions
from .model import Json


@dataclass(frozen=True, slots=True)
class Explanation:
    """A session and what there is to say of it; ``session`` is as reports have it.

    ``here``: it has a transcript where Codex looks.
    """

    session: Json
    causes: tuple[Cause, ...]
    here: bool

    @property
    def listed(self) -> bool:
        """Whether Codex lists it by default."""
        return self.here and not any(cause.effect is Effect.HIDES for cause in self.causes)

    @property
    def opens(self) -> bool:
        """Whether Codex opens it."""
        return not any(cause.effect is Effect.PREVENTS for cause in self.causes)


def explain(home: CodexHome, given: str) -> Explanation:
    """What Codex makes of a session, by what is on disk; Codex is not asked.

    ``given`` is an id, which may be shortened, of a session that is here or was. Raises UsageError
    ``session_unknown``, ``session_ambiguous``, HomeError.
    """
    with open_for_reading(home.state_db) as database:
        rows = {str(row["id"]): row for row in database.rows("threads")} if database else {}
        has_database = database is not None
        migration = last_migration(database) if database is not None else None
    local = LocalSessions(home)
    here = {*rows, *local.rollouts.threads()}
    past = _past(home)
    session_id = match_id(given, here | past.keys(), local.title)
    looked = Look(home, local, session_id, rows.get(session_id), has_database, migration)
    causes = list(looked.causes())
    if not causes:
        causes = [_gone(session_id, past[session_id])]
    return Explanation(looked.described(), tuple(causes), looked.tip is not None)


def _past(home: CodexHome) -> dict[str, Json]:
    """By session, the last transaction that wrote it, and what that made of it."""
    found: dict[str, Json] = {}
    for manifest in Journal(home.sync_dir).manifests():
        for session in manifest["sessions"]:
            local = session.get("local_session_id")
            if local and session.get("result") not in (None, "skipped", "refused", "failed"):
                found.setdefault(local, {**session, "done": manifest["transaction_id"]})
    return found


def _gone(session_id: str, last: Json) -> Cause:
    done, result = str(last["done"]), str(last["result"])
    undone = result == "undone"
    what = f"transaction {done} rolled it back" if undone else f"transaction {done} {result} it"
    remedy = Remedy("put it in effect again", f"rollback {done} --execute")
    if not undone:
        remedy = Remedy("sync a package that has it", "sync PKG --execute")
    return Cause(
        Effect.PREVENTS,
        Finding("session_gone", f"it is not in this home; {what}", session_id),
        remedy,
    )
