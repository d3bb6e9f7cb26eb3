"""``explain`` against what the real Codex lists and opens, for every kind and after accidents."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard

from codexbed import (
    AppServerError,
    CodexHome,
    ModelServer,
    changes,
    copy_home,
    records,
    tree_digest,
)
from real_codex.syncing import Json, Source, file_of, files_of, fresh_home, sync
from real_codex.syncing import call as program
from workbench import call


def explained(home: CodexHome, session: str) -> Any:
    found = call("explain", session, "--codex-home", home.home, "--json")
    assert found.exit_code == 0, found.envelope
    return found.envelope["data"]


def codes(data: Any, *effects: str) -> set[str]:
    return {one["code"] for one in data["findings"] if one["effect"] in effects}


def asked(
    home: CodexHome, sessions: list[str], folder: Path, **how: Any
) -> dict[str, tuple[bool, bool]]:
    """Whether Codex lists each session, as its list comes by default, and opens it."""
    found = {}
    with copy_home(home, folder).app_server() as app:
        listed = {t["id"] for t in app._pages("thread/list", how)}
        for session in sessions:
            try:
                app.resume(session)
                opens = True
            except AppServerError as error:
                opens = "is archived" in str(error)
            found[session] = (session in listed, opens)
    return found


def test_every_kind(source: Source, tmp_path: Path) -> None:
    """The list and the refusals of Codex are foretold for all sessions where they were made."""
    ids = source.ids()
    kinds = source.kinds()
    seen = asked(source.home, ids, tmp_path / "copy")
    told = {}
    before = tree_digest(source.home.home)
    for session in ids:
        data = explained(source.home, session)
        told[session] = (data["listed"], data["opens"])
    wrong = {kinds[i]: (told[i], seen[i]) for i in ids if told[i] != seen[i]}
    assert wrong == {}
    assert changes(before, tree_digest(source.home.home)) == {}


@pytest.fixture
def synced(source: Source, model: ModelServer, tmp_path: Path) -> CodexHome:
    """A home into which one session was synced."""
    home = fresh_home(tmp_path / "user", tmp_path / "home", model)
    plain = source.made["plain"].session_id
    assert sync(home, source.home.home, "--session", plain).code == 0
    return home


def change_row(home: CodexHome, session: str, **values: Any) -> None:
    with closing(sqlite3.connect(home.home / "state_5.sqlite")) as database:
        for column, value in values.items():
            database.execute(f"UPDATE threads SET {column} = ? WHERE id = ?", (value, session))
        database.commit()


def delete_row(home: CodexHome, session: str) -> None:
    with closing(sqlite3.connect(home.home / "state_5.sqlite")) as database:
        database.execute("DELETE FROM threads WHERE id = ?", (session,))
        database.commit()


def change_head(home: CodexHome, session: str, **values: Any) -> None:
    path = file_of(home.home, session)
    head, rest = path.read_bytes().split(b"\n", 1)
    record = orjson.loads(head)
    record["payload"].update(values)
    path.write_bytes(orjson.dumps(record) + b"\n" + rest)


# What can happen to a session.


def _nothing(home: CodexHome, session: str) -> None:
    pass


def _archived(home: CodexHome, session: str) -> None:
    with home.app_server() as app:
        app.archive(session)


def _row_archived(home: CodexHome, session: str) -> None:
    change_row(home, session, archived=1)


def _row_of_exec(home: CodexHome, session: str) -> None:
    change_row(home, session, source="exec")


def _row_of_subagent(home: CodexHome, session: str) -> None:
    change_row(home, session, source='{"subagent":"review"}')


def _gone(home: CodexHome, session: str) -> None:
    file_of(home.home, session).unlink()


def _moved(home: CodexHome, session: str) -> None:
    path = file_of(home.home, session)
    folder = home.home / "sessions" / "2020" / "01" / "01"
    folder.mkdir(parents=True)
    path.rename(folder / path.name)


def _misplaced(home: CodexHome, session: str) -> None:
    path = file_of(home.home, session)
    path.rename(home.home / "sessions" / path.name)


def _misplaced_without_row(home: CodexHome, session: str) -> None:
    delete_row(home, session)
    _misplaced(home, session)


def _put_aside(home: CodexHome, session: str) -> None:
    path = file_of(home.home, session)
    (home.home / "kept").mkdir()
    path.rename(home.home / "kept" / path.name)


def _misnamed(home: CodexHome, session: str) -> None:
    path = file_of(home.home, session)
    path.rename(path.with_name(f"rollout-old-{session}.jsonl"))


def _without_preview(home: CodexHome, session: str) -> None:
    change_row(home, session, preview="")


def _other_mode(home: CodexHome, session: str) -> None:
    change_row(home, session, history_mode="legacy")


def _unknown_provider(home: CodexHome, session: str) -> None:
    change_head(home, session, model_provider="elsewhere")
    change_row(home, session, model_provider="elsewhere")


def _unknown_provider_in_file(home: CodexHome, session: str) -> None:
    change_head(home, session, model_provider="elsewhere")


def _unknown_provider_in_row(home: CodexHome, session: str) -> None:
    change_row(home, session, model_provider="elsewhere")


def _other_provider(home: CodexHome, session: str) -> None:
    _unknown_provider(home, session)
    configure(home)


def configure(home: CodexHome) -> None:
    """Tell Codex of the provider ``elsewhere``."""
    config = home.home / "config.toml"
    config.write_text(
        config.read_text()
        + "\n[model_providers.elsewhere]\nname = 'elsewhere'\nwire_api = 'responses'\n"
        + f"base_url = '{home.server.base_url}'\n"
    )


def _profile(home: CodexHome, session: str) -> None:
    config = home.home / "config.toml"
    config.write_text(
        'profile = "garden"\n' + config.read_text() + '\n[profiles.garden]\nmodel = "mock-model"\n'
    )


def _by_exec(home: CodexHome, session: str) -> None:
    change_head(home, session, source="exec")


def _by_mcp(home: CodexHome, session: str) -> None:
    change_head(home, session, source="mcp")


def _by_others(home: CodexHome, session: str) -> None:
    change_head(home, session, source={"custom": "somebody"})


def _by_unknown(home: CodexHome, session: str) -> None:
    change_head(home, session, source="unknown")


def _by_subagent(home: CodexHome, session: str) -> None:
    change_head(home, session, source={"subagent": "review"})


def _wordless(home: CodexHome, session: str) -> None:
    delete_row(home, session)
    path = file_of(home.home, session)
    path.write_bytes(path.read_bytes().split(b"\n", 1)[0] + b"\n")


def _no_head(home: CodexHome, session: str) -> None:
    path = file_of(home.home, session)
    path.write_bytes(path.read_bytes().split(b"\n", 1)[1])


def _compressed(home: CodexHome, session: str) -> None:
    path = file_of(home.home, session)
    path.with_name(f"{path.name}.zst").write_bytes(zstandard.compress(path.read_bytes()))
    path.unlink()


def _compressed_and_cut(home: CodexHome, session: str) -> None:
    _compressed(home, session)
    path = file_of(home.home, session)
    path.write_bytes(path.read_bytes()[:-200])


def _no_ordinal(home: CodexHome, session: str) -> None:
    path = file_of(home.home, session)
    last = dict(records(path)[-1])
    del last["ordinal"]
    path.write_bytes(path.read_bytes() + orjson.dumps(last) + b"\n")


def _torn(home: CodexHome, session: str) -> None:
    path = file_of(home.home, session)
    path.write_bytes(path.read_bytes() + b'{"timestamp":"2026-01-01T00:00')


def _doubled(home: CodexHome, session: str) -> None:
    path = file_of(home.home, session)
    folder = home.home / "sessions" / "2020" / "01" / "01"
    folder.mkdir(parents=True)
    shutil.copy(path, folder / f"rollout-2020-01-01T00-00-00-{session}.jsonl")


def _no_database(home: CodexHome, session: str) -> None:
    for path in home.home.glob("state_5.sqlite*"):
        path.unlink()


# What is told to help.


@dataclass(frozen=True)
class Patient:
    """A session in a home, what was found of it, and where it came from."""

    home: CodexHome
    session: str
    findings: dict[str, Json]
    source: CodexHome
    folder: Path

    def run(self, code: str, package: Path) -> None:
        """Do what is told in a finding's command, with the package."""
        command = self.findings[code]["command"].split()[1:]
        words = [str(package) if word == "PKG" else word for word in command]
        answer = program(self.home, *words)
        assert answer.status == "ok", answer.document

    def taken_out(self) -> Path:
        """The session's files, moved to a folder of their own."""
        own = self.folder / "own"
        own.mkdir()
        for path in files_of(self.home.home, self.session):
            path.rename(own / path.name)
        return own


