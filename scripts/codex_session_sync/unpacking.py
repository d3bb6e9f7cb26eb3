"""From a plan made on what a package tells of itself to one that can be executed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .errors import SessionError
from .model import RESULT_OF, Continued, PackagedSession, Plan, SessionPlan, Transcript
from .package.native import refuted
from .package.sessions import Package
from .transcript import scan, scan_tail

Progress = Callable[[int], None]


def with_transcripts(plan: Plan, package: Package, progress: Progress | None = None) -> Plan:
    """The plan with the whole transcripts of the sessions that it writes.

    What the plan was made on must be what they are. ``progress`` is told of transcript bytes as
    they are read. Raises PackageError if the package is damaged.
    """
    told = [p for p in plan.with_action(*RESULT_OF) if not isinstance(p.transcript, Transcript)]
    if not told:
        return plan
    package.unpack([one.session.session_id for one in told])
    read = {
        one.session.session_id: replace(one, transcript=_read(one, package, progress))
        for one in told
    }
    return replace(
        plan, sessions=tuple(read.get(one.session.session_id, one) for one in plan.sessions)
    )


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
        raise refuted(session.session_id, error.message) from error
    if found.chain != plan.transcript.chain:
        raise refuted(session.session_id, "it has other entries")
    if found.mode != plan.transcript.mode:
        raise refuted(session.session_id, "it is in another history mode")
    return found
