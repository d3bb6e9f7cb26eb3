"""The curves as an SVG picture: time, time for each that is new, and memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from bench.commands import COPY
from bench.growth import AGAIN, DELTA, FORWARD, IMPORT
from bench.table import UNITS, points, slopes, wall

COLOURS = {
    COPY: "#8a8f98",
    IMPORT: "#1f6feb",
    AGAIN: "#1a7f37",
    FORWARD: "#c4511d",
    DELTA: "#8250df",
}
WIDTH, HEIGHT, LEFT, TOP, GAP = 300, 210, 58, 76, 64
STYLE = "font: 11px system-ui, sans-serif; fill: #24292f"

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Panel:
    """A diagram: lines by name over a logarithmic scale; ``log`` says whether heights are too.

    ``decades`` are the powers of ten at the ends of what is across.
    """

    title: str
    unit: str
    across: str
    decades: tuple[int, int]
    lines: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    log: bool = False


def draw(series: Sequence[Mapping[str, Any]]) -> str:
    """A row of panels for each curve that was measured."""
    rows = [
        _panels(found, across, *UNITS[curve])
        for curve, across in (("size", "MB of one session"), ("sessions", "short sessions"))
        if (found := points(series, curve))
    ]
    width = LEFT + 3 * WIDTH + 2 * GAP + 24
    height = TOP + len(rows) * (HEIGHT + GAP + 20)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" style="{STYLE}">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *_legend(rows),
    ]
    for row, panels in enumerate(rows):
        for column, panel in enumerate(panels):
            x, y = LEFT + column * (WIDTH + GAP), TOP + row * (HEIGHT + GAP + 20)
            parts.append(f'<g transform="translate({x} {y})">')
            parts += [*_panel(panel), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _panels(
    found: Sequence[tuple[float, Mapping[str, Mapping[str, Any]]]],
    across: str,
    per: str,
    least: float,
) -> list[Panel]:
    names = [name for name in COLOURS if name in found[0][1]]
    decades = _decades([place for place, _ in found])

    def lines(value: str) -> dict[str, list[Point]]:
        return {
            name: [(place, float(rows[name][value])) for place, rows in found] for name in names
        }

    times = {name: [(place, wall(rows[name])) for place, rows in found] for name in names}
    grown = {name: slopes(found, name, least) for name in (COPY, IMPORT)}
    return [
        Panel("time", "s", across, decades, times, log=True),
        Panel(f"time for each new {per}", "ms", across, decades, grown),
        Panel("memory", "MB", across, decades, lines("together_mb")),
    ]


def _legend(rows: Iterable[Sequence[Panel]]) -> Iterator[str]:
    shown = {name for panels in rows for panel in panels for name in panel.lines}
    x = LEFT
    for name, colour in COLOURS.items():
        if name in shown:
            yield f'<rect x="{x}" y="16" width="18" height="4" fill="{colour}"/>'
            yield f'<text x="{x + 24}" y="22">{escape(name)}</text>'
            x += 54 + 7 * len(name)


def _panel(panel: Panel) -> Iterator[str]:
    low, high = panel.decades
    heights = [y for line in panel.lines.values() for _, y in line]
    if panel.log:
        bottom, top = _decades(heights)
        marks = [(10.0**power, float(power)) for power in range(bottom, top + 1)]
    else:
        step = _step(max(heights, default=1))
        bottom, top = 0, math.ceil(max(1, *(value / step for value in heights), 1))
        marks = [(step * count, float(count)) for count in range(top + 1)]

    def right(value: float) -> float:
        return WIDTH * (math.log10(value) - low) / (high - low)

    def down(place: float) -> float:
        return HEIGHT - HEIGHT * (place - bottom) / (top - bottom)

    def height(value: float) -> float:
        place = math.log10(value) if panel.log else value / step
        return down(min(max(place, bottom), top))

    yield f'<text x="0" y="-12" font-weight="600">{escape(panel.title)}, {panel.unit}</text>'
    for value, place in marks:
        y = down(place)
        yield f'<path d="M0 {y:.1f}H{WIDTH}" stroke="#d8dee4"/>'
        yield f'<text x="-6" y="{y + 4:.1f}" text-anchor="end">{value:,.6g}</text>'
    for power in range(low, high + 1):
        x = right(10.0**power)
        yield f'<path d="M{x:.1f} 0V{HEIGHT}" stroke="#d8dee4"/>'
        yield f'<text x="{x:.1f}" y="{HEIGHT + 16}" text-anchor="middle">{10.0**power:,.6g}</text>'
    yield f'<text x="{WIDTH / 2}" y="{HEIGHT + 34}" text-anchor="middle">{panel.across}</text>'
    for name, line in panel.lines.items():
        colour = COLOURS[name]
        places = [(right(x), height(y)) for x, y in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for x, y in places:
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _step(most: float) -> float:
    """A round distance of about four marks up to a value."""
    rough = max(most, 1e-6) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * by for by in (1, 2, 2.5, 5, 10) if power * by >= rough)
