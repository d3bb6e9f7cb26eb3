"""Kills at every passage of every step of what changes sidecars alone, and of its rollback.

After the recovery each sidecar is as before or as after, that of a confirmed batch as after, and
nothing else of the home is touched.
"""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from builders import Session, write_snapshot
from codex_session_sync import validation
from crash.beds import Driver, driving, posix
from crash.sidecar_faults import POINTS
from rolling import Rolling, make_rolling
from workbench import add_rows

pytestmark = posix

KILLED = -signal.SIGKILL
PASSAGES = 100
"""More than any step has."""

DAY = 24 * 60
OWN = Session(1, start=10, name="Own").say("Was here before")
BEANS = Session(2, start=1 * DAY, name="Beans").say("How do beans climb?")
FORK = replace(BEANS.fork(3).say("Another way?"), name="Fork")
ROSES = Session(4, start=2 * DAY).say("Which roses?")
FIGS = Session(5, start=3 * DAY, name="Figs").say("Figs?")
SYNCED = (BEANS, FORK, ROSES, FIGS)
"""The first two are of one lineage, so that two operations make its sidecar."""

Texts = dict[str, Any]
"""What lies in the folder of sidecars, by name."""


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process schemas are not checked, which is slow; in those that are killed they are."""
    monkeypatch.setattr(validation, "check", lambda *_: None)


# -- homes in which a command has something to do ------------------------------------------------


def sidecar_of(bed: Rolling, session: Session) -> Path:
    [found] = [
        p for p in bed.home.glob("session-sync/sidecars/*.json") if session.id in p.read_text()
    ]
    return found


def untracked(bed: Rolling) -> None:
    """Sessions without a mapping, one of them in the lineage of a sidecar."""
    bed.sync(BEANS)
    others = (FORK, ROSES)
    write_snapshot(bed.home, [OWN, BEANS, *others])
    add_rows(bed.database, others)


def harmed(bed: Rolling) -> None:
    """A sidecar that is torn, one that is lost, one that says less."""
    bed.sync(*SYNCED)
    path = sidecar_of(bed, ROSES)
    path.write_bytes(path.read_bytes()[:-40])
    sidecar_of(bed, FIGS).unlink()
    path = sidecar_of(bed, BEANS)
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps({**document, "mappings": document["mappings"][1:]}))


def forsaken(bed: Rolling) -> None:
    """Sessions that are gone: all of two lineages, one of a third."""
    bed.sync(*SYNCED)
    for session in (FORK, ROSES, FIGS):
        bed.path(session).unlink()


COMMANDS: dict[str, tuple[Callable[[Rolling], None], tuple[str, ...]]] = {
    "adopt": (untracked, ("adopt", "--all")),
    "rebuild": (harmed, ("rebuild-sidecar",)),
    "replay": (harmed, ("replay-transactions-sidecar",)),
    "prune": (forsaken, ("prune-invalid-mappings",)),
}


@dataclass
class Scene:
    """A home, saved, and what a command makes of its sidecars."""

    bed: Rolling
    saved: Path
    command: tuple[str, ...]
    before: Texts
    after: Texts
    rest: dict[str, Any]
    known: int

    def reset(self) -> Rolling:
        """The home as it was."""
        shutil.rmtree(self.bed.home)
        shutil.copytree(self.saved, self.bed.home)
        return self.bed


def texts(bed: Rolling) -> Texts:
    """The sidecars as they lie there; of a mapping does not count which transaction wrote it."""
    found: Texts = {}
    for path in sorted(bed.home.glob("session-sync/sidecars/*")) + sorted(
        bed.home.glob("session-sync/sidecars/.*")
    ):
        data = path.read_bytes()
        try:
            document = json.loads(data)
        except json.JSONDecodeError:
            found[path.name] = data
            continue
        for mapping in document["mappings"]:
            mapping |= {"transaction_id": "", "synced_at": ""}
        found[path.name] = document
    return found


def without_sidecars(bed: Rolling) -> dict[str, Any]:
    return {path: what for path, what in bed.state().items() if "session-sync" not in path}


def make_scene(root: Path, name: str, *, back: bool) -> Scene:
    prepare, command = COMMANDS[name]
    bed = make_rolling(root, [OWN])
    prepare(bed)
    if back:
        assert bed.call(*command, "--execute").envelope["status"] == "ok"
        command = ("rollback", bed.journal.ids()[0])
    saved = root / "saved"
    shutil.copytree(bed.home, saved)
    known = len(bed.journal.ids())
    before = texts(bed)
    assert bed.call(*command, "--execute").envelope["status"] == "ok"
    after = texts(bed)
    scene = Scene(bed, saved, (*command, "--execute"), before, after, without_sidecars(bed), known)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert len(changed) == 3
    return scene


@pytest.fixture(
    scope="module",
    params=[(name, back) for name in COMMANDS for back in (False, True)],
    ids=[f"{name}{back}" for name in COMMANDS for back in ("", ", rolled back")],
)
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """In memory if there is such a place: it is put back some hundred times."""
    memory = Path("/dev/shm")
    root = Path(tempfile.mkdtemp(prefix="crash-", dir=memory if memory.is_dir() else None))
    yield make_scene(root, request.param[0], back=request.param[1])
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def sidecar_driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    with driving(tmp_path_factory.mktemp("driver"), "sidecar_faults.py") as found:
        yield found


# -- what must hold ------------------------------------------------------------------------------


def confirmed(scene: Scene) -> set[str]:
    """The sidecars of batches that are done, read from the journal without the program."""
    ids = scene.bed.journal.ids()
    if len(ids) == scene.known:
        return set()
    path = scene.bed.home / "session-sync" / "transactions" / ids[0] / "operations.jsonl"
    whole = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    lines = [json.loads(line) for line in whole]
    done = {line["batch"] for line in lines if line["step"] == "done"}
    return {
        line["operation"]["path"].rsplit("/", 1)[-1]
        for line in lines
        if line["step"] == "intent" and line["batch"] in done
    }


def recovered(scene: Scene) -> int:
    """Recover after a kill and check what stands; returns the number of sidecars that do."""
    bed = scene.bed
    stand = confirmed(scene)
    ended = bed.journal.interrupted() == []
    done = bed.call("recover", "--execute")
    assert (done.exit_code, done.envelope["warnings"]) == (0, [])
    assert done.envelope["status"] == ("no_op" if ended else "ok")
    wanted = {k: v for k, v in scene.before.items() if k not in stand}
    wanted |= {k: v for k, v in scene.after.items() if k in stand}
    assert texts(bed) == wanted
    assert without_sidecars(bed) == scene.rest
    assert ended or list(bed.home.glob("session-sync/transactions/*/.*.tmp")) == []
    return len(stand)


def completes(scene: Scene) -> None:
    """The same command, undisturbed, does what is left to do."""
    done = scene.bed.call(*scene.command)
    assert done.exit_code == 0, done.envelope
    assert texts(scene.bed) == scene.after


IN_COMMAND = (
    *("begin", "manifest", "intend", "journal", "put", "sidecar", "folder of documents", "move"),
    *("name", "sync folder", "sync", "mark", "finish", "discard"),
)
IN_RECOVERY = (
    *("undo all", "undo put", "sidecar", "folder of documents", "undo move", "sync folder", "sync"),
    *("journal", "mark", "sweep", "finish", "discard", "begin", "manifest"),
)
SELDOM = {"move", "name", "sync folder", "folder of documents", "undo move", "sidecar"}
"""Steps that not every command has."""


@pytest.mark.parametrize("name", IN_COMMAND)
def test_a_kill_is_recovered(scene: Scene, sidecar_driver: Driver, name: str) -> None:
    for when in POINTS[name].times():
        standing: list[int] = []
        for number in range(1, PASSAGES):
            bed = scene.reset()
            ended = sidecar_driver.run(bed, (name, when, number), "SIGKILL", *scene.command)
            if ended == 0:
                assert texts(bed) == scene.after
                break
            assert ended == KILLED
            stand = recovered(scene)
            if stand not in standing:
                completes(scene)
            standing.append(stand)
        assert standing or name in SELDOM
        assert standing == sorted(standing)


@pytest.fixture(scope="module")
def killed(scene: Scene, sidecar_driver: Driver) -> Path:
    """A home in which all is written, in one batch, and nothing confirmed."""
    place = scene.saved.with_name("killed")
    bed = scene.reset()
    one_batch = replace(sidecar_driver, batch=100)
    assert one_batch.run(bed, ("mark", "before", 1), "SIGKILL", *scene.command) == KILLED
    shutil.copytree(bed.home, place)
    return place


@pytest.mark.parametrize("name", IN_RECOVERY)
def test_a_kill_in_the_recovery(
    scene: Scene, sidecar_driver: Driver, killed: Path, name: str
) -> None:
    struck = 0
    for when in POINTS[name].times():
        for number in range(1, PASSAGES):
            shutil.rmtree(scene.bed.home)
            shutil.copytree(killed, scene.bed.home)
            fault = (name, when, number)
            ended = sidecar_driver.run(scene.bed, fault, "SIGKILL", "recover", "--execute")
            if ended == 0:
                break
            assert ended == KILLED
            struck += 1
            assert recovered(scene) == 0
            if number == 1:
                completes(scene)
        assert texts(scene.bed) == (scene.before if ended == 0 else scene.after)
    assert struck or name in SELDOM
