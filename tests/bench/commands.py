"""Our program, and what people would do without it, as commands with names."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from bench.measuring import Beside, Step, nothing

PLAINLY = Path(__file__).with_name("plainly.py")

COPY = "cp -a, sha256sum"
RSYNC = "rsync -a"
PLAIN = "plain Python"
SUM = "sha256sum"
TAR, UNTAR = "tar c | zstd -3 -T1", "zstd -d | tar x"

SUM_SCRIPT = 'find "$@" -type f -print0 | xargs -0 sha256sum'


def program(*arguments: str | Path, home: Path) -> list[str]:
    """A call of our program for its JSON."""
    python = (sys.executable, "-m", "codex_session_sync")
    return [*python, *map(str, arguments), "--codex-home", str(home), "--json"]


def execute(package: Path, home: Path) -> list[str]:
    """``sync --execute`` without starting Codex."""
    return program("sync", package, "--execute", "--no-prime", home=home)


def shell(script: str, *arguments: Path) -> list[str]:
    """A script with its arguments."""
    return ["sh", "-c", script, "sh", *map(str, arguments)]


def sums(*paths: Path) -> list[str]:
    """The digests of all files of some folders, or of files."""
    return shell(SUM_SCRIPT, *paths)


def copy_and_sum(home: Path, place: Path) -> list[str]:
    """The transcripts of a home copied to an empty folder, and their digests."""
    return shell(f'cp -a "$1/sessions" "$2" && set -- "$1/sessions" && {SUM_SCRIPT}', home, place)


def plainly(home: Path, target: Path) -> list[str]:
    """Every line parsed and written again, by ``plainly.py``."""
    return [sys.executable, str(PLAINLY), str(home), str(target)]


def tar(home: Path, archive: Path) -> list[str]:
    """The transcripts of a home packed as people pack files."""
    return shell('tar -C "$1" -c sessions | zstd -q -3 -T1 -o "$2"', home, archive)


def untar(archive: Path, folder: Path) -> list[str]:
    """What ``tar`` packed, unpacked to a folder."""
    return shell('zstd -q -dc "$1" | tar -C "$2" -x', archive, folder)


def rsync(source: Path, target: Path, before: Callable[[], object] = nothing) -> tuple[Step, ...]:
    """The step that makes one folder like another, if that program is here."""
    if shutil.which("rsync") is None:
        return ()
    return (Step(RSYNC, ["rsync", "-a", f"{source}/", f"{target}/"], before),)


def with_rsync(*names: str | Beside) -> tuple[Beside, ...]:
    """What a step is beside, and ``rsync`` if it is here."""
    there = (RSYNC,) if shutil.which("rsync") else ()
    return beside(*names, *there)


def beside(*names: str | Beside) -> tuple[Beside, ...]:
    """What a step is beside; a name alone is without a goal."""
    return tuple(one if isinstance(one, Beside) else Beside(one) for one in names)


def have(target: Path, out: Path) -> list[str]:
    """What a home has, for ``pack --have``."""
    return program("have", "-o", out, home=target)
