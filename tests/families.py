"""A home with a family of sessions: forked, spawned, continued, branched, and one rolled back."""

from __future__ import annotations

from pathlib import Path

from builders import Session, session_id, write_snapshot
from workbench import add_rows, call, make_database

BEANS = Session(1, start=10, name="Beans").say("When do I sow climbing beans?").say("And peas?")
FORK = BEANS.fork(2).say("What if it is cold?")
OVEN = Session(5, start=300, cwd="/home/alice/kitchen").say("Ask somebody about the oven")
CHILD = Session(4, start=400, meta={"parent_thread_id": session_id(5)}).say("Look up the frost")
OLD = Session(6, legacy=True, start=60, archived=True).say("An old question")
GONE = Session(7, start=3000).say("Not wanted")


def grown_home(folder: Path) -> Path:
    """The home at ``folder``/new; the packages that came into it lie beside it."""
    sessions = [BEANS, FORK, CHILD, OVEN, OLD]
    packages = [
        write_snapshot(folder / "attic", sessions),
        write_snapshot(folder / "laptop", [BEANS.say("And lettuce?"), OVEN.say("And when?")]),
        write_snapshot(folder / "desk", [BEANS.say("And chard?"), GONE]),
    ]
    add_rows(make_database(packages[0]), sessions)
    home = folder / "new"
    home.mkdir()
    make_database(home)
    for package in packages:
        assert call("sync", package, "--execute", "--no-prime", "--codex-home", home).exit_code == 0
    options = ("--latest", "--session", GONE.id, "--execute", "--codex-home", home)
    assert call("rollback", *options).exit_code == 0
    return home
