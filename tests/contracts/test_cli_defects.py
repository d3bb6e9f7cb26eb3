"""Defects (70), refused system calls, and being stopped are reported in the envelope."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from builders import write_snapshot
from codex_session_sync.errors import ExitCode
from codex_session_sync.planned import Plan
from contracts.places import PLAIN, Place, checked, make_place
from workbench import add_rows, call, call_process, environment, make_database

place = pytest.fixture(make_place)


def test_a_defect(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> Plan:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("codex_session_sync.cli.inspect_package.make_plan", fails)
    outcome = checked(call("inspect-package", place.package, "--json"))
    assert (outcome.codes, outcome.exit_code) == (["defect"], ExitCode.DEFECT)
    error = outcome.envelope["errors"][0]
    log = Path(error["hint"].split()[-1])
    assert "ZeroDivisionError" in error["message"]
    assert "Traceback" in log.read_text()

    outcome = call("inspect-package", place.package)
    assert (outcome.exit_code, outcome.out) == (ExitCode.DEFECT, b"")
    assert "Traceback" not in outcome.err


def test_a_defect_without_a_temporary_folder(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> Plan:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("codex_session_sync.cli.inspect_package.make_plan", fails)
    monkeypatch.setattr("tempfile.tempdir", str(place.root / "gone"))
    outcome = call("inspect-package", place.package, "--json")
    assert (outcome.codes, outcome.exit_code) == (["defect"], ExitCode.DEFECT)
    assert outcome.envelope["errors"][0]["hint"].endswith("stderr says")
    assert "Traceback" in outcome.err


# No file can hold a byte, as where a sandbox lets nothing be written.
WRITES_NOTHING = (
    "import resource, signal, sys; from codex_session_sync.cli.main import run;"
    "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); sys.exit(run(sys.argv[1:]))"
)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
@pytest.mark.parametrize(
    "words", [("inspect-package", "package"), ("explain", PLAIN.id), ("sync", "package"), ("demo",)]
)
def test_no_temporary_folder(place: Place, words: tuple[str, ...]) -> None:
    """It is no fault of the package, and the hint says what to do about it."""
    write_snapshot(place.home, [PLAIN])
    add_rows(make_database(place.home), [PLAIN])
    named = [place.package if word == "package" else word for word in words]
    program = ("-c", WRITES_NOTHING)
    outcome = checked(call_process(environment(place.root), *named, "--json", program=program))
    assert (outcome.codes, outcome.exit_code) == (["no_temporary_folder"], ExitCode.HOME)
    assert "in a sandbox, ask for permission" in outcome.envelope["errors"][0]["hint"]


def test_a_refused_system_call_is_no_defect(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> Plan:
        raise OSError(5, "Input/output error", "/some/file")

    monkeypatch.setattr("codex_session_sync.cli.inspect_package.make_plan", fails)
    outcome = checked(call("inspect-package", place.package, "--json"))
    assert (outcome.codes, outcome.exit_code) == (["system_error"], ExitCode.HOME)
    assert "/some/file" in outcome.envelope["errors"][0]["message"]


@pytest.mark.parametrize(
    ("stop", "exit_code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)]
)
def test_a_stop_is_reported(
    place: Place, monkeypatch: pytest.MonkeyPatch, stop: BaseException, exit_code: int
) -> None:
    def stops(*_: object, **__: object) -> Plan:
        raise stop

    monkeypatch.setattr("codex_session_sync.cli.sync.make_plan", stops)
    outcome = place.sync()
    assert (outcome.codes, outcome.exit_code) == (["interrupted"], exit_code)
