"""Homes and packages for the failure tests, and what they share: the oracle, faults, processes.

The oracle is a twin: what a home looks like after the same sync of only those sessions that came
through, undisturbed.
"""

from __future__ import annotations

import errno
import hashlib
import inspect
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import zstandard

from builders import Session, dump, write_snapshot, write_transfer
from codex_session_sync.codex.state_db import open_for_reading
from codex_session_sync.journal.log import Journal
from codex_session_sync.journal.playback import undo_all
from crash.faults import POINTS, Fault, faulty, nth
from rolling import Rolling
from workbench import Outcome, add_rows, call, environment, make_database, tree, with_tools

DAY = 24 * 60
OLD = Session(1, start=10, name="Old").say("Was here before")
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
DATABASE = "state_5.sqlite"
RECORD_TIME = 10**18
"""The time of the files that were in a home before."""

Twins = Callable[[Iterable[Session]], dict[str, Any]]
"""What a home looks like with some of the package's sessions synced."""

posix = pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")

# A package of new sessions for a used home.
FIRST = Session(2, start=1 * DAY, name="First").say("One")
SECOND = Session(3, start=2 * DAY).say("Two").say("and more")
VICTIM = Session(4, start=3 * DAY, name="Victim").say("Three").say("and more")
LAST = Session(5, start=4 * DAY, name="Last", archived=True).say("Four")
PACKAGED = (FIRST, SECOND, VICTIM, LAST)
OTHERS = (FIRST, SECOND, LAST)

# A package of sessions that this home has had once: they go on, and one part, in every way.
KNOWN = {
    "plain": Session(11, start=11 * DAY, name="Plain").say("One"),
    "packed": Session(12, start=12 * DAY, name="Packed").say("One"),
    "moved": Session(13, start=13 * DAY, name="Moved").say("One"),
    "apart": Session(14, start=14 * DAY, name="Apart").say("One"),
    "torn": Session(15, start=15 * DAY).say("One"),
    "away": Session(16, start=16 * DAY, name="Away").say("One"),
}
NEW = Session(17, start=17 * DAY, name="New").say("One")
COMPRESSED = ("packed", "away")
ARCHIVED = ("moved", "away")
LATER = {
    key: replace(
        session.say("and on"),
        archived=key in ARCHIVED,
        name=f"{session.name}, later" if key in ARCHIVED else session.name,
    )
    for key, session in KNOWN.items()
}
"""As the package has them: ``moved`` and ``away`` are archived and renamed at the source."""
HERE = KNOWN["apart"].say("and elsewhere")
MIXED = (
    *(LATER["plain"], NEW),
    *(LATER["packed"], LATER["moved"]),
    *(LATER["apart"], LATER["torn"]),
    LATER["away"],
)
"""Two in a row are one batch in the processes of ``Driver``."""


