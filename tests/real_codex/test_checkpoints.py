"""From commits back to the chats behind them, with real repositories and the real Codex."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from checkpointing import commit, git, new_repo
from codexbed import ModelServer, codex_binary
from real_codex.machines import BRANCHED, EQUAL, FORWARD, NEW, Machine, local_id, told
from real_codex.syncing import Answer, call, fresh_home

CAPTURES = 50
WAIT_SECONDS = 120.0


@dataclass(frozen=True)
class Team:
    """Machines of one user's, two repositories, and a store that all of them share."""

    root: Path
    model: ModelServer

    def machine(self, name: str) -> Machine:
        """A machine that is fresh."""
        return Machine(fresh_home(self.root / "user", self.root / name, self.model))

    @property
    def store(self) -> Path:
        """The store."""
        return self.root / "store"

    def checkpoint(self, at: Machine, *arguments: str | Path) -> Answer:
        """A command about checkpoints, on a machine."""
        return call(at.home, "checkpoint", *arguments, "--store", self.store)

    def sync(self, at: Machine, sha: str, *options: str) -> Answer:
        """Bring the sessions of a commit to a machine, by its SHA alone."""
        codex = ("--codex-bin", str(codex_binary(at.home.version)))
        done = self.checkpoint(at, "sync", sha, "--execute", *codex, *options)
        assert done.code == 0, done.document["errors"]
        return done

    def wait_for(self, at: Machine, shas: set[str]) -> None:
        """Until all of these commits have a checkpoint."""
        end = time.monotonic() + WAIT_SECONDS
        missing = shas
        while missing and time.monotonic() < end:
            time.sleep(0.2)
            listed = self.checkpoint(at, "list", "--all").document["data"]["checkpoints"]
            missing = shas - {one["commit"]["sha"] for one in listed}
        log = self.store / "logs" / "checkpoint.log"
        assert not missing, log.read_text()[-3000:]

    def chat(self, at: Machine, sha: str) -> dict[str, int]:
        """The sessions behind a commit, and how many turns each had."""
        report = self.checkpoint(at, "report", "--commit", sha[:10])
        [found] = report.document["data"]["checkpoints"]
        assert found["commit"]["sha"] == sha
        return {
            one["session_id"]: one["turns"]
            for one in found["sessions"]
            if one["related"] and one["went_on"]
        }


@pytest.fixture
def team(base: Path, model: ModelServer, tmp_path: Path) -> Team:
    del base
    return Team(tmp_path, model)


@dataclass(frozen=True)
class Said:
    """Sessions, and commits of the two repositories, by what was said before them."""

    beans: str
    tools: str
    fork: str
    more_beans: str
    other_beans: str
    one_tool: str
    more_tools: str


def said_and_committed(team: Team, a: Machine, garden: Path, shed: Path) -> Said:
    """Turns and commits by turns: what is behind a commit is what was said before it."""
    beans = a.home.exec("beans", cwd=garden)
    first = commit(garden, "Beans")
    team.wait_for(a, {first})
    tools = a.home.exec("tools", cwd=shed)
    a.go_on(beans, "more beans")
    one_tool = commit(shed, "Tools")
    team.wait_for(a, {one_tool})
    more_beans = commit(garden, "More beans")
    team.wait_for(a, {more_beans})
    with a.home.app_server() as app:
        app.resume(beans)
        fork = app.fork(beans)
        app.start_turn(fork, "dwarf beans")
        app.revert(beans, app.turns(beans)[1]["id"])
        app.start_turn(beans, "other beans")
    other_beans = commit(garden, "Other beans")
    team.wait_for(a, {other_beans})
    assert team.chat(a, first) == {beans: 1}
    assert team.chat(a, one_tool) == {tools: 1}
    assert team.chat(a, more_beans) == {beans: 2}
    assert team.chat(a, other_beans).keys() >= {fork}
    quiet = at_once(team, a, garden, shed)
    a.go_on(tools, "more tools")
    more_tools = commit(shed, "More tools")
    team.wait_for(a, {more_tools})
    assert team.chat(a, more_tools) == {tools: 2}
    assert [team.chat(a, sha) for sha in quiet] == [{}, {}]
    return Said(beans, tools, fork, more_beans, other_beans, one_tool, more_tools)


