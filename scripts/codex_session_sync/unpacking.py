"""From a plan made on what a package tells of itself to one that can be executed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from .errors import SessionError
from .model import Continued, PackagedSession, Transcript
from .package.native import refuted
from .package.sessions import Package
from .planned import RESULT_OF, Action, Plan, SessionPlan
from .tailing import scan_tail
from .transcript import scan
from .verdict import refused

Progress = Callable[[int], None]


def with_transcripts(
    plan: Plan,
    package: Package,
    progress: Progress | None = None,
    actions: Collection[Action] = tuple(RESULT_OF),
) -> Plan:
    """The plan with the whole transcripts of the sessions that it writes, or has ``actions`` for.

    What the plan was made on must be what they are. ``progress`` is told of transcript bytes as
    they are read. A session whose beginning is of a local one that has changed since is refused.
    Raises PackageError if the package is damaged.
    """
    told = [one for one in plan.with_action(*actions) if _can_be_read(one, package)]
    if not told:
        return plan
    package.unpack([one.session.session_id for one in told])
    read = {one.session.session_id: _whole(one, package, progress) for one in told}
    return replace(
        plan, sessions=tuple(read.get(one.session.session_id, one) for one in plan.sessions)
    )


def _can_be_read(plan: SessionPlan, package: Package) -> bool:
    """Whether there is more to know of a session than the package tells of itself."""
    if plan.transcript is None or isinstance(plan.transcript, Transcript):
        return False
    return isinstance(plan.transcript, Continued) or plan.session.session_id not in package.tails


def _whole(plan: SessionPlan, package: Package, progress: Progress | None) -> SessionPlan:
    """The plan with its transcript; refused if what it continues of this home has changed."""
    try:
        return replace(plan, transcript=_read(plan, package, progress))
    except SessionError as error:
        return refused(plan, error)


def _read(plan: SessionPlan, package: Package, progress: Progress | None) -> Transcript:
    session: PackagedSession = plan.session
    assert session.file is not None
    assert plan.transcript is not None
    try:
        if isinstance(plan.transcript, Continued):
            found = scan_tail(plan.transcript.tail, plan.transcript.held, progress)
        else:
            found = scan(session.file, package.rollouts.segment, progress)
    except SessionError as error:
        if error.code == "home_changed":
            raise
        raise refuted(session.session_id, error.message) from error
    if found.chain != plan.transcript.chain:
        raise refuted(session.session_id, "it has other entries")
    if found.mode != plan.transcript.mode:
        raise refuted(session.session_id, "it is in another history mode")
    # The package's outlines stay: one chain for both.
    return replace(found, chain=plan.transcript.chain)
