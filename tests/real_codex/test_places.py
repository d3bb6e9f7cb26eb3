"""Sessions of another machine's directories and provider, resumed by the real Codex here."""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from codexbed import CURRENT, LEGACY, CodexHome, ModelServer, records
from codexbed.app_server import ALL_SOURCES, AppServer, AppServerError
from real_codex.syncing import (
    Answer,
    call,
    file_of,
    fresh_home,
    pack,
    plan,
    shared,
    sync,
)

Json = dict[str, Any]

KINDS = {"current": CURRENT, "legacy": LEGACY}
SETTINGS = ("session_meta", "turn_context")


@dataclass(frozen=True)
class Away:
    """A machine that is not here: its directories are gone, what it sent is left.

    ``first`` and ``later`` are its home after one turn, and after a turn in another directory.
    """

    user: Path
    first: Path
    later: Path
    ids: dict[str, str]


@pytest.fixture(scope="module")
def away(base: Path, model: ModelServer) -> Away:
    """Sessions that may write to directories beside their own, made by both releases."""

    def make(folder: Path) -> Away:
        user = folder / "user"
        extra, added = user / "extra", user / "added"
        for path in (extra, added):
            path.mkdir(parents=True)
        config = f"[sandbox_workspace_write]\nwritable_roots = [{json.dumps(str(extra))}]\n"
        ids = {}
        for kind, version in KINDS.items():
            home = CodexHome(
                folder / kind,
                user,
                model,
                version=version,
                sandbox_mode="workspace-write",
                extra_config=config,
            ).prepare()
            options = ("--json", "--skip-git-repo-check", "--add-dir", str(added))
            done = home.run("exec", *options, f"{kind}: one")
            assert done.returncode == 0, done.stderr
            ids[kind] = str(json.loads(done.stdout.splitlines()[0])["thread_id"])
            shutil.copytree(
                home.home / "sessions", folder / "first" / "sessions", dirs_exist_ok=True
            )
            home.exec_resume(ids[kind], f"{kind}: two", cwd=home.elsewhere)
            shutil.copytree(home.home, folder / "later", dirs_exist_ok=True)
        # Both releases have rows in a database of their own; the files are what is sent.
        for path in (folder / "later").glob("*.sqlite*"):
            path.unlink()
        for name in ("first", "later"):
            (folder / name / "installation_id").write_text(str(uuid.UUID(int=7)))
        user.rename(folder / "gone")
        return Away(user, folder / "first", folder / "later", ids)

    return shared(base, "away", make)[1]


@pytest.fixture
def here(tmp_path: Path, model: ModelServer) -> CodexHome:
    """A home with a database, and the directories of its user."""
    home = fresh_home(tmp_path / "user", tmp_path / "home", model)
    home.exec("own", cwd=home.elsewhere)
    return home


def mapped(away: Away, home: CodexHome) -> tuple[str, ...]:
    return ("--map-path", f"{away.user}={home.user_home}")


def contents(home: Path, session_id: str, *kinds: str) -> list[Json]:
    """The records of a session, of some kinds or all."""
    found = records(file_of(home, session_id))
    return [record for record in found if not kinds or record["type"] in kinds]


def settings_of(home: Path, session_id: str) -> str:
    """All settings of a session, as text, without what is only said to the model."""
    found = []
    for record in contents(home, session_id):
        payload = record["payload"]
        if payload.get("type") == "thread_settings_applied":
            found.append(payload["thread_settings"])
        elif record["type"] in SETTINGS:
            found.append({k: v for k, v in payload.items() if k != "base_instructions"})
    return json.dumps(found)


def said_by(home: Path, session_id: str) -> list[Json]:
    """What is no setting."""
    return [
        record["payload"]
        for record in contents(home, session_id)
        if record["type"] not in SETTINGS
        and record["payload"].get("type") != "thread_settings_applied"
    ]


