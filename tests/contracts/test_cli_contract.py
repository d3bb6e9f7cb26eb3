"""The command line as the contract has it: envelope, exit codes, streams, what is left alone."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import checkpointing
from archives import Zipped, zipped
from builders import Session, dump, session_id, write_snapshot, write_transfer
from codex_session_sync.cli.commands import COMMANDS, GROUPS, command_of
from codex_session_sync.codex import state_db
from codex_session_sync.errors import ExitCode
from codex_session_sync.locks import home_lock
from codex_session_sync.planned import Plan
from fingerprint_by_spec import fingerprint
from workbench import (
    SCRIPTS,
    Outcome,
    add_rows,
    call,
    call_process,
    environment,
    leave_log,
    make_database,
    tree,
)

SCHEMA = json.loads(
    (SCRIPTS / "codex_session_sync" / "schemas" / "envelope.schema.json").read_bytes()
)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

PLAIN = Session(1, start=10).say("How do I prune roses?")
NAMED = Session(2, start=20, name="Compost").say("What goes on the heap?").say("And eggshells?")
ARCHIVED = Session(3, start=30, archived=True).say("An old question")
SOME = (PLAIN, NAMED, ARCHIVED)


@dataclass
class Place:
    """A home, a package, and the folder that holds both."""

    root: Path
    home: Path = field(init=False)
    package: Path = field(init=False)

    def __post_init__(self) -> None:
        self.home = self.root / "home"
        self.package = self.root / "package"

    def sync(self, *more: str | Path) -> Outcome:
        """``sync`` of the package as JSON, checked against the schema."""
        return checked(call("sync", self.package, "--json", *more))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty home and a package of three sessions; no Codex, no other home in reach."""
    found = Place(tmp_path)
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("CODEX_SESSION_SYNC_STORE", raising=False)
    monkeypatch.chdir(Path.cwd())
    found.home.mkdir()
    write_transfer(found.package, SOME)
    return found


def checked(outcome: Outcome) -> Outcome:
    """The outcome, its stdout being one object that fits the schema and agrees with the process."""
    VALIDATOR.validate(outcome.envelope)
    assert outcome.envelope["exit_code"] == outcome.exit_code
    assert outcome.err.strip() == ""
    for error in outcome.envelope["errors"]:
        words = "AGAIN|PKG" if "count" in error else "AGAIN|PKG|ID"
        assert not re.search(rf"`codex-session-sync [^`]*\b({words})\b", error.get("hint", ""))
    return outcome


def only_transaction(place: Place) -> str:
    found = call("list-transactions", "--json").envelope["data"]["transactions"]
    [first] = [one for one in found if one["kind"] == "sync"]
    return str(first["transaction_id"])


# The envelope


def _nothing(_: Place) -> None:
    return None


def _synced(place: Place) -> None:
    assert place.sync("--execute").exit_code == 0


def _rolled_back(place: Place) -> None:
    _synced(place)
    assert checked(call("rollback", "--latest", "--execute", "--json")).exit_code == 0


def _without_sidecars(place: Place) -> None:
    _synced(place)
    shutil.rmtree(place.home / "session-sync" / "sidecars")


def _shortened(place: Place) -> None:
    """A session lost its end, another sidecar is damaged, a session is gone."""
    _synced(place)
    [named] = place.home.glob(f"sessions/**/*{NAMED.id}.jsonl")
    named.write_bytes(b"".join(named.read_bytes().splitlines(keepends=True)[:-4]))
    [gone] = place.home.glob(f"archived_sessions/*{ARCHIVED.id}.jsonl")
    gone.unlink()
    for path in place.home.glob("session-sync/sidecars/*.json"):
        if PLAIN.id in path.read_text():
            path.write_bytes(b"damaged")


def _interrupted(place: Place) -> None:
    _synced(place)
    for path in place.home.glob("session-sync/transactions/*/manifest.json"):
        manifest = json.loads(path.read_bytes())
        path.write_text(json.dumps({**manifest, "status": "running", "completed_at": None}))


def _having(place: Place) -> None:
    """The home has an id, and its ``have`` lies in the folder."""
    _synced(place)
    (place.home / "installation_id").write_text(str(uuid.UUID(int=7)))
    assert checked(call("have", "-o", place.root / "have.json", "--json")).exit_code == 0


def _with_events(place: Place) -> None:
    """A store has the events of the package."""
    assert checked(call("events", "import", place.package, "--json")).exit_code == 0


def _repository(place: Place) -> None:
    """A repository with a commit, as the folder at hand, and a store."""
    _synced(place)
    os.environ["PATH"] = checkpointing.PATH
    repo = checkpointing.new_repo(place.root / "repo")
    checkpointing.commit(repo)
    os.environ["CODEX_SESSION_SYNC_STORE"] = str(place.root / "store")
    os.chdir(repo)


def _captured(place: Place) -> None:
    """Its commit has a checkpoint, and the home another session than the next one."""
    _repository(place)
    assert checked(call("checkpoint", "capture", "--json")).exit_code == 0


def _hooked(place: Place) -> None:
    _repository(place)
    assert checked(call("checkpoint", "install-hook", "--json")).exit_code == 0


WATCHING = (sys.executable, "-m", "codex_session_sync", "watch", "INBOX", "--stdio")


