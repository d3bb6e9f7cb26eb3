"""``lineage``: the family of sessions as values, trees and documents."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import Session, dump, session_id, write_snapshot
from codex_session_sync.family.drawing import age, as_json, dot, mermaid, tree
from codex_session_sync.family.page import page
from codex_session_sync.family.values import Edge, Family, Kind, parents
from codex_session_sync.family.values import Session as Member
from families import BEANS, CHILD, FORK, GONE, OLD, OVEN, grown_home
from workbench import call
from workbench import tree as files_of

NOW = datetime(2026, 3, 9, 12, tzinfo=UTC)


def lineage(home: Path, *options: str | Path) -> Any:
    found = call("lineage", *options, "--codex-home", home, "--json")
    assert found.exit_code == 0, found.envelope
    return found.envelope["data"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home into which three packages came, one of them in part rolled back."""
    return grown_home(tmp_path)


def between(data: Any, kind: str) -> set[tuple[str, str]]:
    return {(e["source"], e["target"]) for e in data["edges"] if e["kind"] == kind}


def test_what_came_from_what(home: Path) -> None:
    data = lineage(home)
    nodes = {node["id"]: node for node in data["nodes"]}
    [(origin, branch)] = between(data, "branch")
    assert origin == BEANS.id
    assert nodes[branch]["title"] == "Beans (from desk)"
    assert between(data, "fork") == {(BEANS.id, FORK.id)}
    assert between(data, "spawn") == {(OVEN.id, CHILD.id)}
    assert between(data, "stands_for") == set()
    assert nodes[GONE.id]["here"] is False
    assert nodes[OLD.id]["archived"] is True
    assert nodes[BEANS.id]["cwd"] == "/home/alice/garden"
    assert {n["name"] for n in data["nodes"] if n["kind"] == "package"} == {
        *("attic", "laptop", "desk")
    }


def test_what_transactions_did(home: Path) -> None:
    data = lineage(home)
    done = {(e["target"], e["result"]) for e in data["edges"] if e["kind"] == "wrote"}
    assert {(BEANS.id, "imported"), (BEANS.id, "fast_forwarded"), (GONE.id, "undone")} <= done
    [(undoing, undone)] = between(data, "rolls_back")
    assert {undoing, undone} < {n["id"] for n in data["nodes"] if n["kind"] == "transaction"}
    applied = {target for _, target in between(data, "applied")}
    assert undone in applied
    assert undoing not in applied


def test_only_the_relatives_of_one(home: Path) -> None:
    data = lineage(home, FORK.id[:8] + "…" + FORK.id[-6:])
    sessions = {n["id"]: n for n in data["nodes"] if n["kind"] == "session"}
    [(_, branch)] = between(data, "branch")
    assert sessions.keys() == {BEANS.id, FORK.id, branch}
    assert sessions[FORK.id]["turns"] == 3
    assert {n["name"] for n in data["nodes"] if n["kind"] == "package"} == {
        *("attic", "laptop", "desk")
    }


def test_one_without_relatives(home: Path) -> None:
    data = lineage(home, OLD.id)
    assert [n["id"] for n in data["nodes"] if n["kind"] == "session"] == [OLD.id]


def test_a_session_that_nobody_knows(home: Path) -> None:
    found = call("lineage", "ffffffff", "--codex-home", home, "--json")
    assert (found.exit_code, found.codes) == (2, ["session_unknown"])


def test_a_home_without_a_journal(tmp_path: Path) -> None:
    """No database either: words come from the transcripts."""
    home = write_snapshot(tmp_path / "home", [BEANS, FORK, OVEN], index=False)
    before = files_of(home)
    found = call("lineage", "--codex-home", home)
    assert files_of(home) == before
    words = found.out.decode()
    assert words.startswith("“When do I sow climbing beans?”")
    assert "└─ fork: “What if it is cold?”" in words
    assert "oven" not in found.out.decode()


def test_an_empty_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    assert call("lineage", "--codex-home", home).out == (
        b"No session here has relatives, or came by a sync.\n"
    )


def test_a_transcript_that_cannot_be_read(home: Path) -> None:
    [path] = home.glob(f"sessions/*/*/*/*{OVEN.id}.jsonl")
    path.write_bytes(b"no transcript\n")
    found = call("lineage", "--codex-home", home, "--json").envelope
    assert [w["session_id"] for w in found["warnings"]] == [OVEN.id]
    assert OVEN.id in {n["id"] for n in found["data"]["nodes"]}


@pytest.mark.parametrize("form", ["text", "json", "dot", "mermaid", "html"])
def test_into_a_file(home: Path, tmp_path: Path, form: str) -> None:
    out = tmp_path / "out"
    data = lineage(home, "--format", form, "-o", out)
    assert data["path"] == str(out)
    assert data["document"] is None
    printed = call("lineage", "--format", form, "--codex-home", home).out
    stamp = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
    assert stamp.sub(b"", printed) == stamp.sub(b"", out.read_bytes())
    again = call("lineage", "--format", form, "-o", out, "--codex-home", home, "--json")
    assert again.codes == ["output_exists"]


# Trees


def member(number: int, **more: Any) -> Member:
    return Member(session_id(number), here=True, created_at=f"2026-03-0{number}", **more)


