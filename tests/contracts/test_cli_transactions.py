"""Transactions: listed, named by a beginning, and an interrupted one (5) comes first."""

from __future__ import annotations

import pytest

from builders import Session, write_snapshot
from contracts.places import SOME, Place, checked, filled, make_place, only_transaction
from workbench import call, tree

place = pytest.fixture(make_place)


@pytest.mark.parametrize("again", ["same package", "nothing new in it"])
def test_an_interrupted_transaction_comes_first(place: Place, again: str) -> None:
    place.interrupt()
    if again == "same package":
        write_snapshot(place.package, [Session(4, start=40).say("A new one")])
    before = tree(place.home)
    outcome = place.sync("--execute")
    assert (outcome.codes, outcome.exit_code) == (["transaction_interrupted"], 5)
    assert tree(place.home) == before
    assert call("sync", place.package, "--execute").out == b""
    assert place.sync().exit_code == 0

    assert call("recover", "--execute", "--json").exit_code == 0
    assert place.sync("--execute").exit_code == 0


def test_reading_goes_on_beside_an_unfinished_transaction(place: Place) -> None:
    place.interrupt()
    before = tree(place.home)
    for arguments in (
        ("inspect-package", "PKG"),
        ("sync", "PKG"),
        ("list-transactions",),
        ("show-transaction", "TRANSACTION"),
    ):
        outcome = checked(call(*filled(arguments, place), "--json"))
        assert outcome.exit_code == 0
        (warning,) = outcome.envelope["warnings"]
        assert warning["code"] == "transaction_unfinished"
        assert only_transaction(place) in warning["message"]
    assert tree(place.home) == before
    assert call("recover", "--execute", "--json").exit_code == 0
    assert place.sync().envelope["warnings"] == []


def test_transactions_newest_first(place: Place) -> None:
    ids = []
    for session in SOME:
        done = place.sync("--session", session.id, "--execute")
        ids.append(done.envelope["data"]["transaction_id"])
    found = checked(call("list-transactions", "--json")).envelope["data"]["transactions"]
    assert [one["transaction_id"] for one in found] == ids[::-1]
    assert all((one["status"], one["counts"]) == ("completed", {"imported": 1}) for one in found)


def test_a_transaction_may_be_named_by_its_beginning(place: Place) -> None:
    place.fill()
    whole = only_transaction(place)
    for shortened in (whole, whole[:-3]):
        outcome = checked(call("show-transaction", shortened, "--json"))
        shown = outcome.envelope["data"]["transaction"]
        assert shown["transaction_id"] == whole
        assert {one["state"] for one in shown["operations"]} == {"done"}
        kinds = [one["kind"] for one in shown["operations"]]
        assert kinds.count("create_file") == len(SOME)
        assert kinds.count("put_document") == len(SOME)
        assert kinds.count("append_text") == 1


def test_a_folder_without_manifest_is_no_transaction(place: Place) -> None:
    place.fill()
    stray = place.home / "session-sync" / "transactions" / "20990101T000000000000Z-00000000"
    (stray / "staged").mkdir(parents=True)
    only_transaction(place)
    outcome = checked(call("show-transaction", stray.name, "--json"))
    assert outcome.codes == ["transaction_unknown"]
    assert place.sync("--execute").exit_code == 0
