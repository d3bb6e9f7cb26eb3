"""Our program at work on real homes: packages of every form, homes to sync into, and answers."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from codexbed import (
    CURRENT,
    CodexHome,
    MadeSession,
    ModelServer,
    SessionView,
    codex_binary,
    copy_home,
    doctor,
    rollout_files,
    tree_digest,
    view,
)
from codexbed.app_server import ALL_SOURCES
from transfer_packup import packup

Json = dict[str, Any]
Made = dict[str, MadeSession]
T = TypeVar("T")

SCRIPTS = Path(__file__).parents[2] / "scripts"
RUN_SECONDS = 120.0
DEFECT = 70

# A running or ended Codex may touch these without anything having changed.
IDLE = ("*.sqlite-shm", "*.sqlite-wal")


@dataclass(frozen=True)
class Answer:
    """What one call of our program said."""

    code: int
    document: Json
    stderr: str

    @property
    def status(self) -> str:
        """The status in the envelope."""
        return str(self.document["status"])

    @property
    def sessions(self) -> dict[str, Json]:
        """The reported sessions by id."""
        found: list[Json] = self.document["data"]["sessions"]
        return {session["session_id"]: session for session in found}

    @property
    def warnings(self) -> dict[str, set[str | None]]:
        """Which sessions each warning names, by code."""
        return _by_code(self.document["warnings"])

    @property
    def errors(self) -> dict[str, set[str | None]]:
        """Which sessions each error names, by code."""
        return _by_code(self.document["errors"])

    def refused(self) -> dict[str, str]:
        """The reason for which each refused session was refused, by id."""
        return {i: s["reason"] for i, s in self.sessions.items() if s["action"] == "refuse"}


def _by_code(problems: Sequence[Json]) -> dict[str, set[str | None]]:
    found: dict[str, set[str | None]] = {}
    for problem in problems:
        found.setdefault(problem["code"], set()).add(problem.get("session_id"))
    return found


def call(home: CodexHome, *arguments: str | Path) -> Answer:
    """Run our program on a home, as its users do: as a process, answering in JSON."""
    command = [sys.executable, "-m", "codex_session_sync", *map(str, arguments)]
    done = subprocess.run(
        [*command, "--codex-home", str(home.home), "--json"],
        env={**home.env(), "PYTHONPATH": str(SCRIPTS), "CODEX_HOME": "/nowhere"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    try:
        document = json.loads(done.stdout)
    except ValueError as error:
        raise AssertionError(f"{command}: {done.returncode}: {done.stderr[-3000:]}") from error
    assert document["exit_code"] == done.returncode
    if done.returncode == DEFECT:
        logs = [log.read_text() for log in home.tmp.glob("codex-session-sync-*.log")]
        raise AssertionError(f"{command}: {document['errors']}: {logs[-1:]}")
    return Answer(done.returncode, document, done.stderr)


def inspect(home: CodexHome, package: Path) -> Answer:
    """Look at a package."""
    return call(home, "inspect-package", package)


def sync(home: CodexHome, package: Path, *options: str) -> Answer:
    """Sync a package into a home, with the home's own release for what only Codex may do."""
    codex = ["--codex-bin", str(codex_binary(home.version))]
    return call(home, "sync", package, *codex, "--execute", *options)


def plan(home: CodexHome, package: Path, *options: str) -> Answer:
    """Plan a sync."""
    return call(home, "sync", package, *options)


# -- what there is to sync ----------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """A home with sessions, and what Codex shows of them there, by kind."""

    home: CodexHome
    made: Made
    views: dict[str, SessionView]

    def ids(self, kinds: Collection[str] | None = None) -> list[str]:
        """The ids of all sessions, or of those of some kinds."""
        return [s.session_id for k, s in self.made.items() if kinds is None or k in kinds]

    def kinds(self) -> dict[str, str]:
        """The kind of each id."""
        return {session.session_id: kind for kind, session in self.made.items()}


def without_database(source: Source, target: Path) -> Path:
    """Copy the rollouts, the index and the configuration."""
    shutil.copytree(source.home.home, target, ignore=shutil.ignore_patterns("*.sqlite*", "tmp"))
    return target


def with_database(source: Source, target: Path) -> Path:
    """Copy the whole home, whose rows so name files that are not there."""
    shutil.copytree(source.home.home, target, ignore=shutil.ignore_patterns("logs_*", "tmp"))
    return target


def rollouts_only(source: Source, target: Path) -> Path:
    """Copy the rollouts, all into one folder."""
    target.mkdir()
    for path in rollout_files(source.home.home):
        shutil.copy2(path, target)
    return target


def transfer(source: Source, target: Path) -> Path:
    """Make a package as the first-import tool does."""
    return packup(source.home.home, target)


def pack(home: CodexHome, out: Path, *options: str) -> Answer:
    """Pack a home's sessions, archived ones too."""
    return call(home, "pack", "-o", out, "--archived", *options)


def native(source: Source, target: Path) -> Path:
    """Make a native package."""
    assert pack(source.home, target).code == 0
    return target


def transfer_by_pack(source: Source, target: Path) -> Path:
    """Make a package in the first-import tool's layout."""
    assert pack(source.home, target, "--format", "transfer-v1").code == 0
    return target


FORMS: Mapping[str, Callable[[Source, Path], Path]] = {
    "database": with_database,
    "files": without_database,
    "rollouts": rollouts_only,
    "transfer": transfer,
    "native": native,
    "transfer by pack": transfer_by_pack,
}


def fresh_home(user_home: Path, target: Path, server: ModelServer, **settings: Any) -> CodexHome:
    """Make a home that has a configuration and nothing else."""
    return CodexHome(target, user_home, server, **settings).prepare()