def open_once(patient: Patient) -> None:
    with patient.home.app_server() as app:
        app.resume(patient.session)


def list_once(patient: Patient) -> None:
    with patient.home.app_server() as app:
        app.list_threads()


def unarchive(patient: Patient) -> None:
    [command] = re.findall("`codex (.*)`", patient.findings["session_archived"]["remedy"])
    assert patient.home.run(*command.split()).returncode == 0


def speak(patient: Patient) -> None:
    [command] = re.findall("`codex (.*) TEXT`", patient.findings["session_wordless"]["remedy"])
    words = [*command.split(), "--skip-git-repo-check", "hello"]
    assert patient.home.run(*words).returncode == 0
    # What Codex says of a session that was made elsewhere, it says by its first list.
    list_once(patient)


def move_into_place(patient: Patient) -> None:
    remedy = patient.findings["transcript_misplaced"]["remedy"]
    [place] = re.findall(r"to (sessions/[^,]*),", remedy)
    home = patient.home.home
    [path] = home.rglob(f"rollout-*{patient.session}*")
    parts = path.name
    if "YEAR" in place:
        parts = f"rollout-2026-01-02T03-04-05-{patient.session}.jsonl"
        place = "sessions/2026/01/02"
        assert "rollout-YEAR-MONTH-DAYTHOUR-MINUTE-SECOND-ID.jsonl" in remedy
    (home / place).mkdir(parents=True, exist_ok=True)
    path.rename(home / place / parts)


