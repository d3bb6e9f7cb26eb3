"""The package changes while it is read, or between plan and write: typed, and nothing by halves."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from archives import gz, tar_of
from builders import dump
from codex_session_sync import plan as planning
from codex_session_sync.cli import sync as command
from codex_session_sync.package import snapshot
from hostile.corpus import SOUND, VICTIM, sound
from hostile.judging import EMPTY, Court, require_harmless, state
from hostile.layouts import files_of, pack_native, write
from workbench import Outcome

FILES = {
    name.replace("02/rollout", "01/rollout") if SOUND.id in name else name: data
    for name, data in files_of(sound(VICTIM, SOUND), "snapshot").items()
}
"""The two sessions lie in folders of their own."""
ROLLOUT = next(name for name in FILES if VICTIM.id in name)
EVIL = dump(VICTIM.say("Never said").records())


@pytest.fixture
def court(tmp_path: Path) -> Court:
    return Court(tmp_path / "court")


@pytest.fixture
def home(court: Court) -> Iterator[Path]:
    with court.home(EMPTY) as path:
        yield path


@pytest.fixture
def package(court: Court) -> Path:
    return write(FILES, "directory", court.root / "scratch" / "package")


def elsewhere(path: Path) -> Path:
    """Another file of the same name, beside the package."""
    other = path.parents[5] / "elsewhere" / path.name
    other.parent.mkdir(exist_ok=True)
    other.write_bytes(EVIL)
    return other


def grow(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(EVIL[-2000:])


def rewrite(path: Path) -> None:
    """Other bytes, of the same length, in the same file."""
    with path.open("r+b") as stream:
        stream.write(path.read_bytes().replace(b"beans", b"BEANS"))


def put(path: Path) -> None:
    """Another file in its place."""
    path.rename(path.with_name("old"))
    path.write_bytes(EVIL)


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to(elsewhere(path))


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def cut(path: Path) -> None:
    os.truncate(path, 1000)


def gone(path: Path) -> None:
    path.unlink()


def restore(path: Path) -> None:
    """The folder in its place becomes the file again."""
    path.rmdir()
    path.write_bytes(FILES[ROLLOUT])


def swap(path: Path) -> None:
    """The folder becomes a link to another one, with a file of that name."""
    other = elsewhere(path)
    path.parent.rename(path.parent.with_name("old"))
    path.parent.symlink_to(other.parent)


CHANGES: dict[str, tuple[Callable[[Path], Any], set[str]]] = {
    "shrinks": (lambda path: os.truncate(path, 1500), {"package_changed"}),
    "is emptied": (lambda path: os.truncate(path, 0), {"package_changed", "transcript_invalid"}),
    "is rewritten": (rewrite, {"package_changed"}),
    "is replaced": (put, {"package_changed"}),
    "is removed": (gone, {"transcript_unreadable"}),
    "becomes a link": (link, {"transcript_unreadable"}),
    "becomes a pipe": (pipe, {"transcript_unreadable", "package_changed"}),
    "becomes a folder": (folder, {"transcript_unreadable", "package_changed"}),
    "is in a folder that becomes a link": (swap, {"package_changed"}),
}


def before(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, act: Callable[[], Any]) -> None:
    """Have something happen, once, before a function is called."""
    real = getattr(module, name)
    pending = [act]

    def wrapped(*args: Any, **more: Any) -> Any:
        if pending:
            pending.pop()()
        return real(*args, **more)

    monkeypatch.setattr(module, name, wrapped)


def executed(court: Court, home: Path, package: Path) -> Outcome:
    return court.run(home, "sync", package, "--execute", "--no-prime", "--json")


def require_only_sound(done: Outcome, home: Path) -> None:
    """The session that nobody touched is here, and of the other one nothing is."""
    assert done.sessions[SOUND.id]["result"] == "imported"
    assert list(home.glob(f"sessions/**/{SOUND.file_name}"))
    written = {path for path in home.rglob("*") if VICTIM.id in path.name and path.is_file()}
    assert not {path for path in written if "thread_locks" not in str(path)}, written
    assert b"Never said" not in b"".join(p.read_bytes() for p in home.rglob("*.jsonl"))


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("when", ["planned", "listed"])
def test_a_transcript_changes(
    what: str, when: str, court: Court, home: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, codes = CHANGES[what]
    module, name = (command, "execute") if when == "planned" else (planning, "scan_all")
    before(monkeypatch, module, name, lambda: change(package / ROLLOUT))
    done = executed(court, home, package)
    if when == "listed" and what in ("shrinks", "is rewritten"):
        # It is read as it is then, and all of it is written.
        assert done.exit_code == 0
        return
    assert done.exit_code == 1
    assert set(done.codes) <= codes | ({"transcript_invalid"} if when == "listed" else set())
    require_only_sound(done, home)


@pytest.mark.parametrize("when", ["planned", "listed"])
def test_a_transcript_grows(
    when: str, court: Court, home: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, name = (command, "execute") if when == "planned" else (planning, "scan_all")
    before(monkeypatch, module, name, lambda: grow(package / ROLLOUT))
    done = executed(court, home, package)
    assert done.exit_code == 0
    [written] = home.glob(f"sessions/**/{VICTIM.file_name}")
    assert (b"Never said" in written.read_bytes()) == (when == "listed")


@pytest.mark.parametrize("change", [put, link, pipe, folder, gone])
def test_the_database_is_replaced(
    change: Callable[[Path], Any],
    court: Court,
    home: Path,
    package: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def act() -> None:
        path = package / "state_5.sqlite"
        (package / "a/b/c/d/e").mkdir(parents=True)
        moved = package / "a/b/c/d/e/state_5.sqlite"
        path.rename(moved)
        change(moved)
        with suppress(FileNotFoundError):
            moved.rename(path)

    before(monkeypatch, snapshot, "read_names", act)
    before(monkeypatch, snapshot, "_copied", act)
    unchanged = state(home)
    done = executed(court, home, package)
    assert (done.exit_code, done.codes) == (3, ["package_changed"])
    assert state(home) == unchanged


def test_an_archive_is_replaced_once_it_is_open(
    court: Court, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = write(FILES, "tar.gz", court.root / "scratch" / "package")

    def act() -> None:
        package.unlink()
        package.write_bytes(gz(tar_of({"../../evil": EVIL})))

    before(monkeypatch, planning, "scan_all", act)
    done = executed(court, home, package)
    assert done.exit_code == 0
    assert list(home.glob(f"sessions/**/{VICTIM.file_name}"))


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        (lambda path: os.truncate(path, path.stat().st_size // 2), False),
        (lambda path: os.truncate(path, 0), False),
        (gone, True),
        (lambda path: path.write_bytes(path.read_bytes()[::-1]), False),
        (put, True),
        (pipe, True),
    ],
    ids=["cut", "emptied", "removed", "turned around", "replaced", "a pipe"],
)
def test_a_native_package_changes_once_it_is_planned(
    change: Callable[[Path], Any],
    taken: bool,
    court: Court,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package = pack_native(FILES, court.root / "scratch")
    assert package is not None
    before(monkeypatch, command, "with_transcripts", lambda: change(package))
    unchanged = state(home)
    done = executed(court, home, package)
    if taken:
        assert done.exit_code == 0
        return
    assert (done.exit_code, done.codes) == (3, ["package_damaged"])
    assert state(home) == unchanged


def test_a_package_that_never_rests(court: Court, package: Path) -> None:
    """Another thread makes of a file whatever there is, again and again, while it is synced."""
    path, ending = package / ROLLOUT, threading.Event()
    data = FILES[ROLLOUT]
    whole = data.rfind(b"\n", 0, 1000) + 1

    def restless() -> None:
        while not ending.is_set():
            for change in (cut, grow, link, pipe, folder, restore):
                with suppress(OSError):
                    change(path)

    thread = threading.Thread(target=restless)
    thread.start()
    try:
        for _ in range(25):
            with court.home(EMPTY) as home:
                done = executed(court, home, package)
                assert set(done.codes) <= {
                    *("package_changed", "package_unsafe", "package_unreadable"),
                    *("transcript_unreadable", "transcript_invalid"),
                }
                for file in home.glob(f"sessions/**/{VICTIM.file_name}"):
                    assert file.read_bytes() in (data, data + EVIL[-2000:], data[:whole])
                require_harmless(court.run(home, "inspect-package", package))
    finally:
        ending.set()
        thread.join()
        shutil.rmtree(package)
