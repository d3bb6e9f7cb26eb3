"""Directories and providers: rules, what is remembered of them, warnings, directories made."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from builders import Record, Session, dump, write_snapshot, write_transfer
from codex_session_sync.journal.recalling import remembered_rules
from workbench import Outcome, add_rows, call, make_database, tree

SOURCE = "/home/alice/garden"
WINDOWS = "C:\\Users\\alice\\Documents\\garden"
ONE = Session(1, name="n", cwd=SOURCE).say("one")
OTHER = Session(2, cwd=SOURCE, start=60).say("other")
UNTOUCHED = ("response_item", "world_state", "compacted")


@dataclass
class Home:
    """A home that is also a package, in a machine's own folder with directories."""

    root: Path
    origin: str | None = None

    def __post_init__(self) -> None:
        self.path.mkdir(parents=True)
        make_database(self.path, journal_mode="delete")
        if self.origin is not None:
            (self.path / "installation_id").write_text(self.origin)

    @property
    def path(self) -> Path:
        """The Codex home."""
        return self.root / "codex"

    def folder(self, *names: str) -> str:
        """A directory that is there."""
        found = self.root.joinpath("work", *names)
        found.mkdir(parents=True, exist_ok=True)
        return str(found)

    def put(self, *sessions: Session) -> Home:
        """Write sessions as Codex has them."""
        write_snapshot(self.path, sessions)
        with closing(sqlite3.connect(self.database)) as connection, connection:
            ids = [(session.id,) for session in sessions]
            connection.executemany("DELETE FROM threads WHERE id = ?", ids)
        add_rows(self.database, sessions)
        return self

    @property
    def database(self) -> Path:
        return self.path / "state_5.sqlite"

    def run(self, command: str, *arguments: str | Path) -> Outcome:
        """Call the program."""
        return call(command, *arguments, "--codex-home", self.path, "--json")

    def sync(self, package: Home | Path, *options: str) -> Outcome:
        """Sync a package; a second time finds nothing to do and changes no byte."""
        path = package.path if isinstance(package, Home) else package
        command: list[str | Path] = [path, "--no-prime", "--execute", *options]
        done = self.run("sync", *command)
        before = tree(self.path)
        assert self.run("sync", *command).envelope["status"] in ("no_op", "error")
        assert tree(self.path) == before
        return done

    def row(self, session: Session | str) -> Record:
        """A session's row."""
        wanted = session if isinstance(session, str) else session.id
        with closing(sqlite3.connect(self.database)) as connection:
            connection.row_factory = sqlite3.Row
            query = "SELECT * FROM threads WHERE id = ?"
            return dict(connection.execute(query, (wanted,)).fetchone())

    def file(self, session: Session | str) -> Path:
        """A session's rollout."""
        wanted = session if isinstance(session, str) else session.id
        [path] = self.path.glob(f"sessions/**/rollout-*{wanted}.jsonl")
        return path

    def records(self, session: Session | str) -> list[Record]:
        """A session's records."""
        return [json.loads(line) for line in self.file(session).read_bytes().splitlines()]

    def directories(self, session: Session | str) -> list[str]:
        """The directory of the head, then that of each turn."""
        kinds = ("session_meta", "turn_context")
        found = [r["payload"]["cwd"] for r in self.records(session) if r["type"] in kinds]
        return [*found]


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The local user's home."""
    path = tmp_path / "user"
    path.mkdir()
    monkeypatch.setenv("HOME", str(path))
    monkeypatch.setenv("USERPROFILE", str(path))
    return path


@pytest.fixture
def here(tmp_path: Path) -> Home:
    return Home(tmp_path / "here", str(uuid.UUID(int=1)))


@pytest.fixture
def there(tmp_path: Path) -> Home:
    return Home(tmp_path / "there", str(uuid.UUID(int=2)))


def warned(outcome: Outcome) -> dict[str, set[str | None]]:
    """The sessions that each warning names, by code."""
    found: dict[str, set[str | None]] = {}
    for one in outcome.envelope["warnings"]:
        found.setdefault(one["code"], set()).add(one.get("session_id"))
    return found


