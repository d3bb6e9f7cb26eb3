"""Homes for measurements: what people and models say, code that is read, commands that print.

The same seed gives the same bytes. Text is of words in the frequencies of a language; a third of
what tools print is of files that are read again and again; what a model thought comes encrypted,
so that nothing compresses it. zstandard at level 3 makes about a quarter of it.
"""

from __future__ import annotations

import base64
import random
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import accumulate, count
from pathlib import Path
from typing import Any

import orjson

from builders import Session
from workbench import STATE_SCHEMA, insert, make_database

COLUMNS = {
    "model": "gpt-5",
    "reasoning_effort": "medium",
    "memory_mode": "enabled",
    "thread_source": "user",
    "originator": "codex_cli_rs",
    "agent_nickname": None,
    "agent_role": None,
    "agent_path": None,
    "is_pinned": 0,
    "section_position": None,
    "section_entered_at_ms": None,
    "project_id": None,
    "daybreak_enabled": None,
    "creator_user_id": None,
    "creator_account_id": None,
    "attached_thread_parent_id": None,
}
"""Those of Codex's own table that ``workbench.STATE_SCHEMA`` lacks, as a session has them."""

STATE_DB = "state_5.sqlite"

_SYLLABLES = ("ba", "de", "fi", "gu", "ha", "in", "jo", "le", "mo", "or", "re", "sch", "ti", "un")
_CODE = ("    if {} is None:", "        return {}({})", "def {}(self, {}):", "    {} = {}[{}]", "")


class Words:
    """An endless text, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        made = ("".join(self.random.choices(_SYLLABLES, k=1 + n % 4)) for n in count())
        self._words = [word for _, word in zip(range(12_000), made, strict=False)]
        self._weights = list(accumulate(1 / (rank + 3) for rank in range(len(self._words))))
        self._files = [self._file() for _ in range(300)]

    def text(self, length: int) -> str:
        """So many words, in sentences."""
        words = self.random.choices(self._words, cum_weights=self._weights, k=length)
        words[10::13] = [f"{word}." for word in words[10::13]]
        return " ".join(words)

    def secret(self, size: int) -> str:
        """Bytes that nobody can compress."""
        return base64.b64encode(self.random.randbytes(size)).decode()

    def printed(self) -> str:
        """What a command prints: part of a file, or lines that nobody has seen before."""
        if self.random.random() < 1 / 3:
            lines = self.random.choice(self._files)
            start = self.random.randrange(len(lines))
            return "\n".join(lines[start : start + 120])
        words = self.text(self.random.randrange(30, 500)).split(". ")
        return "\n".join(f"{self.random.randrange(5000)}:{line}" for line in words)

    def identifier(self) -> str:
        """An id as Codex and the model's service give them."""
        return str(uuid.UUID(int=self.random.getrandbits(128)))

    def _file(self) -> list[str]:
        return [
            line.format(*self.random.choices(self._words, cum_weights=self._weights, k=3))
            for line in self.random.choices(_CODE, k=200)
        ]


@dataclass(frozen=True, slots=True)
class Corpus:
    """A home to be made: ``sessions`` sessions of at least ``size`` bytes each."""

    name: str
    sessions: int
    size: int

    def scaled(self, scale: float) -> Corpus:
        """The corpus at another size: fewer short sessions, or shorter long ones."""
        if self.size < 1 << 20:
            return replace(self, sessions=max(1, round(self.sessions * scale)))
        return replace(self, size=max(1, round(self.size * scale)))

    def make(self, home: Path) -> int:
        """Write the home with its database; returns the bytes of its transcripts."""
        words = Words(self.sessions)
        instructions = words.text(450)
        total = 0
        with _source_database(home) as connection:
            for number in range(self.sessions):
                told = Told(Session(number, start=number), words, instructions)
                total += told.write(home, self.size)
                insert(connection, "threads", told.row(str(home)))
        return total


class GrowingHome:
    """A home of one session of at least ``size`` bytes, which goes on when it is told to.

    ``others`` more are as large, and stay as they are.
    """

    def __init__(self, home: Path, size: int, others: int = 0) -> None:
        words = Words(1)
        instructions = words.text(450)
        self.home, self.size = home, 0
        self._told = Told(Session(0), words, instructions)
        with _source_database(home) as connection:
            for number in range(others, -1, -1):
                told = Told(Session(number, start=number), words, instructions)
                self._told = told if number == 0 else self._told
                self.size += told.write(home, size)
                insert(connection, "threads", told.row(str(home)))

    @property
    def transcript(self) -> Path:
        """The session's file; at the same place in a home that it is brought to."""
        return self.home / self._told.session.relative_path

    def go_on(self) -> None:
        """One more turn."""
        with self.transcript.open("ab") as target:
            target.write(self._told.turn())
        with closing(sqlite3.connect(self.home / STATE_DB)) as connection, connection:
            connection.execute("DELETE FROM threads WHERE id = ?", (self._told.session.id,))
            insert(connection, "threads", self._told.row(str(self.home)))


