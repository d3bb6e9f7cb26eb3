"""The verdict on an incoming session: a pure function of chains.

``references/conflict-decision-matrix.md`` has the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, replace

from ..model import Chain
from ..planned import Classification, Decision, Relation
from .fingerprint import common_entries, links_of


@dataclass(frozen=True, slots=True)
class Candidate:
    """A local session that an incoming one may be a copy or continuation of.

    ``claimed``: the local id is known to stand for the incoming session, because it is the same id
    or because the sidecar says so.
    """

    session_id: str
    chain: Chain
    claimed: bool


def classify(incoming: Chain, candidates: Iterable[Candidate]) -> Decision:
    """Pick the best candidate and say what the incoming session is to it.

    Of several candidates the one with the longest common prefix wins, an equal one first, then one
    that is all prefix and can go on, then a claimed one; the order given decides the rest. Without
    a common entry only a claimed candidate counts, and then as a collision.
    """
    best: tuple[tuple[int, bool, bool, bool], Candidate] | None = None
    for candidate in candidates:
        common = common_entries(incoming, candidate.chain)
        if not common and not candidate.claimed:
            continue
        equal = common == len(incoming) == len(candidate.chain)
        rank = (common, equal, common == len(candidate.chain), candidate.claimed)
        if best is None or rank > best[0]:
            best = (rank, candidate)
    if best is None:
        return Decision(Classification.NEW_LINEAGE, Relation.NONE, None, len(incoming), None, 0)
    (common, *_), candidate = best
    relation = relate(len(incoming), len(candidate.chain), common)
    return Decision(
        CLASS_OF[relation],
        relation,
        candidate.session_id,
        len(incoming),
        len(candidate.chain),
        common,
    )


def heed_taken_back(decision: Decision, incoming: Chain, taken_back: Set[bytes]) -> Decision:
    """The verdict where the local session once had what comes after its last entry.

    ``taken_back`` holds the links of what it had. That it ends before, or goes on in another way,
    is somebody's work: an incoming session that has nothing else is behind it, one that went on
    from there has parted.
    """
    ahead = list(links_of(incoming.links[decision.common_entries * Chain.LINK_BYTES :]))
    if not ahead or ahead[0] not in taken_back:
        return decision
    relation = Relation.LOCAL_AHEAD if ahead[-1] in taken_back else Relation.DIVERGED
    return replace(decision, classification=CLASS_OF[relation], relation=relation, taken_back=True)


def relate(incoming: int, local: int, common: int) -> Relation:
    """The relation of two sessions from their entry counts and the length of the common prefix.

    A session without entries is the beginning of every session with the same id.
    """
    if common == incoming == local:
        return Relation.EQUAL
    if common == local:
        return Relation.INCOMING_AHEAD
    if common == incoming:
        return Relation.LOCAL_AHEAD
    return Relation.DIVERGED if common else Relation.UNRELATED


CLASS_OF = {
    Relation.NONE: Classification.NEW_LINEAGE,
    Relation.EQUAL: Classification.UNCHANGED,
    Relation.LOCAL_AHEAD: Classification.UNCHANGED,
    Relation.INCOMING_AHEAD: Classification.FAST_FORWARD_IMPORT,
    Relation.DIVERGED: Classification.DIVERGED_LINEAGE,
    Relation.UNRELATED: Classification.ID_COLLISION_UNRELATED,
}
