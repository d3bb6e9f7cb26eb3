"""The main job: a plan executed as one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .apply import Writer
from .codex import goals
from .codex.capability import UNKNOWN, Readable, last_migration
from .codex.client import prime
from .codex.fitting import require_fitting
from .codex.home import CodexHome
from .codex.state_db import open_for_reading, open_for_writing
from .commit import transaction
from .errors import HomeError
from .following import UNKNOWN_HOME
from .journal.log import Journal
from .model import Json, Notice, Outline, Transcript
from .planned import (
    NEW_HERE,
    RESULT_OF,
    RESULT_OF_SKILL,
    Action,
    Counterpart,
    Plan,
    Result,
    SessionOutcome,
    SessionPlan,
    brings_metadata_only,
)
from .recovery import require_none_interrupted
from .skills.comparing import SkillPlan, journaled
from .skills.installing import Installer, SkillOutcome, in_order
from .terms import Terms

Progress = Callable[[int], None]

JOURNALED = (
    "session_id",
    "local_session_id",
    "classification",
    "relation",
    "action",
    "reason",
    "name",
    "entries",
    "removed",
)
"""What the journal keeps of a session's report."""


@dataclass(frozen=True, slots=True)
class Execution:
    """What an executed plan came to; ``transaction_id`` None where there was nothing to write."""

    transaction_id: str | None
    outcomes: tuple[SessionOutcome, ...]
    notices: tuple[Notice, ...]
    skills: tuple[SkillOutcome, ...] = ()


def execute(
    plan: Plan,
    home: CodexHome,
    terms: Terms,
    *,
    codex: Path | None,
    environ: Mapping[str, str],
    progress: Progress | None = None,
    request: Json | None = None,
) -> Execution:
    """Apply ``plan``; the caller holds the home's lock and made the plan under it.

    ``codex`` is started once if the home has no database yet; None: it is not. ``request`` is what
    the journal says of another program that asked for it. Raises HomeError,
    InterruptedTransactionError; then nothing was written.
    """
    journal = Journal(home.sync_dir)
    require_none_interrupted(journal)
    if is_idle(plan, terms.skills):
        return not_executed(plan, terms.skills)
    # Entries first: metadata may be of a session that another one of the package extends.
    writing = sorted(plan.with_action(*RESULT_OF), key=brings_metadata_only)
    notices = _ensure_database(home, codex, environ) if writing else ()
    beside, unkept = _goals(home, writing)
    skills = terms.skills
    installed: list[SkillOutcome] = []
    more: Any = {"skills": [journaled(skill, None) for skill in skills]} if skills else {}
    if request is not None:
        more["request"] = request
    with open_for_writing(home.state_db, beside) as database:
        if database is not None:
            database.require_writable()
            require_fitting(database, [p.session.row or {} for p in plan.with_action(*NEW_HERE)])
        outcomes: dict[str, SessionOutcome] = {}
        with transaction(
            home,
            "sync",
            [_journaled(session_json(s), None) for s in plan.sessions],
            lambda: _ending(_in_order(plan, outcomes), in_order(skills, installed)),
            package={**plan.package, "source": _utf8(plan.package["source"])},
            source_home=plan.source_home or UNKNOWN_HOME,
            rules=terms.rules.document(),
            **more,
        ) as log:
            try:
                writer = Writer(home, log, database, terms, progress)
                with closing(writer.run(writing)) as written:
                    for outcome in written:
                        outcomes[outcome.plan.session.session_id] = outcome
                installed += Installer(home, log).run(skills)
            finally:
                if skills:
                    log.manifest["skills"] = [s.journaled() for s in in_order(skills, installed)]
    found = tuple(in_order(skills, installed))
    notices = (*notices, *unkept)
    return Execution(log.transaction_id, _in_order(plan, outcomes), notices, found)


def is_idle(plan: Plan, skills: Sequence[SkillPlan] = ()) -> bool:
    """Whether the plan, and that for skills, write nothing."""
    return not plan.with_action(*RESULT_OF) and not any(skill.writes for skill in skills)


def not_executed(plan: Plan, skills: Sequence[SkillPlan] = ()) -> Execution:
    """What comes of a plan that writes nothing."""
    return Execution(None, _in_order(plan, {}), (), tuple(in_order(skills, ())))


