"""The launcher, run as a process from a small copy of the folder that holds a stub program."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pty = pytest.importorskip("pty", reason="the stand-ins are shell scripts")

ROOT = Path(__file__).parents[2]
LAUNCHER = ROOT / "scripts" / "codex-session-sync"
BOOTSTRAP = ROOT / "scripts" / "codex_session_sync_bootstrap.py"

STUB = """\
import sys

def main():
    import probe
    print(repr({
        "arguments": sys.argv[1:],
        "probe": probe.__file__,
        "made_for": probe.REQUIREMENTS,
        "modules": sorted(sys.modules),
        "pycache": sys.pycache_prefix,
    }))
    return 3 if "--three" in sys.argv else 0
"""

# Stand-ins for uv: they run in the environment being made and are given `pip install … PACKAGE …`.
CALLED = 'echo $$ >> "$UV_CALLS"\n'
INSTALLS = "cd lib/python*/site-packages && echo \"REQUIREMENTS = r'''$*'''\" > probe.py\n"
SLOW = "sleep 1.5\n"
HELD = 'while [ ! -e "$UV_CALLS.go" ]; do sleep 0.05; done\n'
HANGS = "exec sleep 60\n"

# pip finds no package, whatever this machine has set.
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}

# Started first, this takes from root what lets it write where the mode bits say no.
AS_A_USER = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 1); os.execv(sys.argv[1], sys.argv[1:])"
)


class Skill:
    """A bare copy of the folder, with the tools that a call of its launcher finds."""

    def __init__(self, root: Path, beside: Path) -> None:
        self.root = root
        self.launcher = root / "scripts" / LAUNCHER.name
        self.tools = beside / "tools"
        self.calls = beside / "calls"
        self.cache = beside / "cache"
        self.beside = beside
        self.pip = OFFLINE
        package = root / "scripts" / "codex_session_sync" / "cli"
        package.mkdir(parents=True)
        self.tools.mkdir()
        shutil.copy(LAUNCHER, self.launcher)
        shutil.copy(BOOTSTRAP, root / "scripts")
        (package.parent / "__init__.py").touch()
        (package / "__init__.py").touch()
        (package / "main.py").write_text(STUB)
        self.depend_on("probe")

    def depend_on(self, *requirements: str) -> None:
        """Write a pyproject.toml with these dependencies."""
        text = f'[project]\nname = "x"\ndependencies = {json.dumps(requirements)}\n'
        (self.root / "pyproject.toml").write_text(text)

    def uv(self, script: str) -> None:
        """Put a stand-in for uv on the PATH."""
        tool = self.tools / "uv"
        tool.write_text(f"#!/bin/sh\n{CALLED}{script}")
        tool.chmod(0o755)

    def without(self, *modules: str) -> dict[str, str]:
        """Return the variables that hide modules from the launcher's Python."""
        folder = self.beside / "-".join(["without", *modules])
        folder.mkdir(exist_ok=True)
        lines = [f"sys.modules[{module!r}] = None\n" for module in modules]
        (folder / "sitecustomize.py").write_text("".join(["import sys\n", *lines]))
        return {"PYTHONPATH": str(folder)}

    def start(self, *arguments: str, prefix: tuple[str, ...] = (), **variables: str) -> Any:
        """Start the launcher, in a process group of its own."""
        hidden = {"CODEX_SESSION_SYNC_ENV_DIR", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}
        inherited = {k: v for k, v in os.environ.items() if k not in hidden}
        own = {
            "PATH": f"{self.tools}{os.pathsep}{os.defpath}",
            "XDG_CACHE_HOME": str(self.cache),
            "UV_CALLS": str(self.calls),
        }
        return subprocess.Popen(
            [*prefix, sys.executable, str(self.launcher), *arguments],
            env=inherited | self.pip | own | variables,
            cwd=self.beside,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def call(self, *arguments: str, **options: Any) -> Result:
        """Run the launcher to its end."""
        return Result(self.start(*arguments, **options))

    def installs(self) -> int:
        """Return how often the stand-in for uv was called."""
        return len(self.calls.read_text().splitlines()) if self.calls.exists() else 0

    def leftovers(self) -> list[Path]:
        """Return what a builder left behind beside the environment."""
        return list(self.root.glob(".venv/*.tmp"))


class Result:
    """What a call ended with."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.stdout, self.stderr = process.communicate(timeout=120)
        self.code = process.returncode

    def program(self) -> dict[str, Any]:
        """Return what the stub told of itself."""
        assert self.code in (0, 3), self.stderr
        told = ast.literal_eval(self.stdout)
        assert isinstance(told, dict)
        return told

    def error(self) -> dict[str, Any]:
        """Return the one error of a failed call, checked to be told as the contract wants it."""
        assert self.code == 4, self.stderr
        envelope = json.loads(self.stdout)
        (error,) = envelope.pop("errors")
        assert envelope == {
            "schema": "codex-session-sync/1",
            "command": "sync",
            "status": "error",
            "exit_code": 4,
            "data": {},
            "warnings": [],
        }
        assert error["code"] == "environment_unavailable"
        (line,) = self.stderr.splitlines()
        assert line.startswith("codex-session-sync: ")
        assert line.endswith(f"{error['message']}; {error['hint']}")
        assert isinstance(error, dict)
        return error


@pytest.fixture
def skill(tmp_path: Path) -> Skill:
    skill = Skill(tmp_path / "skill", tmp_path)
    skill.uv(INSTALLS)
    return skill


@pytest.fixture
def read_only(skill: Skill) -> Iterator[tuple[str, ...]]:
    """Make the folder read-only; the value is the prefix of a call that respects it."""
    for path in [skill.root, *skill.root.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    yield (sys.executable, "-c", AS_A_USER) if os.geteuid() == 0 else ()
    for path in [skill.root, *skill.root.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)


def test_first_call_makes_the_environment_says_so_in_a_line_and_goes_on(skill: Skill) -> None:
    result = skill.call("sync", "pkg", "--three")
    assert result.code == 3
    assert result.program()["arguments"] == ["sync", "pkg", "--three"]
    (environment,) = (path for path in skill.root.glob(".venv/*") if path.is_dir())
    assert Path(result.program()["probe"]).is_relative_to(environment)
    assert result.stderr == (
        f"codex-session-sync: making the Python environment {environment}, once ... done\n"
    )


def test_later_call_starts_no_process_and_imports_nothing(skill: Skill) -> None:
    skill.call()
    result = skill.call(PATH=str(skill.beside / "nowhere"))
    bare = subprocess.run(
        [sys.executable, "-c", "import sys; print(sorted(sys.modules))"],
        capture_output=True,
        check=True,
    )
    program = result.program()
    added = set(program["modules"]) - set(ast.literal_eval(bare.stdout.decode()))
    package = {"codex_session_sync", "codex_session_sync.cli", "codex_session_sync.cli.main"}
    assert added == {*package, "probe"}
    assert result.stderr == ""
    assert skill.installs() == 1
    assert program["pycache"] is None


def test_changed_dependencies_make_the_environment_anew(skill: Skill) -> None:
    assert "probe>=2" not in skill.call().program()["made_for"]
    skill.depend_on("probe>=2")
    assert "probe>=2" in skill.call().program()["made_for"]
    assert skill.call().stderr == ""
    assert skill.installs() == 2
    assert skill.leftovers() == []


def test_other_changes_of_pyproject_only_renew_the_stamp(skill: Skill) -> None:
    skill.call()
    with (skill.root / "pyproject.toml").open("a") as file:
        file.write("[tool.x]\n")
    renewing = skill.call()
    assert (renewing.code, renewing.stderr) == (0, "")
    assert "tomllib" not in skill.call().program()["modules"]
    assert skill.installs() == 1


def test_failed_renewal_keeps_the_environment_there_was(skill: Skill) -> None:
    skill.call()
    skill.depend_on("probe>=2")
    skill.uv("exit 1")
    assert skill.call("sync", "--json", **skill.without("pip", "ensurepip")).error()
    skill.depend_on("probe")
    assert skill.call().stderr == ""


def test_read_only_folder_uses_the_cache(skill: Skill, read_only: tuple[str, ...]) -> None:
    before = set(skill.root.rglob("*"))
    made = skill.call(prefix=read_only)
    later = skill.call(prefix=read_only)
    assert Path(made.program()["probe"]).is_relative_to(skill.cache / "codex-session-sync")
    assert later.program()["probe"] == made.program()["probe"]
    assert later.stderr == ""
    assert set(skill.root.rglob("*")) == before
    compiled = Path(later.program()["pycache"]).rglob("codex_session_sync/cli/main.*.pyc")
    assert list(compiled), "every call would compile the program again"


def test_no_place_to_write(skill: Skill, read_only: tuple[str, ...]) -> None:
    result = skill.call("sync", "--json", prefix=read_only, XDG_CACHE_HOME=os.devnull)
    assert "no place" in result.error()["message"]
    assert "CODEX_SESSION_SYNC_ENV_DIR" in result.error()["hint"]


def test_place_can_be_chosen(skill: Skill, tmp_path: Path) -> None:
    result = skill.call(CODEX_SESSION_SYNC_ENV_DIR="chosen")
    assert Path(result.program()["probe"]).is_relative_to(tmp_path / "chosen")
    assert not (skill.root / ".venv").exists()


@pytest.mark.parametrize("name", ["with  space 'quote'", "ünïcode ✓ 会话", "co:lon"])
def test_odd_names_of_the_folder(tmp_path: Path, name: str) -> None:
    skill = Skill(tmp_path / name, tmp_path)
    skill.uv(INSTALLS)
    assert "done" in skill.call().stderr
    assert skill.call("ok").program()["arguments"] == ["ok"]
    assert skill.installs() == 1


def test_call_through_a_link(skill: Skill) -> None:
    link = skill.beside / "bin" / "codex-session-sync"
    link.parent.mkdir()
    link.symlink_to(skill.launcher)
    skill.call()
    skill.launcher = link
    assert skill.call().stderr == ""
    assert skill.installs() == 1


def test_other_packages_of_the_user_do_not_shadow_ours(skill: Skill) -> None:
    theirs = skill.beside / "theirs"
    theirs.mkdir()
    (theirs / "probe.py").write_text("raise SystemExit('shadowed')")
    (theirs / "codex_session_sync.py").write_text("raise SystemExit('shadowed')")
    assert skill.call(PYTHONPATH=str(theirs)).code == 0
    assert skill.call(PYTHONPATH=str(theirs), PYTHONSAFEPATH="1").code == 0


def test_two_first_calls_at_once_make_one_environment(skill: Skill) -> None:
    skill.uv(HELD + INSTALLS)
    processes = [skill.start(), skill.start()]
    begun = [os.read(process.stderr.fileno(), 1000).decode() for process in processes]
    skill.calls.with_name("calls.go").touch()
    results = [Result(process) for process in processes]
    assert [result.code for result in results] == [0, 0]
    making, waiting = sorted(begun)
    assert making.startswith("codex-session-sync: making the Python environment")
    assert waiting == (
        "codex-session-sync: waiting for another call that makes the Python environment ..."
    )
    assert [result.stderr for result in results] == [" done\n", " done\n"]
    assert skill.installs() == 1


def wait_for_installer(skill: Skill) -> int:
    """Return the process id of a stand-in for uv once it runs."""
    deadline = time.monotonic() + 30
    while not (skill.calls.exists() and skill.calls.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(skill.calls.read_text().split()[-1])


def test_killed_builder_neither_blocks_nor_leaves_anything(skill: Skill) -> None:
    skill.uv(HANGS)
    builder = skill.start()
    wait_for_installer(skill)
    os.killpg(builder.pid, signal.SIGKILL)
    builder.communicate()
    assert len(skill.leftovers()) == 1
    skill.uv(INSTALLS)
    assert skill.call().code == 0
    assert skill.leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_while_building_leaves_nothing(skill: Skill, number: signal.Signals) -> None:
    skill.uv(HANGS)
    heeded = f"import os, signal, sys; signal.signal({int(number)}, signal.SIG_DFL); "
    run = "os.execv(sys.argv[1], sys.argv[1:])"
    builder = skill.start(prefix=(sys.executable, "-c", heeded + run))
    installer = wait_for_installer(skill)
    builder.send_signal(number)
    result = Result(builder)
    assert result.code == 128 + number
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert skill.leftovers() == []
    with pytest.raises(ProcessLookupError):
        os.kill(installer, 0)


# Runs the launcher in this process; a signal comes as soon as an installer has been started.
SIGNALLED = """
import os, runpy, signal, subprocess, sys
class Popen(subprocess.Popen):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        os.kill(os.getpid(), signal.SIGHUP)
subprocess.Popen = Popen
signal.signal(signal.SIGHUP, signal.SIG_DFL)
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_signal_while_an_installer_starts_leaves_nothing(skill: Skill) -> None:
    skill.uv(HANGS)
    builder = skill.start(prefix=(sys.executable, "-c", SIGNALLED))
    assert Result(builder).code == 128 + signal.SIGHUP
    assert skill.leftovers() == []
    with pytest.raises(ProcessLookupError):
        os.killpg(builder.pid, 0)


def test_terminal_shows_a_sign_of_life(skill: Skill) -> None:
    skill.uv(SLOW + INSTALLS)
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, skill.launcher],
        env={"PATH": f"{skill.tools}:{os.defpath}", "UV_CALLS": str(skill.calls)},
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        check=True,
    )
    os.close(theirs)
    shown = os.read(ours, 10_000)
    os.close(ours)
    assert re.search(rb" \.{4,} done", shown)


