"""Two and three machines work on the same sessions with the real Codex and exchange them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from codex_session_sync.locks import codex_thread_lock
from codexbed import (
    LEGACY,
    AppServer,
    AppServerError,
    CodexHome,
    ModelServer,
    compress,
    function_call,
    rollout_files,
    view,
)
from codexbed.making import next_second
from real_codex.machines import (
    BRANCHED,
    EQUAL,
    FORWARD,
    NEW,
    Machine,
    local_id,
    meta,
    told,
    two_machines,
)
from real_codex.syncing import fresh_home, said


@pytest.fixture
def machines(base: Path, model: ModelServer, tmp_path: Path) -> tuple[Machine, Machine]:
    """Two machines, fresh."""
    del base
    return two_machines(tmp_path, model)


# -- back and forth -----------------------------------------------------------------------------


def test_continued_there_and_here_in_turns(
    machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    a, b = machines
    own = b.new("of b")
    one = a.new("one", "two")
    assert told(b.takes(a)) == {one: NEW}
    a.go_on(one, "three on a")
    old = b.file(one).read_bytes()
    assert told(b.takes(a)) == {one: FORWARD}
    assert b.file(one).read_bytes().startswith(old)
    assert told(b.takes(a)) == {one: EQUAL}
    shutil.copytree(a.home.home, tmp_path / "stale", ignore=shutil.ignore_patterns("tmp"))
    b.go_on(one, "four on b")
    stale = b.takes(tmp_path / "stale")
    assert (told(stale), stale.sessions[one]["reason"]) == ({one: EQUAL}, "local_ahead")
    assert told(a.takes(b)) == {one: FORWARD, own: NEW}
    a.go_on(one, "five on a")
    b.forget()
    assert told(b.takes(a)) == {one: FORWARD, own: EQUAL}
    texts = ["one", "two", "three on a", "four on b", "five on a"]
    for machine in machines:
        machine.shows({one: texts, own: ["of b"]})


def test_three_machines_in_a_ring(
    machines: tuple[Machine, Machine], model: ModelServer, tmp_path: Path
) -> None:
    a, b = machines
    c = Machine(fresh_home(a.home.user_home, tmp_path / "c", model))
    one = a.new("one")
    for source, target, text in ((a, b, "two on b"), (b, c, "three on c"), (c, a, "four on a")):
        target.takes(source)
        target.go_on(one, text)
    assert told(b.takes(a)) == {one: FORWARD}
    assert told(c.takes(b)) == {one: FORWARD}
    assert told(a.takes(c)) == {one: EQUAL}
    for machine in (a, c):
        machine.shows({one: ["one", "two on b", "three on c", "four on a"]})


# -- both went on -------------------------------------------------------------------------------


def test_both_went_on(machines: tuple[Machine, Machine]) -> None:
    a, b = machines
    one = a.new("one")
    b.takes(a)
    a.go_on(one, "on a")
    b.go_on(one, "on b")
    kept = b.file(one).read_bytes()
    first = b.takes(a)
    assert told(first) == {one: BRANCHED}
    branch = local_id(first, one)
    assert b.file(one).read_bytes() == kept
    assert meta(b.file(branch))["forked_from_id"] == one
    again = b.takes(a)
    assert (told(again), local_id(again, one)) == ({one: EQUAL}, branch)

    # That line goes on, and finds its branch, with and without what was noted of it.
    a.go_on(one, "on a, more")
    second = b.takes(a)
    assert (told(second), local_id(second, one)) == ({one: FORWARD}, branch)
    b.forget()
    again = b.takes(a)
    assert (told(again), local_id(again, one)) == ({one: EQUAL}, branch)

    # The way back: the branch is what is there already, and the line of b becomes a branch of a.
    back = a.takes(b)
    assert told(back) == {one: BRANCHED, branch: EQUAL}
    assert local_id(back, branch) == one
    other = local_id(back, one)
    # Both lines in one package find their places.
    b.go_on(branch, "on the branch")
    a.go_on(other, "on the other branch")
    forth = b.takes(a)
    assert told(forth)[other] == FORWARD
    assert {i: local_id(forth, i) for i in (one, other)} == {one: branch, other: one}
    back = a.takes(b)
    assert {i: local_id(back, i) for i in (one, branch)} == {one: other, branch: one}
    assert told(back) == {one: EQUAL, branch: FORWARD}
    of_a = ["one", "on a", "on a, more", "on the branch"]
    of_b = ["one", "on b", "on the other branch"]
    seen = a.shows({one: of_a, other: of_b})
    assert "from" in str(seen[other].name)
    seen = b.shows({one: of_b, branch: of_a})
    assert str(seen[branch].name).startswith("one (from ")
    for source, target in ((a, b), (b, a)):
        source.forget()
        assert target.takes(source).status == "no_op"


def test_a_fork_and_a_subagent_of_a_line_that_became_a_branch(
    machines: tuple[Machine, Machine],
) -> None:
    a, b = machines
    one = a.new("one")
    b.takes(a)
    early = b_fork = ""
    with a.home.app_server() as app:
        early = app.fork(one)
        app.start_turn(early, "forked before")
        app.resume(one)
        agent = spawn(a.home, app, one, "spawn one on a")
        fork = app.fork(one)
        app.start_turn(fork, "forked after")
    with b.home.app_server() as app:
        app.resume(one)
        app.start_turn(one, "on b")
        b_fork = app.fork(one)
        app.start_turn(b_fork, "forked on b")
    first = b.takes(a)
    assert told(first) == {one: BRANCHED, early: NEW, fork: NEW, agent: NEW}
    branch = local_id(first, one)
    # What the early fork has from its parent, the session of that id has here too.
    assert meta(b.file(early))["forked_from_id"] == one
    assert meta(b.file(fork))["forked_from_id"] == branch
    assert meta(b.file(agent))["parent_thread_id"] == branch
    b.shows(
        {
            one: ["one", "on b"],
            early: ["one", "forked before"],
            fork: ["one", "spawn one on a", "forked after"],
            b_fork: ["one", "on b", "forked on b"],
        }
    )
    assert view(b.home, [agent])[agent] == view(a.home, [agent], {one: branch})[agent]
    # One more fork is a session of its own, though others of the same parent are there.
    with a.home.app_server() as app:
        sibling = app.fork(one)
        app.start_turn(sibling, "forked again")
    found = b.takes(a)
    assert told(found)[sibling] == NEW
    assert {i: t for i, t in told(found).items() if i != sibling} == dict.fromkeys(
        (one, early, fork, agent), EQUAL
    )
    back = told(a.takes(b))
    assert back[b_fork] == NEW
    assert {back[i] for i in (branch, early, fork, agent, sibling)} == {EQUAL}
    for source, target in ((a, b), (b, a)):
        assert target.takes(source).status == "no_op"


def spawn(home: CodexHome, app: AppServer, parent: str, text: str) -> str:
    """Let the model of a loaded session spawn an agent, whose id is returned."""
    call = function_call("spawn_agent", {"message": "task of the agent"}, "multi_agent_v1")
    home.server.script(call, when=text)
    before = len(app.notifications)
    app.start_turn(parent, text)
    for note in app.notifications[before:]:
        item = note.get("params", {}).get("item") or {}
        if note["method"] == "item/completed" and item.get("senderThreadId") == parent:
            child = str(item["receiverThreadIds"][0])
            app.wait_for("turn/completed", since=before, threadId=child)
            return child
    raise AssertionError("no agent was spawned")


# -- the local file is in another state ---------------------------------------------------------


def test_the_local_file_is_compressed_or_torn(machines: tuple[Machine, Machine]) -> None:
    a, b = machines
    packed, torn = a.new("packed one"), a.new("torn one", "torn two")
    assert set(told(b.takes(a)).values()) == {NEW}
    compress(b.home.home, packed)
    whole = b.file(torn).read_bytes()
    cut = whole[:-40]
    b.file(torn).write_bytes(cut)
    a.go_on(packed, "packed two")
    a.go_on(torn, "torn three")
    assert told(b.takes(a)) == {packed: FORWARD, torn: FORWARD}
    assert b.file(packed).suffix == ".jsonl"
    assert b.file(torn).read_bytes().startswith(cut + b"\n")
    assert told(b.takes(a)) == {packed: EQUAL, torn: EQUAL}
    texts = {
        packed: ["packed one", "packed two"],
        torn: ["torn one", "torn two", "torn three"],
    }
    b.shows(texts)
    # Codex goes on with both, and so does the way back.
    b.go_on(packed, "packed three")
    b.go_on(torn, "torn four")
    assert told(a.takes(b)) == {packed: FORWARD, torn: FORWARD}
    a.shows(
        {packed: [*texts[packed], "packed three"], torn: [*texts[torn], "torn four"]},
    )


@pytest.mark.parametrize("migrating", ["here", "there"])
def test_a_legacy_session_is_migrated_on_one_side(
    machines: tuple[Machine, Machine], migrating: str
) -> None:
    a, b = machines
    one = a.home.with_version(LEGACY).exec("legacy one")
    assert told(b.takes(a)) == {one: NEW}
    new, old = (b, a) if migrating == "here" else (a, b)
    done = new.home.run("migrate-rollouts", "--apply")
    assert done.returncode == 0, done.stderr
    assert meta(new.file(one))["history_mode"] == "paginated"
    assert told(b.takes(a)) == {one: EQUAL}
    texts = ["legacy one"]
    for source, target in ((a, b), (b, a), (a, b)):
        texts.append(f"turn {len(texts) + 1}")
        source.go_on(one, texts[-1])
        assert told(target.takes(source)) == {one: FORWARD}
    assert "history_mode" not in meta(old.file(one))
    for machine in machines:
        machine.shows({one: texts})
    # Both went on: the branch is written as it comes.
    a.go_on(one, "on a")
    b.go_on(one, "on b")
    first = b.takes(a)
    assert told(first) == {one: BRANCHED}
    b.shows({one: [*texts, "on b"], local_id(first, one): [*texts, "on a"]})


def test_settings_make_no_divergence(machines: tuple[Machine, Machine]) -> None:
    a, b = machines
    one = a.new("one")
    b.takes(a)
    size = b.file(one).stat().st_size
    with b.home.app_server() as app:
        app.resume(one, approvalPolicy="on-request", cwd=str(b.home.elsewhere))
        app.request("thread/settings/update", {"threadId": one, "approvalPolicy": "untrusted"})
    assert b.file(one).stat().st_size > size
    assert told(b.takes(a)) == {one: EQUAL}
    assert told(a.takes(b)) == {one: EQUAL}
    a.go_on(one, "two on a")
    assert told(b.takes(a)) == {one: FORWARD}
    for machine in machines:
        machine.shows({one: ["one", "two on a"]})


# -- names and the archive ----------------------------------------------------------------------


def test_names_and_the_archive_follow(machines: tuple[Machine, Machine]) -> None:
    a, b = machines
    one, other = a.new("one"), a.new("other")
    b.takes(a)
    with a.home.app_server() as app:
        app.resume(one)
        app.set_name(one, "named on a")
        app.start_turn(one, "two")
        app.archive(one)
        app.resume(other)
        app.set_name(other, "a's name")
        app.start_turn(other, "other two")
    with b.home.app_server() as app:
        app.set_name(other, "b's name")
    found = b.takes(a)
    assert told(found) == {one: FORWARD, other: FORWARD}
    assert found.sessions[other]["differs"] == {
        "name": {"local": "b's name", "incoming": "a's name"}
    }
    assert "differs" not in found.sessions[one]
    assert b.takes(a).status == "no_op"
    views = b.shows({one: ["one", "two"], other: ["other", "other two"]})
    assert (views[one].name, views[one].archived) == ("named on a", True)
    assert (views[other].name, views[other].archived) == ("b's name", False)


def test_names_and_the_archive_follow_without_a_turn(
    machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    a, b = machines
    one = a.new("one", "two")
    with a.home.app_server() as app:
        app.set_name(one, "first name")
    b.takes(a)
    next_second()
    with b.home.app_server() as app:
        app.resume(one)
        app.revert(one, app.turns(one)[1]["id"])
        app.start_turn(one, "b's two")
    older = shutil.copytree(a.home.home, tmp_path / "older")
    for number, (name, archived) in enumerate([("second name", True), ("third name", False)]):
        with a.home.app_server() as app:
            if not archived:
                app.unarchive(one)
            app.set_name(one, name)
            if archived:
                app.archive(one)
        found = b.takes(a)
        assert found.sessions[one]["follows"] == {"name": name, "archived": archived}
        folders = {path.parent.name for path in rollout_files(b.home.home)}
        assert (folders == {"archived_sessions"}) == archived
        assert len(rollout_files(b.home.home)) == 2
        seen = view(b.home, [one])[one]
        assert (seen.name, seen.archived, said(seen)) == (name, archived, ["one", "b's two"])
        assert b.takes(a).status == b.takes(older).status == "no_op", number


# -- taken back ---------------------------------------------------------------------------------


@pytest.mark.parametrize("legacy", [False, True], ids=["reverted", "rolled back"])
def test_turns_that_were_taken_back_here_stay_away(
    machines: tuple[Machine, Machine], legacy: bool
) -> None:
    a, b = machines
    one = a.home.with_version(LEGACY).exec("one") if legacy else a.new("one")
    a.go_on(one, "two")
    a.go_on(one, "three")
    b.takes(a)
    next_second()
    with (b.home.with_version(LEGACY) if legacy else b.home).app_server() as app:
        app.resume(one)
        if legacy:
            app.rollback(one, 2)
        else:
            app.revert(one, app.turns(one)[1]["id"])
    found = b.takes(a)
    assert (told(found), found.sessions[one]["reason"]) == ({one: EQUAL}, "taken_back")
    assert a.takes(b).status == "no_op"
    # The source goes on from what is gone here: both lines stay, and go on as lines of their own.
    a.go_on(one, "four on a")
    parted = b.takes(a)
    assert told(parted) == {one: BRANCHED}
    branch = local_id(parted, one)
    a.go_on(one, "five on a")
    assert told(b.takes(a)) == {one: FORWARD}
    views = view(b.home, [one, branch])
    assert said(views[one]) == ["one"]
    assert said(views[branch]) == ["one", "two", "three", "four on a", "five on a"]


# -- collisions ---------------------------------------------------------------------------------


def test_another_session_of_the_same_id(machines: tuple[Machine, Machine], tmp_path: Path) -> None:
    a, b = machines
    one, other = a.new("one"), b.new("elsewhere")
    package = tmp_path / "package"
    package.mkdir()

    def packed() -> Path:
        data = a.file(one).read_bytes().replace(one.encode(), other.encode())
        (package / a.file(one).name.replace(one, other)).write_bytes(data)
        return package

    refused = b.takes(packed())
    assert refused.refused() == {other: "id_collision"}
    assert refused.sessions[other]["first_user_message"] == "one"
    assert refused.sessions[other]["local"]["first_user_message"] == "elsewhere"
    [problem] = refused.document["errors"]
    for words in ("“elsewhere” (one turn, ", "“one” (one turn, ", str(a.home.project)):
        assert words in problem["message"]
    first = b.takes(package, "--on-collision", "import-as-new")
    assert told(first) == {other: ("id_collision_unrelated", "imported")}
    new = local_id(first, other)
    assert new not in (one, other)
    for forgetful in (False, True):
        if forgetful:
            b.forget()
        again = b.takes(package)
        assert (told(again), local_id(again, other)) == ({other: EQUAL}, new)
    b.shows({other: ["elsewhere"], new: ["one"]})
    a.go_on(one, "two on a")
    second = b.takes(packed())
    assert (told(second), local_id(second, other)) == ({other: FORWARD}, new)
    b.go_on(new, "three on b")
    with b.home.app_server() as app:
        fork = app.fork(new)
        app.start_turn(fork, "forked")
    texts = ["one", "two on a", "three on b"]
    b.shows({other: ["elsewhere"], new: texts, fork: [*texts, "forked"]})
    # Where it came from, it is known under its old id.
    back = a.takes(b, "--session", new)
    assert (told(back), local_id(back, new)) == ({new: FORWARD}, one)
    a.shows({one: texts})


# -- Codex is at work ---------------------------------------------------------------------------


def test_a_session_that_is_open_is_left_for_later(machines: tuple[Machine, Machine]) -> None:
    a, b = machines
    one, other = a.new("one"), a.new("other")
    b.takes(a)
    a.go_on(one, "two")
    a.go_on(other, "other two")
    third = a.new("third")
    with b.home.app_server() as app:
        app.resume(one)
        kept = b.file(one).read_bytes()
        found = b.takes(a)
        assert (found.code, found.status) == (1, "partial")
        assert told(found) == {
            one: ("fast_forward_import", "refused"),
            other: FORWARD,
            third: NEW,
        }
        assert found.errors == {"session_busy": {one}}
        assert b.file(one).read_bytes() == kept
    assert told(b.takes(a)) == {one: FORWARD, other: EQUAL, third: EQUAL}
    b.shows({one: ["one", "two"], other: ["other", "other two"], third: ["third"]})


def test_codex_does_not_open_a_session_that_is_being_written(
    machines: tuple[Machine, Machine],
) -> None:
    a, b = machines
    one = a.new("one")
    b.new("own")
    b.takes(a)
    locks = b.home.home / "thread-writer-locks"
    before = sorted(path.name for path in locks.iterdir())
    with (
        b.home.app_server() as app,
        codex_thread_lock(b.home.home, one),
        pytest.raises(AppServerError, match="active writer"),
    ):
        app.resume(one)
    assert sorted(path.name for path in locks.iterdir()) == before
    b.shows({one: ["one"]})