SUCCESSES: list[tuple[Callable[[Place], None], tuple[str, ...], str]] = [
    (_nothing, ("inspect-package", "PKG"), "ok"),
    (_nothing, ("sync", "PKG"), "dry_run"),
    (_nothing, ("sync", "PKG", "--execute"), "ok"),
    (_synced, ("inspect-package", "PKG"), "ok"),
    (_synced, ("sync", "PKG"), "no_op"),
    (_synced, ("sync", "PKG", "--execute"), "no_op"),
    (_synced, ("pack", "-o", "OUT"), "ok"),
    (_synced, ("pack", "-o", "OUT", "--archived", "--format", "transfer-v1"), "ok"),
    (_having, ("pack", "-o", "OUT", "--have", "HAVE"), "no_op"),
    (_nothing, ("have",), "ok"),
    (_synced, ("have", "-o", "OUT"), "ok"),
    (_nothing, ("list-transactions",), "ok"),
    (_synced, ("list-transactions",), "ok"),
    (_synced, ("show-transaction", "TRANSACTION"), "ok"),
    (_synced, ("rollback", "TRANSACTION"), "dry_run"),
    (_synced, ("rollback", "--latest"), "dry_run"),
    (_synced, ("rollback", "TRANSACTION", "--execute"), "ok"),
    (_synced, ("rollback", "--latest", "--execute", "--session", PLAIN.id), "ok"),
    (_rolled_back, ("rollback", "TRANSACTION"), "no_op"),
    (_rolled_back, ("rollback", "TRANSACTION", "--execute"), "no_op"),
    (_rolled_back, ("rollback", "--latest", "--execute"), "ok"),
    (_rolled_back, ("list-transactions",), "ok"),
    (_rolled_back, ("show-transaction", "TRANSACTION"), "ok"),
    (_nothing, ("adopt",), "no_op"),
    (_nothing, ("adopt", "PKG", "--execute"), "no_op"),
    (_synced, ("adopt", "--all"), "no_op"),
    (_without_sidecars, ("adopt", "--all"), "dry_run"),
    (_without_sidecars, ("adopt", "--session", PLAIN.id, "--execute"), "ok"),
    (_without_sidecars, ("adopt", "PKG", "--execute"), "ok"),
    (_nothing, ("sidecar-health",), "ok"),
    (_synced, ("sidecar-health", "--deep"), "ok"),
    (_without_sidecars, ("sidecar-health",), "ok"),
    (_interrupted, ("sidecar-health",), "ok"),
    (_nothing, ("recover",), "no_op"),
    (_nothing, ("recover", "--execute"), "no_op"),
    (_interrupted, ("recover",), "dry_run"),
    (_interrupted, ("recover", "--execute"), "ok"),
    (_nothing, ("rebuild-index",), "no_op"),
    (_nothing, ("rebuild-index", "--execute"), "no_op"),
    (_synced, ("rebuild-index",), "dry_run"),
    (_synced, ("rebuild-index", "--execute"), "ok"),
    (_nothing, ("verify",), "no_op"),
    (_synced, ("explain", PLAIN.id), "ok"),
    (_nothing, ("lineage",), "ok"),
    (_synced, ("lineage",), "ok"),
    (_synced, ("lineage", "--format", "html"), "ok"),
    (_nothing, ("events", "import", "PKG"), "ok"),
    (_synced, ("events", "import"), "ok"),
    (_with_events, ("events", "import", "PKG"), "no_op"),
    (_with_events, ("events", "search", "roses"), "ok"),
    (_with_events, ("events", "search", "nothing"), "no_op"),
    (_with_events, ("events", "report"), "ok"),
    (_with_events, ("events", "report", "IMPORT"), "ok"),
    (_with_events, ("events", "report", "EVENT"), "ok"),
    (_with_events, ("events", "graph"), "ok"),
    (_with_events, ("events", "index"), "ok"),
    (_with_events, ("events", "rebuild"), "ok"),
    *[
        (before, (command, *more), "dry_run" if status == "ok" and not more else status)
        for before, command, status in (
            (_nothing, "rebuild-sidecar", "no_op"),
            (_synced, "rebuild-sidecar", "no_op"),
            (_without_sidecars, "rebuild-sidecar", "ok"),
            (_shortened, "rebuild-sidecar", "ok"),
            (_synced, "replay-transactions-sidecar", "no_op"),
            (_without_sidecars, "replay-transactions-sidecar", "ok"),
            (_shortened, "replay-transactions-sidecar", "ok"),
            (_nothing, "prune-invalid-mappings", "no_op"),
            (_synced, "prune-invalid-mappings", "no_op"),
            (_shortened, "prune-invalid-mappings", "ok"),
        )
        for more in ((), ("--execute",))
    ],
    (_nothing, ("serve",), "ok"),
    (_nothing, ("watch", "INBOX"), "ok"),
    (_synced, ("watch", "HOME"), "ok"),
    *[
        (before, ("ingest", "--mode", "backfill", *more, "--", *WATCHING), status)
        for before, more, status in (
            (_nothing, (), "dry_run"),
            (_nothing, ("--execute",), "ok"),
            (_synced, ("--execute",), "no_op"),
        )
    ],
    (_repository, ("checkpoint", "capture"), "ok"),
    (_captured, ("checkpoint", "capture", "--force"), "ok"),
    (_captured, ("checkpoint", "report"), "ok"),
    (_captured, ("checkpoint", "report", "--open", "--all"), "ok"),
    (_captured, ("checkpoint", "list"), "ok"),
    (_captured, ("checkpoint", "list", "--all"), "ok"),
    (_captured, ("checkpoint", "sync", "--all"), "no_op"),
    (_captured, ("checkpoint", "sync", "--session", PLAIN.id, "--summary"), "no_op"),
    (_repository, ("checkpoint", "install-hook"), "ok"),
    (_hooked, ("checkpoint", "install-hook"), "no_op"),
    (_hooked, ("checkpoint", "remove-hook"), "ok"),
    (_repository, ("checkpoint", "remove-hook"), "no_op"),
    (_nothing, ("demo",), "ok"),
    (_nothing, ("completion", "bash"), "ok"),
    *[
        (before, (*command, option), status)
        for before, command, status in (
            (_nothing, ("inspect-package", "PKG"), "ok"),
            (_synced, ("inspect-package", "PKG"), "ok"),
            (_nothing, ("sync", "PKG"), "dry_run"),
            (_nothing, ("sync", "PKG", "--execute"), "ok"),
            (_synced, ("sync", "PKG", "--execute"), "no_op"),
            (_synced, ("rollback", "--latest"), "dry_run"),
            (_synced, ("rollback", "--latest", "--execute"), "ok"),
            (_rolled_back, ("rollback", "TRANSACTION"), "no_op"),
            (_synced, ("adopt", "--all"), "no_op"),
            (_without_sidecars, ("adopt", "--all", "--execute"), "ok"),
            (_nothing, ("verify",), "no_op"),
        )
        for option in ("--summary", "--only-changes")
    ],
]


def _filled(arguments: tuple[str, ...], place: Place) -> list[str]:
    known = {"PKG": str(place.package), "OUT": str(place.root / "out"), "HOME": str(place.home)}
    known["HAVE"] = str(place.root / "have.json")
    if "IMPORT" in arguments:
        told = call("events", "report", "--json").envelope["data"]["imports"]
        known["IMPORT"] = told[0]["import_id"]
    if "EVENT" in arguments:
        found = call("events", "search", "roses", "--json").envelope["data"]["events"]
        known["EVENT"] = found[0]["event_id"]
    if "INBOX" in arguments:
        known["INBOX"] = str(place.root / "inbox")
        shutil.copytree(place.package, place.root / "inbox" / "package")
    if "TRANSACTION" in arguments:
        known["TRANSACTION"] = only_transaction(place)
    return [known.get(argument, argument) for argument in arguments]


@pytest.mark.parametrize(("before", "arguments", "status"), SUCCESSES)
def test_success_fits_the_schema(
    place: Place, before: Callable[[Place], None], arguments: tuple[str, ...], status: str
) -> None:
    before(place)
    words = len((command_of(arguments) or "").split())
    given = _filled(arguments, place)
    outcome = checked(call(*given[:words], "--json", *given[words:]))
    assert outcome.exit_code == ExitCode.OK
    assert outcome.envelope["command"] == command_of(arguments)
    assert outcome.envelope["status"] == status
    assert outcome.envelope["errors"] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_an_error_of_any_command_fits_the_schema(place: Place, command: str) -> None:
    shutil.rmtree(place.home)
    arguments = {
        "inspect-package": ["PKG"],
        "sync": ["PKG"],
        "pack": ["-o", "OUT"],
        "show-transaction": ["x"],
        "rollback": ["x"],
        "explain": ["x"],
        "ingest": ["x"],
        "watch": ["x"],
        "demo": ["--codex-home", str(place.root)],
    }
    given = _filled((*command.split(), *arguments.get(command, ())), place)
    outcome = checked(call(*given, "--json"))
    ends = {
        "watch": ("package_not_found", 3),
        "demo": ("demo_home_exists", 2),
        "completion": ("usage", 2),
        **dict.fromkeys(
            ("checkpoint report", "checkpoint list", "checkpoint sync"), ("store_missing", 4)
        ),
        **dict.fromkeys(("checkpoint install-hook", "checkpoint remove-hook"), ("git_missing", 4)),
    }
    if command.startswith("events ") and command != "events import":
        ends[command] = ("store_missing", 4)
    code, exit_code = ends.get(command, ("home_missing", 4))
    assert outcome.envelope["command"] == command
    assert (outcome.codes, outcome.exit_code) == ([code], exit_code)
    assert outcome.envelope["errors"][0]["hint"]


def test_all_commands_are_covered() -> None:
    assert {command_of(arguments) for _, arguments, _ in SUCCESSES} == set(COMMANDS)
    known = {"codex-session-sync", *COMMANDS, *GROUPS}
    assert set(SCHEMA["properties"]["command"]["enum"]) == known


def test_the_schema_is_strict(place: Place) -> None:
    VALIDATOR.check_schema(SCHEMA)
    whole = place.sync("--execute").envelope

    def refuses(change: Callable[[dict[str, Any]], object]) -> bool:
        document = json.loads(json.dumps(whole))
        change(document)
        return not VALIDATOR.is_valid(document)

    assert not refuses(lambda _: None)
    for key in whole:
        assert refuses(lambda d, key=key: d.pop(key)), key  # type: ignore[misc]
    session = whole["data"]["sessions"][0]
    for key in CONTRACT_KEYS | {"result"}:
        assert refuses(lambda d, key=key: d["data"]["sessions"][0].pop(key)), key  # type: ignore[misc]
    assert session["reason"] is None
    assert refuses(lambda d: d.update(more=1))
    assert refuses(lambda d: d["data"].update(more=1))
    assert refuses(lambda d: d["data"]["sessions"][0].update(more=1))
    assert refuses(lambda d: d["data"]["sessions"][0].update(action="skip"))
    assert refuses(lambda d: d["data"]["sessions"][0].update(result="done"))
    assert refuses(lambda d: d.update(exit_code=1))
    assert refuses(lambda d: d.update(status="error"))
    assert refuses(lambda d: d["warnings"].append({"code": "Not-a-code", "message": "x"}))


# Wrong usage

USAGE: list[tuple[tuple[str, ...], str, str]] = [
    ((), "codex-session-sync", "usage"),
    (("--no-such-option",), "codex-session-sync", "usage"),
    (("no-such-command",), "codex-session-sync", "usage"),
    (("no-such-command", "sync"), "codex-session-sync", "usage"),
    (("inspect-package",), "inspect-package", "usage"),
    (("inspect-package", "PKG", "more"), "inspect-package", "usage"),
    (("inspect-package", "PKG", "--execute"), "inspect-package", "usage"),
    (("sync", "PKG", "--session"), "sync", "usage"),
    (("sync", "PKG", "--no-such-option"), "sync", "usage"),
    (("sync", "PKG", "--codex-bin", "/no/such/codex"), "sync", "codex_bin_missing"),
    (("sync", "PKG", "--verify"), "sync", "usage"),
    (("sync", "PKG", "--execute", "--verify", "--no-prime"), "sync", "usage"),
    (("sync", "PKG", "--session", session_id(99)), "sync", "session_unknown"),
    (("sync", "PKG", "--session", session_id(99), "--execute"), "sync", "session_unknown"),
    (("sync", "PKG", "--session", ""), "sync", "session_unknown"),
    (("sync", "PKG", "--session", "…"), "sync", "session_unknown"),
    (("inspect-package", "PKG", "--session", "019cac"), "inspect-package", "session_ambiguous"),
    (("sync", "PKG", "--limit", "files=many"), "sync", "limit_invalid"),
    (("pack",), "pack", "usage"),
    (("pack", "-o", "OUT", "--since", "soon"), "pack", "usage"),
    (("pack", "-o", "OUT"), "pack", "selection_empty"),
    (("pack", "-o", "PKG"), "pack", "output_exists"),
    (("list-transactions", "more"), "list-transactions", "usage"),
    (("show-transaction",), "show-transaction", "usage"),
    (("show-transaction", "x"), "show-transaction", "transaction_unknown"),
    (("show-transaction", ""), "show-transaction", "transaction_unknown"),
    (("recover", "--force"), "recover", "usage"),
    (("rebuild-index", "--only", "names"), "rebuild-index", "usage"),
    (("rebuild-index", "--max-threads", "-1"), "rebuild-index", "usage"),
]


@pytest.mark.parametrize(("arguments", "command", "code"), USAGE)
def test_wrong_usage(place: Place, arguments: tuple[str, ...], command: str, code: str) -> None:
    given = _filled(arguments, place)
    before = tree(place.home, "session-sync/lock")
    outcome = checked(call(*given[:1], "--json", *given[1:]))
    assert (outcome.codes, outcome.exit_code) == ([code], ExitCode.USAGE)
    assert outcome.envelope["command"] == command

    outcome = call(*given)
    assert outcome.exit_code == ExitCode.USAGE
    if arguments:  # without any, the help is shown where the help belongs
        assert outcome.out == b""
    assert outcome.err
    assert "Traceback" not in outcome.err
    after = tree(place.home, "session-sync/lock")
    assert {path for path in after if path != "session-sync"} == set(before)


def test_wrong_usage_as_a_process(place: Place) -> None:
    variables = environment(place.root)
    outcome = checked(call_process(variables, "sync", "--json", "--no-such-option"))
    assert (outcome.codes, outcome.exit_code) == (["usage"], 2)
    outcome = call_process(variables, "sync", "--no-such-option")
    assert (outcome.exit_code, outcome.out) == (2, b"")
    assert "--no-such-option" in outcome.err


# The package (3) and the home (4)


def _no_package(place: Place) -> None:
    shutil.rmtree(place.package)


def _empty_folder(place: Place) -> None:
    _no_package(place)
    place.package.mkdir()


def _empty_file(place: Place) -> None:
    _no_package(place)
    place.package.write_bytes(b"")


def _not_a_package(place: Place) -> None:
    _no_package(place)
    place.package.write_bytes(b"Dear all, please find attached\n" * 50)


def _no_sessions(place: Place) -> None:
    _no_package(place)
    (place.package / "sessions").mkdir(parents=True)
    (place.package / "session_index.jsonl").write_bytes(b"")


def _cut_archive(place: Place) -> None:
    data = _tar_gz(place.package)
    _no_package(place)
    place.package.write_bytes(data[: len(data) // 2])


def _climbing_archive(place: Place) -> None:
    _no_package(place)
    place.package.write_bytes(zipped(Zipped("../" + PLAIN.relative_path, PLAIN.data())))


def _manifest_not_json(place: Place) -> None:
    (place.package / "package_manifest.json").write_text("{")


def _manifest_without_version(place: Place) -> None:
    (place.package / "package_manifest.json").write_text('{"package_kind": "x"}')


def _other_version(place: Place) -> None:
    path = place.package / "package_manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 2}))


def _bad_row(place: Place) -> None:
    (place.package / "metadata" / "threads.jsonl").write_text('{"id": 5}\n')


def _bad_tool(place: Place) -> None:
    (place.package / "metadata" / "thread_dynamic_tools.jsonl").write_text("[]\n")


PACKAGES: list[tuple[Callable[[Place], None], str]] = [
    (_no_package, "package_not_found"),
    (_empty_folder, "package_empty"),
    (_empty_file, "package_empty"),
    (_no_sessions, "package_empty"),
    (_not_a_package, "package_unknown_format"),
    (_cut_archive, "package_damaged"),
    (_climbing_archive, "package_unsafe"),
    (_manifest_not_json, "package_manifest_invalid"),
    (_manifest_without_version, "package_manifest_invalid"),
    (_other_version, "package_version_unsupported"),
    (_bad_row, "thread_row_invalid"),
    (_bad_tool, "dynamic_tool_invalid"),
]


@pytest.mark.parametrize(("damage", "code"), PACKAGES)
@pytest.mark.parametrize("arguments", [("inspect-package",), ("sync",), ("sync", "--execute")])
def test_a_package_that_cannot_be_used(
    place: Place, damage: Callable[[Place], None], code: str, arguments: tuple[str, ...]
) -> None:
    damage(place)
    before = tree(place.home)
    outcome = checked(call(arguments[0], place.package, *arguments[1:], "--json"))
    assert (outcome.codes, outcome.exit_code) == ([code], ExitCode.PACKAGE)
    assert tree(place.home) == before

    outcome = call(arguments[0], place.package, *arguments[1:])
    assert (outcome.exit_code, outcome.out) == (ExitCode.PACKAGE, b"")
    assert f"[{code}]" in outcome.err
    assert "Traceback" not in outcome.err


def _no_home(place: Place, _: pytest.MonkeyPatch) -> None:
    place.home.rmdir()


def _home_is_a_file(place: Place, _: pytest.MonkeyPatch) -> None:
    place.home.rmdir()
    place.home.write_text("not a folder")


def _home_of_nobody(_: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_HOME", "~no-such-user/.codex")


def _unreadable_home(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    # The tests may run as root, whom permissions do not stop.
    real = os.scandir

    def scandir(path: Any) -> Any:
        if isinstance(path, Path) and path == place.home:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)


def _bad_config(place: Place, _: pytest.MonkeyPatch) -> None:
    (place.home / "config.toml").write_text("approval_policy = ")


def _home_not_utf8(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    other = os.fsencode(place.root) + b"/h\xf6me"
    Path(os.fsdecode(other)).mkdir()
    monkeypatch.setenv("CODEX_HOME", os.fsdecode(other))


HOMES: list[tuple[Callable[[Place, pytest.MonkeyPatch], None], str]] = [
    (_no_home, "home_missing"),
    (_home_is_a_file, "home_missing"),
    (_home_of_nobody, "home_missing"),
    (_unreadable_home, "home_unreadable"),
    (_home_not_utf8, "home_unreadable"),
    (_bad_config, "config_invalid"),
]


@pytest.mark.parametrize(("damage", "code"), HOMES)
@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect-package", "PKG"),
        ("sync", "PKG"),
        ("sync", "PKG", "--execute"),
        ("list-transactions",),
        ("show-transaction", "x"),
        ("recover", "--execute"),
        ("rebuild-index",),
        ("rebuild-index", "--execute"),
    ],
)
def test_a_home_that_cannot_be_used(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Place, pytest.MonkeyPatch], None],
    code: str,
    arguments: tuple[str, ...],
) -> None:
    damage(place, monkeypatch)
    before = tree(place.root)
    outcome = checked(call(*_filled(arguments, place), "--json"))
    assert (outcome.codes, outcome.exit_code) == ([code], ExitCode.HOME)
    outcome = call(*_filled(arguments, place))
    assert (outcome.exit_code, outcome.out) == (ExitCode.HOME, b"")
    assert tree(place.root) == before


def _locked(place: Place) -> Iterator[None]:
    (place.home / "session-sync").mkdir()
    with home_lock(place.home / "session-sync", "sync"):
        yield


def _busy(place: Place) -> Iterator[None]:
    path = make_database(place.home)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield


def _no_database(place: Place) -> Iterator[None]:
    (place.home / "state_5.sqlite").write_bytes(b"this is no database " * 100)
    yield


def _no_threads_table(place: Place) -> Iterator[None]:
    make_database(place.home, "CREATE TABLE other (x)")
    yield


def _sync_dir_is_a_file(place: Place) -> Iterator[None]:
    (place.home / "session-sync").write_text("")
    yield


def _transactions_is_a_file(place: Place) -> Iterator[None]:
    (place.home / "session-sync").mkdir()
    (place.home / "session-sync" / "transactions").write_text("")
    yield


def _bad_manifest(place: Place) -> Iterator[None]:
    folder = place.home / "session-sync" / "transactions" / "20260101T000000000000Z-00000000"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"status": "running"}')
    yield