def at_once(team: Team, a: Machine, garden: Path, shed: Path) -> tuple[str, str]:
    """Hooks of both repositories fire at once; the first commit of one and the last of the other.

    No commit waits for them.
    """

    def commits(repo: Path) -> list[str]:
        return [commit(repo, f"Number {number}") for number in range(CAPTURES // 2)]

    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(commits, (garden, shed)))
    listed = team.checkpoint(a, "list", "--all").document["data"]["checkpoints"]
    assert len(listed) < CAPTURES
    team.wait_for(a, {sha for shas in made for sha in shas})
    assert "error" not in (team.store / "logs" / "checkpoint.log").read_text()
    return made[0][0], made[1][-1]


def test_from_commits_of_two_repositories_to_their_chats(team: Team) -> None:
    a = team.machine("a")
    garden, shed = new_repo(a.home.project), new_repo(a.home.elsewhere)
    for repo in (garden, shed):
        done = team.checkpoint(a, "install-hook", "--repo", repo)
        assert (done.code, done.document["data"]["result"]) == (0, "installed")
    known = said_and_committed(team, a, garden, shed)

    # A third machine has the store and nothing else.
    for path in (garden, shed, a.home.home):
        path.rename(path.with_name(f"{path.name} of another machine"))
    c, beans, tools, fork = team.machine("c"), known.beans, known.tools, known.fork
    assert told(team.sync(c, known.more_beans)) == {beans: NEW}
    c.shows({beans: ["beans", "more beans"]})
    done = team.sync(c, known.other_beans)
    assert told(done) == {beans: BRANCHED, fork: NEW}
    shown = {
        beans: ["beans", "more beans"],
        fork: ["beans", "more beans", "dwarf beans"],
        local_id(done, beans): ["beans", "other beans"],
    }
    c.shows(shown)
    assert told(team.sync(c, known.one_tool)) == {tools: NEW}
    c.shows({tools: ["tools"]})
    assert told(team.sync(c, known.more_tools)) == {tools: FORWARD}
    again = told(team.sync(c, known.more_tools, "--all"))
    assert again.items() >= {tools: EQUAL, fork: EQUAL}.items()
    c.go_on(tools, "tools on c")
    c.shows({**shown, tools: ["tools", "more tools", "tools on c"]})
    assert call(c.home, "sidecar-health", "--deep").document["data"]["healthy"]


def test_a_chat_that_goes_on_while_its_commits_are_made(team: Team) -> None:
    """Captures beside a running Codex, of a worktree and with a detached HEAD."""
    a = team.machine("a")
    repo = new_repo(a.home.project)
    commit(repo, "First")
    tree = team.root / "user" / "tree"
    git(repo, "worktree", "add", "-q", "--detach", str(tree))
    shas = []
    with a.home.app_server() as app:
        session = app.start(tree)
        for number in range(3):
            app.start_turn(session, f"turn {number}")
            shas.append(commit(tree, f"Turn {number}"))
            done = team.checkpoint(a, "capture", "--repo", tree)
            assert done.code == 0, done.document["errors"]
            assert done.document["data"]["checkpoint"]["commit"]["branch"] is None
    assert [team.chat(a, sha) for sha in shas] == [{session: n} for n in (1, 2, 3)]
    b = team.machine("b")
    assert told(team.sync(b, shas[1])) == {session: NEW}
    b.shows({session: ["turn 0", "turn 1"]})
    assert told(team.sync(b, shas[2])) == {session: FORWARD}
    b.shows({session: ["turn 0", "turn 1", "turn 2"]})
    assert told(team.sync(b, shas[0])) == {session: EQUAL}
