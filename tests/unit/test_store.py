"""A store: made once, one writer at a time, only added to, valid however a writer ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_session_sync.errors import StoreError
from codex_session_sync.store import documents, gate
from codex_session_sync.store.lines import append_lines, read_lines
from codex_session_sync.store.opening import make_store, open_store
from codex_session_sync.store.place import VARIABLE, Store, locate_store
from workbench import environment, holding

HOLD = """
import sys
from pathlib import Path
from codex_session_sync.store.gate import gate
with gate(Path(sys.argv[1]), "checkpoint capture"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path / "store")


def held(store: Store) -> AbstractContextManager[subprocess.Popen[str]]:
    """Another process holds the store."""
    return holding(HOLD, store.path, env=environment(store.path.parent))


def code_of(act: Callable[[], object]) -> str:
    with pytest.raises(StoreError) as caught:
        act()
    assert caught.value.hint
    return caught.value.code


def line(name: str) -> dict[str, str]:
    return {
        "format": documents.CATALOG_FORMAT,
        "kind": "import",
        "id": name,
        "at": "2026-03-02T09:00:00.000Z",
        "file": f"imports/{name}.json",
        "sha256": "0" * 64,
    }


def names(store: Store) -> list[str]:
    return [entry.id for entry in documents.entries(store)]


# -- where it is, and what it is -----------------------------------------------------------------


def test_the_option_goes_before_the_environment_and_that_before_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {VARIABLE: str(tmp_path / "told")}
    assert locate_store(str(tmp_path / "given"), told) == tmp_path / "given"
    assert locate_store(None, told) == tmp_path / "told"
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert locate_store(None, {}).is_relative_to(tmp_path / "user")


def test_a_store_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "a" / "store"
    with ThreadPoolExecutor(4) as pool:
        found = {made.store_id for made in pool.map(lambda _: make_store(path), range(8))}
    assert found == {open_store(path).store_id}


def test_no_store_is_made_of_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert code_of(lambda: make_store(tmp_path)) == "store_not_empty"
    assert not (tmp_path / "store.json").exists()


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"{", "store_invalid"),
        (b"[]", "store_invalid"),
        (b'{"format": "codex-session-sync/store/1"}', "store_invalid"),
        (b'{"format": "codex-session-sync/store/2"}', "store_version_unsupported"),
    ],
)
def test_what_is_no_store_of_this_release(store: Store, head: bytes, code: str) -> None:
    (store.path / "store.json").write_bytes(head)
    assert code_of(lambda: open_store(store.path)) == code
    assert code_of(lambda: make_store(store.path)) == code


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    assert code_of(lambda: open_store(tmp_path / "none")) == "store_missing"
    (tmp_path / "file").write_text("")
    assert code_of(lambda: make_store(tmp_path / "file" / "store")) in (
        "store_not_writable",
        "store_unreadable",
    )


# -- one writer at a time ------------------------------------------------------------------------


def test_the_holder_is_named_after_the_wait(store: Store) -> None:
    with held(store) as process:
        before = time.monotonic()
        with pytest.raises(StoreError) as caught, gate.gate(store.path, "test", wait=0.3):
            pass
        assert time.monotonic() - before >= 0.3
    assert caught.value.code == "store_locked"
    assert str(process.pid) in caught.value.message
    assert "checkpoint capture" in caught.value.message


def test_a_writer_gets_its_turn_once_the_other_one_is_gone(store: Store) -> None:
    with held(store) as process, ThreadPoolExecutor(1) as pool:

        def turn() -> None:
            with gate.gate(store.path, "test", wait=20):
                append_lines(store.catalog, [line("mine")])

        waiting = pool.submit(turn)
        time.sleep(0.2)
        assert not waiting.done()
        process.send_signal(signal.SIGKILL)
        waiting.result()
    assert names(store) == ["mine"]


# -- lines ---------------------------------------------------------------------------------------


