"""The import service asked to import: what a request does, and what its key is for."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builders import Session, write_snapshot
from codex_session_sync.journal.log import Journal
from codex_session_sync.service import importing
from service_frames import Json, batch, changed, chunks, item
from servicebed import SMALL, Bed, bed, state_of, transcripts
from unit.service_cases import COMPOST, POND, ROSES, make_here, make_service, results
from workbench import call, make_database, tree

here = pytest.fixture(make_here)
service = pytest.fixture(make_service)


def synced(here: Path, *sessions: Session) -> Path:
    """A home that one sync brought these sessions into."""
    home, package = here / "synced", here / "package"
    home.mkdir()
    make_database(home)
    write_snapshot(package, list(sessions))
    assert call("sync", package, "--execute", "--no-prime", "--codex-home", home).exit_code == 0
    return home


# Requests


def test_a_request_does_what_a_sync_does(here: Path, service: Bed) -> None:
    make_database(service.home)
    found = service.result(batch("k", [item(ROSES), item(COMPOST), item(POND)]))
    assert results(found) == [("imported", None)] * 3
    assert found["totals"] == {"imported": 3, "upserted": 0, "skipped": 0, "failed": 0}
    assert (found["planned"], found["repeated"]) == (False, False)
    assert len(state_of(service.home)["rows"]) == 3
    assert state_of(service.home) == state_of(synced(here, ROSES, COMPOST, POND))


def test_records_are_one_transaction_that_is_rolled_back(here: Path, service: Bed) -> None:
    before = transcripts(service.home)
    found = service.result(batch("k", [item(ROSES), item(COMPOST)]))
    [transaction] = found["transactionIds"]
    assert Journal(service.home / "session-sync").ids() == [transaction]
    shown = call("show-transaction", transaction, "--json").envelope["data"]["transaction"]
    assert shown["request"] == {"idempotency_key": "k", "source": "laptop", "mode": "tail"}
    assert call("rollback", transaction, "--execute").exit_code == 0
    assert transcripts(service.home) == before


def test_what_went_on_is_upserted_and_what_is_here_skipped(service: Bed) -> None:
    service.ask(batch("1", [item(ROSES), item(COMPOST)]))
    found = service.result(batch("2", [item(ROSES.say("More")), item(COMPOST)]))
    assert results(found) == [("upserted", None), ("skipped", "equal")]
    assert [one["sessions"][0]["action"] for one in found["items"]] == ["fast_forward", "skip"]
    branch = service.result(batch("3", [item(ROSES.say("Another way"))]))
    assert results(branch) == [("upserted", None)]
    assert branch["items"][0]["sessions"][0]["action"] == "branch"


def test_items_are_isolated(here: Path, service: Bed) -> None:
    package = write_snapshot(here / "package", [COMPOST])
    wrong = item(Session(4, start=40).say("x"))
    found = service.result(
        batch(
            "k",
            [
                {"package": str(here / "nowhere")},
                {"neither": 1},
                item(ROSES),
                {**wrong, "sourceSessionId": ROSES.id},
                {**wrong, "records": [1, 2]},
                {**wrong, "records": [{"type": "other"}]},
                {"package": str(package)},
                {"package": str(package), "sessions": [ROSES.id]},
                {"package": "relative"},
            ],
        )
    )
    assert results(found) == [
        ("failed", "package_not_found"),
        ("failed", "item_invalid"),
        ("imported", None),
        ("failed", "item_session_id_mismatch"),
        ("failed", "item_invalid"),
        ("failed", "item_invalid"),
        ("imported", None),
        ("failed", "item_session_missing"),
        ("failed", "item_invalid"),
    ]
    assert len(found["transactionIds"]) == 2
    assert len(transcripts(service.home)) == 2


def test_an_item_is_failed_if_one_of_its_sessions_is() -> None:
    told = [{"result": one, "reason": one} for one in ("imported", "skipped", "failed")]
    assert importing._item(0, told)["result"] == "failed"
    assert importing._item(0, told[:2])["result"] == "imported"
    assert importing._item(0, told[1:2])["result"] == "skipped"


def test_one_session_twice_is_taken_in_order(service: Bed) -> None:
    more = ROSES.say("More")
    found = service.result(batch("k", [item(ROSES), item(COMPOST), item(more), item(ROSES)]))
    assert [one for one, _ in results(found)] == ["imported", "imported", "upserted", "skipped"]
    assert len(found["transactionIds"]) == 2
    [roses] = [data for name, data in transcripts(service.home).items() if ROSES.id in name]
    assert roses.count(b"\n") == len(more.records())


def test_a_package_is_limited_to_sessions_and_to_places(here: Path) -> None:
    package = write_snapshot(here / "inbox" / "package", [ROSES, COMPOST])
    (here / "link").symlink_to(package)
    with bed(here / "home", below=((here / "inbox").resolve(),)) as service:
        found = service.result(batch("1", [{"package": str(package), "sessions": [ROSES.id]}]))
        assert results(found) == [("imported", None)]
        [session] = found["items"][0]["sessions"]
        assert session["sessionId"] == ROSES.id
        outside = write_snapshot(here / "outside", [COMPOST])
        (here / "inbox" / "way-out").symlink_to(outside)
        for path in (outside, here / "inbox" / "way-out", here / "inbox" / ".." / "outside"):
            found = service.result(batch(str(path), [{"package": str(path)}]))
            assert results(found) == [("failed", "item_package_refused")]
        found = service.result(batch("2", [{"package": str(here / "link")}]))
        assert [one for one, _ in results(found)] == ["imported"]


def test_the_folder_of_packages_may_be_one(here: Path) -> None:
    package = write_snapshot(here / "package", [ROSES]).resolve()
    with bed(here / "home", below=(package,)) as service:
        found = service.result(batch("k", [{"package": str(package)}]))
    assert results(found) == [("imported", None)]


def test_without_execute_it_only_plans(here: Path) -> None:
    home = here / "home"
    with bed(home) as service:
        service.ask(batch("1", [item(ROSES)]))
    before = tree(home, "session-sync/service")
    with bed(home, writes=False) as service:
        more = [item(ROSES.say("More")), item(COMPOST), item(ROSES)]
        found = service.result(batch("2", more))
        assert found["planned"]
        assert found["transactionIds"] == []
        assert [one for one, _ in results(found)] == ["upserted", "imported", "skipped"]
    assert tree(home, "session-sync/service") == before


def test_trust_is_that_of_a_sync(here: Path, service: Bed) -> None:
    """What acts in a package is taken away from records too."""
    wide = replace(ROSES, meta={"selected_capability_roots": ["/tools"]})
    service.ask(batch("k", [item(wide)]))
    [data] = transcripts(service.home).values()
    assert b"selected_capability_roots" not in data
    [manifest] = Journal(service.home / "session-sync").manifests()
    assert manifest["sessions"][0]["removed"] == ["selected_capability_roots"]


# Keys


def reversed_keys(value: Any) -> Any:
    if isinstance(value, list):
        return [reversed_keys(one) for one in value]
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return value


def test_a_repeated_key_gets_the_first_answer(service: Bed) -> None:
    asked = batch("k", [item(ROSES), {"package": "/nowhere"}], 7)
    first = service.one(asked)
    before = tree(service.home)
    spaced = json.dumps(asked, indent=1).replace("\n", " ").encode() + b"\n"
    turned = reversed_keys(asked)
    for again in (asked, spaced, turned):
        answer = service.one(again)
        assert answer == {**first, "payload": {**first["payload"], "repeated": True}}
    assert tree(service.home) == before
    assert service.service.heard.totals["imported"] == 1


def test_an_answer_outlives_the_service(here: Path) -> None:
    with bed(here / "home") as service:
        first = service.result(batch("k", [item(ROSES)]))
    with bed(here / "home") as service:
        assert service.result(batch("k", [item(ROSES)])) == {**first, "repeated": True}


def test_an_answer_that_cannot_be_read_costs_doing_it_again(service: Bed) -> None:
    service.ask(batch("k", [item(ROSES)]))
    [path] = service.state.keys.glob("??/*.json")
    for data in (b"", b"{}", path.read_bytes()[:-20]):
        path.write_bytes(data)
        assert results(service.result(batch("k", [item(ROSES)]))) == [("skipped", "equal")]


def test_old_answers_go(service: Bed) -> None:
    service.ask(batch("old", [item(ROSES)]), batch("new", [item(ROSES)]))
    old = next(p for p in service.state.keys.glob("??/*.json") if b'"old"' in p.read_bytes())
    then = time.time() - SMALL.kept_seconds - 60
    os.utime(old, (then, then))
    service.service.work()
    assert not old.exists()
    assert service.result(batch("new", [item(ROSES)]))["repeated"]
    assert not service.result(batch("old", [item(ROSES)]))["repeated"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"source": "tablet"}, "idempotency_key_source_mismatch"),
        ({"mode": "backfill"}, "idempotency_key_mode_mismatch"),
        ({"items": [{"package": "/nowhere"}]}, "idempotency_key_payload_mismatch"),
        ({"personaId": "gardener"}, "idempotency_key_payload_mismatch"),
        ({"sourceHome": ROSES.id}, "idempotency_key_payload_mismatch"),
    ],
)
def test_a_key_is_for_one_request(service: Bed, change: Json, code: str) -> None:
    asked = batch("k", [item(ROSES)])
    service.ask(asked)
    before = tree(service.home)
    assert service.code(changed(asked, **change)) == code
    assert tree(service.home) == before
    assert service.result(asked)["repeated"]


def test_a_key_of_one_chunk_and_of_requests(service: Bed) -> None:
    [upload] = chunks(ROSES, "k", "u", 1)
    service.ask(upload)
    assert service.code(batch("k", [item(ROSES)])) == "idempotency_key_payload_mismatch"
    other = changed(upload, source="tablet")
    assert service.code(other) == "idempotency_key_source_mismatch"
    assert service.code(changed(upload, mode="backfill")) == "idempotency_key_mode_mismatch"
