"""Short reports: a summary is short however much there is, and counts all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from builders import Session, write_snapshot, write_transfer
from contracts.places import checked
from workbench import Outcome, call, environment

SESSIONS = 1000
LIMIT = 4000
WORDS = "How do I prune the roses that 庭の奥に grow behind the shed — and when, and how far back? "


def session(number: int) -> Session:
    """A session whose name is as long as names are."""
    return Session(number, start=60 * number, name=WORDS * 2).say(WORDS * 3)


def there() -> Iterable[Session]:
    """The sessions of a package: a hundred of each kind and hundreds that are new."""
    for number in range(1, SESSIONS + 1):
        one = session(number)
        match number % 10:
            case 1:
                yield one.say("more", "and more")
            case 2:
                yield one.say("that way")
            case 3:
                yield replace(one, start=60 * number + 1)
            case _:
                yield one


def here() -> Iterable[Session]:
    """The sessions of the home."""
    for number in range(1, SESSIONS + 1):
        one = session(number)
        match number % 10:
            case 0 | 1 | 3:
                yield one
            case 2:
                yield one.say("this way")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home and a package of a thousand sessions, ten of which have lost their transcript."""
    folder = tmp_path_factory.mktemp("many")
    sessions = list(there())
    package = write_transfer(folder / "package", sessions)
    for one in sessions[3:100:10]:
        (package / "sessions" / one.file_name).unlink()
    write_snapshot(folder / "home", list(here()))
    return folder


def called(place: Path, command: str, *more: str) -> Outcome:
    home = ("--codex-home", place / "home")
    return checked(call(command, place / "package", *home, "--json", *more))


@pytest.mark.parametrize("command", ["inspect-package", "sync"])
def test_a_summary_of_a_thousand_sessions(place: Path, command: str) -> None:
    whole, short = called(place, command), called(place, command, "--summary")
    assert len(whole.out) > 100 * LIMIT
    assert len(short.out) < LIMIT
    known = whole.sessions.values()
    data, counts = short.envelope["data"], whole.envelope["data"]["counts"]
    assert sum(counts["classification"].values()) == SESSIONS
    assert {key: data["counts"][key] for key in counts} == counts
    assert data["counts"]["reason"] == Counter(one["reason"] for one in known if one["reason"])
    brings = [one["brings"] for one in known if "brings" in one]
    assert data["brings"] == {
        "sessions": len(brings),
        **{key: sum(one[key] for one in brings) for key in ("entries", "turns", "bytes")},
    }
    assert data["examples"].keys() == {
        "new_lineage",
        "fast_forward_import",
        "diverged_lineage",
    }
    assert all(1 <= len(some) <= 3 for some in data["examples"].values())
    assert 1 <= len(data["not_done"]) <= 5
    for kind in ("warnings", "errors"):
        codes = Counter(one["code"] for one in whole.envelope[kind])
        assert {one["code"]: one["count"] for one in short.envelope[kind]} == codes
        assert all(len(one["session_ids"]) <= 3 for one in short.envelope[kind])
    assert (short.exit_code, short.envelope["status"]) == (0, whole.envelope["status"])


def test_what_comes_is_what_is_written(place: Path) -> None:
    told = called(place, "sync").sessions
    one = told[session(11).id]
    assert one["brings"]["turns"] == 1
    assert one["brings"]["entries"] == one["entries"]["incoming"] - one["entries"]["common"]
    whole, local = (s.data() for s in (session(11).say("more", "and more"), session(11)))
    # What follows the last common entry comes with it.
    assert len(whole) - len(local) <= one["brings"]["bytes"] < len(local)
    assert "brings" not in told[session(10).id]


def test_only_changes(place: Path) -> None:
    whole, short = called(place, "sync"), called(place, "sync", "--only-changes")
    left = {i: one for i, one in whole.sessions.items() if one["action"] != "skip"}
    assert 0 < len(left) < SESSIONS
    assert short.sessions == left
    data = short.envelope["data"]
    assert data["left_out"] == SESSIONS - len(left)
    assert data["counts"] == whole.envelope["data"]["counts"]


def test_text_of_a_summary(place: Path) -> None:
    package, home = place / "package", place / "home"
    done = call("inspect-package", package, "--codex-home", home, "--summary")
    lines = (done.out.decode() + done.err).splitlines()
    assert "classification: " in done.out.decode()
    assert len(lines) < 40


def test_diff_and_summary_exclude_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    write_transfer(tmp_path / "package", [session(1)])
    (tmp_path / "home").mkdir()
    done = checked(call("sync", tmp_path / "package", "--json", "--summary", "--diff", "0"))
    assert (done.codes, done.exit_code) == (["usage"], 2)


def test_a_summary_of_few_sessions_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    write_transfer(tmp_path / "package", [session(number) for number in range(1, 6)])
    (tmp_path / "home").mkdir()
    for more, result in ((), None), (("--execute", "--no-prime"), {"imported": 5}):
        done = checked(call("sync", tmp_path / "package", "--json", "--summary", *more))
        data = done.envelope["data"]
        [examples] = data["examples"].values()
        assert [one["session_id"] for one in examples] == [session(n).id for n in (1, 2, 3)]
        assert data["not_done"] == []
        assert data["counts"].get("result") == result
        assert ("transaction_id" in data) is bool(more)
