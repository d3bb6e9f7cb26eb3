"""What a shell is offered while one types, asked as the shells ask, and by a real bash."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builders import Session, write_snapshot
from codex_session_sync.cli.commands import COMMANDS, PURPOSES, found
from codex_session_sync.cli.completing import SHELLS, VARIABLE
from codex_session_sync.cli.main import cli
from workbench import add_rows, call, call_process, environment, make_database

NAMED = Session(1, start=10, name="Compost: what\tgoes in").say("What goes on the heap?")
TITLED = Session(2, start=20).say("How do I prune roses?")
HEAVY = {"asyncio", "deepdiff", "dulwich", "jsonschema", "networkx", "numpy", "rich", "ssl"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a database, a synced package and what it left, and a folder that is a package."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    home = tmp_path / "home"
    home.mkdir()
    write_snapshot(home, [TITLED])
    add_rows(make_database(home), [TITLED])
    write_snapshot(tmp_path / "package", [NAMED])
    return tmp_path


def asked(place: Path, shell: str, line: str) -> list[list[str]]:
    """What a shell is answered when its cursor is at the end of a line: type, value, help."""
    words = line.split(" ")
    word = words[-1] if shell == "fish" else str(len(words) - 1)
    typed = "\n".join(words) if shell != "fish" else line
    asking = {VARIABLE: f"{shell}_complete", "COMP_WORDS": typed, "COMP_CWORD": word}
    done = call_process(environment(place) | asking)
    assert (done.exit_code, done.err) == (0, "")
    lines = done.out.decode().splitlines()
    if shell == "zsh":
        return [lines[i : i + 3] for i in range(0, len(lines) - 2, 3)]
    found = []
    for one in filter(None, lines):
        kind, _, rest = one.partition(",")
        value, _, told = rest.partition("\t")
        found.append([kind, value, told])
    return found


def values(place: Path, shell: str, line: str) -> list[str]:
    return [value for _, value, _ in asked(place, shell, f"codex-session-sync {line}")]


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_options_and_choices(place: Path, shell: str) -> None:
    assert values(place, shell, "") == list(dict.fromkeys(name.split()[0] for name in COMMANDS))
    assert values(place, shell, "sy") == ["sync"]
    assert {"--execute", "--session", "--summary"} <= set(values(place, shell, "sync --"))
    assert values(place, shell, "sync x --on-div") == ["--on-diverged"]
    assert values(place, shell, "sync x --on-diverged ") == ["branch", "refuse"]
    assert "file_bytes=" in values(place, shell, "sync x --limit f")


@pytest.mark.parametrize("shell", SHELLS)
def test_sessions_with_what_they_are_known_by(place: Path, shell: str) -> None:
    for line in ("explain ", "lineage 0", "verify --session ", f"pack --session {TITLED.id[:20]}"):
        found = asked(place, shell, f"codex-session-sync {line}")
        told = "" if shell == "bash" else "How do I prune roses?"
        assert [found[0][1], found[0][2]] == [TITLED.id, told]
    package = place / "package"
    for command in ("inspect-package", "sync", "adopt"):
        found = asked(place, shell, f"codex-session-sync {command} {package} --session ")
        told = "" if shell == "bash" else "Compost: what goes in"
        assert [one[1:] for one in found] == [[NAMED.id, told]]


@pytest.mark.parametrize("shell", SHELLS)
def test_sessions_of_sidecars_and_transactions(place: Path, shell: str) -> None:
    done = call("sync", place / "package", "--execute", "--no-prime", "--json")
    transaction = done.envelope["data"]["transaction_id"]
    for command in ("rollback ", "show-transaction 2"):
        [found] = asked(place, shell, f"codex-session-sync {command}")
        assert found[1] == transaction
        assert shell == "bash" or "1 imported" in found[2]
    assert values(place, shell, "explain ") == [NAMED.id, TITLED.id] or set(
        values(place, shell, "explain ")
    ) == {NAMED.id, TITLED.id}


@pytest.mark.parametrize("shell", SHELLS)
def test_folders_and_files_are_left_to_the_shell(place: Path, shell: str) -> None:
    for line, kind in (
        ("pack --cwd ", "dir"),
        ("list-transactions --codex-home ", "dir"),
        ("sync ", "file"),
        ("verify --codex-bin ", "file"),
        ("pack -o ", "file"),
    ):
        [found] = asked(place, shell, f"codex-session-sync {line}")
        assert found[0] == kind, line


@pytest.mark.parametrize("shell", SHELLS)
def test_what_cannot_be_read_offers_nothing(place: Path, shell: str) -> None:
    (place / "home" / "state_5.sqlite").write_bytes(b"no database" * 1000)
    assert values(place, shell, "explain ") == []
    assert values(place, shell, f"explain --codex-home {place / 'nowhere'} ") == []
    shutil.rmtree(place / "home")
    assert values(place, shell, "rollback ") == []


@pytest.mark.parametrize("line", ["", "sync --", "explain "])
def test_it_imports_nothing_heavy(place: Path, line: str) -> None:
    """What makes it slow, told without a clock; tests/bench has the time."""
    words = f"codex-session-sync {line}".split(" ")
    done = call_process(
        environment(place)
        | {VARIABLE: "bash_complete", "COMP_WORDS": "\n".join(words)}
        | {"COMP_CWORD": str(len(words) - 1), "PYTHONPROFILEIMPORTTIME": "1"}
    )
    assert done.exit_code == 0
    imported = {told.rpartition("|")[2].strip() for told in done.err.splitlines()}
    assert "click" in imported
    assert not imported & HEAVY


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_printed(place: Path, shell: str) -> None:
    done = call("completion", shell)
    assert f"{VARIABLE}={shell}_complete" in done.out.decode()
    assert call("completion", shell, "--json").envelope["data"]["script"] in done.out.decode()
    by_variable = call_process(environment(place) | {VARIABLE: f"{shell}_source"})
    assert by_variable.out.decode().strip() == done.out.decode().strip()


@pytest.mark.skipif(shutil.which("bash") is None, reason="NO BASH HERE: its completion is not run")
def test_a_real_bash_completes(place: Path) -> None:
    """By the name of the program, and by a path to its launcher."""
    program = place / "bin" / "codex-session-sync"
    program.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m codex_session_sync "$@"\n'
    )
    program.chmod(0o755)
    asking = """
eval "$(codex-session-sync completion bash)"
compopt() { :; }
COMP_WORDS=("$0" explain 019cac); COMP_CWORD=2; COMPREPLY=()
_codex_session_sync_completion "$0"
printf '%s\\n' "${COMPREPLY[@]}"
complete -p codex-session-sync
"""
    variables = environment(place) | {"PATH": f"{place / 'bin'}:/usr/bin:/bin"}
    for name in ("codex-session-sync", str(program)):
        done = subprocess.run(
            ["bash", "--norc", "-c", asking, name],
            env=variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.stderr == ""
        first, *_, last = done.stdout.splitlines()
        assert first == TITLED.id
        assert "-F _codex_session_sync_completion codex-session-sync" in last


def test_purposes_are_those_of_the_commands() -> None:
    """They are told without importing a command, so they are written down twice."""
    assert list(PURPOSES) == list(COMMANDS)
    for name, purpose in PURPOSES.items():
        command, _ = found(cli, name)
        assert len(purpose) <= 49
        first = (command.help or "").split()[0]
        assert first == purpose.split()[0] or name in ("recover", "rebuild-index", "adopt"), name
