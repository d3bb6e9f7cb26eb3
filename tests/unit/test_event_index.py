"""The index of events: always what the truth says, found by words, never an error."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import Session, write_snapshot
from codex_session_sync.events import index as indexes
from codex_session_sync.events.index import consult, index_path
from codex_session_sync.events.searching import Filters, search
from codex_session_sync.lineage.fingerprint import FINGERPRINT_VERSION
from codex_session_sync.store import documents
from codex_session_sync.store.opening import open_store
from eventing import asked, dumped, imported, owners, searched, shown_owners
from exchanging import side
from workbench import Outcome, call, environment, holding

HOLD = """
import sys
from pathlib import Path
from codex_session_sync.store.gate import gate
with gate(Path(sys.argv[1]), "checkpoint capture"):
    print("held", flush=True)
    sys.stdin.read()
"""


def at(commit: str, repository: str = "git@example.org:alice/garden.git") -> dict[str, Any]:
    """The metadata of a session that began on a commit."""
    return {"git": {"commit_hash": commit * 40, "branch": "main", "repository_url": repository}}


ROSES = Session(1, start=0, name="Roses", meta=at("a")).say("How do I prune the rose bush?", "Cut.")
SOUP = Session(2, start=600, cwd="/srv/kitchen", meta=at("b", "https://example.org/bob/soup")).say(
    "Naïve question: is a rose edible?", "Only the hips. The rose bush gives them in autumn."
)
GARDEN = Session(3, start=1200, legacy=True).say("庭の手入れについて", "冬の庭は静かです")
MORE = replace(ROSES, turns=(*ROSES.turns, ("And the hedge?", "In March.")))


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    imported(tmp_path / "store", write_snapshot(tmp_path / "home", [ROSES, SOUP, GARDEN]))
    return tmp_path / "store"


def found(store: Path, *arguments: str) -> list[str]:
    return [event["snippet"] for event in searched(store, *arguments)]


# -- finding ---------------------------------------------------------------------------------------

PRUNE, EDIBLE = "How do I prune the rose bush?", "Naïve question: is a rose edible?"
HIPS = "Only the hips. The rose bush gives them in autumn."


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["prune"], {PRUNE}),
        (["ROSE"], {PRUNE, EDIBLE, HIPS}),
        (["rose", "bush"], {PRUNE, HIPS}),
        (["bush rose"], {PRUNE, HIPS}),
        (['"bush rose"'], set()),
        (['"rose bush"'], {PRUNE, HIPS}),
        (['"rose bush', "gives"], {HIPS}),
        (["edib*"], {EDIBLE}),
        (["edib"], set()),
        (["naive"], {EDIBLE}),
        (["question:"], {EDIBLE}),
        (["rose", "OR", "edible"], set()),
        (["rose", "-", "bush"], {PRUNE, HIPS}),
        (["NEAR(rose bush)"], set()),
        (["text:rose"], set()),
        (["庭"], {"庭の手入れについて", "冬の庭は静かです"}),
        (["手入れ"], {"庭の手入れについて"}),
        (["入手"], set()),
        (["冬の庭", "静か*"], {"冬の庭は静かです"}),
        (["don't"], set()),
    ],
)
def test_words(store: Path, words: list[str], expected: set[str]) -> None:
    assert set(found(store, *words)) == expected


def test_hits_are_where_the_words_are(store: Path) -> None:
    [event] = searched(store, '"rose bush"', "prune")
    parts = [event["snippet"][start:end] for start, end in event["hits"]]
    assert parts == ["prune", "rose bush"]
    [event] = searched(store, "手入れ")
    assert [event["snippet"][start:end] for start, end in event["hits"]] == ["手入れ"]


def test_a_long_text_is_shown_in_part(tmp_path: Path) -> None:
    long = Session(9).say("word " * 500 + "needle \x02\x03\0 " + "word " * 500)
    store = tmp_path / "long"
    imported(store, write_snapshot(tmp_path / "other", [long]))
    user, agent = searched(store, "needle")
    for event in (user, agent):
        assert len(event["snippet"]) < 300
        [[start, end]] = event["hits"]
        assert event["snippet"][start:end] == "needle"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--kind", "agent"], {"Cut.", HIPS, "冬の庭は静かです"}),
        (["--session", ROSES.id], {PRUNE, "Cut."}),
        (["--session", SOUP.id[-6:]], {EDIBLE, HIPS}),
        (["--commit", "aaaa"], {PRUNE, "Cut."}),
        (["--commit", "c"], set()),
        (["--repo", "soup"], {EDIBLE, HIPS}),
        (["--repo", "https://example.org/alice/garden"], {PRUNE, "Cut."}),
        (["--repo", "/srv/kitchen"], {EDIBLE, HIPS}),
        (["--repo", "/srv/kitch"], set()),
        (["--since", "2026-03-02T19:00Z", "--until", "2026-03-03"], {EDIBLE, HIPS}),
        (["--until", "2026-03-02T19:00:00+00:00", "--kind", "user"], {PRUNE}),
        (["--repo", "soup", "rose", "--kind", "user"], {EDIBLE}),
        (["--repo", "soup", "hedge"], set()),
    ],
)
def test_filters(store: Path, options: list[str], expected: set[str]) -> None:
    assert set(found(store, *options)) == expected


def test_a_folder_stands_for_its_repository(store: Path, tmp_path: Path) -> None:
    git = shutil.which("git", path="/usr/bin:/bin:/usr/local/bin")
    if git is None:
        pytest.skip("NO GIT HERE: what a folder is of is not asked")
    (tmp_path / "bin" / "git").symlink_to(git)
    clone = tmp_path / "clone"
    for command in (
        ["init", "-q", str(clone)],
        ["-C", str(clone), "remote", "add", "origin", "ssh://git@example.org/alice/garden.git"],
    ):
        subprocess.run([git, *command], check=True)
    assert set(found(store, "--repo", str(clone))) == {PRUNE, "Cut."}


def test_the_newest_come_first_without_words(store: Path) -> None:
    times = [event["time"] for event in searched(store, "--since", "2026-01-01")]
    assert times == sorted(times, reverse=True)
    done = call("events", "search", "rose", "--limit", "1", "--store", store, "--json")
    assert (done.envelope["data"]["total"], len(done.envelope["data"]["events"])) == (3, 1)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), "query_empty"),
        (("",), "query_empty"),
        (("???", "--kind", "user"), "query_empty"),
        (("x", "--session", "0fff"), "session_unknown"),
        (("x", "--session", "019"), "session_ambiguous"),
        (("x", "--lineage", "zz"), "lineage_unknown"),
        (("x", "--lineage", ""), "lineage_unknown"),
        (("x", "--since", "soon"), "usage"),
        (("\udcff",), "query_empty"),
        (("x", "--lineage", "\udcff"), "lineage_unknown"),
    ],
)
def test_what_cannot_be_asked(store: Path, arguments: tuple[str, ...], code: str) -> None:
    done = call("events", "search", *arguments, "--store", store, "--json")
    assert (done.codes, done.exit_code) == ([code], 2)


@pytest.mark.parametrize("options", [("rose\udcff",), ("--repo", "gard\udcffen"), ()])
def test_an_argument_that_is_no_unicode_finds_nothing(
    store: Path, options: tuple[str, ...], tmp_path: Path
) -> None:
    done = call("events", "search", "rose", *options, "--store", store, "--json")
    assert (done.envelope["data"]["total"], done.exit_code) == (0 if options else 3, 0)
    os.makedirs(odd := os.fsencode(tmp_path) + b"/\xff")  # noqa: PTH103 - bytes
    assert searched(store, "rose", "--repo", os.fsdecode(odd)) == []
    done = call("events", "report", "\udcff", "--store", store, "--json")
    assert (done.codes, done.exit_code) == (["event_unknown"], 2)


@given(words=st.text(max_size=40) | st.text("\"*()-:^+{}ANDORT \\' NEAR", max_size=30))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_typed_is_no_error(store: Path, words: str) -> None:
    kind = Filters(kind="user_message")
    if not any(character.isalnum() for character in words):
        words += " rose"
    total, notices = consult(open_store(store), lambda i: search(i, words, kind, 5).total)
    assert (0 <= total <= 3, notices) == (True, [])


# -- always what the truth says -------------------------------------------------------------------


def grow(store: Path, tmp_path: Path, *, between: Callable[[], object]) -> None:
    """Imports of sessions that grow, fork and part, in some order."""
    stages: list[list[Session]] = [
        [MORE],
        [ROSES.fork(5).say("And in pots?"), SOUP],
        [replace(ROSES, turns=(*ROSES.turns, ("Elsewhere?", "No.")))],
        [MORE.fork(6).say("A fork of more").fork(7).say("A fork of a fork"), MORE.fork(6)],
        [GARDEN.say("春"), SOUP.say("With salt?")],
        [ROSES],
    ]
    random.Random(3).shuffle(stages)
    for number, sessions in enumerate(stages):
        imported(store, write_snapshot(tmp_path / f"stage-{number}", sessions))
        between()


def test_going_on_comes_to_the_same_as_making_anew(store: Path, tmp_path: Path) -> None:
    grow(store, tmp_path, between=lambda: dumped(store))
    gone_on = dumped(store)
    assert len(gone_on) > 60
    for option in ("rebuild", "removed", "at once"):
        if option == "rebuild":
            done = call("events", "rebuild", "--store", store, "--json")
            assert (done.exit_code, done.envelope["data"]["anew"]) == (0, True)
        elif option == "removed":
            shutil.rmtree(store / "derived")
        else:
            index_path(open_store(store)).unlink()
        assert dumped(store) == gone_on
    done = call("events", "index", "--store", store, "--json")
    assert done.envelope["status"] == "no_op"


def test_who_an_event_is_of(store: Path, tmp_path: Path) -> None:
    """By the index the same sessions as by following each session's line up."""
    grow(store, tmp_path, between=lambda: None)
    assert shown_owners(store) == owners(store)


