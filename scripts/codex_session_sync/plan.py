"""From a package and a home to a plan: read, fingerprint, match, classify, decide.

Nothing here writes. The plan is a value that can be printed, tested and refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from .codex.home import CodexHome
from .errors import SessionError
from .identify import match_id
from .lineage.classify import classify
from .local import LocalSessions
from .model import (
    Action,
    Classification,
    Decision,
    Notice,
    PackagedSession,
    Plan,
    Relation,
    RolloutFile,
    SessionPlan,
    Transcript,
)
from .package.sessions import Package
from .transcript import scan

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is done with a session of some class, and the code that says why not more."""

    action: Action
    reason: str | None = None
    message: str | None = None
    hint: str | None = None


def make_plan(
    package: Package,
    home: CodexHome,
    *,
    only: Collection[str] = (),
    progress: Progress | None = None,
) -> Plan:
    """What a sync of ``package`` into ``home`` would do; ``only`` limits it to these session ids,
    which may be shortened.

    ``progress`` is told of transcript bytes as they are read. Raises UsageError
    ``session_unknown`` or ``session_ambiguous``, HomeError.
    """
    chosen = _chosen(package, only)
    local = LocalSessions(home, frozenset(s.session_id for s in package.sessions))

    def lookup(segment: str) -> RolloutFile | None:
        return package.rollouts.segment(segment) or local.segment(segment)

    plans = tuple(_plan_session(session, lookup, local, progress) for session in chosen)
    return Plan(package.summary(), plans, (*package.notices, *local.notices))


def decide(decision: Decision) -> Verdict:
    """The action for a decision, by the table in ``references/conflict-decision-matrix.md``."""
    match decision.classification:
        case Classification.NEW_LINEAGE:
            return Verdict(Action.IMPORT)
        case Classification.UNCHANGED:
            reason = "equal" if decision.relation is Relation.EQUAL else "local_ahead"
            return Verdict(Action.SKIP, reason)
        case Classification.FAST_FORWARD_IMPORT:
            return Verdict(
                Action.REFUSE,
                "fast_forward_unsupported",
                f"it continues the local session by {_count(_ahead(decision))}; this version "
                "does not append to sessions yet",
                "keep the package: a later version applies it as it is",
            )
        case Classification.DIVERGED_LINEAGE:
            return Verdict(
                Action.REFUSE,
                "branch_unsupported",
                f"it and the local session went separate ways after "
                f"{_count(decision.common_entries)}; this version does not make branches yet",
                "keep the package: a later version applies it as it is",
            )
        case Classification.ID_COLLISION_UNRELATED:
            return Verdict(
                Action.REFUSE,
                "id_collision",
                "another session, with nothing in common, has the same id here",
                "nothing was changed; compare the two sessions before you decide",
            )


def _plan_session(
    session: PackagedSession,
    lookup: Callable[[str], RolloutFile | None],
    local: LocalSessions,
    progress: Progress | None,
) -> SessionPlan:
    if session.file is None:
        error = SessionError(
            "transcript_missing",
            "the package names this session but does not hold its transcript",
            hint="package it again where it was made",
        )
        return _refused(session, error, None)
    transcript: Transcript | None = None
    try:
        transcript = scan(session.file, lookup, progress)
        decision = classify(transcript.chain, local.candidates(transcript))
    except SessionError as error:
        return _refused(session, error, transcript)
    verdict = decide(decision)
    return SessionPlan(
        session,
        decision,
        verdict.action,
        verdict.reason,
        transcript,
        verdict.message,
        verdict.hint,
        _notices(transcript),
    )


def _refused(
    session: PackagedSession, error: SessionError, transcript: Transcript | None
) -> SessionPlan:
    entries = len(transcript.chain) if transcript else 0
    decision = Decision(Classification.NEW_LINEAGE, Relation.NONE, None, entries, None, 0)
    return SessionPlan(
        session, decision, Action.REFUSE, error.code, transcript, error.message, error.hint
    )


def _notices(transcript: Transcript) -> tuple[Notice, ...]:
    found = []
    facts = transcript.facts
    if facts.torn:
        found.append(
            Notice(
                "transcript_torn",
                "its last record is cut off; it is taken up to the last whole one",
                transcript.session_id,
            )
        )
    if facts.unreadable:
        found.append(
            Notice(
                "records_unreadable",
                f"{facts.unreadable} of its lines are no records and are left out",
                transcript.session_id,
            )
        )
    return tuple(found)


def _chosen(package: Package, only: Collection[str]) -> list[PackagedSession]:
    ids = [session.session_id for session in package.sessions]
    wanted = {match_id(given, ids) for given in only}
    return [s for s in package.sessions if not only or s.session_id in wanted]


def _ahead(decision: Decision) -> int:
    return decision.incoming_entries - decision.common_entries


def _count(entries: int) -> str:
    return "one entry" if entries == 1 else f"{entries} entries"