def rules(outcome: Outcome) -> list[tuple[str, str, str, int]]:
    """The rules of a report, kinds left out."""
    keys = ("from", "to", "origin", "sessions")
    return [tuple(rule[key] for key in keys) for rule in outcome.envelope["data"]["rules"]]


def edited(path: Path, edit: Callable[[Record], None]) -> None:
    """Change the records of a file."""
    records = [json.loads(line) for line in path.read_bytes().splitlines()]
    for record in records:
        edit(record)
    path.write_bytes(dump(records))


def moved(home: Home, session: Session, cwd: str) -> None:
    """Have the last turn of a session be in another directory, as Codex does on ``-C``."""
    turns = [r for r in home.records(session) if r["type"] == "turn_context"]

    def edit(record: Record) -> None:
        if record["type"] == "turn_context" and record["timestamp"] == turns[-1]["timestamp"]:
            record["payload"]["cwd"] = cwd

    edited(home.file(session), edit)
    with closing(sqlite3.connect(home.database)) as connection, connection:
        connection.execute("UPDATE threads SET cwd = ?", (cwd,))


# --- what is rewritten ----------------------------------------------------------------------------


ROOTED = {
    "sandbox_policy": {"type": "workspace-write", "writable_roots": [f"{SOURCE}/out", "/var/x"]},
    "file_system_sandbox_policy": {
        "kind": "restricted",
        "entries": [
            {"path": {"type": "path", "path": SOURCE}, "access": "write"},
            {"path": {"type": "special", "value": {"kind": "root"}}, "access": "read"},
        ],
    },
    "permission_profile": {
        "file_system": {"entries": [{"path": {"type": "path", "path": f"{SOURCE}/.git"}}]}
    },
    "workspace_roots": [SOURCE, "/home/alicex"],
}


def rooted(record: Record) -> None:
    """Give a turn the settings with paths that real ones have."""
    if record["type"] == "turn_context":
        record["payload"] |= json.loads(json.dumps(ROOTED))
    if record["type"] == "session_meta":
        record["payload"]["runtime_workspace_roots"] = [SOURCE, f"{SOURCE}/out"]


@pytest.mark.parametrize("trusted", [False, True])
def test_settings_are_mapped_and_what_the_model_saw_stays(
    here: Home, there: Home, trusted: bool
) -> None:
    there.put(ONE)
    edited(there.file(ONE), rooted)
    policy = json.dumps(ROOTED["sandbox_policy"])
    with closing(sqlite3.connect(there.database)) as connection, connection:
        connection.execute("UPDATE threads SET sandbox_policy = ?", (policy,))
    target = here.folder("garden")
    options = ["--trust-package"] if trusted else []
    done = here.sync(there, "--map-path", f"{SOURCE}={target}", *options)
    assert done.sessions[ONE.id]["cwd"] == SOURCE
    assert done.sessions[ONE.id]["local_cwd"] == target
    assert warned(done).keys() == ({"package_trusted"} if trusted else set())
    assert rules(done) == [(SOURCE, target, "given", 1)]
    assert here.row(ONE)["cwd"] == target
    mapped = json.loads(json.dumps(ROOTED).replace(SOURCE, target))
    assert json.loads(here.row(ONE)["sandbox_policy"]) == mapped["sandbox_policy"]
    before, after = there.records(ONE), here.records(ONE)
    assert [r for r in before if r["type"] in UNTOUCHED] == [
        r for r in after if r["type"] in UNTOUCHED
    ]
    [context] = [r["payload"] for r in after if r["type"] == "turn_context"]
    assert context["cwd"] == target
    assert {key: context[key] for key in ROOTED} == mapped
    roots = after[0]["payload"]["runtime_workspace_roots"]
    assert roots == ([target, f"{target}/out"] if trusted else [target])


def test_with_no_rule_nothing_of_it_changes(here: Home, there: Home) -> None:
    there.put(ONE)
    edited(there.file(ONE), rooted)
    done = here.sync(there)
    [before], [after] = (
        [r for r in home.records(ONE) if r["type"] == "turn_context"] for home in (there, here)
    )
    assert before == after
    assert rules(done) == []


