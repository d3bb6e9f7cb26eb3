"""From a package and a home to a plan: read, fingerprint, match, classify, decide.

Nothing here writes. The plan is a value that can be printed, tested and refused.
"""

from __future__ import annotations

import uuid
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

from .codex.home import CodexHome
from .errors import SessionError
from .following import with_metadata
from .identify import match_id
from .lineage.classify import Candidate, classify, heed_taken_back
from .lineage.fingerprint import common_entries
from .lineage.graph import ancestors_first, descent
from .lineage.kinship import forked_from, origin_moment
from .local import Beginnings, LocalSessions
from .localize import origin_id
from .model import Chain, Continued, Outline, PackagedSession, RolloutFile, Tail, Transcript
from .package.sessions import Package
from .planned import Action, Classification, Decision, Plan, Relation, SessionPlan, Target
from .reading import scan_all
from .settling import PLAIN, Surroundings, with_places
from .transcript import notices
from .verdict import DEFAULT_CHOICES, Choices, decide, explained

Progress = Callable[[int], None]

NAMESPACE = uuid.UUID("5d0f3b0c-7a55-5c0e-9d3a-6f1f0f7c2a11")
"""Of the ids that are derived for branches and for sessions whose id is taken."""


def make_plan(
    package: Package,
    home: CodexHome,
    *,
    only: Collection[str] = (),
    choices: Choices = DEFAULT_CHOICES,
    surroundings: Surroundings = PLAIN,
    progress: Progress | None = None,
    known: Beginnings | None = None,
) -> Plan:
    """What a sync of ``package`` into ``home`` would do; ``only`` limits it to these session ids,
    which may be shortened.

    ``progress`` is told of transcript bytes as they are read, ``known`` is what earlier plans for
    this home have read of it. Raises UsageError ``session_unknown`` or ``session_ambiguous``,
    HomeError.
    """
    local = LocalSessions(home, known)
    plans = _Planner(package, local, choices, progress).plan(_chosen(package, only))
    plans = with_metadata(plans, local, package.source_home)
    plans = with_places(plans, local, surroundings)
    notices = (*package.notices, *local.notices)
    return Plan(package.summary(), plans, notices, package.source_home)


NAME_ONE = "`codex-session-sync inspect-package PKG` lists what the package holds"

GOES_ON = (Relation.INCOMING_AHEAD, Relation.DIVERGED)


