"""Changes of sidecars as transactions: refused, interrupted, rolled back, like any other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from builders import Session, session_id
from codex_session_sync.errors import HomeError, InterruptedTransactionError
from codex_session_sync.journal import playback
from codex_session_sync.journal.log import MAPPING_KINDS
from codex_session_sync.journal.operations import MoveFile, PutDocument
from codex_session_sync.lineage.sidecar import Mappings
from codex_session_sync.recovery import find_interrupted, recover
from codex_session_sync.sidecars.documents import Sidecar, SidecarChange, change_of, read_sidecars
from codex_session_sync.sidecars.rewriting import rewrite
from rolling import Rolling, make_rolling
from workbench import codex_home

BEANS = Session(2, start=60, name="Beans").say("How do beans climb?")
OWN = Session(1, start=10).say("Was here before")
ROSES = Session(3, start=120).say("Which roses?")


@pytest.fixture
def bed(tmp_path: Path) -> Rolling:
    return make_rolling(tmp_path, [OWN])


def sidecars(bed: Rolling) -> list[Sidecar]:
    return list(read_sidecars(codex_home(bed.home)))


def emptied(bed: Rolling) -> list[SidecarChange]:
    """Changes that take every mapping out."""
    found = [change_of(sidecar, {}, {}) for sidecar in sidecars(bed)]
    return [change for change in found if change is not None]


def copied(sidecar: Sidecar) -> Mappings:
    """Every mapping once more, for another origin."""
    found = dict(sidecar.mappings)
    for (_, local), mapping in sidecar.mappings.items():
        found[session_id(77), local] = {**mapping, "origin_session_id": session_id(77)}
    return found


def added(bed: Rolling) -> list[SidecarChange]:
    found = [change_of(sidecar, copied(sidecar), {}) for sidecar in sidecars(bed)]
    return [change for change in found if change is not None]


@pytest.mark.parametrize("kind", sorted(MAPPING_KINDS))
def test_each_kind_is_rolled_back_and_forth(bed: Rolling, kind: str) -> None:
    bed.sync(BEANS, BEANS.fork(9).say("Else?"), ROSES)
    before = bed.state()
    changes = added(bed)
    done = rewrite(codex_home(bed.home), kind, changes)
    assert done.transaction_id is not None
    assert not done.failures
    after = bed.state()
    assert {s.lineage_id: s.text for s in sidecars(bed)} == {
        change.lineage_id: change.after for change in changes
    }
    shown = bed.call("show-transaction", done.transaction_id).envelope["data"]["transaction"]
    assert (shown["kind"], shown["status"]) == (kind, "completed")
    assert [one["now"]["state"] for one in shown["sessions"]] == ["as_left"] * 3
    back = bed.undo("--latest")
    assert bed.state() == before
    bed.undo(back)
    assert bed.state() == after


def test_a_sync_is_rolled_back_beneath_it_and_not_the_other_way_round(bed: Rolling) -> None:
    first = bed.sync(BEANS, ROSES)
    done = rewrite(codex_home(bed.home), "rebuild-sidecar", added(bed))
    assert done.transaction_id is not None
    later = bed.sync(BEANS.say("More"))
    kept = bed.rollback(done.transaction_id).sessions
    assert {i: (one["result"], one["reason"]) for i, one in kept.items()} == {
        BEANS.id: ("kept", "advanced_since"),
        ROSES.id: ("undone", None),
    }
    bed.undo(later)
    bed.undo(first)
    left = [set(sidecar.mappings) for sidecar in sidecars(bed)]
    assert left == [{(session_id(77), BEANS.id)}]


def test_some_sessions_of_one_lineage_only(bed: Rolling) -> None:
    fork = BEANS.fork(9).say("Else?")
    bed.sync(BEANS, fork)
    rewrite(codex_home(bed.home), "adopt", added(bed))
    bed.undo("--latest", "--session", BEANS.id)
    [sidecar] = sidecars(bed)
    assert set(sidecar.mappings) == {
        (BEANS.id, BEANS.id),
        (fork.id, fork.id),
        (session_id(77), fork.id),
    }


def test_nothing_is_written_where_nothing_changes(bed: Rolling) -> None:
    bed.sync(BEANS)
    assert [change_of(s, s.mappings, {}) for s in sidecars(bed)] == [None]
    assert rewrite(codex_home(bed.home), "adopt", []).transaction_id is None
    assert len(bed.journal.ids()) == 1


@pytest.mark.parametrize(
    "damage",
    [b"", b"{}", b"\xff\xfe", b"\0" * 100, None],
    ids=["empty", "another document", "no text", "zeros", "another lineage"],
)
def test_a_damaged_sidecar_is_moved_away(bed: Rolling, damage: bytes | None) -> None:
    bed.sync(BEANS)
    [sidecar] = sidecars(bed)
    path = bed.home / "session-sync" / "sidecars" / f"{sidecar.lineage_id}.json"
    document = json.loads(path.read_bytes())
    if damage is None:
        damage = json.dumps({**document, "lineage_id": "0" * 32}).encode()
    path.write_bytes(damage)
    [damaged] = sidecars(bed)
    assert damaged.damage
    for wanted in (sidecar.mappings, {}):
        path.write_bytes(damage)
        change = change_of(damaged, wanted, {})
        assert change is not None
        done = rewrite(codex_home(bed.home), "rebuild-sidecar", [change])
        [kept] = bed.home.glob(f"session-sync/transactions/{done.transaction_id}/{path.name}")
        assert kept.read_bytes() == damage
        assert (path.read_text() if path.exists() else None) == (sidecar.text if wanted else None)
        back = bed.undo("--latest")
        assert not path.exists()
        if wanted:
            bed.undo(back)
            assert path.read_text() == sidecar.text


def test_it_is_refused_over_an_interrupted_one_and_recovered(
    bed: Rolling, monkeypatch: pytest.MonkeyPatch
) -> None:
    bed.sync(BEANS, ROSES)
    before = bed.state()
    changes = added(bed)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    home = codex_home(bed.home)
    with monkeypatch.context() as patch:
        patch.setattr(playback, "sync_all", die)
        with pytest.raises(KeyboardInterrupt):
            rewrite(home, "adopt", changes)
    with pytest.raises(InterruptedTransactionError) as refused:
        rewrite(home, "adopt", changes)
    assert refused.value.code == "transaction_interrupted"
    [found] = find_interrupted(bed.journal)
    assert recover(home, bed.journal, found) == []
    assert bed.state() == before
    assert bed.journal.manifest(found.transaction_id)["status"] == "recovered"


def test_one_that_others_changed_meanwhile_fails_alone(bed: Rolling) -> None:
    bed.sync(BEANS, ROSES)
    changes = emptied(bed)
    stale = replace(changes[0], before=changes[0].before and changes[0].before + "\n")
    done = rewrite(codex_home(bed.home), "prune-invalid-mappings", [stale, changes[1]])
    [(lineage, problem)] = done.failures.items()
    assert lineage == stale.lineage_id
    assert isinstance(problem, HomeError)
    assert problem.code == "home_changed"
    assert [s.lineage_id for s in sidecars(bed)] == [stale.lineage_id]
    assert done.transaction_id is not None
    assert bed.journal.manifest(done.transaction_id)["status"] == "partial"


def test_only_sidecars_are_touched(bed: Rolling) -> None:
    bed.sync(BEANS)
    done = rewrite(codex_home(bed.home), "prune-invalid-mappings", emptied(bed))
    assert done.transaction_id is not None
    operations = [
        operation
        for batch in bed.journal.batches(done.transaction_id)
        for _, operation in batch.operations
    ]
    assert all(isinstance(operation, PutDocument | MoveFile) for operation in operations)
