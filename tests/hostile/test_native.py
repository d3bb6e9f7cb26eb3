"""A native package that is damaged anywhere, or lies, is refused before anything is written."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import package_by_spec as spec
from builders import Session, session_id, write_snapshot
from codex_session_sync.errors import PackageError
from codex_session_sync.package.members import DEFAULT_LIMITS, parse_limits
from codex_session_sync.package.reader import open_package
from fingerprint_by_spec import fingerprint
from hostile.refusing import places, refused
from workbench import add_rows, call, make_database

Json = dict[str, Any]

BEANS = Session(1, start=10, name="Beans").say("When do I sow beans?").say("And peas?")
FORK = BEANS.fork(2).say("What if it is cold?")
ROSES = Session(3, start=20).say("How do I prune roses?")
ALL = (BEANS, FORK, ROSES)
FILES = {session.id: session.data() for session in ALL}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A package as ``pack`` writes it."""
    folder = tmp_path_factory.mktemp("packed")
    home = write_snapshot(folder / "home", ALL)
    add_rows(make_database(home), ALL)
    out = folder / "package"
    assert call("pack", "-o", out, "--codex-home", home, "--json").exit_code == 0
    return out.read_bytes()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    found = tmp_path / "home"
    found.mkdir()
    make_database(found)
    return found


# Damage


def test_a_flipped_bit_anywhere(home: Path, packed: bytes) -> None:
    chance = random.Random(1)
    for name, start, end in places(packed):
        everywhere = range(start, end)
        some = everywhere if len(everywhere) <= 24 else chance.sample(everywhere, 24)
        for place in some:
            data = bytearray(packed)
            data[place] ^= 1 << chance.randrange(8)
            message = refused(home, bytes(data))
            if "/" in name:
                assert name in message


def test_cut_off_anywhere(home: Path, packed: bytes) -> None:
    chance = random.Random(2)
    ends = {
        edge + by for _, start, end in places(packed) for edge in (start, end) for by in (-1, 0, 1)
    }
    some = (ends | set(chance.sample(range(len(packed)), 60))) & set(range(len(packed)))
    for end in sorted(some):
        refused(home, packed[:end])


def test_bytes_too_many_or_missing_anywhere(home: Path, packed: bytes) -> None:
    for _, start, end in places(packed):
        refused(home, packed[:end] + b"\0" + packed[end:])
        refused(home, packed[: start + 3] + packed[start + 4 :])
        refused(home, packed[:start] + packed[end:])
    refused(home, packed + packed)


def test_two_parts_that_changed_places(home: Path, packed: bytes) -> None:
    (_, a, b), (_, c, d) = [place for place in places(packed) if "rollouts" in place[0]][:2]
    refused(home, packed[:a] + packed[c:d] + packed[b:c] + packed[a:b] + packed[d:])


# Manifests that lie, in packages whose digests are right


def parts() -> dict[str, bytes]:
    found = {}
    for session in ALL:
        found[f"rollouts/{session.file_name}"] = session.data()
        found[f"chains/{session.id}"] = bytes.fromhex("".join(links(session)))
    return found


def links(session: Session) -> list[str]:
    return fingerprint(FILES, session.id).links


def manifest() -> Json:
    def entry(session: Session) -> Json:
        history = [f"rollouts/{one.file_name}" for one in (session.forked_from, session) if one]
        return spec.session(session.id, history, links(session), row=session.row())

    return spec.manifest([entry(session) for session in ALL])


def test_the_honest_one_is_taken(home: Path) -> None:
    package = home.parent / "package"
    package.write_bytes(spec.written(parts(), manifest()))
    outcome = call("sync", package, "--execute", "--no-prime", "--codex-home", home, "--json")
    assert outcome.exit_code == 0, outcome.out


B, F, R = 0, 1, 2
ROLLOUT = f"rollouts/{ROSES.file_name}"
CHAIN = f"chains/{ROSES.id}"
OTHER = f"rollouts/{Session(9).file_name}"

Change = Callable[[Json, dict[str, bytes]], object]