def test_rules_that_swap_directories_are_applied_once(here: Home, there: Home) -> None:
    """No path goes through two rules, neither in the transcript nor in the row."""
    there.put(replace(ONE, cwd="/a/x"))
    write_transfer(here.root / "package", [replace(OTHER, cwd="/b/y")])
    swap = ("--map-path", "/a=/b", "--map-path", "/b=/a")
    here.sync(there, *swap)
    assert (here.directories(ONE), here.row(ONE)["cwd"]) == (["/b/x", "/b/x"], "/b/x")
    package = here.root / "package"
    (package / "metadata" / "threads.jsonl").write_bytes(b"")
    here.sync(package, *swap)
    assert (here.directories(OTHER), here.row(OTHER)["cwd"]) == (["/a/y", "/a/y"], "/a/y")


def test_a_package_that_lies_in_the_home(here: Home) -> None:
    target = here.folder("garden")
    package = write_snapshot(here.path / "incoming", [ONE])
    here.sync(package, "--map-path", f"{SOURCE}={target}")
    assert here.directories(ONE) == [target, target]


def test_the_rule_of_the_first_import_tool(here: Home, user: Path) -> None:
    session = replace(ONE, cwd=WINDOWS)
    package = write_transfer(here.root / "package", [session])
    [file] = (package / "sessions").iterdir()
    roots = ["\\\\?\\C:\\Users\\alice\\Documents\\out", "D:\\elsewhere"]

    def edit(record: Record) -> None:
        if record["type"] == "turn_context":
            record["payload"]["sandbox_policy"] = {"writable_roots": roots}

    edited(file, edit)
    (user / "Documents" / "garden").mkdir(parents=True)
    done = here.sync(package, "--user-home", str(user))
    target = str(user / "Documents" / "garden")
    assert rules(done) == [("Documents", str(user), "given", 1)]
    assert done.sessions[ONE.id]["local_cwd"] == here.row(ONE)["cwd"] == target
    [context] = [r["payload"] for r in here.records(ONE) if r["type"] == "turn_context"]
    assert context["cwd"] == target
    assert context["sandbox_policy"]["writable_roots"] == [
        str(user / "Documents" / "out"),
        "D:\\elsewhere",
    ]


# --- what goes on, and what parts -----------------------------------------------------------------


def test_what_goes_on_stays_where_it_is(here: Home, there: Home) -> None:
    target = here.folder("garden")
    here.sync(there.put(ONE), "--map-path", f"{SOURCE}={target}")
    there.put(ONE.say("two").say("three"))
    moved(there, ONE, "/home/alice/elsewhere")
    done = here.sync(there, "--map-path", f"{SOURCE}={SOURCE}")
    assert done.sessions[ONE.id]["result"] == "fast_forwarded"
    assert done.sessions[ONE.id]["cwd"] == "/home/alice/elsewhere"
    assert done.sessions[ONE.id]["local_cwd"] == target
    assert warned(done) == {}
    assert here.directories(ONE) == [target] * 4
    assert here.row(ONE)["cwd"] == target
    # What is skipped is where it is, too.
    [session] = here.run("sync", there.path).sessions.values()
    assert (session["action"], session["local_cwd"]) == ("skip", target)


def test_roots_go_along_with_the_directory(here: Home, there: Home) -> None:
    target = here.folder("garden")
    here.sync(there.put(ONE), "--map-path", f"{SOURCE}={target}")
    there.put(ONE.say("two"))
    edited(there.file(ONE), rooted)
    here.sync(there, "--map-path", f"{SOURCE}={SOURCE}")
    *_, context = [r["payload"] for r in here.records(ONE) if r["type"] == "turn_context"]
    mapped = json.loads(json.dumps(ROOTED).replace(SOURCE, target))
    assert {key: context[key] for key in ROOTED} == mapped


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("rule", [False, True])
def test_a_branch_goes_where_rules_say_else_where_its_session_is(
    here: Home, there: Home, rule: bool, packed: bool
) -> None:
    target, another = here.folder("garden"), here.folder("another")
    here.put(replace(ONE, cwd=target).say("here"))
    there.put(ONE.say("there"))
    package = there.path
    if packed:
        package = there.root / "package"
        assert there.run("pack", "-o", package).exit_code == 0
    options = ["--map-path", f"{SOURCE}={another}"] if rule else []
    expected = another if rule else target
    planned = here.run("sync", package, *options).sessions[ONE.id]
    done = here.sync(package, *options).sessions[ONE.id]
    assert done["result"] == "branched"
    assert planned["local_cwd"] == done["local_cwd"] == expected
    branch = done["local_session_id"]
    assert set(here.directories(branch)) == {expected}
    assert here.row(branch)["cwd"] == expected
    assert set(here.directories(ONE)) == {target}


