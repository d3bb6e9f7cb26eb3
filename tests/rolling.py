"""A home that is synced and rolled back, and all that can be seen of it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import zstandard

from builders import Session, write_snapshot
from codex_session_sync.journal.log import Journal
from workbench import Outcome, add_rows, call, make_database, rows, tree

DATABASE = ("state_5.sqlite", "state_5.sqlite-wal", "state_5.sqlite-shm")


@dataclass
class Rolling:
    """A used home beside packages made on the way."""

    root: Path
    _numbers: count[int] = field(default_factory=count)

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def database(self) -> Path:
        return self.home / "state_5.sqlite"

    @property
    def journal(self) -> Journal:
        return Journal(self.home / "session-sync")

    def package(self, *sessions: Session) -> Path:
        """A package of sessions with names and rows."""
        folder = self.root / f"package {next(self._numbers)}"
        write_snapshot(folder, sessions)
        add_rows(make_database(folder, journal_mode="delete"), sessions)
        return folder

    def call(self, *arguments: str | Path) -> Outcome:
        """A command on this home."""
        return call(*arguments, "--json", "--codex-home", self.home)

    def sync(self, *sessions: Session) -> str:
        """Sync a package of sessions; returns the transaction."""
        done = self.call("sync", self.package(*sessions), "--execute", "--no-prime")
        assert done.exit_code == 0, done.envelope
        return str(done.envelope["data"]["transaction_id"])

    def sync_as_new(self, *sessions: Session) -> str:
        """Sync sessions whose ids others have here; returns the transaction."""
        package, new = self.package(*sessions), ("--on-collision", "import-as-new")
        done = self.call("sync", package, *new, "--execute", "--no-prime")
        assert done.exit_code == 0, done.envelope
        return str(done.envelope["data"]["transaction_id"])

    def rollback(self, *arguments: str) -> Outcome:
        """Roll back, executed; nothing changes before that."""
        before = self.state(), tree(self.home / "session-sync")
        planned = self.call("rollback", *arguments)
        assert planned.exit_code == 0, planned.envelope
        assert (self.state(), tree(self.home / "session-sync")) == before
        done = self.call("rollback", *arguments, "--execute")
        told = [{k: v for k, v in one.items() if k != "result"} for one in done.sessions.values()]
        assert told == list(planned.sessions.values())
        # Hints name the call, which was another one.
        done_errors, planned_errors = (
            [{**error, "hint": None} for error in one.envelope["errors"]] for one in (done, planned)
        )
        assert done_errors == planned_errors
        return done

    def undo(self, *arguments: str) -> str:
        """Roll back with success; returns the rollback's own transaction."""
        done = self.rollback(*arguments)
        assert (done.exit_code, done.envelope["status"]) == (0, "ok"), done.envelope
        assert {one["result"] for one in done.sessions.values()} == {"undone"}
        return str(done.envelope["data"]["rollback_transaction_id"])

    def back_and_forth(self, transaction: str, before: Any, after: Any) -> str:
        """Roll a transaction back, and that as well; each is as if nothing had been.

        Returns the second rollback.
        """
        back = self.undo(transaction)
        assert self.state() == before
        again = self.undo(back)
        assert self.state() == after
        return again

    def state(self) -> dict[str, Any]:
        """The whole home but for the journal and the lock: files to the byte, rows.

        Of the index and of sidecars the time does not count.
        """
        ours = ("transactions", "lock", "lock-holder.json")
        skipped = (*(f"session-sync/{name}" for name in ours), *DATABASE)
        found: dict[str, Any] = tree(self.home, *skipped)
        for path, what in found.items():
            if not path.endswith((".jsonl", ".zst")) or path == "session_index.jsonl":
                found[path] = (*what[:2], what[-1])
        for table in ("threads", "thread_dynamic_tools"):
            found[table] = rows(self.database, table)
        for empty in ("session-sync/sidecars", "session-sync"):
            if not any(path.startswith(f"{empty}/") for path in found):
                found.pop(empty, None)
        return found

    # -- what Codex and its user do --------------------------------------------------------------

    def do(self, statement: str, *values: object) -> None:
        """What Codex does to its database."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute(statement, values)

    def path(self, session: Session) -> Path:
        """The file of a session, wherever it is."""
        [found] = self.home.glob(f"*sessions/**/rollout-*{session.id}*")
        return found

    def go_on(self, session: Session, text: str = "and then?") -> None:
        """Have one more turn here."""
        more = session.say(text).data()[len(session.data()) :]
        with self.path(session).open("ab") as stream:
            stream.write(more)


def make_rolling(root: Path, own: Sequence[Session] = ()) -> Rolling:
    """A home with sessions of its own, a database and an index."""
    bed = Rolling(root)
    write_snapshot(bed.home, own)
    add_rows(make_database(bed.home), own)
    return bed


def compress(path: Path) -> None:
    """Compress a rollout as Codex does with old ones."""
    status = path.stat()
    data = zstandard.ZstdCompressor(write_content_size=True).compress(path.read_bytes())
    target = path.with_name(path.name + ".zst")
    target.write_bytes(data)
    shutil.copystat(path, target)
    path.unlink()
    assert target.stat().st_mtime_ns == status.st_mtime_ns
