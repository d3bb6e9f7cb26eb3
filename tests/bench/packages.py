"""Measures packages: how long packing, looking and bringing in take, in how much memory.

    python tests/bench/packages.py               # 1 GB, 40 x 5 MB and 10,000 sessions
    python tests/bench/packages.py --scale 0.05  # all of it in about a minute

Each command is timed as a process of its own, beside what packs the same files with tar and zstd
and beside ``pack --format transfer-v1``, in turn in the same run. Needs Linux, tar and zstd.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.transcripts import Corpus, empty_home
from codex_session_sync import __version__

SCRIPTS = Path(__file__).parents[2] / "scripts"
CORPORA = (
    Corpus("1 x 1 GB", 1, 1_000_000_000),
    Corpus("40 x 5 MB", 40, 5_000_000),
    Corpus("10,000 short", 10_000, 10_000),
)
PROGRAM = (sys.executable, "-m", "codex_session_sync")
TAR, ZSTD, TRANSFER = "tar c | zstd -3 -T1", "zstd -d | tar x", "pack --format transfer-v1"


@dataclass(frozen=True, slots=True)
class Places:
    """Where a corpus and what is made of it lies; each a path in ``root``."""

    root: Path

    @property
    def home(self) -> Path:
        """The home that is packed."""
        return self.root / "home"

    @property
    def native(self) -> Path:
        """The package that ``pack`` makes."""
        return self.root / "native.csync"

    @property
    def transfer(self) -> Path:
        """The package that ``pack --format transfer-v1`` makes."""
        return self.root / "transfer.tar.zst"

    @property
    def plain(self) -> Path:
        """The transcripts as tar and zstd pack them."""
        return self.root / "plain.tar.zst"

    @property
    def target(self) -> Path:
        """The home, or folder, that a package is brought to."""
        return self.root / "target"


Command = Callable[[Places], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Row:
    """A command to be measured.

    ``makes``: what it makes, which is gone before each run; ``empty``: it works on an empty home.
    ``beside`` names the rows that it is compared with.
    """

    name: str
    command: Command
    makes: Callable[[Places], Path] | None = None
    empty: bool = False
    beside: tuple[str, ...] = ()


def _program(*arguments: str | Path, home: Path) -> list[str]:
    return [*PROGRAM, *map(str, arguments), "--codex-home", str(home), "--json"]


def _shell(script: str, *arguments: Path) -> list[str]:
    return ["sh", "-c", script, "sh", *map(str, arguments)]


ROWS = (
    Row(
        TAR,
        lambda at: _shell('tar -C "$1" -c sessions | zstd -q -3 -T1 -o "$2"', at.home, at.plain),
        makes=lambda at: at.plain,
    ),
    Row(
        "pack",
        lambda at: _program("pack", "-o", at.native, home=at.home),
        makes=lambda at: at.native,
        beside=(TAR, TRANSFER),
    ),
    Row(
        TRANSFER,
        lambda at: _program("pack", "-o", at.transfer, "--format", "transfer-v1", home=at.home),
        makes=lambda at: at.transfer,
        beside=(TAR,),
    ),
    Row(
        "inspect-package",
        lambda at: _program("inspect-package", at.native, home=at.target),
        empty=True,
    ),
    Row(
        ZSTD,
        lambda at: _shell('zstd -q -dc "$2" | tar -C "$1" -x', at.target, at.plain),
        empty=True,
    ),
    Row(
        "sync --execute",
        lambda at: _program("sync", at.native, "--execute", "--no-prime", home=at.target),
        empty=True,
        beside=(ZSTD,),
    ),
    Row(
        "sync --execute, transfer-v1",
        lambda at: _program("sync", at.transfer, "--execute", "--no-prime", home=at.target),
        empty=True,
        beside=(ZSTD,),
    ),
)
"""What is measured of each corpus, in this order. A row for another command is one more entry."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command: seconds by the clock and of processor time, MB at its peak."""

    wall: float
    cpu: float
    peak: float