def session_json(
    plan: SessionPlan, outcome: SessionOutcome | None = None, reads: Readable = UNKNOWN
) -> Json:
    """One session as reports and the journal show it; ``result`` only after execution."""
    decision = plan.decision
    document: Json = {
        "session_id": plan.session.session_id,
        "local_session_id": _local_id(plan),
        "classification": decision.classification,
        "relation": decision.relation,
        "action": plan.action,
        "reason": plan.reason,
        "entries": {
            "incoming": decision.incoming_entries,
            "local": decision.local_entries,
            "common": decision.common_entries,
        },
        "name": plan.session.name,
        "title": _title(plan),
        "archived": plan.session.archived,
    }
    if plan.transcript is not None:
        document |= _described(plan.transcript)
        document["local_cwd"] = plan.cwd
    if plan.action in RESULT_OF and plan.transcript is not None:
        document["brings"] = _brought(plan, plan.transcript)
    if plan.target is not None and plan.target.branch_of:
        document["branch_of"] = plan.target.branch_of
    if plan.target is not None and plan.target.metadata:
        document["follows"] = plan.target.metadata
    if plan.differs:
        document["differs"] = plan.differs
    if plan.counterpart is not None:
        document["local"] = _counterpart(plan.counterpart)
    if reads.legacy_only and _is_converted(plan):
        document["written_as"] = "legacy"
    if outcome is not None:
        document["result"] = outcome.result
    removed = plan.removed if outcome is None else outcome.removed
    if removed:
        document["removed"] = list(removed)
    return document


def _brought(plan: SessionPlan, transcript: Outline) -> Json:
    """How much comes into the home: entries, turns and bytes of records.

    Where the records were not read, all bytes of a session that goes on are counted.
    """
    local = plan.target.local if plan.target else None
    size = transcript.size if isinstance(transcript, Transcript) else plan.session.size
    if plan.action is not Action.FAST_FORWARD or local is None:
        return {"entries": len(transcript.chain), "turns": transcript.facts.turns, "bytes": size}
    common = plan.decision.common_entries
    entries = len(transcript.chain) - common
    if entries == 0:
        return {"entries": 0, "turns": 0, "bytes": 0}
    if isinstance(transcript, Transcript) and common:
        size -= transcript.ends[common - 1]
    turns = max(transcript.facts.turns - local.facts.turns, 0)
    return {"entries": entries, "turns": turns, "bytes": size}


def _is_converted(plan: SessionPlan) -> bool:
    """Whether the plan writes a paginated session whole."""
    transcript = plan.transcript
    return plan.action in NEW_HERE and transcript is not None and transcript.mode == "paginated"


def reading_notices(plan: Plan, reads: Readable) -> tuple[Notice, ...]:
    """About sessions that go on in a form that the Codex of this home does not read.

    A local file is never put into another form: it is continued as it is.
    """
    if not reads.legacy_only:
        return ()
    return tuple(
        Notice(
            "paginated_unreadable",
            "the local session is paginated, and so is what is appended to it; the Codex of this "
            "home does not read such sessions",
            session.session.session_id,
        )
        for session in plan.with_action(Action.FAST_FORWARD)
        if session.target is not None
        and session.target.local is not None
        and session.target.local.mode == "paginated"
    )


def _described(transcript: Outline) -> Json:
    """What tells a person which session it is."""
    facts, meta = transcript.facts, transcript.meta
    return {
        "first_user_message": _shortened(facts.first_user_message),
        "turns": facts.turns,
        "created_at": facts.first_timestamp,
        "updated_at": facts.last_timestamp,
        "cwd": facts.last_cwd,
        **{key: _text(meta.get(key)) for key in ("originator", "cli_version")},
        "history_mode": transcript.mode,
    }


def _counterpart(local: Counterpart) -> Json:
    return {"name": local.name, **_described(local.transcript), "synced_by": local.transaction_id}


def counts(plans: Sequence[SessionPlan], outcomes: Sequence[SessionOutcome] = ()) -> Json:
    """How many sessions there are by classification, by action and by result."""
    found = {
        "classification": Counter(str(one.decision.classification) for one in plans),
        "action": Counter(str(one.action) for one in plans),
        "result": Counter(str(one.result) for one in outcomes),
    }
    return {key: dict(sorted(number.items())) for key, number in found.items() if number}


def _in_order(plan: Plan, done: Mapping[str, SessionOutcome]) -> tuple[SessionOutcome, ...]:
    """An outcome for every session of the plan, in its order."""
    return tuple(done.get(s.session.session_id) or _not_written(s) for s in plan.sessions)