LIES: dict[str, tuple[Change, str]] = {
    "no format": (lambda m, _: m.pop("format"), "native_manifest_invalid"),
    "another format": (lambda m, _: m.update(format="x"), "native_manifest_invalid"),
    "no sessions": (lambda m, _: m.pop("sessions"), "native_manifest_invalid"),
    "sessions no list": (lambda m, _: m.update(sessions={}), "native_manifest_invalid"),
    "no version": (lambda m, _: m.pop("fingerprint_version"), "native_manifest_invalid"),
    "version a text": (lambda m, _: m.update(fingerprint_version="2"), "native_manifest_invalid"),
    "no origin": (lambda m, _: m.pop("origin"), "native_manifest_invalid"),
    "origin no id": (
        lambda m, _: m["origin"].update(installation_id="../.."),
        "native_manifest_invalid",
    ),
    "a session twice": (lambda m, _: m["sessions"].append(m["sessions"][R]), "package_damaged"),
    "an id that is none": (
        lambda m, _: m["sessions"][R].update(session_id="../../etc"),
        "native_manifest_invalid",
    ),
    "an id with a newline": (
        lambda m, _: m["sessions"][R].update(session_id=ROSES.id + "\n"),
        "native_manifest_invalid",
    ),
    "another session's id": (
        lambda m, _: m["sessions"][R].update(session_id=session_id(9)),
        "package_damaged",
    ),
    "another session's meta": (
        lambda m, _: m["sessions"][R]["meta"].update(id=BEANS.id),
        "package_damaged",
    ),
    "another session's row": (
        lambda m, _: m["sessions"][R].update(row=BEANS.row()),
        "package_damaged",
    ),
    "another session's tools": (
        lambda m, _: m["sessions"][R].update(
            dynamic_tools=[
                {
                    "thread_id": BEANS.id,
                    "position": 0,
                    "name": "x",
                    "description": "",
                    "input_schema": "{}",
                }
            ]
        ),
        "package_damaged",
    ),
    "a row that is none": (
        lambda m, _: m["sessions"][R].update(row={"id": 5}),
        "thread_row_invalid",
    ),
    "a tool that is none": (
        lambda m, _: m["sessions"][R].update(dynamic_tools=[{"thread_id": ROSES.id}]),
        "dynamic_tool_invalid",
    ),
    "another session's history": (
        lambda m, _: m["sessions"][R].update(history=m["sessions"][B]["history"]),
        "package_damaged",
    ),
    "no history": (lambda m, _: m["sessions"][R].update(history=[]), "native_manifest_invalid"),
    "a history that is missing": (
        lambda m, _: m["sessions"][R]["history"].insert(0, OTHER),
        "package_damaged",
    ),
    "a history out of the package": (
        lambda m, _: m["sessions"][R].update(history=["rollouts/../../../etc/passwd"]),
        "native_manifest_invalid",
    ),
    "a missing rollout": (lambda _, p: p.pop(ROLLOUT), "package_damaged"),
    "a missing chain": (lambda _, p: p.pop(CHAIN), "package_damaged"),
    "a rollout too many": (lambda _, p: p.update({OTHER: b"{}\n"}), "package_damaged"),
    "a chain too many": (
        lambda _, p: p.update({f"chains/{session_id(9)}": bytes(32)}),
        "package_damaged",
    ),
    "a part of another kind": (lambda _, p: p.update({"notes": b"x"}), "native_manifest_invalid"),
    "a part with a path": (
        lambda _, p: p.update({"rollouts/a/../b.jsonl": b"x"}),
        "native_manifest_invalid",
    ),
    "a rollout with no rollout's name": (
        lambda _, p: p.update({"rollouts/rollout-0.jsonl": b"x"}),
        "package_damaged",
    ),
    "a chain cut short": (lambda _, p: p.update({CHAIN: p[CHAIN][:-1]}), "package_damaged"),
    "a chain of another": (
        lambda _, p: p.update({CHAIN: p[f"chains/{BEANS.id}"][: len(p[CHAIN])]}),
        "package_damaged",
    ),
    "fewer entries": (lambda m, _: m["sessions"][R].update(entries=1), "package_damaged"),
    "more entries": (lambda m, _: m["sessions"][R].update(entries=1 << 40), "package_damaged"),
    "no entries": (
        lambda m, _: m["sessions"][R].update(entries=0, head=None),
        "package_damaged",
    ),
    "entries below zero": (
        lambda m, _: m["sessions"][R].update(entries=-1),
        "native_manifest_invalid",
    ),
    "another head": (lambda m, _: m["sessions"][R].update(head="0" * 64), "package_damaged"),
    "no head": (lambda m, _: m["sessions"][R].update(head=None), "package_damaged"),
    "turns a text": (
        lambda m, _: m["sessions"][R]["facts"].update(turns="many"),
        "native_manifest_invalid",
    ),
    "a time that is none": (
        lambda m, _: m["sessions"][R]["facts"].update(last_timestamp=5),
        "native_manifest_invalid",
    ),
    "other records": (lambda _, p: p.update({ROLLOUT: ROSES.say("x").data()}), "package_damaged"),
    "records of another": (lambda _, p: p.update({ROLLOUT: BEANS.data()}), "package_damaged"),
    "no records": (lambda _, p: p.update({ROLLOUT: b""}), "package_damaged"),
    "garbage for records": (lambda _, p: p.update({ROLLOUT: b"\0" * 99}), "package_damaged"),
}