def family(members: list[Member], edges: list[Edge]) -> Family:
    return Family({m.id: m for m in members}, {}, {}, tuple(edges))


def test_a_tree() -> None:
    one, two, three, four = (member(n, title=f"No. {n}", cwd=f"/x/{n}") for n in range(1, 5))
    edges = [
        Edge(one.id, two.id, Kind.FORK),
        Edge(two.id, three.id, Kind.BRANCH),
        Edge(one.id, three.id, Kind.FORK),
        Edge(one.id, four.id, Kind.SPAWN),
    ]
    lines = list(tree(family([four, three, two, one], edges), NOW))
    assert lines == [
        "“No. 1” · 019cac00…000001 · 1",
        "├─ fork: “No. 2” · 019cac00…000002 · 2",
        "│  └─ branch: “No. 3” · 019cac00…000003 · 3",
        "└─ subagent: “No. 4” · 019cac00…000004 · 4",
    ]


def test_sessions_that_claim_to_come_from_each_other() -> None:
    members = [member(n) for n in range(1, 4)]
    one, two, three = (m.id for m in members)
    edges = [Edge(a, b, Kind.FORK) for a, b in ((one, two), (two, three), (three, one), (one, one))]
    assert len(list(tree(family(members, edges), NOW))) == 3


def test_a_long_line_of_forks() -> None:
    members = [Member(f"{n:036}", here=True) for n in range(3000)]
    edges = [Edge(one.id, two.id, Kind.FORK) for one, two in pairwise(members)]
    assert len(list(tree(family(members, edges), NOW))) == 3000


ids = st.integers(0, 8).map(str)
some_edges = st.lists(
    st.builds(Edge, ids, ids, st.sampled_from([Kind.FORK, Kind.BRANCH, Kind.SPAWN])), max_size=20
)


@given(some_edges)
def test_every_session_is_in_the_tree_once(edges: list[Edge]) -> None:
    members = [Member(str(n), here=True, title=f"<{n}>") for n in range(9)]
    lines = [line for line in tree(family(members, edges), NOW) if line]
    assert sorted(re.findall(r"“<(\d)>”", "\n".join(lines))) == [str(n) for n in range(9)]
    above = parents(edges)
    for start in above:
        seen = {start}
        place = start
        while place in above:
            place = above[place].source
            assert place not in seen
            seen.add(place)


@pytest.mark.parametrize(
    ("ago", "told"),
    [
        (timedelta(), "just now"),
        (timedelta(seconds=90), "a minute ago"),
        (timedelta(hours=1), "an hour ago"),
        (timedelta(hours=50), "2 days ago"),
        (timedelta(days=400), "a year ago"),
        (timedelta(days=-1), "just now"),
    ],
)
def test_how_long_ago(ago: timedelta, told: str) -> None:
    assert age((NOW - ago).isoformat(), NOW) == told


def test_a_time_that_is_none() -> None:
    assert age("yesterday", NOW) == age(None, NOW) == ""


# What a title may hold

HOSTILE = '</script><img src=x onerror=alert(1)> "] --> \\ \x1b[31m\x9b \u202e #quot; {{data}}\n]'


@pytest.fixture
def hostile() -> Family:
    """A session whose title and folder mean something to every format."""
    odd = Member(session_id(1), here=True, title=HOSTILE, name=HOSTILE, cwd="/x/" + HOSTILE)
    return family([odd, member(2)], [Edge(odd.id, session_id(2), Kind.FORK)])


def test_a_title_with_orders_for_a_terminal(hostile: Family) -> None:
    text = "\n".join(tree(hostile, NOW))
    assert all(character.isprintable() for character in text.replace("\n", ""))


def test_a_title_with_markup(hostile: Family) -> None:
    text = page(hostile, NOW, "A <title>")
    assert text.count("</script>") == 2
    assert "<img" not in text
    assert "<title>A &lt;title&gt;</title>" in text
    [data] = re.findall(r'<script id="data" type="application/json">(.*?)</script>', text)
    [odd] = [n for n in json.loads(data)["nodes"] if n["id"] == session_id(1)]
    assert odd["title"] == HOSTILE


def test_a_title_in_graph_languages(hostile: Family) -> None:
    [label] = [line for line in dot(hostile) if line.startswith(f'  "{session_id(1)}" [')]
    assert re.search(r'\[label="(?:[^"\\]|\\.)*"\];$', label)
    [label] = [line for line in mermaid(hostile) if line.startswith("  n0[")]
    assert re.fullmatch(r'  n0\["[\w .,:/…#;<>-]*"\]', label), label
    assert json.loads(as_json(hostile))["nodes"][0]["title"] == HOSTILE


def test_an_odd_head(tmp_path: Path) -> None:
    """Ids in a head that are none lead nowhere."""
    odd = Session(1, meta={"forked_from_id": "../x", "parent_thread_id": 7, "session_sync": [1]})
    home = write_snapshot(tmp_path / "home", [odd.say("Hello")])
    assert lineage(home)["edges"] == []
    [path] = home.glob("sessions/*/*/*/*.jsonl")
    records = [json.loads(line) for line in path.read_bytes().splitlines()]
    records[0]["payload"]["timestamp"] = "99999999999"
    path.write_bytes(dump(records))
    assert lineage(home)["nodes"][0]["created_at"] is None
