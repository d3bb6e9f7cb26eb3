"""Canonical events: the same whatever form of package brings them, once."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from builders import write_transfer
from codex_session_sync.package.reader import open_package
from eventing import counts, events, imported, lines, texts, told
from fingerprint_by_spec import fingerprint
from unit.event_sessions import (
    ALL,
    BEANS,
    FORK,
    OLD,
    archived_copy,
    compressed,
    heads,
    native,
    own_environment,
    said,
    snapshot,
    store_path,
)
from workbench import call

surroundings = pytest.fixture(own_environment, autouse=True)
store = pytest.fixture(store_path)


def transfer(folder: Path) -> Path:
    return write_transfer(folder / "transfer", ALL)


def synced(folder: Path) -> Path:
    """A home into which the sessions came by a sync: forks are whole there."""
    (folder / "other").mkdir()
    options = ("--execute", "--no-prime", "--codex-home", folder / "other")
    assert call("sync", native(folder), *options).exit_code == 0
    return folder / "other"


def respaced(folder: Path) -> Path:
    """Other JSON spacing and escapes, CRLF, and another directory."""
    home = snapshot(folder)
    for path in home.rglob("rollout-*.jsonl"):
        records = [json.loads(line) for line in path.read_bytes().splitlines()]
        text = "".join(json.dumps(one, indent=None, sort_keys=True) + "\r\n" for one in records)
        path.write_bytes(text.replace("/home/alice/garden", "/srv/garden").encode())
    return home


FORMS: list[Callable[[Path], Path]] = [
    *(snapshot, archived_copy, compressed, transfer, native, synced, respaced),
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_gives_the_same_events_once(
    form: Callable[[Path], Path], store: Path, tmp_path: Path
) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    first = imported(tmp_path / "reference", snapshot(tmp_path / "first"))
    assert counts(first) == (10, 4, 0)
    package = form(tmp_path / "second")
    outcome = imported(store, package)
    assert counts(outcome) == (10, 4, 0)
    assert told(store) == told(tmp_path / "reference")
    assert heads(outcome) == heads(first)
    before = lines(store)
    for again in (package, snapshot(tmp_path / "first")):
        outcome = imported(store, again)
        assert (counts(outcome), outcome.envelope["status"]) == ((0, 14, 0), "no_op")
    assert lines(store) == before
    assert texts(store, heads(outcome)[FORK.id]) == said(
        "When do I sow beans?", "And peas?", "And kale?"
    )


def test_all_forms_in_one_store_in_any_order(store: Path, tmp_path: Path) -> None:
    order = random.Random(7).sample(FORMS, len(FORMS))
    for number, form in enumerate(order):
        folder = tmp_path / form.__name__
        folder.mkdir()
        expected = (10, 4, 0) if number == 0 else (0, 14, 0)
        assert counts(imported(store, form(folder))) == expected, form.__name__


def test_an_event_is_the_entry_that_the_specification_names(store: Path, tmp_path: Path) -> None:
    imported(store, snapshot(tmp_path))
    by_id = {event["event_id"]: event for event in events(store)}
    for session in (BEANS, OLD):
        links = fingerprint({session.id: session.data()}, session.id).links
        messages = [
            number
            for number, record in enumerate(
                (r for r in session.records() if r["type"] == "response_item"), 1
            )
            if number > 2
        ]
        found = [by_id[links[number - 1]] for number in messages]
        assert [event["entry"] for event in found] == messages
        assert [event["lineage_id"] for event in found] == [links[0][:32]] * len(messages)
        asked_and_answered = [text for turn in session.turns for text in turn]
        assert [event["text"] for event in found] == asked_and_answered
        parents = [None, *(event["event_id"] for event in found[:-1])]
        assert [event["parent"] for event in found] == parents


@pytest.mark.parametrize("form", [snapshot, native, compressed, archived_copy])
def test_the_record_lies_where_the_event_says(
    form: Callable[[Path], Path], store: Path, tmp_path: Path
) -> None:
    package = form(tmp_path)
    imported(store, package)
    digest = hashlib.sha256(package.read_bytes()).hexdigest() if package.is_file() else None
    with open_package(package) as opened:
        opened.unpack([session.session_id for session in opened.sessions if opened.outlines])
        for line in lines(store):
            if "event_id" not in line:
                continue
            raw = line["raw"]
            assert raw.get("package") == digest
            data = opened.tree.files[raw["member"]].path.read_bytes()
            if raw["member"].endswith(".zst"):
                data = zstandard.ZstdDecompressor().decompress(data)
            if digest is None:
                assert hashlib.sha256(data).hexdigest() == raw["file"]
            record = data[raw["offset"] : raw["offset"] + raw["length"]]
            assert hashlib.sha256(record).hexdigest() == raw["sha256"]
            assert json.loads(record)["payload"]["content"][0]["text"] == line["text"]
