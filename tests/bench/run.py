"""The benchmark: how long the program takes, and how much memory, beside what people would do.

    python tests/bench/run.py               # all of it, up to 1 GB and 10,000 sessions
    python tests/bench/run.py --scale 0.05  # a twentieth of it, in one or two minutes

Each command is timed as a process of its own, in turn with the commands that it is compared with.
Needs Linux, tar, zstd and git; rsync is measured where it is.
"""

from __future__ import annotations

import argparse
import compileall
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.checkpoints import checkpoints
from bench.growth import curves, forward
from bench.homes import Shelf, importing, startup, undoing
from bench.journals import journals
from bench.machine import machine
from bench.measuring import SCRIPTS, Series, forget, measure
from bench.packs import packages
from bench.picture import draw
from bench.service import serving
from bench.table import readme, tables
from bench.told import events

GROUPS: dict[str, Callable[[Shelf], Iterator[Series]]] = {
    "startup": startup,
    "import": importing,
    "forward": forward,
    "packages": packages,
    "undo": undoing,
    "journals": journals,
    "checkpoints": checkpoints,
    "events": events,
    "service": serving,
    "curves": curves,
}
"""What is measured, in this order. Another group is one more entry, with a title in ``table``."""

README, RESULTS = Path(__file__).with_name("README.md"), Path(__file__).with_name("results")
SAME = ("machine", "scale")
"""What results in one file have in common."""


def options() -> argparse.Namespace:
    """What the user asks for; ends the process where it is not possible."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scale", type=float, default=1.0, help="this part of the full size")
    parser.add_argument("--runs", type=int, help="runs of each command; default 3, scaled 1")
    parser.add_argument(
        "--only", action="append", choices=GROUPS, metavar="GROUP", help=", ".join(GROUPS)
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="keep the figures as JSON")
    parser.add_argument("--folder", type=Path, help="where to work; needs 20 GB at full size")
    parser.add_argument(
        "--readme", action="store_true", help="keep them in results/ and fill the README"
    )
    found = parser.parse_args()
    if not sys.platform.startswith("linux"):
        parser.error("it needs Linux")
    if found.runs is None:
        found.runs = 3 if found.scale == 1 else 1
    if found.scale <= 0 or found.runs < 1:
        parser.error("--scale and --runs are greater than zero")
    if found.readme:
        if found.scale != 1 or found.out:
            parser.error("--readme is for full size, and says itself where the figures go")
        found.out = RESULTS / f"{datetime.now(UTC):%Y-%m-%d}.json"
    found.only = found.only or list(GROUPS)
    found.kept = kept(found.out)
    found.machine = machine()
    if found.kept and any(found.kept[name] != getattr(found, name) for name in SAME):
        parser.error(f"{found.out} is of another machine or scale")
    return found


def kept(out: Path | None) -> dict[str, Any]:
    """What a file of results holds; nothing if there is none."""
    if out is None or not out.exists():
        return {}
    found: dict[str, Any] = json.loads(out.read_bytes())
    return found


def merged(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The series of both in the order of groups, of two with the same name the new one."""
    by_name = {(one["group"], one["name"]): one for one in (*old, *new)}
    order = list(GROUPS)
    return sorted(by_name.values(), key=lambda one: order.index(one["group"]))


def main() -> None:
    """Measure, print the tables, and keep what is to be kept. Raises OSError if a step fails."""
    asked = options()
    # The first call of a module would compile it.
    compileall.compile_dir(SCRIPTS, quiet=2)
    document: dict[str, Any] = {name: getattr(asked, name) for name in SAME}
    old, measured = asked.kept.get("series", []), []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=asked.folder) as folder:
        shelf = Shelf(Path(folder), asked.scale)
        for group in (name for name in GROUPS if name in asked.only):
            for series in GROUPS[group](shelf):
                print(f"{group}: {series.name} …", file=sys.stderr, flush=True)
                measured.append(measure(series, asked.runs, asked.scale))
                if asked.out:
                    document["series"] = merged(old, measured)
                    asked.out.write_text(json.dumps(document, indent=1) + "\n")
    forget()
    print(tables({"series": measured}))
    if asked.out:
        asked.out.with_suffix(".svg").write_text(draw(document["series"]))
        print(asked.out, file=sys.stderr)
    if asked.readme:
        README.write_text(readme(README.read_text(), document, asked.out.stem))


if __name__ == "__main__":
    main()