@dataclass
class Bed:
    """A home and a package that can be synced into it.

    A home that was saved can be put back, always to the same place, since rows name it.
    """

    root: Path
    packaged: tuple[Session, ...] = PACKAGED
    ended: frozenset[str] = frozenset()
    """The transactions that were there before."""

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def package(self) -> Path:
        return self.root / "package"

    @property
    def journal(self) -> Journal:
        return Journal(self.home / "session-sync")

    def ids(self) -> list[str]:
        """The transactions of the syncs under test, newest first."""
        return [one for one in self.journal.ids() if one not in self.ended]

    def sync(self, *sessions: Session) -> Outcome:
        """Sync the package, or some of it, in this process."""
        limits = [text for one in sessions for text in ("--session", one.id)]
        home = ("--codex-home", self.home)
        return call("sync", self.package, "--execute", "--no-prime", "--json", *limits, *home)

    def command(self, *arguments: str | Path) -> Outcome:
        """Another command on this home."""
        return call(*arguments, "--json", "--codex-home", self.home)

    def state(self) -> dict[str, Any]:
        """The home, without the journal and without what tells the time or place of the sync."""
        files = tree(self.home, "session-sync", DATABASE, "thread-writer-locks")
        found: dict[str, Any] = {
            path: what for path, what in files.items() if not path.startswith(f"{DATABASE}-")
        }
        index = self.home / "session_index.jsonl"
        found[index.name] = sorted(index.read_bytes().split(b"\n"))
        for path in sorted(self.home.glob("session-sync/sidecars/*")):
            found[path.name] = [
                {**one, "transaction_id": "", "synced_at": ""}
                for one in json.loads(path.read_bytes())["mappings"]
            ]
        kept = self.home.glob("session-sync/transactions/*/rollout-*")
        found["kept"] = sorted(
            (path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in kept
        )
        with open_for_reading(self.home / DATABASE) as database:
            assert database is not None
            for table in ("threads", "thread_dynamic_tools"):
                rows = [json.dumps(dict(row), sort_keys=True) for row in database.rows(table)]
                found[table] = [row.replace(str(self.home), "") for row in sorted(rows)]
        return found

    def steps(self) -> list[str | None]:
        """How far the batches of the newest transaction came."""
        return [batch.step for batch in self.journal.batches(self.journal.ids()[0])]

    def confirmed(self) -> tuple[Session, ...]:
        """The sessions whose batch is done, read from the journal without the program."""
        found: set[str] = set()
        transactions = self.home / "session-sync" / "transactions"
        for path in transactions.glob("*/operations.jsonl"):
            if path.parent.name not in self.ended:
                whole = path.read_bytes().split(b"\n")[:-1]
                lines = [json.loads(line) for line in whole if b"\0" not in line]
                done = {line["batch"] for line in lines if line["step"] == "done"}
                found |= {
                    line["session_id"]
                    for line in lines
                    if line["step"] == "intent" and line["batch"] in done
                }
        return tuple(one for one in self.packaged if one.id in found)

    def completes(self, twins: Twins, *, littered: bool = False) -> None:
        """The same sync, undisturbed, brings what is missing and nothing else.

        ``littered``: staged files of a transaction that has ended may be left over.
        """
        assert self.command("recover").envelope["status"] == "no_op"
        transactions = self.home / "session-sync" / "transactions"
        left = [one for one in self.journal.ids() if (transactions / one / "staged").exists()]
        assert littered or left == []
        assert self.sync().exit_code == 0
        assert self.state() == twins(self.packaged)

    def save(self, name: str) -> None:
        """Keep the home as it is under a name."""
        shutil.copytree(self.home, self.root / name)

    def restore(self, name: str = "before") -> None:
        """Put back the home that was saved."""
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.copytree(self.root / name, self.home)

    def old_bytes_stand(self) -> None:
        """What a session held before is the beginning of every file that it has now."""
        for old in _rollouts(self.root / "before"):
            name = old.name.removesuffix(".zst")
            now = [path for path in _rollouts(self.home) if path.name.startswith(name)]
            assert now, f"{name} is gone"
            for path in now:
                assert _content(path).startswith(_content(old)), f"{name} lost what it had"


def _rollouts(home: Path) -> list[Path]:
    return sorted(home.rglob("rollout-*"))


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().decompress(data, max_output_size=1 << 20)
    return data


def make_bed(root: Path) -> Bed:
    """A used home, its index torn at the end, and a package of new sessions."""
    bed = Bed(root)
    root.mkdir(exist_ok=True)
    write_transfer(bed.package, PACKAGED)
    with_tools(bed.package, VICTIM)
    _used_home(bed.home)
    return bed


def make_mixed_bed(root: Path) -> Bed:
    """A home that had the sessions of KNOWN once, and the package of MIXED."""
    bed = Bed(root, MIXED)
    write_transfer(bed.package, tuple(KNOWN.values()))
    _used_home(bed.home)
    (bed.home / "thread-writer-locks").mkdir()
    assert bed.sync().exit_code == 0
    bed.ended = frozenset(bed.journal.ids())
    for key, session in KNOWN.items():
        path = bed.home / session.relative_path
        data = path.read_bytes()
        if key == "apart":
            path.write_bytes(data + dump(HERE.records()[len(session.records()) :]))
        elif key == "torn":
            path.write_bytes(data + b'{"timestamp":"2026-03-17T09:00:0')
        elif key in COMPRESSED:
            path.unlink()
            path = path.with_name(f"{path.name}.zst")
            path.write_bytes(zstandard.ZstdCompressor().compress(data))
        os.utime(path, ns=(RECORD_TIME, RECORD_TIME))
    with closing(sqlite3.connect(bed.home / DATABASE)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.rmtree(bed.package)
    write_transfer(bed.package, MIXED)
    with_tools(bed.package, NEW)
    bed.save("before")
    return bed


def _used_home(home: Path) -> None:
    write_snapshot(home, [OLD])
    os.utime(home / OLD.relative_path, ns=(RECORD_TIME, RECORD_TIME))
    index = home / "session_index.jsonl"
    index.write_bytes(index.read_bytes() + b'{"id":"torn')
    add_rows(make_database(home), [OLD])


def make_twins(make: Callable[[], Bed]) -> Twins:
    """Twins of a kind of bed, made once for each choice of sessions."""
    known: dict[tuple[int, ...], dict[str, Any]] = {}

    def twin(sessions: Iterable[Session]) -> dict[str, Any]:
        chosen = tuple(sessions)
        key = tuple(one.number for one in chosen)
        if key not in known:
            bed = make()
            if chosen:
                assert bed.sync(*chosen).exit_code == 0
            known[key] = bed.state()
        return known[key]

    return twin


def strike(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    when: str,
    error: BaseException,
    at: int | tuple[str, ...],
) -> list[str]:
    """Have a step raise at its passage of a number, or where it is about one of some texts and not
    part of an undoing.

    Returned is what each strike was about.
    """
    point = POINTS[name]
    struck: list[str] = []
    counted = nth(at) if isinstance(at, int) else None

    def strikes(about: str) -> bool:
        hit = counted(about) if counted else any(text in about for text in texts) and not _undoing()
        if hit:
            struck.append(about)
        return hit

    texts = () if isinstance(at, int) else at

    def fail() -> None:
        raise error

    monkeypatch.setattr(point.owner, point.name, faulty(point, when, fail, strikes))
    return struck


def _undoing() -> bool:
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not undo_all.__code__:
        frame = frame.f_back
    return frame is not None


def fail_all_rows(patched: pytest.MonkeyPatch, bed: Bed) -> list[str]:
    """Have the database fail at each row of a transaction; returns the statements that met it."""
    met: list[str] = []

    class Failing(sqlite3.Connection):
        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
            if statement.startswith("INSERT") and bed.journal.ids():
                met.append(statement)
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(statement, *values)

    patched.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Failing))
    return met