@dataclass(slots=True)
class _Planner:
    """Plans the sessions of one package, what others descend from first."""

    package: Package
    local: LocalSessions
    choices: Choices
    progress: Progress | None
    _scanned: dict[str, Transcript | SessionError] = field(default_factory=dict)
    _done: dict[str, SessionPlan] = field(default_factory=dict)
    _written: dict[str, Outline] = field(default_factory=dict)
    """What this plan extends or branches, by local id, as it will be."""
    _taken: set[str] = field(default_factory=set)
    """The ids that this plan gives."""

    def plan(self, chosen: list[PackagedSession]) -> tuple[SessionPlan, ...]:
        """A plan for each session, in the given order."""
        self._scan(chosen)
        read = {session.session_id: self._read(session) for session in chosen}
        told = {i: found for i, found in read.items() if isinstance(found, Outline)}
        self.local.read_ahead(told)
        metas = {i: found.meta for i, found in told.items()}
        by_id = {session.session_id: session for session in chosen}
        for session_id in ancestors_first(descent(metas), self._preferred(read)):
            transcript = read[session_id]
            assert isinstance(transcript, Outline)
            self._done[session_id] = self._decided(by_id[session_id], transcript)
        for session_id, error in read.items():
            if isinstance(error, SessionError):
                tail = self.package.tails.get(session_id)
                self._done[session_id] = _refused(by_id[session_id], error, tail)
        return tuple(self._done[session.session_id] for session in chosen)

    def _preferred(self, read: Mapping[str, Outline | SessionError]) -> list[str]:
        """Sessions that are here by their id come first, then longer ones."""
        found = {i: t for i, t in read.items() if isinstance(t, Outline)}
        return sorted(found, key=lambda i: (self.local.tip(i) is None, -len(found[i].chain)))

    def _lookup(self, segment: str) -> RolloutFile | None:
        return self.package.rollouts.segment(segment) or self.local.segment(segment)

    def _scan(self, chosen: Iterable[PackagedSession]) -> None:
        """Read the transcripts of which the package does not tell what they come to."""
        told = self.package.outlines.keys() | self.package.tails.keys()
        files = {
            session.session_id: session.file
            for session in chosen
            if session.file is not None and session.session_id not in told
        }
        read = scan_all(list(files.values()), self._lookup, self.progress)
        self._scanned = dict(zip(files, read, strict=True))

    def _read(self, session: PackagedSession) -> Outline | SessionError:
        told = self.package.outlines.get(session.session_id)
        if told is not None:
            return told
        tail = self.package.tails.get(session.session_id)
        if tail is not None:
            return self._completed(tail)
        if session.file is None:
            return SessionError(
                "transcript_missing",
                "the package names this session but does not hold its transcript",
                hint="pack it again where it was made: `codex-session-sync pack -o FILE --session "
                "ID`",
            )
        transcript = self._scanned[session.session_id]
        if isinstance(transcript, SessionError):
            return transcript
        try:
            self._require_own_base(transcript)
        except SessionError as error:
            return error
        return transcript

    def _completed(self, tail: Tail) -> Outline | SessionError:
        """The outline of a whole session, its beginning taken from this home."""
        held = self.local.holding(tail)
        if held is None:
            return _prerequisite_missing(tail)
        told, first = tail.outline, held.chain.first(tail.base.entries)
        chain = Chain(first.links + told.chain.links)
        return Continued(told.session_id, told.meta, told.mode, chain, told.facts, tail, held)

    def _require_own_base(self, transcript: Transcript) -> None:
        """Raise SessionError unless what a session inherits from this home is its source's.

        A file of this home has the id that the package means, but may be of another session, or
        of one that has gone another way since.
        """
        place = 0
        inherited = {}
        for part in transcript.slices[:-1]:
            place += part.size
            file = part.slice.file
            if self.package.rollouts.segment(file.segment_id) is None:
                inherited[file.thread_id] = bisect_right(transcript.ends, place)
        for thread_id, entries in inherited.items():
            if entries > self.local.surely_of(thread_id):
                raise SessionError(
                    "history_base_missing",
                    f"the history that it continues is not in the package, and the session "
                    f"{thread_id} of this home is not known to be the same so far",
                    hint="have it packed with the one it was forked from: `codex-session-sync "
                    "pack -o FILE "
                    "--session ID` where it was made",
                    session_id=transcript.session_id,
                )

    def _decided(self, session: PackagedSession, transcript: Outline) -> SessionPlan:
        try:
            decision = self._classified(transcript)
        except SessionError as error:
            return _refused(session, error, transcript)
        verdict = decide(decision, self.choices)
        plan = SessionPlan(
            session,
            decision,
            verdict.action,
            verdict.reason,
            transcript,
            verdict.message,
            verdict.hint,
            notices(transcript),
        )
        if decision.relation in (Relation.DIVERGED, Relation.UNRELATED):
            plan = self._compared(plan)
        return self._targeted(plan, transcript)

    def _compared(self, plan: SessionPlan) -> SessionPlan:
        """The plan with the local session that the incoming one met, if it is here by now."""
        local_id = plan.decision.local_session_id
        if local_id is None or self.local.tip(local_id) is None:
            return plan
        return explained(replace(plan, counterpart=self.local.counterpart(local_id)))

    def _classified(self, transcript: Outline) -> Decision:
        """The verdict by the claimed candidates, or, where that is not a continuation, by all.

        Sessions count with what this plan has already decided to write of them.
        """
        candidates = self._as_planned(self.local.claimed(transcript))
        same_id = self._written.get(transcript.session_id)
        if same_id is not None:
            candidates.append(Candidate(transcript.session_id, same_id.chain, claimed=True))
        decision = classify(transcript.chain, candidates)
        if decision.relation not in (Relation.EQUAL, Relation.LOCAL_AHEAD):
            candidates += self._as_planned(self.local.kin(transcript))
            candidates += [
                Candidate(i, t.chain, claimed=False)
                for i, t in self._written.items()
                if origin_moment(t.meta) == origin_moment(transcript.meta)
            ]
            decision = classify(transcript.chain, candidates)
        local_id = decision.local_session_id
        if local_id is None or decision.relation not in GOES_ON or self.local.tip(local_id) is None:
            return decision
        return heed_taken_back(decision, transcript.chain, self.local.taken_back(local_id))

    def _as_planned(self, candidates: list[Candidate]) -> list[Candidate]:
        written = self._written
        return [
            replace(c, chain=written[c.session_id].chain) if c.session_id in written else c
            for c in candidates
        ]

    def _targeted(self, plan: SessionPlan, transcript: Outline) -> SessionPlan:
        """The plan with where the session goes."""
        session, decision = plan.session, plan.decision
        moved = self._moved(transcript)
        match plan.action:
            case Action.IMPORT if decision.relation is Relation.NONE:
                target = Target(session.session_id, name=session.name, moved=moved)
            case Action.IMPORT:
                target = Target(self._free_id("new", transcript, 0), name=session.name, moved=moved)
            case Action.BRANCH:
                assert decision.local_session_id is not None
                target = Target(
                    self._free_id("branch", transcript, decision.common_entries),
                    branch_of=decision.local_session_id,
                    name=_branch_name(plan, self.package),
                    moved=moved,
                )
            case Action.FAST_FORWARD:
                return self._extended(plan, transcript)
            case _:
                return plan
        if target.session_id != session.session_id:
            self._written[target.session_id] = transcript
        self._taken.add(target.session_id)
        return replace(plan, target=target)

    def _free_id(self, kind: str, transcript: Outline, common: int) -> str:
        """The derived id; a further one where another session has it, such as a cut off branch."""
        for number in count():
            found = _derived_id(kind, transcript, common, number)
            if found not in self._taken and self.local.tip(found) is None:
                return found
        raise AssertionError

    def _extended(self, plan: SessionPlan, transcript: Outline) -> SessionPlan:
        local_id = plan.decision.local_session_id
        assert local_id is not None
        if local_id in self._written:
            return replace(
                plan,
                action=Action.REFUSE,
                reason="extended_already",
                message="another session of this package extends the same local session",
                hint="`codex-session-sync sync PKG --session ID` brings in the rest afterwards",
            )
        self._written[local_id] = transcript
        target = Target(local_id, self.local.transcript(local_id))
        return replace(plan, target=target)

    def _moved(self, transcript: Outline) -> Mapping[str, str]:
        """The ids here of the sessions that this one descends from, where they are others.

        A fork stays with the session of its parent's id as long as that holds what it inherited.
        """
        found = {}
        fork_parent = forked_from(transcript.meta)
        for ancestor in {fork_parent, transcript.meta.get("parent_thread_id")} - {None}:
            here = self._here(str(ancestor), transcript, forked=ancestor == fork_parent)
            if here not in (None, ancestor):
                found[str(ancestor)] = str(here)
        return found

    def _here(self, ancestor: str, transcript: Outline, *, forked: bool) -> str | None:
        """The local session that an ancestor stands under, as plan or sidecar tell; else None."""
        done = self._done.get(ancestor)
        if done is None or done.action is Action.REFUSE or done.transcript is None:
            return self.local.standing_for(ancestor, transcript) if forked else None
        inherited = common_entries(transcript.chain, done.transcript.chain)
        kept_here = done.decision.relation is Relation.DIVERGED
        if forked and kept_here and inherited <= done.decision.common_entries:
            return ancestor
        return _local_id(done)


