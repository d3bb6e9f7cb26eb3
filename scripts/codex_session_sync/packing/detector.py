"""Secrets in a text; alone knows the library that recognises them. Nothing leaves the machine."""

from __future__ import annotations

import importlib
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import HomeError

if TYPE_CHECKING:
    from kingfisher_sdk import Finding, Scanner

OWN_RULES = Path(__file__).with_name("secret_rules.yml")

_URL_RULE = "generic-credential-uri"
_EXACT = ("veles.", "custom.")
"""Rules of fixed shape, as certain as those that the library calls certain."""

_NO_SECRETS = ("-id", "-public-key", "-pub-key", "-host", "-url", "-domain", "-public-api-token")
"""How rules end that find what belongs to a secret and is none itself."""

_SECRET_URLS = ("slack-webhook-url", "sidekiq-sensitive-url")
_SAMPLE_HOSTS = ("localhost", "example", "local", "test", "invalid", "internal")
_SAMPLE_PASSWORDS = frozenset(
    ("password", "passwd", "pass", "pwd", "secret", "changeme", "token", "postgres", "root", "test")
)
_SHORTEST_PASSWORD = 8


@dataclass(frozen=True, slots=True)
class Match:
    """One secret in a text, told without any part of it."""

    kind: str
    certain: bool
    start: int
    end: int


@dataclass(slots=True)
class Detector:
    """Finds secrets.

    Raises HomeError ``secret_scan_unavailable`` where the library is not installed.
    """

    _scanner: Scanner = field(init=False)

    def __post_init__(self) -> None:
        try:
            self._scanner = _scanner()
        except ImportError as error:
            raise HomeError(
                "secret_scan_unavailable",
                "the library that finds secrets is not installed, or not for this machine",
                hint="install kingfisher-secret-scanner, or pack unseen with --allow-secrets",
            ) from error

    def matches(self, text: bytes) -> list[Match]:
        """The secrets in a UTF-8 text, in order; where two overlap, the more certain one."""
        found = sorted(self._found(text), key=lambda m: (not m.certain, m.start, m.kind))
        kept: list[Match] = []
        for match in found:
            if all(match.end <= other.start or other.end <= match.start for other in kept):
                kept.append(match)
        return sorted(kept, key=lambda match: match.start)

    def _found(self, text: bytes) -> Iterator[Match]:
        for finding in self._scanner.scan(text):
            rule = finding.rule_id
            name = rule.replace("/", ".").rsplit("secrets.", 1)[-1].split(".", 1)[-1]
            name = name.removesuffix(".1").removesuffix(".2")
            if not finding.visible or (name.endswith(_NO_SECRETS) and name not in _SECRET_URLS):
                continue
            place = finding.location
            start, end = place["start_offset"], place["end_offset"]
            certain = _is_certain(finding, rule, text, start, end)
            yield Match(name.replace("-", "_"), certain, start, end)


def _is_certain(finding: Finding, rule: str, text: bytes, start: int, end: int) -> bool:
    if rule.endswith(_URL_RULE):
        return _is_real_login(text[start:end], text[end : end + 300])
    return finding.confidence == "high" or rule.startswith(_EXACT)


def _is_real_login(password: bytes, behind: bytes) -> bool:
    """Whether the password of a URL, ``behind`` which the host comes, is more than a sample."""
    host = behind.lstrip(b"@").decode("utf-8", "replace")
    for end in "/?#,:\"' \n":
        host = host.split(end, 1)[0]
    try:
        if not ipaddress.ip_address(host).is_global:
            return False
    except ValueError:
        if "." not in host or host.rsplit(".", 1)[-1].lower() in _SAMPLE_HOSTS:
            return False
    word = password.decode("utf-8", "replace").lower()
    return len(word) >= _SHORTEST_PASSWORD and word not in _SAMPLE_PASSWORDS


@cache
def _scanner() -> Scanner:
    """The library at work, once a process: its rules take a moment. Raises ImportError."""
    library = importlib.import_module("kingfisher_sdk")
    folder = rule_cache(Path(library.__file__ or ""))
    rules = library.Rules([OWN_RULES], cache=folder is not None, cache_dir=folder)
    scanner: Scanner = library.Scanner(rules, base64=False, redact=True)
    return scanner


def rule_cache(library: Path) -> Path | None:
    """Where prepared rules are kept: in the environment that the library lies in, else nowhere.

    The launcher borrows an environment without running its Python, so ``sys.prefix`` is another.
    """
    for folder in library.parents:
        if (folder / "pyvenv.cfg").is_file():
            return folder / "share" / "codex-session-sync" / "rules"
    return None