def test_the_same_session_of_two_homes_is_shown_twice(store: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        imported(store, side(tmp_path, name, [SOUP]).home)
    [event] = searched(store, "edible")
    assert len({one["home"] for one in event["sessions"]}) == len(event["sessions"]) == 3


def test_what_is_not_told_again_of_a_session_stays(store: Path, tmp_path: Path) -> None:
    imported(store, write_snapshot(tmp_path / "other", [replace(ROSES, name=None)]))
    [event] = searched(store, "prune")
    assert [one["name"] for one in event["sessions"]] == ["Roses"]


def test_events_of_other_fingerprints_are_passed_over(store: Path) -> None:
    for path in (store / "events").rglob("*.jsonl"):
        data = path.read_bytes()
        version = b'"fingerprint_version":%d,'
        assert version % FINGERPRINT_VERSION in data
        path.write_bytes(data.replace(version % FINGERPRINT_VERSION, version % 9))
    assert call("events", "rebuild", "--store", store, "--json").exit_code == 0
    assert searched(store, "--since", "2026-01-01") == []


def damaged(path: Path, *_: Any) -> None:
    path.write_bytes(b"no database" * 1000)


def cut(path: Path, *_: Any) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def spoilt(path: Path, *_: Any) -> None:
    """The pages behind the first are something else."""
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))


