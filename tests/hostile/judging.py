"""What has to hold of every command on every package, whatever is in it."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from builders import write_snapshot
from codex_session_sync.journal.log import Journal
from codex_session_sync.locks import home_lock
from hostile.corpus import BYSTANDER, LEGACY, VICTIM
from hostile.layouts import pack_native, write
from workbench import Outcome, add_rows, call, make_database, tree

SECONDS = 5.0
"""Of a processor: the machine may be busy with something else."""
BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
LINES = frozenset("\u2028\u2029")
DATABASE = ("state_5.sqlite", "state_5.sqlite-wal", "state_5.sqlite-shm")
BEHIND = replace(LEGACY, legacy=False, turns=LEGACY.turns[:1])
"""The beginning of a session of the packages, in the other history mode."""
EMPTY, USED = "empty", "used"


@dataclass(repr=False)
class Court:
    """Homes to judge packages with, and all around them that must stay as it is.

    ``root/outside`` holds files that nothing may touch; temporary files go to ``root/tmp``.
    """

    root: Path
    _around: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (EMPTY, USED, "outside/sessions", "tmp", "scratch"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        here = [BYSTANDER, VICTIM.say("Only here"), BEHIND]
        write_snapshot(self.root / USED, here)
        database = make_database(self.root / USED, journal_mode="delete")
        add_rows(database, here)
        with closing(sqlite3.connect(database)) as connection, connection:
            names = (f"{self.root / USED}/", f"{self.root / 'home'}/")
            connection.execute(
                "UPDATE threads SET rollout_path = replace(rollout_path, ?, ?)", names
            )
        (self.root / USED / "config.toml").write_text('approval_policy = "on-request"\n')
        for name in ("outside/secret", "outside/sessions/canary.jsonl", "canary"):
            (self.root / name).write_text("canary")
        self._around = self._outside()

    def _outside(self) -> dict[str, tuple[Any, ...]]:
        return tree(self.root, "scratch", "tmp", "home")

    @contextmanager
    def home(self, kind: str) -> Iterator[Path]:
        """A home of this kind; afterwards nothing beside it is another."""
        home = self.root / "home"
        shutil.copytree(self.root / kind, home)
        try:
            yield home
            assert self._outside() == self._around
        finally:
            shutil.rmtree(home)

    @contextmanager
    def package(self, files: Mapping[str, bytes], container: str) -> Iterator[Path]:
        """A package in a container of this kind; afterwards it is as it was."""
        scratch = self.root / "scratch"
        package = write(files, container, scratch / "package")
        before = tree(scratch)
        try:
            yield package
            assert tree(scratch) == before
        finally:
            shutil.rmtree(scratch)
            scratch.mkdir()

    @contextmanager
    def packed(self, files: Mapping[str, bytes]) -> Iterator[Path]:
        """The native package that ``pack`` makes of a snapshot; it leaves the home as it is."""
        scratch = self.root / "scratch"
        try:
            package = pack_native(files, scratch)
            assert package is not None
            yield package
        finally:
            shutil.rmtree(scratch)
            scratch.mkdir()

    def run(self, home: Path, *arguments: str | Path) -> Outcome:
        """A command on a home, and what holds of each: typed errors, soon, nothing left behind."""
        before = tempfile.tempdir
        tempfile.tempdir = str(self.root / "tmp")
        start = time.process_time()
        try:
            done = call(*arguments, "--codex-home", home)
        finally:
            tempfile.tempdir = before
        took = time.process_time() - start
        left = {path: path.read_text() for path in (self.root / "tmp").glob("*.log")}
        for path in left:
            path.unlink()
        assert not left, next(iter(left.values()))
        assert not list((self.root / "tmp").iterdir())
        assert done.exit_code in (0, 1, 3), done.out or done.err
        assert "Traceback" not in done.err
        assert took < SECONDS, f"{arguments} took {took:.1f} s"
        sync = home / "session-sync"
        if sync.exists():
            with home_lock(sync, "test"):
                pass
            assert not list(sync.glob("transactions/*/staged/*"))
            assert not Journal(sync).interrupted()
        return done


def state(home: Path) -> dict[str, tuple[Any, ...]]:
    """A home to the byte."""
    return tree(home, "session-sync/lock")


def is_harmless(text: str) -> bool:
    """Whether a terminal shows this and does nothing else."""
    return not any(
        (unicodedata.category(c) == "Cc" and c != "\n") or c in BIDI or c in LINES for c in text
    )


def require_harmless(done: Outcome) -> None:
    """A report as text, on stdout and stderr, is only shown."""
    for text in (done.out.decode(), done.err):
        bad = [repr(line) for line in text.split("\n") if not is_harmless(line)]
        assert not bad, bad[:3]
