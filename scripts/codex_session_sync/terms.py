"""On what terms a plan is executed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .codex.capability import UNKNOWN, Readable
from .places.adaptation import Adaptation
from .places.rules import NO_RULES, Rules
from .policy import Policy
from .skills.comparing import SkillPlan


@dataclass(frozen=True, slots=True)
class Terms:
    """What the user and the home say of everything that a plan writes.

    ``policy`` says what packages may bring along, ``rules``, those of the plan, which directories
    and providers stand for theirs (they are remembered for its source), ``reads`` in which form
    sessions are written; ``skills`` are installed with it.
    """

    policy: Policy
    rules: Rules = NO_RULES
    reads: Readable = UNKNOWN
    skills: Sequence[SkillPlan] = ()

    @property
    def adaptation(self) -> Adaptation:
        """What the rules make of a session."""
        return self.rules.adaptation

    @property
    def legacy_only(self) -> bool:
        """Whether paginated sessions must be put into the legacy form."""
        return self.reads.legacy_only
