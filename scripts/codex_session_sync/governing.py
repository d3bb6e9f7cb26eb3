"""Which rules of directories and providers govern a package, and what its plan is made in."""

from __future__ import annotations

from .codex.home import CodexHome, configured_providers
from .following import UNKNOWN_HOME
from .journal.recalling import remembered_rules
from .package.sessions import Package
from .places.rules import Rules, rules_of
from .settling import Surroundings


def in_force(given: Rules, package: Package, home: CodexHome) -> Rules:
    """The rules for a package: those given, and those remembered of where it is from."""
    known = remembered_rules(home.sync_dir, package.source_home or UNKNOWN_HOME)
    return given.over(rules_of(known)) if known is not None else given


def surroundings(rules: Rules, home: CodexHome) -> Surroundings:
    """What a plan is made in. Raises HomeError ``config_invalid``."""
    return Surroundings(rules.adaptation, configured_providers(home.path))
