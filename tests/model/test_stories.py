"""Generated stories over two and three homes: every sync's class is the oracle's, nothing is lost.

A story is forty random steps (``story.WEIGHTS``) and then an exchange until quiet. Each is told by
its number alone, so that a failure comes again; it is shown without the steps it does not need.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from codex_session_sync import validation
from model.story import make_steps, shortened, tell

BLOCKS = 8
STORIES = int(os.environ.get("MODEL_STORIES", "12"))
"""Stories in a block; more of them can be asked for."""
STEPS = 40


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the homes of one story after the other lie, in memory if there is such a place.

    What makes a sync durable and checks what it reads of its own is tested elsewhere, and slow.
    """
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(validation, "check", lambda *arguments: None)
    memory = Path("/dev/shm")
    made = tempfile.mkdtemp(prefix="stories-", dir=memory if memory.is_dir() else None)
    yield Path(made)
    shutil.rmtree(made)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_every_sync_is_as_the_oracle_says(folder: Path, block: int) -> None:
    met: Counter[str] = Counter()
    for number in range(block * STORIES, (block + 1) * STORIES):
        steps = make_steps(random.Random(number), STEPS)
        homes = 2 + number % 2
        try:
            met.update(tell(folder, steps, homes).seen)
        except Exception as error:
            fewer = shortened(folder, steps, homes)
            error.add_note(f"story {number}, of which is enough: {fewer}")
            tell(folder, fewer, homes)
            raise
    # No block has nothing to show.
    assert {"none", "equal", "local_ahead", "incoming_ahead", "diverged"} <= met.keys()


def test_a_stranger_under_the_id_of_a_branch(folder: Path) -> None:
    """A package holds a session that parted here, and another under the very id that its branch
    gets: the branch is written, the stranger refused, whatever the order."""
    story = tell(folder, [("begin", 0, 0, 0), ("go_on", 0, 0, 0)], 3)
    a, b, c = story.homes
    [session] = a.held
    for home, text in ((a, "on a"), (b, "elsewhere"), (c, "elsewhere")):
        home.go_on(session, [(900_000, "user", text)])
    assert story.sync(a, b, "refuse")
    [branch] = b.held.keys() - {session}
    a.begin(branch, -1, (950_000, "user", "A stranger."), legacy=False)
    assert story.sync(a, c, "refuse")
    assert c.held[branch] == a.held[session]
    story.exchange()
