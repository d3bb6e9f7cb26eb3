"""The rules in force for one package: given on the command line, or remembered from before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..errors import UsageError
from ..model import Json
from .adaptation import Adaptation
from .mapping import PathMap, parse_rules
from .paths import Path, parse

Origin = Literal["given", "remembered"]

_HINT = "for example --map-provider corporate=openai"


@dataclass(frozen=True, slots=True)
class Rules:
    """What stands here for directories and providers of one origin.

    ``given`` holds the sources (see ``Path.key``, or a provider's name) of the rules, and
    ``user_home``, that the user gave this time; the others are remembered.
    """

    paths: PathMap = field(default_factory=PathMap)
    providers: Mapping[str, str] = field(default_factory=dict)
    given: frozenset[object] = frozenset()

    @property
    def adaptation(self) -> Adaptation:
        """The rules at work."""
        return Adaptation(self.paths, self.providers)

    def over(self, others: Rules) -> Rules:
        """These rules and, where none of them is for the same thing, others."""
        return Rules(
            self.paths.then(others.paths), {**others.providers, **self.providers}, self.given
        )

    def document(self) -> Json:
        """The rules as the journal keeps them."""
        return {
            "paths": [{"from": str(a), "to": str(b)} for a, b in self.paths.rules],
            "user_home": str(self.paths.user_home) if self.paths.user_home else None,
            "providers": [{"from": a, "to": b} for a, b in sorted(self.providers.items())],
        }

    def report(self, directories: Iterable[str], providers: Iterable[str]) -> list[Json]:
        """The rules, each with where it comes from and how many sessions go by it.

        ``directories`` and ``providers`` are those of the new sessions at their source.
        """
        used = [self._applied(text) for text in directories]
        asked = list(providers)
        return [
            {"kind": kind, "from": source, "to": target, "origin": origin, "sessions": count}
            for kind, source, target, origin, count in (
                *(self._path(rule, used) for rule in self.paths.rules),
                *self._home(used),
                *(self._provider(name, asked) for name in sorted(self.providers)),
            )
        ]

    def _path(self, rule: tuple[Path, Path], used: list[object]) -> tuple[str, str, str, str, int]:
        source, target = rule
        return "path", str(source), str(target), self._origin(source.key), used.count(source.key)

    def _home(self, used: list[object]) -> Iterator[tuple[str, str, str, str, int]]:
        home = self.paths.user_home
        if home is not None:
            origin = self._origin(USER_HOME)
            yield "user_home", "Documents", str(home), origin, used.count(USER_HOME)

    def _provider(self, name: str, asked: list[str]) -> tuple[str, str, str, str, int]:
        return "provider", name, self.providers[name], self._origin(name), asked.count(name)

    def _origin(self, key: object) -> Origin:
        return "given" if key in self.given else "remembered"

    def _applied(self, text: str) -> object:
        """The source of the rule that a directory goes by."""
        path = parse(text)
        rule = self.paths.deciding(path) if path is not None else None
        if rule is not None:
            return rule[0].key
        return USER_HOME if self.paths.find(text) is not None else None


NO_RULES = Rules()

USER_HOME = ("--user-home",)
"""In the place of a rule's source."""


def given_rules(
    map_path: Iterable[str], user_home: str | None, map_provider: Iterable[str]
) -> Rules:
    """The rules of the command line.

    Raises UsageError: ``path_map_invalid``, ``provider_map_invalid``.
    """
    paths = parse_rules(map_path, user_home)
    providers = _providers(map_provider)
    keys: set[object] = {source.key for source, _ in paths.rules}
    if user_home is not None:
        keys.add(USER_HOME)
    return Rules(paths, providers, frozenset(keys.union(providers)))


def rules_of(document: Json) -> Rules:
    """Rules that the journal kept; what this program does not understand of them is left out."""
    pairs = ((parse(a), parse(b)) for a, b in _pairs(document.get("paths")))
    rules = tuple((a, b) for a, b in pairs if a is not None and b is not None)
    home = document.get("user_home")
    return Rules(
        PathMap(rules, parse(home) if isinstance(home, str) else None),
        dict(_pairs(document.get("providers"))),
    )


def _pairs(kept: object) -> Iterator[tuple[str, str]]:
    for rule in kept if isinstance(kept, list) else ():
        match rule:
            case {"from": str(source), "to": str(target)}:
                yield source, target


def _providers(given: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        source, sign, target = text.partition("=")
        if not (source and sign and target) or not text.isprintable():
            raise _invalid(f"{text!a} is not FROM=TO with two names")
        if found.setdefault(source, target) != target:
            raise _invalid(f"{source} is mapped to two providers")
    return found


def _invalid(why: str) -> UsageError:
    return UsageError("provider_map_invalid", why, hint=_HINT)
