"""One writing command at a time for a home, whoever it is, and whatever became of the last one."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from builders import session_id
from codex_session_sync import locks
from codex_session_sync.errors import ExitCode, HomeError, SessionError
from codex_session_sync.locks import (
    HOLDER,
    codex_history_lock,
    codex_index_lock,
    codex_thread_lock,
    home_lock,
)
from workbench import call_process, environment, holding, tree

HOLD = """
import sys
from pathlib import Path
from codex_session_sync.locks import home_lock
with home_lock(Path(sys.argv[1]), "sync"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def sync_dir(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home" / "session-sync"


def held(sync_dir: Path) -> AbstractContextManager[subprocess.Popen[str]]:
    """Another process holds the home."""
    return holding(HOLD, sync_dir, env=environment(sync_dir.parent.parent))


def take(sync_dir: Path) -> None:
    with home_lock(sync_dir, "sync"):
        pass


def test_another_process_is_named(sync_dir: Path) -> None:
    before = time.strftime("%Y-%m-%dT", time.gmtime())
    with held(sync_dir) as process:
        for _ in range(2):
            with pytest.raises(HomeError) as caught:
                take(sync_dir)
            assert (caught.value.code, caught.value.exit_code) == ("home_locked", ExitCode.HOME)
            assert f"process {process.pid}, since {before}" in caught.value.message
            assert "(sync)" in caught.value.message
        process.communicate("")
        assert process.returncode == 0
        take(sync_dir)
    assert not (sync_dir / HOLDER).exists()


def test_a_command_beside_another_one(sync_dir: Path) -> None:
    """Writing waits its turn; reading does not."""
    variables = environment(sync_dir.parent.parent)
    with held(sync_dir) as process:
        refused = call_process(variables, "recover", "--execute", "--json")
        assert refused.exit_code == 0, "there is nothing to recover"
        sample = Path(locks.__file__).parent / "sample" / "garden.tar.zst"
        refused = call_process(variables, "sync", sample, "--execute", "--json")
        assert (refused.exit_code, refused.codes) == (4, ["home_locked"])
        assert str(process.pid) in refused.envelope["errors"][0]["message"]
        assert call_process(variables, "sync", sample, "--json").exit_code == 0
        assert call_process(variables, "list-transactions", "--json").exit_code == 0


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_a_killed_process_does_not_block(sync_dir: Path) -> None:
    with held(sync_dir) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        holder = json.loads((sync_dir / HOLDER).read_bytes())
        assert holder["pid"] == process.pid, "it had no chance to remove it"
        take(sync_dir)
    assert not (sync_dir / HOLDER).exists()


@pytest.mark.parametrize("holder", [None, b"", b"{", b"[]", b'{"pid": 5}', b"\xff"])
def test_a_holder_that_cannot_be_told(sync_dir: Path, holder: bytes | None) -> None:
    with held(sync_dir):
        if holder is None:
            (sync_dir / HOLDER).unlink()
        else:
            (sync_dir / HOLDER).write_bytes(holder)
        with pytest.raises(HomeError) as caught:
            take(sync_dir)
        assert caught.value.message == "another sync is at work on this home"


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt(), SystemExit(143)])
def test_a_failure_frees_the_home(sync_dir: Path, error: BaseException) -> None:
    def fail() -> None:
        with home_lock(sync_dir, "sync"):
            assert json.loads((sync_dir / HOLDER).read_bytes())["pid"] == os.getpid()
            raise error

    with pytest.raises(type(error)):
        fail()
    assert not (sync_dir / HOLDER).exists()
    take(sync_dir)


