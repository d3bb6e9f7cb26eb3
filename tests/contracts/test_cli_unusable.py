"""A package (3) or a home (4) that cannot be used is told by its code and left alone."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from archives import Zipped, zipped
from codex_session_sync.codex import state_db
from codex_session_sync.errors import ExitCode
from codex_session_sync.locks import home_lock
from contracts.places import PLAIN, Place, checked, filled, make_place, tar_gz
from workbench import call, make_database, tree

place = pytest.fixture(make_place)


def _no_package(place: Place) -> None:
    place.drop_package()


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
    data = tar_gz(place.package)
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
    outcome = checked(call(*filled(arguments, place), "--json"))
    assert (outcome.codes, outcome.exit_code) == ([code], ExitCode.HOME)
    outcome = call(*filled(arguments, place))
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
