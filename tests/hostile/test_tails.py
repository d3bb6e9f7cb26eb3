"""Packages with the ends of sessions that are damaged or lie: refused, or the one session is."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import package_by_spec as spec
from builders import Session, session_id, write_snapshot
from exchanging import Side, side
from fingerprint_by_spec import fingerprint
from hostile.refusing import places, refused
from workbench import add_rows, call, make_database, tree

Json = dict[str, Any]

BEGUN = Session(1, start=10, name="Beans").say("When do I sow beans?").say("And peas?")
BEANS = BEGUN.say("And lettuce?")
FORK = BEANS.fork(2).say("What if it is cold?")
ROSES = Session(3, start=20).say("How do I prune roses?")
LATER = ROSES.say("When do they flower?")
LILY = Session(4, start=30).say("Do lilies need water?")
OLD_BEGUN = Session(5, legacy=True, start=40).say("An old question")
OLD = OLD_BEGUN.say("Another")
ALL = (BEANS, FORK, LATER, LILY)
FILES = {session.id: session.data() for session in (*ALL, OLD)}
HERE = (BEGUN, ROSES, OLD_BEGUN)

BASES = {BEANS.id: 6, FORK.id: 6, LATER.id: 4}
START, END = len(BEGUN.data()), len(BEANS.data())


def links(session: Session) -> list[str]:
    return fingerprint(FILES, session.id).links


def last_entry(data: bytes, entries: int) -> int:
    """The byte at which an entry of a rollout ends."""
    place = 0
    for line in data.splitlines(keepends=True):
        place += len(line)
        entries -= json.loads(line)["type"] == "response_item"
        if not entries:
            return place
    raise AssertionError


TAIL, TAIL_DATA = spec.tail(BEANS.file_name, BEANS.data(), last_entry(BEANS.data(), 6), END)
ROSES_TAIL, ROSES_DATA = spec.tail(
    LATER.file_name, LATER.data(), last_entry(LATER.data(), 4), len(LATER.data())
)
WHOLE = f"rollouts/{FORK.file_name}"
HISTORIES = {
    BEANS.id: [TAIL],
    FORK.id: [TAIL, WHOLE],
    LATER.id: [ROSES_TAIL],
    LILY.id: [f"rollouts/{LILY.file_name}"],
}


def parts() -> dict[str, bytes]:
    chains = {
        f"chains/{session.id}": bytes.fromhex("".join(links(session)[BASES.get(session.id, 0) :]))
        for session in ALL
    }
    whole = {WHOLE: FORK.data(), f"rollouts/{LILY.file_name}": LILY.data()}
    return {TAIL: TAIL_DATA, ROSES_TAIL: ROSES_DATA, **whole, **chains}


def manifest() -> Json:
    def entry(session: Session) -> Json:
        head = session.records()[0]["payload"]
        known = {"id", "timestamp", "forked_from_id"} & head.keys()
        found = spec.session(
            session.id,
            HISTORIES[session.id],
            links(session),
            row=session.row(),
            name=session.name,
            meta={key: head[key] for key in sorted(known)},
        )
        base = BASES.get(session.id)
        return spec.based(found, links(session), base) if base else found

    return spec.manifest([entry(session) for session in ALL])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that has the beginnings."""
    found = write_snapshot(tmp_path / "home", HERE)
    add_rows(make_database(found), HERE)
    return found


def sync(home: Path, data: bytes) -> Any:
    package = home.parent / "package"
    package.write_bytes(data)
    return call("sync", package, "--execute", "--no-prime", "--codex-home", home, "--json")


def test_the_honest_one_is_taken(home: Path) -> None:
    done = sync(home, spec.written(parts(), manifest()))
    assert done.exit_code == 0, done.out
    assert {i: one["result"] for i, one in done.sessions.items()} == {
        BEANS.id: "fast_forwarded",
        FORK.id: "imported",
        LATER.id: "fast_forwarded",
        LILY.id: "imported",
    }
    sessions, found = Side(home, home.parent).whole()
    for session in ALL:
        assert found[f"chains/{session.id}"].hex() == "".join(links(session))
    assert sessions[FORK.id]["meta"]["forked_from_id"] == BEANS.id