def listed_in(app: AppServer, cwd: Path) -> set[str]:
    """The sessions that Codex lists for a directory."""
    asked: Json = {"archived": False, "modelProviders": [], "sourceKinds": list(ALL_SOURCES)}
    return {t["id"] for t in app.request("thread/list", {**asked, "cwd": str(cwd)})["data"]}


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_is_of_this_machine(
    away: Away, here: CodexHome, kind: str, trusted: bool
) -> None:
    options = ["--trust-package"] if trusted else []
    done = sync(here, away.first, *mapped(away, here), *options)
    assert done.status == "ok"
    session = away.ids[kind]
    before, after = settings_of(away.first, session), settings_of(here.home, session)
    assert str(away.user) in before
    assert str(away.user) not in after
    assert after.count(str(here.user_home / "extra")) >= 1
    assert after.count(str(here.user_home / "added")) >= 1
    if trusted:
        assert after == before.replace(str(away.user), str(here.user_home))
    assert said_by(here.home, session) == said_by(away.first, session)
    assert done.sessions[session]["local_cwd"] == str(here.project)


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_on_in_its_new_directory(
    away: Away, here: CodexHome, model: ModelServer, kind: str, trusted: bool
) -> None:
    for folder in ("extra", "added"):
        (here.user_home / folder).mkdir()
    options = ["--trust-package"] if trusted else []
    warnings = sync(here, away.first, *mapped(away, here), *options).warnings
    assert warnings.keys() == ({"package_trusted"} if options else set())
    session = away.ids[kind]
    with here.app_server() as app:
        assert session in listed_in(app, here.project)
        assert session not in listed_in(app, here.elsewhere)
        taken_up = app.resume(session)
        assert taken_up["cwd"] == str(here.project)
        if trusted and kind == "current":
            roots = ("project", "added", "extra")
            assert taken_up["runtimeWorkspaceRoots"] == [str(here.user_home / r) for r in roots]
        probe = f"{kind} {here.home}: where?"
        app.start_turn(session, probe)
    [request] = model.requests_with(probe)
    told = [text for text in texts(request) if text.startswith("<environment_context>")]
    assert f"<cwd>{away.user}/project</cwd>" in told[0]
    assert f"<cwd>{here.project}</cwd>" in told[-1]


def texts(request: Json) -> list[str]:
    """The texts of the messages in a request."""
    return [
        part["text"]
        for item in request["input"]
        if item.get("type") == "message"
        for part in item["content"]
        if "text" in part
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_session_of_a_directory(away: Away, here: CodexHome, kind: str) -> None:
    chosen = ("--session", away.ids[kind])
    assert sync(here, away.first, *mapped(away, here), *chosen).status == "ok"
    assert last(here) == away.ids[kind]


def last(home: CodexHome) -> str:
    """Carry on the last session of the home's project, as Codex finds it; its id."""
    done = home.run("exec", "resume", "--json", "--skip-git-repo-check", "--last", "more")
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout.splitlines()[0])["thread_id"])


