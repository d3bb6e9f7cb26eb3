"""Which directory here stands for one of the source: rules that paths are taken through."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from ..errors import UsageError
from .paths import Path, parse

DOCUMENTS = "documents"
"""What the first-import tool takes as the top of what is carried from a Windows home."""

_KNOWN = 1024
"""The most paths whose outcome is kept."""

_HINT = "for example --map-path /home/alice=/Users/bob or --map-path 'C:\\Users\\alice=/home/bob'"


@dataclass(frozen=True)
class PathMap:
    """Rules, ``(from, to)``, and the home that takes the place of all before ``\\Documents\\``.

    Of several rules that fit the one with the longest path counts.
    """

    rules: tuple[tuple[Path, Path], ...] = ()
    user_home: Path | None = None

    def map(self, text: str) -> str:
        """The path here for one of the source: another, or the same."""
        return self.find(text) or text

    def find(self, text: str) -> str | None:
        """The path here for one of the source; None if nothing is said of it."""
        if self.says_nothing:
            return None
        known = self._known
        if text not in known:
            if len(known) >= _KNOWN:
                known.clear()
            known[text] = self._find(text)
        return known[text]

    def _find(self, text: str) -> str | None:
        path = parse(text)
        if path is None:
            return None
        rule = self.deciding(path)
        if rule is not None:
            source, target = rule
            names = path.below(source)
            assert names is not None
            if source.key == target.key:
                return text
            found = target.joined(names)
        else:
            found = self._in_home(path)
        return str(found) if found is not None else None

    @property
    def says_nothing(self) -> bool:
        """Whether every path stays as it is."""
        return not self.rules and self.user_home is None

    def deciding(self, path: Path) -> tuple[Path, Path] | None:
        """The rule that a path is taken through; None where there is none but the home."""
        fitting = (rule for rule in self._longest_first if path.below(rule[0]) is not None)
        return next(fitting, None)

    def then(self, others: PathMap) -> PathMap:
        """These rules and, where none of them is for the same path, others."""
        mine = {source.key for source, _ in self.rules}
        rest = tuple(rule for rule in others.rules if rule[0].key not in mine)
        return PathMap(self.rules + rest, self.user_home or others.user_home)

    @cached_property
    def _known(self) -> dict[str, str | None]:
        """What was found: each turn of a session names the same paths again."""
        return {}

    @cached_property
    def _longest_first(self) -> list[tuple[Path, Path]]:
        return sorted(self.rules, key=lambda rule: -len(rule[0].names))

    def _in_home(self, path: Path) -> Path | None:
        if self.user_home is None or not path.windows:
            return None
        lower = [name.lower() for name in path.names]
        if DOCUMENTS not in lower[:-1]:
            return None
        return self.user_home.joined(path.names[lower.index(DOCUMENTS) :])


def parse_rules(given: Iterable[str], user_home: str | None = None) -> PathMap:
    """The rules of ``FROM=TO`` texts. Raises UsageError ``path_map_invalid``."""
    rules: dict[tuple[str, ...], tuple[Path, Path]] = {}
    for text in given:
        rule = _rule(_checked(text))
        known = rules.setdefault(rule[0].key, rule)
        if known[1] != rule[1]:
            raise _invalid(f"{rule[0]} is mapped to two directories")
    home = None
    if user_home is not None:
        home = parse(_checked(user_home))
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


def _checked(text: str) -> str:
    """A text of the command line, if it is one; the journal keeps it as JSON."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _invalid(f"{text!a} is not UTF-8 text") from error
    return text


def _invalid(why: str) -> UsageError:
    return UsageError("path_map_invalid", why, hint=_HINT)