def _local_id(plan: SessionPlan) -> str | None:
    return plan.target.session_id if plan.target else plan.decision.local_session_id


def _derived_id(kind: str, transcript: Outline, common: int, number: int = 0) -> str:
    """An id that the same line gets again, from its origin and the entry that sets it apart.

    ``number`` tells apart ids that would else be the same.
    """
    chain = transcript.chain
    apart = chain.link(common + 1) if len(chain) > common else ""
    seed = f"{kind} {origin_id(transcript.meta)} {apart}"
    return str(uuid.uuid5(NAMESPACE, f"{seed} {number}" if number else seed))


def _branch_name(plan: SessionPlan, package: Package) -> str:
    """A name that tells what the branch is of and where it comes from."""
    title = plan.session.name or (plan.session.row or {}).get("title")
    if not title and plan.transcript is not None:
        title = plan.transcript.facts.first_user_message
    words = " ".join(str(title or plan.session.session_id[:8]).split())
    return f"{words[:80]} (from {package.tree.source.name})"


def _prerequisite_missing(tail: Tail) -> SessionError:
    base = tail.base
    what = "first entry" if base.entries == 1 else f"first {base.entries} entries"
    return SessionError(
        "prerequisite_missing",
        f"the package has only what follows its {what} (link {base.head[:12]}), and no session "
        f"of this home has them in {tail.outline.mode} form",
        hint="sync the packages that came before, or have it packed again: whole, or by `pack "
        "--have` with "
        "what `codex-session-sync have -o have.json` writes here",
        session_id=tail.outline.session_id,
    )


def _refused(
    session: PackagedSession, error: SessionError, known: Outline | Tail | None
) -> SessionPlan:
    """``known``: what is known of the session although it is refused."""
    told = known.outline if isinstance(known, Tail) else known
    entries = len(told.chain) if told else 0
    if isinstance(known, Tail):
        entries += known.base.entries
    decision = Decision(Classification.NEW_LINEAGE, Relation.NONE, None, entries, None, 0)
    return SessionPlan(
        session, decision, Action.REFUSE, error.code, told, error.message, error.hint
    )


def _chosen(package: Package, only: Collection[str]) -> list[PackagedSession]:
    known = {session.session_id: session for session in package.sessions}

    def title(session_id: str) -> str | None:
        session = known[session_id]
        return session.name or str((session.row or {}).get("title") or "")

    wanted = {match_id(given, known, title, unknown=NAME_ONE) for given in only}
    return [s for s in package.sessions if not only or s.session_id in wanted]
