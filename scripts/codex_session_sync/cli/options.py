"""Options and steps that several commands share."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from ..codex.home import CodexHome, locate_home, open_home
from ..codex.rollout import parse_time
from ..errors import HomeError, UsageError
from ..model import Json, Notice
from ..package.members import parse_limits
from ..package.reader import open_package
from ..package.sessions import Package
from ..places.rules import Rules
from ..planned import Plan, SessionOutcome
from ..report import brief
from ..report.envelope import Each, Problem, Report
from ..report.progress import reading_progress
from ..settling import applied
from ..skills.installing import SkillOutcome
from .calling import remember

MOST_SECONDS = 1e9

if TYPE_CHECKING:
    from .completing import Completer

Decorated = Callable[..., Any]


def completing(what: str) -> Completer:
    """A function of the module ``completing``, which is imported when a shell asks."""

    def complete(
        context: click.Context, parameter: click.Parameter, typed: str
    ) -> list[CompletionItem]:
        from . import completing

        found: Completer = getattr(completing, what)
        return found(context, parameter, typed)

    return complete


def common(function: Decorated) -> Decorated:
    """``--codex-home`` and ``--json``, which every command takes."""
    function = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(
        function
    )
    return click.option(
        "--codex-home",
        metavar="DIR",
        callback=remember,
        shell_complete=completing("folders"),
        help="The Codex home. Default: $CODEX_HOME, else ~/.codex.",
    )(function)


def store_option(function: Decorated) -> Decorated:
    """``--store``, which every command takes that works on a store."""
    return click.option(
        "--store",
        metavar="DIR",
        shell_complete=completing("folders"),
        help="The store. Default: $CODEX_SESSION_SYNC_STORE, else one in the user's data folder.",
    )(function)


def repo_option(function: Decorated) -> Decorated:
    """``--repo``, which the commands about checkpoints take."""
    return click.option(
        "--repo",
        metavar="DIR",
        type=click.Path(path_type=Path),
        shell_complete=completing("folders"),
        help="The repository, or a folder in it. Default: the one of the current folder.",
    )(function)


def moment(_: click.Context, __: click.Parameter, value: str | None) -> datetime | None:
    """The moment that an ISO 8601 text names; UTC where it names no zone."""
    found = parse_time(value)
    if value is not None and found is None:
        what = f"{value!r} is no date or time such as 2026-03-02 or 2026-03-02T09:00Z"
        raise click.BadParameter(what)
    return found


class Seconds(click.FloatRange):
    """A span of time that a clock can count: no nan, nothing endless."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number of seconds."""
        found: float = super().convert(value, param, ctx)
        if not found <= MOST_SECONDS:
            self.fail(f"{value} is no number of seconds that can be waited for", param, ctx)
        return found


def execute_option(function: Decorated) -> Decorated:
    """``--execute``, without which no command writes to a home."""
    return click.option(
        "--execute", "do_it", is_flag=True, help="Do it. Without this, only say what would be done."
    )(function)


def package_argument(function: Decorated) -> Decorated:
    """``PKG``: a package of any kind; ``--limit``, which guards its reading; ``--identity``."""
    return _package(function, required=True)


def optional_package(function: Decorated) -> Decorated:
    """``PKG`` and its options, where a command has work without a package too."""
    return _package(function, required=False)


def _package(function: Decorated, *, required: bool) -> Decorated:
    function = click.option(
        "--identity",
        "identities",
        multiple=True,
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="A private key of age or SSH that opens an encrypted package; may be repeated.",
    )(function)
    function = click.option(
        "--limit",
        "limits",
        multiple=True,
        metavar="NAME=N",
        shell_complete=completing("limits"),
        help="Raise or lower a limit on what a package may hold (files, total_bytes, …); may be "
        "repeated.",
    )(function)
    return click.argument(
        "pkg", type=click.Path(path_type=Path), required=required, callback=remember
    )(function)


@contextmanager
def opened(pkg: Path, limits: Sequence[str], identities: Sequence[Path]) -> Iterator[Package]:
    """The package that was named, with progress while it is unpacked.

    Raises PackageError, UsageError.
    """
    with ExitStack() as stack:
        with reading_progress("unpacking") as progress:
            package = stack.enter_context(
                open_package(pkg, parse_limits(limits), identities, progress)
            )
        yield package