def move_back(patient: Patient) -> None:
    path = file_of(patient.home.home, patient.session)
    year, month, day = path.name[8:18].split("-")
    path.rename(patient.home.home / "sessions" / year / month / day / path.name)


def link(patient: Patient) -> None:
    """Make the old place a link to the new one."""
    path = file_of(patient.home.home, patient.session)
    year, month, day = path.name[8:18].split("-")
    (patient.home.home / "sessions" / year / month / day / path.name).symlink_to(path)


def sync_again(code: str) -> Callable[[Patient], None]:
    return lambda patient: patient.run(code, patient.source.home)


def sync_in_its_place(code: str) -> Callable[[Patient], None]:
    def mend(patient: Patient) -> None:
        patient.taken_out()
        patient.run(code, patient.source.home)

    return mend


def sync_its_own(code: str) -> Callable[[Patient], None]:
    return lambda patient: patient.run(code, patient.taken_out())


def configured(patient: Patient) -> None:
    assert "[model_providers.elsewhere]" in patient.findings["provider_not_configured"]["remedy"]
    configure(patient.home)


def without_profile(patient: Patient) -> None:
    """Put it into a file of its own."""
    config = patient.home.home / "config.toml"
    text = config.read_text().removeprefix('profile = "garden"\n')
    text, profile = text.split("[profiles.garden]\n")
    config.write_text(text)
    config.with_name("garden.config.toml").write_text(profile)
    options = ("--profile", "garden", "exec", "resume", "--skip-git-repo-check")
    assert "`--profile garden`" in patient.findings["profile_refused"]["remedy"]
    assert patient.home.run(*options, patient.session, "hello").returncode == 0


def move_double_away(patient: Patient) -> None:
    [other] = re.findall("lies at (.*):", patient.findings["transcript_doubled"]["message"])
    (patient.home.home / other).unlink()


DATABASE_ONLY = {"useStateDbOnly": True}
"""What Codex itself fills in as it looks through its files stays unseen in such a list."""


@dataclass(frozen=True)
class Accident:
    """Something that happens, the codes told, and what helps; ``how`` Codex is asked for a list."""

    happens: Callable[[CodexHome, str], None]
    codes: frozenset[str] = frozenset()
    mend: Callable[[Patient], None] | None = None
    how: Mapping[str, Any] = field(default_factory=dict)
    notes: frozenset[str] = frozenset()
    mended: tuple[bool, bool] = (True, True)
    """Whether it is listed, and opens, once it is mended."""


def accident(
    happens: Callable[[CodexHome, str], None],
    codes: str = "",
    mend: Callable[[Patient], None] | None = None,
    notes: str = "",
    **more: Any,
) -> Accident:
    return Accident(happens, frozenset(codes.split()), mend, notes=frozenset(notes.split()), **more)