def test_a_branch_stays_in_a_directory_that_is_here(here: Home, there: Home) -> None:
    target, another = here.folder("garden"), here.folder("another")
    here.put(replace(ONE, cwd=target).say("here"))
    done = here.sync(there.put(replace(ONE, cwd=another).say("there")))
    assert done.sessions[ONE.id]["local_cwd"] == another


@pytest.mark.parametrize("diverges", [False, True])
def test_a_tail_is_mapped_and_what_is_here_is_not_mapped_again(
    here: Home, there: Home, diverges: bool
) -> None:
    """A rule whose target lies below its source would show it."""
    rule = ("--map-path", "/home/alice=/home/alice/from-there")
    target = "/home/alice/from-there/garden"
    here.sync(there.put(ONE), *rule)
    known = here.root / "have.json"
    assert here.run("have", "-o", known).exit_code == 0
    there.put(ONE.say("two"))
    package = there.root / "package"
    assert there.run("pack", "-o", package, "--have", known).exit_code == 0
    if diverges:
        local = replace(ONE, cwd=target).say("here")
        here.put(local)
    done = here.sync(package).sessions[ONE.id]
    assert done["result"] == ("branched" if diverges else "fast_forwarded")
    assert done["local_cwd"] == target
    assert set(here.directories(done["local_session_id"])) == {target}
    assert here.row(done["local_session_id"])["cwd"] == target


# --- what is remembered ---------------------------------------------------------------------------


def test_the_next_package_needs_no_rules(here: Home, there: Home, user: Path) -> None:
    target = here.folder("garden")
    given = ("--map-path", f"{SOURCE}={target}", "--map-provider", "openai=mine")
    there.put(ONE)
    here.sync(there, *given, "--user-home", str(user))
    there.put(OTHER)
    done = here.sync(there)
    assert rules(done) == [
        (SOURCE, target, "remembered", 1),
        ("Documents", str(user), "remembered", 0),
        ("openai", "mine", "remembered", 1),
    ]
    assert here.row(OTHER)["cwd"] == target
    assert here.row(OTHER)["model_provider"] == "mine"
    # Inspecting and planning know them as well.
    for command in ("inspect-package", "sync"):
        assert rules(here.run(command, there.path))[0] == (SOURCE, target, "remembered", 0)


def test_rules_are_of_one_origin(here: Home, there: Home, tmp_path: Path) -> None:
    here.sync(there.put(ONE), "--map-path", f"{SOURCE}={here.folder('garden')}")
    third = Home(tmp_path / "third", str(uuid.UUID(int=3))).put(OTHER)
    assert rules(here.run("sync", third.path)) == []
    unknown = write_transfer(tmp_path / "unknown", [OTHER])
    assert rules(here.run("sync", unknown)) == []


def test_packages_that_do_not_tell_share_their_rules(here: Home, tmp_path: Path) -> None:
    target = here.folder("garden")
    here.sync(write_transfer(tmp_path / "one", [ONE]), "--map-path", f"{SOURCE}={target}")
    done = here.sync(write_transfer(tmp_path / "other", [OTHER]))
    assert rules(done) == [(SOURCE, target, "remembered", 1)]


def test_a_given_rule_wins_and_is_remembered_in_its_place(here: Home, there: Home) -> None:
    first, second = here.folder("first"), here.folder("second")
    here.sync(there.put(ONE), "--map-path", f"{SOURCE}={first}", "--map-path", "/x=/y")
    done = here.sync(there.put(OTHER), "--map-path", f"{SOURCE}/={second}")
    assert rules(done) == [(SOURCE, second, "given", 1), ("/x", "/y", "remembered", 0)]
    third = Session(3, cwd=SOURCE, start=120).say("third")
    done = here.sync(there.put(third), "--map-path", f"{SOURCE}={SOURCE}")
    assert rules(done)[0] == (SOURCE, SOURCE, "given", 1)
    assert here.row(third)["cwd"] == SOURCE
    fourth = Session(4, cwd=SOURCE, start=180).say("fourth")
    assert rules(here.sync(there.put(fourth)))[0] == (SOURCE, SOURCE, "remembered", 1)


