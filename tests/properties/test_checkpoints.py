"""Whatever becomes of a home between captures, each checkpoint gives back what was there then."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from checkpointing import Json, Place, commit, new_repo, of_session
from codex_session_sync.checkpoints.finding import listing_of
from codex_session_sync.checkpoints.manifest import Manifest
from codex_session_sync.checkpoints.resting import LONGEST
from codex_session_sync.errors import StoreError
from model.homes import Home, first_payload
from model.rollout_text import content, dump, head, numbered, parse, session_id, turn

STEPS = (
    *("begin", *["go_on"] * 5, *["fork"] * 3, "revert", "revert", "roll_back", "resettle"),
    *("archive", "compress", "migrate", "truncate", "truncate", "retime", "retime", "copy"),
    *("delete", *["capture"] * 8, "forget", "lose", "spoil"),
)


class Story:
    """A home to which things happen by chance, and what was there at each capture."""

    def __init__(self, root: Path, chance: random.Random) -> None:
        self.place = Place(root)
        self.home = Home(self.place.home)
        self.chance = chance
        self.moment = 1000
        self.made = 0
        self.captured: list[tuple[Manifest, dict[str, Json], dict[str, bytes]]] = []
        self.lost: set[str] = set()
        self.home.dated.mkdir(parents=True)
        new_repo(self.place.repo)

    def new(self) -> str:
        self.made += 1
        return session_id(self.made)

    def tick(self) -> int:
        self.moment += 10
        return self.moment

    def some(self) -> str:
        return self.chance.choice(sorted(self.home.held))

    def plain(self) -> str | None:
        """A session that no other one continues, with one file that is there."""
        referred, there = self.home.referred(), self.home.files()
        found = [i for i in sorted(self.home.held) if i not in referred and i in there]
        found = [i for i in found if len(list(self.home.path.rglob(f"*{i}*"))) == 1]
        return self.chance.choice(found) if found else None

    def do(self, step: str) -> None:
        if step == "begin" or not self.home.held:
            legacy = self.chance.random() < 0.3
            self.home.begin(self.new(), 0, (self.tick(), "user", "hello"), legacy=legacy)
        elif step in ("capture", "forget", "lose", "spoil"):
            getattr(self, step)()
        elif (session := self.plain()) is not None:
            getattr(self, step)(session)

    # -- what happens to sessions -----------------------------------------------------------------

    def go_on(self, session: str) -> None:
        words = [(self.tick(), "user", "more"), (self.tick(), "assistant", "of it")]
        self.home.go_on(session, words)

    def fork(self, session: str) -> None:
        self.home.fork(session, self.new(), 0, self.tick())

    def revert(self, session: str) -> None:
        """The session goes on in a second file, from an earlier place of the first."""
        path = self.home.files()[session]
        if self.home.legacy(session) or path.suffix == ".zst":
            return
        data = content(path)
        lines = data.splitlines(keepends=True)
        kept = self.chance.randint(1, len(lines))
        end = len(parse(b"".join(lines[:kept])))
        base = {
            "history_base": {
                "thread_id": session,
                "end_ordinal_exclusive": parse(data)[end - 1]["ordinal"] + 1,
                "end_byte_offset": sum(map(len, lines[:kept])),
            }
        }
        first = parse(data)[end - 1]["ordinal"] + 1
        words = [(self.tick(), "user", "instead"), (self.tick(), "assistant", "so be it")]
        records = [head(session, self.tick(), legacy=False, base=base)]
        records += turn(session, words, legacy=False)
        name = path.name.replace("T09-00-00", "T09-30-00")
        name = name.replace(session, f"{session}_{session_id(5000 + self.tick())}")
        path.with_name(name).write_bytes(dump(numbered(records, first)))
        del self.home.held[session]

    def roll_back(self, session: str) -> None:
        """A legacy session takes back turns."""
        path = self.home.files()[session]
        if not self.home.legacy(session) or path.suffix == ".zst":
            return
        payload = {"type": "thread_rolled_back", "num_turns": self.chance.randint(1, 2)}
        time = parse(content(path))[-1]["timestamp"]
        with path.open("ab") as stream:
            stream.write(dump([{"timestamp": time, "type": "event_msg", "payload": payload}]))
        self.go_on(session)

    def resettle(self, session: str) -> None:
        self.home.resettle(session, self.tick())

    def archive(self, session: str) -> None:
        self.home.archive(session)

    def compress(self, session: str) -> None:
        self.home.compress(session)

    def migrate(self, session: str) -> None:
        self.home.migrate(session)

    def truncate(self, session: str) -> None:
        self.home.truncate(session, self.chance.randint(1, 4), self.chance.choice([0, 0, 7]))

    def retime(self, session: str) -> None:
        self.home.retime(session, 1, 1)

    def copy(self, session: str) -> None:
        if "forked_from_id" not in first_payload(self.home.files()[session]):
            self.home.copy(session, self.new())

    def delete(self, session: str) -> None:
        self.home.files()[session].unlink()
        del self.home.held[session]

    # -- what happens to the store ----------------------------------------------------------------

    def capture(self) -> None:
        commit(self.place.repo)
        expected, parts = self.place.packed_whole()
        done = self.place.capture()
        assert {one.session_id for one in done.failed}.isdisjoint(expected)
        self.captured.append((done.manifest, expected, parts))

    def forget(self) -> None:
        """What is derived is gone."""
        shutil.rmtree(self.place.store.derived, ignore_errors=True)

    def lose(self) -> None:
        """A package is gone."""
        if package := self.package():
            package.unlink()

    def spoil(self) -> None:
        """A byte of a package is another one."""
        if package := self.package():
            data = bytearray(package.read_bytes())
            data[self.chance.randrange(len(data))] ^= 1
            package.chmod(0o644)
            package.write_bytes(data)

    def package(self) -> Path | None:
        found = sorted(self.place.store.packages.rglob("*.csync"))
        if not found or self.chance.random() < 0.5:
            return None
        path = self.chance.choice(found)
        self.lost.add(path.stem)
        return path

    # -- what must hold ---------------------------------------------------------------------------

    def check(self) -> None:
        """Each checkpoint gives what was there; what rests on lost packages is refused.

        Nothing was lost since the last one, which so gives all.
        """
        *earlier, last = self.captured
        for captured in earlier:
            self._check(*captured, lost=self.lost)
        self._check(*last, lost=set())

    def _check(
        self,
        manifest: Manifest,
        expected: dict[str, Json],
        parts: dict[str, bytes],
        lost: set[str],
    ) -> None:
        listed = listing_of(self.place.store, manifest).sessions
        assert set(expected) <= set(listed)
        assert all(len(one.chain) <= LONGEST for one in listed.values())
        sound = {i for i in expected if not {link.package for link in listed[i].chain} & lost}
        try:
            made, sessions, found = self.place.assembled(manifest)
        except StoreError:
            assert not sound
            return
        assert set(made.sessions) == set(sessions)
        assert sound <= set(sessions)
        assert {error.session_id for error in made.refused} == set(listed) - set(sessions)
        for one in sound:
            told, files, links = of_session(sessions[one], found)
            wanted, whole, chain = of_session(expected[one], parts)
            assert (told, files[-1], links) == (wanted, whole[-1], chain)
            # Of an older file what no history goes through may be missing.
            for here, there, part in zip(files, whole, listed[one].slices, strict=True):
                assert there.startswith(here)
                assert len(here) >= part.size


@settings(max_examples=30, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(steps=st.lists(st.sampled_from(STEPS), min_size=10, max_size=40), seed=st.integers(0, 999))
def test_a_checkpoint_gives_back_what_was_there(steps: list[str], seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        story = Story(Path(folder), random.Random(seed))
        for step in ("begin", "begin", "capture", *steps, "capture"):
            story.do(step)
        story.check()
