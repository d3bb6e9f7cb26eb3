"""Canonical events: the same whatever package brings them, once, and never changed."""

from __future__ import annotations

import hashlib
import json
import random
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from builders import Record, Session, write_snapshot, write_transfer
from codex_session_sync.events import drafting, importing
from codex_session_sync.events.importing import import_events
from codex_session_sync.events.normalise import CURRENT, Message, Normaliser
from codex_session_sync.events.sources import Source
from codex_session_sync.package import native as native_packages
from codex_session_sync.package.reader import open_package
from codex_session_sync.store import documents
from codex_session_sync.store.opening import make_store, open_store
from eventing import (
    busy,
    counts,
    dumped,
    events,
    imported,
    lines,
    owners,
    renumbered,
    searched,
    shown_owners,
    texts,
    told,
    write_records,
)
from fingerprint_by_spec import fingerprint
from workbench import call, environment, tree

BEANS = Session(1, start=10, name="Beans").say("When do I sow beans?").say("And peas?")
FORK = replace(BEANS.fork(2)).say("And kale?")
OLD = Session(3, legacy=True, start=30).say("How do I prune roses?").say("When?")
PARTED = replace(BEANS, turns=BEANS.turns[:1]).say("And lettuce?")
"""The first session as it went on elsewhere."""
ALL = (BEANS, FORK, OLD)


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def said(*texts: str) -> list[str]:
    return [one for text in texts for one in (text, f"answer to: {text}")]


def heads(outcome: Any) -> dict[str, str | None]:
    return {s["session_id"]: s.get("head_event") for s in outcome.envelope["data"]["sessions"]}


# -- the same in every form ------------------------------------------------------------------------


def snapshot(folder: Path) -> Path:
    return write_snapshot(folder / "home", ALL)


def archived_copy(folder: Path) -> Path:
    path = folder / "copy.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(snapshot(folder), "copy")
    return path


def compressed(folder: Path) -> Path:
    home = snapshot(folder)
    for path in list(home.rglob("*.jsonl")):
        if path.name.startswith("rollout-"):
            data = zstandard.ZstdCompressor().compress(path.read_bytes())
            path.with_name(f"{path.name}.zst").write_bytes(data)
            path.unlink()
    return home


def transfer(folder: Path) -> Path:
    return write_transfer(folder / "transfer", ALL)


def native(folder: Path) -> Path:
    assert call("pack", "-o", folder / "all.csync", "--codex-home", snapshot(folder)).exit_code == 0
    return folder / "all.csync"


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


# -- what follows what -----------------------------------------------------------------------------


def test_lines_that_part_share_what_they_share(store: Path, tmp_path: Path) -> None:
    imported(store, write_snapshot(tmp_path / "here", [BEANS]))
    outcome = imported(store, write_snapshot(tmp_path / "there", [PARTED]))
    assert counts(outcome) == (2, 2, 0)
    there = heads(outcome)[BEANS.id]
    assert texts(store, there) == said("When do I sow beans?", "And lettuce?")
    assert len({event["lineage_id"] for event in events(store)}) == 1
    both = searched(store, "sow")
    assert [len(event["sessions"]) for event in both] == [1, 1]
    assert dumped(store)
    here = heads(imported(store, tmp_path / "here"))[BEANS.id]
    assert texts(store, here) == said("When do I sow beans?", "And peas?")


def delta(folder: Path, old: Path, new: Path) -> Path:
    """What a home lacks of another."""
    have, out = folder / "have.json", folder / "news.csync"
    for path in (have, out):
        path.unlink(missing_ok=True)
    assert call("have", "-o", have, "--codex-home", old).exit_code == 0
    packed = call("pack", "-o", out, "--have", have, "--codex-home", new, "--json")
    assert packed.exit_code == 0, packed.envelope["errors"]
    return out


GROWING = replace(BEANS, number=4).say("And chard?")
GROWING_OLD = replace(GROWING, legacy=True)


def beginnings(session: Session) -> list[list[Record]]:
    """The records of a session up to each of its entries."""
    records = busy(session)
    places = [n for n, record in enumerate(records, 1) if record["type"] == "response_item"]
    return [records[:place] for place in places]