def test_a_rollback_takes_rules_back(here: Home, there: Home) -> None:
    first, second = here.folder("first"), here.folder("second")
    one = here.sync(there.put(ONE), "--map-path", f"{SOURCE}={first}")
    here.sync(there.put(OTHER), "--map-path", f"{SOURCE}={second}")

    def known() -> list[str]:
        return [rule[1] for rule in rules(here.run("sync", there.path))]

    def undo(*which: str) -> str:
        done = here.run("rollback", *which, "--execute")
        assert done.exit_code == 0
        return str(done.envelope["data"]["rollback_transaction_id"])

    assert known() == [second]
    undone = undo("--latest")
    assert known() == [first]
    undo(undone)
    assert known() == [second]
    undo("--latest")
    undo(one.envelope["data"]["transaction_id"])
    assert known() == []


def test_a_rollback_of_some_sessions_leaves_the_rules(here: Home, there: Home) -> None:
    target = here.folder("garden")
    done = here.sync(there.put(ONE, OTHER), "--map-path", f"{SOURCE}={target}")
    transaction = done.envelope["data"]["transaction_id"]
    for session, stands in ((ONE, True), (OTHER, False)):
        assert (
            here.run("rollback", transaction, "--session", session.id, "--execute").exit_code == 0
        )
        assert bool(remembered_rules(here.path / "session-sync", str(uuid.UUID(int=2)))) == stands


def test_a_damaged_manifest_is_passed_over(here: Home, there: Home) -> None:
    done = here.sync(there.put(ONE), "--map-path", f"{SOURCE}=/x")
    folder = here.path / "session-sync" / "transactions"
    manifest = folder / done.envelope["data"]["transaction_id"] / "manifest.json"
    whole = json.loads(manifest.read_bytes())
    damaged: list[object] = [None, [], {"paths": {}}, {"paths": [{"from": 1}, 2], "user_home": []}]
    for damage in damaged:
        manifest.write_text(json.dumps({**whole, "rules": damage}, indent=2))
        assert rules(here.run("inspect-package", there.path)) == []
    manifest.write_bytes(manifest.read_bytes()[:-40])
    assert remembered_rules(here.path / "session-sync", str(uuid.UUID(int=2))) is None


def test_rules_show_in_the_transaction(here: Home, there: Home) -> None:
    done = here.sync(there.put(ONE), "--map-path", f"{SOURCE}=/x", "--map-provider", "a=b=c")
    shown = here.run("show-transaction", done.envelope["data"]["transaction_id"])
    transaction = shown.envelope["data"]["transaction"]
    assert transaction["source_home"] == str(uuid.UUID(int=2))
    assert transaction["rules"] == {
        "paths": [{"from": SOURCE, "to": "/x"}],
        "user_home": None,
        "providers": [{"from": "a", "to": "b=c"}],
    }


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--map-path", "x=y"], "path_map_invalid"),
        (["--user-home", "x"], "path_map_invalid"),
        (["--map-provider", "x"], "provider_map_invalid"),
        (["--map-provider", "=x"], "provider_map_invalid"),
        (["--map-provider", "x="], "provider_map_invalid"),
        (["--map-provider", "x=y", "--map-provider", "x=z"], "provider_map_invalid"),
        (["--map-provider", "x=\udcff"], "provider_map_invalid"),
    ],
)
@pytest.mark.parametrize("command", ["sync", "inspect-package"])
def test_what_is_no_rule(here: Home, command: str, options: list[str], code: str) -> None:
    found = here.run(command, here.path, *options)
    assert (found.exit_code, found.codes) == (2, [code])


# --- warnings, and directories made ---------------------------------------------------------------


