"""Operations on the lines of a text that other programs append to as well."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from codex_session_sync.journal.operations import AppendText, EditText, Site
from codex_session_sync.journal.playback import apply_all, undo_all
from unit.operating import LINE, add_line, insertion, last_line, removal, small_site, state

site = pytest.fixture(small_site)


# Lines of the index


@pytest.mark.parametrize("make", [removal, insertion], ids=["_removal", "_return"])
def test_what_others_append_to_the_index_stays(
    site: Site, make: Callable[[Site], EditText]
) -> None:
    operation = make(site)
    before = (site.home / "session_index.jsonl").read_text()
    add_line(site, "session_index.jsonl")
    operation.apply(site)
    after = (site.home / "session_index.jsonl").read_text()
    assert after in (f"first\n{LINE}last\nmore\n", "first\nlast\nmore\n")
    operation.apply(site)
    assert (site.home / "session_index.jsonl").read_text() == after
    operation.undo(site)
    operation.undo(site)
    assert (site.home / "session_index.jsonl").read_text() == f"{before}more\n"


def test_an_index_that_goes_unless_others_use_it(site: Site) -> None:
    operation = last_line(site)
    index = site.home / "session_index.jsonl"
    index.chmod(0o600)
    add_line(site, index.name)
    operation.apply(site)
    assert index.read_text() == "more\n"
    assert index.stat().st_mode & 0o777 == 0o600


# Appended text


@pytest.mark.parametrize("written", range(len(LINE.encode()) + 1))
@pytest.mark.parametrize("there", [True, False], ids=["after a line", "in a new file"])
def test_a_torn_append_is_undone(site: Site, written: int, there: bool) -> None:
    target = site.home / "session_index.jsonl"
    if not there:
        target.unlink()
    before = state(site)
    operation = AppendText(target.name, 6 if there else None, LINE)
    with target.open("ab") as stream:
        stream.write(LINE.encode()[:written])
    operation.undo(site)
    files, expected = state(site)[0], before[0]
    assert files.keys() == expected.keys()
    if there:
        assert target.read_bytes() == b"first\n"


def test_appends_to_one_file_are_undone_backwards(site: Site) -> None:
    before = state(site)
    first = AppendText("session_index.jsonl", 6, "\nä\n")
    second = AppendText("session_index.jsonl", 6 + len("\nä\n".encode()), "b\n")
    apply_all([first, second], site, [])
    assert (site.home / "session_index.jsonl").read_text() == "first\n\nä\nb\n"
    assert undo_all([first, second], site) == []
    assert (site.home / "session_index.jsonl").read_text() == "first\n"
    assert state(site)[1:] == before[1:]


def test_a_shorter_file_is_not_ours_to_cut(site: Site) -> None:
    operation = AppendText("session_index.jsonl", 6, LINE)
    operation.apply(site)
    (site.home / "session_index.jsonl").write_text("rew")
    operation.undo(site)
    assert (site.home / "session_index.jsonl").read_text() == "rew"
