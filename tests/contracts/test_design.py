"""``references/design.md`` maps the modules that there are, each below what it imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "references" / "design.md"
SOURCE = ROOT / "scripts" / "codex_session_sync"

PACKAGES_AS_A_WHOLE = {"schemas", "report", "cli", "sample"}
"""Described by one line each, without their modules."""

DESCRIBED_FROM = 35
"""The column in which the map begins to say what a module is."""


def mapped() -> list[str]:
    """The modules and folders of the map, by path below the program's folder, in its order."""
    text = PAGE.read_text(encoding="utf-8")
    [block] = re.findall(r"## Modules\n.*?```\n(.*?)```", text, flags=re.DOTALL)
    found: list[str] = []
    folder = ""
    for line in block.splitlines():
        depth = len(line) - len(line.lstrip())
        for name in re.findall(r"\S+(?:\.py|/)(?=\s|$)", line[:DESCRIBED_FROM]):
            if depth == 4 and name.endswith("/"):
                folder = name
            if depth >= 4:
                found.append(name if depth == 4 else folder + name)
    return found


def modules() -> Iterator[str]:
    """The modules that there are, those of folders that the map does not open left out."""
    for path in SOURCE.rglob("*.py"):
        relative = path.relative_to(SOURCE)
        if not relative.name.startswith("__") and relative.parts[0] not in PACKAGES_AS_A_WHOLE:
            yield relative.as_posix()


def test_the_map_is_that_of_the_tree() -> None:
    listed = mapped()
    assert sorted(name for name in listed if name.endswith(".py")) == sorted(modules())
    folders = {name.rstrip("/") for name in listed if name.endswith("/")}
    assert folders == {path.parent.name for path in SOURCE.glob("*/__init__.py")}


def imports(module: str) -> Iterator[str]:
    """The modules of the program that a module imports, wherever in it."""
    path = SOURCE / module
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parents[node.level - 1]
            target = base.joinpath(*(node.module or "").split("."))
            names = [target, *(target / alias.name for alias in node.names)]
            for name in names:
                if name.with_suffix(".py").is_file():
                    yield name.with_suffix(".py").relative_to(SOURCE).as_posix()


def test_a_module_imports_only_from_above() -> None:
    place = {name: number for number, name in enumerate(mapped())}
    assert set(place) >= set(modules())
    wrong = [
        (module, imported)
        for module in modules()
        for imported in imports(module)
        if imported in place and place[imported] > place[module]
    ]
    assert wrong == []
