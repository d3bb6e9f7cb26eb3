"""What is to be done about an error is a command that can be copied, the one that the table tells.

The hints are collected from the source, beside the codes: see ``test_codes``.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

import pytest

from codex_session_sync.cli.calling import Call, filled
from codex_session_sync.cli.commands import command_of, found
from codex_session_sync.cli.main import cli
from codex_session_sync.health.finding import REMEDIES
from codex_session_sync.report.envelope import Gathered, Problem, Report
from contracts import test_codes

HINT_PLACE = {
    "Problem": 2,
    "Verdict": 3,
    "Obstacle": 2,
    "SessionOutcome": 5,
    "SkillPlan": 7,
    "SkillOutcome": 4,
}
"""Which argument of a call is the hint, where it may be given by its place."""

ERRORS = set(test_codes.WHERE) - {"Notice", "Finding"}

_SPAN = re.compile(r"`([^`]*)`")


def texts(module: test_codes.Module, node: ast.expr | None) -> Iterator[str]:
    """The texts that an expression can be, as the source tells; ``*`` stands for the rest."""
    match node:
        case None | ast.Constant(None):
            return
        case ast.Constant(str(text)):
            yield text
        case ast.JoinedStr():
            yield "".join(_part(module, part) for part in node.values)
        case ast.BinOp(left=left, right=right):
            yield "".join("".join(texts(module, side)) or "*" for side in (left, right))
        case ast.IfExp(body=body, orelse=orelse):
            yield from (text for side in (body, orelse) for text in texts(module, side))
        case ast.Name():
            yield from _named(module, node)
        case ast.Call(func=ast.Name("hint_on"), args=[_, wrapped]):
            yield from texts(module, wrapped)
        case ast.Call():
            # What joins the pieces that a generator makes.
            yield from (
                t for n in ast.walk(node) if isinstance(n, ast.JoinedStr) for t in texts(module, n)
            )
        case _:
            yield "*"


def _named(module: test_codes.Module, node: ast.Name) -> Iterator[str]:
    """The texts that a name can stand for."""
    function = module.function_of(node)
    found = test_codes.assigned(module, function, node.id)
    given = list(_given(function, node.id)) if function and not found else []
    for place, value in [(module, one) for one in found] or given:
        yield from texts(place, value)
    if not found and not given:
        yield "*"


def _given(function: ast.FunctionDef, name: str) -> Iterator[tuple[test_codes.Module, ast.expr]]:
    """What a parameter that is named in calls stands for, wherever the function is called."""
    for module in test_codes.MODULES:
        if function in module.parents:
            for argument, default in zip(
                function.args.kwonlyargs, function.args.kw_defaults, strict=True
            ):
                if argument.arg == name and default is not None:
                    yield module, default
        for called, call in module.calls():
            if called == function.name:
                yield from ((module, k.value) for k in call.keywords if k.arg == name)


def _part(module: test_codes.Module, part: ast.expr) -> str:
    if isinstance(part, ast.FormattedValue):
        if isinstance(part.value, ast.Call) and ast.unparse(part.value.func) == "raising":
            return "`codex-session-sync AGAIN --limit *`"
        return next(texts(module, part.value), "*") if isinstance(part.value, ast.Name) else "*"
    assert isinstance(part, ast.Constant)
    return str(part.value)


def collected() -> dict[str, list[str]]:
    """The hints of each code, one for each place that gives it; "" where there is none."""
    found: dict[str, list[str]] = defaultdict(list)
    for module in test_codes.MODULES:
        for called, call in module.calls():
            if called in ERRORS:
                name = "reason" if called in ("Verdict", "SkillPlan") else "code"
                given = test_codes.argument(module, call, test_codes.CODE_PLACE[called], name)
                hints = "; ".join(texts(module, _hint(called, call)))
                for code in test_codes.values(module, given):
                    found[code].append(hints)
    return found


def _hint(called: str, call: ast.Call) -> ast.expr | None:
    for keyword in call.keywords:
        if keyword.arg == "hint":
            return keyword.value
    place = HINT_PLACE.get(called)
    return call.args[place] if place is not None and len(call.args) > place else None


HINTS = collected()


def told(text: str) -> set[str]:
    """The commands of this program that a remedy of the table, or a hint, tells."""
    spans = [span.removeprefix("codex-session-sync ") for span in _SPAN.findall(text)]
    return {name for span in spans if (name := command_of(span.split()))}


def options(text: str) -> set[str]:
    """The options that stand in backticks, alone or in a command."""
    return {word for span in _SPAN.findall(text) for word in span.split() if word.startswith("--")}


SKIPPED = {"equal", "local_ahead", "taken_back", "mapped_already"}
"""Reasons of sessions that there is nothing to do for."""


@pytest.mark.parametrize("code", sorted(HINTS.keys() - SKIPPED))
def test_the_command_of_the_table_is_in_the_hint(code: str) -> None:
    where, _, remedy = test_codes.table()[code]
    for hint in HINTS[code]:
        assert hint, f"{code} leaves alone whoever meets it"
        assert not re.search(r"(command|sync|try|adopt) again", hint), hint
        assert "the command again" not in remedy or "AGAIN" in hint, hint
    together = " ".join(HINTS[code])
    assert told(remedy) <= told(together)
    if where != "warning" and "problem" not in where:
        assert options(remedy) <= set(re.findall(r"--[a-z-]+", together))


@pytest.mark.parametrize("code", sorted(REMEDIES))
def test_the_command_of_the_table_is_that_of_a_problem(code: str) -> None:
    where, _, remedy = test_codes.table()[code]
    if where == "problem" and told(remedy):
        command = REMEDIES[code].command
        assert command is not None
        assert told(f"`{command}`") <= told(remedy)


@pytest.mark.parametrize("code", sorted(HINTS))
def test_a_command_in_a_hint_can_be_called(code: str) -> None:
    """Every command and option that a hint names is one that there is."""
    for hint in HINTS[code]:
        for span in _SPAN.findall(hint):
            if not span.startswith("codex-session-sync "):
                continue
            words = span.split()[1:]
            if words[0] in ("AGAIN", "--help", "COMMAND", "*"):
                continue
            name = command_of(words)
            assert name, span
            command, _ = found(cli, name)
            known = {option for one in command.params for option in (*one.opts, "--help")}
            assert {word for word in words if word.startswith("-")} <= known, span


def hints(problem: Problem, call: Call) -> str | None:
    return filled(Report("sync", "partial", {}, errors=(problem,)), call).errors[0].hint


def test_what_was_given_is_in_the_command() -> None:
    call = Call(["sync", "a b", "--json", "--execute"], package="a b", home="/h m")
    one = Problem("x", "m", "`codex-session-sync sync PKG --session ID`, or PKG", "019c")
    assert hints(one, call) == (
        "`codex-session-sync sync 'a b' --session 019c --codex-home '/h m'`, or PKG"
    )
    assert hints(Problem("x", "m", "then run `codex-session-sync AGAIN --create-dirs`"), call) == (
        "then run `codex-session-sync sync 'a b' --execute --create-dirs`"
    )
    elsewhere = Problem("x", "m", "`codex-session-sync pack -o FILE --session ID`", "019c")
    assert hints(elsewhere, call) == "`codex-session-sync pack -o FILE --session 019c`"


@pytest.mark.parametrize("wrong", [["--identity", "no"], ["--identity=no"]])
def test_what_was_wrong_is_not_in_the_command(wrong: list[str]) -> None:
    call = Call(["sync", "p", *wrong, "--execute"], package="p")
    again = Problem("x", "m", "`codex-session-sync AGAIN --identity FILE`")
    assert hints(again, call) == "`codex-session-sync sync p --execute --identity FILE`"


def test_what_was_not_given_stays_a_word() -> None:
    call = Call(["rollback", "--latest"])
    many = Gathered("x", "m", "`codex-session-sync explain ID`", None, 2, ("019c", "019d"))
    assert hints(many, call) == "`codex-session-sync explain ID`"
    assert hints(Problem("x", "m", "`codex-session-sync sync PKG`"), call) == (
        "`codex-session-sync sync PKG`"
    )
