"""``rebuild-index`` on whole homes: what is written, what stays, what is refused."""

from __future__ import annotations

import errno
import json
import os
import re
import sqlite3
import stat
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from builders import Session, dump, write_snapshot, write_transfer
from codex_session_sync.codex.session_index import index_line
from codex_session_sync.errors import ExitCode
from codex_session_sync.indexes import survey, writing
from codex_session_sync.locks import home_lock
from workbench import SCRIPTS, Outcome, add_rows, call, environment, make_database, tree

SCHEMA = SCRIPTS / "codex_session_sync" / "schemas" / "envelope.schema.json"
VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_bytes()))

BEANS = Session(1, start=10).say("How do beans climb?\nAnd peas?").say("Thanks")
ROSES = Session(2, start=20, name="Roses").say("How do I prune roses?")
OLD = Session(3, start=30, name="Kept away", archived=True).say("An old question")
LEGACY = Session(4, start=40, legacy=True, name="By hand").say("A legacy question").say("Go on")
STRAY = Session(5, start=50).say("Nobody has a row for this")
GONE = Session(9).id
ALL = (BEANS, ROSES, OLD, LEGACY, STRAY)
ROWS = (BEANS, ROSES, OLD, replace(LEGACY, name=None))


@dataclass(frozen=True)
class Home:
    """A home and the command on it."""

    path: Path

    @property
    def index(self) -> Path:
        return self.path / "session_index.jsonl"

    @property
    def history(self) -> Path:
        return self.path / "history.jsonl"

    @property
    def database(self) -> Path:
        return self.path / "state_5.sqlite"

    def rebuild(self, *options: str) -> Outcome:
        """The command as JSON, its answer checked against the schema."""
        outcome = call("rebuild-index", "--json", *options)
        VALIDATOR.validate(outcome.envelope)
        assert outcome.envelope["exit_code"] == outcome.exit_code
        return outcome

    def execute(self, *options: str) -> dict[str, Any]:
        """The command done, without an error; what it says."""
        outcome = self.rebuild("--execute", *options)
        assert outcome.exit_code == 0, outcome.envelope
        data: dict[str, Any] = outcome.envelope["data"]
        return data

    def names(self) -> list[tuple[str, str]]:
        """Id and name of each line of the index."""
        return [(line["id"], line["thread_name"]) for line in lines(self.index)]

    def prompts(self) -> list[tuple[str, str]]:
        """Id and text of each line of the history."""
        return [(line["session_id"], line["text"]) for line in lines(self.history)]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def file_of(data: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [file for file in data["files"] if file["name"] == name]
    assert isinstance(found, dict)
    return found


def warnings(outcome: Outcome) -> list[str]:
    return [warning["code"] for warning in outcome.envelope["warnings"]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home that Codex used, with sessions of several kinds and both files lost."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", None)
    path = tmp_path / "home"
    write_snapshot(path, ALL, index=False)
    add_rows(make_database(path), ROWS)
    return Home(path)


BEANS_TITLE = (BEANS.id, "How do beans climb?\nAnd peas?")
LEGACY_TITLE = (LEGACY.id, "A legacy question")
PROMPTS = [
    (BEANS.id, "How do beans climb?\nAnd peas?"),
    (BEANS.id, "Thanks"),
    (ROSES.id, "How do I prune roses?"),
    (LEGACY.id, "A legacy question"),
    (LEGACY.id, "Go on"),
]

# Lost files come back


def test_both_files_come_back(home: Home) -> None:
    planned = home.rebuild()
    assert planned.envelope["status"] == "dry_run"
    assert not home.index.exists()
    assert not home.history.exists()
    assert warnings(planned) == ["sessions_without_row"]
    data = home.execute()
    assert data == planned.envelope["data"]
    assert data["conversations"] == 3
    assert data["skipped"] == {"archived": 1, "without_row": 1}
    for name, count in (("session_index.jsonl", 3), ("history.jsonl", 5)):
        file = file_of(data, name)
        assert (file["action"], file["lines"], file["restored"]) == ("create", count, count)
        assert file["bytes"] == (home.path / name).stat().st_size
        assert (file["lines_before"], file["backup"], file["dropped"]) == (None, None, {})
    assert home.names() == [BEANS_TITLE, (ROSES.id, "Roses"), LEGACY_TITLE]
    assert home.prompts() == PROMPTS


def test_times(home: Home) -> None:
    row_later = {"updated_at": int(BEANS.created.timestamp()) + 90}
    record_later = {"updated_at": int(ROSES.created.timestamp()) - 90}
    with closing(sqlite3.connect(home.database)) as database, database:
        for session, columns in ((BEANS, row_later), (ROSES, record_later)):
            database.execute(
                "UPDATE threads SET updated_at = ?, updated_at_ms = NULL WHERE id = ?",
                (columns["updated_at"], session.id),
            )
    home.execute()
    times = {line["id"]: line["updated_at"] for line in lines(home.index)}
    assert times[BEANS.id] == "2026-03-02T09:11:30.000Z"
    assert times[ROSES.id] == ROSES.records()[-1]["timestamp"]
    (first, *_) = lines(home.history)
    assert list(first) == ["session_id", "ts", "text"]
    assert first["ts"] == int(BEANS.created.timestamp()) + 1


def test_a_second_time_there_is_nothing_to_do(home: Home) -> None:
    home.execute()
    before = tree(home.path, "session-sync")
    outcome = home.rebuild("--execute")
    assert outcome.envelope["status"] == "no_op"
    assert {file["action"] for file in outcome.envelope["data"]["files"]} == {"none"}
    assert tree(home.path, "session-sync") == before


def test_a_home_with_nothing_to_do_is_left_untouched(home: Home) -> None:
    home.execute()
    for path in (home.path / "session-sync").iterdir():
        path.unlink()
    (home.path / "session-sync").rmdir()
    before = tree(home.path)
    assert home.rebuild("--execute").envelope["status"] == "no_op"
    assert tree(home.path) == before


@pytest.mark.parametrize(
    ("only", "made"), [("session-index", "session_index.jsonl"), ("history", "history.jsonl")]
)
def test_one_of_the_two(home: Home, only: str, made: str) -> None:
    data = home.execute("--only", only)
    assert [file["name"] for file in data["files"]] == [made]
    assert [path.name for path in home.path.glob("*.jsonl")] == [made]


def test_without_a_database(home: Home) -> None:
    home.database.unlink()
    data = home.execute()
    assert (data["conversations"], data["skipped"]) == (4, {"archived": 1})
    assert home.names() == [
        (BEANS.id, "How do beans climb?"),
        (ROSES.id, "How do I prune roses?"),
        LEGACY_TITLE,
        (STRAY.id, "Nobody has a row for this"),
    ]
    assert home.prompts() == [*PROMPTS, (STRAY.id, "Nobody has a row for this")]


def test_orphans(home: Home) -> None:
    outcome = home.rebuild("--execute", "--include-orphans")
    assert warnings(outcome) == []
    assert outcome.envelope["data"]["skipped"] == {"archived": 1}
    assert home.names()[-1] == (STRAY.id, "Nobody has a row for this")


@pytest.mark.parametrize(("limit", "listed"), [("0", 3), ("1", 1), ("2", 2), ("3", 3)])
def test_the_newest_conversations(home: Home, limit: str, listed: int) -> None:
    data = home.execute("--max-threads", limit)
    assert data["conversations"] == listed
    assert data["skipped"].get("over_limit", 0) == 3 - listed
    ids = [BEANS.id, ROSES.id, LEGACY.id][-listed:]
    assert [line["id"] for line in lines(home.index)] == ids
    assert home.prompts() == [line for line in PROMPTS if line[0] in ids]


def test_a_hundred_by_default(home: Home) -> None:
    many = [Session(100 + n, start=100 + n).say(f"question {n}") for n in range(100)]
    write_snapshot(home.path, many)
    add_rows(home.database, many)
    assert home.execute()["skipped"]["over_limit"] == 3
    assert [line["id"] for line in lines(home.index)] == [one.id for one in many]


# What the old files hold


def index_of(*entries: tuple[str, str]) -> bytes:
    return b"".join(index_line(*entry, "2026-03-01T00:00:00Z") for entry in entries)


def test_names_that_a_person_gave_are_kept(home: Home) -> None:
    archived = index_of((OLD.id, "Kept away"))
    old = index_of(
        (LEGACY.id, "superseded"),
        (OLD.id, "superseded"),
        (ROSES.id, "Roses"),
        (GONE, "Nobody's"),
        (STRAY.id, "A name of an orphan"),
        (BEANS.id, "How do beans climb?"),
        (LEGACY.id, "By hand"),
    )
    home.index.write_bytes(old + archived + b'{"id":"torn')
    data = home.execute("--max-threads", "2")
    file = file_of(data, "session_index.jsonl")
    assert (file["action"], file["lines_before"]) == ("replace", 9)
    assert (file["restored"], file["changed"], file["kept"]) == (0, 2, 3)
    assert file["dropped"] == {"gone": 1, "superseded": 2, "unreadable": 1}
    assert home.names() == [
        (STRAY.id, "A name of an orphan"),
        (BEANS.id, "How do beans climb?"),
        (OLD.id, "Kept away"),
        (ROSES.id, "Roses"),
        (LEGACY.id, "By hand"),
    ]
    assert archived in home.index.read_bytes()


def test_a_name_that_only_repeats_the_message_is_no_name(home: Home) -> None:
    home.index.write_bytes(index_of((BEANS.id, "How do beans climb?")))
    home.execute()
    assert BEANS_TITLE in home.names()


def test_titles_keep_no_name_from_following(home: Home, tmp_path: Path) -> None:
    """A title in the index is none that was given here, so a name given at the source comes."""
    session = Session(8, start=80).say("New\nof two lines")
    first = write_transfer(tmp_path / "first", [session])
    assert call("sync", first, "--execute", "--json").exit_code == 0
    home.execute()
    assert home.names()[-1] == (session.id, "New\nof two lines")
    gone_on = replace(session.say("More"), name="Named there")
    named = write_transfer(tmp_path / "named", [gone_on])
    assert call("sync", named, "--json").sessions[session.id]["follows"] == {"name": "Named there"}


def test_prompts_that_no_transcript_has_are_kept(home: Home) -> None:
    start = int(BEANS.created.timestamp())
    kept = [
        {"session_id": GONE, "ts": 5, "text": "of a session that is gone"},
        {"session_id": OLD.id, "ts": 6, "text": "of an archived one", "more": 1},
        {"session_id": BEANS.id, "ts": start - 9, "text": "How do beans climb?\nAnd peas?"},
    ]
    torn = json.dumps({"session_id": "x", "ts": start + 10**6, "text": "not ended"}).encode()
    home.history.write_bytes(dump([*kept, kept[0]]) + b"no line\n\n" + torn)
    data = home.execute()
    file = file_of(data, "history.jsonl")
    assert (file["restored"], file["kept"], file["trimmed"]) == (4, 4, 0)
    assert file["dropped"] == {"duplicate": 1, "unreadable": 1}
    found = lines(home.history)
    assert found[:3] == kept
    assert found[-1] == json.loads(torn)
    assert [(one["session_id"], one["text"]) for one in found[2:-1]] == PROMPTS
    assert home.rebuild("--execute").envelope["status"] == "no_op"


def test_a_fork_repeats_nothing_of_its_parent(home: Home) -> None:
    fork = BEANS.fork(6).say("A turn of its own")
    write_snapshot(home.path, [fork])
    add_rows(home.database, [fork])
    home.execute()
    assert [text for i, text in home.prompts() if i == fork.id] == ["A turn of its own"]


def test_what_a_model_told_its_subagent_is_no_prompt(home: Home) -> None:
    source = {"subagent": {"thread_spawn": {"parent_thread_id": BEANS.id, "depth": 1}}}
    child = Session(6, start=60, meta={"source": source}).say("Look that up")
    write_snapshot(home.path, [child])
    add_rows(home.database, [child])
    home.execute()
    assert home.names()[-1] == (child.id, "Look that up")
    assert home.prompts() == PROMPTS


# The limit of the history


def limit_history(home: Home, setting: str) -> None:
    (home.path / "config.toml").write_text(f"[history]\n{setting}\n")


def test_the_oldest_go_for_want_of_room(home: Home) -> None:
    home.execute()
    whole = home.history.read_bytes()
    sizes = [len(line) for line in whole.splitlines(keepends=True)]
    home.history.unlink()
    limit_history(home, f"max_bytes = {len(whole)}")
    assert file_of(home.execute(), "history.jsonl")["trimmed"] == 0
    assert home.history.read_bytes() == whole

    limit_history(home, f"max_bytes = {len(whole) - 1}")
    file = file_of(home.execute(), "history.jsonl")
    assert (file["trimmed"], file["lines"]) == (1, 4) == (1, len(sizes) - 1)
    assert home.history.read_bytes() == whole[sizes[0] :]
    assert home.rebuild("--execute").envelope["status"] == "no_op"

    limit_history(home, "max_bytes = 1")
    assert file_of(home.execute(), "history.jsonl")["trimmed"] == 4
    assert home.prompts() == PROMPTS[-1:]

    assert file_of(home.execute("--ignore-history-max-bytes"), "history.jsonl")["trimmed"] == 0
    assert home.history.read_bytes() == whole


def test_a_history_that_is_turned_off_is_left_alone(home: Home) -> None:
    limit_history(home, 'persistence = "none"')
    outcome = home.rebuild("--execute")
    assert "history_off" in warnings(outcome)
    assert [file["name"] for file in outcome.envelope["data"]["files"]] == ["session_index.jsonl"]
    assert not home.history.exists()
    home.execute("--only", "history")
    assert home.prompts() == PROMPTS


# Backups and the replacing itself


def test_what_is_replaced_is_kept(home: Home) -> None:
    old = {home.index: index_of((GONE, "x")), home.history: b"rubbish\n"}
    for path, content in old.items():
        path.write_bytes(content)
        path.chmod(0o640)
    data = home.execute()
    for path, content in old.items():
        backup = file_of(data, path.name)["backup"]
        assert re.fullmatch(re.escape(path.name) + r"\.\d{8}T\d{12}Z\.bak", backup)
        assert (home.path / backup).read_bytes() == content
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert not list(home.path.glob(".*.tmp"))


def test_new_files_have_the_permissions_of_codex(home: Home) -> None:
    umask = os.umask(0o022)
    try:
        home.execute()
    finally:
        os.umask(umask)
    assert stat.S_IMODE(home.history.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.index.stat().st_mode) == 0o644


def test_what_a_killed_run_left_is_swept_away(home: Home) -> None:
    (home.path / ".history.jsonl.123.tmp").write_bytes(b"half a li")
    home.execute()
    assert not list(home.path.glob(".*.tmp"))


def test_without_backup(home: Home) -> None:
    home.index.write_bytes(b"rubbish\n")
    assert file_of(home.execute("--no-backup"), "session_index.jsonl")["backup"] is None
    assert not list(home.path.glob("*.bak"))


def test_a_file_system_without_hard_links(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    home.index.write_bytes(b"rubbish\n")
    backup = file_of(home.execute(), "session_index.jsonl")["backup"]
    assert (home.path / backup).read_bytes() == b"rubbish\n"


def test_a_full_disk_changes_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    home.index.write_bytes(b"rubbish\n")
    before = tree(home.path)
    monkeypatch.setattr(writing, "sync_descriptor", full)
    outcome = home.rebuild("--execute")
    assert (outcome.codes, outcome.exit_code) == (["home_not_writable"], ExitCode.HOME)
    assert tree(home.path, "session-sync") == before


def test_what_another_program_writes_meanwhile_is_not_lost(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.history.write_bytes(b"rubbish\n")
    secured = writing._secured

    def written_to(*given: Any) -> str | None:
        with home.history.open("ab") as stream:
            stream.write(b"more\n")
        return secured(*given)

    monkeypatch.setattr(writing, "_secured", written_to)
    outcome = home.rebuild("--execute", "--only", "history")
    assert (outcome.codes, outcome.exit_code) == (["home_changed"], ExitCode.HOME)
    assert home.history.read_bytes() == b"rubbish\nmore\n"
    assert not list(home.path.glob("*.bak"))


def test_a_name_that_comes_in_meanwhile_is_kept(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Codex may make and name sessions while the transcripts are read."""
    home.index.write_bytes(index_of((GONE, "gone before")))
    new, read = Session(77).id, survey.read_said

    def named_meanwhile(*given: Any, **more: Any) -> survey.Said:
        with home.index.open("ab") as stream:
            stream.write(index_of((new, "Just made"), (ROSES.id, "Just renamed")))
        return read(*given, **more)

    monkeypatch.setattr("codex_session_sync.cli.rebuild_index.read_said", named_meanwhile)
    home.execute()
    names = home.names()
    assert (new, "Just made") in names
    assert (ROSES.id, "Just renamed") in names
    assert GONE not in dict(names)


@pytest.mark.parametrize("name", ["session_index.jsonl", "history.jsonl"])
def test_a_link_is_not_replaced(home: Home, name: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"")
    (home.path / name).symlink_to(tmp_path / "elsewhere")
    outcome = home.rebuild("--execute")
    assert (outcome.codes, outcome.exit_code) == (["path_escapes_home"], ExitCode.HOME)
    assert (home.path / name).is_symlink()


# What cannot be used


def test_an_interrupted_transaction_comes_first(home: Home) -> None:
    package = home.path.parent / "package"
    write_snapshot(package, [Session(8, start=80).say("New")])
    assert call("sync", package, "--execute", "--json").exit_code == 0
    for path in home.path.glob("session-sync/transactions/*/manifest.json"):
        manifest = json.loads(path.read_bytes())
        path.write_text(json.dumps({**manifest, "status": "running", "completed_at": None}))
    before = tree(home.path)
    outcome = home.rebuild("--execute")
    assert (outcome.codes, outcome.exit_code) == (["transaction_interrupted"], 5)
    assert tree(home.path) == before
    assert "transaction_unfinished" in warnings(home.rebuild())


def test_another_command_at_work(home: Home) -> None:
    (home.path / "session-sync").mkdir()
    with home_lock(home.path / "session-sync", "sync"):
        assert home.rebuild("--execute").codes == ["home_locked"]
        assert home.rebuild().exit_code == 0


def test_a_damaged_database(home: Home) -> None:
    home.database.write_bytes(b"this is no database " * 100)
    outcome = home.rebuild()
    assert (outcome.codes, outcome.exit_code) == (["database_unreadable"], ExitCode.HOME)


def test_a_database_without_its_table(home: Home) -> None:
    home.database.unlink()
    make_database(home.path, "CREATE TABLE other (x)")
    assert home.rebuild().codes == ["database_unreadable"]


def test_transcripts_that_are_missing_or_damaged(home: Home) -> None:
    (home.path / BEANS.relative_path).unlink()
    (home.path / ROSES.relative_path).write_bytes(b"no record\n")
    outcome = home.rebuild("--execute")
    told = {w["code"]: w.get("session_id") for w in outcome.envelope["warnings"]}
    assert told == {
        "sessions_without_row": None,
        "transcripts_missing": None,
        "transcript_invalid": ROSES.id,
    }
    assert sorted(home.names()) == sorted([BEANS_TITLE, (ROSES.id, "Roses"), LEGACY_TITLE])
    assert home.prompts() == PROMPTS[-2:]

    home.database.unlink()
    home.index.unlink()
    data = home.execute()
    assert data["skipped"] == {"archived": 1, "unreadable": 1}
    assert [i for i, _ in home.names()] == [LEGACY.id, STRAY.id]


def test_an_empty_home(home: Home) -> None:
    for path in (*home.path.rglob("rollout-*"), home.database):
        path.unlink()
    outcome = home.rebuild("--execute")
    assert outcome.envelope["status"] == "no_op"
    assert not home.index.exists()


# Text


def test_text(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    home.index.write_bytes(index_of((GONE, "x"), (OLD.id, "Kept away")))
    planned = call("rebuild-index")
    assert b"3 conversations, not listed: 1 archived, 1 without a row" in planned.out
    assert b"Nothing was written" in planned.out
    assert "[sessions_without_row]" in planned.err
    done = call("rebuild-index", "--execute").out.decode()
    assert "dropped from session_index.jsonl: 1 gone" in done
    assert re.search(r"session_index\.jsonl +replace +4 +3 +0 +1 +1 +0\n", done)
    assert re.search(r"the old session_index\.jsonl is now session_index\.jsonl\.\w+\.bak\n", done)
    assert b"Nothing to do" in call("rebuild-index", "--execute").out