def test_what_pack_writes_is_as_the_page_says(tmp_path: Path) -> None:
    """Its parts to the byte, and what completes a session."""
    there, here = side(tmp_path, "there", ALL), side(tmp_path, "here", HERE)
    there.packed("news", "--have", here.have())
    found, content = spec.read((tmp_path / "news").read_bytes())
    assert content == parts()
    for entry in found["sessions"]:
        [session] = [one for one in ALL if one.id == entry["session_id"]]
        assert entry["history"] == HISTORIES[session.id]
        assert (entry["entries"], entry["head"]) == (len(links(session)), links(session)[-1])
        base = BASES.get(session.id)
        known = spec.based({}, links(session), base)["base"] if base else None
        assert entry.get("base") == known
        size = len(session.data()) + (END if session is FORK else 0)
        assert entry["size"] == size
        if session is not LILY:
            held = (ROSES if session is LATER else BEGUN).data()
            whole = spec.completed(entry, content, held, last_entry(held, base or 0))
            alone = fingerprint({session.id: whole}, session.id) if session is not FORK else None
            assert alone is None or alone.links == links(session)
            assert whole.count(b"response_item") == len(links(session))


# Damage


def test_a_flipped_bit_anywhere(home: Path) -> None:
    chance = random.Random(3)
    data = spec.written(parts(), manifest())
    for name, start, end in places(data):
        for place in chance.sample(range(start, end), min(16, end - start)):
            changed = bytearray(data)
            changed[place] ^= 1 << chance.randrange(8)
            message = refused(home, bytes(changed))
            if "/" in name:
                assert name in message


def test_cut_off_or_longer_anywhere(home: Path) -> None:
    data = spec.written(parts(), manifest())
    for _, start, end in places(data):
        refused(home, data[: end - 1])
        refused(home, data[:start] + data[end:])
        refused(home, data[:end] + b"\0" + data[end:])


# Lies

B, F, R, L = 0, 1, 2, 3
Change = Callable[[Json, dict[str, bytes]], object]


def base(m: Json, number: int) -> Json:
    found: Json = m["sessions"][number]["base"]
    return found


def renamed(old: str, new: str) -> Change:
    """A part under another name, wherever it is named."""

    def change(m: Json, p: dict[str, bytes]) -> None:
        p[new] = p.pop(old)
        for one in m["sessions"]:
            one["history"] = [new if name == old else name for name in one["history"]]

    return change


def placed(places: str) -> Change:
    return renamed(TAIL, f"tails/{places}/{BEANS.file_name}")


def content(data: bytes, name: str = TAIL) -> Change:
    return lambda _, p: p.update({name: data})


def with_head(session: Session, **change: Any) -> bytes:
    """The tail of the beans under a head that says other things."""
    head, rest = TAIL_DATA.split(b"\n", 1)
    record = json.loads(head)
    record["payload"].update(change)
    return json.dumps(record).encode() + b"\n" + rest


OTHER_TAIL = f"tails/{START}-{END}/{Session(9).file_name}"

OLD_TAIL, OLD_DATA = spec.tail(
    OLD.file_name, OLD.data(), last_entry(OLD.data(), 4), len(OLD.data())
)


def legacy(data: bytes) -> Change:
    """One more session, in the other history mode."""

    def change(m: Json, p: dict[str, bytes]) -> None:
        entry = spec.session(OLD.id, [OLD_TAIL], links(OLD), history_mode="legacy")
        m["sessions"].append(spec.based(entry, links(OLD), 4))
        chain = bytes.fromhex("".join(links(OLD)[4:]))
        p.update({OLD_TAIL: data, f"chains/{OLD.id}": chain})

    return change


def without(number: int) -> Change:
    """One session less, with its tail and chain."""

    def change(m: Json, p: dict[str, bytes]) -> None:
        gone = m["sessions"].pop(number)
        del p[gone["history"][0]], p[f"chains/{gone['session_id']}"]

    return change


def strange_tail(m: Json, p: dict[str, bytes]) -> None:
    """A tail stands before a file that continues nothing."""
    roses, lily = m["sessions"][R], m["sessions"][L]
    lily["history"].insert(0, TAIL)
    lily.update(base=roses["base"], entries=4 + len(links(LILY)))
    without(R)(m, p)


