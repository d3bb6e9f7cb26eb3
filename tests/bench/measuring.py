"""The engine: steps that are run in turn, as processes of their own, and what they took.

A series is what is done with one home. In each round all its steps run one after the other, so
that a step and what it is beside meet the same machine; ratios are taken round by round.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parents[2] / "scripts"
TIMED = Path(__file__).with_name("timed.py")
HIDDEN = ("CODEX_HOME", "CODEX_SQLITE_HOME", "PYTHONDONTWRITEBYTECODE")
"""Variables that would lead the program elsewhere, or make it compile itself in each run."""

MANY_FILES = 100

CACHE = Path(tempfile.gettempdir()) / f"bench-cache-{os.getpid()}"
"""What the program keeps of transcripts that it has read; gone with ``forget``."""


def nothing() -> None:
    """What a step needs that needs nothing."""


@dataclass(frozen=True, slots=True)
class Beside:
    """The step that one is compared with; ``goal``: how many times as long it may take."""

    name: str
    goal: float | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A command that is timed.

    ``before`` makes ready what it works on, outside the time. ``makes`` is a file that it writes:
    gone before, measured after. ``status``: what the program's JSON has to say. ``goal``: seconds.
    """

    name: str
    command: Sequence[str]
    before: Callable[[], object] = nothing
    makes: Path | None = None
    status: str | None = None
    beside: tuple[Beside, ...] = ()
    goal: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """The steps of one home, in their order.

    ``often``: rounds for each that was asked for, where they are short. ``fixed``: the same at
    any scale, so that its goals always count. ``curve`` names what ``place`` is a point of.
    """

    group: str
    name: str
    steps: tuple[Step, ...]
    sessions: int = 0
    size: int = 0
    often: int = 1
    fixed: bool = False
    curve: str | None = None
    place: float | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a step: seconds by the clock and of processor time; bytes of its largest process,
    of all its processes together, and of what it made."""

    wall: float
    cpu: float
    peak: int
    together: int
    made: int | None


def environment() -> dict[str, str]:
    """The variables of all commands."""
    kept = {name: value for name, value in os.environ.items() if name not in HIDDEN}
    return {**kept, "PYTHONPATH": str(SCRIPTS), "CODEX_SESSION_SYNC_CACHE": str(CACHE)}


def forget() -> None:
    """Let the program know of no transcript that it has read before."""
    shutil.rmtree(CACHE, ignore_errors=True)


def run(command: Sequence[str], status: str | None = None) -> dict[str, Any]:
    """Run a command to its end; returns what ``timed`` tells.

    Raises OSError if it cannot be started, fails, or says another status than is expected.
    """
    with tempfile.TemporaryDirectory(prefix="bench-run-") as folder:
        result, out, errors = (Path(folder, name) for name in ("result", "out", "errors"))
        timed = [sys.executable, "-I", "-S", str(TIMED), str(result), str(out), str(errors)]
        done = subprocess.run(
            [*timed, *command], cwd=folder, env=environment(), stderr=subprocess.PIPE, check=False
        )
        if done.returncode:
            raise OSError(f"{command[0]} does not start: {done.stderr.decode()[-500:]}")
        told: dict[str, Any] = json.loads(result.read_bytes())
        if told["exit_code"]:
            said = (out.read_bytes()[-500:] + errors.read_bytes()[-500:]).decode(errors="replace")
            raise OSError(f"{' '.join(command)} ended with {told['exit_code']}: {said}")
        if status is not None and (said := json.loads(out.read_bytes())["status"]) != status:
            raise OSError(f"{' '.join(command)} said {said}, not {status}")
        return told


def measure(series: Series, runs: int, scale: float) -> dict[str, Any]:
    """All rounds of a series, as JSON: medians and bounds, and ratios to what steps are beside.

    Raises OSError if a step does not do what it is to do.
    """
    load = [os.getloadavg()[0]]
    rounds = runs * series.often
    found: dict[str, list[Run]] = {step.name: [] for step in series.steps}
    for _ in range(rounds):
        for step in series.steps:
            found[step.name].append(_timed(step))
    load.append(os.getloadavg()[0])
    counts = series.fixed or scale == 1
    document: dict[str, Any] = {
        "group": series.group,
        "name": series.name,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "runs": rounds,
        "load": [round(one, 1) for one in load],
        "sessions": series.sessions,
        "transcript_bytes": series.size,
        "rows": [_row(step, found, counts=counts) for step in series.steps],
    }
    if series.curve is not None:
        document |= {"curve": series.curve, "place": series.place}
    return document


def _timed(step: Step) -> Run:
    if step.makes is not None:
        step.makes.unlink(missing_ok=True)
    step.before()
    # What an earlier step left to the system to write is not for this one to wait for.
    os.sync()
    told = run(step.command, step.status)
    made = step.makes.stat().st_size if step.makes is not None else None
    return Run(told["wall"], told["cpu"], told["peak"], told["together"], made)


def _row(step: Step, found: Mapping[str, Sequence[Run]], *, counts: bool) -> dict[str, Any]:
    mine = found[step.name]
    wall = spread(one.wall for one in mine)
    row: dict[str, Any] = {
        "command": step.name,
        "wall_seconds": wall,
        "cpu_seconds": spread(one.cpu for one in mine),
        "peak_mb": round(max(one.peak for one in mine) / 1e6, 1),
        "together_mb": round(max(one.together for one in mine) / 1e6, 1),
        "made_bytes": mine[-1].made,
        "beside": [_ratio(one, mine, found[one.name], counts=counts) for one in step.beside],
    }
    if step.goal is not None:
        met = wall["median"] <= step.goal if counts else None
        row |= {"goal_seconds": step.goal, "met": met}
    return row


def _ratio(
    beside: Beside, mine: Sequence[Run], other: Sequence[Run], *, counts: bool
) -> dict[str, Any]:
    pairs = list(zip(mine, other, strict=True))
    wall = spread(a.wall / b.wall for a, b in pairs)
    ratio: dict[str, Any] = {
        "command": beside.name,
        "wall": wall,
        # A command of a hundredth of a second may take none that the system tells.
        "cpu": spread(a.cpu / max(b.cpu, 0.001) for a, b in pairs),
    }
    if (made := mine[-1].made) and (theirs := other[-1].made):
        ratio["size"] = round(made / theirs, 7)
    if beside.goal is not None:
        met = wall["median"] <= beside.goal if counts else None
        ratio |= {"goal": beside.goal, "met": met}
    return ratio


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, least and most."""
    all_of_them = list(values)
    found = {
        "median": statistics.median(all_of_them),
        "min": min(all_of_them),
        "max": max(all_of_them),
    }
    return {name: round(value, 4) for name, value in found.items()}


def emptied(folder: Path) -> Path:
    """A folder with nothing in it; what it held is discarded.

    Many files are only put aside, into ``discarded`` beside it: for minutes after they are gone
    ext4 looks at the place of each again whenever a file is made, which takes ten times as long.
    """
    if folder.exists():
        files = sum(len(names) for _, _, names in os.walk(folder))
        if files > MANY_FILES:
            discarded = folder.with_name("discarded")
            discarded.mkdir(exist_ok=True)
            folder.rename(discarded / f"{len(list(discarded.iterdir()))}")
        else:
            shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder
