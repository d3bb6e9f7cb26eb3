"""The envelope: what each command says as JSON, done or failed, fits a strict schema."""

from __future__ import annotations

import json
import os
import shutil
import sys
import uuid
from collections.abc import Callable
from typing import Any

import pytest

import checkpointing
from codex_session_sync.cli.commands import COMMANDS, GROUPS, command_of
from codex_session_sync.errors import ExitCode
from contracts.places import (
    ARCHIVED,
    CONTRACT_KEYS,
    NAMED,
    PLAIN,
    SCHEMA,
    VALIDATOR,
    Place,
    checked,
    filled,
    make_place,
)
from workbench import call

place = pytest.fixture(make_place)


def _nothing(_: Place) -> None:
    return None


def _synced(place: Place) -> None:
    place.fill()


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
    place.interrupt()


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


@pytest.mark.parametrize(("before", "arguments", "status"), SUCCESSES)
def test_success_fits_the_schema(
    place: Place, before: Callable[[Place], None], arguments: tuple[str, ...], status: str
) -> None:
    before(place)
    words = len((command_of(arguments) or "").split())
    given = filled(arguments, place)
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
    given = filled((*command.split(), *arguments.get(command, ())), place)
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


def test_the_schema_knows_all_exit_codes() -> None:
    listed = set(SCHEMA["properties"]["exit_code"]["enum"])
    assert listed == {*map(int, ExitCode), 129, 130, 143}
