"""Where sessions work here, and whether they can: directories and providers.

The last step of a plan: what is written of each session is decided already.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from .codex.thread_row import provider_of
from .local import LocalSessions
from .model import Json, Notice
from .places.adaptation import AS_IT_IS, Adaptation
from .places.directories import Directory
from .places.rules import Rules
from .places.standing import is_here
from .planned import NEW_HERE, Action, Plan, SessionPlan


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What this machine has in the place of what the source had.

    ``providers``: those that are configured here; None: not asked for.
    """

    adaptation: Adaptation = AS_IT_IS
    providers: Collection[str] | None = None


PLAIN = Surroundings()
"""A machine of which nothing is asked."""


def with_places(
    plans: Sequence[SessionPlan], local: LocalSessions, surroundings: Surroundings
) -> tuple[SessionPlan, ...]:
    """The plans with the directory of each session here, and warnings about new ones.

    A session that is here stays where it works. A new one goes where the rules take it; a branch of
    which no rule tells, and whose directory is not here, to the directory of the session that it
    parts from.
    """
    return tuple(_settled(plan, local, surroundings) for plan in plans)


def _settled(plan: SessionPlan, local: LocalSessions, surroundings: Surroundings) -> SessionPlan:
    if plan.transcript is None or plan.action is Action.REFUSE:
        return plan
    if plan.action not in NEW_HERE:
        here = plan.target.session_id if plan.target else plan.decision.local_session_id
        return replace(plan, cwd=_directory(here, local))
    source = plan.transcript.facts.last_cwd
    if source is None:
        return _warned(plan, surroundings)
    cwd = surroundings.adaptation.paths.find(source)
    if cwd is None and plan.target and plan.target.branch_of and not is_here(source):
        cwd = _directory(plan.target.branch_of, local)
    return _warned(replace(plan, cwd=cwd or source), surroundings)


def _directory(session_id: str | None, local: LocalSessions) -> str | None:
    """Where a session of the home works; None for one that is not here yet."""
    if session_id is None or local.tip(session_id) is None:
        return None
    return local.directory(session_id)


def _warned(plan: SessionPlan, surroundings: Surroundings) -> SessionPlan:
    assert plan.transcript is not None
    found = []
    session_id = plan.session.session_id
    if plan.cwd is not None and not is_here(plan.cwd):
        message = f"its directory {plan.cwd} is not on this machine"
        found.append(Notice("cwd_missing", message, session_id))
    provider = surroundings.adaptation.provider(provider_of(plan.transcript, plan.session.row))
    if surroundings.providers is not None and provider not in surroundings.providers:
        known = ", ".join(sorted(surroundings.providers))
        message = (
            f"its provider {provider} is not configured here, so Codex does not resume it; "
            f"configured are {known}"
        )
        found.append(Notice("provider_not_configured", message, session_id))
    return replace(plan, notices=(*plan.notices, *found))


def directories(plan: Plan, adaptation: Adaptation) -> list[Directory]:
    """The directories that sessions of a package work in at their source, in the plan's order."""
    found: dict[str, list[SessionPlan]] = {}
    for one in plan.sessions:
        path = _source(one)
        if path is not None:
            found.setdefault(path, []).append(one)
    return [_directory_of(path, plans, adaptation) for path, plans in found.items()]


def applied(plan: Plan, rules: Rules) -> list[Json]:
    """The rules in force, as a report shows them, and how many new sessions go by each."""
    new = plan.with_action(*NEW_HERE)
    sources = [path for one in new if (path := _source(one)) is not None]
    providers = [
        provider_of(one.transcript, one.session.row) for one in new if one.transcript is not None
    ]
    return rules.report(sources, providers)


def _source(plan: SessionPlan) -> str | None:
    return plan.transcript.facts.last_cwd if plan.transcript is not None else None


def _directory_of(path: str, plans: Sequence[SessionPlan], adaptation: Adaptation) -> Directory:
    local = adaptation.directory(path)
    new = [one for one in plans if one.action in NEW_HERE and one.cwd == local]
    repositories = dict.fromkeys(pair for one in new if (pair := _repository(one)) is not None)
    return Directory(path, len(plans), local, is_here(local), bool(new), tuple(repositories))


def _repository(plan: SessionPlan) -> tuple[str, str | None] | None:
    """URL and commit of the repository that a session worked in, as its row or its head tells."""
    row = plan.session.row or {}
    url, commit = row.get("git_origin_url"), row.get("git_sha")
    if not url and plan.transcript is not None:
        git = plan.transcript.meta.get("git")
        git = git if isinstance(git, dict) else {}
        url, commit = git.get("repository_url"), git.get("commit_hash")
    if not isinstance(url, str) or not url:
        return None
    return url, commit if isinstance(commit, str) and commit else None
