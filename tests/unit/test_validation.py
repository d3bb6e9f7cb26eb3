"""The fast check of documents lets nothing through that the thorough one does not."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import package_by_spec as spec
from builders import Session
from codex_session_sync import validation
from codex_session_sync.errors import PackageError
from rolling import make_rolling

BEANS = Session(2, start=10, name="Beans").say("How do beans climb?")
Documents = dict[str, list[Any]]

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**64), 2**64),
    st.sampled_from([0, 1, 1.0, 0.5, 2**63 - 1, 2**63, float("inf"), float("nan"), b"x"]),
    st.text(max_size=3),
    st.sampled_from(["\ud800", "٣", BEANS.id, BEANS.id.upper(), f"{BEANS.id}\n", "a" * 64]),
    st.sampled_from([[], {}, [1], {"a": 1}]),
)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Documents:
    """What the program itself writes and reads, by schema."""
    bed = make_rolling(tmp_path_factory.mktemp("documents"), [Session(1).say("Was here before")])
    bed.sync(BEANS)
    bed.sync(BEANS.say("More"))
    bed.undo("--latest")
    out = bed.root / "out.csync"
    answers = [
        bed.call("pack", "-o", out),
        bed.call("inspect-package", out),
        bed.call("list-transactions"),
        bed.call("sidecar-health"),
    ]
    found: Documents = {
        "envelope": [answer.envelope for answer in answers],
        "native_manifest": [spec.read(out.read_bytes())[0]],
        "thread_row": [BEANS.row()],
        "operation": [],
        "dynamic_tool": [
            {
                "thread_id": BEANS.id,
                "position": 0,
                "name": "water",
                "description": "waters",
                "input_schema": "{}",
            }
        ],
        "thread_goal": [{"goal_id": "1", "objective": "Plant", "status": "paused"}],
    }
    sync = bed.home / "session-sync"
    for path in sync.glob("transactions/*/operations.jsonl"):
        found["operation"] += [json.loads(line) for line in path.read_bytes().splitlines()]
    for name, pattern in (
        ("transaction", "transactions/*/manifest.json"),
        ("sidecar", "sidecars/*"),
    ):
        found[name] = [json.loads(path.read_bytes()) for path in sync.glob(pattern)]
    return found


NAMES = (
    *("envelope", "native_manifest", "thread_row", "operation", "dynamic_tool"),
    *("thread_goal", "transaction", "sidecar"),
)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_program_writes_fits_at_once(documents: Documents, name: str) -> None:
    assert documents[name]
    for document in documents[name]:
        assert validation._quick(name).is_valid(document)
        validation.check(name, document, "it", PackageError)


@pytest.mark.parametrize("name", NAMES)
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_both_checks_judge_alike(documents: Documents, name: str, data: st.DataObject) -> None:
    document = copy.deepcopy(data.draw(st.sampled_from(documents[name])))
    for _ in range(data.draw(st.integers(1, 2))):
        spoil(document, data)
    truth = validation._validator(name).is_valid(document)
    assert validation.fits(name, document) == truth
    assert truth or not validation._fits(validation._quick(name), document)
    if truth:
        validation.check(name, document, "it", PackageError)
        return
    with pytest.raises(PackageError) as caught:
        validation.check(name, document, "it", PackageError)
    assert caught.value.code == f"{name}_invalid"
    assert caught.value.message.startswith("it does not fit its schema at ")


def spoil(document: Any, data: st.DataObject) -> None:
    """Change, remove or add something somewhere in a document."""
    place = data.draw(st.sampled_from(list(places(document))))
    holder, key = place
    what = data.draw(st.sampled_from(["change", "remove", "add", "lengthen"]))
    if what == "lengthen" and isinstance(holder[key], str):
        holder[key] += data.draw(st.sampled_from(["\n", "0", "x"]))
    elif what == "add" and isinstance(holder, dict):
        holder[data.draw(st.sampled_from(["more", "name", "row", "kind"]))] = copy.deepcopy(
            data.draw(VALUES)
        )
    elif what == "remove" and len(holder) > 1:
        del holder[key]
    else:
        holder[key] = copy.deepcopy(data.draw(VALUES))


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a document: what holds it, and its key."""
    keys: Any = ()
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = range(len(value))
    for key in keys:
        yield value, key
        yield from places(value[key])


def test_why_a_document_fails_is_told_with_its_place() -> None:
    row = {**BEANS.row(), "archived": 7}
    with pytest.raises(PackageError) as caught:
        validation.check("thread_row", row, "line 3", PackageError)
    assert caught.value.message == (
        "line 3 does not fit its schema at archived: 7 is not one of [0, 1, None]"
    )
