"""Operations on folders and files, cut short, played twice, or beside what others did."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from codex_session_sync.errors import HomeError
from codex_session_sync.journal.operations import (
    AnyOperation,
    CreateFile,
    MakeFolder,
    RemoveFolder,
    Site,
)
from codex_session_sync.journal.playback import apply_all, undo_all
from unit.operating import (
    ARCHIVED,
    DATA,
    FILE,
    LATER,
    LOCAL,
    SHA,
    START,
    THEN,
    cut,
    extension,
    move,
    rest_of,
    small_site,
    state,
)

site = pytest.fixture(small_site)


# Folders


def test_a_folder(site: Site) -> None:
    before = state(site)
    operation = MakeFolder("sessions/2027")
    operation.undo(site)
    operation.apply(site)
    operation.apply(site)
    assert (site.home / "sessions/2027").is_dir()
    operation.undo(site)
    operation.undo(site)
    assert state(site) == before


def test_a_folder_that_others_use_stays(site: Site) -> None:
    operation = MakeFolder("sessions/2027")
    operation.apply(site)
    (site.home / "sessions/2027/notes").write_text("mine")
    changed = state(site)
    operation.undo(site)
    assert state(site) == changed


def test_a_file_in_the_place_of_a_folder_stays(site: Site) -> None:
    operation = MakeFolder("sessions/2027")
    (site.home / "sessions/2027").write_text("mine")
    changed = state(site)
    with pytest.raises(FileExistsError):
        operation.apply(site)
    operation.undo(site)
    assert state(site) == changed


def test_a_folder_that_is_removed(site: Site) -> None:
    (site.home / "sessions/2027").mkdir()
    before = state(site)
    operation = RemoveFolder("sessions/2027")
    operation.undo(site)
    assert state(site) == before
    operation.apply(site)
    operation.apply(site)
    assert not (site.home / "sessions/2027").exists()
    operation.undo(site)
    assert state(site) == before
    (site.home / "sessions/2027/notes").write_text("mine")
    changed = state(site)
    operation.apply(site)
    assert state(site) == changed


# Files


def test_a_file_keeps_its_time(site: Site) -> None:
    os.utime(site.staged / "0", ns=(10**18, 10**18))
    CreateFile(FILE, "0", len(DATA), SHA).apply(site)
    assert (site.home / FILE).stat().st_mtime_ns == 10**18


@pytest.mark.parametrize("change", ["undo", "withdraw"])
def test_a_file_that_was_linked_and_not_yet_moved(site: Site, change: str) -> None:
    before = state(site)
    os.link(site.staged / "0", site.home / FILE)
    operation = CreateFile(FILE, "0", len(DATA), SHA)
    getattr(operation, change)(site)
    assert state(site) == before
    assert (site.staged / "0").exists() == (change == "withdraw")


def test_a_file_is_withdrawn_for_another_attempt(site: Site) -> None:
    before = state(site)
    operation = CreateFile(FILE, "0", len(DATA), SHA)
    operation.withdraw(site)
    operation.apply(site)
    assert not (site.staged / "0").exists()
    operation.withdraw(site)
    operation.withdraw(site)
    assert state(site) == before
    assert (site.staged / "0").read_bytes() == DATA
    operation.apply(site)
    assert (site.home / FILE).read_bytes() == DATA


def test_another_file_of_the_same_name_is_not_withdrawn(site: Site) -> None:
    (site.home / FILE).write_bytes(b"somebody's")
    operation = CreateFile(FILE, "0", len(DATA), SHA)
    operation.withdraw(site)
    assert (site.home / FILE).read_bytes() == b"somebody's"
    assert (site.staged / "0").read_bytes() == DATA


def test_a_file_of_equal_size_and_other_content_is_not_ours(site: Site) -> None:
    operation = CreateFile(FILE, "0", len(DATA), SHA)
    operation.apply(site)
    (site.home / FILE).write_bytes(DATA[::-1])
    with pytest.raises(HomeError):
        operation.undo(site)
    assert (site.home / FILE).read_bytes() == DATA[::-1]


# Transcripts that are cut


@pytest.mark.parametrize("appended", [0, 1, len(DATA) - 1, len(DATA)])
def test_a_cut_that_is_undone_in_part_is_undone(site: Site, appended: int) -> None:
    operation = cut(site)
    before = state(site)
    operation.apply(site)
    assert (site.home / LOCAL).read_bytes() == START
    assert (site.home / LOCAL).stat().st_mtime_ns == THEN
    assert rest_of(site).read_bytes() == DATA
    with (site.home / LOCAL).open("ab") as stream:
        stream.write(DATA[:appended])
    operation.undo(site)
    assert state(site) == before
    assert not rest_of(site).exists()


@pytest.mark.parametrize("written", [0, 1, len(DATA) - 1, len(DATA)])
def test_an_end_that_is_kept_in_part(site: Site, written: int) -> None:
    operation = cut(site)
    before = state(site)
    rest_of(site).write_bytes(DATA[:written])
    operation.undo(site)
    assert state(site) == before
    rest_of(site).write_bytes(DATA[:written])
    operation.apply(site)
    assert rest_of(site).read_bytes() == DATA


def test_an_end_that_is_lost_is_told(site: Site) -> None:
    operation = cut(site)
    operation.apply(site)
    rest_of(site).unlink()
    for change in (operation.apply, operation.undo):
        with pytest.raises(HomeError) as caught:
            change(site)
        assert caught.value.code == "home_changed"


def test_another_end_of_equal_length_is_not_cut(site: Site) -> None:
    operation = cut(site)
    (site.home / LOCAL).write_bytes(START + DATA[::-1])
    with pytest.raises(HomeError):
        operation.apply(site)
    assert (site.home / LOCAL).read_bytes() == START + DATA[::-1]
    assert not rest_of(site).exists()


# Transcripts that are extended


def test_an_extended_file_is_what_it_was_and_more(site: Site) -> None:
    operation = extension(site)
    target = site.home / LOCAL
    number = target.stat().st_ino
    operation.apply(site)
    assert target.read_bytes() == START + DATA
    assert target.stat().st_mtime_ns == LATER
    assert target.stat().st_ino == number, "the file is the same one"
    assert (site.staged / "0").read_bytes() == DATA, "it waits for another attempt"
    operation.undo(site)
    assert target.read_bytes() == START
    assert target.stat().st_mtime_ns == THEN
    assert target.stat().st_ino == number


TORN = [0, 1, len(DATA) // 2, len(DATA) - 1, len(DATA)]


@pytest.mark.parametrize("chunk", [7, 1 << 20])
@pytest.mark.parametrize("written", TORN)
@pytest.mark.parametrize("waiting", [True, False], ids=["staged", "staged no more"])
def test_a_torn_extension_is_undone_or_done_again(
    site: Site, monkeypatch: pytest.MonkeyPatch, written: int, waiting: bool, chunk: int
) -> None:
    monkeypatch.setattr("codex_session_sync.journal.files._CHUNK", chunk)
    operation = extension(site)
    target = site.home / LOCAL
    before = state(site)
    with target.open("ab") as stream:
        stream.write(DATA[:written])
    if waiting:
        operation.apply(site)
        assert target.read_bytes() == START + DATA
        os.truncate(target, len(START) + written)
    else:
        (site.staged / "0").unlink()
    if waiting or written in (0, len(DATA)):
        operation.undo(site)
        assert state(site) == before
    else:  # what is there cannot be told from another program's
        with pytest.raises(HomeError):
            operation.undo(site)
        assert target.read_bytes() == START + DATA[:written]


@pytest.mark.parametrize("change", ["apply", "undo"])
@pytest.mark.parametrize(
    "found",
    [
        START + DATA[:50] + b"x",
        START + b"x" * len(DATA),
        START + DATA + b"x",
        START + DATA[1:],
        START[:-1],
        b"",
        None,
    ],
    ids=["after a part", "as long", "after all", "shifted", "shorter", "empty", "gone"],
)
def test_a_transcript_that_went_on_elsewise_is_left(
    site: Site, change: str, found: bytes | None
) -> None:
    operation = extension(site)
    target = site.home / LOCAL
    if found is None:
        target.unlink()
    else:
        target.write_bytes(found)
    changed = state(site)
    with pytest.raises(HomeError) as caught:
        getattr(operation, change)(site)
    assert caught.value.code == "home_changed"
    assert state(site) == changed


def test_a_full_disk_while_extending(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    operation = extension(site)
    before = state(site)

    def fill(source: Any, stream: Any, _: int) -> None:
        stream.write(source.read(30))
        raise OSError(errno.ENOSPC, "No space left on device")

    done: list[AnyOperation] = []
    with monkeypatch.context() as patched:
        patched.setattr("shutil.copyfileobj", fill)
        with pytest.raises(OSError, match="No space"):
            apply_all([operation], site, done)
    assert (site.home / LOCAL).read_bytes() == START + DATA[:30]
    assert undo_all(done, site, keep_staged=True) == []
    assert state(site) == before
    operation.apply(site)
    assert (site.home / LOCAL).read_bytes() == START + DATA


# Files that are moved


def test_a_moved_file_is_the_same_one(site: Site) -> None:
    operation = move(site)
    number = (site.home / LOCAL).stat().st_ino
    operation.apply(site)
    moved = (site.home / ARCHIVED).stat()
    assert (moved.st_ino, moved.st_mtime_ns) == (number, THEN)
    assert not (site.home / LOCAL).exists()


@pytest.mark.parametrize("change", ["apply", "undo"])
def test_a_move_that_was_cut_short(site: Site, change: str) -> None:
    """Linked under the new name, and not yet gone from the old one."""
    operation = move(site)
    os.link(site.home / LOCAL, site.home / ARCHIVED)
    getattr(operation, change)(site)
    wanted, other = (ARCHIVED, LOCAL) if change == "apply" else (LOCAL, ARCHIVED)
    assert (site.home / wanted).read_bytes() == START
    assert not (site.home / other).exists()


def test_a_file_that_is_gone_is_not_moved(site: Site) -> None:
    operation = move(site)
    (site.home / LOCAL).unlink()
    changed = state(site)
    with pytest.raises(HomeError) as caught:
        operation.apply(site)
    assert caught.value.code == "home_changed"
    assert state(site) == changed


def test_a_file_is_never_without_a_name(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new name is durable, with the folders on the way to it, while the old one is there."""
    operation = move(site)
    synced: list[tuple[Path, bool, bool]] = []

    def sync(folder: Path) -> None:
        synced.append((folder, (site.home / LOCAL).exists(), (site.home / ARCHIVED).exists()))

    monkeypatch.setattr("codex_session_sync.journal.files.sync_folder", sync)
    old, new = (site.home / LOCAL).parent, (site.home / ARCHIVED).parent
    operation.apply(site)
    assert synced == [(new, True, True), (site.home, True, True), (old, False, True)]
    synced.clear()
    operation.undo(site)
    way = [old, *(one for one in old.parents if one.is_relative_to(site.home))]
    assert synced == [*((one, True, True) for one in way), (new, True, False)]
