"""Looking for secrets in all that goes into a package, as it goes in; a value is never kept."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from ..codex.rollout import EVENT
from ..model import Json, PackagedSession
from .detector import Detector, Match

Part = Literal["record", "name", "row", "dynamic_tool", "goal"]

LONGEST_RECORD = 64 << 20
"""Longer lines are looked at piece by piece, as they are."""

_OVERLAP = 64 << 10
_ENCRYPTED = "encrypted_content"
_DATA_URL_HEAD = 100
_NESTED = 3
"""How deep JSON in strings of JSON is read."""

_SHORTEST = 5
"""A shorter text is no secret and none of the words that tell one."""

_CONTAINERS = (dict, list)
_BRACKETS = ("{", "[")
_WORD = re.compile("[A-Za-z_]{1,40}")
"""What a record's type looks like; another word may be anything and is not told."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something is: of a record its file and line, and at which of the user's messages.

    ``record`` is the record's type and, where it has one, its payload's.
    """

    part: Part
    file: str | None = None
    line: int | None = None
    record: str | None = None
    turn: int | None = None


@dataclass(frozen=True, slots=True)
class Secret:
    """What was found at one place of a session, and how often; never its value."""

    session_id: str
    kind: str
    certain: bool
    place: Place
    count: int

    def to_json(self) -> Json:
        """As reports have it."""
        return {
            "kind": self.kind,
            "confidence": "high" if self.certain else "low",
            "in": self.place.part,
            "file": self.place.file,
            "line": self.place.line,
            "record": self.place.record,
            "turn": self.place.turn,
            "count": self.count,
        }


@dataclass(slots=True)
class SecretScan:
    """Collects the secrets of a package; memory grows with their number alone.

    ``detector`` is None where nothing is to be looked for.
    """

    detector: Detector | None
    _files: dict[str, list[Secret]] = field(default_factory=dict)
    _beside: list[Secret] = field(default_factory=list)

    def watch(self, session_id: str, file: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Hand on the pieces of a rollout that goes into the package, and look at them.

        What is found counts once all pieces are taken.
        """
        with self.watched(session_id, file) as look:
            for piece in pieces:
                look(piece)
                yield piece

    @contextmanager
    def watched(
        self, session_id: str, file: str, line: int | None = None
    ) -> Iterator[Callable[[bytes], None]]:
        """A function that looks at the pieces of a rollout as they are written.

        What is found counts on leaving without an exception. With ``line`` they are a later part of
        a file, which begins with that line.
        """
        if self.detector is None:
            yield lambda _: None
            return
        reading = _Reading(self.detector, session_id, file.rsplit("/", 1)[-1])
        if line is not None:
            reading.line, reading.turn = line, None
        yield reading.take
        reading.end()
        known = self._files.get(file, []) if line is not None else []
        self._files[file] = known + reading.found

    def forget(self, files: Iterable[str]) -> None:
        """Drop what was found in files that are not in the package after all."""
        for file in files:
            self._files.pop(file, None)

    def look_beside(self, session: PackagedSession) -> None:
        """Look at what goes in beside a session's records."""
        if self.detector is None:
            return
        told: list[tuple[Part, Any]] = [("name", session.name), ("row", dict(session.row or {}))]
        told += [("dynamic_tool", dict(tool)) for tool in session.dynamic_tools]
        told.append(("goal", dict(session.goal or {})))
        for part, value in told:
            found = self.detector.matches(text_of(value))
            self._beside += _secrets(session.session_id, found, Place(part))

    def masked(self, text: str) -> str:
        """A text with the kinds of its secrets, sure or not, in their place."""
        data = text.encode("utf-8", "replace")
        for match in reversed(self.detector.matches(data) if self.detector else []):
            data = data[: match.start] + f"[{match.kind}]".encode() + data[match.end :]
        return data.decode("utf-8", "replace")

    def found(self) -> tuple[Secret, ...]:
        """All secrets by session, in the order in which they went in."""
        order: dict[str, list[Secret]] = {}
        for secret in (*(s for file in self._files.values() for s in file), *self._beside):
            order.setdefault(secret.session_id, []).append(secret)
        return tuple(secret for group in order.values() for secret in group)


