"""Which directory here stands for one of the source: rules that paths are taken through."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from ..errors import UsageError
from .paths import Path, parse

DOCUMENTS = "documents"
"""What the first-import tool takes as the top of what is carried from a Windows home."""

_HINT = "for example --map-path /home/alice=/Users/bob or --map-path 'C:\\Users\\alice=/home/bob'"


@dataclass(frozen=True)
class PathMap:
    """Rules, ``(from, to)``, and the home that takes the place of all before ``\\Documents\\``.

    Of several rules that fit the one with the longest path counts.
    """

    rules: tuple[tuple[Path, Path], ...] = ()
    user_home: Path | None = None

    def map(self, text: str) -> str | None:
        """The path here for one of the source; None where no rule fits, or it stays as it is."""
        path = parse(text)
        if path is None:
            return None
        for source, target in self._longest_first:
            names = path.below(source)
            if names is not None:
                return None if source.key == target.key else str(target.joined(names))
        return self._in_home(path)

    def then(self, others: PathMap) -> PathMap:
        """These rules and, where none of them is for the same path, others."""
        mine = {source.key for source, _ in self.rules}
        rest = tuple(rule for rule in others.rules if rule[0].key not in mine)
        return PathMap(self.rules + rest, self.user_home or others.user_home)

    @cached_property
    def _longest_first(self) -> list[tuple[Path, Path]]:
        return sorted(self.rules, key=lambda rule: -len(rule[0].names))

    def _in_home(self, path: Path) -> str | None:
        if self.user_home is None or not path.windows:
            return None
        folded = [name.casefold() for name in path.names]
        if DOCUMENTS not in folded[:-1]:
            return None
        return str(self.user_home.joined(path.names[folded.index(DOCUMENTS) :]))


def parse_rules(given: Iterable[str], user_home: str | None = None) -> PathMap:
    """The rules of ``FROM=TO`` texts. Raises UsageError ``path_map_invalid``."""
    rules: dict[tuple[str, ...], tuple[Path, Path]] = {}
    for text in given:
        rule = _rule(text)
        known = rules.setdefault(rule[0].key, rule)
        if known[1] != rule[1]:
            raise _invalid(f"{rule[0]} is mapped to two directories")
    home = None
    if user_home is not None:
        home = parse(user_home)
        if home is None:
            raise _invalid(f"--user-home {user_home} is no absolute path")
    return PathMap(tuple(rules.values()), home)


def _rule(text: str) -> tuple[Path, Path]:
    """Both paths of a rule; a ``=`` within one of them is none that parts them."""
    for place, character in enumerate(text):
        if character == "=":
            source, target = parse(text[:place]), parse(text[place + 1 :])
            if source is not None and target is not None:
                return source, target
    raise _invalid(f"{text!r} is not FROM=TO with two absolute paths")


def _invalid(why: str) -> UsageError:
    return UsageError("path_map_invalid", why, hint=_HINT)
