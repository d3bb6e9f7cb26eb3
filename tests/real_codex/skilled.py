"""The project as a skill of a real Codex home, and an agent that goes by its SKILL.md."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import sys
import sysconfig
import uuid
import zipfile
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import make_release
from codexbed import AppServer, CodexHome, ModelServer, codex_binary
from codexbed.agent import Ran, ScriptedAgent, Shell, Work, told_by_developer

Json = dict[str, Any]
Body = Mapping[str, Any]
Calls = Generator[Shell, Ran, Ran]

NAME = make_release.NAME
TURN_SECONDS = 150.0
PERMISSION = "ask for permission"
"""What each hint says where a sandbox may be what refuses."""

# The homes of tests lie in the temporary folder, where a sandbox lets everybody write.
_REAL_SANDBOX = "[sandbox_workspace_write]\nexclude_slash_tmp = true\n"

# What Codex shows of an output to models that it knows; others see less than SKILL.md has.
_SHOWN = "tool_output_token_limit = 10000\n"

_UV = """\
#!{python}
import os, sys, urllib.request
try:
    urllib.request.urlopen("{index}/models").close()
except OSError as error:
    sys.exit(f"error sending request: {{error}}")
os.rmdir("{there}")
os.symlink("{packages}", "{there}")
"""


# -- the skill in a home ------------------------------------------------------------------------


def unpacked_skill(folder: Path) -> Path:
    """The folder of the skill as its archive unpacks, with the modes that the archive has."""
    with zipfile.ZipFile(make_release.make_skill(folder)) as archive:
        archive.extractall(folder)
        for member in archive.infolist():
            (folder / member.filename).chmod(member.external_attr >> 16 & 0o777)
    return folder / NAME


def agent_home(skill: Path, target: Path, model: ModelServer, **settings: Any) -> CodexHome:
    """A home with the skill and no environment for it, whose user has Python and Codex."""
    given = {"approval_policy": "on-request", "sandbox_mode": "workspace-write", **settings}
    user = target / "user"
    home = CodexHome(target / "home", user, model, extra_config=_REAL_SANDBOX, **given).prepare()
    config = home.home / "config.toml"
    config.write_text(_SHOWN + config.read_text())
    shutil.copytree(skill, home.home / "skills" / NAME)
    programs = user / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(Path(sys.executable).resolve())
    (programs / "codex").symlink_to(codex_binary(home.version))
    for profile in (".profile", ".zprofile"):  # a login shell begins with a PATH of its own
        (user / profile).write_text(f'export PATH="{programs}:$PATH"\n')
    return home


def launcher_of(home: CodexHome) -> Path:
    """Where the launcher is."""
    return home.home / "skills" / NAME / "scripts" / NAME


def add_environment(home: CodexHome) -> None:
    """Make the launcher's environment of the packages that these tests run with."""
    root = launcher_of(home).parents[1]
    place = Path(runpy.run_path(str(launcher_of(home)))["places"](str(root), "")[0])
    packages = Path(sysconfig.get_path("platlib"))
    there = place / packages.relative_to(sys.prefix)
    there.parent.mkdir(parents=True)
    there.symlink_to(packages)
    # What the detector of secrets prepares lies there as well; a sandbox lets it only be read.
    (place / "share").symlink_to(Path(sys.prefix) / "share")
    (place / "pyvenv.cfg").touch()
    shutil.copy(root / "pyproject.toml", place)


def add_installer(home: CodexHome, index: str) -> None:
    """Give the user an installer that asks an index on loopback, and takes what is here."""
    packages = Path(sysconfig.get_path("platlib"))
    there = packages.relative_to(sys.prefix)  # it is called in the environment being made
    uv = home.user_home / "bin" / "uv"
    uv.write_text(_UV.format(python=sys.executable, index=index, packages=packages, there=there))
    uv.chmod(0o755)