def lying_chain(document: Json, content: dict[str, bytes]) -> None:
    """A chain that agrees with its manifest, and not with the transcript."""
    content[CHAIN] = bytes(32) + content[CHAIN][32:]


LIES["links of nothing"] = (lying_chain, "package_damaged")


@pytest.mark.parametrize("lie", LIES)
def test_a_manifest_that_lies(home: Path, lie: str) -> None:
    change, code = LIES[lie]
    document, content = manifest(), parts()
    change(document, content)
    assert refused(home, spec.written(content, document)).startswith(code)


def test_a_history_that_lacks_its_beginning(home: Path) -> None:
    document = manifest()
    document["sessions"][F]["history"].pop(0)
    message = refused(home, spec.written(parts(), document), "--session", FORK.id)
    assert message.startswith("package_damaged")


def rewritten(change: Callable[[list[Json]], object]) -> bytes:
    """An honest package whose list of parts is changed, its digest being right."""
    data = spec.written(parts(), manifest())
    document, _ = spec.read(data)
    change(document["parts"])
    offset = struct.unpack_from("<Q", data, len(data) - spec.TRAILER_BYTES + 8)[0]
    frame = spec.stored(json.dumps(document).encode())
    return data[:offset] + frame + spec.trailer(offset, frame)


LISTS: dict[str, Callable[[list[Json]], object]] = {
    "empty": lambda p: p.clear(),
    "one gone": lambda p: p.pop(1),
    "the last gone": lambda p: p.pop(),
    "one twice": lambda p: p.insert(1, p[0]),
    "a name twice": lambda p: p[1].update(name=p[0]["name"]),
    "names exchanged": lambda p: (p[0].update(name=p[2]["name"]), p[2].update(name="x")),
    "order": lambda p: p.reverse(),
    "overlapping": lambda p: p[1].update(offset=p[0]["offset"]),
    "in the header": lambda p: p[0].update(offset=0),
    "far away": lambda p: p[0].update(offset=1 << 62),
    "below zero": lambda p: p[0].update(offset=-1),
    "beyond 64 bits": lambda p: p[0].update(offset=1 << 70),
    "no length": lambda p: p[0].update(length=0),
    "longer": lambda p: p[-1].update(length=p[-1]["length"] + 1),
    "shorter": lambda p: p[-1].update(length=p[-1]["length"] - 1),
    "huge": lambda p: p[0].update(size=1 << 50),
    "larger": lambda p: p[0].update(size=p[0]["size"] + 1),
    "smaller": lambda p: p[0].update(size=p[0]["size"] - 1),
    "size as text": lambda p: p[0].update(size="1"),
    "another digest": lambda p: p[0].update(sha256="0" * 64),
    "another frame digest": lambda p: p[0].update(frame_sha256="0" * 64),
    "no digest": lambda p: p[0].update(sha256=""),
    "no frame digest": lambda p: p[0].pop("frame_sha256"),
    "a key too many": lambda p: p[0].update(path="/etc/passwd"),
}


