"""The fingerprint against its specification: the vectors, the page, and a second implementation."""

from __future__ import annotations

import ast
import hashlib
import json
import random
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

import fingerprint_by_spec as spec
import make_fingerprint_vectors as vectors
from codex_session_sync import validation
from codex_session_sync.codex.inventory import RolloutIndex
from codex_session_sync.codex.rollout import parse_record
from codex_session_sync.errors import PackageError
from codex_session_sync.lineage.fingerprint import (
    FINGERPRINT_VERSION,
    MASKED_ID,
    SEED,
    canonical_entry,
    common_entries,
    lineage_id,
)
from codex_session_sync.model import Chain
from codex_session_sync.transcript import first_link, scan
from rollouts import put

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "references" / "fingerprint.md"
DOCUMENT: dict[str, Any] = json.loads(vectors.TARGET.read_bytes())
CASES: dict[str, Any] = {case["name"]: case for case in DOCUMENT["cases"]}

each_case = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))


def lines_of(file: dict[str, Any]) -> list[bytes]:
    return [
        bytes.fromhex(line["hex"]) if isinstance(line, dict) else line.encode()
        for line in file["lines"]
    ]


def files_of(case: dict[str, Any], folder: Path) -> tuple[RolloutIndex, str]:
    """The files of a case on disk, and the id of its session."""
    found = [put(folder, file["name"], b"".join(lines_of(file))) for file in case["files"]]
    return RolloutIndex(found), found[-1].thread_id


def links_of(chain: Chain) -> list[str]:
    return [chain.link(number + 1) for number in range(len(chain))]


# --- the vectors --------------------------------------------------------------------------------


@each_case
def test_program_computes_the_vectors(case: dict[str, Any], tmp_path: Path) -> None:
    index, session_id = files_of(case, tmp_path)
    tip = index.segment(case["files"][-1]["name"].removesuffix(".jsonl")[-36:])
    assert tip is not None
    transcript = scan(tip, index.segment)
    assert links_of(transcript.chain) == case["links"]
    assert transcript.chain.head == (case["links"][-1] if case["links"] else None)
    assert lineage_id(transcript.chain, session_id) == case["lineage_id"]


@each_case
def test_program_writes_the_canonical_entries(case: dict[str, Any]) -> None:
    records = [parse_record(line) for file in case["files"] for line in lines_of(file)]
    written = {
        canonical_entry(record)
        for record in records
        if record is not None and record["type"] in ("response_item", "compacted")
    }
    assert {entry["canonical"].encode() for entry in case["entries"]} <= written


@each_case
def test_second_implementation_computes_the_vectors(case: dict[str, Any]) -> None:
    files = {
        file["name"].removesuffix(".jsonl")[-36:]: b"".join(lines_of(file))
        for file in case["files"]
    }
    found = spec.fingerprint(files, list(files)[-1])
    assert [entry.decode() for entry in found.entries] == [e["canonical"] for e in case["entries"]]
    assert found.digests == [entry["digest"] for entry in case["entries"]]
    assert (found.links, found.lineage_id) == (case["links"], case["lineage_id"])


@each_case
def test_digests_and_links_are_plain_sha256(case: dict[str, Any]) -> None:
    last = bytes.fromhex(DOCUMENT["seed"])
    for entry, link in zip(case["entries"], case["links"], strict=True):
        digest = hashlib.sha256(entry["canonical"].encode())
        assert digest.hexdigest() == entry["digest"]
        last = hashlib.sha256(last + digest.digest()).digest()
        assert last.hex() == link


@pytest.mark.parametrize("pair", DOCUMENT["comparisons"], ids=lambda p: f"{p['one']}-{p['other']}")
def test_comparisons(pair: dict[str, Any]) -> None:
    one, other = (CASES[pair[side]]["links"] for side in ("one", "other"))
    assert spec.common(one, other) == pair["common"]
    chains = [Chain(bytes.fromhex("".join(links))) for links in (one, other)]
    assert common_entries(*chains) == common_entries(*reversed(chains)) == pair["common"]


def test_document_fits_its_schema() -> None:
    validation.check("fingerprint_vectors", DOCUMENT, "vectors", PackageError)
    constants = (DOCUMENT["fingerprint_version"], DOCUMENT["seed"], DOCUMENT["masked_id"])
    assert constants == (FINGERPRINT_VERSION, SEED.hex(), MASKED_ID.decode())
    assert len(CASES) == len(DOCUMENT["cases"]) >= 12


@pytest.mark.parametrize(
    ("place", "wrong"),
    [("seed", "00"), ("masked_id", "x"), ("fingerprint_version", 1), ("more", 1), ("cases", [])],
)
def test_schema_refuses_what_is_none(place: str, wrong: object) -> None:
    assert not validation.fits("fingerprint_vectors", {**DOCUMENT, place: wrong})


def test_document_is_the_one_that_is_made() -> None:
    assert vectors.document() == DOCUMENT


def test_second_implementation_knows_nothing_of_the_program() -> None:
    tree = ast.parse(Path(spec.__file__).read_text())
    names = {
        alias.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert names <= {*sys.stdlib_module_names, "collections.abc"}


def test_page_has_the_constants() -> None:
    page = PAGE.read_text()
    assert f"`{SEED.hex()}`" in page
    assert f"`{MASKED_ID.decode()}`" in page
    assert f"# Fingerprint, version {FINGERPRINT_VERSION}\n" in page


# --- single rules -------------------------------------------------------------------------------


def test_floats_are_written_as_specified() -> None:
    chance = random.Random(1)
    edges = [10.0**n for n in range(-20, 25)]
    edges += [x * f for x in edges for f in (1 - 2**-53, 1 + 2**-52, 9.5)]
    drawn = [struct.unpack("<d", chance.randbytes(8))[0] for _ in range(3000)]
    floats = [x for x in [*edges, *drawn] if x - x == 0]
    record = {"type": "response_item", "timestamp": "t", "payload": {"n": floats}}
    expected = ",".join(map(spec.number, floats)).encode()
    assert canonical_entry(record) == b'response_item\nt\n{"n":[%s]}' % expected


IDS = (vectors.OWN, vectors.PARENT, vectors.FORMER)


def test_first_link_is_the_chains_first(tmp_path: Path) -> None:
    for case in DOCUMENT["cases"]:
        if case["name"] in TAKE_BACK_THE_FIRST:
            continue
        folder = tmp_path / case["name"]
        folder.mkdir()
        index, _ = files_of(case, folder)
        tip = index.segment(case["files"][-1]["name"].removesuffix(".jsonl")[-36:])
        assert tip is not None
        expected = case["links"][0] if case["links"] else None
        assert first_link(tip, index.segment) == expected, case["name"]


TAKE_BACK_THE_FIRST = {"legacy_without_markers"}
"""What ``first_link`` cannot know without reading on; Codex itself writes no such session."""


def test_lineage_of_a_session_without_entries_is_its_own() -> None:
    found = {lineage_id(Chain(), session_id) for session_id in IDS}
    assert len(found) == len(IDS)
    assert all(len(name) == 32 for name in found)


def test_chain_counts_and_names_its_links() -> None:
    links = [hashlib.sha256(bytes([n])).digest() for n in range(3)]
    chain = Chain(b"".join(links))
    assert (len(chain), chain.head, chain.link(1)) == (3, links[2].hex(), links[0].hex())
    assert (len(Chain()), Chain().head) == (0, None)