@dataclass
class Driver:
    """Processes with a fault; in them two sessions make a batch unless ``batch`` is another.

    ``ahead``: each batch is staged beside what is done to the one before, where it may be.
    """

    process: subprocess.Popen[str]
    batch: int = 2
    ahead: bool = False

    def run(self, bed: Bed | Rolling, fault: Fault, sent: str, *more: str | Path) -> int:
        """The exit code of the command line, or the signal that ended it, negated."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        command = (*map(str, more), "--json", "--codex-home", str(bed.home))
        self.process.stdin.write(json.dumps((fault, sent, self.batch, self.ahead, *command)) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def sync(self, bed: Bed, fault: Fault, sent: str = "SIGKILL") -> int:
        """A sync of the whole package."""
        return self.run(bed, fault, sent, "sync", bed.package, "--execute", "--no-prime")

    def recover(self, bed: Bed, fault: Fault) -> int:
        """A recovery that is killed."""
        return self.run(bed, fault, "SIGKILL", "recover", "--execute")


@contextmanager
def driving(folder: Path, program: str = "faults.py") -> Iterator[Driver]:
    """A server of processes with faults, at the points that ``program`` knows."""
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name(program))],
        env=environment(folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Driver(process)
        assert process.stdin is not None
        process.stdin.close()
