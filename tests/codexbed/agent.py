"""A scripted agent: it plays the model, asks for shell commands and goes by what they answer."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from codexbed.model_server import Item, function_call, message

Json = dict[str, Any]

EXEC = "exec_command"
"""The tool by which the current release runs commands."""
_WAIT_MS = 30_000
_MANY_TOKENS = 100_000
_EXIT = re.compile(r"^Process exited with code (-?\d+)$", re.MULTILINE)
_OUTPUT = "\nOutput:\n"


@dataclass(frozen=True)
class Shell:
    """A command that an agent wants to run; `because` asks for it to run outside the sandbox."""

    command: str
    because: str | None = None

    @classmethod
    def words(cls, *words: object, because: str | None = None) -> Shell:
        """The command of these words."""
        return cls(shlex.join(map(str, words)), because)

    def item(self) -> Item:
        """The tool call."""
        asked: Json = {
            "cmd": self.command,
            "yield_time_ms": _WAIT_MS,
            "max_output_tokens": _MANY_TOKENS,
        }
        if self.because is not None:
            asked |= {"sandbox_permissions": "require_escalated", "justification": self.because}
        return function_call(EXEC, asked)


@dataclass(frozen=True)
class Ran:
    """What Codex told the model of a command; `code` is None where it was not run to its end."""

    shell: Shell
    text: str

    @cached_property
    def code(self) -> int | None:
        """The exit code."""
        found = _EXIT.search(self.text.partition(_OUTPUT)[0])
        return int(found[1]) if found else None

    @cached_property
    def output(self) -> str:
        """What it wrote, on stderr and stdout, in no certain order."""
        return self.text.partition(_OUTPUT)[2]

    @cached_property
    def document(self) -> Json:
        """The JSON object in the output, wherever it stands in what was written on stderr."""
        start = self.output.find("{")
        assert start >= 0, self.text
        found, _ = json.JSONDecoder().raw_decode(self.output, start)
        assert isinstance(found, dict)
        return found


Work = Generator[Shell, Ran, str]
"""What an agent does in one turn: it yields commands, is sent what they answer, and returns what it
says in the end."""


@dataclass
class ScriptedAgent:
    """The model of one turn; give it to `ModelServer.play`.

    `begin` is given the first request. `error` is what the work failed with; the turn ends then.
    """

    begin: Callable[[Mapping[str, Any]], Work]
    ran: list[Ran] = field(default_factory=list)
    error: Exception | None = None
    first_request: Mapping[str, Any] = field(default_factory=dict)
    _work: Work | None = None
    _asked: tuple[str, Shell] | None = None

    def __call__(self, body: Mapping[str, Any]) -> list[Item]:
        """Answer one request of the turn."""
        if self._work is None or self._asked is None:
            self.first_request, self._work = body, self.begin(body)
            return self._go_on(self._work, None)
        number, shell = self._asked
        [told] = [item for item in body["input"] if _is_output(item, number)]
        self.ran.append(Ran(shell, _text(told["output"])))
        return self._go_on(self._work, self.ran[-1])

    def _go_on(self, work: Work, ran: Ran | None) -> list[Item]:
        try:
            shell = next(work) if ran is None else work.send(ran)
        except StopIteration as end:
            return [message(str(end.value))]
        except Exception as error:
            self.error = error
            return [message(f"my script failed: {error!r}")]
        item = shell.item()
        self._asked = str(item["call_id"]), shell
        return [item]


def offered(body: Mapping[str, Any], tool: str = EXEC) -> Json:
    """The parameters of a tool that a request offers to the model."""
    [found] = [one for one in body["tools"] if one.get("name") == tool]
    parameters: Json = found["parameters"]["properties"]
    return parameters


def told_by_developer(body: Mapping[str, Any]) -> str:
    """What a request tells the model in the developer's name."""
    return "\n".join(
        part["text"]
        for item in body["input"]
        if item.get("role") == "developer"
        for part in item["content"]
    )


def _is_output(item: Mapping[str, Any], number: str) -> bool:
    return item.get("type") == "function_call_output" and item.get("call_id") == number


def _text(output: object) -> str:
    return "".join(_parts(output))


def _parts(output: object) -> Iterator[str]:
    if isinstance(output, str):
        yield output
    elif isinstance(output, list):
        yield from (str(part.get("text", "")) for part in output)