def of_another_version(path: Path, *_: Any) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version = 99")


def of_another_store(path: Path, *_: Any) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE state SET store_id = 'x'")


def without_a_table(path: Path, *_: Any) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE reach")


def ahead(path: Path, store: Path, tmp_path: Path) -> None:
    """The store was put back from a backup that is older than the index."""
    shutil.copytree(store, tmp_path / "backup")
    imported(store, write_snapshot(tmp_path / "later", [MORE, SOUP.say("Later")]))
    assert searched(store, "later")
    newer = path.read_bytes()
    shutil.rmtree(store)
    (tmp_path / "backup").rename(store)
    path.write_bytes(newer)


@pytest.mark.parametrize(
    "harm",
    [damaged, cut, spoilt, of_another_version, of_another_store, without_a_table, ahead],
    ids=lambda harm: harm.__name__,
)
def test_an_index_that_is_no_good_is_made_anew(
    harm: Callable[[Path, Path, Path], None], store: Path, tmp_path: Path
) -> None:
    before = dumped(store)
    harm(index_path(open_store(store)), store, tmp_path)
    assert set(found(store, "rose", "bush")) == {PRUNE, HIPS}
    assert found(store, "later") == []
    assert dumped(store) == before


def test_an_import_after_harm_is_found(store: Path, tmp_path: Path) -> None:
    dumped(store)
    without_a_table(index_path(open_store(store)))
    imported(store, write_snapshot(tmp_path / "later", [MORE]))
    assert found(store, "hedge") == ["And the hedge?"]


def test_lines_of_the_catalog_may_be_there_twice(store: Path) -> None:
    """As where the catalogs of two copies were put together by hand."""
    before = dumped(store)
    with (store / "catalog.jsonl").open("ab") as stream:
        stream.write((store / "catalog.jsonl").read_bytes())
    assert dumped(store) == before
    assert call("events", "rebuild", "--store", store, "--json").exit_code == 0
    assert dumped(store) == before


def test_a_ledger_that_lost_its_end_is_told(store: Path) -> None:
    dumped(store)
    ledger = next((store / "events").rglob("*.jsonl"))
    ledger.write_bytes(ledger.read_bytes()[:-10])
    done = call("events", "rebuild", "--store", store, "--json")
    assert (done.codes, done.exit_code) == (["store_damaged"], 4)
    assert str(ledger) in done.envelope["errors"][0]["message"]