@pytest.mark.parametrize(
    ("session", "base"),
    [*((GROWING, base) for base in (1, 3, 5, 7, 8)), (GROWING_OLD, 2), (GROWING_OLD, 7)],
    ids=lambda value: getattr(value, "id", value),
)
def test_a_delta_goes_on_wherever_its_base_ends(
    session: Session, base: int, store: Path, tmp_path: Path
) -> None:
    """The base may end between two calls of a tool; the store may have less, as much, or more."""
    stages = beginnings(session)
    whole = write_records(tmp_path / "whole", session, busy(session))
    imported(tmp_path / "reference", whole)
    old = write_records(tmp_path / "old", session, stages[base - 1])
    package = delta(tmp_path, old, whole)
    for known in sorted({base - 1, base, base + 1} - {0}):
        here = tmp_path / f"store-{known}"
        home = write_records(tmp_path / f"home-{known}", session, stages[known - 1])
        imported(here, home)
        outcome = imported(here, package)
        if known < base:
            assert outcome.codes == ["prerequisite_missing"]
            assert outcome.envelope["data"]["counts"]["refused"] == 1
            assert "events import" in outcome.envelope["errors"][0]["hint"]
            assert counts(imported(here, old))[2] == 0
            outcome = imported(here, package)
        assert outcome.codes == []
        assert told(here) == told(tmp_path / "reference")
        assert outcome.envelope["data"]["sessions"][0]["entries"] == len(stages)
        assert counts(imported(here, whole))[0] == 0
        assert counts(imported(here, package))[0] == 0


def test_a_delta_whose_base_another_session_of_the_package_has(store: Path, tmp_path: Path) -> None:
    """A fork that is packed whole brings what the session that it was forked from needs."""
    grown = BEANS.say("And chard?")
    old = write_snapshot(tmp_path / "old", [BEANS])
    new = write_snapshot(tmp_path / "new", [grown, FORK])
    package = delta(tmp_path, old, new)
    assert imported(store, package).codes == ["prerequisite_missing"] * 2
    imported(store, old)
    assert counts(imported(store, package)) == (4, 0, 0)
    reference = tmp_path / "reference"
    imported(reference, new)
    assert told(store) == told(reference)


def test_many_entries_without_a_word_are_passed_in_parts(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drafting, "MOST_PASSED", 3)
    stages = beginnings(BEANS)
    for stage in (6, 7, len(stages)):
        imported(store, write_records(tmp_path / str(stage), BEANS, stages[stage - 1]))
    assert [line for line in lines(store) if "event_id" not in line]
    imported(tmp_path / "reference", tmp_path / str(len(stages)))
    assert told(store) == told(tmp_path / "reference")
    before = lines(store)
    package = delta(tmp_path, tmp_path / "7", tmp_path / str(len(stages)))
    assert counts(imported(store, package))[0] == 0
    assert lines(store) == before


# -- what is no event ------------------------------------------------------------------------------


def message(role: str, *texts: str, **more: Any) -> Record:
    kind = "output_text" if role == "assistant" else "input_text"
    parts = [{"type": kind, "text": text} for text in texts]
    payload = {"type": "message", "role": role, "content": parts, **more}
    return {"type": "response_item", "payload": payload}


def with_entries(*entries: Record) -> list[Record]:
    """The first session with other entries at its end."""
    records = BEANS.records()
    last = records[-1]
    return renumbered([*records, *({**last, **entry} for entry in entries)])


NONE = [
    message("user", "<environment_context>\n  <cwd>/x</cwd>\n</environment_context>"),
    message("user", "# AGENTS.md instructions for /x\n\n<INSTRUCTIONS>\n…\n</INSTRUCTIONS>"),
    message("user", "<user_instructions>\nbe brief\n</user_instructions>"),
    message("user", "<turn_aborted>\n…\n</turn_aborted>"),
    message("user", '<subagent_notification>\n{"agent_path":"x"}\n</subagent_notification>'),
    message("user", "<environment_context>…</environment_context>", "<skill>\n…\n</skill>"),
    message("user", "  \n"),
    message("assistant", ""),
    message("developer", "Be brief."),
    message("user"),
    {"type": "response_item", "payload": {"type": "message", "role": "user", "content": "text"}},
    {"type": "response_item", "payload": {"type": "reasoning", "summary": []}},
    {"type": "compacted", "payload": {"message": "what was said"}},
]
SOME = [
    (message("user", "<b>bold</b>"), "<b>bold</b>", 0),
    (message("user", "one", "two"), "one\ntwo", 0),
    (message("user", "see <environment_context> there"), "see <environment_context> there", 0),
    (message("assistant", "<environment_context>…</environment_context>"), None, 0),
    (message("user", "\u2028\0\x1b[31m"), "\u2028\0\x1b[31m", 0),
]


def test_what_codex_put_among_it_is_none(store: Path, tmp_path: Path) -> None:
    records = with_entries(*NONE, *(record for record, _, _ in SOME))
    outcome = imported(store, write_records(tmp_path / "home", BEANS, records))
    found = texts(store, heads(outcome)[BEANS.id])[4:]
    assert found == [text or record["payload"]["content"][0]["text"] for record, text, _ in SOME]


