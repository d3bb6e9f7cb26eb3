"""Pipes, folders and links where files must be: no command waits for one or writes through it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from builders import Session
from codex_session_sync.errors import HomeError
from codex_session_sync.lineage.sidecar import read_sidecar
from rolling import Rolling, compress, make_rolling
from workbench import Outcome, call_process, environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no pipes among files")

DAY = 24 * 60
OWN = Session(1, start=10, name="Own").say("Was here before")
BEANS = Session(2, start=1 * DAY, name="Beans").say("How do beans climb?").say("And peas?")
ROSES = Session(3, start=2 * DAY).say("Which roses?")

Put = Callable[[Path], None]


def pipe(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()
    (path / "kept").write_text("something of somebody")


def link(path: Path) -> None:
    away = path.parents[2] / "away"
    away.write_text("something of somebody")
    path.symlink_to(away)


@pytest.fixture
def bed(tmp_path: Path) -> Rolling:
    found = make_rolling(tmp_path, [OWN])
    found.sync(BEANS, ROSES)
    return found


def run(bed: Rolling, *arguments: str | Path) -> Outcome:
    """A command in a process of its own, which is killed if it waits."""
    return call_process(environment(bed.root), *arguments, "--json", "--codex-home", bed.home)


def sidecar_of(bed: Rolling, session: Session) -> Path:
    [found] = [
        p for p in bed.home.glob("session-sync/sidecars/*.json") if session.id in p.read_text()
    ]
    return found


def problems(bed: Rolling) -> list[tuple[str, str | None]]:
    found = run(bed, "sidecar-health").envelope["data"]["problems"]
    return [(problem["code"], problem["command"]) for problem in found]


# -- sidecars ------------------------------------------------------------------------------------


@pytest.mark.parametrize("put", [pipe, folder, link])
def test_what_is_no_sidecar_is_read_by_nobody(bed: Rolling, put: Put) -> None:
    path = sidecar_of(bed, BEANS)
    path.unlink()
    put(path)
    with pytest.raises(HomeError) as refused:
        read_sidecar(bed.home / "session-sync", path.stem)
    assert refused.value.code == "sidecar_invalid"
    package = bed.package(BEANS.say("More"), ROSES)
    planned = run(bed, "sync", package)
    assert [warning["code"] for warning in planned.envelope["warnings"]] == ["sidecar_invalid"]
    done = run(bed, "sync", package, "--execute", "--no-prime")
    assert done.sessions[BEANS.id]["result"] == "failed"
    assert done.codes == ["sidecar_invalid"]
    adopted = run(bed, "adopt", "--session", BEANS.id, "--execute")
    assert adopted.sessions[BEANS.id]["reason"] == "sidecar_invalid"
    assert run(bed, "prune-invalid-mappings", "--execute").envelope["status"] == "no_op"
    back = run(bed, "rollback", "--latest", "--execute")
    assert back.sessions[BEANS.id]["reason"] == "sidecar_invalid"


@pytest.mark.parametrize("put", [pipe, folder])
@pytest.mark.parametrize("command", ["rebuild-sidecar", "replay-transactions-sidecar"])
def test_it_is_moved_away_and_the_sidecar_comes_back(bed: Rolling, put: Put, command: str) -> None:
    path = sidecar_of(bed, BEANS)
    text = path.read_text()
    path.unlink()
    put(path)
    assert problems(bed) == [("sidecar_invalid", "codex-session-sync rebuild-sidecar --execute")]
    done = run(bed, command, "--execute")
    assert (done.exit_code, done.envelope["status"]) == (0, "ok"), done.envelope
    assert path.read_text() == text
    transaction = done.envelope["data"]["transaction_id"]
    kept = bed.home / "session-sync" / "transactions" / transaction / path.name
    assert (kept / "kept").is_file() if put is folder else kept.is_fifo()
    assert problems(bed) == []
    assert run(bed, "rollback", "--latest", "--execute").exit_code == 0
    assert not path.exists()
    assert kept.exists()


@pytest.mark.parametrize("command", ["rebuild-sidecar", "replay-transactions-sidecar"])
def test_a_linked_sidecar_is_not_written_through(bed: Rolling, command: str) -> None:
    path = sidecar_of(bed, BEANS)
    path.unlink()
    link(path)
    assert problems(bed)[0][0] == "path_escapes_home"
    done = run(bed, command, "--execute")
    assert done.codes == ["path_escapes_home"]
    assert (done.exit_code, done.envelope["status"]) == (1, "partial")
    assert path.is_symlink()
    assert path.read_text() == "something of somebody"
    path.unlink()
    assert run(bed, command, "--execute").envelope["status"] == "ok"
    assert problems(bed) == []


@pytest.mark.parametrize(
    "command", ["rebuild-sidecar", "replay-transactions-sidecar", "prune-invalid-mappings"]
)
def test_a_linked_folder_of_sidecars_is_neither_read_nor_written(
    bed: Rolling, command: str
) -> None:
    path = sidecar_of(bed, BEANS)
    away = bed.root / "away"
    path.parent.rename(away)
    path.parent.symlink_to(away)
    seen = {p.name: p.read_bytes() for p in away.iterdir()}
    with pytest.raises(HomeError) as refused:
        read_sidecar(bed.home / "session-sync", path.stem)
    assert refused.value.code == "sidecar_invalid"
    assert problems(bed)[0][0] == "path_escapes_home"
    for options in ((), ("--execute",)):
        done = run(bed, command, *options)
        assert (done.exit_code, done.codes) == (4, ["path_escapes_home"])
    assert {p.name: p.read_bytes() for p in away.iterdir()} == seen


def test_a_file_in_the_place_of_the_folder_of_sidecars(bed: Rolling) -> None:
    folder_of_them = sidecar_of(bed, BEANS).parent
    folder_of_them.rename(bed.root / "away")
    pipe(folder_of_them)
    assert {code for code, _ in problems(bed)} == {"sidecar_misplaced", "sidecar_missing"}
    done = run(bed, "rebuild-sidecar", "--execute")
    assert (done.exit_code, done.codes) == (4, ["sidecar_misplaced"])
    folder_of_them.unlink()
    assert run(bed, "rebuild-sidecar", "--execute").envelope["status"] == "ok"
    assert problems(bed) == []


# -- files of Codex, and those of the journal ----------------------------------------------------

READING = [
    ["sidecar-health", "--deep"],
    ["sidecar-health"],
    ["rebuild-index"],
    ["adopt", "--all"],
    ["rebuild-sidecar"],
    ["replay-transactions-sidecar"],
    ["prune-invalid-mappings"],
    ["list-transactions"],
    ["show-transaction", "2"],
    ["rollback", "--latest"],
    ["recover"],
    ["inspect-package", "PKG"],
    ["sync", "PKG"],
    ["pack", "-o", "OUT"],
]
WRITING = [
    ["sync", "PKG", "--execute", "--no-prime"],
    ["adopt", "--all", "--execute"],
    ["rebuild-index", "--execute"],
    ["rebuild-sidecar", "--execute"],
    ["rollback", "--latest", "--execute"],
    ["recover", "--execute"],
]


ONE_AFTER_THE_OTHER = """
import json, sys
from workbench import call
commands, home = json.loads(sys.argv[1]), sys.argv[2]
done = [call(*command, "--json", "--codex-home", home) for command in commands]
print(json.dumps({"done": [(one.exit_code, one.envelope) for one in done]}))
"""


def outcomes(bed: Rolling, commands: list[list[str]]) -> dict[str, tuple[int, set[str]]]:
    """The exit code of commands, and the codes of their errors, of problems and of warnings.

    All of them end, with one JSON object and without a defect.
    """
    places = {"PKG": str(bed.package(BEANS.say("More"), ROSES)), "OUT": str(bed.root / "out")}
    called = [[places.get(word, word) for word in command] for command in commands]
    variables, program = environment(bed.root), ("-c", ONE_AFTER_THE_OTHER)
    done = call_process(variables, json.dumps(called), bed.home, program=program)
    assert done.exit_code == 0, done.err
    found = {}
    for command, (exit_code, envelope) in zip(commands, done.envelope["done"], strict=True):
        told = [*envelope["errors"], *envelope["warnings"], *envelope["data"].get("problems", [])]
        assert exit_code in (0, 1, 4, 5), (command, envelope)
        found[" ".join(command)] = exit_code, {one["code"] for one in told} - {"cwd_missing"}
    return found


def told_of(found: dict[str, tuple[int, set[str]]], code: str) -> set[str]:
    """The commands that told of a code, by their names."""
    return {command.split()[0] for command, (_, codes) in found.items() if code in codes}


@pytest.mark.parametrize("put", [pipe, folder])
@pytest.mark.parametrize(
    ("name", "code", "by"),
    [
        (
            "session_index.jsonl",
            "not_a_file",
            {"sidecar-health", "rebuild-index", "adopt", "inspect-package", "sync", "pack"},
        ),
        ("history.jsonl", "not_a_file", {"rebuild-index"}),
        ("config.toml", "config_invalid", {command[0] for command in (*READING, *WRITING)}),
        (
            "state_5.sqlite",
            "database_unreadable",
            {"sidecar-health", "rebuild-index", "adopt", "inspect-package", "sync", "pack"},
        ),
        ("installation_id", None, set()),
        ("session_index.jsonl.lock", "not_a_file", {"sync", "adopt", "rebuild-index"}),
        ("session-sync/lock-holder.json", None, set()),
    ],
)
def test_what_is_no_file_of_codex_is_told_of(
    bed: Rolling, put: Put, name: str, code: str | None, by: set[str]
) -> None:
    path = bed.home / name
    path.unlink(missing_ok=True)
    put(path)
    found = outcomes(bed, [*READING, *WRITING])
    if code is None:
        assert all(c < 2 or codes == {"home_not_writable"} for c, codes in found.values()), found
        return
    assert by <= told_of(found, code), found
    assert path.exists()


def folder_of(bed: Rolling) -> Path:
    """The folder of the one transaction."""
    [found] = bed.home.glob("session-sync/transactions/*")
    return found


@pytest.mark.parametrize("put", [pipe, folder, link])
@pytest.mark.parametrize(
    ("name", "code"),
    [("manifest.json", "transaction_invalid"), ("operations.jsonl", "operation_invalid")],
)
def test_what_is_no_file_of_the_journal_is_damage(
    bed: Rolling, put: Put, name: str, code: str
) -> None:
    path = folder_of(bed) / name
    path.unlink()
    put(path)
    found = outcomes(bed, [*READING, *WRITING])
    told = told_of(found, code)
    assert {"sidecar-health", "rollback"} <= told, found
    assert "rebuild-sidecar" in told or name == "manifest.json"
    assert path.is_symlink() or not path.is_file()


def interrupt(bed: Rolling, package: Path, cut: str) -> None:
    """Kill a sync before a line of its journal that begins so is written."""
    done = bed.call("sync", package, "--execute", "--no-prime")
    assert done.exit_code == 0, done.envelope
    transaction = (
        bed.home / "session-sync" / "transactions" / done.envelope["data"]["transaction_id"]
    )
    manifest = json.loads((transaction / "manifest.json").read_bytes())
    manifest |= {"status": "running", "completed_at": None}
    (transaction / "manifest.json").write_text(json.dumps(manifest))
    lines = (transaction / "operations.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(f'{{"step":"{cut}"')]
    assert len(kept) < len(lines)
    (transaction / "operations.jsonl").write_text("".join(kept))


@pytest.mark.parametrize("put", [pipe, folder])
@pytest.mark.parametrize("which", ["transcript", "sidecar", "session_index.jsonl", "staged"])
def test_what_is_put_there_before_a_recovery_stays(bed: Rolling, put: Put, which: str) -> None:
    interrupt(bed, bed.package(BEANS.say("More"), ROSES.say("More")), "done")
    places = {
        "transcript": bed.path(BEANS),
        "sidecar": sidecar_of(bed, BEANS),
        "session_index.jsonl": bed.home / "session_index.jsonl",
        "staged": max(bed.home.glob("session-sync/transactions/*")) / "staged" / "0",
    }
    path = places[which]
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    put(path)
    found = run(bed, "recover", "--execute")
    warned = {warning["code"] for warning in found.envelope["warnings"]}
    assert found.exit_code == 0, found.envelope
    if which == "staged":
        assert warned == {"home_changed"}
        return
    if which != "session_index.jsonl":
        assert warned == {"home_changed"}
    assert path.exists()
    assert not path.is_file()


@pytest.mark.parametrize("put", [pipe, folder])
@pytest.mark.parametrize("session", [BEANS, ROSES], ids=["named", "unnamed"])
def test_what_is_no_transcript_is_none(bed: Rolling, put: Put, session: Session) -> None:
    path = bed.path(session)
    path.unlink()
    put(path)
    found = outcomes(bed, [*READING, *WRITING])
    assert told_of(found, "row_without_transcript") == {"sidecar-health"}
    assert found["sync PKG --execute --no-prime"] == (1, {"home_changed"})
    assert not path.is_file()


def test_a_pipe_beside_a_compressed_transcript(bed: Rolling) -> None:
    """A rollback looks for the plain file first."""
    compress(bed.path(BEANS))
    plain = bed.path(BEANS).with_suffix("")
    pipe(plain)
    found = outcomes(bed, [*READING, *WRITING])
    assert found["rollback --latest"][0] in (0, 1)
    assert plain.is_fifo()
