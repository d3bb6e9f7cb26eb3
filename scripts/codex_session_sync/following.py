"""What follows the source beside the conversation: name, archive state, branch.

The second step of a plan: which sessions stand for which is decided already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .errors import SessionError
from .lineage.differences import is_newer, is_older, merge_metadata, packaged_metadata
from .lineage.sidecar import Mapping
from .local import LocalSessions
from .model import Json
from .planned import Action, Relation, SessionPlan, Target
from .verdict import refused

UNKNOWN_HOME = "unknown"
"""The source in a sidecar of packages that do not tell which home they are from."""

ADOPTED_HOME = "adopted"
"""The source in a sidecar of a session that was adopted as it was: for each source the state before
its first sync."""


def with_metadata(
    plans: Sequence[SessionPlan], local: LocalSessions, source_home: str | None
) -> tuple[SessionPlan, ...]:
    """The plans with what of the source's metadata the local sessions take over.

    Of several packaged sessions that stand for one local session only one brings its metadata: that
    of the same id, else the first. So the next sync of the same package finds nothing to do.
    """
    leaders: dict[str, str] = {}
    for plan in plans:
        local_id = _stands_for(plan, local)
        if local_id is not None and (
            local_id not in leaders or plan.session.session_id == local_id
        ):
            leaders[local_id] = plan.session.session_id
    leading = set(leaders.values())
    source = source_home or UNKNOWN_HOME
    return tuple(
        _followed(plan, local, source, leads=plan.session.session_id in leading) for plan in plans
    )


def _stands_for(plan: SessionPlan, local: LocalSessions) -> str | None:
    """The session of this home that a packaged one is known as or extends."""
    local_id = plan.decision.local_session_id
    behind = plan.decision.relation in (Relation.EQUAL, Relation.LOCAL_AHEAD)
    if local_id is None or local.tip(local_id) is None:
        return None
    return local_id if plan.action is Action.FAST_FORWARD or behind else None


def _followed(plan: SessionPlan, local: LocalSessions, source: str, *, leads: bool) -> SessionPlan:
    local_id = plan.target.session_id if plan.target else plan.decision.local_session_id
    if plan.transcript is None or local_id is None:
        return plan
    incoming = packaged_metadata(plan.session)
    known = _last_known(local.mappings(plan.transcript), local_id)
    base = known.get(source, known.get(ADOPTED_HOME))
    match plan.action:
        case Action.FAST_FORWARD if is_older(incoming, base):
            return _noted(plan, known)
        case Action.FAST_FORWARD if leads:
            plan = _merged(plan, local, local_id, base, incoming)
        case Action.SKIP if leads and is_newer(incoming, base):
            plan = _merged(plan, local, local_id, base, incoming)
    if plan.action in (Action.SKIP, Action.REFUSE):
        return plan
    return _noted(plan, {**known, source: incoming})


def _merged(
    plan: SessionPlan, local: LocalSessions, local_id: str, base: Json | None, incoming: Json
) -> SessionPlan:
    """The plan with what follows; a skipped session is written if something does."""
    merge = merge_metadata(base, local.metadata(local_id), incoming)
    plan = replace(plan, differs=merge.differs)
    if not merge.follow:
        return plan
    try:
        target = plan.target or Target(local_id, local.transcript(local_id))
        target = replace(target, metadata=merge.follow, older=local.older_files(local_id))
    except SessionError as error:
        # It could be read when it was compared, and is read again where it was found to be equal.
        return refused(plan, error)
    return replace(plan, target=target, action=Action.FAST_FORWARD, reason=None)


def _noted(plan: SessionPlan, sources: Json) -> SessionPlan:
    assert plan.target is not None
    return replace(plan, target=replace(plan.target, sources=sources))


def _last_known(mappings: Sequence[Mapping], local_id: str) -> Json:
    """The metadata of each source at its last sync into a local session."""
    found = (mapping for mapping in mappings if mapping.local_session_id == local_id)
    return next((mapping.metadata for mapping in found), {})
