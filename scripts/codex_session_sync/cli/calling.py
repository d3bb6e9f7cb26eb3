"""How the program was called, and the commands of hints with what was given."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import click

from ..report.envelope import Problem, Report

PROGRAM = "codex-session-sync"

_COMMAND = re.compile(rf"`{PROGRAM} ([^`]*)`")
_WORD = re.compile(r"\b(?:PKG|ID)\b")
_REPLACED = ("--codex-home", "--codex-bin", "--format", "--identity", "--repo", "--source", "-o")
"""Options that take the place of what was given: one value counts, or the given one was wrong."""
_ELSEWHERE = ("pack", "demo")
"""Commands that hints tell for another home than the one at hand."""


@dataclass(slots=True)
class Call:
    """The arguments of the process, and what of them the options of the command told."""

    arguments: Sequence[str]
    package: str | None = None
    home: str | None = None


def remember(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """A callback of ``PKG`` and ``--codex-home``: what they were given is kept for hints."""
    call = context.find_root().obj
    if isinstance(call, Call) and value is not None:
        if parameter.name == "pkg":
            call.package = str(value)
        else:
            call.home = str(value)
    return value


def filled(report: Report, call: Call) -> Report:
    """The report with hints whose commands can be copied.

    In them ``PKG`` stands for the package, ``ID`` for the session, ``AGAIN`` for the whole call.
    """
    if not report.errors:
        return report
    return replace(report, errors=tuple(_with_hint(one, call) for one in report.errors))


def _again(call: Call, added: Sequence[str]) -> Iterator[str]:
    """The arguments of the call, without what is added to them in its place."""
    words = iter(call.arguments)
    for word in words:
        option, equals, _ = word.partition("=")
        if option in _REPLACED and option in added:
            if not equals:
                next(words, None)
        elif word != "--json":
            yield word


def _with_hint(problem: Problem, call: Call) -> Problem:
    if not problem.hint:
        return problem
    known = {"PKG": call.package and shlex.quote(call.package), "ID": problem.session_id}

    def command(found: re.Match[str]) -> str:
        words: str = found[1]
        if words.startswith("AGAIN"):
            added = words.split()[1:]
            return f"`{PROGRAM} {' '.join([shlex.join(_again(call, added)), *added])}`"
        words = _WORD.sub(lambda word: known[word[0]] or word[0], words)
        needs_home = call.home and "--codex-home" not in words
        if needs_home and words.split()[0] not in _ELSEWHERE:
            words += f" --codex-home {shlex.quote(str(call.home))}"
        return f"`{PROGRAM} {words}`"

    return replace(problem, hint=_COMMAND.sub(command, problem.hint))