def _not_written(plan: SessionPlan) -> SessionOutcome:
    match plan.action:
        case Action.SKIP:
            return SessionOutcome(plan, Result.SKIPPED, plan.decision.local_session_id)
        case Action.REFUSE:
            return SessionOutcome(plan, Result.REFUSED, None, plan.reason, plan.message, plan.hint)
        case _:
            return SessionOutcome(
                plan,
                Result.FAILED,
                None,
                "interrupted",
                "the run was interrupted before it",
                "run `codex-session-sync AGAIN`",
            )


def _utf8(path: str) -> str:
    """A path as text that JSON can hold, whatever bytes it has."""
    return path.encode("utf-8", "backslashreplace").decode()


def _ending(
    outcomes: Sequence[SessionOutcome], skills: Sequence[SkillOutcome]
) -> tuple[str, list[Json]]:
    results = {*(str(o.result) for o in outcomes), *(skill.result for skill in skills)}
    status = "completed"
    if results & {"failed", "refused"}:
        done = {*map(str, RESULT_OF.values()), *RESULT_OF_SKILL.values()}
        status = "partial" if results & done else "failed"
    return status, [_journaled(session_json(o.plan, o), o.result) for o in outcomes]


def _journaled(session: Json, result: Result | None) -> Json:
    return {k: session[k] for k in JOURNALED if k in session} | {"result": result}


def _ensure_database(
    home: CodexHome, codex: Path | None, environ: Mapping[str, str]
) -> tuple[Notice, ...]:
    """Have Codex make its database if the home has none; check it readable if it has."""
    if home.later_state_db is not None:
        raise HomeError(
            "database_too_new",
            f"the home has {home.later_state_db.name}, which no known release of Codex has",
            hint="nothing was written; update codex-session-sync, or use a home of an older Codex: "
            "`codex-session-sync AGAIN --codex-home DIR`",
        )
    if not home.state_db.exists() and codex is not None:
        try:
            prime(codex, home.path, environ)
        except (HomeError, OSError) as error:
            return (Notice("codex_failed", f"{error}; the sessions are imported without rows"),)
    with open_for_reading(home.state_db) as database:
        if database is None:
            return (_DATABASE_MISSING,)
        if not database.columns("threads"):
            if last_migration(database) is not None:
                require_fitting(database, ())
            raise HomeError(
                "database_unreadable",
                f"{home.state_db} has no threads table",
                hint="start Codex once on this home so that it completes its database, then run "
                "`codex-session-sync AGAIN`",
            )
    return ()


def _goals(
    home: CodexHome, writing: Sequence[SessionPlan]
) -> tuple[Path | None, tuple[Notice, ...]]:
    """The database of goals, if there are any to write, and a warning for each that is not."""
    wanted = {
        plan.target.session_id: plan
        for plan in writing
        if plan.target and plan.target.local is None and plan.session.goal
    }
    given = {i: plan.session.goal for i, plan in wanted.items() if plan.session.goal}
    why = dict.fromkeys(given, f"this home has no {home.state_db.name}")
    if home.state_db.exists():
        why = goals.obstacles(home.goals_db, given) if given else {}
    notices = tuple(
        Notice("goal_not_kept", f"its goal is not imported: {why[i]}", plan.session.session_id)
        for i, plan in wanted.items()
        if i in why
    )
    return home.goals_db if given.keys() - why.keys() else None, notices


_DATABASE_MISSING = Notice(
    "database_missing",
    "the home has no database and Codex was not started to make one: Codex lists the sessions from "
    "its next start on, but without the names of newer sessions, pins and token counts",
)


def _local_id(plan: SessionPlan) -> str | None:
    """The local session that the plan is about: the one it makes, extends or matches."""
    return plan.target.session_id if plan.target else plan.decision.local_session_id


def _title(plan: SessionPlan) -> str | None:
    """What a person knows the session by: its name, else its title, else its first words."""
    row = plan.session.row or {}
    title = plan.session.name or row.get("title")
    if not title and plan.transcript is not None:
        title = plan.transcript.facts.first_user_message
    return _shortened(str(title)) if title else None


def _text(value: object) -> str | None:
    return _shortened(value) if isinstance(value, str) else None


def _shortened(text: str | None, length: int = 120) -> str | None:
    if text is None:
        return None
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"
