"""What ``pack`` chooses, writes and leaves alone."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

import package_by_spec as spec
from builders import Session, session_id, write_snapshot
from codex_session_sync.model import RolloutFile, Transcript
from codex_session_sync.transcript import scan
from workbench import Outcome, add_rows, call, insert, make_database, tree

BEANS = Session(1, start=10, name="Beans").say("When do I sow beans?").say("And peas?")
FORK = BEANS.fork(2).say("What if it is cold?")
FORK_OF_FORK = FORK.fork(3).say("And if it snows?")
CHILD = Session(4, start=40, meta={"parent_thread_id": session_id(5)}).say("Look that up")
PARENT = Session(5, start=50, cwd="/home/alice/kitchen").say("Ask somebody")
OLD = Session(6, legacy=True, start=60, archived=True).say("An old question")
COPY = Session(7, legacy=True, start=70, meta={"forked_from_id": session_id(6)}).say("A copy")
ALL = (BEANS, FORK, FORK_OF_FORK, CHILD, PARENT, OLD, COPY)
FORMATS = ("native", "transfer-v1")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with sessions that descend from each other."""
    found = write_snapshot(tmp_path / "home", ALL)
    add_rows(make_database(found), ALL)
    return found


def pack(home: Path, out: Path, *options: str) -> Outcome:
    return call("pack", "-o", out, *options, "--codex-home", home, "--json")


def sync(home: Path, package: Path, *options: str) -> Outcome:
    return call("sync", package, "--no-prime", *options, "--codex-home", home, "--json")


def numbers(outcome: Outcome) -> dict[int, bool]:
    """The sessions of a package by number, and whether they were chosen."""
    known = {session.id: session.number for session in ALL}
    assert outcome.exit_code == 0, outcome.out
    return {known[i]: one["chosen"] for i, one in outcome.sessions.items()}


# Selection

CHOICES: dict[tuple[str, ...], dict[int, bool]] = {
    (): {1: True, 2: True, 3: True, 4: True, 5: True, 7: True},
    ("--archived",): dict.fromkeys(range(1, 8), True),
    ("--session", BEANS.id): {1: True},
    ("--session", FORK.id): {1: False, 2: True},
    ("--session", FORK_OF_FORK.id): {1: False, 2: False, 3: True},
    ("--session", FORK_OF_FORK.id, "--session", BEANS.id): {1: True, 2: False, 3: True},
    ("--session", CHILD.id): {4: True, 5: False},
    ("--session", PARENT.id): {5: True},
    ("--session", OLD.id): {6: True},
    ("--session", COPY.id): {7: True},
    ("--session", "000002"): {1: False, 2: True},
    ("--cwd", "/home/alice/kitchen"): {5: True},
    ("--cwd", "/home/alice/kitchen/"): {5: True},
    ("--cwd", "/home/alice"): {1: True, 2: True, 3: True, 4: True, 5: True, 7: True},
    ("--cwd", "/home/alice/kitchen", "--session", BEANS.id, "--cwd", "/home/alice/garden"): {
        1: True
    },
    ("--since", "2026-03-02T10:05:00Z"): {1: False, 2: True, 3: True, 7: True},
}


@pytest.mark.parametrize(("options", "expected"), CHOICES.items())
def test_what_is_chosen(
    home: Path, tmp_path: Path, options: tuple[str, ...], expected: dict[int, bool]
) -> None:
    assert numbers(pack(home, tmp_path / "package", *options)) == expected


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--cwd", "/home/ali"), "selection_empty"),
        (("--since", "2030-01-01"), "selection_empty"),
        (("--session", session_id(99)), "session_unknown"),
        (("--session", "019cac"), "session_ambiguous"),
        (("--since", "yesterday"), "usage"),
        (("--format", "zip"), "usage"),
    ],
)
def test_what_cannot_be_chosen(
    home: Path, tmp_path: Path, options: tuple[str, ...], code: str
) -> None:
    outcome = pack(home, tmp_path / "package", *options)
    assert (outcome.exit_code, outcome.codes) == (2, [code])
    assert not (tmp_path / "package").exists()


def test_a_path_of_windows(tmp_path: Path) -> None:
    one = Session(1, cwd="C:\\Users\\alice\\garden").say("Hello")
    home = write_snapshot(tmp_path / "home", [one])
    assert pack(home, tmp_path / "package", "--cwd", "C:\\Users\\alice").exit_code == 0