@contextmanager
def _source_database(home: Path) -> Iterator[sqlite3.Connection]:
    """A new database with all columns, closed when it is filled."""
    database = make_database(home_at(home), journal_mode="delete")
    with closing(sqlite3.connect(database)) as connection, connection:
        for column, value in COLUMNS.items():
            kind = "INTEGER" if isinstance(value, int) else "TEXT"
            connection.execute(f"ALTER TABLE threads ADD COLUMN {column} {kind}")
        yield connection


def home_at(home: Path) -> Path:
    """A folder for a home, made if it is not there."""
    home.mkdir(parents=True, exist_ok=True)
    return home


def empty_home(home: Path) -> Path:
    """A home without sessions, its database as Codex makes one."""
    make_database(home_at(home), STATE_SCHEMA)
    return home


@dataclass(slots=True)
class Told:
    """A session and its records, one turn after the other."""

    session: Session
    words: Words
    instructions: str
    _places: Iterator[int] = field(default_factory=count)
    _said: list[str] = field(default_factory=list)
    _tokens: int = 0

    def lines(self, size: int) -> Iterator[bytes]:
        """The lines of the transcript until it has ``size`` bytes, in pieces of a turn."""
        head, *rest = self.session.records()
        head["payload"]["base_instructions"] = {"text": self.instructions}
        written = 0
        for record in (head, *rest):
            written += len(line := self._line(record["type"], record["payload"]))
            yield line
        while written < size:
            turn = self.turn()
            written += len(turn)
            yield turn

    def turn(self) -> bytes:
        """The lines of one more turn."""
        return b"".join(self._line(kind, payload) for kind, payload in self._turn())

    def write(self, home: Path, size: int) -> int:
        """Write the transcript to its place in a home; returns its bytes, at least ``size``."""
        path = home / self.session.relative_path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as target:
            return sum(target.write(piece) for piece in self.lines(size))

    def row(self, home: str) -> dict[str, Any]:
        """The row of ``threads``, once all lines were made."""
        said = replace(self.session, turns=tuple((text, "") for text in self._said))
        return {**said.row(home), **COLUMNS, "tokens_used": self._tokens}

    def _line(self, kind: str, payload: Any) -> bytes:
        place = next(self._places)
        moment = self.session.created + timedelta(milliseconds=250 * place)
        stamp = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        record = {"timestamp": stamp, "ordinal": place, "type": kind, "payload": payload}
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)

    def _turn(self) -> Iterator[tuple[str, Any]]:
        words, turn, me = self.words, self.words.identifier(), self.session
        context = {"turn_id": turn, "cwd": me.cwd, "model": "gpt-5", "summary": "auto"}
        policy = {"approval_policy": "on-request", "sandbox_policy": {"type": "read-only"}}
        said = words.text(words.random.randrange(8, 60))
        self._said.append(said)
        yield "event_msg", {"type": "task_started", "turn_id": turn}
        yield "turn_context", {**context, **policy}
        yield "response_item", self._message("user", "input_text", said)
        yield "event_msg", self._item(turn, "UserMessage", "text", said)
        for _ in range(words.random.randrange(1, 6)):
            yield from self._call(turn)
        answer = words.text(words.random.randrange(40, 250))
        yield "event_msg", self._item(turn, "AgentMessage", "Text", answer)
        yield "response_item", self._message("assistant", "output_text", answer)
        yield "event_msg", self._count(len(answer))
        yield (
            "event_msg",
            {"type": "task_complete", "turn_id": turn, "last_agent_message": answer},
        )

    def _call(self, turn: str) -> Iterator[tuple[str, Any]]:
        words = self.words
        name, command = f"call_{words.identifier()}", ["bash", "-lc", words.text(6)]
        arguments = orjson.dumps({"command": command}).decode()
        yield (
            "response_item",
            {
                "type": "reasoning",
                "summary": [{"type": "summary_text", "text": words.text(12)}],
                "encrypted_content": words.secret(words.random.randrange(200, 900)),
            },
        )
        call = {"type": "function_call", "name": "shell", "arguments": arguments, "call_id": name}
        yield "response_item", call
        printed = words.printed()
        item = {
            "type": "CommandExecution",
            "id": name,
            "command": command,
            "aggregated_output": printed,
        }
        yield (
            "event_msg",
            {
                "type": "item_completed",
                "thread_id": self.session.id,
                "turn_id": turn,
                "item": item,
            },
        )
        yield (
            "response_item",
            {"type": "function_call_output", "call_id": name, "output": printed},
        )
        yield "event_msg", self._count(len(printed))

    def _message(self, role: str, kind: str, text: str) -> dict[str, Any]:
        return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}

    def _item(self, turn: str, who: str, kind: str, text: str) -> dict[str, Any]:
        item = {
            "type": who,
            "id": self.words.identifier(),
            "content": [{"type": kind, "text": text}],
        }
        me = self.session.id
        return {"type": "item_completed", "thread_id": me, "turn_id": turn, "item": item}

    def _count(self, length: int) -> dict[str, Any]:
        self._tokens += length // 4
        usage = {"input_tokens": self._tokens, "cached_input_tokens": 0, "output_tokens": length}
        info = {"total_token_usage": usage, "last_token_usage": usage}
        return {"type": "token_count", "info": info, "rate_limits": None}
