"""What ``have`` tells of a home, and what ``pack --have`` takes for it and makes of it."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builders import Session, session_id, write_snapshot
from codex_session_sync.codex.home import INSTALLATION_ID
from codex_session_sync.packing import known
from codex_session_sync.validation import fits
from exchanging import Side, bases, side, with_rows
from workbench import call, tree

Json = dict[str, Any]

BEANS = Session(1, start=10, name="Climbing beans", cwd="/home/alice/secret-garden")
for turn in range(20):
    BEANS = BEANS.say(f"When do I sow number {turn}?")
ROSES = Session(2, start=20).say("How do I prune roses?")
OLD = Session(3, legacy=True, start=30, archived=True).say("An old question")
FORK = ROSES.fork(4).say("What if it is cold?")
EMPTY = Session(5, start=40)
ALL = (BEANS, ROSES, OLD, FORK, EMPTY)


@pytest.fixture
def there(tmp_path: Path) -> Side:
    """The home that sends."""
    return side(tmp_path, "there", ALL)


@pytest.fixture
def here(tmp_path: Path, there: Side) -> Side:
    """A home that took all of it."""
    found = side(tmp_path, "here")
    there.packed("first")
    found.sync("first")
    return found


def document(of: Side) -> Json:
    found: Json = json.loads(of.have().read_bytes())
    return found


def leaves(value: Any) -> Iterator[Any]:
    """Every key and value that is no object and no list."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def sessions(of: Json) -> dict[str, Json]:
    return {one["session_id"]: one for lineage in of["lineages"] for one in lineage["sessions"]}


# The document