UNUSABLE: list[tuple[Callable[[Place], Iterator[None]], str]] = [
    (_locked, "home_locked"),
    (_busy, "database_busy"),
    (_no_database, "database_unreadable"),
    (_no_threads_table, "database_unreadable"),
    (_sync_dir_is_a_file, "home_not_writable"),
    (_transactions_is_a_file, "home_not_writable"),
    (_bad_manifest, "transaction_invalid"),
]


@pytest.mark.parametrize(("trouble", "code"), UNUSABLE)
def test_a_home_that_cannot_be_written_now(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Callable[[Place], Iterator[None]],
    code: str,
) -> None:
    monkeypatch.setattr(state_db, "BUSY_TIMEOUT_S", 0.05)
    going_on = trouble(place)
    next(going_on)
    own = ("session-sync/lock", "session-sync/lock-holder.json")
    skip = (*own, "state_5.sqlite-shm", "state_5.sqlite-wal")
    before = tree(place.home, *skip)
    outcome = place.sync("--execute")
    assert (outcome.codes, outcome.exit_code) == ([code], ExitCode.HOME)
    assert outcome.envelope["errors"][0]["message"]
    after = tree(place.home, *skip)
    after.pop("session-sync", None)
    assert after == {path: what for path, what in before.items() if path != "session-sync"}
    next(going_on, None)


def test_a_lock_is_named(place: Place) -> None:
    (place.home / "session-sync").mkdir()
    with home_lock(place.home / "session-sync", "recover"):
        error = place.sync("--execute").envelope["errors"][0]
    assert f"process {os.getpid()}" in error["message"]
    assert "(recover)" in error["message"]


# Exit codes 5, 70, and being stopped


@pytest.mark.parametrize("again", ["same package", "nothing new in it"])
def test_an_interrupted_transaction_comes_first(place: Place, again: str) -> None:
    _interrupted(place)
    if again == "same package":
        write_snapshot(place.package, [Session(4, start=40).say("A new one")])
    before = tree(place.home)
    outcome = place.sync("--execute")
    assert (outcome.codes, outcome.exit_code) == (["transaction_interrupted"], 5)
    assert tree(place.home) == before
    assert call("sync", place.package, "--execute").out == b""
    assert place.sync().exit_code == 0

    assert call("recover", "--execute", "--json").exit_code == 0
    assert place.sync("--execute").exit_code == 0


def test_reading_goes_on_beside_an_unfinished_transaction(place: Place) -> None:
    _interrupted(place)
    before = tree(place.home)
    for arguments in (
        ("inspect-package", "PKG"),
        ("sync", "PKG"),
        ("list-transactions",),
        ("show-transaction", "TRANSACTION"),
    ):
        outcome = checked(call(*_filled(arguments, place), "--json"))
        assert outcome.exit_code == 0
        (warning,) = outcome.envelope["warnings"]
        assert warning["code"] == "transaction_unfinished"
        assert only_transaction(place) in warning["message"]
    assert tree(place.home) == before
    assert call("recover", "--execute", "--json").exit_code == 0
    assert place.sync().envelope["warnings"] == []