@pytest.mark.parametrize("change", LISTS.values(), ids=LISTS)
def test_a_list_of_parts_that_lies(home: Path, change: Callable[[list[Json]], object]) -> None:
    code = refused(home, rewritten(change)).split(":")[0]
    assert code in ("package_damaged", "package_unsafe", "native_manifest_invalid")


def framed(frame: bytes, **more: Any) -> bytes:
    """An honest package but for the frame of the roses' rollout."""
    document, content = manifest(), parts()
    out = spec.header()
    listed = []
    for name, text in content.items():
        own = frame if name == ROLLOUT else spec.stored(text)
        told = {
            "name": name,
            "offset": len(out),
            "length": len(own),
            "frame_sha256": hashlib.sha256(own).hexdigest(),
            "size": len(text),
            "sha256": hashlib.sha256(text).hexdigest(),
        }
        listed.append({**told, **(more if name == ROLLOUT else {})})
        out += own
    last = spec.stored(json.dumps({**document, "parts": listed}).encode())
    return out + last + spec.trailer(len(out), last)


BOMB = struct.pack("<IBB", 0xFD2FB528, 0, 0x38) + b"".join(
    (131072 << 3 | 0b010).to_bytes(3, "little") + b"\0" for _ in range(4000)
)


@pytest.mark.parametrize(
    "frame",
    [
        b"x",
        b"no zstandard at all",
        spec.stored(ROSES.data())[:-4],
        spec.stored(ROSES.data()) + b"\0",
        spec.stored(ROSES.data()) + spec.stored(b"more"),
        spec.stored(ROSES.data() + b"\n"),
        struct.pack("<II", 0x184D2A50, 4) + b"skip" + spec.stored(ROSES.data()),
        BOMB + (131072 << 3 | 0b011).to_bytes(3, "little") + b"\0",
        struct.pack("<IBB", 0xFD2FB528, 0, 0xFF) + b"\x01\0\0",
    ],
    ids=["x", "text", "cut", "zero", "two", "longer", "skippable", "bomb", "window"],
)
def test_a_frame_that_is_not_what_it_should_be(home: Path, frame: bytes) -> None:
    assert ROSES.file_name in refused(home, framed(frame))


def test_a_bomb_that_tells_its_size(home: Path) -> None:
    size = 4001 * 131072
    frame = BOMB + (131072 << 3 | 0b011).to_bytes(3, "little") + b"\0"
    digest = hashlib.sha256(bytes(size)).hexdigest()
    assert refused(home, framed(frame, size=size, sha256=digest)).startswith("package_unsafe")


@pytest.mark.parametrize("limit", ["files=3", "file_bytes=1K", "total_bytes=2K"])
def test_limits(home: Path, limit: str) -> None:
    package = home.parent / "package"
    package.write_bytes(spec.written(parts(), manifest()))
    with open_package(package, DEFAULT_LIMITS) as opened:
        assert len(opened.sessions) == len(ALL)
    with pytest.raises(PackageError) as raised, open_package(package, parse_limits([limit])):
        pass
    assert raised.value.code == "package_unsafe"
    assert limit.split("=", maxsplit=1)[0] in str(raised.value.hint)


def test_no_sessions(home: Path) -> None:
    assert refused(home, spec.written({}, spec.manifest([]))).startswith("package_empty")


@pytest.mark.parametrize("version", [2, 7, 1 << 31])
def test_a_later_version(home: Path, packed: bytes, version: int) -> None:
    data = packed[:16] + struct.pack("<I", version) + packed[20:]
    assert refused(home, data).startswith("package_version_unsupported")


def test_links_of_another_version_are_computed_anew(home: Path) -> None:
    package = home.parent / "package"
    document, content = manifest(), parts()
    document["fingerprint_version"] = 3
    for session in ALL:
        content[f"chains/{session.id}"] = bytes(len(content[f"chains/{session.id}"]))
    package.write_bytes(spec.written(content, document))
    outcome = call("sync", package, "--execute", "--no-prime", "--codex-home", home, "--json")
    assert outcome.exit_code == 0, outcome.out
    entries = {i: one["entries"]["incoming"] for i, one in outcome.sessions.items()}
    assert entries == {session.id: len(links(session)) for session in ALL}
