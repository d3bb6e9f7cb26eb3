"""``sync --diff``: what would come in, as a conversation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builders import Session, dump, write_snapshot
from codex_session_sync import excerpt
from workbench import Outcome, call, tree

BEANS = Session(1, start=10).say("When do I sow beans?").say("And peas?").say("Or kale?")
HERE = BEANS.say("I had frost")
THERE = BEANS.say("I had slugs").say("Many slugs")
LEGACY = Session(2, legacy=True, start=60).say("First")


def diff(home: Path, package: Path, *ids: str, json: bool = True) -> Outcome:
    shown = [word for i in ids for word in ("--diff", i)]
    options = ("--json",) if json else ()
    return call("sync", package, *shown, "--no-prime", "--codex-home", home, *options)


def lines(side: Any) -> list[tuple[str, str]]:
    return [(line["who"], line["text"]) for line in side["lines"]]


def said(*texts: str) -> list[tuple[str, str]]:
    return [
        line for text in texts for line in (("user", text), ("assistant", f"answer to: {text}"))
    ]


def package_of(folder: Path, form: str, *sessions: Session) -> Path:
    source = write_snapshot(folder / "source", sessions)
    if form == "snapshot":
        return source
    assert call("pack", "-o", folder / "packed", "--codex-home", source).exit_code == 0
    return folder / "packed"


@pytest.fixture(params=["snapshot", "native"])
def form(request: pytest.FixtureRequest) -> str:
    """The kind of the package."""
    return str(request.param)


def only(outcome: Outcome) -> Any:
    assert outcome.exit_code == 0, outcome.envelope
    assert outcome.envelope["status"] == "dry_run"
    [found] = outcome.envelope["data"]["diff"]
    return found


def test_what_is_new(tmp_path: Path, form: str) -> None:
    home = write_snapshot(tmp_path / "home", [BEANS])
    before = tree(home)
    found = only(diff(home, package_of(tmp_path, form, THERE, LEGACY), THERE.id[:8] + "…000001"))
    assert [line["text"] for line in found["common"]] == [
        text for _, text in said("And peas?", "Or kale?")
    ]
    assert lines(found["incoming"]) == said("I had slugs", "Many slugs")
    assert lines(found["local"]) == []
    assert tree(home) == before


def test_both_sides(tmp_path: Path, form: str) -> None:
    home = write_snapshot(tmp_path / "home", [HERE])
    package = package_of(tmp_path, form, THERE)
    found = only(diff(home, package, THERE.id))
    assert lines(found["incoming"]) == said("I had slugs", "Many slugs")
    assert lines(found["local"]) == said("I had frost")
    text = diff(home, package, THERE.id, json=False).out.decode()
    [row] = [line for line in text.splitlines() if "> I had slugs" in line]
    assert "> I had frost" in row


def test_two_strangers_of_one_id(tmp_path: Path, form: str) -> None:
    """What is refused is shown as well: that is when one wants to see it."""
    home = write_snapshot(tmp_path / "home", [Session(1, start=999).say("Something else")])
    found = diff(home, package_of(tmp_path, form, BEANS), BEANS.id).envelope
    [shown] = found["data"]["diff"]
    assert found["errors"][0]["code"] == "id_collision"
    assert shown["common"] == []
    assert lines(shown["incoming"])[0] == ("user", "When do I sow beans?")
    assert lines(shown["local"])[0] == ("user", "Something else")


def test_a_new_session_and_one_that_is_known(tmp_path: Path, form: str) -> None:
    home = write_snapshot(tmp_path / "home", [BEANS])
    done = diff(home, package_of(tmp_path, form, BEANS, LEGACY), BEANS.id, LEGACY.id)
    known, new = done.envelope["data"]["diff"]
    assert (known["incoming"]["lines"], known["local"]["lines"]) == ([], [])
    assert lines(new["incoming"]) == said("First")


def test_only_the_rest_of_a_session_is_packed(tmp_path: Path) -> None:
    home = write_snapshot(tmp_path / "home", [BEANS])
    have = tmp_path / "have.json"
    assert call("have", "-o", have, "--codex-home", home).exit_code == 0
    source = write_snapshot(tmp_path / "source", [THERE])
    out = tmp_path / "rest"
    assert call("pack", "-o", out, "--have", have, "--codex-home", source).exit_code == 0
    found = only(diff(home, out, THERE.id))
    assert lines(found["incoming"]) == said("I had slugs", "Many slugs")


def test_turns_that_were_taken_back_are_not_shown(tmp_path: Path) -> None:
    undone = [
        {"timestamp": "2026-03-02T20:00:00.000Z", "type": "event_msg", "payload": payload}
        for payload in ({"type": "thread_rolled_back", "num_turns": 1},)
    ]
    source = write_snapshot(tmp_path / "source", [LEGACY.say("Wrong")])
    [path] = source.glob("sessions/*/*/*/*.jsonl")

    path.write_bytes(path.read_bytes() + dump(undone))
    (tmp_path / "home").mkdir()
    found = only(diff(tmp_path / "home", source, LEGACY.id))
    assert lines(found["incoming"]) == said("First")


def test_a_long_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excerpt, "SHOWN", 3)
    (tmp_path / "home").mkdir()
    package = write_snapshot(tmp_path / "source", [BEANS.say("x" * 1000)])
    found = only(diff(tmp_path / "home", package, BEANS.id))
    assert len(found["incoming"]["lines"]) == 3
    assert found["incoming"]["left_out"] == 5
    assert "… and 5 more" in diff(tmp_path / "home", package, BEANS.id, json=False).out.decode()


def test_nothing_is_executed(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    package = write_snapshot(tmp_path / "source", [BEANS])
    options = ("--diff", BEANS.id, "--execute", "--codex-home", tmp_path / "home", "--json")
    found = call("sync", package, *options)
    assert (found.exit_code, found.codes) == (2, ["diff_only_shows"])
    found = diff(tmp_path / "home", package, "ffff")
    assert (found.exit_code, found.codes) == (2, ["session_unknown"])


ENTRIES: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "call": (
        {"type": "function_call", "name": "shell", "arguments": '{"cmd": "ls"}'},
        ("tool", 'shell {"cmd": "ls"}'),
    ),
    "output": ({"type": "function_call_output", "output": "a\nb"}, ("output", "a b")),
    "parts": (
        {"type": "function_call_output", "output": [{"type": "input_text", "text": "a"}]},
        ("output", "a"),
    ),
    "content": ({"type": "custom_tool_call_output", "output": {"content": "a"}}, ("output", "a")),
    "shell": (
        {"type": "local_shell_call", "action": {"command": ["ls", "-l"]}},
        ("tool", "ls -l"),
    ),
    "search": ({"type": "web_search_call", "action": {"query": "kale"}}, ("tool", "search kale")),
    "image": (
        {"type": "message", "role": "user", "content": [{"type": "input_image"}, {"text": "Look"}]},
        ("user", "Look [image]"),
    ),
    "orders": (
        {"type": "message", "role": "user", "content": [{"text": "\x1b[31mred"}]},
        ("user", "\x1b[31mred"),
    ),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_in_words(tmp_path: Path, name: str) -> None:

    payload, expected = ENTRIES[name]
    package = write_snapshot(tmp_path / "source", [LEGACY])
    [path] = package.glob("sessions/*/*/*/*.jsonl")
    record = {"timestamp": "2026-03-02T20:00:00.000Z", "type": "response_item", "payload": payload}
    path.write_bytes(path.read_bytes() + dump([record]))
    (tmp_path / "home").mkdir()
    assert lines(only(diff(tmp_path / "home", package, LEGACY.id))["incoming"])[-1] == expected
    shown = diff(tmp_path / "home", package, LEGACY.id, json=False).out.decode()
    assert "\x1b" not in shown