@given(cut=st.integers(0, 400), count=st.integers(1, 3))
def test_lines_cut_anywhere_go_on_with_the_last_whole_one(
    tmp_path_factory: pytest.TempPathFactory, cut: int, count: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "catalog.jsonl"
    append_lines(path, [line(f"n{number}") for number in range(count)])
    whole = path.read_bytes()
    path.write_bytes(whole[: max(0, len(whole) - cut)])
    left = path.read_bytes().count(b"\n")
    assert len(list(read_lines(path, "store_catalog"))) == left
    append_lines(path, [line("next")])
    found = [document["id"] for document in read_lines(path, "store_catalog")]
    assert found == [*(f"n{number}" for number in range(left)), "next"]


@pytest.mark.parametrize("bad", [b"{\n", b"[]\n", b'{"format": "other"}\n', b"\xff\n"])
def test_a_whole_line_that_is_none_of_ours(store: Store, bad: bytes) -> None:
    append_lines(store.catalog, [line("first")])
    with store.catalog.open("ab") as stream:
        stream.write(bad)
    assert code_of(lambda: names(store)) == "store_damaged"


def test_a_writer_that_was_killed_leaves_whole_lines(store: Store) -> None:
    script = """
import sys
from pathlib import Path
from codex_session_sync.store.lines import append_lines
from itertools import count
path = Path(sys.argv[1])
def documents():
    for number in count():
        yield {"format": "codex-session-sync/store-catalog/1", "kind": "import", "id": str(number),
               "at": "2026-03-02T09:00:00.000Z", "file": "imports/a", "sha256": "0" * 64}
        if number == 2000:
            print("go", flush=True)
append_lines(path, documents())
"""
    command = [sys.executable, "-c", script, str(store.catalog)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env=environment(store.path.parent)
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    found = names(store)
    assert found == [str(number) for number in range(len(found))]
    assert len(found) > 100
    append_lines(store.catalog, [line("next")])
    assert names(store) == [*found, "next"]


# -- documents and packages ----------------------------------------------------------------------


def test_a_document_is_read_as_it_was_written(store: Store) -> None:
    entry = documents.put_document(store, "import", "one", store.imports / "one.json", b"{}")
    assert list(documents.entries(store, "import")) == [entry]
    assert list(documents.entries(store, "package")) == []
    assert documents.read_document(store, entry) == b"{}"
    (store.imports / "one.json").write_bytes(b"{ }")
    assert code_of(lambda: documents.read_document(store, entry)) == "store_damaged"
    (store.imports / "one.json").unlink()
    assert code_of(lambda: documents.read_document(store, entry)) == "store_damaged"


def test_a_package_is_kept_once_under_its_digest(store: Store) -> None:
    found = []
    for _ in range(2):
        with documents.staging_folder(store) as folder:
            (folder / "package").write_bytes(b"content")
            found.append(documents.put_package(store, folder / "package"))
    assert found[0] == found[1]
    assert names(store) == [found[0].id]
    path = documents.checked_package(store, found[0])
    assert path.read_bytes() == b"content"
    assert not os.access(path, os.W_OK) or os.geteuid() == 0
    path.chmod(0o644)
    path.write_bytes(b"Content")
    assert code_of(lambda: documents.checked_package(store, found[0])) == "store_damaged"


def test_what_a_killed_process_staged_goes(store: Store) -> None:
    with documents.staging_folder(store) as folder:
        (folder.parent / "left" / "over").mkdir(parents=True)
    with documents.staging_folder(store) as folder:
        assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("file", ["imports/../../x", "/etc/passwd", "imports/./x", "x"])
def test_a_catalog_leads_nowhere_else(store: Store, file: str) -> None:
    store.catalog.write_bytes(orjson.dumps(line("one") | {"file": file}) + b"\n")
    assert code_of(lambda: names(store)) == "store_damaged"


def test_a_link_in_the_store_is_not_followed(store: Store, tmp_path: Path) -> None:
    entry = documents.put_document(store, "import", "one", store.imports / "one.json", b"{}")
    store.imports.rename(tmp_path / "elsewhere")
    store.imports.symlink_to(tmp_path / "elsewhere")
    assert code_of(lambda: documents.read_document(store, entry)) == "store_damaged"