def wheel(folder: Path) -> None:
    """Write the wheel of a package called probe."""
    with zipfile.ZipFile(folder / "probe-1-py3-none-any.whl", "w") as archive:
        archive.writestr("probe.py", "REQUIREMENTS = 'wheel'\n")
        archive.writestr(
            "probe-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: probe\nVersion: 1\n"
        )
        archive.writestr(
            "probe-1.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("probe-1.dist-info/RECORD", "probe.py,,\n")


@pytest.mark.parametrize("hidden", [(), ("pip",)], ids=["pip", "ensurepip"])
def test_without_uv_pip_installs(skill: Skill, hidden: tuple[str, ...]) -> None:
    skill.uv("exit 1")
    wheel(skill.beside)
    misleading = {"PIP_USER": "1", "PIP_TARGET": str(skill.beside / "elsewhere")}
    links = {"PIP_FIND_LINKS": str(skill.beside)}
    result = skill.call(**links | misleading | skill.without(*hidden))
    assert result.program()["made_for"] == "wheel"
    assert skill.installs() == 1


def test_packages_come_from_the_registry(skill: Skill) -> None:
    skill.depend_on("click>=8.1,<9")
    stub = skill.root / "scripts" / "codex_session_sync" / "cli" / "main.py"
    stub.write_text("def main():\n    import click\n    print(click.__file__)\n")
    skill.pip = {}
    result = skill.call(PATH=os.environ["PATH"])
    assert result.code == 0, result.stderr
    assert Path(result.stdout.strip()).is_relative_to(skill.root / ".venv")


def test_offline(skill: Skill) -> None:
    (skill.tools / "uv").unlink()
    error = skill.call("sync", "--json").error()
    assert "not to be had from here" in error["message"]
    log = Path(error["message"].partition("(log: ")[2].rstrip(")"))
    assert "No matching distribution found for probe" in log.read_text()
    assert skill.leftovers() == []
    skill.uv(INSTALLS)
    assert skill.call().code == 0


@pytest.mark.parametrize(
    ("said", "understood"),
    [
        ("failed to create file: No space left on device (os error 28)", "the disk is full"),
        ("error: Request failed after 3 retries; dns error", "not to be had from here"),
        ("because the network was disabled", "not to be had from here"),
        ("error: something new", "could not be installed"),
    ],
)
def test_failure_of_an_installer_is_explained(skill: Skill, said: str, understood: str) -> None:
    skill.uv(f"echo '{said}' >&2; exit 2")
    result = skill.call("sync", "--json", **skill.without("pip", "ensurepip"))
    assert understood in result.error()["message"]


def test_no_installer(skill: Skill) -> None:
    (skill.tools / "uv").unlink()
    result = skill.call("sync", "--json", **skill.without("pip", "ensurepip"))
    assert "python3-venv" in result.error()["hint"]


def test_without_json_nothing_is_on_stdout(skill: Skill) -> None:
    (skill.root / "pyproject.toml").write_text("nonsense")
    result = skill.call("sync")
    assert (result.code, result.stdout) == (4, "")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("content", [None, b"nonsense", b"\xff", b"[project]\n[build"])
def test_damaged_folder(skill: Skill, content: bytes | None) -> None:
    project = skill.root / "pyproject.toml"
    project.unlink() if content is None else project.write_bytes(content)
    assert "pyproject.toml cannot be used" in skill.call("sync", "--json").error()["message"]


def test_old_python_is_told_apart(skill: Skill) -> None:
    pretend = "import runpy, sys; sys.version_info = (3, 6, 9); sys.argv = sys.argv[2:]; "
    run = "runpy.run_path(sys.argv[0], run_name='__main__')"
    process = skill.start("sync", "--json", prefix=(sys.executable, "-c", pretend + run))
    error = Result(process).error()
    assert "needs Python 3.11 or newer" in error["message"]
    assert "3.6.9" in error["message"]
    assert str(skill.launcher) in error["hint"]


def test_old_pythons_can_parse_the_launcher() -> None:
    ast.parse(LAUNCHER.read_text(), feature_version=(3, 7))


def test_the_help_of_the_tests_needs_no_environment(tmp_path: Path) -> None:
    variables = {**os.environ, "CODEX_SESSION_SYNC_ENV_DIR": str(tmp_path / "none")}
    words = [sys.executable, str(ROOT / "tests" / "run"), "--help"]
    done = subprocess.run(words, env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Check the code, then run the tests: tests/run [--fast]")
    assert list(tmp_path.iterdir()) == []