def test_there_is_no_word_of_a_session_in_it(here: Side) -> None:
    found = document(here)
    assert fits("have", found)
    keys = "format fingerprint_version home lineages lineage_id sessions session_id history_mode"
    told = {*keys.split(), "entries", "links", "origins", "metadata", "legacy", "paginated"}
    shape = re.compile(r"[0-9a-f]{32}|[0-9a-f]{64}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
    for leaf in leaves(found):
        if leaf not in told and not isinstance(leaf, int):
            assert shape.fullmatch(leaf) or leaf == "codex-session-sync/have/1", leaf
    text = here.have().read_text()
    for word in ("beans", "secret", "garden", "prune", "alice", str(here.home), "question"):
        assert word.casefold() not in text.casefold()


def test_links_lie_at_gaps_that_double(there: Side) -> None:
    found = sessions(document(there))
    assert found.keys() == {session.id for session in ALL}
    assert [count for count, _ in found[BEANS.id]["links"]] == [42, 41, 39, 35, 27, 11, 1]
    assert [count for count, _ in found[EMPTY.id]["links"]] == [2, 1]
    manifest, parts = there.whole()
    for session in ALL:
        assert found[session.id]["entries"] == manifest[session.id]["entries"]
        chain = parts[f"chains/{session.id}"]
        for count, link in found[session.id]["links"]:
            assert chain[32 * (count - 1) : 32 * count].hex() == link
    assert {one["history_mode"] for i, one in found.items() if i != OLD.id} == {"paginated"}
    assert found[OLD.id]["history_mode"] == "legacy"


def test_what_was_agreed_upon_is_told_as_well(there: Side, here: Side) -> None:
    """The other side is at an entry that no gap leads to; the last sync was there."""
    before = sessions(document(here))[BEANS.id]
    assert [one["session_id"] for one in before["origins"]] == [BEANS.id]
    [source] = before["origins"][0]["metadata"]
    assert source == (there.home / INSTALLATION_ID).read_text()
    for minute in range(100, 107):
        here.go_on(BEANS.id, "On this side", minute)
    after = sessions(document(here))[BEANS.id]
    assert [n for n, _ in after["links"]] == [56, 55, 53, 49, 42, 41, 25, 1]
    assert there.packed("news", "--have", here.have()).envelope["data"]["package"] is None


def test_a_home_without_sessions(tmp_path: Path, there: Side) -> None:
    empty = side(tmp_path, "empty")
    assert document(empty)["lineages"] == []
    assert len(there.packed("all", "--have", empty.have()).sessions) == len(ALL)


def test_the_home_is_only_read_and_the_same_twice(here: Side) -> None:
    before = tree(here.home)
    assert here.have().read_bytes() == here.have().read_bytes()
    assert tree(here.home) == before


def test_a_session_that_cannot_be_read_is_left_out(there: Side) -> None:
    (there.home / ROSES.relative_path).write_bytes(b"garbage\n")
    done = call("have", "--codex-home", there.home, "--json")
    assert (done.exit_code, done.envelope["status"]) == (0, "ok")
    told = {one["session_id"] for one in done.envelope["warnings"]}
    assert told == {ROSES.id, FORK.id}
    assert sessions(done.envelope["data"]).keys() == {s.id for s in ALL} - told


def test_every_form_of_it_is_taken(there: Side, here: Side, tmp_path: Path) -> None:
    there_later = [BEANS.say("One more?"), *ALL[1:]]
    write_snapshot(there.home, there_later)
    forms = {"file": here.have()}
    for name, options in {"printed": (), "json": ("--json",)}.items():
        done = call("have", "--codex-home", here.home, *options)
        assert (done.exit_code, done.err) == (0, "")
        forms[name] = tmp_path / name
        forms[name].write_bytes(done.out)
    assert json.loads(forms["printed"].read_bytes()) == json.loads(forms["file"].read_bytes())
    packages = set()
    for form in forms.values():
        assert bases(there.packed("news", "--have", form)) == {1: 42}
        packages.add((tmp_path / "news").read_bytes())
    assert len(packages) == 1


def test_nothing_is_written_over(here: Side, tmp_path: Path) -> None:
    taken = here.have()
    for out, code in ((taken, "output_exists"), (here.home / "have.json", "output_in_home")):
        before = tree(tmp_path)
        done = call("have", "-o", out, "--codex-home", here.home, "--json")
        assert (done.exit_code, done.codes) == (2, [code])
        assert tree(tmp_path) == before


def test_as_a_person_reads_it(there: Side, here: Side) -> None:
    done = call("have", "-o", here.folder / "x.json", "--codex-home", here.home)
    assert done.out.decode().startswith("x.json · what this home has of 5 sessions\n")
    done = call(
        "pack", "-o", here.folder / "news", "--have", here.have(), "--codex-home", there.home
    )
    assert done.out.decode() == "The other side has all of it; nothing is written.\n"


# What is no such document

BROKEN: dict[str, tuple[Callable[[Json], Any], str]] = {
    "a list": (lambda d: [d], "invalid"),
    "a text": (lambda _: "have", "invalid"),
    "null": (lambda _: None, "invalid"),
    "empty": (lambda _: {}, "invalid"),
    "no format": (lambda d: d.pop("format") and d, "invalid"),
    "format a number": (lambda d: {**d, "format": 1}, "invalid"),
    "format of a package": (lambda d: {**d, "format": "codex-session-sync/package/1"}, "invalid"),
    "format with more": (lambda d: {**d, "format": d["format"] + "\n"}, "invalid"),
    "a later format": (lambda d: {**d, "format": "codex-session-sync/have/2"}, "version"),
    "a later format of another shape": (
        lambda _: {"format": "codex-session-sync/have/12"},
        "version",
    ),
    "no version": (lambda d: d.pop("fingerprint_version") and d, "invalid"),
    "version a text": (lambda d: {**d, "fingerprint_version": "2"}, "invalid"),
    "version true": (lambda d: {**d, "fingerprint_version": True}, "invalid"),
    "version 0": (lambda d: {**d, "fingerprint_version": 0}, "invalid"),
    "an older version": (lambda d: {**d, "fingerprint_version": 1}, "version"),
    "a later version": (lambda d: {**d, "fingerprint_version": 3}, "version"),
    "no home": (lambda d: d.pop("home") and d, "invalid"),
    "home a path": (lambda d: {**d, "home": "/home/alice"}, "invalid"),
    "no lineages": (lambda d: d.pop("lineages") and d, "invalid"),
    "lineages an object": (lambda d: {**d, "lineages": {}}, "invalid"),
    "a lineage that is none": (lambda d: d["lineages"].append(5) or d, "invalid"),
    "a lineage's id": (lambda d: d["lineages"][0].update(lineage_id="../x") or d, "invalid"),
    "a lineage of nothing": (lambda d: d["lineages"][0].update(sessions=[]) or d, "invalid"),
    "an envelope of another command": (lambda d: {"command": "pack", "data": d}, "invalid"),
    "an envelope of nothing": (lambda _: {"command": "have", "data": None}, "invalid"),
    "an envelope of an error": (lambda _: {"command": "have", "data": {}}, "invalid"),
}


def in_session(**change: Any) -> tuple[Callable[[Json], Any], str]:
    return lambda d: d["lineages"][0]["sessions"][0].update(change) or d, "invalid"


WRONG: dict[str, list[Any]] = {
    "session_id": [None, 5, "../../etc", session_id(1) + "\n"],
    "history_mode": [None, "old"],
    "entries": [-1, "5", 1.5, 1 << 70],
    "links": [
        None,
        {},
        [5],
        [[]],
        [[1]],
        [["1", "0" * 64]],
        [[0, "0" * 64]],
        [[1, "0" * 63]],
        [[1, "x" * 64]],
        [[1, "0" * 64, 5]],
    ],
    "metadata": [None, {}, "0", "0" * 63 + "x"],
    "origins": [
        None,
        [5],
        [{}],
        [{"session_id": "x", "metadata": {}}],
        [{"session_id": session_id(1), "metadata": []}],
        [{"session_id": session_id(1), "metadata": {"x": 5}}],
        [{"session_id": session_id(1), "metadata": {"x": "0"}}],
    ],
}
BROKEN |= {
    f"session: {key} {value}": in_session(**{key: value})
    for key, values in WRONG.items()
    for value in values
}


def refused(there: Side, path: Path) -> str:
    """The code for which ``pack --have`` refuses a file; nothing is written."""
    before = set(there.folder.iterdir())
    done = call(
        *("pack", "-o", there.folder / "news", "--have", path),
        *("--codex-home", there.home, "--json"),
    )
    assert done.exit_code == 2, done.out
    assert set(there.folder.iterdir()) == before
    [error] = done.envelope["errors"]
    assert error["hint"]
    return str(error["code"])


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_document(there: Side, how: str) -> None:
    change, kind = BROKEN[how]
    path = there.have()
    path.write_text(json.dumps(change(json.loads(path.read_bytes()))))
    expected = {"invalid": "have_invalid", "version": "have_version_unsupported"}
    assert refused(there, path) == expected[kind]


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 99, b"{", b"\xff\xfe{}", b"[" * 100_000, b'{"format":}', b"x" * 99]
)
def test_what_is_no_json(there: Side, content: bytes) -> None:
    path = there.folder / "have.json"
    path.write_bytes(content)
    assert refused(there, path) == "have_invalid"


