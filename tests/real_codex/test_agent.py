"""An agent of the real Codex that works with the skill, in Codex's own sandbox and without one.

The model is scripted; what runs its commands, lets them or not, and tells it what they answered is
Codex.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from codexbed import AppServer, CodexHome, ModelServer, copy_home, rollout_files, tree_digest
from codexbed.agent import Shell, Work, offered, told_by_developer
from codexbed.making import talk
from real_codex.skilled import (
    NAME,
    PERMISSION,
    Body,
    Json,
    Skilled,
    Turn,
    add_environment,
    add_installer,
    agent_home,
    codes,
    launcher_of,
    require_sandbox,
    skill_file,
    take_turn,
    unpacked_skill,
)
from real_codex.syncing import file_of, pack, shared, sync

TEXTS = ("about the garden", "about the pond")


@dataclass(frozen=True)
class Parcel:
    """A package, and the ids of the sessions in it."""

    path: Path
    ids: tuple[str, ...]


@pytest.fixture(scope="module")
def parcel(base: Path, model: ModelServer) -> Parcel:
    def make(folder: Path) -> tuple[str, ...]:
        home = CodexHome(folder / "home", folder / "user", model).prepare()
        with home.app_server() as app:
            ids = tuple(talk(home, app, "sent", text) for text in TEXTS)
        assert pack(home, folder / "package").code == 0
        return ids

    folder, ids = shared(base, "agent's package", make)
    return Parcel(folder / "package", ids)


@pytest.fixture(scope="module")
def skill(base: Path) -> Path:
    """The skill as it is released."""
    folder, _ = shared(base, "agent's skill", lambda folder: str(unpacked_skill(folder)))
    return folder / NAME


@pytest.fixture
def home(skill: Path, tmp_path: Path, model: ModelServer) -> CodexHome:
    """A home with the skill, in whose workspaces an agent may write; its sandbox runs here."""
    found = agent_home(skill, tmp_path, model)
    require_sandbox(found)
    add_environment(found)
    return found


def told(turn: Turn) -> list[tuple[str, bool, int | None, str]]:
    """Of each command its name, whether it was to run outside, its exit code, status or error."""
    return [
        (
            ran.shell.command.split()[1],
            ran.shell.because is not None,
            ran.code,
            (codes(ran) or [ran.document["status"]])[0],
        )
        for ran in turn.ran
    ]


def ids_listed(app: AppServer) -> set[str]:
    return {thread["id"] for thread in app.list_threads()}


def test_the_skill_is_offered(home: CodexHome, skill: Path) -> None:
    """By its whole description, and by the path from which the agent finds the launcher."""
    front = (skill / "SKILL.md").read_text().split("---")[1]
    description = " ".join(re.split(r"description: >-", front)[1].split())

    def read(body: Body) -> Work:
        ran = yield Shell.words("cat", skill_file(body))
        return ran.output

    with home.app_server() as app:
        [entry] = app.request("skills/list", {"cwds": [str(home.project)]})["data"]
        [found] = [one for one in entry["skills"] if one["name"] == NAME]
        assert (found["description"], found["enabled"]) == (description, True)
        assert entry["errors"] == []
        turn = take_turn(home, app, app.start(home.project), "which skills are there?", read)
    assert f"- {NAME}: {description} (file: " in told_by_developer(turn.agent.first_request)
    assert Skilled.by(turn.agent.first_request).launcher == launcher_of(home)
    assert turn.said == (skill / "SKILL.md").read_text()
    assert offered(turn.agent.first_request)["sandbox_permissions"]["enum"] == [
        "use_default",
        "require_escalated",
    ]


def test_the_path_in_the_sandbox(home: CodexHome, parcel: Parcel) -> None:
    """What writes is refused with a hint to ask, permitted by the user, and then done."""
    with home.app_server() as app:
        app.approves = lambda _: True
        session = app.start(home.project)
        turn = take_turn(
            home, app, session, "bring it in", lambda b: Skilled.by(b).bring_in(parcel.path)
        )
        assert told(turn) == [
            ("inspect-package", False, 0, "ok"),
            ("sync", False, 4, "home_not_writable"),
            ("sync", True, 0, "ok"),
            ("sync", False, 0, "no_op"),
            ("verify", False, 4, "codex_failed"),
            ("verify", True, 0, "ok"),
        ], turn.ran
        done = turn.ran[2].document["data"]
        assert {one["session_id"]: one["result"] for one in done["sessions"]} == dict.fromkeys(
            parcel.ids, "imported"
        )
        assert turn.said.startswith("{'import': 2} by ")
        assert [one["reason"] for one in turn.asked] == [
            "May I sync outside of the sandbox?",
            "May I verify outside of the sandbox?",
        ]
        assert str(launcher_of(home)) in turn.asked[0]["command"]
        assert set(parcel.ids) <= ids_listed(app)
        assert sum(i in path.name for path in rollout_files(home.home) for i in parcel.ids) == 2

        turn = take_turn(home, app, session, "take it back", lambda b: Skilled.by(b).take_back())
        assert told(turn) == [
            ("rollback", False, 0, "dry_run"),
            ("rollback", False, 4, "home_not_writable"),
            ("rollback", True, 0, "ok"),
        ], turn.ran
        assert (turn.said, len(turn.asked)) == ("ok, 0 kept", 1)
        assert not set(parcel.ids) & ids_listed(app)
        assert session in ids_listed(app)


def test_the_path_without_a_sandbox(
    skill: Path, tmp_path: Path, model: ModelServer, parcel: Parcel
) -> None:
    """With full access nothing is refused and nobody asked."""
    access = {"approval_policy": "never", "sandbox_mode": "danger-full-access"}
    home = agent_home(skill, tmp_path, model, **access)
    add_environment(home)
    with home.app_server() as app:
        session = app.start(home.project)
        turn = take_turn(
            home, app, session, "bring all in", lambda b: Skilled.by(b).bring_in(parcel.path)
        )
        assert told(turn) == [
            ("inspect-package", False, 0, "ok"),
            ("sync", False, 0, "ok"),
            ("sync", False, 0, "no_op"),
            ("verify", False, 0, "ok"),
        ], turn.ran
        assert set(parcel.ids) <= ids_listed(app)
        turn = take_turn(home, app, session, "take all back", lambda b: Skilled.by(b).take_back())
        assert turn.said == "ok, 0 kept"
        assert not set(parcel.ids) & ids_listed(app)


def test_the_user_says_no(home: CodexHome, parcel: Parcel) -> None:
    with home.app_server() as app:
        app.approves = lambda _: False
        session = app.start(home.project)
        turn = take_turn(
            home, app, session, "bring it in?", lambda b: Skilled.by(b).bring_in(parcel.path)
        )
        assert (turn.said, len(turn.asked)) == ("stopped: not permitted", 1), turn.ran
        assert not set(parcel.ids) & ids_listed(app)
    assert not (home.home / "session-sync").exists()


# -- what else the sandbox lets through ---------------------------------------------------------

READING: tuple[tuple[str, ...], ...] = (
    ("explain", "HERE"),
    ("lineage",),
    ("sidecar-health",),
    ("rebuild-index",),
    ("have",),
    ("pack", "-o", "made-in-the-workspace"),
)
WRITING: dict[tuple[str, ...], str] = {
    ("rebuild-index", "--execute"): "home_not_writable",
    ("have", "-o", "OUTSIDE/have.json"): "output_not_writable",
}


def test_what_works_in_the_sandbox(home: CodexHome, parcel: Parcel) -> None:
    """Whatever reads works; whatever writes elsewhere than in the workspace tells what to do."""
    here = parcel.ids[0]
    assert sync(home, parcel.path, "--session", here).code == 0

    def try_all(body: Body) -> Work:
        skilled = Skilled.by(body)
        for words in (*READING, *WRITING):
            named = (word.replace("OUTSIDE", str(home.elsewhere)) for word in words)
            yield skilled.call(*(word.replace("HERE", here) for word in named))
        return "tried"

    with home.app_server() as app:
        session = app.start(home.project)
        before = _synced(home, session)
        turn = take_turn(home, app, session, "try all", try_all)
        assert _synced(home, session) == before
    found = dict(zip((*READING, *WRITING), turn.ran, strict=True))
    assert {words: (found[words].code, codes(found[words])) for words in READING} == dict.fromkeys(
        READING, (0, [])
    )
    assert {words: (found[words].code, codes(found[words])) for words in WRITING} == {
        words: (4, [code]) for words, code in WRITING.items()
    }
    for words in WRITING:
        [error] = found[words].document["errors"]
        assert PERMISSION in error["hint"], error
    assert (home.project / "made-in-the-workspace").exists()
    assert not list(home.elsewhere.iterdir())


def _synced(home: CodexHome, running: str) -> dict[str, str]:
    """What of a home only a sync may change while a session runs there."""
    found = tree_digest(home.home)
    kept = ("sessions", "session-sync", "skills/codex-session-sync")
    return {path: d for path, d in found.items() if path.startswith(kept) and running not in path}


def test_a_sandbox_that_writes_nothing(
    skill: Path, tmp_path: Path, model: ModelServer, parcel: Parcel
) -> None:
    """Without a temporary folder not even a package is read; it is not said to be invalid."""
    home = agent_home(skill, tmp_path, model, sandbox_mode="read-only")
    require_sandbox(home)
    add_environment(home)

    def look(body: Body) -> Work:
        skilled = Skilled.by(body)
        yield skilled.call("list-transactions")
        yield from skilled.permitted("inspect-package", parcel.path)
        yield from skilled.permitted("explain", parcel.ids[0])
        return "looked"

    with home.app_server() as app:
        app.approves = lambda _: True
        session = app.start(home.project)
        app.start_turn(session, "make a database that is in use")
        turn = take_turn(home, app, session, "look at it", look)
    assert [(ran.code, codes(ran)) for ran in turn.ran] == [
        (0, []),
        (4, ["no_temporary_folder"]),
        (0, []),
        (4, ["no_temporary_folder"]),
        (2, ["session_unknown"]),
    ]


def test_the_first_call(skill: Path, tmp_path: Path, model: ModelServer) -> None:
    """The environment needs a place and the network: both are to be had outside only."""
    home = agent_home(skill, tmp_path, model)
    require_sandbox(home)
    add_installer(home, model.base_url)

    def begin(body: Body) -> Work:
        skilled = Skilled.by(body)
        call = skilled.call("list-transactions")
        # Where there is a place, the packages are not to be had.
        placed = 'CODEX_SESSION_SYNC_ENV_DIR="$TMPDIR/place" PIP_CONFIG_FILE=/dev/null {}'
        yield Shell(placed.format(call.command))
        yield from skilled.permitted("list-transactions")
        yield call
        return "begun"

    with home.app_server() as app:
        app.approves = lambda _: True
        turn = take_turn(home, app, app.start(home.project), "begin", begin)
    offline, placeless, permitted, after = turn.ran
    for ran, message in ((offline, "packages are not to be had"), (placeless, "no place for")):
        [error] = ran.document["errors"]
        assert (ran.code, error["code"]) == (4, "environment_unavailable")
        assert message in error["message"]
        assert PERMISSION in error["hint"]
    assert (permitted.shell.because is not None, permitted.code) == (True, 0), permitted
    assert "making the Python environment" in permitted.output
    assert (after.shell.because, after.code, after.output[0]) == (None, 0, "{")
    assert len(turn.asked) == 1
    assert not list((home.tmp / "place").glob("*/pyproject.toml"))


# -- sessions that are open meanwhile -----------------------------------------------------------


def went_on(home: CodexHome, session: str, target: Path) -> Path:
    """A copy of a home in which a session has one more turn than now, as a package."""
    other = copy_home(home, target)
    with other.app_server() as app:
        app.resume(session)
        app.start_turn(session, "more was said elsewhere")
    return target


def test_a_session_that_another_agent_has_open(home: CodexHome, tmp_path: Path) -> None:
    with home.app_server() as app:
        app.approves = lambda _: True
        open_one = talk(home, app, "open", "one")
        package = went_on(home, open_one, tmp_path / "copy")
        before = file_of(home.home, open_one).read_bytes()
        own = app.start(home.project)
        turn = take_turn(home, app, own, "bring more", lambda b: Skilled.by(b).bring_in(package))
        assert turn.said == "partial: ['session_busy']", turn.ran
        [found] = [s for s in turn.ran[-1].document["data"]["sessions"] if s["result"] != "skipped"]
        assert (found["local_session_id"], found["action"]) == (open_one, "fast_forward")
        assert file_of(home.home, open_one).read_bytes() == before


def test_the_session_that_the_agent_runs_in(home: CodexHome, tmp_path: Path) -> None:
    """It parted from the package by what is said in it, so that it is left as it is."""

    def begin(body: Body) -> Work:
        skilled = Skilled.by(body)
        told = yield Shell("echo $CODEX_THREAD_ID")
        looked = yield skilled.call("inspect-package", tmp_path / "copy")
        [found] = looked.document["data"]["sessions"]
        assert (found["session_id"], found["action"]) == (told.output.strip(), "branch")
        done = yield from skilled.permitted("sync", tmp_path / "copy", "--execute")
        [found] = done.document["data"]["sessions"]
        return f"{found['result']} {found['local_session_id']}"

    with home.app_server() as app:
        app.approves = lambda _: True
        own = talk(home, app, "own", "one")
        went_on(home, own, tmp_path / "copy")
        turn = take_turn(home, app, own, "bring in more of this one", begin)
        result, branch = turn.said.split()
        assert result == "branched"
        assert {own, branch} <= ids_listed(app)
        assert len(app.turns(own)) == 2
        app.resume(branch)
        assert len(app.turns(branch)) == 2


def test_the_very_call_in_the_package(home: CodexHome, tmp_path: Path) -> None:
    """A package that holds even the call that brings it in: nothing is appended to an open session.

    So far a copy can only get if it is made while the user is asked.
    """
    package = tmp_path / "copy"

    def begin(body: Body) -> Work:
        ran = yield Skilled.by(body).call("sync", package, "--execute", because="May I sync?")
        [error] = ran.document["errors"]
        [found] = ran.document["data"]["sessions"]
        return f"{found['action']}: {found['result']}, {error['code']}"

    with home.app_server() as app:
        own = talk(home, app, "own", "one")

        def approves(_: Json) -> bool:
            went_on(home, own, package)
            return True

        app.approves = approves
        turn = take_turn(home, app, own, "bring in what I am", begin)
        assert turn.said == "fast_forward: refused, session_busy"
        assert [len(one["items"]) for one in app.turns(own)] == [2, 3]
