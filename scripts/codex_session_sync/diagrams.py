"""Nodes and arrows in the languages of Graphviz and mermaid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Shape = Literal["box", "ellipse", "folder", "hexagon", "diamond"]

_BRACKETS: dict[Shape, tuple[str, str]] = {
    "box": ('["', '"]'),
    "ellipse": ('(["', '"])'),
    "folder": ('[/"', '"/]'),
    "hexagon": ('{{"', '"}}'),
    "diamond": ('{"', '"}'),
}
"""What stands around a label in mermaid."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node; a ``faded`` one stands for what is not at hand."""

    id: str
    label: str
    shape: Shape = "box"
    faded: bool = False


@dataclass(frozen=True, slots=True)
class Arrow:
    """What leads from a node to another."""

    source: str
    target: str
    label: str
    dashed: bool = False


def dot(name: str, nodes: Iterable[Node], arrows: Iterable[Arrow]) -> Iterator[str]:
    """The lines of a Graphviz document."""
    yield f"digraph {name} {{"
    yield "  rankdir=LR;"
    yield '  node [shape=box, style=rounded, fontname="sans-serif"];'
    for node in nodes:
        label, style = f"label={_quoted(node.label)}", ', style="rounded,dashed"'
        shape = "" if node.shape == "box" else f"shape={node.shape}, "
        yield f"  {_quoted(node.id)} [{shape}{label}{style if node.faded else ''}];"
    for arrow in arrows:
        line = ", style=dashed" if arrow.dashed else ""
        ends = f"{_quoted(arrow.source)} -> {_quoted(arrow.target)}"
        yield f"  {ends} [label={_quoted(arrow.label)}{line}];"
    yield "}"


def mermaid(nodes: Sequence[Node], arrows: Iterable[Arrow]) -> Iterator[str]:
    """The lines of a mermaid flowchart."""
    names = {node.id: f"n{number}" for number, node in enumerate(nodes)}
    yield "flowchart LR"
    for node in nodes:
        left, right = _BRACKETS[node.shape]
        yield f"  {names[node.id]}{left}{_entities(node.label)}{right}"
    for arrow in arrows:
        line = "-.->" if arrow.dashed else "-->"
        label = _entities(arrow.label)
        yield f'  {names[arrow.source]} {line}|"{label}"| {names[arrow.target]}'
    away = [names[node.id] for node in nodes if node.faded]
    if away:
        yield "  classDef away stroke-dasharray: 4 3"
        yield f"  class {','.join(away)} away"


def printable(text: str) -> str:
    """Text that means nothing to a terminal."""
    return "".join(c if c.isprintable() else "�" for c in text)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _entities(text: str) -> str:
    """Text in which no character means anything to mermaid."""
    plain = "".join(c if c.isalnum() or c in " .,-_:/…\n" else f"#{ord(c)};" for c in text)
    return plain.replace("\n", "<br/>")