def test_images_are_counted(store: Path, tmp_path: Path) -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    said_so = message("user", "<image name=[Image #1]>", "</image>", "what is this?")
    said_so["payload"]["content"].insert(1, image)
    alone = {**said_so, "payload": {**said_so["payload"], "content": [image]}}
    records = with_entries(said_so, alone)
    imported(store, write_records(tmp_path / "home", BEANS, records))
    found = events(store)[-2:]
    assert [(event["text"], event["images"]) for event in found] == [("what is this?", 1), ("", 1)]


def test_the_answer_to_a_compaction_is_none(store: Path, tmp_path: Path) -> None:
    summary = message("assistant", "They talked about beans.")
    compacted = {
        "type": "compacted",
        "payload": {"message": "Here is it:\nThey talked about beans."},
    }
    other = {"type": "compacted", "payload": {"message": "Something else"}}
    records = with_entries(summary, compacted, summary, other, message("user", "Go on"), compacted)
    outcome = imported(store, write_records(tmp_path / "home", BEANS, records))
    assert texts(store, heads(outcome)[BEANS.id])[4:] == ["They talked about beans.", "Go on"]


def test_turns_that_were_taken_back_are_none(store: Path, tmp_path: Path) -> None:
    records = OLD.records()
    undo = {**records[-1], "payload": {"type": "thread_rolled_back", "num_turns": 1}}
    again = replace(OLD, turns=(*OLD.turns, ("Or now?", "Yes."))).records()[len(records) :]
    home = write_records(tmp_path / "home", OLD, [*records, undo, *again])
    outcome = imported(store, home)
    assert texts(store, heads(outcome)[OLD.id]) == [
        *said("How do I prune roses?"),
        *("Or now?", "Yes."),
    ]


def test_a_first_entry_that_was_taken_back_leaves_its_lineage(store: Path, tmp_path: Path) -> None:
    """Beside a session of the lineage that it would have been of."""
    head, _, _, *turns = OLD.records()
    undo = {**turns[-1], "payload": {"type": "thread_rolled_back", "num_turns": 2}}
    again = replace(OLD, turns=(*OLD.turns, ("Or now?", "Yes."))).records()[3 + len(turns) :]
    home = write_records(tmp_path / "home", OLD, [head, *turns])
    other = replace(OLD, number=8)
    write_records(home, other, [other.records()[0], *turns, undo, *again])
    outcome = imported(store, home)
    assert counts(outcome)[2] == 0
    assert texts(store, heads(outcome)[other.id]) == ["Or now?", "Yes."]
    assert len({event["lineage_id"] for event in events(store)}) == 2
    assert all(line["passed"] or line["parent"] or line["entry"] == 1 for line in events(store))
    assert counts(imported(store, home))[0] == 0
    ledgers = {path.stem for path in (store / "events").rglob("*.jsonl")}
    assert ledgers == {event["lineage_id"] for event in events(store)}