BY_ID = (False, True)
BOTH = "provider_not_configured provider_hidden"
ACCIDENTS = {
    "nothing": accident(_nothing),
    "archived": accident(_archived, "session_archived", unarchive),
    "row archived": accident(_row_archived, "row_unlike_transcript", open_once, how=DATABASE_ONLY),
    "row of exec": accident(_row_of_exec, "row_unlike_transcript", open_once, how=DATABASE_ONLY),
    "row of a subagent": accident(
        _row_of_subagent, "row_unlike_transcript", open_once, how=DATABASE_ONLY
    ),
    "preview": accident(_without_preview, "row_incomplete", open_once, how=DATABASE_ONLY),
    "mode": accident(_other_mode, mend=open_once, notes="history_mode_wrong"),
    "row": accident(delete_row, mend=open_once, notes="row_missing"),
    "database": accident(_no_database, mend=list_once, notes="database_missing"),
    "file gone": accident(_gone, "row_without_transcript", sync_again("row_without_transcript")),
    "file moved": accident(_moved, "row_elsewhere", move_back),
    "file moved, and linked": accident(_moved, "row_elsewhere", link),
    "misplaced": accident(_misplaced, "transcript_misplaced", move_into_place),
    "misplaced without a row": accident(
        _misplaced_without_row, "transcript_misplaced", move_into_place
    ),
    "put aside": accident(_put_aside, "transcript_misplaced", move_into_place),
    "unknown provider": accident(_unknown_provider, BOTH, configured, mended=BY_ID),
    "unknown provider, mapped": accident(
        _unknown_provider, BOTH, sync_its_own("provider_not_configured")
    ),
    "unknown provider in the file": accident(
        _unknown_provider_in_file, BOTH, sync_its_own("provider_not_configured")
    ),
    "unknown provider in the row": accident(
        _unknown_provider_in_row,
        BOTH,
        sync_its_own("provider_not_configured"),
        how=DATABASE_ONLY,
    ),
    "other provider": accident(_other_provider, "provider_hidden"),
    "profile": accident(_profile, "profile_refused", without_profile),
    "by exec": accident(_by_exec, "source_hidden"),
    "by mcp": accident(_by_mcp, "source_hidden"),
    "by others": accident(_by_others, "source_hidden"),
    "by unknown": accident(_by_unknown, "source_hidden"),
    "by a subagent": accident(_by_subagent, "subagent_hidden"),
    "wordless": accident(_wordless, "session_wordless", speak, notes="row_missing"),
    "head": accident(_no_head, "transcript_invalid", sync_in_its_place("transcript_invalid")),
    "compressed": accident(_compressed),
    "compressed and cut": accident(
        _compressed_and_cut, "transcript_invalid", sync_in_its_place("transcript_invalid")
    ),
    "ordinal": accident(_no_ordinal, "ordinal_missing", sync_its_own("ordinal_missing")),
    "torn": accident(_torn, notes="transcript_torn"),
    "doubled": accident(_doubled, mend=move_double_away, notes="transcript_doubled"),
}


@pytest.mark.parametrize("name", ACCIDENTS)
def test_an_accident(synced: CodexHome, source: Source, tmp_path: Path, name: str) -> None:
    """What is told of it is so in Codex, and what is told to help does."""
    case = ACCIDENTS[name]
    session = source.made["plain"].session_id
    case.happens(synced, session)
    data = explained(synced, session)
    assert codes(data, "hides", "prevents") == case.codes
    assert codes(data, "note") - {"cwd_filters"} == case.notes
    assert all(one["remedy"] for one in data["findings"])
    listed, opens = asked(synced, [session], tmp_path / "copy", **case.how)[session]
    # A row whose session cannot be opened may be in the list all the same.
    assert opens is data["opens"]
    assert listed is data["listed"] or not opens
    if case.mend is None:
        return

    findings = {one["code"]: one for one in data["findings"]}
    case.mend(Patient(synced, session, findings, source.home, tmp_path))
    data = explained(synced, session)
    again = asked(synced, [session], tmp_path / "mended", **case.how)[session]
    assert again == case.mended
    assert (data["listed"], data["opens"]) == case.mended
    assert not case.notes & codes(data, "note")


def test_a_name_that_is_no_rollouts(synced: CodexHome, source: Source, tmp_path: Path) -> None:
    """Its remedy is another name; without a row, since that has the old one."""
    session = source.made["plain"].session_id
    delete_row(synced, session)
    _misnamed(synced, session)
    data = explained(synced, session)
    assert codes(data, "prevents") == {"transcript_misplaced"}
    assert asked(synced, [session], tmp_path / "copy")[session] == (False, False)
    findings = {one["code"]: one for one in data["findings"]}
    move_into_place(Patient(synced, session, findings, source.home, tmp_path))
    assert asked(synced, [session], tmp_path / "mended")[session] == (True, True)