def test_a_defect(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> Plan:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("codex_session_sync.cli.inspect_package.make_plan", fails)
    outcome = checked(call("inspect-package", place.package, "--json"))
    assert (outcome.codes, outcome.exit_code) == (["defect"], ExitCode.DEFECT)
    error = outcome.envelope["errors"][0]
    log = Path(error["hint"].split()[-1])
    assert "ZeroDivisionError" in error["message"]
    assert "Traceback" in log.read_text()

    outcome = call("inspect-package", place.package)
    assert (outcome.exit_code, outcome.out) == (ExitCode.DEFECT, b"")
    assert "Traceback" not in outcome.err


def test_a_defect_without_a_temporary_folder(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> Plan:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("codex_session_sync.cli.inspect_package.make_plan", fails)
    monkeypatch.setattr("tempfile.tempdir", str(place.root / "gone"))
    outcome = call("inspect-package", place.package, "--json")
    assert (outcome.codes, outcome.exit_code) == (["defect"], ExitCode.DEFECT)
    assert outcome.envelope["errors"][0]["hint"].endswith("stderr says")
    assert "Traceback" in outcome.err


# No file can hold a byte, as where a sandbox lets nothing be written.
WRITES_NOTHING = (
    "import resource, signal, sys; from codex_session_sync.cli.main import run;"
    "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); sys.exit(run(sys.argv[1:]))"
)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
@pytest.mark.parametrize(
    "words", [("inspect-package", "package"), ("explain", PLAIN.id), ("sync", "package"), ("demo",)]
)
def test_no_temporary_folder(place: Place, words: tuple[str, ...]) -> None:
    """It is no fault of the package, and the hint says what to do about it."""
    write_snapshot(place.home, [PLAIN])
    add_rows(make_database(place.home), [PLAIN])
    named = [place.package if word == "package" else word for word in words]
    program = ("-c", WRITES_NOTHING)
    outcome = checked(call_process(environment(place.root), *named, "--json", program=program))
    assert (outcome.codes, outcome.exit_code) == (["no_temporary_folder"], ExitCode.HOME)
    assert "in a sandbox, ask for permission" in outcome.envelope["errors"][0]["hint"]


def test_a_refused_system_call_is_no_defect(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> Plan:
        raise OSError(5, "Input/output error", "/some/file")

    monkeypatch.setattr("codex_session_sync.cli.inspect_package.make_plan", fails)
    outcome = checked(call("inspect-package", place.package, "--json"))
    assert (outcome.codes, outcome.exit_code) == (["system_error"], ExitCode.HOME)
    assert "/some/file" in outcome.envelope["errors"][0]["message"]


@pytest.mark.parametrize(
    ("stop", "exit_code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)]
)
def test_a_stop_is_reported(
    place: Place, monkeypatch: pytest.MonkeyPatch, stop: BaseException, exit_code: int
) -> None:
    def stops(*_: object, **__: object) -> Plan:
        raise stop

    monkeypatch.setattr("codex_session_sync.cli.sync.make_plan", stops)
    outcome = place.sync()
    assert (outcome.codes, outcome.exit_code) == (["interrupted"], exit_code)


# A dry run changes no byte


def _tar_gz(folder: Path) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        archive.add(folder, arcname="package")
    return data.getvalue()


def _packed(place: Place) -> None:
    data = _tar_gz(place.package)
    _no_package(place)
    place.package.write_bytes(data)


def _snapshot_with_log(place: Place) -> None:
    _no_package(place)
    write_snapshot(place.package, SOME)
    path = make_database(place.package)
    add_rows(path, [PLAIN])
    leave_log(path, [NAMED])


def _live_snapshot(place: Place) -> None:
    _snapshot_with_log(place)
    path = place.package / "state_5.sqlite-shm"
    path.write_bytes(b"\0" * 32768)


@pytest.mark.parametrize("packed", [_nothing, _packed, _snapshot_with_log, _live_snapshot])
@pytest.mark.parametrize("used", ["fresh", "database", "log", "synced"])
def test_a_dry_run_changes_no_byte(
    place: Place, packed: Callable[[Place], None], used: str
) -> None:
    old = Session(8, start=80).say("Was here before")
    packed(place)
    if used == "synced":
        _synced(place)
    if used != "fresh":
        write_snapshot(place.home, [old, PLAIN])
        path = make_database(place.home)
        if used == "log":
            leave_log(path, [old])
        else:
            add_rows(path, [old])
    before = tree(place.root)
    commands = [
        ("inspect-package", place.package),
        ("inspect-package", place.package, "--session", PLAIN.id),
        ("sync", place.package),
        ("list-transactions",),
        ("recover",),
        ("rebuild-index", "--max-threads", "0", "--include-orphans"),
    ]
    if used == "synced":
        commands.append(("show-transaction", only_transaction(place)))
    for command in commands:
        for more in ((), ("--json",)):
            assert call(*command, *more).exit_code == 0
            assert tree(place.root) == before, command


def test_an_execution_leaves_the_package_and_other_sessions_alone(place: Place) -> None:
    old = Session(8, start=80, name="Old").say("Was here before")
    _snapshot_with_log(place)
    write_snapshot(place.home, [old])
    database = make_database(place.home)
    add_rows(database, [old])
    package, before = tree(place.package), tree(place.home)
    index = (place.home / "session_index.jsonl").read_bytes()
    assert place.sync("--execute").exit_code == 0
    assert tree(place.package) == package
    after = tree(place.home)
    assert after[old.relative_path] == before[old.relative_path]
    assert (place.home / "session_index.jsonl").read_bytes().startswith(index)
    assert list((place.root / "tmp").iterdir()) == []


# What is said of sessions

CONTRACT_KEYS = {
    "session_id",
    "local_session_id",
    "classification",
    "relation",
    "action",
    "reason",
    "entries",
}


def test_a_second_sync_has_nothing_to_do(place: Place) -> None:
    make_database(place.home)
    first = place.sync("--execute")
    assert first.envelope["status"] == "ok"
    assert {one["result"] for one in first.sessions.values()} == {"imported"}
    before = tree(place.home, "session-sync/lock")
    second = place.sync("--execute")
    assert second.envelope["status"] == "no_op"
    assert second.envelope["data"]["transaction_id"] is None
    assert {(one["action"], one["reason"], one["result"]) for one in second.sessions.values()} == {
        ("skip", "equal", "skipped")
    }
    assert tree(place.home, "session-sync/lock") == before
    assert len(call("list-transactions", "--json").envelope["data"]["transactions"]) == 1


@pytest.mark.parametrize("execute", [True, False])
def test_a_sync_that_writes_nothing_leaves_no_trace(place: Place, execute: bool) -> None:
    write_snapshot(place.home, SOME)
    before = tree(place.root)
    outcome = place.sync(*(["--execute"] if execute else []))
    assert outcome.envelope["status"] == "no_op"
    assert tree(place.root) == before


def test_session_limits(place: Place) -> None:
    limited = place.sync("--session", NAMED.id, "--execute")
    assert list(limited.sessions) == [NAMED.id]
    rollouts = [path.name for path in place.home.rglob("rollout-*")]
    assert rollouts == [NAMED.file_name]
    rest = place.sync("--execute")
    assert rest.sessions[NAMED.id]["result"] == "skipped"
    assert rest.envelope["data"]["counts"]["result"] == {"imported": 2, "skipped": 1}


@pytest.mark.parametrize(
    "shortened",
    [
        NAMED.id,
        NAMED.id[-6:],
        f"{NAMED.id[:8]}…{NAMED.id[-6:]}",
        f"{NAMED.id[:8]}...{NAMED.id[-6:]}",
    ],
)
def test_ids_may_be_shortened(place: Place, shortened: str) -> None:
    assert list(place.sync("--session", shortened).sessions) == [NAMED.id]


def test_sessions_keep_the_order_of_the_package(place: Place) -> None:
    given = place.sync("--session", ARCHIVED.id, "--session", PLAIN.id, "--session", PLAIN.id)
    assert list(given.sessions) == [PLAIN.id, ARCHIVED.id]


NEW = Session(10, start=100).say("New")
EQUAL = Session(11, start=110).say("Known").say("here")
LOCAL_AHEAD = Session(12, start=120).say("Carried on here")
INCOMING_AHEAD = Session(13, start=130).say("Carried on there")
SPLIT = Session(14, start=140).say("Before the split")
COLLIDING = Session(15, start=150).say("One thing")
BROKEN = Session(16, start=160).say("Lost")
BASELESS = Session(18, start=180).say("Not packaged").fork(17).say("A fork without its base")
FILELESS = Session(19, start=190).say("Not packaged either")
TORN = Session(20, start=200).say("Whole").say("and cut off")
FORK = NEW.fork(21).say("A fork with its base")
UNREADABLE_HERE = Session(22, start=220).say("Readable there")


@pytest.fixture
def mixture(place: Place) -> Place:
    """A package with a session of every class, and some that cannot be imported."""
    shutil.rmtree(place.package)
    there = [
        NEW,
        EQUAL,
        LOCAL_AHEAD,
        INCOMING_AHEAD.say("more").say("and more"),
        SPLIT.say("that way"),
        COLLIDING,
        BROKEN,
        BASELESS,
        FILELESS,
        TORN,
        FORK,
        UNREADABLE_HERE,
    ]
    here = [
        EQUAL,
        LOCAL_AHEAD.say("more"),
        INCOMING_AHEAD,
        SPLIT.say("this way").say("and on"),
        Session(15, start=151).say("Another thing"),
        UNREADABLE_HERE,
    ]
    write_transfer(place.package, there)
    sessions = place.package / "sessions"
    (sessions / BROKEN.file_name).write_bytes(b"\x00\x01 no record\n" * 20)
    (sessions / FILELESS.file_name).unlink()
    data = TORN.data()
    (sessions / TORN.file_name).write_bytes(data[: -len(dump(TORN.records()[-1:])) // 2])
    write_snapshot(place.home, here)
    (place.home / UNREADABLE_HERE.relative_path).write_bytes(b"no record\n")
    return place


APART = fingerprint({SPLIT.id: SPLIT.say("that way").data()}, SPLIT.id).links[4]
BRANCH_ID = str(
    uuid.uuid5(uuid.UUID("5d0f3b0c-7a55-5c0e-9d3a-6f1f0f7c2a11"), f"branch {SPLIT.id} {APART}")
)
"""Derived from the session's origin and the link of the first entry that sets it apart."""

MIXED: dict[str, tuple[Any, ...]] = {
    # classification, relation, action, reason, local id, incoming, local, common, result
    NEW.id: ("new_lineage", "none", "import", None, NEW.id, 4, None, 0, "imported"),
    EQUAL.id: ("unchanged", "equal", "skip", "equal", EQUAL.id, 6, 6, 6, "skipped"),
    LOCAL_AHEAD.id: (
        *("unchanged", "local_ahead", "skip", "local_ahead"),
        *(LOCAL_AHEAD.id, 4, 6, 4, "skipped"),
    ),
    INCOMING_AHEAD.id: (
        *("fast_forward_import", "incoming_ahead", "fast_forward", None),
        *(INCOMING_AHEAD.id, 8, 4, 4, "fast_forwarded"),
    ),
    SPLIT.id: (
        *("diverged_lineage", "diverged", "branch", None),
        *(BRANCH_ID, 6, 8, 4, "branched"),
    ),
    COLLIDING.id: (
        *("id_collision_unrelated", "unrelated", "refuse", "id_collision"),
        *(COLLIDING.id, 4, 4, 0, "refused"),
    ),
    BROKEN.id: (
        *("new_lineage", "none", "refuse", "transcript_invalid"),
        *(None, 0, None, 0, "refused"),
    ),
    BASELESS.id: (
        *("new_lineage", "none", "refuse", "history_base_missing"),
        *(None, 0, None, 0, "refused"),
    ),
    FILELESS.id: (
        *("new_lineage", "none", "refuse", "transcript_missing"),
        *(None, 0, None, 0, "refused"),
    ),
    TORN.id: ("new_lineage", "none", "import", None, TORN.id, 6, None, 0, "imported"),
    FORK.id: ("new_lineage", "none", "import", None, FORK.id, 6, None, 0, "imported"),
    UNREADABLE_HERE.id: (
        *("new_lineage", "none", "refuse", "local_transcript_unreadable"),
        *(None, 4, None, 0, "refused"),
    ),
}


def _told(session: dict[str, Any]) -> tuple[Any, ...]:
    entries = session["entries"]
    return (
        *(session[key] for key in ("classification", "relation", "action", "reason")),
        *(session["local_session_id"], entries["incoming"], entries["local"], entries["common"]),
    )


def test_a_mixture_is_classified(mixture: Place) -> None:
    for outcome in (
        checked(call("inspect-package", mixture.package, "--json")),
        mixture.sync(),
    ):
        assert outcome.exit_code == 0
        assert {key: _told(one) for key, one in outcome.sessions.items()} == {
            key: wanted[:-1] for key, wanted in MIXED.items()
        }
        assert all(one.keys() >= CONTRACT_KEYS for one in outcome.sessions.values())
        assert not any("result" in one for one in outcome.sessions.values())
        refused = {key: wanted[3] for key, wanted in MIXED.items() if wanted[2] == "refuse"}
        errors = outcome.envelope["errors"]
        assert {error["session_id"]: error["code"] for error in errors} == refused
        assert all(error["hint"] for error in errors)
        warnings = {(one["code"], one["session_id"]) for one in outcome.envelope["warnings"]}
        new = {key for key, wanted in MIXED.items() if wanted[2] in ("import", "branch")}
        missing = {("cwd_missing", key) for key in new}
        assert warnings == {("transcript_torn", TORN.id)} | missing


def test_a_mixture_is_done_in_part(mixture: Place) -> None:
    database = make_database(mixture.home)
    add_rows(database, [INCOMING_AHEAD])
    extended = mixture.home / INCOMING_AHEAD.relative_path
    start = extended.read_bytes()
    before = tree(mixture.home)
    outcome = mixture.sync("--execute")
    assert (outcome.exit_code, outcome.envelope["status"]) == (ExitCode.PARTIAL, "partial")
    assert outcome.envelope["data"]["counts"]["result"] == {
        "branched": 1,
        "fast_forwarded": 1,
        "imported": 3,
        "refused": 5,
        "skipped": 2,
    }
    for key, wanted in MIXED.items():
        told = outcome.sessions[key]
        assert told["result"] == wanted[-1]
        assert told["local_session_id"] == wanted[4]
        assert told.keys() >= CONTRACT_KEYS | {"result"}
    kept = {"imported", "branched", "fast_forwarded"}
    written = {key for key, wanted in MIXED.items() if wanted[-1] in kept}
    with closing(sqlite3.connect(database)) as connection:
        rows = {row[0] for row in connection.execute("SELECT id FROM threads")}
    assert rows == {MIXED[key][4] for key in written}
    after = tree(mixture.home, "session-sync", "state_5.sqlite")
    new = {path for path, what in after.items() if what[0] == "file" and path not in before}
    branch = SPLIT.relative_path.replace(SPLIT.id, BRANCH_ID)
    named = {"session_index.jsonl"}
    assert new == {NEW.relative_path, TORN.relative_path, FORK.relative_path, branch, *named}
    changed = {path for path in after if path in before and after[path] != before[path]}
    assert changed == {INCOMING_AHEAD.relative_path}
    assert extended.read_bytes().startswith(start)

    again = mixture.sync("--execute")
    assert (again.exit_code, again.envelope["status"]) == (1, "partial")
    assert again.envelope["data"]["transaction_id"] is None
    assert all(again.sessions[key]["reason"] == "equal" for key in written)
    assert again.sessions[SPLIT.id]["local_session_id"] == BRANCH_ID


def test_the_choices_are_the_users(mixture: Place) -> None:
    choices = ("--on-diverged", "refuse", "--on-collision", "import-as-new")
    limits = ("--session", SPLIT.id, "--session", COLLIDING.id)
    split, colliding = (
        mixture.home / one.relative_path for one in (SPLIT, replace(COLLIDING, start=151))
    )
    before = [path.read_bytes() for path in (split, colliding)]
    done = mixture.sync(*choices, *limits, "--execute")
    assert (done.exit_code, done.codes) == (ExitCode.PARTIAL, ["diverged_refused"])
    assert "--on-diverged branch" in done.envelope["errors"][0]["hint"]
    told = done.sessions[SPLIT.id]
    assert (told["classification"], told["action"]) == ("diverged_lineage", "refuse")
    assert (told["local_session_id"], told["result"]) == (SPLIT.id, "refused")
    told = done.sessions[COLLIDING.id]
    assert (told["classification"], told["action"]) == ("id_collision_unrelated", "import")
    new = told["local_session_id"]
    assert new not in (None, COLLIDING.id)
    assert [path.read_bytes() for path in (split, colliding)] == before
    (file,) = mixture.home.rglob(f"rollout-*-{new}.jsonl")
    head = json.loads(file.read_bytes().splitlines()[0])["payload"]
    assert head["id"] == new
    assert head["session_sync"] == {"origin_id": COLLIDING.id, "forked_from_id": None}

    again = mixture.sync("--session", COLLIDING.id, "--execute")
    told = again.sessions[COLLIDING.id]
    assert (told["action"], told["reason"], told["local_session_id"]) == ("skip", "equal", new)
    shutil.rmtree(mixture.home / "session-sync" / "sidecars")
    told = mixture.sync("--session", COLLIDING.id).sessions[COLLIDING.id]
    assert (told["action"], told["reason"], told["local_session_id"]) == ("skip", "equal", new)


def test_only_refused_sessions_are_partial(mixture: Place) -> None:
    planned = mixture.sync("--session", BROKEN.id)
    assert (planned.exit_code, planned.envelope["status"]) == (0, "dry_run")
    done = mixture.sync("--session", BROKEN.id, "--execute")
    assert (done.exit_code, done.envelope["status"]) == (1, "partial")
    assert done.codes == ["transcript_invalid"]
    assert done.envelope["data"]["transaction_id"] is None


# Transactions


def test_transactions_newest_first(place: Place) -> None:
    ids = []
    for session in SOME:
        done = place.sync("--session", session.id, "--execute")
        ids.append(done.envelope["data"]["transaction_id"])
    found = checked(call("list-transactions", "--json")).envelope["data"]["transactions"]
    assert [one["transaction_id"] for one in found] == ids[::-1]
    assert all((one["status"], one["counts"]) == ("completed", {"imported": 1}) for one in found)


def test_a_transaction_may_be_named_by_its_beginning(place: Place) -> None:
    _synced(place)
    whole = only_transaction(place)
    for shortened in (whole, whole[:-3]):
        outcome = checked(call("show-transaction", shortened, "--json"))
        shown = outcome.envelope["data"]["transaction"]
        assert shown["transaction_id"] == whole
        assert {one["state"] for one in shown["operations"]} == {"done"}
        kinds = [one["kind"] for one in shown["operations"]]
        assert kinds.count("create_file") == len(SOME)
        assert kinds.count("put_document") == len(SOME)
        assert kinds.count("append_text") == 1


def test_a_folder_without_manifest_is_no_transaction(place: Place) -> None:
    _synced(place)
    stray = place.home / "session-sync" / "transactions" / "20990101T000000000000Z-00000000"
    (stray / "staged").mkdir(parents=True)
    only_transaction(place)
    outcome = checked(call("show-transaction", stray.name, "--json"))
    assert outcome.codes == ["transaction_unknown"]
    assert place.sync("--execute").exit_code == 0


# Streams, as real processes have them


def test_text_on_stdout_and_problems_on_stderr(mixture: Place) -> None:
    variables = environment(mixture.root)
    outcome = call_process(variables, "sync", mixture.package, "--execute")
    assert outcome.exit_code == 1
    assert b"transcript_torn" not in outcome.out
    assert b"imported" in outcome.out
    lines = outcome.err.splitlines()
    assert any("[transcript_torn]" in line for line in lines)
    assert sum("[transcript_invalid]" in line for line in lines) == 1

    outcome = checked(call_process(variables, "sync", mixture.package, "--json"))
    assert outcome.exit_code == 0


def test_the_home_option_wins_over_the_variable(place: Place) -> None:
    other = place.root / "other"
    other.mkdir()
    variables = environment(place.root)
    arguments = ("sync", place.package, "--execute", "--json", "--codex-home", other)
    assert checked(call_process(variables, *arguments)).exit_code == 0
    assert list(place.home.iterdir()) == []
    assert (other / PLAIN.relative_path).exists()

    del variables["CODEX_HOME"]
    default = place.root / "user" / ".codex"
    outcome = checked(call_process(variables, "list-transactions", "--json"))
    assert outcome.codes == ["home_missing"]
    default.mkdir()
    assert checked(call_process(variables, "list-transactions", "--json")).exit_code == 0


@pytest.mark.skipif(sys.platform == "win32", reason="other encodings there")
def test_an_encoding_without_the_characters(place: Place) -> None:
    variables = environment(place.root) | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    garden = place.root / "garden"
    garden.mkdir()
    named = Session(30, start=300, name="Rosen → früh", cwd=str(garden)).say("früh?")
    write_snapshot(place.root / "other", [named])
    outcome = call_process(variables, "inspect-package", place.root / "other")
    assert (outcome.exit_code, outcome.err) == (0, "")
    outcome = call_process(variables, "inspect-package", place.root / "nothing")
    assert outcome.exit_code == 3
    assert "[package_not_found]" in outcome.err
    assert "Traceback" not in outcome.err
    outcome = checked(call_process(variables, "inspect-package", place.root / "other", "--json"))
    assert outcome.sessions[named.id]["name"] == "Rosen → früh"


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
def test_a_package_path_that_is_no_utf8(place: Place) -> None:
    other = os.fsdecode(os.fsencode(place.root) + b"/p\xe4ckchen")
    place.package.rename(other)
    for arguments in (("inspect-package",), ("sync",), ("sync", "--execute")):
        outcome = checked(call(arguments[0], other, *arguments[1:], "--json"))
        assert outcome.exit_code == 0
    assert call("inspect-package", other).exit_code == 0
    assert checked(call("list-transactions", "--json")).exit_code == 0
    assert checked(call("inspect-package", other + "x", "--json")).codes == ["package_not_found"]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_reader_that_goes_away(place: Place, more: tuple[str, ...]) -> None:
    many = [Session(100 + i, start=500 + i).say("x" * 100) for i in range(300)]
    write_snapshot(place.root / "many", many)
    command = [sys.executable, "-m", "codex_session_sync", "inspect-package"]
    with subprocess.Popen(
        [*command, str(place.root / "many"), *more],
        env=environment(place.root),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_help_names_every_command(place: Place) -> None:
    outcome = call("--help")
    assert outcome.exit_code == 0
    assert all(command.split()[0] in outcome.out.decode() for command in COMMANDS)
    for command in COMMANDS:
        shown = call(*command.split(), "--help")
        assert shown.exit_code == 0
        assert b"--json" in shown.out
        assert shown.err == ""


# Every code of an exit status is provoked by one of the tests above


def test_the_schema_knows_all_exit_codes() -> None:
    listed = set(SCHEMA["properties"]["exit_code"]["enum"])
    assert listed == {*map(int, ExitCode), 129, 130, 143}
