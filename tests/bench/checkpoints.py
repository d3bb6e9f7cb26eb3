"""The group of checkpoints: what keeping a home at each commit takes, beside copying all of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.commands import TAR, beside, program, shell, tar
from bench.homes import Shelf
from bench.measuring import Series, Step, emptied, forget
from bench.transcripts import GrowingHome

COPY = "cp -a"
FIRST, GROWN, IDLE = "first capture", "capture, one session went on", "capture, nothing changed"
SESSIONS, SIZE = 500, 600_000

_ADDED = 'marker=$1; store=$2; added=$3; shift 3; "$@" && '
_ADDED += 'find "$store" -type f -newer "$marker" ! -path "*/derived/*" -exec cat {} + > "$added"'


def checkpoints(shelf: Shelf) -> Iterator[Series]:
    """Captures of a home, the first one and later ones, and what is behind a commit."""
    others = max(1, round(SESSIONS * shelf.scale)) - 1
    root = shelf.scratch()
    home = GrowingHome(root / "home", SIZE, others)
    yield Series("checkpoints", f"{SESSIONS:,} x 0.6 MB", _steps(home, root), others + 1, home.size)


def _steps(home: GrowingHome, root: Path) -> tuple[Step, ...]:
    copy, plain, store, repo = (root / name for name in ("copy", "plain.tar.zst", "store", "repo"))
    added, marker = root / "added", root / "marker"
    place = ("--repo", repo, "--store", store)
    capture = program("checkpoint", "capture", *place, home=home.home)
    kept = _adding(capture, marker, store, added)

    def commit() -> None:
        _commit(repo)
        marker.touch()

    def first() -> None:
        forget()
        emptied(store)
        commit()

    def grown() -> None:
        home.go_on()
        commit()

    both = beside(COPY, TAR)
    return (
        Step(COPY, ["cp", "-a", str(home.home / "sessions"), str(copy)], lambda: emptied(copy)),
        Step(TAR, tar(home.home, plain), makes=plain),
        Step(FIRST, kept, first, makes=added, status="ok", beside=both),
        Step(GROWN, kept, grown, makes=added, status="ok", beside=both),
        Step(IDLE, kept, commit, makes=added, status="ok", beside=both),
        Step(
            "checkpoint report",
            program("checkpoint", "report", *place, home=home.home),
            status="ok",
            beside=both,
        ),
    )


def _adding(command: Sequence[str], marker: Path, store: Path, added: Path) -> list[str]:
    """A command; what it added to the store since ``marker`` goes to one file."""
    return [*shell(_ADDED, marker, store, added), *command]


def _commit(repo: Path) -> None:
    """One more commit, without a hook."""
    repo.mkdir(exist_ok=True)
    who = ("-c", "user.name=bench", "-c", "user.email=bench@example.com")
    if not (repo / ".git").exists():
        subprocess.run(["git", "init", "-q", str(repo)], check=True)
    subprocess.run(
        ["git", "-C", str(repo), *who, "commit", "-q", "--allow-empty", "-m", "bench"], check=True
    )