@pytest.mark.parametrize("step", ["folder", "lock", "holder"])
def test_a_home_that_cannot_be_written(
    sync_dir: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    error = OSError(errno.EROFS, "Read-only file system")

    def fails(*_: object, **__: object) -> None:
        raise error

    match step:
        case "folder":
            monkeypatch.setattr(Path, "mkdir", fails)
        case "lock":
            monkeypatch.setattr("filelock.FileLock.acquire", fails)
        case _:
            monkeypatch.setattr(locks, "write_atomic", fails)
    with pytest.raises(HomeError) as caught:
        take(sync_dir)
    assert (caught.value.code, caught.value.exit_code) == ("home_not_writable", ExitCode.HOME)
    assert "Read-only" in caught.value.message
    monkeypatch.undo()
    take(sync_dir)


# The lock of Codex on its index

posix = pytest.mark.skipif(sys.platform == "win32", reason="flock is POSIX's")


CODEX_LOCKS = [
    (codex_index_lock, "session_index.jsonl.lock"),
    (codex_history_lock, "history.jsonl"),
]
Lock = Callable[[Path], AbstractContextManager[None]]


@posix
@pytest.mark.parametrize(("lock", "name"), CODEX_LOCKS)
def test_codex_is_waited_for(sync_dir: Path, lock: Lock, name: str) -> None:
    import fcntl

    home = sync_dir.parent
    path = home / name
    path.write_bytes(b"")
    order: list[str] = []

    def append() -> None:
        with lock(home):
            order.append("ours")

    with path.open("rb") as codex:
        fcntl.flock(codex, fcntl.LOCK_EX)
        thread = threading.Thread(target=append)
        thread.start()
        thread.join(0.2)
        order.append("codex")
        fcntl.flock(codex, fcntl.LOCK_UN)
        thread.join()
    assert order == ["codex", "ours"]


@posix
@pytest.mark.parametrize(("lock", "name"), CODEX_LOCKS)
def test_codex_waits_for_us(sync_dir: Path, lock: Lock, name: str) -> None:
    import fcntl

    home = sync_dir.parent
    path = home / name
    path.write_bytes(b"")
    before = tree(home)
    with path.open("rb") as codex:
        with lock(home), pytest.raises(BlockingIOError):
            fcntl.flock(codex, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(codex, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert tree(home) == before


@pytest.mark.parametrize(("lock", "_"), CODEX_LOCKS)
def test_a_lock_that_codex_does_not_use_is_not_made(sync_dir: Path, lock: Lock, _: str) -> None:
    with lock(sync_dir.parent):
        pass
    assert list(sync_dir.parent.iterdir()) == []


# The lock of Codex on one session

WRITE = """
import fcntl, sys
with open(sys.argv[1], "ab") as stream:
    fcntl.flock(stream, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


def codex_writing(path: Path) -> AbstractContextManager[subprocess.Popen[str]]:
    """Another process has a session open, as Codex has it."""
    return holding(WRITE, path)


@pytest.fixture
def writer_locks(sync_dir: Path) -> Path:
    """The folder in which Codex locks sessions from 0.147 on."""
    folder = sync_dir.parent / "thread-writer-locks"
    folder.mkdir()
    return folder


def lock_session(home: Path, session: str) -> None:
    with codex_thread_lock(home, session):
        pass


@posix
def test_a_session_that_is_open_is_busy(sync_dir: Path, writer_locks: Path) -> None:
    home, session, other = sync_dir.parent, session_id(1), session_id(2)
    with codex_writing(writer_locks / f"{session}.lock") as process:
        for _ in range(2):
            with pytest.raises(SessionError) as caught:
                lock_session(home, session)
            assert (caught.value.code, caught.value.session_id) == ("session_busy", session)
        lock_session(home, other)
        process.communicate("")
        assert process.returncode == 0
        lock_session(home, session)


@posix
def test_codex_finds_a_session_busy_that_is_extended(sync_dir: Path, writer_locks: Path) -> None:
    import fcntl

    home, session = sync_dir.parent, session_id(1)
    path = writer_locks / f"{session}.lock"
    with (
        codex_thread_lock(home, session),
        path.open("ab") as codex,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(codex, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with path.open("ab") as codex:
        fcntl.flock(codex, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert path.read_bytes() == b""


@posix
def test_a_lock_file_goes_as_codex_removes_its_own(sync_dir: Path, writer_locks: Path) -> None:
    """Only under the lock that orders this: else another process might hold a removed file."""
    home, session = sync_dir.parent, session_id(1)
    path = writer_locks / f"{session}.lock"
    lock_session(home, session)
    assert path.exists()
    (writer_locks / ".coordination.lock").touch()
    with codex_thread_lock(home, session):
        assert path.exists()
    assert not path.exists()
    with codex_writing(path):
        with pytest.raises(SessionError):
            lock_session(home, session)
        assert path.exists()


@posix
@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()])
def test_a_failure_frees_the_session(
    sync_dir: Path, writer_locks: Path, error: BaseException
) -> None:
    home, session = sync_dir.parent, session_id(1)

    def fail() -> None:
        with codex_thread_lock(home, session):
            raise error

    with pytest.raises(type(error)):
        fail()
    with codex_writing(writer_locks / f"{session}.lock"):
        pass


def test_no_lock_for_releases_that_take_none(sync_dir: Path) -> None:
    lock_session(sync_dir.parent, session_id(1))
    assert list(sync_dir.parent.iterdir()) == []


# -- a file system without locks ----------------------------------------------------------------

LOCKLESS = f"""
import fcntl
def flock(*_):
    raise OSError({errno.ENOLCK}, "No locks available")
fcntl.flock = flock
"""


def test_without_locks_a_file_keeps_the_others_out(
    sync_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "HOLD", LOCKLESS + HOLD)
    without_locks(monkeypatch)
    with held(sync_dir) as process, pytest.raises(HomeError) as caught:
        take(sync_dir)
    assert caught.value.code == "home_locked"
    assert f"process {process.pid}, " in caught.value.message
    take(sync_dir)
    with held(sync_dir) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    take(sync_dir)  # what a dead process left does not block


def test_without_locks_codex_is_not_waited_for(
    sync_dir: Path, writer_locks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del writer_locks
    without_locks(monkeypatch)
    home = sync_dir.parent
    (home / "session_index.jsonl.lock").touch()
    with codex_index_lock(home), codex_thread_lock(home, session_id(1)):
        pass


def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)


AGAIN_AND_AGAIN = """
import sys, time
from pathlib import Path
from codex_session_sync.locks import home_lock
print("held", flush=True)
until = time.monotonic() + float(sys.argv[2])
while time.monotonic() < until:
    with home_lock(Path(sys.argv[1]), "serve", 10.0):
        time.sleep(0.1)
"""


def test_who_waits_for_the_import_service_gets_its_turn(sync_dir: Path) -> None:
    """A service that takes the home again at once does not keep a sync waiting."""
    variables = environment(sync_dir.parent.parent)
    with holding(AGAIN_AND_AGAIN, sync_dir, "6", env=variables) as process:
        for _ in range(8):
            began = time.monotonic()
            take(sync_dir)
            assert time.monotonic() - began < 2
        assert process.poll() is None
        with holding(AGAIN_AND_AGAIN, sync_dir, "0.5", env=variables) as other:
            assert other.wait(10) == 0  # two services take turns as well
        process.kill()


def test_a_service_that_is_killed_is_not_waited_for(sync_dir: Path) -> None:
    variables = environment(sync_dir.parent.parent)
    with holding(AGAIN_AND_AGAIN, sync_dir, "60", env=variables) as process:
        time.sleep(0.3)
        process.kill()
        process.wait(10)
        took = time.monotonic()
        take(sync_dir)
        assert time.monotonic() - took < 2


def test_patience_has_an_end(sync_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE_S", 0.2)
    hold = HOLD.replace('"sync"', '"serve"')
    with holding(hold, sync_dir, env=environment(sync_dir.parent.parent)):
        for patience in (0.0, 0.3):
            began = time.monotonic()
            with pytest.raises(HomeError) as caught, home_lock(sync_dir, "sync", patience):
                pass
            assert caught.value.code == "home_locked"
            assert 0.15 < time.monotonic() - began < 5
