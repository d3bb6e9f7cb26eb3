"""What was measured, as Markdown: a table a group, and one a curve."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any

from bench.commands import COPY
from bench.growth import AGAIN, DELTA, FORWARD, IMPORT

TITLES = {
    "startup": "Start",
    "import": "A home, brought in",
    "forward": "One more turn",
    "packages": "Packages",
    "undo": "What was brought in, and its undoing",
    "journals": "Homes with a long journal",
    "checkpoints": "Checkpoints of a home of which one session went on",
    "events": "What was said, kept and found",
    "service": "The import service",
    "curves": "Curves",
}
HEAD = "sessions|command|time|processor|memory|made|times what it is beside|goal"
UNITS = {"size": ("MB", 10), "sessions": ("session", 500)}
"""What a curve counts, and how many new ones take a time that can be told."""
BEGIN, END = "<!-- measured: filled by run.py -->\n", "<!-- end of what was measured -->\n"

Measured = Mapping[str, Any]


def readme(text: str, document: Measured, results: str) -> str:
    """The README with what was measured in its place; ``results`` is the file's name less suffix.

    Raises ValueError if the text has no such place.
    """
    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise ValueError("the README has no place for what was measured")
    picture = f"![curves of time and memory](results/{results}.svg)"
    filled = f"{described(document)} [As JSON](results/{results}.json).\n\n{tables(document)}"
    if any(one["group"] == "curves" for one in document["series"]):
        filled += f"\n{picture}\n"
    return f"{before}{BEGIN}\n{filled}\n{END}{after}"


def described(document: Measured) -> str:
    """When and on what it was measured, and what else the machine did."""
    on, series = document["machine"], document["series"]
    tools = [f"{name} {on[name]}" for name in ("tar", "zstd", "sha256sum", "rsync") if on[name]]
    load = [one for each in series for one in each["load"]]
    dates = sorted({each["date"] for each in series})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    runs = sorted({each["runs"] for each in series})
    return (
        f"{when}, {on['processor']}, {on['cores']} cores, {on['memory_gb']} GB, {on['system']},\n"
        f"Python {on['python']}, {', '.join(tools)}; {' to '.join(map(str, runs))} runs of each,"
        f" at a load of {min(load)} to {max(load)}."
    )


def tables(document: Measured) -> str:
    """All tables, each with its heading."""
    found = []
    for group, measured in groupby(document["series"], key=lambda one: str(one["group"])):
        series = list(measured)
        found.append(f"### {TITLES[group]}\n")
        found += _curves(series) if group == "curves" else [_table(HEAD, _rows(series))]
    return "\n".join(found)


def _table(head: str, rows: Iterable[Sequence[str]]) -> str:
    columns = head.split("|")
    lines = [columns, ["---"] * len(columns)]
    lines += [[cell.replace("|", r"\|") for cell in row] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _rows(series: Iterable[Measured]) -> Iterator[Sequence[str]]:
    for one in series:
        for row in one["rows"]:
            yield (
                one["name"],
                f"`{row['command']}`",
                seconds(row["wall_seconds"]),
                f"{row['cpu_seconds']['median']:.2f} s",
                _memory(row),
                _made(row["made_bytes"]),
                "; ".join(map(_beside, row["beside"])),
                "; ".join(_goals(row)),
            )


def seconds(wall: Mapping[str, float]) -> str:
    """A time with its bounds, where there was more than one run."""
    return f"{_spread(wall, 3 if wall['median'] < 1 else 2)} s"


def _spread(values: Mapping[str, float], digits: int = 2) -> str:
    median, least, most = (f"{values[name]:.{digits}f}" for name in ("median", "min", "max"))
    return median if least == most else f"{median} ({least}–{most})"  # noqa: RUF001


def _memory(row: Measured) -> str:
    peak, together = row["peak_mb"], row["together_mb"]
    return f"{peak:.0f} MB" + (f", {together:.0f} together" if together > 1.1 * peak else "")


def _made(size: int | None) -> str:
    if size is None:
        return ""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def _beside(one: Measured) -> str:
    size = f", size {one['size']:.3g}" if "size" in one else ""
    return f"{_spread(one['wall'])} `{one['command']}`{size}"


def _goals(row: Measured) -> Iterator[str]:
    if "goal_seconds" in row:
        yield f"{row['goal_seconds']:g} s: {_met(row['met'])}"
    for one in row["beside"]:
        if "goal" in one:
            yield f"{one['goal']:g} × `{one['command']}`: {_met(one['met'])}"  # noqa: RUF001


def _met(met: bool | None) -> str:
    return {True: "met", False: "**not met**", None: "not judged at this scale"}[met]


def points(series: Iterable[Measured], curve: str) -> list[tuple[float, dict[str, Measured]]]:
    """The points of a curve in order, with the rows of each by command."""
    return sorted(
        (
            (one["place"], {row["command"]: row for row in one["rows"]})
            for one in series
            if one.get("curve") == curve
        ),
        key=lambda point: point[0],
    )


def wall(row: Measured) -> float:
    """The median seconds of a row."""
    return float(row["wall_seconds"]["median"])


def slopes(
    found: Sequence[tuple[float, Mapping[str, Measured]]], command: str, least: float
) -> list[tuple[float, float]]:
    """Milliseconds for each that is new since the point before, at the points where it can be told.

    Where fewer than ``least`` are new, what a start takes varies by more than they take.
    """
    return [
        (here, 1000 * (wall(after[command]) - wall(before[command])) / (here - there))
        for (there, before), (here, after) in pairwise(found)
        if here - there >= least
    ]


def _curves(series: Sequence[Measured]) -> Iterator[str]:
    for curve, (unit, least) in UNITS.items():
        if not (found := points(series, curve)):
            continue
        commands = [name for name in (COPY, IMPORT, AGAIN, FORWARD, DELTA) if name in found[0][1]]
        per_unit = {place: f"{slope:.2f} ms" for place, slope in slopes(found, IMPORT, least)}
        heads = [f"{unit}s" if curve == "sessions" else unit, f"import per new {unit}", *commands]
        heads += [f"memory, {name}" for name in commands if name != COPY]
        yield _table(
            "|".join(heads),
            (
                [
                    f"{place:,.0f}" if place >= 10 else f"{place:.2g}",
                    per_unit.get(place, ""),
                    *(seconds(rows[name]["wall_seconds"]) for name in commands),
                    *(_memory(rows[name]) for name in commands if name != COPY),
                ]
                for place, rows in found
            ),
        )
