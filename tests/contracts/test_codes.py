"""Every code that the program can give is in the one table, and the table holds no others.

The codes are collected from the source: what is given as code to an error, a warning, a reported
problem, a verdict or an outcome. Where that is a name or a parameter, it is followed to where it
comes from; what cannot be followed fails the test, so that no code can hide.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from codex_session_sync import errors
from codex_session_sync.errors import SyncError

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "scripts" / "codex_session_sync").rglob("*.py"))
TABLE = ROOT / "references" / "codes.md"

CODE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

WHERE: dict[str, set[str]] = {
    "UsageError": {"exit 2"},
    "PackageError": {"exit 3"},
    "HomeError": {"exit 4", "session", "warning"},
    "StoreError": {"exit 4", "warning"},
    "InterruptedTransactionError": {"exit 5"},
    "SessionError": {"session"},
    "RequestError": {"frame", "item"},
    "Notice": {"warning"},
    "Problem": {"exit 2", "exit 70", "exit 130", "worker"},
    "Verdict": {"session"},
    "SessionOutcome": {"session"},
    "SkillPlan": {"skill"},
    "SkillOutcome": {"skill"},
    "Obstacle": {"session"},
    "Finding": {"problem"},
}
"""What gives codes, and where a code that it gives can be met."""

CODE_PLACE = {
    **dict.fromkeys(WHERE, 0),
    "Verdict": 1,
    "SessionOutcome": 3,
    "SkillPlan": 5,
    "SkillOutcome": 2,
}
"""Which argument of a call is the code."""

PASSED_ON = {"code", "reason"}
"""Attributes that hold a code which was given elsewhere."""


@dataclass
class Module:
    """One source file, with what is needed to follow a name to its values."""

    path: Path
    tree: ast.Module = field(init=False)
    parents: dict[ast.AST, ast.AST] = field(init=False)

    def __post_init__(self) -> None:
        self.tree = ast.parse(self.path.read_text(encoding="utf-8"))
        self.parents = {
            child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)
        }

    def function_of(self, node: ast.AST) -> ast.FunctionDef | None:
        """The function that a node is in."""
        while (node := self.parents.get(node, self.tree)) is not self.tree:
            if isinstance(node, ast.FunctionDef):
                return node
        return None

    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        """All calls with the last part of what is called."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                match node.func:
                    case ast.Name(name) | ast.Attribute(attr=name):
                        yield name, node


MODULES = [Module(path) for path in SOURCES]


def values(module: Module, node: ast.expr) -> Iterator[str]:
    """The texts that an expression can have as a code."""
    match node:
        case ast.Constant(str(text)):
            yield text
        case ast.Constant(None):
            return
        case ast.IfExp():
            yield from values(module, node.body)
            yield from values(module, node.orelse)
        case ast.BoolOp():
            for part in node.values:
                yield from values(module, part)
        case ast.Attribute(attr=name) if name in PASSED_ON:
            return
        case ast.JoinedStr() if module.path.name == "validation.py":
            return
        case ast.Name(name):
            yield from named(module, node, name)
        case _:
            pytest.fail(f"{module.path}:{node.lineno}: which code is {ast.unparse(node)}?")


def named(module: Module, node: ast.expr, name: str) -> Iterator[str]:
    """The values of a name: of a constant, of a local variable, or of a parameter."""
    function = module.function_of(node)
    if function is not None:
        parameters = [argument.arg for argument in function.args.args]
        if name in parameters:
            yield from arguments(module, function.name, parameters.index(name), name)
            return
    found = assigned(module, function, name)
    if not found:
        pytest.fail(f"{module.path}:{node.lineno}: where does {name} come from?")
    for value in found:
        yield from values(module, value)


def assigned(module: Module, function: ast.FunctionDef | None, name: str) -> list[ast.expr]:
    """What a name is set to, in a function or else in its module."""
    return [
        statement.value
        for scope in ([function] if function else []) + [module.tree]
        for statement in ast.walk(scope)
        if isinstance(statement, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id == name for t in statement.targets)
    ]


