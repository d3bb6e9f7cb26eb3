"""From a class to an action, and what a refusal tells.

``references/conflict-decision-matrix.md`` has the table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from .errors import SessionError
from .model import Outline
from .planned import Action, Classification, Decision, Relation, SessionPlan

Diverged = Literal["branch", "refuse"]
Collision = Literal["refuse", "import-as-new"]


@dataclass(frozen=True, slots=True)
class Choices:
    """What the user chose for the classes that leave a choice."""

    on_diverged: Diverged = "branch"
    on_collision: Collision = "refuse"


DEFAULT_CHOICES = Choices()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is done with a session of some class, and the code that says why not more."""

    action: Action
    reason: str | None = None
    message: str | None = None
    hint: str | None = None


def decide(decision: Decision, choices: Choices) -> Verdict:
    """The action for a decision, by the table in ``references/conflict-decision-matrix.md``."""
    match decision.classification:
        case Classification.NEW_LINEAGE:
            return Verdict(Action.IMPORT)
        case Classification.UNCHANGED:
            behind = "taken_back" if decision.taken_back else "local_ahead"
            reason = "equal" if decision.relation is Relation.EQUAL else behind
            return Verdict(Action.SKIP, reason)
        case Classification.FAST_FORWARD_IMPORT:
            return Verdict(Action.FAST_FORWARD)
        case Classification.DIVERGED_LINEAGE:
            if choices.on_diverged == "branch":
                return Verdict(Action.BRANCH)
            return Verdict(
                Action.REFUSE,
                "diverged_refused",
                "it and the local session went separate ways after "
                f"{_count(decision.common_entries)}",
                "`codex-session-sync sync PKG --session ID --on-diverged branch` imports it as a "
                "branch "
                "beside the local one",
            )
        case Classification.ID_COLLISION_UNRELATED:
            if choices.on_collision == "import-as-new":
                return Verdict(Action.IMPORT)
            return Verdict(
                Action.REFUSE,
                "id_collision",
                "another session, with nothing in common, has the same id here",
                "`codex-session-sync sync PKG --session ID --on-collision import-as-new` imports "
                "it under "
                "a new id",
            )


def explained(plan: SessionPlan) -> SessionPlan:
    """The plan, its refusal telling of both sessions."""
    if plan.message is None or plan.counterpart is None or plan.transcript is None:
        return plan
    here, there = plan.counterpart, plan.transcript
    message = (
        f"{plan.message}; here: {_portrait(here.name, here.transcript)}; "
        f"in the package: {_portrait(plan.session.name, there)}"
    )
    return replace(plan, message=message)


def _portrait(name: str | None, transcript: Outline) -> str:
    """What tells a session from others: its words, how long it is, when and where it was."""
    facts, meta = transcript.facts, transcript.meta
    words = " ".join(str(name or facts.first_user_message or "without words").split())
    times = f"{_minute(facts.first_timestamp)} to {_minute(facts.last_timestamp)}"
    program = f"{meta.get('originator') or 'codex'} {meta.get('cli_version') or ''}".strip()
    turns = "one turn" if facts.turns == 1 else f"{facts.turns} turns"
    return f"“{words[:60]}” ({turns}, {times}, {facts.last_cwd or 'no folder'}, {program})"


def _minute(timestamp: str | None) -> str:
    return (timestamp or "?")[:16].replace("T", " ")


def _count(entries: int) -> str:
    return "one entry" if entries == 1 else f"{entries} entries"


def refused(plan: SessionPlan, error: SessionError) -> SessionPlan:
    """The plan of a session that turned out not to be readable after it was decided on."""
    return replace(
        plan,
        action=Action.REFUSE,
        reason=error.code,
        message=error.message,
        hint=error.hint,
        target=None,
    )