def test_beside_a_writer_the_last_index_has_to_do(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "READER_WAIT_SECONDS", 0.2)
    dumped(store)
    imported(store, write_snapshot(tmp_path / "later", [MORE]))
    with holding(HOLD, store, env=environment(tmp_path)):
        done = call("events", "search", "rose", "--store", store, "--json")
        assert (done.exit_code, done.envelope["data"]["total"]) == (0, 3)
        assert [one["code"] for one in done.envelope["warnings"]] == ["index_behind"]
        shutil.rmtree(store / "derived")
        done = call("events", "search", "hedge", "--store", store, "--json")
        assert done.codes == ["store_locked"]
    assert found(store, "hedge") == ["And the hedge?"]


# -- telling -------------------------------------------------------------------------------------


def reported(store: Path, which: str) -> Outcome:
    return call("events", "report", which, "--store", store, "--json")


def test_the_report_of_an_event_is_whole(store: Path) -> None:
    [event] = searched(store, "prune")
    whole = event["event_id"]
    for which in (whole, whole[:9], whole[:9].upper()):
        told = reported(store, which).envelope["data"]["event"]
        assert (told["text"], told["event_id"]) == (PRUNE, whole)
        [child] = told["children"]
        assert reported(store, child).exit_code == 0


def test_ids_that_mean_nothing_or_several(store: Path, tmp_path: Path) -> None:
    """Of 17 ids two begin alike."""
    many = [Session(n, start=n).say(f"Question {n}") for n in range(20, 40)]
    imported(store, write_snapshot(tmp_path / "many", many))
    commands = {"lineage_id": ("search", "x", "--lineage"), "event_id": ("report",)}
    for column, command in commands.items():
        ids = [one for (one,) in asked(store, f"SELECT DISTINCT {column} FROM events")]
        first = max("0123456789abcdef", key=lambda digit: sum(i[0] == digit for i in ids))
        done = call("events", *command, first, "--store", store, "--json")
        assert done.codes == [column.replace("_id", "_ambiguous")]
    for which, code in (
        *(("", "event_unknown"), ("zz", "event_unknown")),
        *(("20990101T", "import_unknown"), ("20T", "import_unknown")),
    ):
        assert reported(store, which).codes == [code]
    digits = [one.id for one in documents.entries(open_store(store), "import")]
    assert reported(store, digits[0][:12]).codes == ["import_ambiguous"]


def test_the_report_of_an_import(store: Path, tmp_path: Path) -> None:
    imported(store, write_snapshot(tmp_path / "later", [MORE]))
    done = call("events", "report", "--store", store, "--json").envelope["data"]
    assert [one["added"] for one in done["imports"]] == [2, 6]
    assert done["totals"]["user_messages"] == done["totals"]["agent_messages"] == 4
    told = reported(store, done["imports"][0]["import_id"]).envelope["data"]["import"]
    assert [one["session_id"] for one in told["sessions"]] == [ROSES.id]


def test_the_graph(store: Path, tmp_path: Path) -> None:
    imported(store, write_snapshot(tmp_path / "later", [MORE, MORE.fork(5).say("In pots?")]))
    imported(store, tmp_path / "later")
    done = call("events", "graph", "--format", "json", "--store", store, "--json").envelope["data"]
    assert json.loads(done["document"]) == {"nodes": done["nodes"], "edges": done["edges"]}
    place = {node["id"]: number for number, node in enumerate(done["nodes"])}
    assert all(place[edge["source"]] < place[edge["target"]] for edge in done["edges"])
    kinds = [node["kind"] for node in done["nodes"]]
    expected = {"import": 3, "package": 2, "session": 4, "head": 5, "lineage": 3}
    assert {kind: kinds.count(kind) for kind in expected} == expected
    ends: dict[str, list[tuple[str, str]]] = {}
    for edge in done["edges"]:
        ends.setdefault(edge["kind"], []).append((edge["source"], edge["target"]))
    numbers = {"reads": 3, "holds": 5, "ends_at": 5, "begins": 3, "continues": 2, "fork": 1}
    assert {kind: len(found) for kind, found in ends.items()} == numbers
    [(short, longer), (again, fork)] = sorted(ends["continues"], key=lambda edge: place[edge[1]])
    assert (longer, ends["fork"]) == (again, [(f"session:{ROSES.id}", f"session:{SESSION_5}")])
    assert (f"session:{ROSES.id}", short) in ends["ends_at"]
    assert (f"session:{SESSION_5}", fork) in ends["ends_at"]
    which = done["nodes"][0]["import_id"]
    part = call("events", "graph", "--import", which, "--store", store, "--json").envelope["data"]
    assert {node["import_id"] for node in part["nodes"] if node["kind"] == "import"} == {which}
    assert len(part["nodes"]) < len(done["nodes"])
    for form in ("dot", "mermaid"):
        lines = call("events", "graph", "--format", form, "--store", store).out.decode()
        assert lines.count("->" if form == "dot" else "n0 ") >= 1
        assert "Roses" in lines


SESSION_5 = MORE.fork(5).id
