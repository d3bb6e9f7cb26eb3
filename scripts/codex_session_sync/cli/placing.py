"""Options and steps about directories and providers, which inspect-package and sync share."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from ..codex.home import CodexHome
from ..local import LocalSessions
from ..model import Json
from ..places.directories import directories_json
from ..places.evidence import Known, Proposer
from ..places.git import Git, repository_key
from ..places.rules import Rules, given_rules
from ..planned import Plan
from ..settling import directories

Decorated = Callable[..., Any]


def placing_options(function: Decorated) -> Decorated:
    """``--map-path``, ``--user-home`` and ``--map-provider``, passed on as ``given``: the rules."""

    @wraps(function)  # it also has the options that are declared below this one
    def with_rules(
        *arguments: Any,
        map_path: tuple[str, ...],
        user_home: str | None,
        map_provider: tuple[str, ...],
        **options: Any,
    ) -> Any:
        given = given_rules(map_path, user_home, map_provider)
        return function(*arguments, given=given, **options)

    decorated: Decorated = with_rules
    for option in (
        click.option(
            "--map-provider",
            multiple=True,
            metavar="FROM=TO",
            help="A provider of the source, and the one here in its place; may be repeated.",
        ),
        click.option(
            "--user-home",
            metavar="DIR",
            help="What takes the place of all before \\Documents\\ in a Windows path.",
        ),
        click.option(
            "--map-path",
            multiple=True,
            metavar="FROM=TO",
            help="A directory of the source, and the one here in its place; may be repeated.",
        ),
    ):
        decorated = option(decorated)
    return decorated


def directories_data(plan: Plan, rules: Rules, home: CodexHome) -> list[Json]:
    """The directories of a package, with proposals for those that a new session lacks here."""
    found = directories(plan, rules.adaptation)
    missing = [one for one in found if one.wanting]
    return directories_json(found, _proposer(home).propose(missing) if missing else {})


def _proposer(home: CodexHome) -> Proposer:
    known: dict[str, set[str]] = {}
    for cwd, url in LocalSessions(home).workplaces():
        known.setdefault(cwd, set()).update([repository_key(url)] if url else [])
    return Proposer(
        str(Path.home()),
        [Known(cwd, frozenset(remotes)) for cwd, remotes in known.items()],
        Git(os.environ),
    )