def sessions_option(told: str, completes: str = "sessions") -> Callable[[Decorated], Decorated]:
    """``--session``: limits a command to some sessions; ``told`` is its help."""

    def decorate(function: Decorated) -> Decorated:
        return click.option(
            "--session",
            "sessions",
            multiple=True,
            metavar="ID",
            shell_complete=completing(completes),
            help=told,
        )(function)

    return decorate


session_option = sessions_option("Only this session of the package; may be repeated.", "packaged")


def choice_options(function: Decorated) -> Decorated:
    """``--on-diverged`` and ``--on-collision``: what to do where there is a choice."""
    function = click.option(
        "--on-collision",
        type=click.Choice(["refuse", "import-as-new"]),
        default="refuse",
        show_default=True,
        help="What to do with a session whose id another, unrelated one has here.",
    )(function)
    return click.option(
        "--on-diverged",
        type=click.Choice(["branch", "refuse"]),
        default="branch",
        show_default=True,
        help="What to do with a session that went another way than the local one.",
    )(function)


def diff_skills_option(function: Decorated) -> Decorated:
    """``--diff-skills``: how skills of the package differ from those of the home."""
    return click.option(
        "--diff-skills",
        is_flag=True,
        help="Print how skills of the package differ from those of the home.",
    )(function)


def brevity_options(function: Decorated) -> Decorated:
    """``--summary`` and ``--only-changes``: the report that the command returns, made shorter."""

    @functools.wraps(function)
    def shortened(*args: Any, summary: bool, changes: bool, **options: Any) -> Report:
        if summary and options.get("shown"):
            raise UsageError(
                "usage",
                "--summary leaves out what --diff shows",
                hint="leave one out: `codex-session-sync sync PKG --summary`, or --diff ID",
            )
        report: Report = function(*args, **options)
        if summary:
            return brief.summary(report)
        return brief.only_changes(report) if changes else report

    decorated = click.option(
        "--only-changes",
        "changes",
        is_flag=True,
        help="Leave out the sessions that there is nothing to do for.",
    )(shortened)
    return click.option(
        "--summary",
        is_flag=True,
        help="Tell numbers, totals and a few sessions in place of all of them.",
    )(decorated)


def home_of(codex_home: str | None) -> CodexHome:
    """The home that a command works on. Raises HomeError."""
    try:
        home = open_home(locate_home(codex_home, os.environ), os.environ)
        os.fspath(home.path).encode()
    except RuntimeError as error:
        raise HomeError(
            "home_missing",
            f"there is no Codex home: {error}",
            hint="name it as a whole path: `codex-session-sync AGAIN --codex-home DIR`",
        ) from error
    except UnicodeEncodeError as error:
        raise HomeError(
            "home_unreadable",
            "the path of the Codex home is not UTF-8 text, and Codex would record another one",
            hint="move it to one that is, then name that with --codex-home DIR",
        ) from error
    return home


def transcript_bytes(home: CodexHome) -> int:
    """The size of all transcripts of the home, as they lie there."""
    rollouts = home.rollouts()
    return sum(file.size for thread in rollouts.threads() for file in rollouts.files(thread))


def plan_notices(plan: Plan) -> tuple[Notice, ...]:
    """All warnings of a plan: the package's, and each session's."""
    return (*plan.notices, *(n for session in plan.sessions for n in session.notices))


def plan_problems(plan: Plan) -> tuple[Problem, ...]:
    """Why sessions are refused, as far as the plan knows."""
    return tuple(
        Problem(s.reason, s.message, s.hint, s.session.session_id)
        for s in plan.sessions
        if s.reason is not None and s.message is not None
    )


def outcome_problems(outcomes: tuple[SessionOutcome, ...]) -> tuple[Problem, ...]:
    """Why sessions were refused or failed."""
    return tuple(
        Problem(o.code, o.message or "", o.hint, o.plan.session.session_id)
        for o in outcomes
        if o.code is not None
    )


def skill_problems(outcomes: Iterable[SkillOutcome]) -> tuple[Problem, ...]:
    """Why skills were refused or failed, as far as it is to be told."""
    return tuple(
        Problem(o.code, o.message or "", o.hint)
        for o in outcomes
        if o.code is not None and not (o.plan.writes and o.code == "interrupted")
    )


def package_data(
    plan: Plan, sessions: Each, counts: Json, rules: Rules, skills: list[Json]
) -> Json:
    """The ``data`` of inspect-package and sync."""
    return {
        "package": plan.package,
        "sessions": sessions,
        "counts": counts,
        "rules": applied(plan, rules),
        "skills": skills,
    }