@pytest.mark.parametrize("ruled", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_goes_on_keeps_its_directory_where_its_source_went_on_elsewhere(
    away: Away, here: CodexHome, kind: str, ruled: bool
) -> None:
    session = away.ids[kind]
    chosen = ("--session", session)
    assert sync(here, away.first, *mapped(away, here), *chosen).status == "ok"
    # Neither what is remembered nor another rule takes it away from there.
    rule = ("--map-path", f"{away.user}={here.user_home}/nowhere") if ruled else ()
    done = sync(here, away.later, *rule, *chosen)
    assert done.sessions[session]["result"] == "fast_forwarded"
    assert done.warnings == {}
    contexts = contents(here.home, session, *SETTINGS)
    assert {record["payload"]["cwd"] for record in contexts} == {str(here.project)}
    assert str(away.user) not in settings_of(here.home, session)
    with here.app_server() as app:
        assert session in listed_in(app, here.project)
        assert app.resume(session)["cwd"] == str(here.project)
    assert last(here) == session


def test_a_provider_of_another_name(away: Away, here: CodexHome) -> None:
    """Mapped, a session is listed with those of the provider here and resumes with it."""
    session = away.ids["current"]
    config = here.home / "config.toml"
    config.write_text(config.read_text().replace("mock", "local-mock"))
    planned = plan(here, away.first, *mapped(away, here))
    assert planned.warnings == {"provider_not_configured": set(away.ids.values())}
    done = sync(here, away.first, *mapped(away, here), "--map-provider", "mock=local-mock")
    assert "provider_not_configured" not in done.warnings
    assert '"mock"' not in settings_of(here.home, session)
    with here.app_server() as app:
        asked: Json = {"sourceKinds": list(ALL_SOURCES), "modelProviders": ["local-mock"]}
        assert session in {t["id"] for t in app.request("thread/list", asked)["data"]}
        assert app.resume(session)["modelProvider"] == "local-mock"
        app.start_turn(session, "with another provider")


def test_a_provider_that_is_not_configured(away: Away, here: CodexHome) -> None:
    """The session is imported all the same; once the provider is configured it resumes."""
    session = away.ids["current"]
    config = here.home / "config.toml"
    before = config.read_text()
    config.write_text(before.replace("mock", "local-mock"))
    done = sync(here, away.first, *mapped(away, here))
    assert done.sessions[session]["result"] == "imported"
    assert done.warnings["provider_not_configured"] == set(away.ids.values())
    with here.app_server() as app, pytest.raises(AppServerError, match="no longer configured"):
        app.resume(session)
    config.write_text(before)
    with here.app_server() as app:
        assert app.resume(session)["modelProvider"] == "mock"


@pytest.mark.parametrize("name", ["openai", "ollama", "lmstudio", "amazon-bedrock", "oss", "azure"])
def test_built_in_providers_are_those_that_resume(away: Away, here: CodexHome, name: str) -> None:
    session = away.ids["current"]
    done = sync(here, away.first, *mapped(away, here), "--map-provider", f"mock={name}")
    with here.app_server() as app:
        if "provider_not_configured" in done.warnings:
            with pytest.raises(AppServerError, match="no longer configured"):
                app.resume(session)
        else:
            assert app.resume(session)["modelProvider"] == name
    assert ("provider_not_configured" in done.warnings) == (name in ("oss", "azure"))


WINDOWS = "C:\\Users\\alice"


def test_to_windows_and_back(base: Path, model: ModelServer, tmp_path: Path) -> None:
    """A conversation carried to Windows and back is the one that is here; what it got there too."""
    home = CodexHome(tmp_path / "linux", tmp_path / "user", model).prepare()
    session = home.exec("one")
    there = fresh_home(tmp_path / "other user", tmp_path / "windows", model)
    config = there.home / "config.toml"
    config.write_text(config.read_text().replace("mock", "local-mock"))
    there.exec("its own")
    rules = ("--map-path", f"{home.user_home}={WINDOWS}", "--map-provider", "mock=local-mock")
    first = sync(there, home.home, *rules)
    assert first.sessions[session]["local_cwd"] == f"{WINDOWS}\\project"
    assert first.warnings == {"cwd_missing": {session}}
    assert f"{WINDOWS}\\project" in {
        r["payload"]["cwd"] for r in contents(there.home, session, *SETTINGS)
    }
    chosen = ("--session", session)
    for number, form in enumerate(("native", "transfer-v1")):
        package = tmp_path / f"back{number}"
        assert pack(there, package, *chosen, "--format", form).code == 0
        back = call(home, "sync", package, "--execute")
        assert classes(back) == {session: "unchanged"}
        assert back.sessions[session]["local_cwd"] == str(home.project)
        # A machine that has nothing of it takes it back to Linux.
        third = fresh_home(tmp_path / f"user{number}", tmp_path / f"third{number}", model)
        back_again = (f"{WINDOWS}={third.user_home}", "--map-provider", "local-mock=mock")
        done = sync(third, package, "--map-path", *back_again)
        assert done.warnings == {}
        assert done.sessions[session]["local_cwd"] == str(third.project)
        with third.app_server() as app:
            assert app.resume(session)["cwd"] == str(third.project)
    there.exec_resume(session, "two", cwd=there.project)
    assert pack(there, tmp_path / "grown", *chosen).code == 0
    back = call(home, "sync", tmp_path / "grown", "--execute")
    assert classes(back) == {session: "fast_forward_import"}
    assert back.warnings == {}
    assert WINDOWS not in settings_of(home.home, session).replace("\\\\", "\\")
    assert '"local-mock"' not in settings_of(home.home, session)
    with home.app_server() as app:
        taken_up = app.resume(session)
        assert (taken_up["cwd"], taken_up["modelProvider"]) == (str(home.project), "mock")
        assert len(app.turns(session)) == 2


def classes(answer: Answer) -> dict[str, str]:
    return {i: s["classification"] for i, s in answer.sessions.items()}