@dataclass(slots=True)
class _Reading:
    """Looks at the records of one rollout, in whatever pieces they come."""

    detector: Detector
    session_id: str
    file: str
    found: list[Secret] = field(default_factory=list)
    line: int = 1
    turn: int | None = 0
    """How many messages of the user came so far; None if that is not known."""
    _pending: bytes = b""
    _cut: bool = False
    """Whether the beginning of the pending line was looked at already."""

    def take(self, piece: bytes) -> None:
        """Take in the next bytes."""
        lines = (self._pending + piece).split(b"\n")
        self._pending = lines.pop()
        for line in lines:
            self._look(line)
            self.line += 1
        if len(self._pending) > LONGEST_RECORD:
            self._note(self._pending, {})
            self._pending = self._pending[-_OVERLAP:]
            self._cut = True

    def end(self) -> None:
        """Take note that these were all."""
        self._look(self._pending)

    def _look(self, line: bytes) -> None:
        record = None if self._cut else _loaded(line)
        self._cut = False
        if isinstance(record, dict):
            if self.turn is not None:
                self.turn += _is_user_message(record)
            self._note(text_of(record), record)
        elif line:
            self._note(line, {})

    def _note(self, text: bytes, record: Json) -> None:
        found = self.detector.matches(text)
        if found:
            place = Place("record", self.file, self.line, _type_of(record), self.turn)
            self.found += _secrets(self.session_id, found, place)


def text_of(value: Any) -> bytes:
    """The texts in a value of JSON, one a line, as a person would read them.

    JSON in a text is read as well, and its keys are told. Encrypted reasoning and images are left
    out.
    """
    texts: list[str] = []
    pending: list[tuple[str, Any, int]] = [("", value, 0)]
    while pending:
        key, found, depth = pending.pop()
        kind = type(found)
        if kind is str:
            inner = _loaded(found) if depth < _NESTED and found.startswith(_BRACKETS) else None
            if type(inner) in _CONTAINERS:
                pending.append((key, inner, depth + 1))
            elif not (found.startswith("data:") and ";base64," in found[:_DATA_URL_HEAD]):
                texts.append(f"{key}: {found}" if key else found)
        elif kind is dict:
            for name, item in reversed(found.items()):
                if name != _ENCRYPTED and _is_worth_it(item):
                    pending.append((name if depth else "", item, depth))
        elif kind is list:
            pending += [(key, item, depth) for item in reversed(found) if _is_worth_it(item)]
    return "\n".join(texts).encode("utf-8", "replace")


def _is_worth_it(value: Any) -> bool:
    kind = type(value)
    return len(value) >= _SHORTEST if kind is str else kind in _CONTAINERS


def _loaded(text: str | bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _type_of(record: Json) -> str | None:
    kinds = [record.get("type"), _inner_type(record)]
    words = [kind for kind in kinds if isinstance(kind, str) and _WORD.fullmatch(kind)]
    return "/".join(words) or None


def _inner_type(record: Json) -> object:
    payload = record.get("payload")
    return payload.get("type") if isinstance(payload, dict) else None


def _is_user_message(record: Json) -> bool:
    if record.get("type") != EVENT:
        return False
    match record.get("payload"):
        case {"type": "user_message"}:
            return True
        case {"type": "item_completed", "item": {"type": "UserMessage"}}:
            return True
    return False


def _secrets(session_id: str, found: Iterable[Match], place: Place) -> list[Secret]:
    counts = Counter((match.kind, match.certain) for match in found)
    return [
        Secret(session_id, kind, certain, place, count) for (kind, certain), count in counts.items()
    ]
