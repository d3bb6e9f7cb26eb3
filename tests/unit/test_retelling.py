"""Replaying the journal: whatever was done, it gives the sidecars that are there."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from builders import Session, session_id
from codex_session_sync.journal import playback
from codex_session_sync.sidecars.documents import change_of, read_sidecars
from codex_session_sync.sidecars.retelling import retell
from codex_session_sync.sidecars.rewriting import rewrite
from damages import BEANS, OWN, ROSES, changes, codes, forget, mend
from rolling import Rolling, make_rolling
from workbench import codex_home

STEPS = 14


def on_disk(bed: Rolling) -> dict[str, str | None]:
    return {one.lineage_id: one.text for one in read_sidecars(codex_home(bed.home))}


def replayed(bed: Rolling) -> dict[str, str | None]:
    told = retell(bed.journal)
    assert told.notices == []
    return {lineage: text for lineage, text in told.texts.items() if text is not None}


class Life:
    """A home to which things happen, by chance."""

    def __init__(self, root: Path, chance: random.Random, patch: pytest.MonkeyPatch) -> None:
        self.bed = make_rolling(root, [OWN])
        self.chance = chance
        self.patch = patch
        self.sources = [BEANS, ROSES, BEANS.fork(7).say("Fork"), replace(OWN, name="Renamed")]

    def live(self) -> None:
        deeds: list[Callable[[], None]] = [
            self.sync,
            self.sync,
            self.interrupted,
            self.roll_back,
            self.adopt,
            self.go_on,
            self.delete,
        ]
        self.bed.sync(BEANS)
        for _ in range(STEPS):
            self.chance.choice(deeds)()
            assert replayed(self.bed) == on_disk(self.bed)

    def package(self) -> Path:
        """Sessions as they are by now at their source."""
        place = self.chance.randrange(len(self.sources))
        self.sources[place] = self.sources[place].say(f"turn {self.chance.random()}")
        count = self.chance.randint(1, len(self.sources))
        return self.bed.package(*self.chance.sample(self.sources, count))

    def sync(self) -> None:
        self.bed.call("sync", self.package(), "--execute", "--no-prime")

    def interrupted(self) -> None:
        def die(*_: object) -> None:
            raise KeyboardInterrupt

        with self.patch.context() as patch:
            patch.setattr(playback, "sync_all", die)
            self.sync()
        if self.bed.call("recover").envelope["data"]["transactions"]:
            assert self.bed.call("recover", "--execute").exit_code == 0

    def roll_back(self) -> None:
        chosen = self.chance.choice(self.bed.journal.ids())
        self.bed.call("rollback", chosen, "--execute")

    def adopt(self) -> None:
        """Map one more origin to sessions that are mapped."""
        found = []
        for sidecar in read_sidecars(codex_home(self.bed.home)):
            wanted = dict(sidecar.mappings)
            origin = session_id(100 + self.chance.randrange(3))
            for (_, local), mapping in sidecar.mappings.items():
                wanted[origin, local] = {**mapping, "origin_session_id": origin}
            found.append(change_of(sidecar, wanted, {}))
        rewrite(codex_home(self.bed.home), "adopt", [one for one in found if one is not None])

    def go_on(self) -> None:
        paths = sorted(self.bed.home.glob("sessions/**/*.jsonl"))
        with self.chance.choice(paths).open("ab") as stream:
            stream.write(OWN.say(f"turn {self.chance.random()}").data()[len(OWN.data()) :])

    def delete(self) -> None:
        """Delete a session, then say so."""
        paths = sorted(self.bed.home.glob("sessions/**/*.jsonl"))
        if len(paths) > 2:
            self.chance.choice(paths).unlink()
            mend(self.bed.home, self.chance.choice(["prune-invalid-mappings", "rebuild-sidecar"]))


@pytest.mark.parametrize("seed", range(12))
def test_the_journal_tells_what_is_there(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = Life(tmp_path, random.Random(seed), monkeypatch)
    life.live()
    there = on_disk(life.bed)
    idle = life.bed.call("replay-transactions-sidecar", "--execute").envelope
    assert (idle["status"], idle["data"]) == ("no_op", {"changes": [], "transaction_id": None})
    if there:
        forget(life.bed.home, "sidecars")
        mend(life.bed.home, "replay-transactions-sidecar")
        assert on_disk(life.bed) == there == replayed(life.bed)
        life.bed.undo("--latest")
        assert on_disk(life.bed) == {}


@pytest.fixture
def bed(tmp_path: Path) -> Rolling:
    return make_rolling(tmp_path, [OWN])


def test_what_was_lost_before_a_later_sync_is_replayed_too(bed: Rolling) -> None:
    bed.sync(BEANS, ROSES)
    before = on_disk(bed)
    forget(bed.home, "sidecars")
    fork = BEANS.fork(7).say("Fork")
    bed.sync(BEANS, fork)
    done = mend(bed.home, "replay-transactions-sidecar")
    assert {m["local_session_id"] for c in changes(done) for m in c["mappings"]} == {
        BEANS.id,
        ROSES.id,
    }
    after = on_disk(bed)
    assert set(after) == set(before)
    assert replayed(bed) == after


def test_a_sidecar_that_was_edited_is_put_right(bed: Rolling) -> None:
    bed.sync(BEANS)
    [path] = bed.home.glob("session-sync/sidecars/*.json")
    text = path.read_text()
    path.write_text(text.replace('"Beans"', '"Vines"'))
    done = mend(bed.home, "replay-transactions-sidecar")
    [[mapping]] = [change["mappings"] for change in changes(done)]
    assert mapping["differences"] == {
        "metadata.unknown.name": {"before": "Vines", "after": "Beans"}
    }
    assert path.read_text() == text


def test_without_a_journal_there_is_nothing_to_replay(bed: Rolling) -> None:
    refused = bed.call("replay-transactions-sidecar", "--execute")
    assert (refused.exit_code, refused.codes) == (4, ["journal_missing"])
    bed.sync(BEANS)
    forget(bed.home, "transactions")
    refused = bed.call("replay-transactions-sidecar")
    assert (refused.exit_code, refused.codes) == (4, ["journal_missing"])
    assert on_disk(bed)


def test_a_journal_that_lost_a_transaction_says_so(bed: Rolling) -> None:
    bed.sync(BEANS)
    lost = bed.sync(ROSES)
    forget(bed.home, f"transactions/{lost}")
    told = bed.call("replay-transactions-sidecar")
    assert codes(told) == {"journal_incomplete"}
    [[mapping]] = [change["mappings"] for change in changes(told)]
    assert (mapping["change"], mapping["local_session_id"]) == ("removed", ROSES.id)


def test_a_damaged_transaction_is_passed_over(bed: Rolling) -> None:
    first = bed.sync(BEANS)
    bed.sync(ROSES)
    path = bed.home / "session-sync" / "transactions" / first / "operations.jsonl"
    path.write_bytes(b"{}\n" + path.read_bytes())
    told = bed.call("replay-transactions-sidecar")
    assert codes(told) == {"operation_invalid", "journal_incomplete"}
    rebuilt = bed.call("rebuild-sidecar")
    assert codes(rebuilt) == {"operation_invalid", "journal_incomplete"}
    assert changes(rebuilt) == []


def test_other_sessions_are_none_of_its_business(bed: Rolling) -> None:
    bed.sync(BEANS)
    stray = Session(50).say("x")
    (bed.home / "session-sync" / "sidecars" / "notes.txt").write_text(stray.id)
    assert bed.call("replay-transactions-sidecar").envelope["status"] == "no_op"