def test_a_text_that_is_too_long_is_cut(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codex_session_sync.events.event.MAX_TEXT_BYTES", 10)
    imported(store, write_snapshot(tmp_path / "home", [Session(1).say("ääääääääää", "short")]))
    assert [(e["text"], e.get("cut")) for e in events(store)] == [("äääää", True), ("short", None)]


def test_a_key_may_be_escaped(store: Path, tmp_path: Path) -> None:
    home = write_snapshot(tmp_path / "home", [BEANS])
    path = home / BEANS.relative_path
    plain, escaped = (
        path.read_bytes().replace(b'"role"', key) for key in (b'"role"', b'"r\\u006fle"')
    )
    assert plain != escaped
    path.write_bytes(escaped)
    assert counts(imported(store, home))[0] == 2 * len(BEANS.turns)


def test_what_is_odd_in_a_transcript_is_told(store: Path, tmp_path: Path) -> None:
    home = write_snapshot(tmp_path / "home", [BEANS])
    with (home / BEANS.relative_path).open("ab") as stream:
        stream.write(b'{"torn')
    assert imported(store, home).envelope["warnings"] != []


# -- a newer normaliser ----------------------------------------------------------------------------


def newer(entry: Record, following: Record | None) -> Message | None:
    """Takes calls of tools for messages of agents, and lets go of what begins with And."""
    if entry["payload"].get("type") == "function_call":
        return Message("agent_message", f"called {entry['payload']['name']}")
    found = CURRENT.message(entry, following)
    if found is None or found.text.startswith("And"):
        return None
    return replace(found, text=found.text.upper())


NEWER = Normaliser(2, newer)


def run(store: Path, package: Path, normaliser: Normaliser) -> dict[str, Any]:
    sources = [Source(package, package.name)]
    done = import_events(store, sources, open_package, normaliser=normaliser)
    found: dict[str, Any] = done.manifest["counts"]
    return found


def test_a_newer_normaliser_observes_again_and_rewrites_nothing(
    store: Path, tmp_path: Path
) -> None:
    home = write_records(tmp_path / "home", GROWING, busy(GROWING))
    imported(store, home)
    old, before = events(store), {p: p.read_bytes() for p in (store / "events").rglob("*.jsonl")}
    assert len(searched(store, "chard")) == 2
    assert run(store, home, NEWER)["added"] == 12
    for path, data in before.items():
        assert path.read_bytes().startswith(data)
    new = events(store)[len(old) :]
    assert {event["normaliser"] for event in new} == {2}
    by_id = {event["event_id"]: event for event in old}
    for event in new:
        known = by_id.get(event["event_id"])
        assert event.get("reobserves") == (1 if known else None)
        if event["text"].startswith("called"):
            assert known is None
        else:
            assert known is not None
            gone = known["text"].startswith("And")
            assert event["kind"] == ("withdrawn" if gone else known["kind"])
            assert event["text"] == ("" if gone else known["text"].upper())
    for normaliser in (NEWER, CURRENT):
        assert run(store, home, normaliser)["added"] == 0
    assert len(searched(store, "called")) == 6
    assert [event["snippet"] for event in searched(store, "chard")] == ["ANSWER TO: AND CHARD?"]
    everything = searched(store, "--session", GROWING.id)
    assert len(everything) == 10
    assert {len(event["sessions"]) for event in everything} == {1}
    index = dumped(store)
    assert call("events", "rebuild", "--store", store).exit_code == 0
    assert dumped(store) == index


def test_a_newer_normaliser_that_finds_a_later_end_gives_it_to_the_session(
    store: Path, tmp_path: Path
) -> None:
    records = busy(BEANS)
    call = next(one for one in records if one["payload"].get("type") == "function_call")
    home = write_records(tmp_path / "home", BEANS, renumbered([*records, call]))
    imported(store, home)
    run(store, home, NEWER)
    assert shown_owners(store) == owners(store)


def test_a_session_that_only_the_older_normaliser_saw_goes_on(store: Path, tmp_path: Path) -> None:
    """Forks of one line, of which one is read by a newer program and the other is not."""
    home = write_snapshot(tmp_path / "home", [BEANS])
    imported(store, home)
    imported(store, write_snapshot(tmp_path / "parted", [PARTED]))
    run(store, home, NEWER)
    outcome = imported(store, write_snapshot(tmp_path / "more", [PARTED.say("And leek?")]))
    assert counts(outcome)[0] == 2
    found = searched(store, "leek")
    assert [len(event["sessions"]) for event in found] == [1, 1]
    index = dumped(store)
    assert call("events", "rebuild", "--store", store).exit_code == 0
    assert dumped(store) == index


@pytest.mark.parametrize("known", [0, 1, 2, 3])
@pytest.mark.parametrize("way", [1, -1])
@pytest.mark.parametrize("last", [("{}", "Yes."), ("Weed?", "{}")], ids=["user", "agent"])
def test_a_newer_normaliser_leaves_the_events_of_parted_lines_to_them(
    store: Path, tmp_path: Path, known: int, last: tuple[str, str], way: int
) -> None:
    """However many of the lines the older one had observed."""
    grown = [
        Session(number).say("Do I sow?").say(*(words.format(number) for words in last))
        for number in (1, 2, 3)
    ]
    home = tmp_path / "home"
    for session in grown[::way][:known]:
        imported(store, write_records(home, session, busy(session)))
    for session in grown:
        write_records(home, session, busy(session))
    run(store, home, NEWER)
    assert len(set(map(frozenset, owners(store).values()))) == 4
    assert shown_owners(store) == owners(store)
    index = dumped(store)
    assert call("events", "rebuild", "--store", store).exit_code == 0
    assert dumped(store) == index


# -- runs ------------------------------------------------------------------------------------------


def test_the_manifest_tells_what_was_done(store: Path, tmp_path: Path) -> None:
    git = {"commit_hash": "4f2a9c1" + "0" * 33, "branch": "main", "repository_url": "git@x:a/b.git"}
    session = replace(BEANS, meta={"git": git})
    package = write_transfer(tmp_path / "package", [session, OLD])
    next((package / "sessions").glob(f"*{OLD.id}.jsonl")).unlink()
    outcome = imported(store, package)
    assert (outcome.exit_code, outcome.codes) == (1, ["transcript_missing"])
    [entry] = documents.entries(open_store(store), "import")
    manifest = json.loads(documents.read_document(open_store(store), entry))
    assert manifest["import_id"] == entry.id == outcome.envelope["data"]["import_id"]
    assert manifest["counts"] == {"sessions": 1, "refused": 1, "added": 4, "seen": 0, "orphaned": 0}
    [taken, refused] = manifest["sessions"]
    assert refused["refused"]["code"] == "transcript_missing"
    assert taken["git"] == {
        "repository": git["repository_url"],
        "branch": "main",
        "commit": git["commit_hash"],
    }
    [file] = taken["files"]
    assert file["sha256"] == hashlib.sha256(session.data()).hexdigest()
    [lineage] = manifest["lineages"]
    [ledger] = (store / "events").rglob("*.jsonl")
    assert (ledger.stem, ledger.stat().st_size) == (lineage["lineage_id"], lineage["end"])


def test_a_package_of_the_store_is_named_by_its_digest(store: Path, tmp_path: Path) -> None:
    made = make_store(store)
    with documents.staging_folder(made) as folder:
        staged = Path(native(tmp_path)).rename(folder / "package")
        entry = documents.put_package(made, staged)
    outcome = imported(store, Path(entry.id[:10]))
    assert counts(outcome) == (10, 4, 0)
    assert {line["raw"]["package"] for line in lines(store)} == {entry.id}
    assert imported(store, Path("0123456789")).codes == ["package_not_found"]


def test_without_a_package_it_is_the_home(store: Path, tmp_path: Path) -> None:
    write_snapshot(tmp_path / "home", [BEANS])
    outcome = call("events", "import", "--store", store, "--json")
    assert counts(outcome) == (4, 0, 0)


def test_what_is_known_of_a_native_package_is_not_unpacked(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = native(tmp_path)
    imported(store, package)
    real: Any = native_packages.__dict__["contents"]

    def only_chains(stream: Any, part: Any, limits: Any) -> Any:
        assert part.name.startswith("chains/")
        return real(stream, part, limits)

    monkeypatch.setattr(native_packages, "contents", only_chains)
    assert counts(imported(store, package)) == (0, 14, 0)


def test_two_imports_at_once_add_what_is_new_once(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one ends while the packages of the first one are read."""
    home, other = snapshot(tmp_path), write_snapshot(tmp_path / "other", [BEANS, PARTED.fork(9)])
    real: Any = importing.__dict__["make_store"]

    def meanwhile(path: Path) -> Any:
        monkeypatch.setattr(importing, "make_store", real)
        assert counts(imported(store, other))[0] == 4
        return real(path)

    monkeypatch.setattr(importing, "make_store", meanwhile)
    outcome = imported(store, home)
    assert counts(outcome) == (6, 8, 0)
    assert outcome.envelope["data"]["counts"]["orphaned"] == 0
    ids = [event["event_id"] for event in events(store)]
    assert len(ids) == len(set(ids)) == 10


def test_an_import_that_is_refused_makes_no_store(store: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing").write_text("nothing")
    outcome = imported(store, tmp_path / "nothing")
    assert outcome.exit_code == 3
    assert not store.exists()


def test_a_file_that_changes_while_it_is_read_gives_no_event(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an event says is what its id stands for."""
    home = write_snapshot(tmp_path / "home", [BEANS])
    real = drafting.Drafting.lines

    def changing(self: Any) -> Any:
        path = home / BEANS.relative_path
        path.write_bytes(path.read_bytes().replace(b"sow beans", b"buy beans"))
        return real(self)

    monkeypatch.setattr(drafting.Drafting, "lines", changing)
    outcome = imported(store, home)
    assert outcome.codes == ["package_changed"]
    assert events(store) == []


def test_a_damaged_ledger_is_told_and_left_alone(store: Path, tmp_path: Path) -> None:
    home = snapshot(tmp_path)
    imported(store, home)
    ledger = next((store / "events").rglob("*.jsonl"))
    ledger.write_bytes(b"{}\n" + ledger.read_bytes())
    before = tree(store, "derived")
    outcome = imported(store, home)
    assert (outcome.codes, outcome.exit_code) == (["store_damaged"], 4)
    after = tree(store, "derived")
    for name in ("lock", "lock.held", "lock-holder.json"):
        before.pop(name, None)
        after.pop(name, None)
    assert after == before