LIES: dict[str, tuple[Change, str]] = {
    "a base that is none": (
        lambda m, _: m["sessions"][B].update(base=5),
        "native_manifest_invalid",
    ),
    "a base of no entries": (lambda m, _: base(m, B).update(entries=0), "native_manifest_invalid"),
    "a base of less than none": (
        lambda m, _: base(m, B).update(entries=-1),
        "native_manifest_invalid",
    ),
    "a base beyond 64 bits": (
        lambda m, _: base(m, B).update(entries=1 << 70),
        "native_manifest_invalid",
    ),
    "a base without a link": (lambda m, _: base(m, B).pop("head"), "native_manifest_invalid"),
    "a base without its first": (lambda m, _: base(m, B).pop("first"), "native_manifest_invalid"),
    "a base whose link is none": (
        lambda m, _: base(m, B).update(head="x" * 64),
        "native_manifest_invalid",
    ),
    "more entries than the session": (
        lambda m, _: base(m, B).update(entries=9),
        "package_damaged",
    ),
    "more entries than there are links": (
        lambda m, _: base(m, B).update(entries=5),
        "package_damaged",
    ),
    "fewer links than entries": (
        lambda m, _: m["sessions"][B].update(entries=9),
        "package_damaged",
    ),
    "all entries, and links": (lambda m, _: base(m, B).update(entries=8), "package_damaged"),
    "another head": (lambda m, _: m["sessions"][B].update(head="0" * 64), "package_damaged"),
    "no links, and another head": (
        lambda m, p: (p.pop(f"chains/{BEANS.id}"), m["sessions"][B].update(entries=6)),
        "package_damaged",
    ),
    "a base without a tail": (
        lambda m, p: (
            m["sessions"][L].update(base=base(m, B)),
            p.update({f"chains/{LILY.id}": b""}),
        ),
        "package_damaged",
    ),
    "a tail without a base": (lambda m, _: m["sessions"][B].pop("base"), "package_damaged"),
    "a null for a base": (
        lambda m, _: m["sessions"][B].update(base=None),
        "native_manifest_invalid",
    ),
    "a tail that is later in a history": (
        lambda m, _: m["sessions"][F].update(history=[WHOLE, TAIL]),
        "package_damaged",
    ),
    "a tail twice": (
        lambda m, _: m["sessions"][F].update(history=[TAIL, TAIL, WHOLE]),
        "package_damaged",
    ),
    "a tail of another session": (
        lambda m, _: m["sessions"][R].update(history=[TAIL]),
        "package_damaged",
    ),
    "a tail before that of the fork": (
        lambda m, _: m["sessions"][F].update(history=[ROSES_TAIL, WHOLE]),
        "package_damaged",
    ),
    "a tail before a file that continues none": (strange_tail, "package_damaged"),
    "a tail of nobody": (lambda _, p: p.update({OTHER_TAIL: TAIL_DATA}), "package_damaged"),
    "another tail of the same": (
        lambda _, p: p.update({f"tails/0-{END}/{BEANS.file_name}": b"x" * END * 2}),
        "package_damaged",
    ),
    "a missing tail": (lambda _, p: p.pop(TAIL), "package_damaged"),
    "a missing chain": (lambda _, p: p.pop(f"chains/{BEANS.id}"), "package_damaged"),
    "a chain cut short": (
        lambda _, p: p.update({f"chains/{BEANS.id}": p[f"chains/{BEANS.id}"][32:]}),
        "package_damaged",
    ),
    "links of nothing": (
        lambda _, p: p.update({f"chains/{BEANS.id}": bytes(32) + p[f"chains/{BEANS.id}"][32:]}),
        "package_damaged",
    ),
    "places the wrong way round": (placed(f"{END}-{START}"), "package_damaged"),
    "places too far apart": (placed(f"0-{END}"), "package_damaged"),
    "places beyond 64 bits": (placed(f"0-{'9' * 19}"), "package_damaged"),
    "places of many digits": (placed(f"0-{'9' * 20}"), "native_manifest_invalid"),
    "places below zero": (placed(f"-1-{END}"), "native_manifest_invalid"),
    "one place": (placed(f"{END}"), "native_manifest_invalid"),
    "places that are words": (placed("a-b"), "native_manifest_invalid"),
    "a path for places": (placed("../0-1"), "native_manifest_invalid"),
    "no rollout's name": (
        renamed(TAIL, f"tails/{START}-{END}/rollout-0.jsonl"),
        "package_damaged",
    ),
    "an empty tail": (content(b""), "package_damaged"),
    "a head alone": (content(TAIL_DATA[: TAIL_DATA.index(b"\n") + 1]), "package_damaged"),
    "no head": (
        lambda _, p: p.update({TAIL: b"\n" * 2000 + TAIL_DATA.split(b"\n", 1)[1]}),
        "package_damaged",
    ),
    "garbage": (content(b"\0" * len(TAIL_DATA)), "package_damaged"),
    "the records of another": (content(ROSES_DATA + TAIL_DATA), "package_damaged"),
    "other words": (content(TAIL_DATA.replace(b"lettuce", b"cabbage")), "package_damaged"),
    "the whole file": (content(BEANS.data()), "package_damaged"),
    "the head of another session": (
        content(with_head(BEANS, id=ROSES.id)),
        "package_damaged",
    ),
    "the head of another history mode": (
        content(with_head(BEANS, history_mode=None)),
        "package_damaged",
    ),
    "a head that continues itself": (
        content(
            with_head(
                BEANS,
                history_base={
                    "thread_id": BEANS.id,
                    "end_ordinal_exclusive": 5,
                    "end_byte_offset": 500,
                },
            ),
        ),
        "nothing",
    ),
    "a legacy one": (legacy(OLD_DATA), "nothing"),
    "a legacy one under a paginated head": (
        legacy(OLD_DATA.replace(b'"payload":{', b'"payload":{"history_mode":"paginated",', 1)),
        "package_damaged",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_package_that_lies(home: Path, lie: str) -> None:
    change, code = LIES[lie]
    document, found = manifest(), parts()
    change(document, found)
    data = spec.written(found, document)
    if code == "nothing":
        assert sync(home, data).exit_code == 0
    else:
        assert refused(home, data).startswith(code)


# A base that is not here

MISFITS: dict[str, Change] = {
    "another head": lambda m, _: base(m, R).update(head="0" * 64),
    "the head of another session": lambda m, _: base(m, R).update(head=links(BEANS)[3]),
    "an earlier head": lambda m, _: base(m, R).update(head=links(LATER)[2]),
    "another first": lambda m, _: base(m, R).update(first=links(BEANS)[0]),
    "entries that the session here has not": lambda m, _: (
        base(m, R).update(entries=1000),
        m["sessions"][R].update(entries=1002),
    ),
    "the largest number": lambda m, _: (
        base(m, R).update(entries=(1 << 63) - 3),
        m["sessions"][R].update(entries=(1 << 63) - 1),
    ),
    "the other history mode": lambda m, _: m["sessions"][R].update(history_mode="legacy"),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_a_base_that_is_not_here(home: Path, misfit: str) -> None:
    document, found = manifest(), parts()
    MISFITS[misfit](document, found)
    file = home / LATER.relative_path
    before = file.read_bytes()
    done = sync(home, spec.written(found, document))
    assert done.exit_code == 1, done.out
    assert done.codes == ["prerequisite_missing"]
    results = {i: one["result"] for i, one in done.sessions.items()}
    assert results.pop(LATER.id) == "refused"
    assert set(results.values()) == {"fast_forwarded", "imported"}
    assert file.read_bytes() == before


def test_links_of_another_version_fit_nowhere(home: Path) -> None:
    document = manifest()
    document["fingerprint_version"] = 3
    message = refused(home, spec.written(parts(), document))
    assert message.startswith("package_damaged")
    for session in document["sessions"]:
        if "base" in session:
            session["base"].update(head="1" * 64, first="2" * 64)
    done = sync(home, spec.written(parts(), document))
    assert done.exit_code == 1
    results = {i: one["result"] for i, one in done.sessions.items()}
    assert results.pop(LILY.id) == "imported"
    assert set(results.values()) == {"refused"}


def test_a_base_is_not_taken_from_a_file_that_lies_beside(home: Path) -> None:
    """A session of the package itself is no session of the home."""
    (home / BEGUN.relative_path).unlink()
    document, found = manifest(), parts()
    whole = f"rollouts/{BEGUN.file_name}"
    found[whole] = BEGUN.data()
    assert BEGUN.file_name == BEANS.file_name
    done = sync(home, spec.written(found, document))
    assert (done.exit_code, set(done.codes)) == (1, {"prerequisite_missing"})
    assert done.sessions[FORK.id]["result"] == "refused"
    before = tree(home)
    assert sync(home, spec.written(found, document)).exit_code == 1
    assert tree(home) == before


def test_an_unknown_id(home: Path) -> None:
    """A tail may be of a session that goes by another id here."""
    path = home / LATER.relative_path
    new = session_id(77)
    data = path.read_bytes().replace(LATER.id.encode(), new.encode())
    path.unlink()
    path.with_name(path.name.replace(LATER.id, new)).write_bytes(data)
    done = sync(home, spec.written(parts(), manifest()))
    assert done.exit_code == 0, done.out
    assert done.sessions[LATER.id]["local_session_id"] == new
