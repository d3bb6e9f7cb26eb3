"""Every hostile package, of every kind, in containers, through every command that reads one.

Each goes as a directory to an empty home, and in one other way: to a used home, or in one kind of
archive to one of them; with CODEX_SESSION_SYNC_HOSTILE=all in every way.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from codex_session_sync.errors import ExitCode
from hostile import of_databases, of_documents, of_lines, of_records
from hostile.corpus import SNAPSHOT, SOUND, Case
from hostile.judging import BEHIND, DATABASE, EMPTY, USED, Court, require_harmless, state
from hostile.layouts import CONTAINERS, files_of
from rollouts import parsed
from workbench import Outcome

CASES: list[Case] = [
    *of_lines.CASES,
    *of_records.CASES,
    *of_documents.CASES,
    *of_databases.CASES,
]
PACKABLE = [
    case
    for case in CASES
    if SNAPSHOT in case.kinds and case.exit_code != 3 and case not in of_databases.CASES
]
"""Those that can be a home: its database is Codex's own."""
EACH = [(case, kind) for case in CASES for kind in case.kinds]


@pytest.fixture(scope="module")
def court() -> Iterator[Court]:
    """In memory if there is such a place: thousands of homes are made and removed."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Court(Path(folder))


def test_there_are_many() -> None:
    assert len(CASES) >= 80
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("place", range(len(EACH)), ids=[f"{k}-{c.name}" for c, k in EACH])
def test_case(place: int, court: Court) -> None:
    case, kind = EACH[place]
    files = files_of(case.build(), kind)
    for container, home in chosen(place):
        with court.package(files, container) as package, court.home(home) as path:
            judge(court, path, package, case, of_used=home == USED)


@pytest.mark.parametrize("case", PACKABLE, ids=[case.name for case in PACKABLE])
def test_case_packed(case: Case, court: Court) -> None:
    """What ``pack`` makes of it, as a home, is taken."""
    with court.packed(files_of(case.build(), SNAPSHOT)) as package:
        for kind in (EMPTY, USED):
            with court.home(kind) as home:
                require_harmless(court.run(home, "inspect-package", package))
                before = state(home)
                done = court.run(home, "sync", package, "--execute", "--no-prime", "--json")
                assert done.exit_code in (0, 1), done.out
                require_taken(done, home, before)


def chosen(place: int) -> list[tuple[str, str]]:
    """The containers and homes that a case is tried with."""
    everything = [(container, home) for container in CONTAINERS for home in (EMPTY, USED)]
    if os.environ.get("CODEX_SESSION_SYNC_HOSTILE") == "all":
        return everything
    if EACH[place][0].large:
        return everything[:1]
    return [everything[0], everything[1 + place % (len(everything) - 1)]]


def judge(court: Court, home: Path, package: Path, case: Case, *, of_used: bool) -> None:
    """Every command on one package and one home; what it is to do is done, and nothing else."""
    before = state(home)
    for command in ("inspect-package", "sync", "adopt"):
        looked = court.run(home, command, package, *case.options, "--json")
        require_outcome(looked, case, executed=False)
    require_harmless(court.run(home, "inspect-package", package, *case.options))
    assert state(home) == before
    done = court.run(home, "sync", package, *case.options, "--execute", "--no-prime", "--json")
    require_outcome(done, case, executed=True, of_used=of_used)
    if case.exit_code == ExitCode.PACKAGE:
        assert state(home) == before
    else:
        require_taken(done, home, before)
    adopted = court.run(home, "adopt", package, *case.options, "--execute", "--json")
    require_outcome(adopted, case, executed=False)
    after = settled(home)
    again = court.run(home, "sync", package, *case.options, "--execute", "--no-prime")
    require_harmless(again)
    assert settled(home) == after


def settled(home: Path) -> dict[str, object]:
    """A home without its journal: what failed is tried again, and each time that is noted."""
    journal = "session-sync/transactions/"
    return {path: what for path, what in state(home).items() if not path.startswith(journal)}


def require_outcome(done: Outcome, case: Case, *, executed: bool, of_used: bool = False) -> None:
    """The exit code and the codes are those of the case."""
    print(case.name, done.exit_code, done.envelope["errors"], done.envelope["warnings"])
    codes = set(done.codes)
    if case.exit_code == ExitCode.PACKAGE:
        assert (done.exit_code, codes) == (int(ExitCode.PACKAGE), set(case.errors))
        return
    if executed and not of_used:
        assert (done.exit_code, codes) == (case.exit_code, set(case.errors))
    assert codes <= case.errors | OF_USED
    warned = {warning["code"] for warning in done.envelope["warnings"]}
    assert warned - AT_HOME == case.warnings


OF_USED = {"id_collision", "diverged"}
"""What is told of a session whose id another one has here, or that went another way."""
AT_HOME = {
    "database_missing",
    "cwd_missing",
    "directory_wide",
    "provider_not_configured",
    "tools_offered",
    "instructions_unusual",
}


def require_taken(done: Outcome, home: Path, before: Mapping[str, object]) -> None:
    """The sound session is here, whole; what was here is as it was but for what Codex lists."""
    assert done.sessions[SOUND.id]["result"] == "imported"
    after = state(home)
    [sound] = home.glob(f"sessions/**/{SOUND.file_name}")
    assert len(parsed(sound.read_bytes())) == len(SOUND.records())
    index = "session_index.jsonl"
    grown = {index, f"{index}.lock", *DATABASE}
    if BEHIND.relative_path in before:
        assert (home / BEHIND.relative_path).read_bytes().startswith(BEHIND.data())
        grown.add(BEHIND.relative_path)
    assert {path for path in before if after.get(path) != before[path]} <= grown
    new = after.keys() - before.keys() - grown
    roots = ("sessions", "archived_sessions", "session-sync", ".coordination.lock", "thread_locks")
    assert not [path for path in new if path.split("/")[0] not in roots], new