def test_a_missing_directory_is_told_for_what_is_new(here: Home, there: Home) -> None:
    there.put(ONE, replace(OTHER, cwd=here.folder("other")))
    expected = {"cwd_missing": {ONE.id}}
    assert warned(here.run("inspect-package", there.path)) == expected
    assert warned(here.run("sync", there.path)) == expected
    assert warned(here.sync(there)) == expected
    assert warned(here.run("sync", there.path)) == {}


@pytest.mark.parametrize("row", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_an_unknown_provider_is_told(here: Home, there: Home, row: bool, packed: bool) -> None:
    (here.path / "config.toml").write_text('[model_providers.mine]\nname = "mine"\n')
    session = replace(ONE, cwd=here.folder("one"), meta={"model_provider": "theirs"})
    there.put(session)
    with closing(sqlite3.connect(there.database)) as connection, connection:
        connection.execute("UPDATE threads SET model_provider = 'theirs'")
        if not row:
            connection.execute("DELETE FROM threads")
    package = there.path
    if packed:
        package = there.root / "package"
        assert there.run("pack", "-o", package).exit_code == 0
    planned = here.run("sync", package)
    assert warned(planned) == {"provider_not_configured": {ONE.id}}
    [warning] = planned.envelope["warnings"]
    assert "theirs" in warning["message"]
    for known in ("mine", "openai", "ollama", "lmstudio", "amazon-bedrock"):
        assert known in warning["message"]
    done = here.sync(package, "--map-provider", "theirs=mine")
    assert warned(done) == {}
    assert rules(done) == [("theirs", "mine", "given", 1)]
    assert here.row(ONE)["model_provider"] == "mine"
    assert here.records(ONE)[0]["payload"]["model_provider"] == "mine"


def test_directories_are_made_on_request(here: Home, there: Home) -> None:
    target = here.root / "made" / "garden"
    there.put(ONE, replace(OTHER, cwd=f"{SOURCE}/deeper"))
    options = ("--map-path", f"{SOURCE}={target}", "--create-dirs")
    planned = here.run("sync", there.path, *options)
    assert set(warned(planned)) == {"cwd_missing"}
    assert not target.exists()
    done = here.sync(there, *options)
    assert done.envelope["data"]["created_dirs"] == [str(target / "deeper")] or (
        done.envelope["data"]["created_dirs"] == [str(target), str(target / "deeper")]
    )
    assert (target / "deeper").is_dir()
    assert warned(done) == {}
    assert here.run("rollback", "--latest", "--execute").exit_code == 0
    assert target.is_dir()


def test_what_cannot_be_made_is_told(here: Home, there: Home) -> None:
    (here.root / "file").write_text("")
    blocked = f"{here.root}/file/below"
    sessions = (replace(ONE, cwd=WINDOWS), replace(OTHER, cwd=blocked))
    done = here.sync(there.put(*sessions), "--create-dirs")
    assert done.exit_code == 0
    assert done.envelope["data"]["created_dirs"] == []
    assert warned(done) == {"cwd_missing": {ONE.id, OTHER.id}, "cwd_not_created": {None}}
    told = [w["message"] for w in done.envelope["warnings"] if w["code"] == "cwd_not_created"]
    assert [WINDOWS in told[0], blocked in told[1]] == [True, True]
    assert not list(Path().glob("C:*"))


def test_text_output_tells_it_once(here: Home, there: Home) -> None:
    sessions = [
        replace(Session(n, cwd=SOURCE, start=n).say("x"), name=f"s{n}") for n in range(1, 6)
    ]
    there.put(*sessions)
    shown = call("sync", there.path, "--codex-home", here.path, "--map-path", f"{SOURCE}=/nowhere")
    told = " ".join(shown.err.split())
    assert told.count("cwd_missing") == 1
    assert "and 2 more: its directory /nowhere" in told
    assert f"{SOURCE} → /nowhere (given): 5 sessions" in shown.out.decode()


def test_looking_writes_nothing(here: Home, there: Home) -> None:
    there.put(ONE)
    before = [tree(here.root), tree(there.root)]
    options = ("--map-path", f"{SOURCE}=/x", "--map-provider", "openai=mine", "--user-home", "/u")
    here.run("inspect-package", there.path, *options)
    here.run("sync", there.path, *options, "--create-dirs")
    assert [tree(here.root), tree(there.root)] == before
