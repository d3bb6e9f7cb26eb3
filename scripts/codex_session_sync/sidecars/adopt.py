"""Taking sessions under lineage tracking that came by other means, or were made here.

A mapping is written for each, and nothing else: the next package finds it as if a sync had brought
the session. First a plan, as a value; then its execution as one transaction.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from ..codex.home import CodexHome
from ..codex.rollout import parse_time
from ..errors import SessionError
from ..following import ADOPTED_HOME, UNKNOWN_HOME
from ..identify import match_id
from ..journal.log import Journal
from ..lineage.classify import CLASS_OF, relate
from ..lineage.differences import MOMENT, packaged_metadata
from ..lineage.fingerprint import common_entries, lineage_id
from ..lineage.sidecar import Mapping as SessionMapping
from ..lineage.sidecar import Mappings, Pair, fingerprint
from ..local import LocalSessions
from ..localize import origin_id
from ..model import Json, Notice, Outline, Transcript
from ..moments import now
from ..package.sessions import Package
from ..plan import make_plan
from ..planned import Relation, SessionPlan
from ..rollback.standing import Obstacle
from ..verdict import Choices
from .documents import Sidecar, SidecarChange, change_of, read_sidecar_of
from .first_import import Installed, installed_sessions
from .rewriting import Failures, rewrite

Progress = Callable[[int], None]
AdoptAction = Literal["adopt", "skip", "refuse"]

LINKED = (Relation.EQUAL, Relation.INCOMING_AHEAD, Relation.LOCAL_AHEAD)
"""How the entries of two sessions must relate for one to stand for the other."""

LEFT_ALONE = ("mapped_already", "not_here")
"""Why there is nothing to do for a session."""


@dataclass(frozen=True, slots=True)
class Adoption:
    """What is done with one session, or why not.

    ``mapping`` lacks its transaction yet; it is None where there is nothing to link.
    """

    origin_id: str
    local_id: str | None
    relation: Relation
    entries: Json
    name: str | None
    title: str | None
    lineage: str | None = None
    mapping: SessionMapping | None = None
    obstacle: Obstacle | None = None

    @property
    def action(self) -> AdoptAction:
        """In a word."""
        if self.obstacle is None:
            return "adopt"
        return "skip" if self.obstacle.code in LEFT_ALONE else "refuse"

    def to_json(self) -> Json:
        """The session as reports show it."""
        return {
            "session_id": self.origin_id,
            "local_session_id": self.local_id,
            "classification": CLASS_OF[self.relation],
            "relation": self.relation,
            "action": self.action,
            "reason": self.obstacle and self.obstacle.code,
            "entries": self.entries,
            "name": self.name,
            "title": self.title,
        }


@dataclass(frozen=True, slots=True)
class AdoptionPlan:
    """The whole of an adoption, as a value."""

    sessions: tuple[Adoption, ...]
    sidecars: Mapping[str, Sidecar]
    notices: tuple[Notice, ...] = ()

    @property
    def adopted(self) -> list[Adoption]:
        """The sessions that get a mapping."""
        return [one for one in self.sessions if one.obstacle is None]


@dataclass(frozen=True, slots=True)
class Adopted:
    """What an executed plan came to; ``transaction_id`` None where there was nothing to write."""

    transaction_id: str | None
    failures: Failures = field(default_factory=dict)


def plan_local(
    home: CodexHome,
    *,
    only: Collection[str] = (),
    every: bool = False,
    progress: Progress | None = None,
) -> AdoptionPlan:
    """Sessions of the home as they are: ``only`` some, ``every`` one, or what the first-import tool
    brought. Raises UsageError ``session_unknown`` or ``session_ambiguous``, HomeError.
    """
    adopting = _Adopting(home)
    here = list(adopting.local.rollouts.threads())
    chosen = [match_id(given, here, adopting.local.title) for given in only]
    if not only:
        chosen = here if every else [i for i in here if i in adopting.installed]
    found = []
    for session_id in dict.fromkeys(chosen):
        found.append(adopting.as_it_is(session_id))
        tip = adopting.local.tip(session_id)
        if progress and tip is not None:
            progress(tip.size)
    return AdoptionPlan(tuple(found), adopting.sidecars)


def plan_packaged(
    package: Package,
    home: CodexHome,
    *,
    only: Collection[str] = (),
    progress: Progress | None = None,
) -> AdoptionPlan:
    """The sessions of a package that local ones stand for, by their conversation.

    Raises as ``plan.make_plan`` does.
    """
    plan = make_plan(
        package, home, only=only, choices=Choices(on_diverged="refuse"), progress=progress
    )
    adopting = _Adopting(home)
    source = package.source_home or UNKNOWN_HOME
    found = tuple(adopting.packaged(one, source) for one in plan.sessions)
    told = (*plan.notices, *(n for session in plan.sessions for n in session.notices))
    return AdoptionPlan(found, adopting.sidecars, told)


def execute(plan: AdoptionPlan, home: CodexHome) -> Adopted:
    """Write the mappings; the caller holds the home's lock and made the plan under it.

    Raises HomeError, InterruptedTransactionError; then nothing was written.
    """
    transaction_id = Journal(home.sync_dir).new_id()
    changes = list(_changes(plan, transaction_id))
    about: dict[str, Json] = {}
    for one in plan.adopted:
        told = one.to_json()
        keys = ("classification", "relation", "entries", "name")
        about[str(one.local_id)] = {key: told[key] for key in keys}
    done = rewrite(home, "adopt", changes, about, transaction_id=transaction_id)
    return Adopted(done.transaction_id, done.failures)


def _changes(plan: AdoptionPlan, transaction_id: str) -> Iterator[SidecarChange]:
    added: dict[str, Mappings] = {}
    for one in plan.adopted:
        assert one.mapping is not None
        assert one.lineage is not None
        pair = (one.mapping.origin_session_id, one.mapping.local_session_id)
        mapping = replace(one.mapping, transaction_id=transaction_id)
        added.setdefault(one.lineage, {})[pair] = mapping.to_json()
    for lineage, mappings in added.items():
        sidecar = plan.sidecars[lineage]
        wanted = {**sidecar.mappings, **mappings}
        change = change_of(sidecar, wanted, dict.fromkeys(mappings, "adopted"))
        if change is not None:
            yield change


class _Adopting:
    """Decides session by session; reads the home as far as that needs it."""

    def __init__(self, home: CodexHome) -> None:
        self.local = LocalSessions(home)
        self.installed: Mapping[str, Installed] = installed_sessions(home.path)
        self.sidecars: dict[str, Sidecar] = {}
        self._home = home
        self._moment = now()

    def as_it_is(self, session_id: str) -> Adoption:
        """A local session, which stands for itself or for what its note says."""
        metadata = self.local.metadata(session_id)
        try:
            transcript = self.local.read(session_id)
        except SessionError as error:
            obstacle = Obstacle(error.code, error.message, error.hint)
            return _unread(session_id, metadata["name"], 0, obstacle)
        found = self._linked(
            origin_id(transcript.meta),
            transcript,
            transcript,
            {ADOPTED_HOME: self._base(transcript, metadata)},
        )
        return self._unless_mapped(found, lambda pair: pair[1] == session_id)

    def packaged(self, plan: SessionPlan, source: str) -> Adoption:
        """A session of a package, linked with the local one that the plan found for it."""
        session, incoming = plan.session, plan.transcript
        local_id = plan.decision.local_session_id
        if plan.decision.relation is Relation.NONE or incoming is None or local_id is None:
            obstacle = _NOT_HERE
            if plan.reason is not None:
                obstacle = Obstacle(plan.reason, plan.message or "", plan.hint)
            entries = plan.decision.incoming_entries
            return _unread(session.session_id, session.name, entries, obstacle)
        local = self.local.transcript(local_id)
        base = _moment(incoming) | packaged_metadata(session)
        if base.get("name") is not None and self.local.metadata(local_id)["name"] is None:
            # The copy lost the name on its way; as a name that came after it, it follows.
            base["name"] = None
        found = self._linked(session.session_id, incoming, local, {source: base})
        found = replace(found, name=session.name)
        if plan.decision.relation not in LINKED:
            found = replace(found, relation=plan.decision.relation)
        if found.relation not in LINKED:
            return replace(found, mapping=None, obstacle=_parted(plan))
        pair = (session.session_id, local_id)
        return self._unless_mapped(found, lambda known: known == pair)

    def _linked(
        self, origin: str, incoming: Outline, local: Transcript, metadata: Json
    ) -> Adoption:
        common = common_entries(incoming.chain, local.chain)
        size = incoming.size if isinstance(incoming, Transcript) else 0
        name = self.local.metadata(local.session_id)["name"]
        words = name or incoming.facts.first_user_message
        return Adoption(
            origin,
            local.session_id,
            relate(len(incoming.chain), len(local.chain), common),
            {"incoming": len(incoming.chain), "local": len(local.chain), "common": common},
            name,
            textwrap.shorten(words, 120, placeholder="…") if words else None,
            lineage_id(incoming.chain, origin),
            SessionMapping(
                origin,
                local.session_id,
                fingerprint(incoming.chain, size),
                fingerprint(local.chain, local.size),
                metadata,
                "",
                self._moment,
            ),
        )

    def _base(self, transcript: Transcript, metadata: Json) -> Json:
        """What the source had when the session came, as far as that can be told.

        The first-import tool brings no names, and tells by the place whether a session came
        archived; of others it is taken that nothing was changed here since. What a package says
        counts if it is of a time after the last record.
        """
        base = {k: v for k, v in metadata.items() if v is None or isinstance(v, str | bool)}
        installed = self.installed.get(transcript.session_id)
        if installed is not None:
            base |= {"name": None, "archived": installed.archived}
        return base | _moment(transcript)

    def _unless_mapped(self, found: Adoption, is_known: Callable[[Pair], bool]) -> Adoption:
        """The adoption, unless the sidecar has such a mapping or cannot be read."""
        assert found.lineage is not None
        if found.lineage not in self.sidecars:
            self.sidecars[found.lineage] = read_sidecar_of(self._home, found.lineage)
        sidecar = self.sidecars[found.lineage]
        if sidecar.damage is not None:
            obstacle = Obstacle(
                "sidecar_invalid",
                sidecar.damage,
                "`codex-session-sync rebuild-sidecar --execute` mends it; then run "
                "`codex-session-sync AGAIN`",
            )
            return replace(found, mapping=None, obstacle=obstacle)
        if any(is_known(pair) for pair in sidecar.mappings):
            return replace(found, mapping=None, obstacle=_MAPPED)
        return found


_MAPPED = Obstacle("mapped_already", "a sidecar tells of it")
_NOT_HERE = Obstacle(
    "not_here",
    "no local session is the same",
    "`codex-session-sync sync PKG --session ID` brings it in",
)


def _moment(transcript: Outline) -> Json:
    """The time of the last record, as METADATA has it: a package of a later state is newer."""
    moment = parse_time(transcript.facts.last_timestamp)
    return {} if moment is None else {MOMENT: int(moment.timestamp() * 1000)}


def _unread(session_id: str, name: str | None, entries: int, obstacle: Obstacle) -> Adoption:
    """What is told of a session that was compared with none."""
    counts = {"incoming": entries, "local": None, "common": 0}
    return Adoption(session_id, None, Relation.NONE, counts, name, name, obstacle=obstacle)


def _parted(plan: SessionPlan) -> Obstacle:
    """Why a session is not linked with the local one that it met."""
    if plan.decision.relation is Relation.UNRELATED:
        return Obstacle(
            "id_collision",
            plan.message or "",
            "nothing is linked; `codex-session-sync sync PKG --session ID --on-collision "
            "import-as-new` "
            "imports it under a new id",
        )
    return Obstacle(
        "diverged",
        plan.message or "it and the local session went separate ways",
        "`codex-session-sync sync PKG --session ID` makes it a branch beside the local one, with a "
        "mapping of its own",
    )