def require_sandbox(home: CodexHome) -> None:
    """Skip the test loudly where Codex's sandbox does not run, fail it on CI."""
    mark = home.home / "written-in-the-sandbox"
    done = home.run("sandbox", "--", "/bin/sh", "-c", f"echo it runs; touch '{mark}'")
    assert not mark.exists()
    if "it runs" in done.stdout:
        return
    said = f"CODEX'S SANDBOX IS NOT TESTED, it does not run here: {done.stderr.strip()[-500:]}"
    if os.environ.get("CI"):
        pytest.fail(said)
    pytest.skip(said)


# -- the agent ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Turn:
    """One turn of an agent: what it ran, what the user was asked, what it said in the end."""

    agent: ScriptedAgent
    asked: list[Json]
    said: str

    @property
    def ran(self) -> list[Ran]:
        return self.agent.ran


def take_turn(
    home: CodexHome,
    app: AppServer,
    session_id: str,
    text: str,
    begin: Callable[[Body], Work],
) -> Turn:
    """Have the user say something, and the agent work on it."""
    agent = ScriptedAgent(begin)
    text = f"{text} ({uuid.uuid4()})"
    home.server.play(agent, when=text)
    before = len(app.approvals)
    turn = app.start_turn(session_id, text, timeout=TURN_SECONDS)
    if agent.error is not None:
        raise agent.error
    said = [item["text"] for item in turn["items"] if item["type"] == "agentMessage"]
    return Turn(agent, app.approvals[before:], said[-1])


def skill_file(body: Body) -> Path:
    """The SKILL.md of this project, by what a request tells the model of its skills."""
    told = told_by_developer(body)
    roots = dict(re.findall(r"^- `(\w+)` = `(.+)`$", told, re.MULTILINE))
    listed = re.search(rf"^- {NAME}: .*\(file: (\w+)/(.+)\)$", told, re.MULTILINE)
    assert listed, told
    return Path(roots[listed[1]]) / listed[2]


@dataclass(frozen=True)
class Skilled:
    """An agent that knows where the launcher is."""

    launcher: Path

    @classmethod
    def by(cls, body: Body) -> Skilled:
        """One that knows it from what it was told."""
        return cls(skill_file(body).parent / "scripts" / NAME)

    def call(self, *words: object, because: str | None = None) -> Shell:
        """A call of the program."""
        return Shell.words(self.launcher, *words, "--json", because=because)

    def permitted(self, *words: object) -> Calls:
        """A call that is made again outside the sandbox if its hint says so, and only then."""
        ran = yield self.call(*words)
        if ran.code == 4 and any(PERMISSION in one["hint"] for one in ran.document["errors"]):
            ran = yield self.call(*words, because=f"May I {words[0]} outside of the sandbox?")
        return ran

    def bring_in(self, package: Path) -> Work:
        """The path of SKILL.md: look, sync, check."""
        looked = yield self.call("inspect-package", package)
        if looked.code != 0:
            return f"stopped: {codes(looked)}"
        actions = looked.document["data"]["counts"]["action"]
        if not WRITTEN & actions.keys():
            return "nothing to do"
        done = yield from self.permitted("sync", package, "--execute")
        if done.code is None:
            return "stopped: not permitted"
        if done.code != 0:
            return f"{done.document['status']}: {codes(done)}"
        again = yield self.call("sync", package)
        if again.document["status"] != "no_op":
            return f"not all came in: {again.document['data']['counts']}"
        seen = yield from self.permitted("verify")
        number = done.document["data"]["transaction_id"]
        return f"{actions} by {number}, as Codex shows it: {seen.document['status']}"

    def take_back(self) -> Work:
        """The undoing of SKILL.md: show, undo, check."""
        shown = yield self.call("rollback", "--latest")
        if shown.code != 0:
            return f"stopped: {codes(shown)}"
        undone = yield from self.permitted("rollback", "--latest", "--execute")
        if undone.code is None:
            return "stopped: not permitted"
        left = [one for one in undone.document["data"]["sessions"] if one["result"] != "undone"]
        return f"{undone.document['status']}, {len(left)} kept"


WRITTEN = {"import", "fast_forward", "branch"}
"""The actions that a sync executes."""


def codes(ran: Ran) -> list[str]:
    """The codes of the errors that a call reported."""
    return [error["code"] for error in ran.document["errors"]]