def test_one_that_is_too_long(there: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    path = there.have()
    monkeypatch.setattr(known, "MAX_BYTES", path.stat().st_size - 1)
    assert refused(there, path) == "have_invalid"
    monkeypatch.setattr(known, "MAX_BYTES", path.stat().st_size)
    assert there.packed("news", "--have", path).envelope["status"] == "no_op"


def test_what_cannot_be_read(there: Side) -> None:
    folder, pipe, missing = (there.folder / name for name in ("folder", "pipe", "missing"))
    folder.mkdir()
    os.mkfifo(pipe)
    loop = there.folder / "loop"
    loop.symlink_to(loop)
    for path in (folder, pipe, missing, loop, Path("/dev/zero")):
        assert refused(there, path) == "have_unreadable"


def test_the_other_format_is_always_whole(there: Side) -> None:
    out, have = there.folder / "news.tar", there.have()
    done = call(
        *("pack", "-o", out, "--format", "transfer-v1", "--have", have),
        *("--codex-home", there.home, "--json"),
    )
    assert (done.exit_code, done.codes) == (2, ["have_needs_native"])
    assert not out.exists()


# What is left out


def changed(there: Side, *later: Session, branch: str | None = None) -> None:
    """The sessions of the home are others now, or in another state."""
    for session in ALL:
        (there.home / session.relative_path).unlink(missing_ok=True)
    write_snapshot(there.home, later)
    with_rows(there.home / "state_5.sqlite", later, 1_900_000_000_000)
    with closing(sqlite3.connect(there.home / "state_5.sqlite")) as database, database:
        database.execute("UPDATE threads SET git_branch = ? WHERE id = ?", (branch, ROSES.id))


def test_nothing_where_all_is_known(there: Side, here: Side) -> None:
    done = there.packed("news", "--have", here.have())
    assert done.envelope["status"] == "no_op"
    assert done.envelope["data"] == {"package": None, "sessions": [], "known": 5}


NEWS: dict[str, tuple[Callable[[Side], None], dict[int, int]]] = {
    "a name": (lambda at: changed(at, replace(BEANS, name="Beans"), *ALL[1:]), {1: 42}),
    "archived": (lambda at: changed(at, BEANS, replace(ROSES, archived=True), *ALL[2:]), {2: 4}),
    "out of the archive": (
        lambda at: changed(at, BEANS, ROSES, replace(OLD, archived=False), FORK, EMPTY),
        {3: 4},
    ),
    "a git branch": (lambda at: changed(at, *ALL, branch="spring"), {2: 4}),
    "another home of the same sessions": (
        lambda at: write_id(at, session_id(77)),
        {},
    ),
    "a home that has no id": (lambda at: write_id(at, ""), {}),
}


def write_id(at: Side, text: str) -> None:
    (at.home / INSTALLATION_ID).write_text(text)


@pytest.mark.parametrize("what", NEWS)
def test_what_is_not_left_out(there: Side, here: Side, what: str) -> None:
    """What another home has, whose states never came here, would change nothing here."""
    change, expected = NEWS[what]
    change(there)
    assert bases(there.packed("news", "--have", here.have())) == expected
    if not expected:
        there.packed("whole")
        assert here.sync("whole").envelope["status"] == "no_op"
        return
    done = here.sync("news")
    assert [one["follows"] for one in done.sessions.values()] == [
        {
            "a name": {"name": "Beans"},
            "archived": {"archived": True},
            "out of the archive": {"archived": False},
            "a git branch": {"git_branch": "spring"},
        }[what]
    ]
    assert there.packed("again", "--have", here.have()).envelope["data"]["known"] == 5
