"""The beginning of a session that a package has the end of: read from a mark, or from the start.

That both find the same is compared in every test (see conftest), with marks at every other entry.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import Session, dump, write_snapshot
from codex_session_sync import scanning, tailing, unpacking
from codex_session_sync.codex.rollout import parse_record
from codex_session_sync.errors import SessionError
from codex_session_sync.model import Tail, Transcript
from codex_session_sync.scan_cache import VARIABLE
from codex_session_sync.scanning import Progress
from codex_session_sync.transcript import scan
from exchanging import compressed, side
from workbench import codex_home

LONG = replace(Session(1), turns=tuple((f"ask {n}", f"answer {n}") for n in range(8)))
FORK = LONG.fork(3).say("What if it is cold?").say("And wet?")
ENTRIES = 2 + 2 * len(LONG.turns)
SETTINGS = {"type": "thread_settings_applied", "thread_settings": {"cwd": "/else", "model": "m"}}


def scanned(home: Path, session: Session) -> Transcript:
    rollouts = codex_home(home).rollouts()
    tip = rollouts.tip(session.id)
    assert tip is not None
    return scan(tip, rollouts.segment)


def begun(held: Transcript, entries: int) -> bool:
    """Whether a mark spares parsing for the beginning with so many entries."""
    slices = tailing._slices(held, entries)
    return tailing.marked(held, slices, held.session_id, None) is not None


def line(kind: str, ordinal: int | None, payload: Mapping[str, object]) -> bytes:
    record = {"timestamp": "2026-11-20T10:00:00.000Z", "type": kind, "payload": payload}
    return dump([record if ordinal is None else {**record, "ordinal": ordinal}])


STRANGE = {
    "garbage": b"no record\n\0\0\n\n\n",
    "torn": b'{"timestamp": "2026-11-20T10:00:00.000Z", "ordinal": 7, "type"',
    "settings": line("event_msg", 9, SETTINGS),
    "unnumbered": line("event_msg", None, SETTINGS),
    "another head": line("session_meta", 9, {"id": LONG.id, "cwd": "/other"}),
    "compacted": line("compacted", 9, {"message": "said before", "replacement_history": []}),
}


@settings(max_examples=80)
@given(
    inserted=st.lists(st.tuples(st.sampled_from([*STRANGE]), st.integers(1, 60)), max_size=4),
    every=st.integers(1, 5),
    kind=st.sampled_from(["plain", "fork", "legacy"]),
    packed=st.booleans(),
)
def test_every_beginning_is_found_alike(
    tmp_path_factory: pytest.TempPathFactory,
    inserted: list[tuple[str, int]],
    every: int,
    kind: str,
    packed: bool,
) -> None:
    """Whatever lines are between the entries, and wherever a mark and the end of it fall."""
    home = tmp_path_factory.mktemp("tailing") / "home"
    home.mkdir()
    sessions = [replace(LONG, legacy=kind == "legacy"), *([FORK] if kind == "fork" else [])]
    write_snapshot(home, sessions)
    path = home / sessions[-1].relative_path
    lines = path.read_bytes().splitlines(keepends=True)
    for name, place in inserted:
        lines.insert(min(place, len(lines)), STRANGE[name])
    path.write_bytes(b"".join(lines))
    if packed:
        compressed(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "MARKED_ENTRIES", every)
        patch.setenv(VARIABLE, "off")
        held = scanned(home, sessions[-1])
        spared = {entries for entries in range(1, len(held.ends) + 1) if begun(held, entries)}
    if held.mark is None:
        assert spared == set()
    else:
        assert kind != "legacy"
        assert spared == set(range(held.mark.entries, len(held.ends) + 1))


def test_a_delta_parses_what_follows_the_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the local session nothing but the few records behind its last mark."""
    monkeypatch.setattr(tailing, "marked", tailing.marked.__wrapped__)  # type: ignore[attr-defined]
    here, there = side(tmp_path, "here", [LONG]), side(tmp_path, "there", [LONG.say("more")])
    there.packed("delta", "--have", here.have())
    parsed: list[bytes] = []

    def noted(data: bytes) -> object:
        parsed.append(data)
        return parse_record(data)

    def read(tail: Tail, held: Transcript, progress: Progress | None) -> Transcript:
        with monkeypatch.context() as patch:
            patch.setattr(scanning, "parse_record", noted)
            return tailing.scan_tail(tail, held, progress)

    held = scanned(here.home, LONG)
    assert held.mark is not None
    assert held.mark.entries == ENTRIES
    known = (here.home / LONG.relative_path).read_bytes()[: held.ends[-1]].splitlines(True)
    monkeypatch.setattr(unpacking, "scan_tail", read)
    here.sync("delta")
    assert not set(known[1:]).intersection(parsed)
    assert any(b"more" in one for one in parsed)


@pytest.mark.parametrize("place", [300, -20])
def test_a_local_session_that_has_changed_is_not_taken_for_known(
    tmp_path: Path, place: int
) -> None:
    """Not even where only what follows the last entry has; then its entries are what counts."""
    home = write_snapshot(tmp_path / "home", [LONG])
    held, path = scanned(home, LONG), home / LONG.relative_path
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not begun(held, ENTRIES)
    if place < 0:
        tailing._beginning(held, ENTRIES, held.session_id, None)


def test_a_local_session_with_another_entry_is_refused(tmp_path: Path) -> None:
    home = write_snapshot(tmp_path / "home", [LONG])
    held, path = scanned(home, LONG), home / LONG.relative_path
    path.write_bytes(path.read_bytes().replace(b"ask 0", b"ask 1"))
    with pytest.raises(SessionError, match="is not what it was"):
        tailing._beginning(held, ENTRIES, held.session_id, None)


def test_a_shared_parent_that_has_changed_is_seen(tmp_path: Path) -> None:
    home = write_snapshot(tmp_path / "home", [LONG, FORK])
    held = scanned(home, FORK)
    assert begun(held, len(held.ends))
    parent = home / LONG.relative_path
    parent.write_bytes(parent.read_bytes().replace(b"ask 0", b"ask 1"))
    assert not begun(held, len(held.ends))