# The home is only read, the package is whole or not there


@pytest.mark.parametrize("form", FORMATS)
def test_the_home_is_only_read(home: Path, tmp_path: Path, form: str) -> None:
    before = tree(home)
    assert pack(home, tmp_path / "package", "--format", form).exit_code == 0
    assert tree(home) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "package"]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("what", ["file", "folder", "link"])
def test_nothing_is_written_over(home: Path, tmp_path: Path, form: str, what: str) -> None:
    out = tmp_path / "package"
    if what == "file":
        out.write_bytes(b"mine")
    elif what == "folder":
        out.mkdir()
    else:
        out.symlink_to(tmp_path / "nowhere")
    before = tree(tmp_path)
    outcome = pack(home, out, "--format", form)
    assert (outcome.exit_code, outcome.codes) == (2, ["output_exists"])
    assert tree(tmp_path) == before


def test_never_into_the_home(home: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(home / "sessions")
    for out in (home / "package", home / "sessions" / "package", tmp_path / "link" / "package"):
        outcome = pack(home, out)
        assert (outcome.exit_code, outcome.codes) == (2, ["output_in_home"])


@pytest.mark.parametrize("out", ["package", "package.zip", "package.tar.zst"])
@pytest.mark.parametrize("form", FORMATS)
def test_a_folder_that_is_missing(home: Path, tmp_path: Path, form: str, out: str) -> None:
    outcome = pack(home, tmp_path / "missing" / out, "--format", form)
    assert (outcome.exit_code, outcome.codes) == (4, ["output_not_writable"])


@pytest.mark.parametrize("form", FORMATS)
def test_a_session_that_cannot_be_read(home: Path, tmp_path: Path, form: str) -> None:
    (home / BEANS.relative_path).write_bytes(b"garbage\n")
    outcome = pack(home, tmp_path / "package", "--format", form)
    assert (outcome.exit_code, outcome.envelope["status"]) == (1, "partial")
    failed = {error["session_id"] for error in outcome.envelope["errors"]}
    assert failed == {BEANS.id, FORK.id, FORK_OF_FORK.id}
    assert set(outcome.sessions) == {CHILD.id, PARENT.id, COPY.id}
    new = tmp_path / "new"
    new.mkdir()
    assert sync(new, tmp_path / "package", "--execute").exit_code == 0


@pytest.mark.parametrize("form", FORMATS)
def test_no_session_can_be_read(home: Path, tmp_path: Path, form: str) -> None:
    (home / BEANS.relative_path).write_bytes(b"garbage\n")
    outcome = pack(home, tmp_path / "package", "--format", form, "--session", BEANS.id)
    assert (outcome.exit_code, outcome.codes) == (4, ["nothing_packed"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"]


# What a session is


def test_all_that_a_session_is(tmp_path: Path) -> None:
    """Original records, a torn end, compressed files, row, tools and spawn edge."""
    home = write_snapshot(tmp_path / "home", [BEANS, FORK, CHILD, PARENT])
    torn = b'{"timestamp":"2026-'
    with (home / PARENT.relative_path).open("ab") as stream:
        stream.write(b"no record\r\n\n" + torn)
    plain = home / BEANS.relative_path
    plain.with_name(plain.name + ".zst").write_bytes(zstandard.compress(plain.read_bytes()))
    plain.unlink()
    database = make_database(home)
    add_rows(database, [BEANS, CHILD])
    tool: dict[str, Any] = {
        "thread_id": BEANS.id,
        "position": 0,
        "name": "hoe",
        "description": "digs",
        "input_schema": "{}",
        "defer_loading": 1,
        "namespace": None,
    }
    edge = {"parent_thread_id": PARENT.id, "child_thread_id": CHILD.id, "status": "open"}
    with closing(sqlite3.connect(database)) as connection, connection:
        insert(connection, "thread_dynamic_tools", tool)
        connection.execute(
            "CREATE TABLE thread_spawn_edges (parent_thread_id TEXT NOT NULL, "
            "child_thread_id TEXT PRIMARY KEY NOT NULL, status TEXT NOT NULL)"
        )
        insert(connection, "thread_spawn_edges", edge)
    out = tmp_path / "package"
    assert pack(home, out).exit_code == 0
    manifest, parts = spec.read(out.read_bytes())
    sessions = {one["session_id"]: one for one in manifest["sessions"]}
    assert parts[f"rollouts/{BEANS.file_name}"] == BEANS.data()
    assert parts[f"rollouts/{PARENT.file_name}"] == PARENT.data() + b"no record\r\n\n" + torn
    assert sessions[BEANS.id]["dynamic_tools"] == [tool]
    assert sessions[BEANS.id]["name"] == "Beans"
    row = sessions[BEANS.id]["row"]
    assert {k: row[k] for k in ("title", "tokens_used")} == {
        "title": "When do I sow beans?",
        "tokens_used": 30,
    }
    assert sessions[CHILD.id]["spawn_edge"] == {"parent_thread_id": PARENT.id, "status": "open"}
    assert sessions[PARENT.id]["row"] is None
    assert sessions[PARENT.id]["facts"]["torn"]


def test_a_row_that_no_reader_takes_stays_behind(tmp_path: Path) -> None:
    home = write_snapshot(tmp_path / "home", [BEANS])
    add_rows(make_database(home), [BEANS])
    with closing(sqlite3.connect(home / "state_5.sqlite")) as connection, connection:
        connection.execute("UPDATE threads SET title = x'ff00'")
    assert pack(home, tmp_path / "package").exit_code == 0
    assert sync(home, tmp_path / "package").exit_code == 0


def test_odd_metadata_makes_no_odd_package(tmp_path: Path) -> None:
    odd = {"cli_version": 5, "originator": ["x"], "forked_from_id": {}, "session_sync": "x"}
    home = write_snapshot(tmp_path / "home", [Session(1, meta=odd).say("Hello")])
    with closing(sqlite3.connect(make_database(home))) as connection, connection:
        connection.execute(
            "CREATE TABLE thread_spawn_edges (parent_thread_id, child_thread_id, status)"
        )
        insert(
            connection,
            "thread_spawn_edges",
            {"parent_thread_id": 5, "child_thread_id": session_id(1), "status": b"x"},
        )
    assert pack(home, tmp_path / "package").exit_code == 0
    assert sync(home, tmp_path / "package").envelope["status"] == "no_op"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("what", ["appended", "rewritten"])
def test_codex_writes_meanwhile(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, what: str
) -> None:
    """What is appended after a session was understood waits; another beginning fails it."""
    path = home / PARENT.relative_path

    def scan_and_write(tip: RolloutFile, *more: Any) -> Transcript:
        found = scan(tip, *more)
        if tip.path == path and what == "appended":
            with path.open("ab") as stream:
                stream.write(b'{"timestamp":"2026-')
        elif tip.path == path:
            path.write_bytes(path.read_bytes().replace(b"Ask somebody", b"Ask one there"))
        return found

    module = "native" if form == "native" else "transfer"
    monkeypatch.setattr(f"codex_session_sync.packing.{module}.scan", scan_and_write)
    outcome = pack(home, tmp_path / "package", "--format", form)
    assert outcome.codes == ([] if what == "appended" else ["package_changed"])
    assert (PARENT.id in outcome.sessions) == (what == "appended")
    looked = call("inspect-package", tmp_path / "package", "--codex-home", home, "--json")
    assert (looked.exit_code, looked.codes) == (0, [])
    assert set(looked.sessions) == set(outcome.sessions)


# The same again

SUFFIXES = ("", ".tar", ".tar.gz", ".tgz", ".tar.zst", ".zip")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_home_gives_the_same_package(home: Path, tmp_path: Path, suffix: str) -> None:
    found = []
    for name in ("one", "two"):
        out = tmp_path / f"{name}{suffix}"
        options = ("--archived", *(("--format", "transfer-v1") if suffix else ()))
        assert pack(home, out, *options).exit_code == 0
        found.append(out.read_bytes())
        for path in home.rglob("state_5.sqlite*"):
            path.touch()
    assert found[0] == found[1]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_transfer_package_holds_whole_sessions(home: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"package{suffix}"
    outcome = pack(home, out, "--archived", "--format", "transfer-v1")
    assert outcome.exit_code == 0
    kind = {"": "directory", ".tgz": "tar.gz"}.get(suffix, suffix.removeprefix("."))
    assert outcome.envelope["data"]["package"]["container"] == kind
    new = tmp_path / "new"
    new.mkdir()
    make_database(new)
    done = sync(new, out, "--execute")
    assert (done.exit_code, done.envelope["data"]["package"]["container"]) == (0, kind)
    assert same_sessions(home, new, tmp_path)


def test_a_fork_alone_carries_its_history(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "package"
    options = ("--format", "transfer-v1", "--session", FORK_OF_FORK.id)
    assert pack(home, out, *options).exit_code == 0
    text = (out / "sessions" / FORK_OF_FORK.file_name).read_text()
    assert "When do I sow beans?" in text
    assert "history_base" not in text
    lines = (out / "metadata" / "threads.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert rows[-1]["rollout_path"] == f".codex/{FORK_OF_FORK.relative_path}"
    assert str(tmp_path) not in "".join(lines)


def same_sessions(one: Path, other: Path, folder: Path) -> bool:
    """Whether two homes have the same sessions, with the same links and names."""
    found = []
    for home in (one, other):
        out = folder / f"{home.name}.compared"
        assert pack(home, out, "--archived").exit_code == 0
        manifest, parts = spec.read(out.read_bytes())
        found.append(
            {
                s["session_id"]: (s["name"], s["archived"], parts[f"chains/{s['session_id']}"])
                for s in manifest["sessions"]
            }
        )
    return found[0] == found[1]


def test_there_and_back(home: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    make_database(new)
    assert pack(home, tmp_path / "package", "--archived").exit_code == 0
    done = sync(new, tmp_path / "package", "--execute")
    assert {one["result"] for one in done.sessions.values()} == {"imported"}
    assert same_sessions(home, new, tmp_path)
    assert pack(new, tmp_path / "back", "--archived").exit_code == 0
    again = sync(home, tmp_path / "back", "--execute")
    assert {one["reason"] for one in again.sessions.values()} == {"equal"}
    assert again.envelope["status"] == "no_op"


def test_going_on_and_parting(home: Path, tmp_path: Path) -> None:
    """A native package is compared by its manifest, and extends and branches like any other."""
    more, other = BEANS.say("And lettuce?"), BEANS.say("And chard?")
    source = write_snapshot(tmp_path / "source", [more, PARENT.say("Ask another")])
    assert pack(source, tmp_path / "package").exit_code == 0
    done = sync(home, tmp_path / "package", "--execute")
    assert {one["result"] for one in done.sessions.values()} == {"fast_forwarded"}
    source = write_snapshot(tmp_path / "third", [other])
    assert pack(source, tmp_path / "other").exit_code == 0
    done = sync(home, tmp_path / "other", "--execute")
    assert {one["result"] for one in done.sessions.values()} == {"branched"}
    assert sync(home, tmp_path / "other", "--execute").envelope["status"] == "no_op"


def test_looking_reads_no_transcript(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, new = tmp_path / "package", tmp_path / "new"
    new.mkdir()
    assert pack(home, out).exit_code == 0
    snapshot = call("inspect-package", home, "--codex-home", new, "--json").sessions

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("codex_session_sync.transcript.wanted", never)
    monkeypatch.setattr("codex_session_sync.reading.wanted", never)
    monkeypatch.setattr("codex_session_sync.unpacking.scan", never)
    looked = call("inspect-package", out, "--codex-home", new, "--json").sessions
    assert looked == {i: snapshot[i] for i in looked}
    assert sync(new, out).sessions == looked


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


@given(
    turns=st.lists(st.tuples(texts, texts), max_size=4),
    later=st.lists(texts, max_size=2),
    legacy=st.booleans(),
    archived=st.booleans(),
    name=st.none() | texts,
    form=st.sampled_from(FORMATS),
)
def test_round_trips(
    tmp_path_factory: pytest.TempPathFactory,
    turns: list[tuple[str, str]],
    later: list[str],
    legacy: bool,
    archived: bool,
    name: str | None,
    form: str,
) -> None:
    folder = tmp_path_factory.mktemp("trip")
    first = Session(1, tuple(turns), legacy=legacy, archived=archived, name=name)
    sessions = [first]
    if not legacy:
        fork = first.fork(2)
        for text in later:
            fork = fork.say(text)
        sessions.append(fork)
    home = write_snapshot(folder / "home", sessions)
    add_rows(make_database(home), sessions)
    new = folder / "new"
    new.mkdir()
    make_database(new)
    out = folder / "package"
    assert pack(home, out, "--archived", "--format", form).exit_code == 0
    done = sync(new, out, "--execute")
    assert {one["result"] for one in done.sessions.values()} == {"imported"}
    assert same_sessions(home, new, folder)
