"""What a sync ought to make of each session, from lists of tokens and nothing else.

The rules are those of ``references/conflict-decision-matrix.md``. The oracle knows what the
program has to find out: which sessions are copies of each other (``Held.strand``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import permutations

from model.homes import Held
from model.rollout_text import Line

NEW = ("new_lineage", "none")
COLLISION = ("id_collision_unrelated", "unrelated")
FORWARD = ("fast_forward_import", "incoming_ahead")
DIVERGED = ("diverged_lineage", "diverged")
EQUAL = ("unchanged", "equal")
BEHIND = ("unchanged", "local_ahead")


def common(one: Line, other: Line) -> int:
    """How many tokens two lines share from the beginning."""
    count = 0
    for mine, yours in zip(one, other, strict=False):
        if mine != yours:
            break
        count += 1
    return count


def relate(incoming: Line, local: Line) -> tuple[str, str]:
    """The class of an incoming line that is matched with a local one."""
    shared = common(incoming, local)
    if incoming == local:
        return EQUAL
    if shared == len(local):
        return FORWARD
    if shared == len(incoming):
        return BEHIND
    return DIVERGED if shared else COLLISION


def expected(session: str, incoming: Held, local: Mapping[str, Held]) -> dict[str, tuple[str, str]]:
    """The local sessions that may be an incoming one's match, with the verdict by each.

    The candidate with the longest common beginning decides; among those one that is all beginning,
    so that it goes on. One that has all of the incoming session is as good as any other such.
    """
    ranks = {}
    for name, held in local.items():
        shared = common(incoming.line, held.line)
        if name == session or (held.strand == incoming.strand and shared):
            whole = shared == len(incoming.line)
            ranks[name] = (shared, whole or shared == len(held.line))
    best = max(ranks.values(), default=None)
    return {
        name: relate(incoming.line, local[name].line)
        for name, rank in ranks.items()
        if rank == best
    }


def in_order(
    sessions: Mapping[str, Held], local: Mapping[str, Held], ancestors: Mapping[str, set[str]]
) -> Iterator[str]:
    """The order of decisions: ancestors first, then sessions that are here by id, then longer."""
    waiting = sorted(sessions, key=lambda i: (i not in local, -len(sessions[i].line)))
    while waiting:
        ready = next((i for i in waiting if not ancestors[i] & set(waiting) - {i}), waiting[0])
        waiting.remove(ready)
        yield ready


def doubles(held: Mapping[str, Held]) -> Iterator[tuple[str, str]]:
    """The pairs of copies of which the first is the beginning of the second, with entries."""
    for one, other in permutations(held, 2):
        a, b = held[one], held[other]
        if a.strand == b.strand and a.line and b.line[: len(a.line)] == a.line:
            yield one, other


def frontier(held: Mapping[str, Held]) -> set[tuple[int, Line]]:
    """The lines of a home that are not the beginning of another of the same strand."""
    lines = {(one.strand, one.line) for one in held.values() if one.line}
    return {
        (strand, line)
        for strand, line in lines
        if not any(
            strand == other and line != longer and longer[: len(line)] == line
            for other, longer in lines
        )
    }
