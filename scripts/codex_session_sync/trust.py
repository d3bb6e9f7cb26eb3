"""What a package would have its sessions do beside the conversation, told before it is written."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import orjson

from .claims import (
    INSTRUCTIONS,
    LONGEST,
    MORE,
    MOST,
    TOOLS,
    base_instructions,
    described_text,
    described_tools,
)
from .codex.home import CodexHome
from .codex.instructions import KNOWN
from .codex.inventory import read_head
from .codex.rollout import EVENT, META, TURN_CONTEXT
from .errors import SessionError
from .model import Json, Notice, Transcript
from .planned import RESULT_OF, Action, Plan, SessionPlan, brings_metadata_only
from .policy import MEANING, Policy

SHOWN = 12
"""The first characters of a digest that messages show."""


def judged(plan: Plan, home: CodexHome, policy: Policy) -> Plan:
    """The plan with what ``policy`` takes away of its sessions, and warnings of what it keeps.

    Of sessions whose transcripts have not been read nothing is told. Reads the heads of the home's
    sessions if the package brings instructions or tools that Codex itself does not have.
    """
    spoken = _Spoken()
    sessions = tuple(_judged(one, policy, spoken) for one in plan.sessions)
    notices = spoken.notices(home)
    return replace(plan, sessions=sessions, notices=(*plan.notices, *notices))


def _judged(plan: SessionPlan, policy: Policy, spoken: _Spoken) -> SessionPlan:
    transcript = plan.transcript
    if plan.action not in RESULT_OF or not isinstance(transcript, Transcript):
        return plan
    if brings_metadata_only(plan):
        return plan
    said = list(_said(plan, transcript))
    spoken.note(plan, transcript, said)
    removed = taken_away(said, replace(policy, trusted=False))
    cwd = plan.cwd or transcript.facts.last_cwd
    notices = list(plan.notices)
    if policy.trusted and removed:
        kept = ", ".join(MEANING[kind] for kind in removed)
        what = f"kept as packaged, so that it acts here without being asked: {kept}"
        notices.append(Notice("package_trusted", what, plan.session.session_id))
    elif plan.action is not Action.FAST_FORWARD and policy.roots.too_wide(cwd):
        what = (
            f"its directory is {cwd}, which no package may open to writing: nothing is writable "
            "there unasked (Codex before 0.155 goes by the directory alone)"
        )
        notices.append(Notice("directory_wide", what, plan.session.session_id))
    return replace(plan, notices=tuple(notices), removed=() if policy.trusted else removed)


def _said(plan: SessionPlan, transcript: Transcript) -> Iterator[Json]:
    """What the records say that are to be written, as small records (see claims)."""
    start = -1
    if plan.action is Action.FAST_FORWARD:
        common = plan.decision.common_entries
        start = transcript.ends[common - 1] if common else 0
    else:
        cwd = transcript.facts.last_cwd
        yield {"type": META, "payload": {**transcript.meta, **({"cwd": cwd} if cwd else {})}}
    for text, end in transcript.claims.items():
        if end > start:
            yield orjson.loads(text)


def taken_away(said: Iterable[Json], policy: Policy) -> tuple[str, ...]:
    """What a policy takes away of small records, in order of the alphabet."""
    removed: set[str] = set()
    rules = {META: policy.meta, TURN_CONTEXT: policy.turn_context, EVENT: policy.settings}
    for one in said:
        if one["type"] in rules:
            rules[one["type"]](one["payload"], removed)
    return tuple(sorted(removed))


@dataclass(slots=True)
class _Spoken:
    """Instructions and tools of a package's sessions, each with the sessions that bring it."""

    instructions: dict[str, Json] = field(default_factory=dict)
    tools: dict[str, Json] = field(default_factory=dict)
    by: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    known: dict[str, Json] = field(default_factory=dict)
    """What is told of texts that several sessions bring."""
    many: list[str] = field(default_factory=list)

    def note(self, plan: SessionPlan, transcript: Transcript, said: Iterable[Json]) -> None:
        """Take in what a session brings."""
        session_id = plan.session.session_id
        if plan.action is not Action.FAST_FORWARD:
            text = base_instructions(transcript.meta)
            self._add(self.instructions, self._described(text) if text else None, session_id)
            tools = described_tools(transcript.meta.get("dynamic_tools"))
            self._add(self.tools, tools, session_id)
            if tools is None and plan.session.dynamic_tools:
                rows = [dict(row) for row in plan.session.dynamic_tools]
                self._add(self.tools, described_tools(rows), session_id)
        for one in said:
            if one["type"] == INSTRUCTIONS:
                self._add(self.instructions, one["payload"], session_id)
            elif one["type"] == TOOLS:
                self._add(self.tools, one["payload"], session_id)
            elif one["type"] == MORE:
                self.many.append(session_id)

    def _described(self, text: str) -> Json:
        if text not in self.known:
            self.known[text] = described_text(text)
        return self.known[text]

    def _add(self, found: dict[str, Json], described: Json | None, session_id: str) -> None:
        if described is not None:
            digest = described["sha256"]
            found[digest] = described
            # What a session brings is taken in before the next one.
            if self.by[digest][-1:] != [session_id]:
                self.by[digest].append(session_id)

    def notices(self, home: CodexHome) -> Iterator[Notice]:
        """A warning for each text or set of tools that no session of the home has."""
        unknown = {*self.instructions, *self.tools} - KNOWN
        for digest in _not_here(home, unknown):
            sessions = self.by[digest]
            one = sessions[0] if len(sessions) == 1 else None
            text = self.instructions.get(digest)
            if text is not None:
                what = (
                    f"{_who(sessions)} instructions to the model that no session of this home has "
                    f"({text['length']} characters, sha256 {digest[:SHOWN]}): “{text['words']}”"
                )
                yield Notice("instructions_unusual", what, one)
            else:
                names = ", ".join(self.tools[digest]["names"]) or "without names"
                what = f"{_who(sessions)} tools to the model, sha256 {digest[:SHOWN]}: {names}"
                yield Notice("tools_offered", what, one)
        for session_id in self.many:
            what = (
                f"its settings are of more than {MOST} kinds, or longer than {LONGEST} bytes: not "
                "all of them were looked at"
            )
            yield Notice("instructions_unusual", what, session_id)


def _who(sessions: list[str]) -> str:
    return "it brings" if len(sessions) == 1 else f"{len(sessions)} sessions bring"


def _not_here(home: CodexHome, digests: set[str]) -> list[str]:
    """Those of the digests that are not of a session of the home, in order."""
    left = set(digests)
    if not left:
        return []
    rollouts = home.rollouts()
    for thread in rollouts.threads():
        tip = rollouts.tip(thread)
        if tip is None:
            continue
        try:
            meta: Mapping[str, object] = read_head(tip)["payload"]
        except (SessionError, OSError):
            continue
        left -= set(_digests(dict(meta)))
        if not left:
            break
    return sorted(left)


def _digests(meta: Json) -> Iterator[str]:
    text = base_instructions(meta)
    if text is not None:
        yield hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    tools = described_tools(meta.get("dynamic_tools"))
    if tools is not None:
        yield tools["sha256"]
