"""Streams and surroundings as real processes have them: stdout, stderr, encodings, homes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from builders import Session, write_snapshot
from contracts.places import PLAIN, Place, checked, make_mixture, make_place
from workbench import call, call_process, environment

place = pytest.fixture(make_place)
mixture = pytest.fixture(make_mixture)


def test_text_on_stdout_and_problems_on_stderr(mixture: Place) -> None:
    variables = environment(mixture.root)
    outcome = call_process(variables, "sync", mixture.package, "--execute")
    assert outcome.exit_code == 1
    assert b"transcript_torn" not in outcome.out
    assert b"imported" in outcome.out
    lines = outcome.err.splitlines()
    assert any("[transcript_torn]" in line for line in lines)
    assert sum("[transcript_invalid]" in line for line in lines) == 1

    outcome = checked(call_process(variables, "sync", mixture.package, "--json"))
    assert outcome.exit_code == 0


def test_the_home_option_wins_over_the_variable(place: Place) -> None:
    other = place.root / "other"
    other.mkdir()
    variables = environment(place.root)
    arguments = ("sync", place.package, "--execute", "--json", "--codex-home", other)
    assert checked(call_process(variables, *arguments)).exit_code == 0
    assert list(place.home.iterdir()) == []
    assert (other / PLAIN.relative_path).exists()

    del variables["CODEX_HOME"]
    default = place.root / "user" / ".codex"
    outcome = checked(call_process(variables, "list-transactions", "--json"))
    assert outcome.codes == ["home_missing"]
    default.mkdir()
    assert checked(call_process(variables, "list-transactions", "--json")).exit_code == 0


@pytest.mark.skipif(sys.platform == "win32", reason="other encodings there")
def test_an_encoding_without_the_characters(place: Place) -> None:
    variables = environment(place.root) | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    garden = place.root / "garden"
    garden.mkdir()
    named = Session(30, start=300, name="Rosen → früh", cwd=str(garden)).say("früh?")
    write_snapshot(place.root / "other", [named])
    outcome = call_process(variables, "inspect-package", place.root / "other")
    assert (outcome.exit_code, outcome.err) == (0, "")
    outcome = call_process(variables, "inspect-package", place.root / "nothing")
    assert outcome.exit_code == 3
    assert "[package_not_found]" in outcome.err
    assert "Traceback" not in outcome.err
    outcome = checked(call_process(variables, "inspect-package", place.root / "other", "--json"))
    assert outcome.sessions[named.id]["name"] == "Rosen → früh"


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
def test_a_package_path_that_is_no_utf8(place: Place) -> None:
    other = os.fsdecode(os.fsencode(place.root) + b"/p\xe4ckchen")
    place.package.rename(other)
    for arguments in (("inspect-package",), ("sync",), ("sync", "--execute")):
        outcome = checked(call(arguments[0], other, *arguments[1:], "--json"))
        assert outcome.exit_code == 0
    assert call("inspect-package", other).exit_code == 0
    assert checked(call("list-transactions", "--json")).exit_code == 0
    assert checked(call("inspect-package", other + "x", "--json")).codes == ["package_not_found"]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_reader_that_goes_away(place: Place, more: tuple[str, ...]) -> None:
    many = [Session(100 + i, start=500 + i).say("x" * 100) for i in range(300)]
    write_snapshot(place.root / "many", many)
    command = [sys.executable, "-m", "codex_session_sync", "inspect-package"]
    with subprocess.Popen(
        [*command, str(place.root / "many"), *more],
        env=environment(place.root),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