def run(command: Sequence[str]) -> Run:
    """Run a command to its end; memory is that of its largest process. Raises OSError."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    with process.stderr as said:
        errors = said.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    if process.returncode:
        raise OSError(f"{command} ended with {process.returncode}: {errors.decode()[-500:]}")
    return Run(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6)


def measure(corpus: Corpus, at: Places, runs: int) -> Iterator[dict[str, Any]]:
    """The rows of one corpus: medians, and the median of the ratios run by run."""
    size = corpus.make(at.home)
    found: dict[str, list[Run]] = {row.name: [] for row in ROWS}
    sizes: dict[str, int] = {}
    for _ in range(runs):
        for row in ROWS:
            made = row.makes(at) if row.makes else None
            if made is not None:
                made.unlink(missing_ok=True)
            if row.empty:
                shutil.rmtree(at.target, ignore_errors=True)
                empty_home(at.target)
            found[row.name].append(run(row.command(at)))
            if made is not None:
                sizes[row.name] = made.stat().st_size
    for row in ROWS:
        mine = found[row.name]
        yield {
            "corpus": corpus.name,
            "sessions": corpus.sessions,
            "transcript_bytes": size,
            "command": row.name,
            "wall_seconds": round(statistics.median(one.wall for one in mine), 3),
            "cpu_seconds": round(statistics.median(one.cpu for one in mine), 3),
            "peak_mb": round(max(one.peak for one in mine), 1),
            "package_bytes": sizes.get(row.name),
            "beside": [_ratios(name, mine, found[name], row.name, sizes) for name in row.beside],
        }


def _ratios(
    name: str, mine: Sequence[Run], other: Sequence[Run], row: str, sizes: dict[str, int]
) -> dict[str, Any]:
    def ratio(value: Callable[[Run], float]) -> float:
        pairs = zip(mine, other, strict=True)
        return round(statistics.median(value(a) / value(b) for a, b in pairs), 2)

    ratios: dict[str, Any] = {
        "command": name,
        "wall": ratio(lambda one: one.wall),
        "cpu": ratio(lambda one: one.cpu),
    }
    if row in sizes and name in sizes:
        ratios["size"] = round(sizes[row] / sizes[name], 3)
    return ratios


def machine() -> dict[str, Any]:
    """What kind of machine this is; nothing tells which one."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 1e9),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "zstd": _version("zstd", "--version"),
        "tar": _version("tar", "--version"),
    }


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def _version(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0].strip("* ")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table; a ratio below 1 is faster, or smaller, than what it names."""
    lines = [
        "| sessions | command | time | processor | memory | package | times what it is beside |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        size = row["package_bytes"]
        beside = [
            f"{one['wall']:.2f} (processor {one['cpu']:.2f}"
            + (f", size {one['size']:.2f}" if "size" in one else "")
            + f") `{one['command']}`"
            for one in row["beside"]
        ]
        cells = (
            row["corpus"],
            f"`{row['command']}`",
            f"{row['wall_seconds']:.2f} s",
            f"{row['cpu_seconds']:.2f} s",
            f"{row['peak_mb']:.0f} MB",
            f"{size / 1e6:.1f} MB" if size else "",
            "; ".join(beside),
        )
        plain = (cell.replace("|", r"\|") for cell in cells)
        lines.append(f"| {' | '.join(plain)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scale", type=float, default=1.0, help="this part of the full size")
    parser.add_argument("--runs", type=int, default=3, help="runs of each command; default 3")
    parser.add_argument("--out", type=Path, help="the JSON file; default: a temporary one")
    parser.add_argument("--folder", type=Path, help="where to work; needs 5 GB at full size")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    # What else the machine did: at 2 cores and a load over 2 only ratios tell something.
    load = [os.getloadavg()[0]]
    for corpus in CORPORA:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
            print(f"{corpus.name} …", file=sys.stderr)
            rows += measure(corpus.scaled(options.scale), Places(Path(folder)), options.runs)
        load.append(os.getloadavg()[0])
    document = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "version": __version__,
        "machine": machine(),
        "scale": options.scale,
        "runs": options.runs,
        "load": [round(one, 1) for one in load],
        "rows": rows,
    }
    out = options.out or Path(tempfile.gettempdir()) / "bench-packages.json"
    out.write_text(json.dumps(document, indent=2) + "\n")
    print(table(rows))
    print(f"\n{out}", file=sys.stderr)


if __name__ == "__main__":
    main()
