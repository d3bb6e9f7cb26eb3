"""The values of a plan: what a session is to a home, what is done with it, what became of it.

Everything here is frozen and free of behaviour that reads files, clocks or the environment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from .model import Json, Notice, Outline, PackagedSession, RolloutFile, Transcript


class Classification(StrEnum):
    """What an incoming session is to this home."""

    NEW_LINEAGE = "new_lineage"
    UNCHANGED = "unchanged"
    FAST_FORWARD_IMPORT = "fast_forward_import"
    DIVERGED_LINEAGE = "diverged_lineage"
    ID_COLLISION_UNRELATED = "id_collision_unrelated"


class Relation(StrEnum):
    """How the entries of an incoming session relate to those of its local match."""

    NONE = "none"
    EQUAL = "equal"
    INCOMING_AHEAD = "incoming_ahead"
    LOCAL_AHEAD = "local_ahead"
    DIVERGED = "diverged"
    UNRELATED = "unrelated"


class Action(StrEnum):
    """What a sync does with one session."""

    IMPORT = "import"
    FAST_FORWARD = "fast_forward"
    BRANCH = "branch"
    SKIP = "skip"
    REFUSE = "refuse"


class Result(StrEnum):
    """What became of one session after execution."""

    IMPORTED = "imported"
    FAST_FORWARDED = "fast_forwarded"
    BRANCHED = "branched"
    SKIPPED = "skipped"
    REFUSED = "refused"
    FAILED = "failed"


RESULT_OF = {
    Action.IMPORT: Result.IMPORTED,
    Action.FAST_FORWARD: Result.FAST_FORWARDED,
    Action.BRANCH: Result.BRANCHED,
}
"""What a writing action comes to when it succeeds."""

NEW_HERE = (Action.IMPORT, Action.BRANCH)
"""The actions after which a session is here that was not."""


SKILL = "skill:"
"""What the journal puts before a skill's name where a session's id would be."""

RESULT_OF_SKILL = {"install": "installed", "replace": "replaced"}
"""What is done with a skill, and what that comes to."""

RESULT_OF_MAPPING = {"remap": "remapped", "adopt": "adopted"}
"""What is done to the mappings of a session alone, and what that comes to."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on one incoming session, with the counts it rests on.

    ``taken_back``: the next incoming entry was here, and was taken back here.
    """

    classification: Classification
    relation: Relation
    local_session_id: str | None
    incoming_entries: int
    local_entries: int | None
    common_entries: int
    taken_back: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """Where a session goes: the local id, and the local session that it extends or parted from.

    ``moved`` maps packaged sessions that this one descends from to the ids that they have here;
    ``metadata`` holds what of name, archive state and branch follows the source, ``sources`` what
    the sidecar keeps of it, by source; ``older`` are the local session's files beside its newest.
    """

    session_id: str
    local: Transcript | None = None
    branch_of: str | None = None
    name: str | None = None
    moved: Mapping[str, str] = field(default_factory=dict)
    metadata: Json = field(default_factory=dict)
    sources: Json = field(default_factory=dict)
    older: tuple[RolloutFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Counterpart:
    """A local session as a report shows it beside an incoming one.

    ``transaction_id`` is that of the last sync into it, None where it is of this home alone.
    """

    transcript: Transcript
    name: str | None
    transaction_id: str | None


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """What a sync will do with one session, and why.

    ``transcript`` is None only where it could not be read, and a whole Transcript where the plan is
    executed and writes. ``reason`` is a stable code when the action is skip or refuse;
    ``counterpart`` is what a diverged or colliding session met here; ``cwd`` is the directory in
    which the session works here, or will; ``removed`` is what the policy will take away, as far as
    it can be told.
    """

    session: PackagedSession
    decision: Decision
    action: Action
    reason: str | None
    transcript: Outline | None
    message: str | None = None
    hint: str | None = None
    notices: tuple[Notice, ...] = ()
    target: Target | None = None
    differs: Json = field(default_factory=dict)
    counterpart: Counterpart | None = None
    cwd: str | None = None
    removed: tuple[str, ...] = ()


def brings_metadata_only(plan: SessionPlan) -> bool:
    """Whether a plan that writes adds no entries."""
    extends = plan.decision.relation is Relation.INCOMING_AHEAD
    return plan.action is Action.FAST_FORWARD and not extends


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole of a sync, as a value: printed by a dry run, applied by an executed one."""

    package: Json
    sessions: tuple[SessionPlan, ...]
    notices: tuple[Notice, ...] = ()
    source_home: str | None = None
    """The ``installation_id`` of the home that the package was taken from, where it tells."""

    def with_action(self, *actions: Action) -> Sequence[SessionPlan]:
        """The sessions that get one of these actions, in plan order."""
        return [s for s in self.sessions if s.action in actions]


@dataclass(frozen=True, slots=True)
class SessionOutcome:
    """What execution made of one planned session."""

    plan: SessionPlan
    result: Result
    local_session_id: str | None
    code: str | None = None
    message: str | None = None
    hint: str | None = None
    removed: tuple[str, ...] = ()
