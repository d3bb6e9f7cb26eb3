"""Whatever is done to a sound package: typed errors, and homes that are whole.

CODEX_SESSION_SYNC_FUZZ is the number of examples of each test, by default as many as a minute
takes; hours of it are run by hand, with ``--hypothesis-seed`` to go other ways.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import package_by_spec as spec
from builders import Session, dump, session_id
from codex_session_sync.codex.inventory import RolloutIndex
from codex_session_sync.compose import Sink
from codex_session_sync.continuation import Continuation
from codex_session_sync.errors import SessionError, UsageError
from codex_session_sync.lineage.fingerprint import common_entries
from codex_session_sync.localize import Identity
from codex_session_sync.model import Transcript
from codex_session_sync.packing.known import load_known
from codex_session_sync.transcript import scan
from hostile.corpus import LEGACY, SNAPSHOT, SOUND, TRANSFER, VICTIM, Json, Parts, added, sound
from hostile.judging import EMPTY, USED, Court, require_harmless, state
from hostile.layouts import CONTAINERS, files_of, pack_native, write
from hostile.mutations import MUTATIONS, PLACES, Mutation, mutated, mutated_document, mutated_lines
from hostile.of_records import MORE_RECORDS
from rollouts import composed, put, rewriter
from workbench import call

PHASES = [Phase.explicit, Phase.reuse, Phase.generate]
"""Without shrinking, which takes many times as long: a mutation is small as it is."""
EXAMPLES = int(os.environ.get("CODEX_SESSION_SYNC_FUZZ", "150"))
FORK = VICTIM.fork(4).say("And in winter?")


def fuzz(share: float) -> settings:
    """How often an example is tried; cheap ones more often."""
    return settings(
        max_examples=max(1, int(EXAMPLES * share)),
        deadline=None,
        phases=PHASES,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


@pytest.fixture(scope="module")
def court() -> Iterator[Court]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        found = Court(Path(folder))
        yield found


def rich() -> Parts:
    """Sessions with records of every kind, a fork, and one of the old mode."""
    parts = sound(VICTIM, FORK, LEGACY, SOUND)
    files = {**parts.rollouts, VICTIM.file_name: dump(added(*MORE_RECORDS)(VICTIM.records()))}
    tool = {"thread_id": VICTIM.id, "position": 0, "name": "a", "description": "b"}
    return replace(parts, rollouts=files, tools=dump([{**tool, "input_schema": "{}"}]))


PACKAGES = {kind: files_of(rich(), kind) for kind in (SNAPSHOT, TRANSFER)}


def judge(court: Court, home: str, package: Path) -> None:
    """What holds of every package, whatever comes of it."""
    with court.home(home) as path:
        before = state(path)
        looked = court.run(path, "inspect-package", package)
        require_harmless(looked)
        court.run(path, "adopt", package, "--json")
        assert state(path) == before
        done = court.run(path, "sync", package, "--execute", "--no-prime", "--json")
        results = {s.get("result") for s in done.envelope["data"].get("sessions", ())}
        if not results & {"imported", "fast_forwarded", "branched"}:
            assert not {name for name in before if state(path).get(name) != before[name]}
        after = state(path)
        again = court.run(path, "sync", package, "--execute", "--no-prime", "--json")
        found = {s.get("result") for s in again.envelope["data"].get("sessions", ())}
        assert found <= {"skipped", "refused", "failed"}, again.out
        if "failed" not in found:
            assert state(path) == after
        health = court.run(path, "sidecar-health", "--json")
        assert health.envelope["data"]["healthy"], health.out


@fuzz(1)
@given(
    st.sampled_from(sorted(PACKAGES)),
    st.sampled_from(CONTAINERS),
    st.sampled_from([EMPTY, USED]),
    MUTATIONS,
)
def test_packages(
    court: Court, kind: str, container: str, home: str, mutations: list[Mutation]
) -> None:
    files = mutated(PACKAGES[kind], mutations)
    with court.package(files, container) as package:
        judge(court, home, package)


@dataclass(frozen=True, repr=False)
class Native:
    """Manifest and parts of a native package."""

    document: Json
    parts: dict[str, bytes]


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Native:
    """What ``pack`` makes."""
    packed = pack_native(PACKAGES[SNAPSHOT], tmp_path_factory.mktemp("native"))
    assert packed is not None
    return Native(*spec.read(packed.read_bytes()))


@fuzz(1)
@given(st.sampled_from([EMPTY, USED]), st.booleans(), MUTATIONS)
def test_native_packages(
    court: Court,
    native: Native,
    home: str,
    transcripts: bool,
    mutations: list[Mutation],
) -> None:
    """The digests are right, whatever is in it."""
    document, parts = json.loads(json.dumps(native.document)), native.parts
    if transcripts:
        changed = mutated({n: d for n, d in parts.items() if "chains" not in n}, mutations)
        parts = {**parts, **changed}
    else:
        for mutation in mutations:
            found = mutated_document(document, mutation)
            document = found if isinstance(found, dict) else document
    with suppress(ValueError, UnicodeError):
        data = written(parts, document, keep=not transcripts)
        package = court.root / "scratch" / "native"
        package.write_bytes(data)
        judge(court, home, package)


def written(parts: Mapping[str, bytes], document: Json, *, keep: bool) -> bytes:
    """A package of these parts; ``keep``: the list of parts is that of the document."""
    data = spec.written(parts, document)
    if not keep or "parts" not in document:
        return data
    offset, length = (int.from_bytes(data[n : n + 8], "little") for n in (-56, -48))
    listed = json.loads(spec.unpacked(data[offset : offset + length]))["parts"]
    before = document["parts"]
    if isinstance(before, list) and len(before) == len(listed):
        places = ("offset", "length", "frame_sha256")
        document["parts"] = [
            {**old, **{k: new[k] for k in places if k in old}} if isinstance(old, dict) else old
            for old, new in zip(before, listed, strict=True)
        ]
    frame = spec.stored(json.dumps(document).encode())
    return data[:offset] + frame + spec.trailer(offset, frame)


@fuzz(1)
@given(st.sampled_from(CONTAINERS[1:]), st.lists(st.tuples(PLACES, PLACES), min_size=1, max_size=5))
def test_bytes_of_archives(court: Court, container: str, edits: list[tuple[float, float]]) -> None:
    scratch = court.root / "scratch"
    data = bytearray(write(PACKAGES[TRANSFER], container, scratch / "archive").read_bytes())
    for place, bit in edits:
        at = int(place * len(data))
        if bit < 0.7:
            data[at] ^= 1 << int(bit * 8)
        elif bit < 0.85:
            del data[at : at + int(bit * 100)]
        else:
            data[at:at] = data[: int(bit * 40)]
    (scratch / "archive").write_bytes(data)
    judge(court, EMPTY, scratch / "archive")


# -- one transcript: much faster, so much more of it ----------------------------------------------


def variants() -> dict[str, Session]:
    """The sessions in either mode."""
    both = (VICTIM, LEGACY)
    return {f"{s.number}-{mode}": replace(s, legacy=mode) for s in both for mode in (False, True)}


def scanned(folder: Path, data: bytes, of: Session) -> Transcript:
    file = put(folder, of.file_name, data)
    return scan(file, RolloutIndex([file]).segment)


@fuzz(8)
@given(st.sampled_from(sorted(variants())), st.booleans(), MUTATIONS)
def test_transcripts(
    tmp_path_factory: pytest.TempPathFactory, name: str, own: bool, mutations: list[Mutation]
) -> None:
    """What can be read is written so that it reads the same, under its own id or another."""
    session = variants()[name]
    data = dump(added(*MORE_RECORDS)([{"ordinal": 0, **r} for r in session.records()]))
    for mutation in mutations:
        data = mutated_lines(data, mutation)
    folder = _scratch(tmp_path_factory)
    with suppress(SessionError):
        read = scanned(folder, data, session)
        new = session if own else replace(session, number=88)
        out = composed(read, identity=Identity(new.id))
        again = scanned(folder, out, new)
        assert again.chain == read.chain
        assert again.facts.unreadable == 0
        assert not again.facts.torn
        assert again.facts.last_cwd == read.facts.last_cwd


@fuzz(8)
@given(st.sampled_from(sorted(variants())), st.booleans(), st.integers(1, 2), MUTATIONS)
def test_continuations(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    legacy: bool,
    turns: int,
    mutations: list[Mutation],
) -> None:
    """A local copy of either mode gets to have the incoming entries, or nothing."""
    session = variants()[name].say("A third").say("A fourth")
    data = session.data()
    for mutation in mutations:
        data = mutated_lines(data, mutation)
    local = replace(session, legacy=legacy, turns=session.turns[:turns])
    folder = _scratch(tmp_path_factory)
    with suppress(SessionError):
        incoming = scanned(folder, data, session)
        here = scanned(_scratch(tmp_path_factory, "here"), local.data(), local)
        common = common_entries(incoming.chain, here.chain)
        if common < len(here.chain) or common == len(incoming.chain):
            return
        out = io.BytesIO()
        Continuation(rewriter(incoming), here, common).write(Sink(out, None))
        after = scanned(folder, local.data() + out.getvalue(), local)
        assert after.chain == incoming.chain
        assert after.facts.unreadable == 0


def _scratch(factory: pytest.TempPathFactory, name: str = "scratch") -> Path:
    found = factory.getbasetemp() / name
    found.mkdir(exist_ok=True)
    return found


# -- documents of `have` --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def holdings(court: Court) -> Any:
    """What the used home has."""
    done = call("have", "--codex-home", court.root / USED, "--json")
    assert done.exit_code == 0
    return done.envelope


@fuzz(2)
@given(MUTATIONS)
def test_documents_of_have(
    tmp_path_factory: pytest.TempPathFactory, holdings: Any, mutations: list[Mutation]
) -> None:
    document = json.loads(json.dumps(holdings))
    path = _scratch(tmp_path_factory) / "have.json"
    for mutation in mutations:
        found = mutated_document(document, mutation)
        document = found if isinstance(found, dict) else document
    path.write_bytes(json.dumps(document).encode())
    with suppress(UsageError):
        load_known(path)
    path.write_bytes(mutated_lines(path.read_bytes(), mutations[0]))
    with suppress(UsageError):
        load_known(path)


assert session_id(88) not in {VICTIM.id, LEGACY.id, SOUND.id}