def files_of(home: Path, session_id: str) -> list[Path]:
    """The rollout files of a session."""
    return [path for path in rollout_files(home) if session_id in path.name]


def file_of(home: Path, session_id: str) -> Path:
    """The only rollout file of a session."""
    [path] = files_of(home, session_id)
    return path


def listed(home: CodexHome, sort: str = "updated_at", archived: bool = False) -> list[str]:
    """The ids as Codex lists them, in its order; a copy of the home is asked."""
    asked = {"archived": archived, "modelProviders": [], "sourceKinds": list(ALL_SOURCES)}
    with (
        tempfile.TemporaryDirectory(prefix="listed-") as folder,
        copy_home(home, Path(folder) / "home").app_server() as app,
    ):
        page = app.request("thread/list", {**asked, "sortKey": sort, "limit": 100})
    assert page["nextCursor"] is None
    return [str(thread["id"]) for thread in page["data"]]


# -- comparing ----------------------------------------------------------------------------------


def differences(one: SessionView, other: SessionView) -> dict[str, tuple[Any, Any]]:
    """The fields in which two views of a session differ."""
    return {
        field.name: (getattr(one, field.name), getattr(other, field.name))
        for field in fields(SessionView)
        if getattr(one, field.name) != getattr(other, field.name)
    }


@dataclass(frozen=True)
class Holdings:
    """All that a home held at some moment, files and rows."""

    digest: dict[str, str]
    tables: dict[str, list[Json]]
    index: bytes

    def rows_of(self, table: str, column: str, ids: Collection[str]) -> list[Json]:
        """The rows of a table that are about these sessions."""
        return [row for row in self.tables[table] if row[column] in ids]


def holdings(home: Path) -> Holdings:
    """Take down what a home holds; the home is not touched."""
    index = home / "session_index.jsonl"
    content = index.read_bytes() if index.exists() else b""
    return Holdings(tree_digest(home), _tables(home), content)


def _tables(home: Path) -> dict[str, list[Json]]:
    with tempfile.TemporaryDirectory() as folder:
        # Even reading a WAL database writes beside it, so a copy is read.
        for path in home.glob("state_5.sqlite*"):
            shutil.copy2(path, folder)
        with closing(sqlite3.connect(Path(folder) / "state_5.sqlite")) as database:
            database.row_factory = sqlite3.Row
            tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            return {
                name: [dict(row) for row in database.execute(f'SELECT * FROM "{name}"')]
                for (name,) in tables.fetchall()
            }


# -- made once for all workers ------------------------------------------------------------------


def shared(base: Path, name: str, make: Callable[[Path], T]) -> tuple[Path, T]:
    """A folder and what `make` said of it after it had filled it.

    The first worker that needs it makes it, for all workers of the run.
    """
    root = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder = root / "shared" / name
    folder.parent.mkdir(exist_ok=True)
    result = folder.with_suffix(".pickle")
    with FileLock(folder.with_suffix(".lock")):
        if not result.exists():
            folder.mkdir()
            result.write_bytes(pickle.dumps(make(folder)))
        made: T = pickle.loads(result.read_bytes())
        return folder, made


# -- a whole home synced ------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """All that is to be known of one whole-home sync, planned, executed and repeated.

    The old release has no doctor, and no say in the order of a list.
    """

    inspected: Answer
    planned: Answer
    done: Answer
    again: Answer
    package_before: dict[str, str]
    package_after: dict[str, str]
    before: Holdings
    after_plan: Holdings
    after: Holdings
    after_again: Holdings
    own: dict[str, SessionView]
    views: dict[str, SessionView]
    order: list[str]
    parity: Json

    @property
    def imported(self) -> list[str]:
        """The ids of the imported sessions."""
        return [i for i, s in self.done.sessions.items() if s["result"] == "imported"]


@dataclass(frozen=True)
class Case:
    """A whole-home sync of one form of package into one sort of home, and what came of it."""

    form: str
    place: str
    home: CodexHome
    found: Outcome


def outcome_of(home: CodexHome, package: Path, own: Collection[str] = ()) -> Outcome:
    """Sync a package into a home that already has the sessions `own`; look before and after."""
    package_before, before = _digest(package), holdings(home.home)
    inspected, planned = inspect(home, package), plan(home, package)
    after_plan = holdings(home.home)
    done = sync(home, package)
    after = holdings(home.home)
    again = sync(home, package)
    after_again = holdings(home.home)
    ids = [i for i, session in done.sessions.items() if session["result"] == "imported"]
    views = view(home, [*own, *ids])
    return Outcome(
        inspected=inspected,
        planned=planned,
        done=done,
        again=again,
        package_before=package_before,
        package_after=_digest(package),
        before=before,
        after_plan=after_plan,
        after=after,
        after_again=after_again,
        own={i: views[i] for i in own},
        views={i: views[i] for i in ids},
        order=listed(home) if home.version == CURRENT else [],
        parity=doctor(home) if home.version == CURRENT else {},
    )


def _digest(package: Path) -> dict[str, str]:
    if package.is_dir():
        return tree_digest(package)
    return {package.name: hashlib.sha256(package.read_bytes()).hexdigest()}


WITHOUT_ROWS = frozenset({"files", "rollouts"})


def told(seen: SessionView, form: str) -> SessionView:
    """A view as it is to be when a session comes in some form of package.

    Only a row keeps what a session began with before all of it was reverted; and the old release
    at times puts a later message there. Without rows a session begins with what it begins with.
    """
    return replace(seen, preview=said(seen)[0]) if form in WITHOUT_ROWS else seen


def said(seen: SessionView) -> list[str]:
    """What the user said, turn by turn."""
    return [
        part["text"]
        for turn in seen.turns
        for item in turn["items"]
        if item["type"] == "userMessage"
        for part in item["content"]
    ]