def test_a_list_of_the_other_provider(synced: CodexHome, source: Source, tmp_path: Path) -> None:
    session = source.made["plain"].session_id
    _other_provider(synced, session)
    [cause] = [c for c in explained(synced, session)["findings"] if c["effect"] == "hides"]
    [option] = re.findall("`(-c .*)`", cause["remedy"])
    for options, expected in ((option.split(), True), ([], False)):
        with synced.app_server(*options) as app:
            assert (session in {t["id"] for t in app._pages("thread/list", {})}) is expected


def test_turns_that_a_row_keeps_from_being_shown(synced: CodexHome, source: Source) -> None:
    session = source.made["plain"].session_id
    _other_mode(synced, session)
    with synced.app_server() as app, pytest.raises(AppServerError):
        app.turns(session)
    with synced.app_server() as app:
        app.resume(session)
    with synced.app_server() as app:
        assert app.turns(session)


def test_a_database_that_is_damaged(synced: CodexHome, source: Source, tmp_path: Path) -> None:
    """It is said as of any command; what the hint says brings the session back."""
    session = source.made["plain"].session_id
    for path in synced.home.glob("state_5.sqlite-*"):
        path.unlink()
    database = synced.home / "state_5.sqlite"
    database.write_bytes(b"no database" * 1000)
    found = call("explain", session, "--codex-home", synced.home, "--json")
    assert (found.exit_code, found.codes) == (4, ["database_unreadable"])
    assert "move the database away" in found.envelope["errors"][0]["hint"]
    database.rename(tmp_path / "damaged")
    assert asked(synced, [session], tmp_path / "mended")[session] == (True, True)


def test_a_profile_of_an_old_release(legacy_source: Source, tmp_path: Path) -> None:
    """It is chosen as it was, and opens."""
    session = legacy_source.made["legacy"].session_id
    home = copy_home(legacy_source.home, tmp_path / "home")
    _profile(home, session)
    assert "profile_refused" not in codes(explained(home, session), "prevents")
    assert asked(home, [session], tmp_path / "copy")[session][1]


def test_a_damaged_database_is_replaced_by_codex(synced: CodexHome, source: Source) -> None:
    session = source.made["plain"].session_id
    for path in synced.home.glob("state_5.sqlite-*"):
        path.unlink()
    (synced.home / "state_5.sqlite").write_bytes(b"no database" * 1000)
    with synced.app_server() as app:
        assert session in {t["id"] for t in app._pages("thread/list", {})}
    assert list(synced.home.glob("db-backups/*/state_5.sqlite"))
    assert explained(synced, session)["listed"]


def test_a_directory_that_lists_go_by(synced: CodexHome, source: Source) -> None:
    session = source.made["plain"].session_id
    data = explained(synced, session)
    assert codes(data, "note") == {"cwd_filters"}
    here = data["session"]["cwd"]
    with synced.app_server() as app:
        for cwd, expected in ((here, True), (str(synced.elsewhere), False)):
            found = {t["id"] for t in app._pages("thread/list", {"cwd": cwd})}
            assert (session in found) is expected


def test_a_session_that_was_rolled_back(synced: CodexHome, source: Source) -> None:
    session = source.made["plain"].session_id
    options = ("--latest", "--execute", "--codex-home", synced.home, "--json")
    assert call("rollback", *options).exit_code == 0
    data = explained(synced, session)
    assert codes(data, "prevents") == {"session_gone"}
    assert not data["listed"]
    [cause] = data["findings"]
    command = cause["command"].split()[1:]
    again = call(*command, "--codex-home", synced.home, "--json")
    assert json.loads(again.out)["status"] == "ok"
    assert codes(explained(synced, session), "hides", "prevents") == set()


def test_a_session_that_is_open(synced: CodexHome, source: Source) -> None:
    session = source.made["plain"].session_id
    with synced.app_server() as app:
        app.resume(session)
        assert "session_busy" in codes(explained(synced, session), "note")
    assert "session_busy" not in codes(explained(synced, session), "note")


def test_nobody_knows_it(synced: CodexHome) -> None:
    found = call("explain", "ffffffff", "--codex-home", synced.home, "--json")
    assert (found.exit_code, found.codes) == (2, ["session_unknown"])


def test_a_directory_that_is_not_here(synced: CodexHome, source: Source, tmp_path: Path) -> None:
    session = source.made["plain"].session_id
    change_row(synced, session, cwd=str(tmp_path / "away"))
    assert codes(explained(synced, session), "note") == {"cwd_missing"}
    (tmp_path / "away").mkdir()
    assert codes(explained(synced, session), "note") == {"cwd_filters"}
