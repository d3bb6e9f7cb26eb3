"""However frames are dropped, repeated, reordered and cut, the home ends as by one sync."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from builders import Session, write_snapshot
from service_frames import Json, batch, chunks, item, line
from servicebed import SMALL, bed, state_of
from workbench import call, make_database

ROSES = Session(1, start=10).say("How do I prune roses?")
COMPOST = Session(2, start=20, name="Compost").say("What goes on the heap?").say("And peel?")
POND = Session(3, start=30, archived=True).say("How deep is a pond?")
HEDGE = ROSES.fork(4).say("And a hedge?")
LATER = ROSES.say("And climbing ones?").say("How far back?")

FRAMES = [
    batch("1", [item(ROSES), item(COMPOST)], 1),
    batch("2", [item(LATER)], 2),
    batch("3", [item(POND), {"neither": 1}], 3),
    batch("4", [item(LATER), item(HEDGE)], 4),
    *chunks(LATER, "5", "upload-5", 3),
    *chunks(POND, "6", "upload-6", 2, "zstd+base64"),
]
"""What a worker has to tell; the last of the chunks has the answer to its key."""

KEYS = {str(one["payload"]["idempotencyKey"]) for one in FRAMES}
_MADE: dict[str, Mapping[str, Any]] = {}


def by_one_sync() -> Mapping[str, Any]:
    """The home that one sync of the last states of all sessions makes."""
    if "home" not in _MADE:
        with tempfile.TemporaryDirectory() as folder:
            home, package = Path(folder, "home"), Path(folder, "laptop")
            home.mkdir()
            make_database(home)
            write_snapshot(package, [LATER, COMPOST, POND, HEDGE])
            (package / "state_5.sqlite").unlink(missing_ok=True)
            done = call("sync", package, "--execute", "--no-prime", "--codex-home", home)
            assert done.exit_code == 0
            _MADE["home"] = state_of(home)
    return _MADE["home"]


def test_what_is_compared_is_there() -> None:
    found = by_one_sync()
    assert len(found["files"]) == len(found["rows"]) == 4
    assert found["names"] == {COMPOST.id: "Compost"}


Delivery = list[tuple[int, float | None]]
"""Which frames come, in which order, and after which part of them the line is cut."""

deliveries: st.SearchStrategy[Delivery] = st.lists(
    st.tuples(
        st.integers(0, len(FRAMES) - 1),
        st.none() | st.none() | st.floats(0, 1, exclude_max=True),
    ),
    max_size=20,
)


@settings(max_examples=12)
@given(deliveries, st.lists(st.integers(0, 20), max_size=1), st.randoms(use_true_random=False))
def test_the_home_ends_as_by_one_sync(delivery: Delivery, ends: list[int], random: Any) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        home = folder / "home"
        home.mkdir()
        make_database(home)
        answered: dict[str, Json] = {}
        sent = [_cut(FRAMES[place], part) for place, part in delivery]
        # What was not answered is sent again, in any order, to services that begin and end.
        parts = [sent[: ends[0]], sent[ends[0] :]] if ends else [sent]
        for part in [*parts, None, None]:
            left = [one for one in FRAMES if one["payload"]["idempotencyKey"] not in answered]
            again = [line(one) for one in left]
            random.shuffle(again)
            with bed(home, SMALL) as service:
                for one in service.ask(*(again if part is None else part)):
                    _take(one, answered)
        assert set(answered) == KEYS
        assert state_of(home) == by_one_sync()
    finally:
        shutil.rmtree(folder)


def _cut(one: Json, part: float | None) -> bytes:
    """A frame as it comes; a part of it with the newline of the next one, or nothing."""
    data = line(one)
    return data if part is None else data[: int(part * (len(data) - 2))] + b"\n"


def _take(one: Json, answered: dict[str, Json]) -> None:
    """Take note of an answer; the same key gets the same one."""
    if one["type"] != "import.result":
        assert one["type"] in ("run.error", "run.progress")
        return
    payload = {k: v for k, v in one["payload"].items() if k not in ("repeated", "uploadId")}
    known = answered.setdefault(payload["idempotencyKey"], payload)
    assert known == payload
    assert one["payload"]["repeated"] or known is payload