def arguments(module: Module, function: str, place: int, name: str) -> Iterator[str]:
    """What the calls of a function in its module give for one of its parameters."""
    for called, call in module.calls():
        if called == function:
            yield from values(module, argument(module, call, place, name))


def argument(module: Module, call: ast.Call, place: int, name: str) -> ast.expr:
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    if len(call.args) <= place or any(isinstance(one, ast.Starred) for one in call.args):
        if ast.unparse(call.func) in ("Verdict", "SessionOutcome", "SkillPlan", "SkillOutcome"):
            return ast.Constant(None)
        pytest.fail(f"{module.path}:{call.lineno}: {ast.unparse(call)} gives no code")
    return call.args[place]


def collected() -> dict[str, list[set[str]]]:
    """Every code; for each place in the source that gives it, where it can be met."""
    found: dict[str, list[set[str]]] = defaultdict(list)
    for module in MODULES:
        for called, call in module.calls():
            if called in CODE_PLACE:
                name = "reason" if called in ("Verdict", "SkillPlan") else "code"
                given = argument(module, call, CODE_PLACE[called], name)
                for code in values(module, given):
                    found[code].append(WHERE[called])
            elif called == "replace":
                # A plan that gets another reason afterwards.
                for keyword in call.keywords:
                    for code in values(module, keyword.value) if keyword.arg == "reason" else ():
                        found[code].append(WHERE["Verdict"])
            elif ast.unparse(call.func) in ("validation.check", "validation.load"):
                # What does not fit its schema is reported by the schema's name.
                error = ast.unparse(argument(module, call, 3, "error"))
                for schema in values(module, argument(module, call, 0, "name")):
                    found[f"{schema}_invalid"].append(WHERE[error])
    return found


def table() -> dict[str, tuple[str, str, str]]:
    """The rows of the one table: code to where, meaning, remedy."""
    text = TABLE.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == "| code | where | meaning | remedy |"
    assert set(rows[1]) <= set("|- ")
    found = {}
    for row in rows[2:]:
        empty, code, where, meaning, remedy, end = (cell.strip() for cell in row.split("|"))
        assert empty == end == ""
        assert code.startswith("`"), row
        assert code.strip("`") not in found, f"{code} is there twice"
        found[code.strip("`")] = (where, meaning, remedy)
    return found


def test_the_table_holds_exactly_the_codes_of_the_program() -> None:
    given, listed = set(collected()), set(table())
    assert given - listed == set()
    assert listed - given == set()


def test_every_class_of_error_is_looked_for() -> None:
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, SyncError) and value is not SyncError
    }
    assert defined <= set(WHERE)
    assert all(name in CODE_PLACE for name in WHERE)


def test_codes_are_words() -> None:
    assert [code for code in collected() if not CODE.fullmatch(code)] == []


def test_the_table_is_sorted_and_says_where_why_and_what_to_do() -> None:
    rows = table()
    assert list(rows) == sorted(rows)
    for code, (_, meaning, remedy) in rows.items():
        assert meaning.endswith("."), code
        assert remedy.endswith("."), code
        assert len(meaning) > 10, code


@pytest.mark.parametrize(("code", "places"), sorted(collected().items()))
def test_where_a_code_is_met(code: str, places: list[set[str]]) -> None:
    told = set(table()[code][0].split("; "))
    assert told <= set().union(*places)
    assert all(told & place for place in places), "a place that gives it is not told"


def test_exit_codes_told_are_those_of_the_program() -> None:
    told = {word for where, _, _ in table().values() for word in where.split("; ")}
    known = {f"exit {int(code)}" for code in errors.ExitCode if code > errors.ExitCode.PARTIAL}
    elsewhere = {"session", "skill", "warning", "problem", "frame", "item", "worker"}
    assert told == {*known, "exit 130", *elsewhere}
